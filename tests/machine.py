"""The workflow against a small model: every actor does every act in any order over HTTP, and after each step the invariants hold.

The model remembers only what people did and were answered; what the service says is read through the API and held against it.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import Clock
from tests.invariants import require_exact
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

CONTRACTS = {"standard_contract", "certificate"}
"""Kinds of which one meets the law where it asks for a contract or a certificate."""

INDIFFERENT = {
    "data_owner": {"systems", "route"},
    "privacy": {"systems", "route"},
    "legal": {"systems"},
    "security": {"route"},
    "executive": set[str](),
}
"""What of a request may change without a stage having to decide anew, of all that is changed here."""

FIELDS = ["city", "amount"]
"""All that a dataset has."""

persons = st.sampled_from([60_000, 150_000, 60_000, 1_200_000, 150_000, 10, 1])
"""Two of the most frequent count cross a line together."""

datasets = st.sampled_from([0, 0, 1, 2])
"""Personal data twice, important data, core data."""

COUNTRIES = ["SG", "SG", "DE"]
"""Where the recipient is."""

TAKEN = ["paper", "grading", "recipient", "duty", "permit", "width", "report", "delegation", "lender", "reviewer"]
"""What is taken away at the beginning of an example, so that few examples come to each."""

places = st.integers(0, 50)
"""Which of the things that are there: the remainder by their number."""

terms = st.sampled_from([None, None, None, 0, -1])
"""Which of the stages is approved on terms only."""

Thing = TypeVar("Thing")


def aimed(place: int, things: Sequence[Thing], fits: Callable[[Thing], bool]) -> Thing:
    """Mostly one of those that an act can be done to, if there is one; every fourth time any: refusals are looked at, too."""
    among = [one for one in things if fits(one)] if place % 4 < 3 else []
    among = among or list(things)
    return among[place // 4 % len(among)]


def at_most(times: int, *acts: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let acts that take something away succeed so often in an example: where all is torn down nothing is ever reached."""
    return precondition(lambda self: sum(self.did[act] for act in acts) < times)


def asked_by_law(tags: set[str], count: int, *, ciio: bool) -> tuple[set[str], set[str]]:
    """Return the stages and the kinds of evidence that a request takes at the least, whatever has gone in the year (LAW 3, 4).

    One kind stands for all that serve instead of it.
    """
    kinds = {"impact_assessment_report", "consent_record"} if "personal" in tags else set[str]()
    stages = {"privacy"} if "personal" in tags else set[str]()
    if "core" in tags:
        return set(STAGES), kinds | CORE_KINDS
    if "important" in tags or ("personal" in tags and (ciio or count >= 1_000_000)):
        return set(STAGES[:4]), kinds | {"security_assessment_result"}
    if "personal" in tags and count >= 100_000:
        return set(STAGES[:3]), kinds | {"standard_contract"}
    return stages, kinds


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
    by: set[str]
    """Who filed it, and whatever it repeats."""
    replaces: str | None = None
    verified_by: str | None = None
    ended: bool = False
    is_replaced: bool = False

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
class Content:
    """What a revision is of."""

    hash: str
    asked: Json
    """What the requesters had last been answered that the request asks for."""
    register: Any
    """What it is bound to, as it was when it was submitted."""

    def differs(self, other: Content) -> set[str]:
        """Tell in which parts it is not the same as another."""
        parts = {name for name in self.asked if self.asked[name] != other.asked[name]}
        return parts | ({"register"} if self.register != other.register else set())


