"""Two persons are two: every pair of acts that takes two, by every way in which one hand can be two, in both orders."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from tests.faults.racing import times
from tests.world import Json, Person, World, day

ROLES: Final = ("registrar", "requester", "reviewer:data_owner", "reviewer:privacy", "reviewer:legal")
WAYS: Final = (
    "a key that one made for the other",
    "a key that was made with a key that one made",
    "a key that was changed for another with a key that one made",
    "two keys of one maker",
    "two keys of one person",
)
Hands = tuple[Person, Person]


@pytest.fixture(scope="module")
def hands(world: World) -> dict[str, Hands]:
    """Of each way two callers who may be one person; both have every role that the pairs take."""

    def admin() -> Person:
        return world.person(*ROLES, "admin")

    def known() -> Person:
        return world.person(*ROLES)

    maker, middle, holder = admin(), admin(), admin()
    through = world.with_key(middle, by=maker)
    one = known()
    return {
        WAYS[0]: (maker, world.with_key(known(), by=maker)),
        WAYS[1]: (maker, world.with_key(known(), by=through)),
        WAYS[2]: (maker, world.with_key(holder, by=world.with_key(holder, by=maker))),
        WAYS[3]: (world.with_key(known(), by=maker), world.with_key(known(), by=maker)),
        WAYS[4]: (one, world.with_key(one)),
    }


class Thing:
    """A request for 150,000 persons' data, and what else acts are about; nobody of the test has had to do with it yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "personal", "important")
        self.plain = world.dataset(self.handler, "personal")
        self.recipient = world.recipient()
        self.shown: Json = {}
        self.paper: Json = {}
        self.number = 0

    # Made by others, for the acts to be about

    def submitted(self, persons: int = 150_000) -> None:
        self.shown = self.world.submitted(self.handler, [self.plain], self.recipient, persons=persons)

    def filed(self) -> None:
        self.submitted()
        self.paper = self.world.requester.made(self.at("evidence"), self.record())

    def approved(self) -> None:
        self.shown = self.world.approve(self.shown)

    def crossing(self) -> None:
        """Another request, with which this one reaches a line."""
        self.world.submitted(self.handler, [self.plain], self.recipient, persons=60_000)

    def at(self, *rest: str) -> str:
        return "/".join(["/v1/transfers", self.shown["id"], *rest])

    def record(self, kind: str = "standard_contract") -> Json:
        return {"kind": kind, "reference": uuid.uuid4().hex, "issuer": "Legal", "issued_on": day(0)}

    # Acts

    def lower(self, by: Person) -> httpx.Response:
        asked = {"tags": ["personal"], "reason": "Looked again", "basis": "Catalogue 2026"}
        answer = by.post(f"/v1/datasets/{self.dataset['id']}/gradings", asked)
        self.number = answer.json().get("number", 0)
        return answer

    def confirm(self, by: Person) -> httpx.Response:
        return by.post(f"/v1/datasets/{self.dataset['id']}/gradings/{self.number}/confirm", {"reason": "So it is"})

    def write(self, by: Person, persons: int = 150_000) -> httpx.Response:
        body = {
            "handler": self.handler["id"],
            "datasets": [self.plain["id"]],
            "recipient": self.recipient["id"],
            "purpose": "analytics",
            "description": "Weekly figures",
            "persons": persons,
            "valid_from": day(0),
            "valid_until": day(200),
        }
        made = by.made("/v1/transfers", body)
        answer = by.post(f"/v1/transfers/{made['id']}/submit")
        self.shown = answer.json()
        return answer

    def write_less(self, by: Person) -> httpx.Response:
        answer = self.write(by, persons=60_000)
        self.crossing()
        return answer

    def change(self, by: Person) -> httpx.Response:
        answer = by.patch(self.at(), {"description": "Weekly figures, and monthly ones"})
        self.shown = self.world.auditor.get(self.at()).json()
        return answer

    def decide(self, by: Person, stage: str = "data_owner", **more: object) -> httpx.Response:
        body = {"stage": stage, "decision": "approve", "revision": self.shown["revision"]["hash"], "comment": "Seen"}
        return by.post(self.at("reviews"), body | more)

    def decide_next(self, by: Person) -> httpx.Response:
        return self.decide(by, "privacy")

    def decide_on_terms(self, by: Person) -> httpx.Response:
        return self.decide(by, conditions={"terms": ["Report every month"]})

    def accept(self, by: Person) -> httpx.Response:
        return by.post(self.at("terms", "accept"), {"revision": self.shown["revision"]["hash"]})

    def stand_back(self, by: Person) -> httpx.Response:
        return by.post(self.at("recuse"), {"reason": "A friend asked"})

    def file(self, by: Person) -> httpx.Response:
        answer = by.post(self.at("evidence"), self.record())
        self.paper = answer.json()
        return answer

    def verify(self, by: Person) -> httpx.Response:
        return by.post(self.at("evidence", self.paper["id"], "verify"))

    def write_and_have_approved(self, by: Person) -> httpx.Response:
        answer = self.write(by)
        self.approved()
        self._suspend()
        return answer

    def file_and_have_approved(self, by: Person) -> httpx.Response:
        answer = self.file(by)
        self.shown = self.world.auditor.get(self.at()).json()
        self.approved()
        self._suspend()
        return answer

    def _suspend(self) -> None:
        path = f"/v1/permits/{self.shown['permit']}/suspend"
        self.world.reviewers["privacy"].made(path, {"reason": "To be looked at"})

    def resume(self, by: Person) -> httpx.Response:
        return by.post(f"/v1/permits/{self.shown['permit']}/resume", {"reason": "Looked at"})

    def answer(self, by: Person) -> httpx.Response:
        (finding,) = self.world.auditor.get(self.at()).json()["findings"]
        return by.post(f"/v1/findings/{finding['id']}/answer", {"answer": "unrelated", "reason": "Two products"})


