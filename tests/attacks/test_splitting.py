"""Splitting in disguise: as renewals, by a group that nobody agreed to, with one approval for many requests."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.world import Json, Person, World, day


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


def found(world: World, shown: Json) -> list[int]:
    return [finding["total"] for finding in world.auditor.get(at(shown)).json()["findings"]]


class Company:
    """A handler with some personal datasets and recipients."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.datasets = [world.dataset(self.handler, "personal") for _ in range(3)]
        self.recipients = [world.recipient() for _ in range(3)]

    def approved(self) -> Json:
        return self.world.approved(
            self.handler, self.datasets[:2], self.recipients[0], persons=60_000, purpose=self.world.name("purpose")
        )

    def renewed(self, old: Json, **changed: object) -> Json:
        days = {"valid_from": day(0), "valid_until": day(300), "persons": 60_000, "description": "Next year"}
        new = self.world.requester.made(at(old, "renew"), days)
        if changed:
            assert self.world.requester.patch(at(new), changed).status_code == 200
        shown = self.world.requester.made(at(new, "submit"), None)
        assert shown["renews"] == old["id"]
        return shown


@pytest.fixture
def company(world: World) -> Company:
    return Company(world)


def test_a_renewal_for_others_is_counted_with_what_it_says_it_renews(world: World, company: Company) -> None:
    """Another recipient, other datasets, a part of them, more of them: nothing takes the place of anything."""
    first, second, third = (dataset["id"] for dataset in company.datasets)
    disguises: list[Json] = [
        {"recipient": company.recipients[1]["id"]},
        {"datasets": [third]},
        {"datasets": [first]},
        {"datasets": [first, second, third]},
        {"recipient": company.recipients[2]["id"], "datasets": [third]},
    ]
    for disguise in disguises:
        old = company.approved()
        new = company.renewed(old, **disguise)
        assert 120_000 in found(world, new), disguise
        assert 120_000 in found(world, old), disguise
        assert world.requester.post(at(new, "withdraw"), {"reason": "Seen"}).status_code == 200
        revoked = world.reviewers["legal"].post(f"/v1/permits/{old['permit']}/revoke", {"reason": "Seen"})
        assert revoked.status_code == 200


def test_a_renewal_that_takes_the_place_of_its_permit_is_counted_once(world: World, company: Company) -> None:
    old = company.approved()
    new = company.renewed(old)
    assert (found(world, old), found(world, new)) == ([], [])
    new = world.approve(new)
    assert world.auditor.get(f"/v1/permits/{new['permit']}").json()["supersedes"] == old["permit"]
    last = company.renewed(new)
    assert (found(world, new), found(world, last)) == ([], [])


# Groups


