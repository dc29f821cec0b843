"""The workflow against a small model: every actor does every act in any order over HTTP, and after each step the invariants hold.

The model remembers only what people did; what the service says is read through the API and held against it.
"""

from __future__ import annotations

import inspect
import itertools
from collections import Counter, defaultdict
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import Clock
from tests.world import STAGES, Json, Person, World

DECIDED = {"approved", "rejected", "withdrawn", "expired"}
TAGS = ["personal", "sensitive", "important", "core"]
KINDS = [
    "standard_contract",
    "certificate",
    "impact_assessment_report",
    "consent_record",
    "security_assessment_result",
    "self_assessment_report",
    "legal_instrument",
    "state_approval",
    "filing_receipt",
]

persons = st.sampled_from([1, 10, 60_000, 150_000, 1_200_000])
places = st.integers(0, 50)
"""Which of the things that are there: the remainder by their number."""


class Cast:
    """The people, the same for every example; some hold several roles, so that separation has something to separate."""

    def __init__(self, world: World) -> None:
        self.world = world
        roles = {f"only {stage}": [f"reviewer:{stage}"] for stage in STAGES} | {
            "requester": ["requester"],
            "requesting reviewer": ["requester", "reviewer:privacy", "reviewer:legal"],
            "many hats": ["reviewer:data_owner", "reviewer:privacy", "reviewer:legal", "reviewer:security"],
            "stand-in": [],
        }
        self.people = {name: world.person(*held) for name, held in roles.items()}
        self.roles = {self.people[name].id: set(held) for name, held in roles.items()}
        self.all = list(self.people.values())