@dataclass(frozen=True)
class Pair:
    """Two acts that take two persons, on a thing that is made ready for them."""

    ready: Callable[[Thing], None]
    first: Callable[[Thing, Person], httpx.Response]
    second: Callable[[Thing, Person], httpx.Response]
    refusal: int = 403


def _nothing(_: Thing) -> None:
    pass


def _accepted(thing: Thing) -> None:
    thing.submitted()
    assert thing.decide_on_terms(thing.world.reviewers["data_owner"]).status_code == 201


def _crossed(thing: Thing) -> None:
    thing.submitted(60_000)
    thing.crossing()


PAIRS: Final = {
    "a lowering is asked for and confirmed": Pair(_nothing, Thing.lower, Thing.confirm),
    "a request is written and decided on": Pair(_nothing, Thing.write, Thing.decide),
    "a request is changed and decided on": Pair(Thing.submitted, Thing.change, Thing.decide),
    "two stages are decided": Pair(Thing.submitted, Thing.decide, Thing.decide_next),
    "a request is written and its evidence verified": Pair(
        _nothing, lambda thing, by: (thing.write(by), thing.file(thing.world.requester))[0], Thing.verify
    ),
    "evidence is verified and the request changed": Pair(Thing.filed, Thing.verify, Thing.change),
    "evidence is added and verified": Pair(Thing.submitted, Thing.file, Thing.verify),
    "evidence is filed and a stage decided that rests on it": Pair(Thing.submitted, Thing.file, Thing.decide),
    "a stage is decided and evidence filed that it rests on": Pair(Thing.submitted, Thing.decide, Thing.file),
    "a stage is decided on terms and these are accepted": Pair(Thing.submitted, Thing.decide_on_terms, Thing.accept),
    "terms are accepted and a stage decided": Pair(_accepted, Thing.accept, Thing.decide_next),
    "a request is written and its permit resumed": Pair(_nothing, Thing.write_and_have_approved, Thing.resume),
    "evidence is filed and the permit that rests on it resumed": Pair(
        Thing.submitted, Thing.file_and_have_approved, Thing.resume
    ),
    "somebody stands back and decides": Pair(Thing.submitted, Thing.stand_back, Thing.decide),
    "somebody decides and stands back": Pair(Thing.submitted, Thing.decide, Thing.stand_back, 409),
    "a request is written and a finding on it answered": Pair(_nothing, Thing.write_less, Thing.answer),
    "a finding is answered and the request changed": Pair(_crossed, Thing.answer, Thing.change),
}
"""Every pair of acts that takes two persons, save those of roles, which tests/api/test_grants.py has."""


ORDERS: Final = ("in this order", "the other way round")
CASES: Final = [
    (pair, way, order)
    for first, pair in enumerate(PAIRS)
    for second, way in enumerate(WAYS)
    for third, order in enumerate(ORDERS)
    if times(0, 1) or (first + second + third) % 2
]
"""Each pair in each way, and each way in both orders; in the long run all of it."""


@pytest.mark.parametrize(("pair", "way", "order"), CASES)
def test_what_takes_two_is_not_done_by_one_hand(
    world: World, hands: dict[str, Hands], pair: str, way: str, order: str
) -> None:
    one, other = hands[way] if order == ORDERS[0] else hands[way][::-1]
    thing, acts = Thing(world), PAIRS[pair]
    acts.ready(thing)
    first = acts.first(thing, one)
    assert first.status_code in {200, 201}, first.text
    refused = acts.second(thing, other)
    assert refused.status_code == acts.refusal, refused.text