class Victim:
    """A company in a group, whose volume is nobody else's to know."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.group = world.name("group")
        self.handler = world.handler()
        self.set_group(world.registrar, self.handler, self.group)
        self.registrar = world.person("registrar", handler=self.handler["id"])
        self.recipient = world.recipient()
        dataset = world.dataset(self.handler, "personal")
        self.request = world.submitted(self.handler, [dataset], self.recipient, persons=63_211)

    def set_group(self, who: Person, handler: Json, group: str | None) -> Json:
        answer = who.patch(f"/v1/handlers/{handler['id']}", {"group": group})
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown


@pytest.fixture
def victim(world: World) -> Victim:
    return Victim(world)


def test_who_names_another_companys_group_learns_nothing_and_leaves_nothing_there(world: World, victim: Victim) -> None:
    mine = world.handler()
    registrar = world.person("registrar", handler=mine["id"])
    dataset = world.dataset(mine, "personal")
    for name in (victim.group, victim.group.upper()):
        assert victim.set_group(registrar, mine, name)["group_confirmed"] is False
        shown = world.submitted(mine, [dataset], victim.recipient, persons=50_000)
        assert (found(world, shown), found(world, victim.request)) == ([], [])
        assert world.requester.post(at(shown, "withdraw"), {"reason": "Nothing"}).status_code == 200
    # Nor does it confirm itself, or anybody else.
    own = f"/v1/handlers/{mine['id']}/group-claims"
    assert registrar.get(own).json()["items"] == []
    assert registrar.post(f"{own}/{mine['id']}/confirm").status_code == 409
    assert registrar.post(f"{own}/{victim.handler['id']}/confirm").status_code == 409
    there = f"/v1/handlers/{victim.handler['id']}/group-claims"
    assert registrar.get(there).status_code == 404
    assert registrar.post(f"{there}/{mine['id']}/confirm").status_code == 404


def test_a_group_counts_once_the_other_side_agrees(world: World, victim: Victim) -> None:
    mine = world.handler()
    registrar = world.person("registrar", handler=mine["id"])
    victim.set_group(registrar, mine, victim.group)
    claims = f"/v1/handlers/{victim.handler['id']}/group-claims"
    assert [one["id"] for one in victim.registrar.get(claims).json()["items"]] == [mine["id"]]
    assert victim.registrar.post(f"{claims}/{victim.handler['key']}/confirm").status_code == 404
    with ThreadPoolExecutor(2) as pool:
        agreed = list(pool.map(lambda _: victim.registrar.post(f"{claims}/{mine['key']}/confirm"), range(2)))
    assert [answer.status_code for answer in agreed] == [200, 200]
    assert agreed[0].json()["group_confirmed"] is True
    assert victim.registrar.get(claims).json()["items"] == []
    history = registrar.get(f"/v1/handlers/{mine['id']}/history").json()["items"]
    (entry,) = (one for one in history if one["action"] == "handler.group_confirmed")
    assert entry["actor"] != victim.registrar.id, "who agreed is the other company's to know"
    assert entry["details"]["after"] == {"confirmed_group": victim.group}
    dataset = world.dataset(mine, "personal")
    shown = world.submitted(mine, [dataset], victim.recipient, persons=50_000)
    assert found(world, shown) == found(world, victim.request) == [113_211]
    # To go elsewhere and come back is another claim.
    victim.set_group(registrar, mine, None)
    assert victim.set_group(registrar, mine, victim.group)["group_confirmed"] is False


def test_a_claim_that_changes_while_it_is_confirmed_is_confirmed_as_what_it_was(world: World, victim: Victim) -> None:
    """Whichever comes first: nobody is confirmed in a group that was not agreed on."""
    mine, other = world.handler(), world.name("group")
    registrar = world.person("registrar", handler=mine["id"])
    path = f"/v1/handlers/{victim.handler['id']}/group-claims/{mine['id']}/confirm"
    for _ in range(3):
        victim.set_group(registrar, mine, victim.group)
        with ThreadPoolExecutor(2) as pool:
            agreed = pool.submit(victim.registrar.post, path)
            moved = pool.submit(registrar.patch, f"/v1/handlers/{mine['id']}", {"group": other})
            assert agreed.result().status_code in {200, 404}
            if moved.result().status_code == 412:  # it was confirmed in between
                victim.set_group(registrar, mine, other)
        shown = registrar.get(f"/v1/handlers/{mine['id']}").json()
        assert (shown["group"], shown["group_confirmed"]) == (other, False)


def test_the_group_of_a_recipient_is_named_by_a_registrar_of_all(world: World) -> None:
    limited = world.person("registrar", handler=world.handler()["id"])
    body = {"key": world.name("recipient"), "name": "Partner", "country": "SG", "kind": "company", "facts": {}}
    assert limited.post("/v1/recipients", body | {"group": "Partners"}).status_code == 403
    made = limited.made("/v1/recipients", body)
    assert limited.patch(f"/v1/recipients/{made['id']}", {"group": "Partners"}).status_code == 403
    assert world.registrar.patch(f"/v1/recipients/{made['id']}", {"group": "Partners"}).status_code == 200


# Papers


def paper(kind: str = "authority_approval", **more: object) -> Json:
    return {
        "kind": kind,
        "reference": f"No. (2026) {uuid.uuid4().hex}",
        "issuer": "Ministry of Justice",
        "issued_on": day(0),
    } | more


def filed(world: World, shown: Json, record: Json) -> int:
    return world.requester.post(at(shown, "evidence"), record).status_code


def test_one_approval_serves_one_request_however_it_is_written(world: World, company: Company) -> None:
    first, second = (world.draft(company.handler, company.datasets[:1], company.recipients[0]) for _ in range(2))
    stranger = Company(world)
    third = world.draft(stranger.handler, stranger.datasets[:1], stranger.recipients[0])
    number = uuid.uuid4().hex[:8]
    record = paper(reference=f"No. (2026) 17-{number}")
    assert filed(world, first, record) == filed(world, first, record) == 201
    spellings = [
        record["reference"],
        f"no.(2026)17-{number.upper()}",
        f"\uff2e\uff4f． （２０２６） １７－{number}",
        f"No 〔2026〕 17 {number}",
        f"№\u00a0[2026] 17_{number}\u200b",
    ]
    for shown in (second, third):
        for spelling in spellings:
            for issuer in ("Ministry of Justice", "MINISTRY  OF JUSTICE.", "ministry-of-justice"):
                refused = world.requester.post(
                    at(shown, "evidence"), record | {"reference": spelling, "issuer": issuer}
                )
                assert refused.status_code == 422, spelling
                for secret in (first["id"], company.handler["id"], company.handler["key"]):
                    assert secret not in refused.text
    assert filed(world, second, record | {"issuer": "Another ministry"}) == 201
    assert filed(world, second, record | {"kind": "other"}) == 201
    # Withdrawn, it is free for its own request, and for no other.
    for one in world.auditor.get(at(first, "evidence")).json()["items"]:
        assert (
            world.requester.post(at(first, "evidence", one["id"], "withdraw"), {"reason": "Wrong"}).status_code == 200
        )
    assert filed(world, second, record) == 422
    assert filed(world, first, record) == 201


def test_of_two_requests_that_file_one_approval_at_once_one_has_it(world: World, company: Company) -> None:
    for _ in range(3):
        drafts = [world.draft(company.handler, company.datasets[:1], company.recipients[0]) for _ in range(4)]
        record = paper()
        with ThreadPoolExecutor(4) as pool:
            answers = sorted(pool.map(lambda shown, record=record: filed(world, shown, record), drafts))  # type: ignore[misc]
        assert answers == [201, 422, 422, 422]


@pytest.mark.parametrize("kind", ["security_assessment_result", "certificate"])
def test_a_result_serves_the_renewal_that_takes_over_and_no_other_request(
    world: World, company: Company, kind: str
) -> None:
    old, record = company.approved(), paper(kind)
    assert filed(world, old, record) == 201
    other = world.draft(company.handler, company.datasets[:2], company.recipients[0])
    assert filed(world, other, record) == 422, "the same parties and data, and yet another request"
    new = company.renewed(old)
    assert [one["kind"] for one in world.auditor.get(at(new)).json()["evidence"]].count(kind) == 1, "taken over"
    assert filed(world, new, record) == 201
    assert world.requester.post(at(new, "withdraw"), {"reason": "Seen"}).status_code == 200
    moved = company.renewed(old, recipient=company.recipients[1]["id"])
    assert filed(world, moved, record) == 422


def test_a_result_that_was_taken_over_does_not_carry_a_renewal_for_another_recipient(
    world: World, company: Company
) -> None:
    more = {"persons": 150_000, "route": "certification", "purpose": world.name("purpose")}
    old = world.approved(company.handler, company.datasets[:1], company.recipients[0], **more)
    days = {"valid_from": day(0), "valid_until": day(300)}
    new = world.requester.made(at(old, "renew"), days)
    assert world.requester.patch(at(new), {"recipient": company.recipients[1]["id"]}).status_code == 200
    new = world.requester.made(at(new, "submit"), None)
    world.add_evidence(new)
    stages = [stage["name"] for stage in new["stages"]]
    answers = [world.review(new, stage) for stage in stages]
    for answer in answers[:-1]:
        assert answer.status_code in {200, 201}, answer.text
    last = answers[-1]
    assert last.status_code in {409, 422}, last.text
    assert "certificate" in last.json()["missing_evidence"]
    # One of its own does.
    world.add_evidence(new, ["certificate"])
    assert world.review(new, stages[-1]).status_code in {200, 201}


def test_a_report_serves_the_scope_that_it_was_made_for_whoever_files_it_again(world: World, company: Company) -> None:
    kind, (data, more) = "impact_assessment_report", company.datasets[:2]
    to, elsewhere = company.recipients[:2]
    first = world.draft(company.handler, [data], to)
    record = paper(kind, issuer="Privacy team")
    assert filed(world, first, record) == 201
    other = world.person("requester", handler=company.handler["id"])

    def again(shown: Json) -> int:
        return other.post(at(shown, "evidence"), record | {"reference": record["reference"].lower()}).status_code

    assert again(world.draft(company.handler, [data], to)) == 201, "the same scope"
    assert again(world.draft(company.handler, [data], elsewhere)) == 422
    assert again(world.draft(company.handler, [data, more], to)) == 422
    assert again(world.draft(company.handler, [data], to, purpose="payroll")) == 422
    stranger = Company(world)
    theirs = world.draft(stranger.handler, stranger.datasets[:1], stranger.recipients[0])
    assert filed(world, theirs, record) == 201, "each company numbers its own reports"


def test_a_paper_that_a_reviewer_withdrew_serves_no_other_request_until_it_is_verified(
    world: World, company: Company
) -> None:
    data, to = company.datasets[0], company.recipients[0]
    first = world.draft(company.handler, [data], to, persons=150_000)
    record = paper("impact_assessment_report", issuer="Privacy team")
    legal = world.reviewers["legal"]
    kept = world.requester.made(at(first, "evidence"), record)
    withdrawn = legal.post(at(first, "evidence", kept["id"], "withdraw"), {"reason": "It is a forgery."})
    assert withdrawn.status_code == 200, withdrawn.text
    other = world.draft(company.handler, [data], to, persons=150_000)
    assert filed(world, other, record) == 422
    assert filed(world, other, record | {"reference": record["reference"].upper() + "."}) == 422, (
        "however it is written"
    )
    again = world.requester.made(at(first, "evidence"), record)
    assert filed(world, other, record) == 422, "nobody has verified it"
    verified = world.reviewers["privacy"].post(at(first, "evidence", again["id"], "verify"))
    assert verified.status_code == 200, verified.text
    assert filed(world, other, record) == 201