class Workflow(RuleBasedStateMachine):
    """One handler with a dataset of each kind, and everything that can be done about it."""

    world: World
    clock: Clock
    cast: Cast
    seen: Counter[str]
    """What has happened in all examples: a run in which nothing happens proves nothing."""

    @initialize(dataset=st.integers(0, 2), count=persons, walked=st.integers(0, 5), fields=st.booleans())
    def begin(self, dataset: int, count: int, walked: int, *, fields: bool) -> None:
        """Begin with one request, walked some stages on, so that every example has something to act on."""
        self._begin()
        self.draft(0, dataset, count, 300, fields=fields)
        self.approve_by_the_right_people(0, walked, terms=False)

    def _begin(self) -> None:
        self.clock.ahead = timedelta()
        self.handler = self.world.handler()
        self.datasets = [self.world.dataset(self.handler, *tags) for tags in (["personal"], ["important"], ["core"])]
        self.tags = {dataset["id"]: self._tags(dataset) for dataset in self.datasets}
        self.recipient = self.world.recipient()
        self.transfers: list[str] = []
        self.authors: defaultdict[str, set[str]] = defaultdict(set)
        self.recused: defaultdict[str, set[str]] = defaultdict(set)
        self.reviewed: dict[str, tuple[str, str | None]] = {}
        self.lent: list[tuple[str, str, date, date, set[str]]] = []
        self.permits: dict[str, Json] = {}
        self.exports: list[Json] = []
        self.numbers = itertools.count()
        self.touched: str | None = None
        self.gradings = 0

    # What there is

    def _tags(self, dataset: Json) -> list[str]:
        found: list[str] = self.world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"]
        return found

    @property
    def today(self) -> date:
        return self.clock().astimezone(ZoneInfo("Asia/Shanghai")).date()

    def day(self, ahead: int) -> str:
        return (self.today + timedelta(days=ahead)).isoformat()

    def one(self, place: int) -> str:
        self.touched = self.transfers[place % len(self.transfers)]
        return self.touched

    def person(self, place: int) -> Person:
        return self.cast.all[place % len(self.cast.all)]

    def asker(self, place: int) -> Person:
        """Mostly somebody who may ask for transfers; every fourth time anybody."""
        if place % 4 == 3:
            return self.person(place)
        return self.cast.people["requesting reviewer" if place % 4 == 2 else "requester"]

    def reviewer(self, stage: str, place: int) -> Person:
        """Mostly somebody who may decide a stage; every third time anybody."""
        if place % 3 == 2:
            return self.person(place)
        return self.cast.people[f"only {stage}" if place % 3 == 0 else "many hats"]

    def shown(self, transfer: str) -> Json:
        found: Json = self.world.auditor.get(f"/v1/transfers/{transfer}").json()
        return found

    def ok(self, answer: httpx.Response) -> bool:
        """Nothing that anybody does is a fault of the service; tell whether it was done."""
        assert answer.status_code < 500, answer.text
        assert answer.status_code not in {400, 401, 415}, answer.text
        if answer.status_code < 300:
            self.seen[inspect.stack()[1].function] += 1
        return answer.status_code < 300

    def may(self, principal: str, stage: str, behalf: str | None) -> bool:
        """Tell by the model whether somebody is entitled to a stage today, in their own right or for somebody else."""
        role = f"reviewer:{stage}"
        if behalf is None:
            return role in self.cast.roles[principal]
        return role in self.cast.roles[behalf] and any(
            (owner, to) == (behalf, principal) and begins <= self.today <= ends and role in roles
            for owner, to, begins, ends, roles in self.lent
        )

    # Requesters

    @rule(who=places, dataset=st.integers(0, 2), count=persons, days=st.integers(5, 400), fields=st.booleans())
    def draft(self, who: int, dataset: int, count: int, days: int, *, fields: bool) -> None:
        person = self.asker(who)
        data = self.datasets[dataset]
        is_personal = {"personal", "sensitive"} & set(self.tags[data["id"]])
        body = {
            "handler": self.handler["id"],
            "datasets": [data["id"]],
            "recipient": self.recipient["id"],
            "purpose": "analytics",
            "description": "Any",
            "fields": ["city", "amount"] if fields else None,
            "persons": count if is_personal else 0,
            "valid_from": self.day(0),
            "valid_until": self.day(days),
        }
        answer = person.post("/v1/transfers", body)
        if self.ok(answer):
            self.transfers.append(answer.json()["id"])
            self.authors[answer.json()["id"]].add(person.id)
            if self.ok(person.post(f"/v1/transfers/{answer.json()['id']}/submit")):
                self.touched = answer.json()["id"]

    @precondition(lambda self: self.transfers)
    @rule(place=places, who=places)
    def submit(self, place: int, who: int) -> None:
        transfer, person = self.one(place), self.asker(who)
        if self.ok(person.post(f"/v1/transfers/{transfer}/submit")):
            self.authors[transfer].add(person.id)

    @precondition(lambda self: self.transfers)
    @rule(
        place=places,
        who=places,
        change=st.sampled_from(
            [
                {"persons": 20},
                {"purpose": "other"},
                {"systems": ["crm"]},
                {"fields": ["city"]},
                {"route": "certification"},
            ]
        ),
    )
    def change(self, place: int, who: int, change: Json) -> None:
        transfer, person = self.one(place), self.asker(who)
        path = f"/v1/transfers/{transfer}"
        tag = self.world.auditor.get(path).headers["ETag"]
        if self.ok(person.send("PATCH", path, change, If_Match=tag)):
            self.authors[transfer].add(person.id)

    @precondition(lambda self: self.transfers)
    @rule(place=places, who=places)
    def withdraw(self, place: int, who: int) -> None:
        self.ok(self.asker(who).post(f"/v1/transfers/{self.one(place)}/withdraw"))

    @precondition(lambda self: self.transfers)
    @rule(place=places, days=st.none() | st.integers(-3, 90))
    def add_what_is_missing(self, place: int, days: int | None) -> None:
        shown = self.shown(self.one(place))
        for kind in shown["missing_evidence"]:
            paper = {"kind": kind, "reference": "1", "issuer": "I", "issued_on": self.day(-10)}
            until = None if days is None else self.day(days)
            self.ok(self.world.requester.post(f"/v1/transfers/{shown['id']}/evidence", paper | {"valid_until": until}))

    @precondition(lambda self: self.transfers)
    @rule(place=places, kind=st.sampled_from(KINDS))
    def add_a_paper(self, place: int, kind: str) -> None:
        paper = {"kind": kind, "reference": "1", "issuer": "I", "issued_on": self.day(-1)}
        self.ok(self.world.requester.post(f"/v1/transfers/{self.one(place)}/evidence", paper))

    @precondition(lambda self: self.transfers)
    @rule(place=places, which=places, replace=st.booleans())
    def lose_a_paper(self, place: int, which: int, *, replace: bool) -> None:
        shown = self.shown(self.one(place))
        if not shown["evidence"]:
            return
        old = shown["evidence"][which % len(shown["evidence"])]
        path = f"/v1/transfers/{shown['id']}/evidence"
        if replace:
            paper = {
                "kind": old["kind"],
                "reference": "2",
                "issuer": "I",
                "issued_on": self.day(0),
                "replaces": old["id"],
            }
            self.ok(self.world.requester.post(path, paper))
        else:
            self.ok(self.world.requester.post(f"{path}/{old['id']}/withdraw", {"reason": "Wrong"}))

    @precondition(lambda self: self.transfers)
    @rule(place=places, who=places)
    def accept(self, place: int, who: int) -> None:
        shown, person = self.shown(self.one(place)), self.asker(who)
        if shown["revision"]:
            accept = {"revision": shown["revision"]["hash"]}
            if self.ok(person.post(f"/v1/transfers/{shown['id']}/terms/accept", accept)):
                self.authors[shown["id"]].add(person.id)

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, days=st.integers(1, 300), more=st.booleans())
    def renew(self, place: int, who: int, days: int, *, more: bool) -> None:
        permit, person = list(self.permits.values())[place % len(self.permits)], self.asker(who)
        body = {"valid_from": self.day(days // 3), "valid_until": self.day(days)} | (
            {"purpose": "more"} if more else {}
        )
        answer = person.post(f"/v1/transfers/{permit['transfer']}/renew", body)
        if self.ok(answer):
            self.transfers.append(answer.json()["id"])
            self.authors[answer.json()["id"]].add(person.id)

    # Reviewers

    @precondition(lambda self: self.transfers)
    @rule(
        place=places,
        who=places,
        decision=st.sampled_from(["approve", "approve", "approve", "return", "reject"]),
        tied=st.sampled_from([None, None, {"persons": 5}, {"terms": ["Report"]}, {"valid_days": 3}]),
    )
    def review(self, place: int, who: int, decision: str, tied: Json | None) -> None:
        shown = self.shown(self.one(place))
        stage = next((one["name"] for one in shown["stages"] if one["status"] == "open"), "privacy")
        self._review(shown, self.reviewer(stage, who), decision, tied)

    @precondition(lambda self: self.transfers)
    @rule(place=places, stages=st.integers(1, 5), terms=st.booleans())
    def approve_by_the_right_people(self, place: int, stages: int, *, terms: bool) -> None:
        """Walk a request on, so that the examples come to permits at all."""
        shown = self.shown(self.one(place))
        self.add_what_is_missing(place, None)
        for stage in shown["stages"][:stages]:
            if stage["status"] in {"open", "waiting"}:
                tied = {"terms": ["Report"]} if terms and stage is shown["stages"][-1] else None
                self._review(self.shown(shown["id"]), self.cast.people[f"only {stage['name']}"], "approve", tied)

    def _review(self, shown: Json, person: Person, decision: str, tied: Json | None) -> None:
        stage = next((one["name"] for one in shown["stages"] if one["status"] == "open"), "privacy")
        body = {"stage": stage, "decision": decision, "revision": (shown["revision"] or {"hash": "none"})["hash"]}
        body |= {"comment": "Seen"} | ({"conditions": tied} if tied and decision == "approve" else {})
        self._given(shown, person, person.post(f"/v1/transfers/{shown['id']}/reviews", body))

    def _given(self, shown: Json, person: Person, answer: httpx.Response) -> None:
        """Hold a review that was taken against the model: entitled, no author, nobody twice, not recused, on what was seen."""
        if not self.ok(answer):
            return
        made = answer.json()["reviews"][-1]
        behalf = made["on_behalf_of"]
        parties = {person.id} | ({behalf} if behalf else set())
        assert made["hash"] == shown["revision"]["hash"]
        assert self.may(person.id, made["stage"], behalf)
        assert not parties & self.authors[shown["id"]]
        assert not parties & self.recused[shown["id"]]
        earlier = [one for one in answer.json()["reviews"][:-1] if one["standing"] == "counts"]
        assert not parties & {party for one in earlier for party in (one["reviewer"], one["on_behalf_of"])}
        self.reviewed[made["id"]] = (person.id, behalf)

    @precondition(lambda self: self.transfers)
    @rule(place=places, who=places, which=places)
    def take_back(self, place: int, who: int, which: int) -> None:
        around = [self.transfers[(place + step) % len(self.transfers)] for step in range(min(4, len(self.transfers)))]
        shown = next((one for one in map(self.shown, around) if self._can_be_taken_back(one)), self.shown(around[0]))
        self.touched = shown["id"]
        reviews = [one for one in shown["reviews"] if one["standing"] == "counts"] or shown["reviews"]
        if not reviews:
            return
        given = reviews[which % len(reviews)]
        path = f"/v1/transfers/{shown['id']}/reviews/{given['id']}/take-back"
        person = next((one for one in self.cast.all if one.id == given["reviewer"]), self.person(who))
        if self.ok(person.post(path, {"reason": "A stray click"})):
            assert shown["status"] == "in_review"
            assert shown["permit"] is None

    def _can_be_taken_back(self, shown: Json) -> bool:
        return shown["status"] == "in_review" and any(one["standing"] == "counts" for one in shown["reviews"])

    @precondition(lambda self: self.transfers)
    @rule(place=places)
    def carry_over(self, place: int) -> None:
        shown = self.shown(self.one(place))
        for one in shown["carryable"]:
            person = next(each for each in self.cast.all if each.id == one["reviewer"])
            path = f"/v1/transfers/{shown['id']}/reviews/{one['review']}/carry-over"
            answer = person.post(path, {"revision": shown["revision"]["hash"]})
            if answer.status_code == 201:
                assert one["changed"] == []
            self._given(shown, person, answer)
            shown = self.shown(shown["id"])

    @precondition(lambda self: self.transfers)
    @rule(place=places, who=places)
    def recuse(self, place: int, who: int) -> None:
        transfer, person = self.one(place), self.person(who)
        if self.ok(person.post(f"/v1/transfers/{transfer}/recuse", {"reason": "Kin"})):
            self.recused[transfer].add(person.id)

    @precondition(lambda self: len(self.lent) < 4)
    @rule(who=places, to=places, begins=st.integers(0, 3), days=st.integers(0, 10))
    def lend(self, who: int, to: int, begins: int, days: int) -> None:
        away, stand_in = self.person(who), self.person(to)
        body = {"delegate": stand_in.id, "valid_from": self.day(begins), "valid_until": self.day(begins + days)}
        answer = away.post("/v1/delegations", body | {"reason": "Leave", "handler": self.handler["id"]})
        if self.ok(answer):
            first, last = self.today + timedelta(days=begins), self.today + timedelta(days=begins + days)
            self.lent.append((away.id, stand_in.id, first, last, set(answer.json()["roles"])))

    # Permits, the register, the gate

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, act=st.sampled_from(["suspend", "resume", "revoke"]))
    def act_on_a_permit(self, place: int, who: int, act: str) -> None:
        permit = list(self.permits)[place % len(self.permits)]
        self.ok(self.reviewer("legal", who).post(f"/v1/permits/{permit}/{act}", {"reason": "So"}))

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, count=persons)
    def narrow(self, place: int, who: int, count: int) -> None:
        permit = list(self.permits.values())[place % len(self.permits)]
        answer = self.asker(who).post(f"/v1/permits/{permit['id']}/amend", {"persons": count, "reason": "Less"})
        if self.ok(answer):
            assert count <= permit["persons"]

    @precondition(lambda self: self.gradings < 3)
    @rule(dataset=st.integers(0, 2), tags=st.sets(st.sampled_from(TAGS), max_size=3), confirm=st.booleans())
    def grade(self, dataset: int, tags: set[str], *, confirm: bool) -> None:
        self.gradings += 1
        data = self.datasets[dataset]
        path = f"/v1/datasets/{data['id']}/gradings"
        body = {"tags": sorted(tags), "reason": "Looked", "basis": "Catalogue"}
        made = self.world.registrar.post(path, body)
        if self.ok(made) and confirm and made.json()["state"] == "pending":
            self.ok(self.world.second_registrar.post(f"{path}/{made.json()['number']}/confirm"))
        self.tags[data["id"]] = self._tags(data)

    @rule(
        dataset=st.integers(0, 2),
        count=st.sampled_from([0, 1, 5, 60_000]),
        end=st.sampled_from(["complete", "cancel", None]),
    )
    def export(self, dataset: int, count: int, end: str | None) -> None:
        data = self.datasets[dataset]
        answer = self.world.export(data, self.recipient, count, fields=["city"])
        if not self.ok(answer):
            return
        export = answer.json()
        permit = self.world.auditor.get(f"/v1/permits/{export['permit']}").json() if export["permit"] else None
        if permit is not None:
            # Exhausted by this very export is fine; anything else that is not active should not have let it through.
            assert permit["status"] in {"active", "exhausted"}, permit
            bound = next(one for one in permit["datasets"] if one["id"] == data["id"])
            assert sorted(bound["tags"]) == sorted(self.tags[data["id"]])
        else:
            assert self.tags[data["id"]] == []
        path = f"/v1/exports/{export['id']}"
        if end == "complete":
            assert self.ok(self.world.exporter.post(f"{path}/complete", {"persons": count, "sensitive_persons": 0}))
        elif end == "cancel":
            assert self.ok(self.world.exporter.post(f"{path}/cancel"))

    @precondition(lambda self: self.clock.ahead < timedelta(days=150))
    @rule(days=st.sampled_from([1, 3, 20, 100]))
    def wait(self, days: int) -> None:
        self.clock.ahead += timedelta(days=days)

    # What holds after every step

    @invariant()
    def every_permit_was_rightly_issued(self) -> None:
        if not hasattr(self, "handler"):
            return
        found = self.world.auditor.get("/v1/permits", handler=self.handler["id"], limit=200).json()["items"]
        for permit in found:
            if permit["id"] not in self.permits:
                self._issued(permit)
            self.permits[permit["id"]] = permit
            self._in_force(permit)

    def _issued(self, permit: Json) -> None:
        self.seen["permits"] += 1
        shown = self.shown(permit["transfer"])
        counting = [one for one in shown["reviews"] if one["standing"] == "counts"]
        assert shown["status"] == "approved"
        assert {one["stage"] for one in counting} == {stage["name"] for stage in shown["stages"]}
        assert all(one["decision"] == "approve" and one["hash"] == permit["revision"] for one in counting)
        parties = [party for one in counting for party in (one["reviewer"], one["on_behalf_of"]) if party]
        assert len(parties) == len(set(parties))
        assert not set(parties) & (self.authors[shown["id"]] | {shown["requester"]})
        assert all(self.reviewed[one["id"]] == (one["reviewer"], one["on_behalf_of"]) for one in counting)
        kinds = {paper["kind"] for paper in shown["evidence"] if paper["id"] in permit["evidence"]}
        if any("core" in one["tags"] for one in permit["datasets"]):
            assert {"state_approval", "security_assessment_result"} <= kinds

    def _in_force(self, permit: Json) -> None:
        sent, reserved = permit["sent"], permit["reserved"]
        for kind in ("persons", "sensitive_persons"):
            assert sent[kind] + reserved[kind] <= permit[kind]
        if permit["status"] != "active":
            return
        assert permit["valid_until"] >= self.today.isoformat()
        papers = {paper["id"]: paper for paper in self.shown(permit["transfer"])["evidence"]}
        for ident in permit["evidence"]:
            ends = papers[ident]["valid_until"]
            assert papers[ident]["ended_at"] is None
            assert ends is None or permit["valid_until"] <= ends

    @invariant()
    def the_log_explains_the_state(self) -> None:
        if getattr(self, "touched", None) is None or self.touched is None:
            return
        shown = self.shown(self.touched)
        entries = self.world.auditor.get(f"/v1/transfers/{self.touched}/history", limit=200).json()
        if entries["next_cursor"] is not None:
            return
        status, approvals = self._told(entries["items"])
        if shown["status"] == "expired":
            assert status not in DECIDED
            return
        assert status == shown["status"], (status, shown["status"])
        counting = {
            one["stage"]: one["reviewer"]
            for one in shown["reviews"]
            if one["standing"] == "counts" and one["decision"] == "approve"
        }
        assert counting == approvals
        approved = {stage["name"] for stage in shown["stages"] if stage["status"] == "approved"}
        assert approved == set(approvals)
        assert (shown["permit"] is not None) == (status == "approved")

    def _told(self, entries: list[Json]) -> tuple[str, dict[str, str]]:
        """Return the state and the standing approvals that the entries of a transfer amount to."""
        status, approvals = "none", dict[str, str]()
        for entry in entries:
            details = entry["details"]
            status = {"transfer.created": "draft", "transfer.withdrawn": "withdrawn"}.get(
                entry["action"], details.get("status", status)
            )
            if entry["action"] == "transfer.submitted":
                approvals = {}
            elif entry["action"] == "transfer.reviewed" and details["decision"] == "approve":
                approvals[details["stage"]] = entry["actor"]
            elif entry["action"] == "transfer.approval_taken_back":
                del approvals[details["stage"]]
        return status, approvals