@dataclass
class Request:
    """A transfer, as far as people have done something about it."""

    id: str
    datasets: list[str]
    authors: set[str]
    recused: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)
    """Kinds of evidence that the law asks for the last revision."""
    distrusted: set[str] = field(default_factory=set)
    """Kinds of which a reviewer withdrew a paper."""
    revisions: list[Content] = field(default_factory=list)
    """Oldest first."""
    approvals: dict[str, Given] = field(default_factory=dict)
    """Of the last revision."""
    given: dict[str, tuple[str, Content]] = field(default_factory=dict)
    """Every approval that was not taken back: its stage, and what it was given on."""

    @property
    def last(self) -> Content:
        return self.revisions[-1]

    @property
    def stale(self) -> str | None:
        """The hash of what was seen earlier, and is no longer what stands."""
        return next((one.hash for one in self.revisions if one.hash != self.last.hash), None)

    @property
    def waits_for_terms(self) -> bool:
        return any(given.terms for given in self.approvals.values())


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
        shaken=st.sampled_from([None] * 12 + ["request", "register", *TAKEN]),
        ends=st.sampled_from([None, None, None, 40, 2]),
        fields=st.booleans(),
        terms=terms,
        more=st.sampled_from([0, 1, 2, 2]),
    )
    def begin(
        self,
        who: int,
        dataset: int,
        count: int,
        walked: int,
        shaken: str | None,
        ends: int | None,
        terms: int | None,
        more: int,
        *,
        fields: bool,
    ) -> None:
        """Begin with a request, walked some stages on, and more that are submitted only: every example has something to act on."""
        self.clock.ahead = timedelta()
        self.did: Counter[str] = Counter()
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
        self.transfers: dict[str, Json] = {}
        self.issued: dict[str, Json] = {}
        self.told = Told()
        self.cursor: str | None = None
        self.draft(4 * who + who % 3, dataset, count, 300, 0, fields=fields, both=False)
        self._walk(self.one(0), walked, ends, terms, None)
        self.everything_is_right()
        if shaken == "request":
            self.change(0, 4 * who, {"fields": ["city"]})
        elif shaken == "register":
            self.change_the_register(100, 0)
        elif shaken is not None:
            self._take_away(shaken, dataset)
            self.the_gate_lets_nothing_through_that_should_not_go()
        self.try_what_may_not_be(0, out_of_turn=False)
        for again in range(more):
            self.draft(again, dataset if again else 0, 150_000 if again else 60_000, 200, 0, fields=fields, both=False)

    def _take_away(self, what: str, dataset: int) -> None:  # noqa: C901 - one case for each thing
        """Take away one of the things that a fresh permit, or the next approval, rests on."""
        stage = self._open(self.one(0))
        reviewer = self.cast.people[f"only {stage}"]
        stand_in = self.cast.all.index(self.cast.people["stand-in"])
        match what:
            case "paper" if self.permits:
                self.withdraw_a_paper(0, 1, 0)
            case "grading":
                self.grade(dataset, {"sensitive"} if dataset == 0 else {"core", "personal"}, more=True, confirm=False)
            case "recipient":
                self.move_the_recipient("DE")
            case "duty":
                self.wait(40)
            case "permit" if self.permits:
                self._act_on_a_permit(self.permit(0), self.reviewer("legal", 0), "suspend")
            case "width" if self.permits:
                self.narrow(0, 0, {"persons": 1_200_000})
            case "report" if self.permits:
                self.export(dataset, 5 if dataset == 0 else 0, "analytics", ["city"], None)
                for which in range(len(self.exports)):
                    self.end_an_export(4 * which, "complete", 1)
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

    def one(self, place: int, *statuses: str) -> Request:
        """One of the requests; mostly one that stood in one of the states after the last step."""
        return aimed(place, list(self.requests.values()), lambda one: self.status(one) in statuses)

    def status(self, request: Request) -> str | None:
        """Where a request stood after the last step, as far as it was there then."""
        status: str | None = self.transfers.get(request.id, {"status": None})["status"]
        return status

    def permit(self, place: int, fits: Callable[[Permit], bool] = lambda _: True) -> Permit:
        return aimed(place, list(self.permits.values()), fits)

    def stands(self, permit: Permit, *statuses: str) -> bool:
        """Tell whether a permit stood in one of the states after the last step."""
        return permit.id in self.issued and self.issued[permit.id]["status"] in statuses

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

    def register_of(self, request: Request) -> Any:
        """What the register says that a revision of a request is bound to."""
        return (self.ciio, self.country, [sorted(self.tags[ident]) for ident in request.datasets])

    def has_moved(self, request: Request) -> bool:
        return bool(request.revisions) and request.last.register != self.register_of(request)

    def named(self, change: Json) -> Json:
        """Put the names of systems in place."""
        names = {"gateway": self.cast.gateway.name}
        systems = change.get("systems")
        return change if systems is None else change | {"systems": [names.get(one, one) for one in systems]}

    def done(self, act: str, answer: httpx.Response) -> bool:
        """Nothing that anybody does is a fault of the service; tell whether it was done."""
        assert answer.status_code < 500, answer.text
        assert answer.status_code not in {400, 401, 415}, answer.text
        is_done = answer.status_code < 300
        self.seen[act] += is_done
        self.did[act] += is_done
        return is_done

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
        filed = set[str]().union(
            *(paper.by for paper in self.papers_of(request) if paper.kind in request.needed and not paper.ended)
        )
        return principal in request.authors | request.recused | self.decided(request) | filed

    def decided(self, request: Request) -> set[str]:
        """Return who has decided a stage of the revision that stands, and for whom."""
        return set[str]().union(*(given.parties for given in request.approvals.values()))

    def papers_of(self, request: Request) -> list[Paper]:
        return [paper for paper in self.papers.values() if paper.transfer == request.id]

    def wrote(self, request: Request, person: Person) -> None:
        """Note an author: nobody who has verified a paper that counts."""
        assert all(paper.verified_by != person.id for paper in self.papers_of(request) if not paper.ended)
        request.authors.add(person.id)

    # Requesters

    @rule(
        who=places,
        dataset=datasets,
        count=persons,
        days=st.integers(5, 400),
        walked=st.sampled_from([0, 0, 1, 5]),
        fields=st.booleans(),
        both=st.booleans(),
    )
    def draft(self, who: int, dataset: int, count: int, days: int, walked: int, *, fields: bool, both: bool) -> None:
        """Write a request down and submit it; sometimes walk it on at once."""
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
        if any("sensitive" in self.tags[ident] for ident in wanted):
            body |= {"sensitive_left_out": True, "fields": ["city"]}
        answer = person.post("/v1/transfers", body)
        if self.done("draft", answer):
            assert self.holds(person.id, {"requester"})
            request = self._begun(answer.json(), person)
            self._submitted("submit", request, person, person.post(f"/v1/transfers/{request.id}/submit"))
            if walked:
                self._walk(request, walked, None, None, None)

    def _begun(self, shown: Json, person: Person) -> Request:
        request = Request(shown["id"], sorted(shown["datasets"]), {person.id})
        self.requests[request.id] = request
        return request

    def _submitted(
        self, act: str, request: Request, person: Person, answer: httpx.Response, before: Json | None = None
    ) -> None:
        """Note what a change (of what was there before) or a submission did: the hand that wrote, and a revision without approvals."""
        if not self.done(act, answer):
            return
        assert self.holds(person.id, {"requester"})
        shown = answer.json()
        revision = shown["revision"]
        if before is None or any(shown[name] != before[name] for name in REQUEST):
            self.wrote(request, person)
        if revision is not None and revision["number"] != len(request.revisions):
            assert revision["number"] == len(request.revisions) + 1
            asked = {name: shown[name] for name in REQUEST}
            request.revisions.append(Content(revision["hash"], asked, self.register_of(request)))
            request.approvals = {}
            request.needed = {item["code"] for item in shown["determination"]["evidence"]}

    @rule(place=places, who=places)
    def submit(self, place: int, who: int) -> None:
        """Submit a request again: mostly one that was returned, or that the register has moved away from."""
        asking = {"draft", "returned"}
        request = aimed(
            place,
            list(self.requests.values()),
            lambda one: self.status(one) in asking or (self.status(one) == "in_review" and self.has_moved(one)),
        )
        person = self.asker(who)
        self._submitted("submit", request, person, person.post(f"/v1/transfers/{request.id}/submit"))

    @rule(
        place=places,
        who=places,
        change=st.sampled_from(
            [
                {"systems": ["gateway"]},
                {"systems": ["crm", "gateway"]},
                {"systems": None},
                {"systems": ["crm"]},
                {"persons": 20},
                {"purpose": "other"},
                {"fields": ["city"]},
                {"route": "certification"},
            ]
        ),
    )
    def change(self, place: int, who: int, change: Json) -> None:
        """Change a request: mostly one in review of which a stage is approved."""
        request = aimed(
            place,
            list(self.requests.values()),
            lambda one: self.status(one) in {"in_review", "returned"} and bool(one.approvals),
        )
        person, path = self.asker(who), f"/v1/transfers/{request.id}"
        before = self.world.auditor.get(path)
        answer = person.send("PATCH", path, self.named(change), If_Match=before.headers["ETag"])
        self._submitted("change", request, person, answer, before.json())

    @at_most(2, "withdraw")
    @rule(place=places, who=places)
    def withdraw(self, place: int, who: int) -> None:
        request, person = self.one(place, "in_review", "returned"), self.asker(who)
        if self.done("withdraw", person.post(f"/v1/transfers/{request.id}/withdraw")):
            assert self.holds(person.id, {"requester"})
            assert all(permit.request is not request for permit in self.permits.values())

    @rule(place=places, who=places)
    def accept_terms(self, place: int, who: int) -> None:
        """Accept the terms that wait; sometimes of what was seen earlier."""
        request = aimed(place, list(self.requests.values()), lambda one: one.waits_for_terms)
        person = self.asker(who)
        if not request.revisions:
            return
        accept = {"revision": (request.stale if who % 3 == 2 else None) or request.last.hash}
        if self.done("accept_terms", person.post(f"/v1/transfers/{request.id}/terms/accept", accept)):
            assert accept["revision"] == request.last.hash
            assert request.waits_for_terms
            assert not any(person.id in given.parties for given in request.approvals.values())
            self.wrote(request, person)
            for given in request.approvals.values():
                given.terms = False

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places, days=st.integers(1, 300), more=st.booleans())
    def renew(self, place: int, who: int, days: int, *, more: bool) -> None:
        permit, person = self.permit(place, lambda one: self.stands(one, "active", "suspended")), self.asker(who)
        body = {"valid_from": self.day(days // 3), "valid_until": self.day(days)} | (
            {"purpose": "more"} if more else {}
        )
        answer = person.post(f"/v1/transfers/{permit.request.id}/renew", body)
        if self.done("renew", answer):
            request = self._begun(answer.json(), person)
            for shown in answer.json()["evidence"]:
                old = self.papers[shown["reused_from"]]
                assert old.counts(self.today)
                again = Paper(old.kind, request.id, old.issued, old.stated, old.by | {person.id})
                again.verified_by = shown["verified_by"]
                assert again.verified_by in {None, old.verified_by} - {person.id}
                self.papers[shown["id"]] = again
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
        assert paper["kind"] not in request.needed or person.id not in self.decided(request)
        new = Paper(paper["kind"], request.id, issued, stated, {person.id}, paper.get("replaces"))
        self.papers[made["id"]] = new
        if new.replaces is not None:
            waits = self.papers[new.replaces].verified_by is not None or new.kind in request.distrusted
            if not waits:
                self._takes_the_place(made["id"])

    def _takes_the_place(self, ident: str) -> None:
        """Let a paper take the place of another: at once, or once somebody has verified it."""
        new = self.papers[ident]
        assert new.replaces is not None
        old = self.papers[new.replaces]
        if old.is_replaced or not new.counts(self.today):
            return
        old.ended = old.is_replaced = True
        for permit in self.permits.values():
            if new.replaces in permit.papers:
                permit.papers = permit.papers - {new.replaces} | {ident}

    @rule(place=places, days=st.none() | st.integers(-3, 90))
    def add_what_is_missing(self, place: int, days: int | None) -> None:
        self._add_what_is_missing(self.one(place, "in_review"), days)

    def _add_what_is_missing(self, request: Request, days: int | None, but: int | None = None) -> None:
        """Add every paper that is missing, or all but one."""
        for number, kind in enumerate(self.shown(request)["missing_evidence"]):
            if number == but:
                continue
            until = None if days is None else self.day(days)
            paper = {
                "kind": kind,
                "reference": uuid.uuid4().hex,
                "issuer": "I",
                "issued_on": self.day(-10),
                "valid_until": until,
            }
            self._add("add_evidence", request, self.cast.people["requester"], paper)

    @rule(place=places, who=places, kind=st.sampled_from(KINDS), issued=st.sampled_from([-1, -1, -1060, 5]))
    def add_a_paper(self, place: int, who: int, kind: str, issued: int) -> None:
        paper = {"kind": kind, "reference": uuid.uuid4().hex, "issuer": "I", "issued_on": self.day(issued)}
        self._add("add_evidence", self.one(place), self.asker(who), paper)

    def _paper(self, request: Request, which: int) -> str | None:
        """One of a request's papers; every third time one of another request."""
        wanted = [ident for ident, paper in self.papers.items() if which % 3 == 2 or paper.transfer == request.id]
        return wanted[which % len(wanted)] if wanted else None

    @rule(place=places, which=places, who=places, days=st.none() | st.integers(-3, 90))
    def replace_a_paper(self, place: int, which: int, who: int, days: int | None) -> None:
        request = self.one(place, "in_review", "approved")
        old = self._paper(request, which)
        if old is None:
            return
        until = None if days is None else self.day(days)
        paper = {"kind": self.papers[old].kind, "reference": uuid.uuid4().hex, "issuer": "I", "issued_on": self.day(0)}
        self._add("replace_evidence", request, self.asker(who), paper | {"valid_until": until, "replaces": old})

    @at_most(2, "withdraw_evidence")
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
            if self.holds(person.id, REVIEWERS):
                request.distrusted.add(self.papers[old].kind)

    @rule(place=places, which=places, who=places)
    def verify_a_paper(self, place: int, which: int, who: int) -> None:
        request, person = self.one(place, "in_review", "approved"), self.reviewer("legal", who)
        ident = self._paper(request, which)
        if ident is None:
            return
        if self.done("verify_evidence", person.post(f"/v1/transfers/{request.id}/evidence/{ident}/verify")):
            paper = self.papers[ident]
            assert self.holds(person.id, REVIEWERS)
            assert not paper.ended
            assert person.id not in request.authors | paper.by
            paper.verified_by = person.id
            if paper.replaces is not None:
                self._takes_the_place(ident)

    # Reviewers

    @rule(
        place=places,
        who=places,
        stale=st.sampled_from([False, False, True]),
        decision=st.sampled_from(["approve", "approve", "return", "return", "reject"]),
        tied=st.sampled_from(
            [None, None, {"persons": 5}, {"terms": ["Report"]}, {"valid_days": 3}, {"fields": ["city"]}]
        ),
    )
    def review(self, place: int, who: int, decision: str, tied: Json | None, *, stale: bool) -> None:
        """Decide the open stage; sometimes on a revision that was seen earlier."""
        request = self.one(place, "in_review")
        stage = self._open(request)
        decision = "approve" if self.did[decision] >= 2 and decision != "approve" else decision
        self._review(request, self.reviewer(stage, who, request), stage, decision, tied, stale=stale)

    @rule(place=places, who=places, stage=st.sampled_from(STAGES))
    def review_out_of_turn(self, place: int, who: int, stage: str) -> None:
        """Approve any stage, whether it is open or not."""
        request = self.one(place, "in_review")
        self._review(request, self.reviewer(stage, who, request), stage, "approve", None)

    @rule(place=places, out_of_turn=st.booleans())
    def try_what_may_not_be(self, place: int, *, out_of_turn: bool) -> None:
        """Everybody who may not decide the open stage tries to; whoever may tries on what was seen earlier, or out of turn."""
        request = self.one(place, "in_review")
        if not request.revisions:
            return
        stages = [one["name"] for one in self.shown(request)["stages"]]
        stage = stages[-1] if out_of_turn and stages else self._open(request)
        is_open = stage == self._open(request)
        for person in self.cast.all:
            may = self.holds(person.id, {f"reviewer:{stage}"}) and not self.barred(request, person.id)
            fits = may and is_open and not self.has_moved(request)
            revision = request.stale if fits else request.last.hash
            if revision is None:
                continue
            body = {"stage": stage, "decision": "approve", "revision": revision, "comment": "Seen"}
            answer = person.post(f"/v1/transfers/{request.id}/reviews", body)
            assert not self.done("what may not be", answer), (person.name, body)

    @rule(
        place=places,
        stages=st.sampled_from([1, 2, 5, 5]),
        ends=st.sampled_from([None, None, None, 40, 2, -2]),
        terms=terms,
        but=st.sampled_from([None] * 6 + [0, 1]),
    )
    def approve_by_the_right_people(
        self, place: int, stages: int, ends: int | None, terms: int | None, but: int | None
    ) -> None:
        """Walk a request on, so that the examples come to permits at all; sometimes with one paper too few."""
        self._walk(self.one(place, "in_review"), stages, ends, terms, but)

    def _walk(self, request: Request, stages: int, ends: int | None, terms: int | None, but: int | None) -> None:
        self._add_what_is_missing(request, ends, but)
        there = self.shown(request)["stages"]
        on_terms = None if terms is None or not there else there[terms]
        for stage in [one for one in there if one["status"] in {"open", "waiting"}][:stages]:
            tied = {"terms": ["Report"]} if stage is on_terms else None
            name = stage["name"]
            self._review(request, self.cast.people[f"only {name}"], name, "approve", tied)

    def _open(self, request: Request) -> str:
        stages = self.shown(request)["stages"]
        return next((one["name"] for one in stages if one["status"] == "open"), "privacy")

    def _review(
        self,
        request: Request,
        person: Person,
        stage: str,
        decision: str,
        tied: Json | None,
        *,
        stale: bool = False,
    ) -> None:
        seen = (request.stale if stale else None) or (request.last.hash if request.revisions else "none")
        body = {"stage": stage, "decision": decision, "revision": seen, "comment": "Seen"}
        body |= {"conditions": tied} if tied and decision == "approve" else {}
        answer = person.post(f"/v1/transfers/{request.id}/reviews", body)
        if self.done(decision, answer):
            assert seen == request.last.hash
            self._given(request, person, answer.json())

    def _given(self, request: Request, person: Person, shown: Json) -> None:
        """Hold a review that was taken against the model: entitled, no author, nobody twice, not recused, on what stands."""
        made = shown["reviews"][-1]
        behalf, stage = made["on_behalf_of"], made["stage"]
        assert (made["reviewer"], made["hash"]) == (person.id, request.last.hash)
        assert self.may(person.id, stage, behalf)
        assert not self.barred(request, person.id)
        assert behalf is None or not self.barred(request, behalf)
        assert stage not in request.approvals
        assert not request.waits_for_terms
        if made["decision"] == "approve":
            assert not self.has_moved(request)
            terms = bool((made["conditions"] or {}).get("terms"))
            request.approvals[stage] = Given(made["id"], person.id, behalf, terms)
            request.given[made["id"]] = (stage, request.last)

    @at_most(2, "take_back")
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
            del request.approvals[stage], request.given[given.review]

    @precondition(lambda self: any(len(one.revisions) > 1 and one.given for one in self.requests.values()))
    @rule(place=places, who=places)
    def carry_over(self, place: int, who: int) -> None:
        """Carry over whatever was approved of a request: mostly by whoever gave it, and sometimes to what was seen earlier."""
        request = aimed(
            place,
            [one for one in self.requests.values() if one.given],
            lambda one: self.status(one) == "in_review" and len(one.revisions) > 1,
        )
        for review, (stage, then) in list(request.given.items()):
            giver = self._giver(review, request)
            person = self.person(who) if who % 4 == 3 else giver
            seen = (request.stale if who % 5 == 4 else None) or request.last.hash
            path = f"/v1/transfers/{request.id}/reviews/{review}/carry-over"
            answer = person.post(path, {"revision": seen})
            if self.done("carry_over", answer):
                assert person is giver or person.id == giver.id
                assert seen == request.last.hash
                assert then.differs(request.last) <= INDIFFERENT[stage]
                assert then is not request.last
                self._given(request, person, answer.json())
                assert answer.json()["reviews"][-1]["stage"] == stage

    def _giver(self, review: str, request: Request) -> Person:
        given = next(one for one in self.shown(request)["reviews"] if one["id"] == review)
        return next(one for one in self.cast.all if one.id == given["reviewer"])

    @at_most(2, "recuse")
    @rule(place=places, who=places)
    def recuse(self, place: int, who: int) -> None:
        request, person = self.one(place, "in_review"), self.person(who)
        if self.done("recuse", person.post(f"/v1/transfers/{request.id}/recuse", {"reason": "Kin"})):
            request.recused.add(person.id)

    @rule(place=places, who=places, whom=places)
    def assign(self, place: int, who: int, whom: int) -> None:
        """Ask somebody to review: nobody is asked to review what they may not."""
        request = self.one(place, "in_review")
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
        self.grants[principal, role] = self.world.grant(principal, role, self.handler["id"])["id"]

    @rule(who=places, role=st.sampled_from(["requester", *sorted(REVIEWERS)]))
    def give_a_role(self, who: int, role: str) -> None:
        person = self.person(who)
        if (person.id, role) not in self.grants:
            self._give(person.id, role)
            self.seen["give_a_role"] += 1

    @at_most(2, "withdraw_a_role")
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

    @at_most(3, "suspend")
    @precondition(lambda self: self.permits)
    @rule(place=places, who=places)
    def suspend_a_permit(self, place: int, who: int) -> None:
        permit = self.permit(place, lambda one: self.stands(one, "active"))
        self._act_on_a_permit(permit, self.reviewer("legal", who), "suspend")

    @precondition(lambda self: self.permits)
    @rule(place=places, who=places)
    def resume_a_permit(self, place: int, who: int) -> None:
        permit = self.permit(place, lambda one: one.status == "suspended")
        self._act_on_a_permit(permit, self.reviewer("legal", who), "resume")

    @at_most(1, "revoke")
    @precondition(lambda self: self.permits)
    @rule(place=places, who=places)
    def revoke_a_permit(self, place: int, who: int) -> None:
        self._act_on_a_permit(self.permit(place), self.reviewer("legal", who), "revoke")

    def _act_on_a_permit(self, permit: Permit, person: Person, act: str) -> None:
        if self.done(act, person.post(f"/v1/permits/{permit.id}/{act}", {"reason": "So"})):
            assert self.holds(person.id, REVIEWERS if act == "suspend" else RESTORERS)
            assert permit.status in {"suspend": {"active"}, "resume": {"suspended"}}.get(act, {"active", "suspended"})
            assert act != "resume" or person.id not in permit.request.authors
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

    @at_most(3, "narrow")
    @precondition(lambda self: self.permits)
    @rule(
        place=places,
        who=places,
        less=persons.map(lambda count: {"persons": count})
        | st.sampled_from([{"fields": ["city"]}, {"fields": FIELDS}, {"systems": ["gateway"]}, {"systems": ["crm"]}])
        | st.integers(0, 300).map(lambda ahead: {"valid_until": ahead}),
    )
    def narrow(self, place: int, who: int, less: Json) -> None:
        permit, person = self.permit(place, lambda one: self.stands(one, "active", "suspended")), self.asker(who)
        less = {"valid_until": self.day(less["valid_until"])} if "valid_until" in less else self.named(less)
        answer = person.post(f"/v1/permits/{permit.id}/amend", less | {"reason": "Less"})
        if self.done("narrow", answer):
            assert self.holds(person.id, REVIEWERS | {"requester"})
            for name, value in less.items():
                before = permit.allows[name]
                assert (before is None or set(value) <= set(before)) if isinstance(value, list) else value <= before
            permit.allows |= less

    # The register

    @at_most(3, "grade")
    @rule(
        dataset=st.integers(0, 2),
        tags=st.sets(st.sampled_from(TAGS), max_size=3),
        more=st.booleans(),
        confirm=st.booleans(),
    )
    def grade(self, dataset: int, tags: set[str], *, more: bool, confirm: bool) -> None:
        """Grade anew: raised, lowered or cleared, the latter two confirmed by a second person or not yet."""
        data = self.datasets[dataset]
        before = set(self.tags[data["id"]])
        tags = tags | before if more else tags
        path = f"/v1/datasets/{data['id']}/gradings"
        body: Json = {"tags": sorted(tags), "reason": "Looked", "basis": "Catalogue"}
        body |= {"sensitive_fields": ["amount"]} if "sensitive" in tags else {}
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

    @at_most(2, "change_facts")
    @at_most(3, "change_facts", "change_scale")
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

    @at_most(2, "move_recipient")
    @rule(country=st.sampled_from(COUNTRIES))
    def move_the_recipient(self, country: str) -> None:
        """Let the recipient be in another country, or back where it was approved."""
        path = f"/v1/recipients/{self.recipient['id']}"
        if self.done("move_recipient", self.world.registrar.patch(path, {"country": country})):
            self.country = country

    # Duties and findings

    @rule(which=places, who=places, act=st.sampled_from(["complete", "complete", "reopen", "assign"]))
    def see_to_a_duty(self, which: int, who: int, act: str) -> None:
        """Say that a duty has been seen to, or not after all; a contract is filed by its receipt."""
        found = self.world.auditor.get("/v1/obligations", handler=self.handler["id"], limit=200).json()["items"]
        if not found:
            return
        states = {"done"} if act == "reopen" else {"open", "overdue"}
        person, duty = self.reviewer("legal", who), aimed(which, found, lambda one: one["state"] in states)
        if act == "complete" and duty["code"] == "file_standard_contract":
            paper = {"kind": "filing_receipt", "reference": "7", "issuer": "I", "issued_on": self.day(0)}
            self._add("add_evidence", self.requests[duty["transfer"]], self.asker(who), paper)
            return
        body = {"complete": {"note": "No. 7"}, "reopen": {"reason": "Oh"}, "assign": {"owner": person.id}}[act]
        if self.done(f"{act}_duty", person.post(f"/v1/obligations/{duty['id']}/{act}", body)):
            assert act != "complete" or duty["settled_by"] is None
            assert duty["state"] in states
            assert self.holds(person.id, RESTORERS if act == "reopen" else REVIEWERS | {"requester"})

    @rule(which=places, who=places)
    def answer_a_finding(self, which: int, who: int) -> None:
        found = self.world.auditor.get("/v1/findings", handler=self.handler["id"], limit=200).json()["items"]
        if not found:
            return
        person, finding = self.reviewer("legal", who), aimed(which, found, lambda one: one["answered_at"] is None)
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
        ident = self.datasets[dataset]["id"]
        body = {"dataset": ident, "recipient": self.recipient["id"], "purpose": purpose, "fields": fields}
        self._export(body | {"persons": count}, end)

    @precondition(lambda self: any(self.stands(one, "active") for one in self.permits.values()))
    @rule(
        place=places,
        which=st.integers(0, 1),
        part=st.sampled_from([1, 2, 2, 10]),
        end=st.sampled_from(["complete", "cancel", None, None]),
    )
    def export_what_is_permitted(self, place: int, which: int, part: int, end: str | None) -> None:
        """Export, in the very words of a permit, a part of the persons that are left of it."""
        permit = self.permit(place, lambda one: self.stands(one, "active"))
        dataset = sorted(permit.tags)[which % len(permit.tags)]
        count = (permit.allows["persons"] - self._used(permit)) // part if "personal" in self.tags[dataset] else 0
        body = {"dataset": dataset, "recipient": permit.allows["recipient"], "permit": permit.id, "persons": count}
        self._export(body | {name: permit.allows[name] for name in ("purpose", "fields")}, end)

    def _export(self, body: Json, end: str | None) -> None:
        answer = self.cast.gateway.post("/v1/exports", body | {"sensitive_persons": 0})
        if not self.done("export", answer):
            return
        export = answer.json()
        assert (self.cast.gateway.id, "exporter") in self.grants
        assert body.get("permit") in {None, export["permit"]}
        if export["permit"] is None:
            assert self.tags[body["dataset"]] == []
        else:
            self._allowed(body["dataset"], body, export["permit"])
        held = {"permit": export["permit"], "held": body["persons"], "sent": 0, "at": self.clock.ahead, "end": None}
        self.exports[export["id"]] = held
        if end is not None:
            self._end_an_export(export["id"], end, 0)

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
        assert allows["systems"] is None or self.cast.gateway.name in allows["systems"]
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
        permit = self.permit(place, lambda one: self.stands(one, "active"))
        left = permit.allows["persons"] - self._used(permit)
        body = {"dataset": min(permit.tags), "recipient": self.recipient["id"], "permit": permit.id}
        names = {name: permit.allows[name] for name in ("purpose", "fields")}
        body |= names | {"persons": left + 1, "sensitive_persons": 0}
        if self.tags[min(permit.tags)]:
            assert not self.done("one too many", self.cast.gateway.post("/v1/exports", body))

    def _used(self, permit: Permit) -> int:
        """Persons that have gone under a permit, and those that are held."""
        used = [export for export in self.exports.values() if export["permit"] == permit.id]
        return self._sent(permit) + sum(export["held"] for export in used if export["at"] == self.clock.ahead)

    def _sent(self, permit: Permit) -> int:
        return sum(int(export["sent"]) for export in self.exports.values() if export["permit"] == permit.id)

    @precondition(lambda self: self.exports)
    @rule(which=places, end=st.sampled_from(["complete", "cancel"]), more=st.sampled_from([-1, 0, 0, 1]))
    def end_an_export(self, which: int, end: str, more: int) -> None:
        """Report an export, of fewer or more persons than were reserved, or give it back."""
        ident = aimed(which, list(self.exports), lambda one: self.exports[one]["at"] == self.clock.ahead)
        self._end_an_export(ident, end, more)

    def _end_an_export(self, ident: str, end: str, more: int) -> None:
        export = self.exports[ident]
        count = max(0, export["held"] + more)
        body = {"persons": count, "sensitive_persons": 0} if end == "complete" else None
        answer = self.cast.gateway.post(f"/v1/exports/{ident}/{end}", body)
        is_done, is_grown = self.done(end, answer), False
        if is_done and end == "complete":
            is_grown = export["end"] != "completed"
            assert is_grown or count == export["sent"], "the same again"
        elif is_done:
            # No reservation lasts for a day.
            assert export["end"] == "cancelled" or (export["end"] is None and export["at"] == self.clock.ahead)
            export |= {"held": 0, "at": None, "end": "cancelled"}
        elif end == "complete" and answer.status_code == 409:
            assert export["end"] == "completed"
            is_grown = count > export["sent"]
            assert answer.json()["counted"] is is_grown, "whoever went beyond what was reported before is counted"
        if is_done or is_grown:
            assert (self.cast.gateway.id, "exporter") in self.grants
        if is_grown:
            export |= {"held": 0, "sent": count, "at": None, "end": "completed"}
            self._look_for_too_many(export["permit"])

    def _look_for_too_many(self, ident: str | None) -> None:
        """A permit under which more has gone than it allows is suspended with each report that says so."""
        if ident is None or self._sent(self.permits[ident]) <= self.permits[ident].allows["persons"]:
            return
        self.seen["too many"] += 1
        if self.permits[ident].status == "active":
            self.permits[ident].status = "suspended"
            self._stop_what_follows(ident)

    @at_most(4, "wait")
    @precondition(lambda self: self.clock.ahead < timedelta(days=150))
    @rule(days=st.sampled_from([1, 3, 1, 3, 20, 100]))
    def wait(self, days: int) -> None:
        self.clock.ahead += timedelta(days=days)
        self.did["wait"] += 1

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
        transfers, permits = self.transfers, self.issued = self._listed("transfers"), self._listed("permits")
        for ident, shown in permits.items():
            if ident not in self.permits:
                self._issued(shown, transfers[shown["transfer"]])
        assert permits.keys() == self.permits.keys()
        assert transfers.keys() == self.requests.keys()
        for shown in permits.values():
            self._in_force(shown)
        self._nothing_oversold()
        require_exact(self.database_url)
        self._approvals_stand(transfers)
        self._explained(transfers, permits)

    def _issued(self, shown: Json, transfer: Json) -> None:
        """No permit without each stage approved by different, entitled people, none of them an author, on the very revision.

        That each was entitled is held against the model when the approval is given.
        """
        self.seen["permits"] += 1
        request = self.requests[shown["transfer"]]
        assert transfer["status"] == "approved"
        assert shown["revision"] == request.last.hash == transfer["revision"]["hash"]
        assert not self.has_moved(request)
        assert request.approvals.keys() == {stage["name"] for stage in transfer["stages"]}
        assert not request.waits_for_terms
        parties = [party for given in request.approvals.values() for party in given.parties]
        assert len(parties) == len(set(parties))
        assert not set(parties) & (request.authors | request.recused)
        bound = {one["id"]: one["tags"] for one in shown["datasets"]}
        assert all(sorted(tags) == sorted(self.tags[ident]) for ident, tags in bound.items())
        older = self.permits.get(shown["supersedes"] or "")
        status = "suspended" if older is not None and older.status == "suspended" else "active"
        permit = Permit(shown["id"], request, {**shown}, bound, set(shown["evidence"]), self.country, status)
        self.permits[shown["id"]] = permit
        kinds = {self.papers[paper].kind for paper in permit.papers}
        assert {item["code"] for item in transfer["determination"]["evidence"]} <= kinds
        tags = implied({tag for tags in bound.values() for tag in tags})
        stages, papers = asked_by_law(tags, request.last.asked["persons"], ciio=self.ciio)
        assert stages <= request.approvals.keys()
        assert papers <= kinds | (CONTRACTS if CONTRACTS & kinds else set())
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
        """What has gone, and what is held, is never more than what is permitted, unless more was reported than was reserved."""
        for permit in self.permits.values():
            if self._sent(permit) <= permit.allows["persons"]:
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