@pytest.mark.parametrize("pair", PAIRS)
def test_what_takes_two_is_done_by_two(world: World, pair: str) -> None:
    one, other = world.person(*ROLES), world.person(*ROLES)
    thing, acts = Thing(world), PAIRS[pair]
    acts.ready(thing)
    first = acts.first(thing, one)
    assert first.status_code in {200, 201}, first.text
    done = acts.second(thing, other)
    assert done.status_code in {200, 201}, done.text


def test_an_admin_alone_takes_no_second_stage_by_keys_that_they_made(world: World, hands: dict[str, Hands]) -> None:
    one, other = hands["two keys of one maker"]
    thing = Thing(world)
    thing.submitted()
    assert thing.decide(one).status_code == 201
    assert thing.decide_next(other).status_code == 403
    assert thing.decide_next(world.reviewers["privacy"]).status_code == 201


def test_whoever_made_the_key_of_the_first_act_does_not_do_the_second_as_themselves(
    world: World, hands: dict[str, Hands]
) -> None:
    maker, made = hands["a key that one made for the other"]
    thing = Thing(world)
    assert thing.lower(made).status_code == 201
    assert thing.confirm(maker).status_code == 403
    assert thing.confirm(world.second_registrar).status_code == 200
    assert thing.write(made).status_code == 200
    assert thing.decide(maker).status_code == 403


def test_whoever_filed_the_evidence_decides_no_stage_that_rests_on_it(world: World) -> None:
    both, thing = world.person(*ROLES), Thing(world)
    thing.submitted()
    other = both.made(thing.at("evidence"), thing.record("other"))
    assert thing.decide(both).status_code == 201, other
    assert thing.file(both).status_code == 403
    second = Thing(world)
    second.submitted()
    assert second.file(both).status_code == 201
    assert second.decide(both).status_code == 403
    assert (
        second.world.requester.post(
            second.at("evidence"), second.record() | {"replaces": second.paper["id"]}
        ).status_code
        == 201
    )
    assert second.decide(both).status_code == 201


def test_what_a_renewal_repeats_is_still_that_of_whoever_filed_it(world: World) -> None:
    both, thing = world.person(*ROLES), Thing(world)
    thing.submitted()
    assert thing.file(both).status_code == 201
    thing.shown = world.auditor.get(thing.at()).json()
    thing.approved()
    thing.shown = world.requester.made(thing.at("renew"), {"valid_from": day(200), "valid_until": day(300)})
    thing.shown = world.requester.made(thing.at("submit"), None)
    assert thing.decide(both).status_code == 403
    assert thing.decide(world.reviewers["data_owner"]).status_code == 201


def test_a_verification_does_not_follow_into_a_renewal_that_the_verifier_writes(world: World) -> None:
    both, thing = world.person(*ROLES), Thing(world)
    thing.filed()
    assert thing.verify(both).status_code == 200
    thing.shown = world.auditor.get(thing.at()).json()
    thing.approved()
    first = both.made(thing.at("renew"), {"valid_from": day(200), "valid_until": day(300)})
    (contract,) = [one for one in first["evidence"] if one["kind"] == "standard_contract"]
    assert (contract["verified_by"], contract["verified_at"]) == (None, None)


def test_what_a_reviewer_withdrew_is_replaced_by_what_was_verified(world: World) -> None:
    thing = Thing(world)
    thing.filed()
    thing.shown = world.auditor.get(thing.at()).json()
    thing.approved()
    permit = f"/v1/permits/{thing.shown['permit']}"

    def reason() -> str:
        told: str = world.ask(thing.plain, thing.recipient, persons=1)["context"]["reason"]
        return told

    assert reason() == "permitted"
    away = thing.at("evidence", thing.paper["id"], "withdraw")
    world.reviewers["legal"].made(away, {"reason": "A forgery"})
    assert reason() == "evidence_lapsed"
    plain = world.requester.made(thing.at("evidence"), thing.record())
    new = world.requester.made(thing.at("evidence"), thing.record() | {"replaces": thing.paper["id"]})
    assert (new["replaces"], new["verified_by"]) == (thing.paper["id"], None)
    assert (reason(), world.auditor.get(permit).json()["status"]) == ("evidence_lapsed", "suspended")
    assert world.requester.post(thing.at("evidence", new["id"], "verify")).status_code == 403
    assert world.reviewers["legal"].post(thing.at("evidence", plain["id"], "verify")).status_code == 200
    assert reason() == "evidence_lapsed"
    assert world.reviewers["legal"].post(thing.at("evidence", new["id"], "verify")).status_code == 200
    assert (reason(), world.auditor.get(permit).json()["status"]) == ("permitted", "active")
    # Nor is what was verified replaced by what nobody has looked at.
    again = world.requester.made(thing.at("evidence"), thing.record() | {"replaces": new["id"]})
    assert world.auditor.get(permit).json()["evidence"].count(new["id"]) == 1
    assert reason() == "permitted"
    assert world.reviewers["privacy"].post(thing.at("evidence", again["id"], "verify")).status_code == 200
    assert world.auditor.get(permit).json()["evidence"].count(again["id"]) == 1


