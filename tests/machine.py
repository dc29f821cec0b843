"""The workflow against a small model: every actor does every act in any order over HTTP, and after each step the invariants hold.

The model remembers only what people did and were answered; what the service says is read through the API and held against it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import Clock
from tests.invariants import demand_exact
from tests.told import PERMIT, REQUEST, Told
from tests.world import STAGES, Json, Person, World

REVIEWERS = {f"reviewer:{stage}" for stage in STAGES}
RESTORERS = {"reviewer:legal", "reviewer:security"}
TAGS = ["personal", "sensitive", "important", "core"]
KINDS = [
    "standard_contract",
    "impact_assessment_report",
    "security_assessment_result",
    "state_approval",
    "filing_receipt",
]
CORE_KINDS = {"state_approval", "security_assessment_result"}
THREE_YEARS = {"certificate", "security_assessment_result"}
"""Kinds that the law lets live for three years, and no longer, whatever they state (LAW, CBDF 9)."""

FIELDS = ["city", "amount"]
"""All that a dataset has."""

persons = st.sampled_from([1, 10, 60_000, 150_000, 1_200_000])
COUNTRIES = ["SG", "SG", "DE"]
"""Where the recipient is."""

TAKEN = ["paper", "grading", "recipient", "duty", "permit", "width", "report", "delegation", "lender", "reviewer"]
"""What is taken away at the beginning of an example, so that few examples come to each."""

places = st.integers(0, 50)
"""Which of the things that are there: the remainder by their number."""


def implied(tags: set[str]) -> set[str]:
    """Return tags with what they imply: core data is important data, sensitive information is personal."""
    return tags | {weaker for tag, weaker in (("core", "important"), ("sensitive", "personal")) if tag in tags}


@dataclass
class Paper:
    """A piece of evidence."""

    kind: str
    transfer: str
    issued: date
    stated: date | None
    by: str
    ended: bool = False

    @property
    def last_day(self) -> date | None:
        """The last day on which it can count."""
        by_law = self.issued.replace(year=self.issued.year + 3, day=min(self.issued.day, 28)) + timedelta(days=3)
        ends = [*([self.stated] if self.stated else []), *([by_law] if self.kind in THREE_YEARS else [])]
        return min(ends, default=None)

    def counts(self, today: date) -> bool:
        """Tell whether it is evidence on a day."""
        return not self.ended and self.issued <= today and (self.last_day is None or today <= self.last_day)


@dataclass
class Given:
    """A standing approval of the revision in review."""

    review: str
    person: str
    behalf: str | None
    terms: bool
    """Whether the requester has still to accept terms."""

    @property
    def parties(self) -> set[str]:
        return {self.person} | ({self.behalf} if self.behalf else set())


@dataclass
class Request:
    """A transfer, as far as people have done something about it."""

    id: str
    datasets: list[str]
    authors: set[str]
    recused: set[str] = field(default_factory=set)
    hashes: list[str] = field(default_factory=list)
    """Of its revisions, oldest first."""
    number: int = 0
    frozen: Any = None
    """The register as it was when the last revision was submitted."""
    approvals: dict[str, Given] = field(default_factory=dict)


@dataclass
class Permit:
    """A permit with what was done to it."""

    id: str
    request: Request
    allows: Json
    """As issued, narrowed since."""
    tags: dict[str, list[str]]
    papers: set[str]
    country: str
    """Of the recipient, as it was approved."""
    status: str = "active"


class Cast:
    """The people, the same for every example; what each may do is given anew for the handler of each example."""

    ROLES = {f"only {stage}": [f"reviewer:{stage}"] for stage in STAGES} | {
        "requester": ["requester"],
        "requesting reviewer": ["requester", *sorted(REVIEWERS)],
        "many hats": ["reviewer:data_owner", "reviewer:privacy", "reviewer:legal", "reviewer:security"],
        "stand-in": [],
    }

    def __init__(self, world: World) -> None:
        self.world = world
        self.people = {name: world.person() for name in self.ROLES}
        hats = self.people["many hats"]
        secret = world.admin.made("/v1/api-keys", {"principal": hats.id})["secret"]
        self.all = [
            *self.people.values(),
            Person(world.http, secret, hats.id, hats.name),  # two keys of one person are one person
            world.person("requester", *sorted(REVIEWERS), handler=world.handler()["id"]),  # of another tenant
        ]
        self.gateway = world.person(kind="system")


class Workflow(RuleBasedStateMachine):
    """One handler with a dataset of each kind, and everything that can be done about it."""

    world: World
    clock: Clock
    database_url: str
    cast: Cast
    seen: Counter[str]
    """What was done in all examples: a run in which nothing happens proves nothing."""

    @initialize(
        who=places,
        dataset=st.integers(0, 2),
        count=persons,
        walked=st.sampled_from([5, 5, 5, 5, 3, 1]),
        shaken=st.sampled_from(["request", "register", *TAKEN]),
        ends=st.sampled_from([None, None, 40, 2]),
        fields=st.booleans(),
        terms=st.booleans(),
    )
    def begin(
        self,
        who: int,
        dataset: int,
        count: int,
        walked: int,
        shaken: str | None,
        ends: int | None,
        *,
        fields: bool,
        terms: bool,
    ) -> None:
        """Begin with one request, walked some stages on, so that every example has something to act on."""
        self.clock.ahead = timedelta()
        self.handler = self.world.handler()
        self.ciio = False
        self.grants: dict[tuple[str, str], str] = {}
        for name, roles in self.cast.ROLES.items():
            for role in roles:
                self._give(self.cast.people[name].id, role)
        self._give(self.cast.gateway.id, "exporter")
        self.datasets = [self.world.dataset(self.handler, *tags) for tags in (["personal"], ["important"], ["core"])]
        self.tags = {data["id"]: self._tags(data) for data in self.datasets}
        self.country = COUNTRIES[0]
        self.recipient = self.world.recipient(self.country)
        self.requests: dict[str, Request] = {}
        self.papers: dict[str, Paper] = {}
        self.permits: dict[str, Permit] = {}
        self.lent: dict[str, tuple[str, str, date, date, set[str]]] = {}
        self.exports: dict[str, Json] = {}
        self.gradings = 0
        self.told = Told()
        self.cursor: str | None = None
        self.draft(4 * who + who % 3, dataset, count, 300, fields=fields, both=False)
        self.approve_by_the_right_people(0, walked, ends, terms=terms and who % 2 == 0)
        if shaken == "request":
            self.change(0, 4 * who, {"fields": ["city"]})
        elif shaken == "register":
            self.change_the_register(100, 0)
        elif shaken is not None:
            self.everything_is_right()
            self._take_away(shaken, dataset)
            self.the_gate_lets_nothing_through_that_should_not_go()
        self.try_what_may_not_be(0, out_of_turn=False)

    def _take_away(self, what: str, dataset: int) -> None:  # noqa: C901 - one case for each thing
        """Take away one of the things that a fresh permit, or the next approval, rests on."""
        stage = self._open(self.one(0))
        reviewer = self.cast.people[f"only {stage}"]
        stand_in = self.cast.all.index(self.cast.people["stand-in"])
        match what:
            case "paper" if self.permits:
                self.withdraw_a_paper(0, 1, 0)
            case "grading":
                self.grade(dataset, {"personal", "important"} if dataset == 0 else {"core", "personal"}, confirm=False)
            case "recipient":
                self.move_the_recipient("DE")
            case "duty":
                self.wait(40)
            case "permit" if self.permits:
                self.act_on_a_permit(0, 0, "suspend")
            case "width" if self.permits:
                self.narrow(0, 0, {"persons": 1_200_000})
            case "report" if self.permits:
                self.export(dataset, 5 if dataset == 0 else 0, "analytics", ["city"], None)
                for which in range(len(self.exports)):
                    self.end_an_export(which, "complete", 1)
            case "delegation" | "lender":
                self.lend(self.cast.all.index(reviewer), stand_in, 0, 10)
                if what == "delegation" and self.lent:
                    self.end_a_delegation(0, 0)
                elif what == "lender":
                    self._withdraw((reviewer.id, f"reviewer:{stage}"))
            case "reviewer":
                self.recuse(0, self.cast.all.index(reviewer))

    # What there is

    def _tags(self, dataset: Json) -> list[str]:
        found: list[str] = self.world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"]
        return found

    @property
    def now(self) -> datetime:
        return self.clock()

    @property
    def today(self) -> date:
        return self.now.astimezone(ZoneInfo("Asia/Shanghai")).date()

    def day(self, ahead: int) -> str:
        return (self.today + timedelta(days=ahead)).isoformat()

    def one(self, place: int) -> Request:
        return list(self.requests.values())[place % len(self.requests)]

    def permit(self, place: int) -> Permit:
        return list(self.permits.values())[place % len(self.permits)]

    def person(self, place: int) -> Person:
        return self.cast.all[place % len(self.cast.all)]

    def asker(self, place: int) -> Person:
        """Mostly somebody who may ask for transfers, and who could review them too; every fourth time anybody."""
        if place % 4 == 3:
            return self.person(place)
        return self.cast.people["requester" if place % 4 == 0 else "requesting reviewer"]

    def reviewer(self, stage: str, place: int, request: Request | None = None) -> Person:
        """Mostly somebody who may decide a stage; every third time one of those who are barred from it, or anybody."""
        if place % 3 != 2:
            return self.cast.people[f"only {stage}" if place % 3 == 0 else "many hats"]
        barred = [] if request is None else [one for one in self.cast.all if self.barred(request, one.id)]
        return barred[place // 3 % len(barred)] if barred and place % 2 else self.person(place)

    def shown(self, request: Request) -> Json:
        found: Json = self.world.auditor.get(f"/v1/transfers/{request.id}").json()
        return found

    @property
    def register(self) -> Any:
        """What the register says that a revision is bound to."""
        return ((self.ciio, self.country), {ident: sorted(tags) for ident, tags in self.tags.items()})

    def done(self, act: str, answer: httpx.Response) -> bool:
        """Nothing that anybody does is a fault of the service; tell whether it was done."""
        assert answer.status_code < 500, answer.text
        assert answer.status_code not in {400, 401, 415}, answer.text
        self.seen[act] += answer.status_code < 300
        return answer.status_code < 300

    def holds(self, principal: str, roles: set[str]) -> bool:
        """Tell by the model whether somebody has one of the roles today, their own or lent."""
        own = any((principal, role) in self.grants for role in roles)
        return own or any(
            to == principal
            and begins <= self.today <= ends
            and any((owner, role) in self.grants for role in lent & roles)
            for owner, to, begins, ends, lent in self.lent.values()
        )

    def may(self, principal: str, stage: str, behalf: str | None) -> bool:
        """Tell by the model whether somebody is entitled to a stage today, in their own right or for somebody else."""
        role = f"reviewer:{stage}"
        if behalf is None:
            return (principal, role) in self.grants
        return (behalf, role) in self.grants and any(
            (owner, to) == (behalf, principal) and begins <= self.today <= ends and role in lent
            for owner, to, begins, ends, lent in self.lent.values()
        )

    def barred(self, request: Request, principal: str) -> bool:
        """Tell by the model whether the separation of duties keeps somebody from deciding a stage."""
        decided = set[str]().union(*(given.parties for given in request.approvals.values()))
        return principal in request.authors | request.recused | decided

    # Requesters

    @rule(
        who=places,
        dataset=st.integers(0, 2),
        count=persons,
        days=st.integers(5, 400),
        fields=st.booleans(),
        both=st.booleans(),
    )
    def draft(self, who: int, dataset: int, count: int, days: int, *, fields: bool, both: bool) -> None:
        person = self.asker(who)
        wanted = [self.datasets[dataset]["id"]] + ([self.datasets[dataset - 1]["id"]] if both and who % 5 == 0 else [])
        is_personal = any({"personal", "sensitive"} & set(self.tags[ident]) for ident in wanted)
        body = {
            "handler": self.handler["id"],
            "datasets": wanted,
            "recipient": self.recipient["id"],
            "purpose": "analytics",
            "description": "Any",
            "fields": ["city", "amount"] if fields else None,
            "persons": count if is_personal else 0,
            "valid_from": self.day(0),
            "valid_until": self.day(days),
        }
        answer = person.post("/v1/transfers", body)
        if self.done("draft", answer):
            assert self.holds(person.id, {"requester"})
            request = self._begun(answer.json(), person)
            self._submitted("submit", request, person, person.post(f"/v1/transfers/{request.id}/submit"))

    def _begun(self, shown: Json, person: Person) -> Request:
        request = Request(shown["id"], sorted(shown["datasets"]), {person.id})
        self.requests[request.id] = request
        return request

    def _submitted(self, act: str, request: Request, person: Person, answer: httpx.Response) -> None:
        """Note what a change or a submission did: the hand that wrote, and a new revision without any approval."""
        if not self.done(act, answer):
            return
        assert self.holds(person.id, {"requester"})
        request.authors.add(person.id)
        revision = answer.json()["revision"]
        if revision is not None and revision["number"] != request.number:
            assert revision["number"] == request.number + 1
            request.number, request.frozen, request.approvals = revision["number"], self.register, {}
            request.hashes.append(revision["hash"])

    @rule(place=places, who=places)
    def submit(self, place: int, who: int) -> None:
        request, person = self.one(place), self.asker(who)
        self._submitted("submit", request, person, person.post(f"/v1/transfers/{request.id}/submit"))

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
        request, person = self.one(place), self.asker(who)
        path = f"/v1/transfers/{request.id}"
        tag = self.world.auditor.get(path).headers["ETag"]
        self._submitted("change", request, person, person.send("PATCH", path, change, If_Match=tag))

    @rule(place=places, who=places)
    def withdraw(self, place: int, who: int) -> None:
        request, person = self.one(place), self.asker(who)
        if self.done("withdraw", person.post(f"/v1/transfers/{request.id}/withdraw")):
            assert self.holds(person.id, {"requester"})
            assert all(permit.request is not request for permit in self.permits.values())

    @rule(place=places, who=places)
    def accept_terms(self, place: int, who: int) -> None:
        request, person = self.one(place), self.asker(who)
        if not request.hashes:
            return
        accept = {"revision": request.hashes[-(who % 2) - 1 if len(request.hashes) > 1 else -1]}
        if self.done("accept_terms", person.post(f"/v1/transfers/{request.id}/terms/accept", accept)):
            assert accept["revision"] == request.hashes[-1]
            assert not any(person.id in given.parties for given in request.approvals.values())
            request.authors.add(person.id)
            for given in request.approvals.values():
                given.terms = False

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, days=st.integers(1, 300), more=st.booleans())
    def renew(self, place: int, who: int, days: int, *, more: bool) -> None:
        permit, person = self.permit(place), self.asker(who)
        body = {"valid_from": self.day(days // 3), "valid_until": self.day(days)} | (
            {"purpose": "more"} if more else {}
        )
        answer = person.post(f"/v1/transfers/{permit.request.id}/renew", body)
        if self.done("renew", answer):
            request = self._begun(answer.json(), person)
            for shown in answer.json()["evidence"]:
                old = self.papers[shown["reused_from"]]
                assert old.counts(self.today)
                self.papers[shown["id"]] = Paper(old.kind, request.id, old.issued, old.stated, person.id)
            self._submitted("submit", request, person, person.post(f"/v1/transfers/{request.id}/submit"))

    # Evidence

    def _add(self, act: str, request: Request, person: Person, paper: Json) -> None:
        answer = person.post(f"/v1/transfers/{request.id}/evidence", paper)
        if not self.done(act, answer):
            return
        assert self.holds(person.id, {"requester"})
        made = answer.json()
        stated = None if paper.get("valid_until") is None else date.fromisoformat(paper["valid_until"])
        issued = date.fromisoformat(paper["issued_on"])
        self.papers[made["id"]] = Paper(paper["kind"], request.id, issued, stated, person.id)
        if "replaces" in paper:
            self.papers[paper["replaces"]].ended = True
            for permit in self.permits.values():
                if paper["replaces"] in permit.papers:
                    permit.papers = permit.papers - {paper["replaces"]} | {made["id"]}

    @rule(place=places, days=st.none() | st.integers(-3, 90))
    def add_what_is_missing(self, place: int, days: int | None) -> None:
        request = self.one(place)
        for kind in self.shown(request)["missing_evidence"]:
            until = None if days is None else self.day(days)
            paper = {"kind": kind, "reference": "1", "issuer": "I", "issued_on": self.day(-10), "valid_until": until}
            self._add("add_evidence", request, self.cast.people["requester"], paper)

    @rule(place=places, who=places, kind=st.sampled_from(KINDS), issued=st.sampled_from([-1, -1, -1060, 5]))
    def add_a_paper(self, place: int, who: int, kind: str, issued: int) -> None:
        paper = {"kind": kind, "reference": "1", "issuer": "I", "issued_on": self.day(issued)}
        self._add("add_evidence", self.one(place), self.asker(who), paper)

    def _paper(self, request: Request, which: int) -> str | None:
        """One of a request's papers; every third time one of another request."""
        wanted = [ident for ident, paper in self.papers.items() if which % 3 == 2 or paper.transfer == request.id]
        return wanted[which % len(wanted)] if wanted else None

    @rule(place=places, which=places, who=places, days=st.none() | st.integers(-3, 90))
    def replace_a_paper(self, place: int, which: int, who: int, days: int | None) -> None:
        request = self.one(place)
        old = self._paper(request, which)
        if old is None:
            return
        until = None if days is None else self.day(days)
        paper = {"kind": self.papers[old].kind, "reference": "2", "issuer": "I", "issued_on": self.day(0)}
        self._add("replace_evidence", request, self.asker(who), paper | {"valid_until": until, "replaces": old})

    @rule(place=places, which=places, who=places)
    def withdraw_a_paper(self, place: int, which: int, who: int) -> None:
        """Withdraw any paper; every other time one that a permit rests on."""
        permit = self.permit(place) if self.permits and which % 2 else None
        request = self.one(place) if permit is None else permit.request
        old = self._paper(request, which) if permit is None else min(permit.papers, default=None)
        if old is None:
            return
        person = self.asker(who)
        answer = person.post(f"/v1/transfers/{request.id}/evidence/{old}/withdraw", {"reason": "Wrong"})
        if self.done("withdraw_evidence", answer):
            assert self.holds(person.id, REVIEWERS | {"requester"})
            assert not self.papers[old].ended
            self.papers[old].ended = True

    @rule(place=places, which=places, who=places)
    def verify_a_paper(self, place: int, which: int, who: int) -> None:
        request, person = self.one(place), self.reviewer("legal", who)
        ident = self._paper(request, which)
        if ident is None:
            return
        if self.done("verify_evidence", person.post(f"/v1/transfers/{request.id}/evidence/{ident}/verify")):
            paper = self.papers[ident]
            assert self.holds(person.id, REVIEWERS)
            assert not paper.ended
            assert person.id not in request.authors | {paper.by}

    # Reviewers

    @rule(
        place=places,
        who=places,
        stale=st.sampled_from([False, False, True]),
        decision=st.sampled_from(["approve", "approve", "approve", "return", "reject"]),
        tied=st.sampled_from(
            [None, None, {"persons": 5}, {"terms": ["Report"]}, {"valid_days": 3}, {"fields": ["city"]}]
        ),
    )
    def review(self, place: int, who: int, decision: str, tied: Json | None, *, stale: bool) -> None:
        """Decide the open stage; sometimes on a revision that was seen earlier."""
        request = self.one(place)
        stage = self._open(request)
        self._review(request, self.reviewer(stage, who, request), stage, decision, tied, 0 if stale else -1)

    @rule(place=places, who=places, stage=st.sampled_from(STAGES))
    def review_out_of_turn(self, place: int, who: int, stage: str) -> None:
        """Approve any stage, whether it is open or not."""
        request = self.one(place)
        self._review(request, self.reviewer(stage, who, request), stage, "approve", None, -1)

    @rule(place=places, out_of_turn=st.booleans())
    def try_what_may_not_be(self, place: int, *, out_of_turn: bool) -> None:
        """Everybody who may not decide the open stage tries to; whoever may tries on what was seen earlier, or out of turn."""
        request = self.one(place)
        if not request.hashes:
            return
        stages = [one["name"] for one in self.shown(request)["stages"]]
        stage = stages[-1] if out_of_turn and stages else self._open(request)
        is_open = stage == self._open(request)
        has_moved = self._register_of(request, request.frozen) != self._register_of(request, self.register)
        for person in self.cast.all:
            may = self.holds(person.id, {f"reviewer:{stage}"}) and not self.barred(request, person.id)
            if may and is_open and not has_moved and len(request.hashes) == 1:
                continue
            revision = request.hashes[0 if may and is_open and not has_moved else -1]
            body = {"stage": stage, "decision": "approve", "revision": revision, "comment": "Seen"}
            answer = person.post(f"/v1/transfers/{request.id}/reviews", body)
            assert not self.done("what may not be", answer), (person.name, body)

    @staticmethod
    def _register_of(request: Request, register: Any) -> Any:
        return (register[0], [register[1][ident] for ident in request.datasets])

    @rule(place=places, stages=st.integers(1, 5), ends=st.sampled_from([None, None, 40, 2, -2]), terms=st.booleans())
    def approve_by_the_right_people(self, place: int, stages: int, ends: int | None, *, terms: bool) -> None:
        """Walk a request on, so that the examples come to permits at all."""
        request = self.one(place)
        self.add_what_is_missing(place, ends)
        there = self.shown(request)["stages"]
        for stage in there[:stages]:
            if stage["status"] in {"open", "waiting"}:
                tied = {"terms": ["Report"]} if terms and stage is there[-1] else None
                name = stage["name"]
                self._review(request, self.cast.people[f"only {name}"], name, "approve", tied, -1)

    def _open(self, request: Request) -> str:
        stages = self.shown(request)["stages"]
        return next((one["name"] for one in stages if one["status"] == "open"), "privacy")

    def _review(
        self, request: Request, person: Person, stage: str, decision: str, tied: Json | None, seen: int
    ) -> None:
        body = {"stage": stage, "decision": decision, "revision": request.hashes[seen] if request.hashes else "none"}
        body |= {"comment": "Seen"} | ({"conditions": tied} if tied and decision == "approve" else {})
        answer = person.post(f"/v1/transfers/{request.id}/reviews", body)
        if self.done(decision, answer):
            assert body["revision"] == request.hashes[-1]
            self._given(request, person, answer.json())

    def _given(self, request: Request, person: Person, shown: Json) -> None:
        """Hold a review that was taken against the model: entitled, no author, nobody twice, not recused, on what stands."""
        made = shown["reviews"][-1]
        behalf, stage = made["on_behalf_of"], made["stage"]
        assert (made["reviewer"], made["hash"]) == (person.id, request.hashes[-1])
        assert self.may(person.id, stage, behalf)
        assert not self.barred(request, person.id)
        assert behalf is None or not self.barred(request, behalf)
        assert stage not in request.approvals
        assert not any(given.terms for given in request.approvals.values())
        if made["decision"] == "approve":
            assert self._register_of(request, request.frozen) == self._register_of(request, self.register)
            terms = bool((made["conditions"] or {}).get("terms"))
            request.approvals[stage] = Given(made["id"], person.id, behalf, terms)

    @rule(place=places, which=places, who=places)
    def take_back(self, place: int, which: int, who: int) -> None:
        """Take an approval back: mostly one's own, of whichever request has one."""
        with_some = [request for request in self.requests.values() if request.approvals]
        if not with_some:
            return
        request = with_some[place % len(with_some)]
        stage, given = list(request.approvals.items())[which % len(request.approvals)]
        giver = next(one for one in self.cast.all if one.id == given.person)
        person = self.person(who) if who % 4 == 3 else giver
        path = f"/v1/transfers/{request.id}/reviews/{given.review}/take-back"
        if self.done("take_back", person.post(path, {"reason": "A stray click"})):
            assert person.id in given.parties
            assert all(permit.request is not request for permit in self.permits.values())
            del request.approvals[stage]

    @rule(place=places, who=places)
    def carry_over(self, place: int, who: int) -> None:
        around = [self.one(place + step) for step in range(min(3, len(self.requests)))]
        request, shown = next(
            ((one, shown) for one in around if (shown := self.shown(one))["carryable"]), (around[0], {"carryable": []})
        )
        for one in shown["carryable"]:
            giver = next(each for each in self.cast.all if each.id == one["reviewer"])
            person = self.person(who) if who % 4 == 3 else giver
            path = f"/v1/transfers/{request.id}/reviews/{one['review']}/carry-over"
            answer = person.post(path, {"revision": request.hashes[-1]})
            if self.done("carry_over", answer):
                assert one["changed"] == []
                assert person.id == one["reviewer"]
                self._given(request, person, answer.json())

    @rule(place=places, who=places)
    def recuse(self, place: int, who: int) -> None:
        request, person = self.one(place), self.person(who)
        if self.done("recuse", person.post(f"/v1/transfers/{request.id}/recuse", {"reason": "Kin"})):
            request.recused.add(person.id)

    @rule(place=places, who=places, whom=places)
    def assign(self, place: int, who: int, whom: int) -> None:
        """Ask somebody to review: nobody is asked to review what they may not."""
        request = self.one(place)
        stage = self._open(request)
        chosen, person = self.reviewer(stage, whom, request), self.reviewer(stage, who)
        body = {"stage": stage, "reviewer": chosen.id, "reason": "Turn"}
        if self.done("assign", person.post(f"/v1/transfers/{request.id}/assign", body)):
            assert self.holds(chosen.id, {f"reviewer:{stage}"})
            assert not self.barred(request, chosen.id)

    @rule(who=places)
    def look_at_the_queue(self, who: int) -> None:
        person = self.person(who)
        answer = person.get("/v1/queue", handler=self.handler["id"])
        if self.done("queue", answer):
            for item in answer.json()["items"]:
                assert self.holds(person.id, {f"reviewer:{item['stage']}"})
                assert not self.barred(self.requests[item["transfer"]], person.id)

    @rule(place=places, who=places, whom=places)
    def comment(self, place: int, who: int, whom: int) -> None:
        body = {"text": "See this", "mentions": [self.person(whom).id]}
        self.done("comment", self.person(who).post(f"/v1/transfers/{self.one(place).id}/comments", body))

    # Who may do what

    def _give(self, principal: str, role: str) -> None:
        grant = {"principal": principal, "role": role, "handler": self.handler["id"]}
        self.grants[principal, role] = self.world.admin.made("/v1/grants", grant)["id"]

    @rule(who=places, role=st.sampled_from(["requester", *sorted(REVIEWERS)]))
    def give_a_role(self, who: int, role: str) -> None:
        person = self.person(who)
        if (person.id, role) not in self.grants:
            self._give(person.id, role)
            self.seen["give_a_role"] += 1

    @rule(which=places)
    def withdraw_a_role(self, which: int) -> None:
        """Take a role away; every fourth time the exporter's, since it stops everything."""
        held = list(self.grants) if which % 4 == 0 else [one for one in self.grants if one[1] != "exporter"]
        if not held:
            return
        self._withdraw(held[which % len(held)])
        self.try_what_may_not_be(which, out_of_turn=False)

    def _withdraw(self, lost: tuple[str, str]) -> None:
        grant = self.grants.pop(lost)
        assert self.done("withdraw_a_role", self.world.admin.post(f"/v1/grants/{grant}/withdraw"))

    @rule()
    def give_back_what_is_needed(self) -> None:
        """Let there be a requester, an exporter and a reviewer of each stage again, so that examples go on."""
        wanted = [("requester", "requester"), *((f"only {stage}", f"reviewer:{stage}") for stage in STAGES)]
        people = [(self.cast.gateway.id, "exporter"), *((self.cast.people[name].id, role) for name, role in wanted)]
        for principal, role in people:
            if (principal, role) not in self.grants:
                self._give(principal, role)

    @precondition(lambda self: len(self.lent) < 4)
    @rule(who=places, to=places, begins=st.integers(0, 3), days=st.integers(0, 10))
    def lend(self, who: int, to: int, begins: int, days: int) -> None:
        away, stand_in = self.person(who), self.person(to)
        body = {"delegate": stand_in.id, "valid_from": self.day(begins), "valid_until": self.day(begins + days)}
        answer = away.post("/v1/delegations", body | {"reason": "Leave", "handler": self.handler["id"]})
        if self.done("lend", answer):
            made = answer.json()
            assert all((away.id, role) in self.grants for role in made["roles"])
            first, last = self.today + timedelta(days=begins), self.today + timedelta(days=begins + days)
            self.lent[made["id"]] = (away.id, stand_in.id, first, last, set(made["roles"]))

    @precondition(lambda self: self.lent)
    @rule(which=places, who=places)
    def end_a_delegation(self, which: int, who: int) -> None:
        ident = list(self.lent)[which % len(self.lent)]
        owner, stand_in = self.lent[ident][:2]
        person = self.person(who) if who % 3 == 2 else next(one for one in self.cast.all if one.id == owner)
        if self.done("end_a_delegation", person.post(f"/v1/delegations/{ident}/end")):
            assert person.id in {owner, stand_in}
            del self.lent[ident]
            self.try_what_may_not_be(which, out_of_turn=False)

    # Permits

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, act=st.sampled_from(["suspend", "suspend", "resume", "resume", "revoke"]))
    def act_on_a_permit(self, place: int, who: int, act: str) -> None:
        permit, person = self.permit(place), self.reviewer("legal", who)
        if self.done(act, person.post(f"/v1/permits/{permit.id}/{act}", {"reason": "So"})):
            assert self.holds(person.id, REVIEWERS if act == "suspend" else RESTORERS)
            assert permit.status != "revoked"
            permit.status = {"suspend": "suspended", "resume": "active", "revoke": "revoked"}[act]
            if act != "resume":
                self._stop_what_follows(permit.id)

    def _stop_what_follows(self, stopped: str) -> None:
        """What was issued to follow a permit that is stopped, and has not begun, is suspended with it."""
        for follower in self.permits.values():
            if follower.allows["supersedes"] == stopped:
                if follower.status == "active" and follower.allows["valid_from"] > self.today.isoformat():
                    follower.status = "suspended"
                self._stop_what_follows(follower.id)

    @precondition(lambda self: self.permits)
    @rule(
        place=places,
        who=places,
        less=persons.map(lambda count: {"persons": count})
        | st.sampled_from([{"fields": ["city"]}, {"fields": ["city", "amount"]}, {"systems": ["crm"]}])
        | st.integers(0, 300).map(lambda ahead: {"valid_until": ahead}),
    )
    def narrow(self, place: int, who: int, less: Json) -> None:
        permit, person = self.permit(place), self.asker(who)
        less = {"valid_until": self.day(less["valid_until"])} if "valid_until" in less else less
        answer = person.post(f"/v1/permits/{permit.id}/amend", less | {"reason": "Less"})
        if self.done("narrow", answer):
            assert self.holds(person.id, REVIEWERS | {"requester"})
            for name, value in less.items():
                before = permit.allows[name]
                assert (before is None or set(value) <= set(before)) if isinstance(value, list) else value <= before
            permit.allows |= less

    # The register

    @precondition(lambda self: self.gradings < 4)
    @rule(dataset=st.integers(0, 2), tags=st.sets(st.sampled_from(TAGS), max_size=3), confirm=st.booleans())
    def grade(self, dataset: int, tags: set[str], *, confirm: bool) -> None:
        """Grade anew: raised, lowered or cleared, the latter two confirmed by a second person or not yet."""
        self.gradings += 1
        data = self.datasets[dataset]
        before = set(self.tags[data["id"]])
        path = f"/v1/datasets/{data['id']}/gradings"
        body = {"tags": sorted(tags), "reason": "Looked", "basis": "Catalogue"}
        made = self.world.registrar.post(path, body)
        if self.done("grade", made):
            self.tags[data["id"]] = self._tags(data)
            now = set(self.tags[data["id"]])
            assert now <= before | tags
            assert implied(now) >= implied(tags)
            assert implied(now) >= implied(before)  # nothing is lost before a second person has confirmed
            if made.json()["state"] == "pending" and confirm:
                self._confirm(data, made.json()["number"], tags)

    @rule(dataset=st.integers(0, 2), alone=st.booleans())
    def confirm_a_grading(self, dataset: int, *, alone: bool) -> None:
        data = self.datasets[dataset]
        found = self.world.auditor.get("/v1/gradings", dataset=data["id"], state="pending").json()["items"]
        for pending in found:
            if alone:
                path = f"/v1/datasets/{data['id']}/gradings/{pending['number']}/confirm"
                assert self.world.registrar.post(path).status_code == 403  # whoever asked for it does not confirm it
            else:
                self._confirm(data, pending["number"], set(pending["tags"]))

    def _confirm(self, data: Json, number: int, tags: set[str]) -> None:
        path = f"/v1/datasets/{data['id']}/gradings/{number}/confirm"
        if self.done("confirm", self.world.second_registrar.post(path)):
            self.tags[data["id"]] = self._tags(data)
            assert set(self.tags[data["id"]]) == tags

    @rule(scale=st.sampled_from([100, 200]), dataset=st.integers(0, 2))
    def change_the_register(self, scale: int, dataset: int) -> None:
        """Let the handler become critical infrastructure, or no longer be; let a dataset grow, which may have to be filed anew."""
        if scale == 100 and dataset == 0:
            answer = self.world.registrar.patch(
                f"/v1/handlers/{self.handler['id']}", {"facts": {"ciio": not self.ciio}}
            )
            assert self.done("change_facts", answer)
            self.ciio = not self.ciio
        else:
            path = f"/v1/datasets/{self.datasets[dataset]['id']}"
            assert self.done("change_scale", self.world.registrar.patch(path, {"scale": scale}))

    @rule(country=st.sampled_from(COUNTRIES))
    def move_the_recipient(self, country: str) -> None:
        """Let the recipient be in another country, or back where it was approved."""
        path = f"/v1/recipients/{self.recipient['id']}"
        if self.done("move_recipient", self.world.registrar.patch(path, {"country": country})):
            self.country = country

    # Duties and findings

    @rule(which=places, who=places, act=st.sampled_from(["complete", "complete", "reopen", "assign"]))
    def see_to_a_duty(self, which: int, who: int, act: str) -> None:
        found = self.world.auditor.get("/v1/obligations", handler=self.handler["id"], limit=200).json()["items"]
        if not found:
            return
        person, duty = self.reviewer("legal", who), found[which % len(found)]
        body = {"complete": {"note": "No. 7"}, "reopen": {"reason": "Oh"}, "assign": {"owner": person.id}}[act]
        if self.done(f"{act}_duty", person.post(f"/v1/obligations/{duty['id']}/{act}", body)):
            assert act != "complete" or duty["settled_by"] is None
            assert self.holds(person.id, RESTORERS if act == "reopen" else REVIEWERS | {"requester"})

    @rule(which=places, who=places)
    def answer_a_finding(self, which: int, who: int) -> None:
        found = self.world.auditor.get("/v1/findings", handler=self.handler["id"], limit=200).json()["items"]
        if not found:
            return
        person, finding = self.reviewer("legal", who), found[which % len(found)]
        answer = person.post(f"/v1/findings/{finding['id']}/answer", {"answer": "justified", "reason": "Two projects"})
        if self.done("answer_finding", answer):
            assert finding["answered_at"] is None
            assert self.holds(person.id, {"reviewer:legal"})
            assert person.id not in self.requests[finding["transfer"]].authors

    # The gate

    @rule(
        dataset=st.integers(0, 2),
        count=st.sampled_from([0, 1, 5, 60_000, 150_000]),
        purpose=st.sampled_from(["analytics", "analytics", "analytics", "other", "more"]),
        fields=st.sampled_from([["city"], ["city"], ["city", "amount"], None]),
        end=st.sampled_from(["complete", "cancel", None, None]),
    )
    def export(self, dataset: int, count: int, purpose: str, fields: list[str] | None, end: str | None) -> None:
        data = self.datasets[dataset]
        body = {"dataset": data["id"], "recipient": self.recipient["id"], "purpose": purpose, "fields": fields}
        answer = self.cast.gateway.post("/v1/exports", body | {"persons": count, "sensitive_persons": 0})
        if not self.done("export", answer):
            return
        export = answer.json()
        assert (self.cast.gateway.id, "exporter") in self.grants
        if export["permit"] is None:
            assert self.tags[data["id"]] == []
        else:
            self._allowed(data["id"], body, export["permit"])
        self.exports[export["id"]] = {"permit": export["permit"], "held": count, "sent": 0, "at": self.clock.ahead}
        if end is not None:
            self.end_an_export(-1, end, 0)

    @rule(count=st.none() | st.sampled_from([1, 60_000]), all_fields=st.booleans())
    def ask(self, count: int | None, *, all_fields: bool) -> None:
        """Ask the gate about each dataset; nothing is reserved by that."""
        for data in self.datasets:
            self._ask(data, count, all_fields=all_fields)

    def _ask(self, data: Json, count: int | None, *, all_fields: bool) -> None:
        context = {
            "recipient": self.recipient["id"],
            "purpose": "analytics",
            "fields": None if all_fields else ["city"],
        }
        context |= {} if count is None else {"persons": count}
        body = {
            "subject": {"type": "system", "id": self.cast.gateway.name},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": data["id"]},
            "context": {name: value for name, value in context.items() if value is not None},
        }
        answer = self.cast.gateway.post("/access/v1/evaluation", body)
        if answer.status_code == 403:
            assert (self.cast.gateway.id, "exporter") not in self.grants
        elif self.done("ask", answer) and answer.json()["decision"]:
            assert (self.cast.gateway.id, "exporter") in self.grants
            permit = answer.json()["context"]["permit"]
            if permit is None:
                assert self.tags[data["id"]] == []
            else:
                self._allowed(data["id"], context, permit)

    def _allowed(self, dataset: str, wanted: Json, ident: str) -> None:
        """Hold what the gate let through against everything that a permit is bound to."""
        permit = self.permits[ident]
        allows = permit.allows
        assert permit.status == "active"
        assert self.world.auditor.get(f"/v1/permits/{ident}").json()["status"] == "active"
        assert permit.country == self.country
        assert allows["valid_from"] <= self.today.isoformat() <= allows["valid_until"]
        assert sorted(permit.tags[dataset]) == sorted(self.tags[dataset])
        assert wanted["purpose"] == allows["purpose"]
        assert allows["fields"] is None or set(wanted["fields"] or FIELDS) <= set(allows["fields"])
        assert allows["systems"] is None
        assert all(self.papers[paper].counts(self.today) for paper in permit.papers)
        if self.ciio and "personal" in self.tags[dataset]:
            # PIPL 40: personal information of critical infrastructure leaves by an assessment only
            assert allows["mechanism"] in {"security_assessment", "state_approval"}
        if "core" in self.tags[dataset]:
            assert {self.papers[paper].kind for paper in permit.papers} >= CORE_KINDS

    @precondition(lambda self: self.permits)
    @rule(place=places)
    def try_to_take_more_than_is_left(self, place: int) -> None:
        """Export what is left of a permit and one person more."""
        permit = self.permit(place)
        left = permit.allows["persons"] - self._used(permit)
        body = {"dataset": min(permit.tags), "recipient": self.recipient["id"], "permit": permit.id}
        body |= {"purpose": permit.allows["purpose"], "fields": ["city"], "persons": left + 1, "sensitive_persons": 0}
        if self.tags[min(permit.tags)]:
            assert not self.done("one too many", self.cast.gateway.post("/v1/exports", body))

    def _used(self, permit: Permit) -> int:
        """Persons that have gone under a permit, and those that are held."""
        used = [export for export in self.exports.values() if export["permit"] == permit.id]
        held = sum(export["held"] for export in used if export["at"] == self.clock.ahead)
        return int(sum(export["sent"] for export in used) + held)

    @precondition(lambda self: self.exports)
    @rule(which=places, end=st.sampled_from(["complete", "cancel"]), more=st.sampled_from([-1, 0, 0, 1]))
    def end_an_export(self, which: int, end: str, more: int) -> None:
        """Report an export, of fewer or more persons than were reserved, or give it back."""
        ident = list(self.exports)[which % len(self.exports)]
        export = self.exports[ident]
        count = max(0, export["held"] + more)
        body = {"persons": count, "sensitive_persons": 0} if end == "complete" else None
        if self.done(end, self.cast.gateway.post(f"/v1/exports/{ident}/{end}", body)):
            assert (self.cast.gateway.id, "exporter") in self.grants
            assert count <= export["held"] or end == "cancel"
            assert export["at"] == self.clock.ahead  # no reservation lasts for a day
            export |= {"held": 0, "sent": export["sent"] + (count if end == "complete" else 0), "at": None}

    @precondition(lambda self: self.clock.ahead < timedelta(days=150))
    @rule(days=st.sampled_from([1, 3, 20, 100]))
    def wait(self, days: int) -> None:
        self.clock.ahead += timedelta(days=days)

    # What holds after every step

    def _listed(self, what: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        cursor: dict[str, str] = {}
        for _ in itertools.count():
            page = self.world.auditor.get(f"/v1/{what}", handler=self.handler["id"], limit=200, **cursor).json()
            found |= {one["id"]: one for one in page["items"]}
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        return found

    @invariant()
    def the_gate_lets_nothing_through_that_should_not_go(self) -> None:
        """Ask the gate after every step for the least that may go, so that nothing that took a right away was missed."""
        for data in self.datasets if hasattr(self, "told") else ():
            if any(data["id"] in permit.tags for permit in self.permits.values()):
                self._ask(data, None, all_fields=False)

    @invariant()
    def everything_is_right(self) -> None:
        if not hasattr(self, "told"):
            return
        transfers, permits = self._listed("transfers"), self._listed("permits")
        for ident, shown in permits.items():
            if ident not in self.permits:
                self._issued(shown, transfers[shown["transfer"]])
        assert permits.keys() == self.permits.keys()
        assert transfers.keys() == self.requests.keys()
        for shown in permits.values():
            self._in_force(shown)
        self._nothing_oversold()
        demand_exact(self.database_url)
        self._approvals_stand(transfers)
        self._explained(transfers, permits)

    def _issued(self, shown: Json, transfer: Json) -> None:
        """No permit without each stage approved by different, entitled people, none of them an author, on the very revision.

        That each was entitled is held against the model when the approval is given.
        """
        self.seen["permits"] += 1
        request = self.requests[shown["transfer"]]
        assert transfer["status"] == "approved"
        assert shown["revision"] == request.hashes[-1] == transfer["revision"]["hash"]
        assert request.approvals.keys() == {stage["name"] for stage in transfer["stages"]}
        assert not any(given.terms for given in request.approvals.values())
        parties = [party for given in request.approvals.values() for party in given.parties]
        assert len(parties) == len(set(parties))
        assert not set(parties) & (request.authors | request.recused)
        bound = {one["id"]: one["tags"] for one in shown["datasets"]}
        assert all(sorted(tags) == sorted(self.tags[ident]) for ident, tags in bound.items())
        permit = Permit(shown["id"], request, {**shown}, bound, set(shown["evidence"]), self.country)
        self.permits[shown["id"]] = permit
        kinds = {self.papers[paper].kind for paper in permit.papers}
        assert {item["code"] for item in transfer["determination"]["evidence"]} <= kinds
        older = self.permits.get(shown["supersedes"] or "")
        if older is not None:
            ends = max(date.fromisoformat(shown["valid_from"]), self.today) - timedelta(days=1)
            older.allows["valid_until"] = min(older.allows["valid_until"], ends.isoformat())

    def _in_force(self, shown: Json) -> None:
        """No active permit past its evidence, its days, its duties or what people did; core data only by the state's approval."""
        if shown["status"] not in {"active", "exhausted"}:
            return
        permit = self.permits[shown["id"]]
        assert permit.status == "active"
        assert permit.allows["valid_until"] >= shown["valid_until"] >= self.today.isoformat()
        papers = [self.papers[ident] for ident in permit.papers]
        assert all(paper.counts(self.today) for paper in papers)
        assert all(paper.last_day is None or shown["valid_until"] <= paper.last_day.isoformat() for paper in papers)
        if any("core" in tags for tags in permit.tags.values()):
            assert {paper.kind for paper in papers} >= CORE_KINDS
        due = shown["receipt_due_on"]
        if due is not None and due < self.today.isoformat():
            assert any(
                paper.kind == "filing_receipt"
                and paper.transfer == permit.request.id
                and not paper.ended
                and paper.issued <= self.today
                for paper in self.papers.values()
            )

    def _nothing_oversold(self) -> None:
        """What has gone, and what is held, is never more than what is permitted."""
        for permit in self.permits.values():
            assert self._used(permit) <= permit.allows["persons"]

    def _approvals_stand(self, transfers: dict[str, Json]) -> None:
        for ident, shown in transfers.items():
            counting = {
                one["stage"]: one["reviewer"]
                for one in shown["reviews"]
                if one["standing"] == "counts" and one["decision"] == "approve"
            }
            assert counting == {stage: given.person for stage, given in self.requests[ident].approvals.items()}
            assert {one["stage"] for one in shown["reviews"]} <= set(STAGES)

    def _explained(self, transfers: dict[str, Json], permits: dict[str, Json]) -> None:
        """The state of everything, recomputed from the entries alone, is what the API shows."""
        params: Json = {"handler": self.handler["id"], "limit": 200}
        while True:
            page = self.world.auditor.get(
                "/v1/audit/entries", **params, **({"cursor": self.cursor} if self.cursor else {})
            ).json()
            self.told.hear(page["items"])
            if page["next_cursor"] is None:
                break
            self.cursor = page["next_cursor"]
        assert self.told.datasets == {ident: shown["tags"] for ident, shown in self._listed("datasets").items()}
        assert self.told.permits.keys() == permits.keys()
        for ident, shown in permits.items():
            told = self.told.permit(ident, self.now, self.today)
            shows = {name: shown[name] for name in PERMIT} | {"overdue": sorted(shown["overdue"])}
            assert told == shows
        assert self.told.transfers.keys() == transfers.keys()
        for ident, shown in transfers.items():
            self._transfer_explained(shown, self.told.transfer(ident, self.today))

    def _transfer_explained(self, shown: Json, told: Json) -> None:
        for name in (*REQUEST, "status", "renews", "permit"):
            assert told[name] == shown[name], (name, told[name], shown[name])
        assert told["revision"] == (shown["revision"] or {"hash": None})["hash"]
        assert told["recused"] == set(shown["recused"])
        assert told["approvals"].keys() == {one["name"] for one in shown["stages"] if one["status"] == "approved"}
        assert told["evidence"] == {paper["id"] for paper in shown["evidence"]}
        assert self.told.ended & told["evidence"] == {paper["id"] for paper in shown["evidence"] if paper["ended_at"]}
        assert (shown["permit"] is not None) == (shown["status"] == "approved")