def test_in_review_another_paper_of_a_kind_that_a_reviewer_withdrew_counts_once_it_is_verified(world: World) -> None:
    thing = Thing(world)
    thing.filed()
    withdraw = thing.at("evidence", thing.paper["id"], "withdraw")
    world.reviewers["privacy"].made(withdraw, {"reason": "Another company's"})
    assert thing.file(world.requester).status_code == 201
    shown = world.auditor.get(thing.at()).json()
    assert "standard_contract" in shown["missing_evidence"]
    world.add_evidence(shown, [kind for kind in shown["missing_evidence"] if kind != "standard_contract"])
    assert thing.decide(world.reviewers["data_owner"]).status_code == 201
    assert thing.decide(world.reviewers["privacy"], "privacy").status_code == 201
    refused = thing.decide(world.reviewers["legal"], "legal")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/evidence-missing")
    assert "verified" in refused.json()["errors"][0]["detail"]
    assert thing.verify(world.reviewers["privacy"]).status_code == 200
    assert thing.decide(world.reviewers["legal"], "legal").status_code == 201


def test_what_its_own_author_withdrew_is_replaced_at_once(world: World) -> None:
    thing = Thing(world)
    thing.filed()
    world.requester.made(thing.at("evidence", thing.paper["id"], "withdraw"), {"reason": "The wrong file"})
    assert thing.file(world.requester).status_code == 201
    assert "standard_contract" not in world.auditor.get(thing.at()).json()["missing_evidence"]


def test_every_entry_names_the_credential_and_who_else_has_seen_it(world: World, hands: dict[str, Hands]) -> None:
    maker, made = hands["a key that one made for the other"]
    thing = Thing(world)
    assert thing.lower(made).status_code == 201
    (entry,) = [
        one
        for one in world.auditor.get("/v1/audit/entries", subject=thing.dataset["id"], actor=made.id).json()["items"]
        if one["details"]["state"] == "pending"
    ]
    credential = entry["details"].get("credential", {})
    assert credential.get("seen_by") == [maker.id]
    key = world.admin.get(f"/v1/api-keys/{credential['id']}").json()
    assert made.secret.startswith(key["prefix"])


def test_a_name_of_other_handlers_alone_is_as_good_as_nobodys(world: World) -> None:
    here, there = world.handler()["id"], world.handler()["id"]
    reviewer = world.person("reviewer:privacy", handler=here)
    days = {"valid_from": day(0), "valid_until": day(1), "reason": "Away"}

    def lent(name: str) -> httpx.Response:
        return reviewer.post("/v1/delegations", {"delegate": name, **days})

    stranger, nobody = lent(world.person("requester", handler=there).name), lent(world.name("nobody"))
    assert (stranger.status_code, stranger.json()["errors"]) == (422, nobody.json()["errors"])
    for known in (world.person("requester", handler=here), world.person("auditor"), world.person()):
        assert lent(known.name).status_code == 201


def test_a_receipt_that_a_reviewer_withdrew_settles_its_duty_again_once_another_is_verified(world: World) -> None:
    thing = Thing(world)
    thing.filed()
    thing.shown = world.auditor.get(thing.at()).json()
    thing.approved()

    def state() -> str:
        duties = world.auditor.get("/v1/obligations", transfer=thing.shown["id"]).json()["items"]
        (told,) = [one["state"] for one in duties if one["code"] == "file_standard_contract"]
        return str(told)

    receipt = thing.record("filing_receipt")
    first = world.requester.made(thing.at("evidence"), receipt)
    assert state() == "done"
    world.reviewers["legal"].made(thing.at("evidence", first["id"], "withdraw"), {"reason": "Not passed"})
    assert state() == "open"
    second = world.requester.made(thing.at("evidence"), receipt)
    assert state() == "open"
    world.reviewers["legal"].made(thing.at("evidence", second["id"], "verify"), None)
    assert state() == "done"
