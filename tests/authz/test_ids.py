"""Every id that one company can read, asked for at another: it is as if there were none, and nothing that is told there holds one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from service.access.caller import Role
from service.database.ids import new_id
from service.database.session import Database, Transaction
from service.identity import operations as identity
from tests.attacks.companies import PDF, upload
from tests.authz.asking import ID, Answer, Line
from tests.authz.matrix import Matrix, leaves, with_leaf
from tests.authz.rules import RULES, Reach
from tests.authz.things import ROLES, WHOLE, Company, Shown, Side, bearer
from tests.world import Person

MARK = "quillfeather"
"""A word that stands in whatever the second company has written."""
HASH = re.compile(r"\b[0-9a-f]{64}\b")
SEQ = re.compile(r'"seq":(\d+)')
SHARED = ("rc", "rq")
"""Recipients are everybody's; ids of requests are nobody's."""
NAMED = ("pr",)
"""Whoever gives a role names anybody: principals are of no handler, and an id of theirs is no right."""
DEEP = 1000 if WHOLE else 1
"""How many things of a kind are asked for, the newest of each before others."""
SAFE = "GET "


ECHOED = {"POST /v1/exports"}
"""A refusal of what it names is on record at whoever asked."""


def kind_of(value: str, meant: str = "") -> str:
    """Return what kind of thing a value names: a prefix, `seq` for a place in the log, or nothing."""
    return value[:2] if ID.fullmatch(value) else meant if meant == "seq" else ""


@dataclass
class Told:
    """All that some callers are told."""

    ids: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)
    seqs: set[str] = field(default_factory=set)
    marked: set[str] = field(default_factory=set)
    """Routes whose answers hold the word."""

    def take(self, route: str, answer: Answer) -> None:
        text = answer.text + " ".join(answer.headers.values())
        self.ids |= set(ID.findall(text))
        self.hashes |= set(HASH.findall(text))
        if "/audit/entries" in route:
            self.seqs |= set(SEQ.findall(text))
        if MARK in text:
            self.marked.add(route)

    def of_kind(self, kind: str) -> list[str]:
        found = self.seqs if kind == "seq" else {ident for ident in self.ids if ident[:2] == kind}
        return sorted(found, key=lambda value: (len(value), value), reverse=True)[:DEEP]


class Burglar:
    """Asks at the first company for what belongs to the second."""

    def __init__(self, company: Company, address: str, database_url: str) -> None:
        self.company = company
        self.matrix = Matrix(company, Line(address), RULES, whole=WHOLE)
        self.surprises: list[str] = []
        self.asked = 0
        self.sent: set[str] = set()
        asyncio.run(self._equip(database_url))
        self._mark()
        self.theirs = self._told_to(self._keepers(1), company.b)
        self.ours = self._told_to(self._keepers(0), company.a)
        self.secret = (self.theirs.ids - self.ours.ids) | (self.theirs.hashes - self.ours.hashes)
        self.secret = {value for value in self.secret if value[:2] not in SHARED}
        self.words = {MARK, company.b.handler_key, company.b.dataset_key} | {
            person.name for person in self.insiders if len(person.name) > 9
        }

    async def _equip(self, url: str) -> None:
        database = Database(url)
        here, there = (handler["id"] for handler in self.company.handlers)

        async def made(tx: Transaction) -> list[Person]:
            found = []
            for handler, roles in ((here, ROLES), (there, ROLES), (here, ("admin",))):
                name = self.company.world.name("burglar")
                key = await identity.issue_key(tx, name, "person", [Role(role) for role in roles], handler)
                found.append(Person(self.company.world.http, str(key.secret), key.principal, name))
            return found

        self.thief, self.keeper, self.glazier = await database.transaction(made)
        await database.close()
        glass = {"role": "auditor", "handler": here, "reason": "Heard of a leak", "hours": 1}
        self.glazier.made("/v1/break-glass", glass)
        self.insiders = [self.keeper]

    def _keepers(self, place: int) -> list[Shown]:
        """Return who reads what belongs to a company."""
        each = [bearer(person.secret) for person in self.company.local[place].values()] if WHOLE else []
        alone = bearer(self.company.local[place]["admin"].secret)
        return [bearer((self.thief, self.keeper)[place].secret), alone, *each]

    def thieves(self) -> list[Shown]:
        """Return who asks: somebody with every role, and an admin who has broken the glass; or also each role by itself."""
        each = [caller.shown for caller in self.company.callers if caller.is_limited] if WHOLE else []
        return [*map(bearer, (self.thief.secret, self.glazier.secret)), *each]

    def _mark(self) -> None:
        """Have the second company write the word wherever something can be written."""
        world, handler = self.company.world, {"id": self.company.b.handler}
        to = {"id": self.company.recipient}
        assert world.registrar.patch(f"/v1/handlers/{handler['id']}", {"name": f"{MARK} Ltd"}).status_code == 200
        key = f"postgres://{MARK}:5432/{world.name('dataset')}"
        texts = {"title": f"{MARK} orders", "owner": f"{MARK} team", "description": f"All {MARK} sells", "key": key}
        dataset = world.dataset(handler, graded=False, fields=[{"name": MARK, "type": "text"}], **texts)
        grading = {"tags": ["personal"], "reason": f"{MARK} was looked at", "basis": f"{MARK} catalogue"}
        world.registrar.made(f"/v1/datasets/{dataset['id']}/gradings", grading)
        small = {"description": f"{MARK} figures", "purpose": MARK}
        asked = world.draft(handler, [dataset], to, **small, persons=2, systems=[MARK])
        assert upload(
            world.requester,
            asked,
            PDF + MARK.encode(),
            f"{MARK}.pdf",
            issuer=f"{MARK} legal",
            reference=f"{MARK} No. 1",
        ).is_success
        self.keeper.made(
            f"/v1/transfers/{asked['id']}/comments",
            {"text": f"Why does {MARK} send this?", "mentions": [self.keeper.id]},
        )
        permit = world.approved(handler, [dataset], to, **small, persons=1)["permit"]
        assert world.export(dataset, to, 1, purpose=MARK).is_success
        world.reviewers["legal"].made(f"/v1/permits/{permit}/suspend", {"reason": f"A leak at {MARK}"})

    # Reading

    def _told_to(self, callers: list[Shown], side: Side) -> Told:
        told = Told()
        for shown in callers:
            for route in self.readable(ids=False):
                for answer in self.pages(route, shown, side):
                    told.take(route, answer)
        for route in self.readable(ids=True):
            for shown in callers if WHOLE else callers[:1]:
                for ids in self._addresses(route, side, told, side):
                    told.take(route, self.matrix.asked(route, shown, side, "", ids=ids))
        return told

    def readable(self, *, ids: bool) -> Iterator[str]:
        for route, rule in RULES.items():
            is_read = route.startswith(SAFE) or route == "POST /access/v1/search/resource"
            if (
                is_read
                and rule.reach is not Reach.PUBLIC
                and ("{" in route) == ids
                and not route.startswith("GET /tlog")
            ):
                yield route

    def pages(self, route: str, shown: Shown, side: Side) -> Iterator[Answer]:
        following: str | None = ""
        while following is not None:
            query = {"cursor": following} if following else {}
            answer = self.matrix.asked(route, shown, side, "", query=query)
            yield answer
            following = answer.json.get("next_cursor") if answer.status == 200 else None

    def _addresses(self, route: str, side: Side, told: Told, own: Side) -> Iterator[dict[str, str]]:
        """Yield, for each parameter of the path, the addresses with each thing of its kind there."""
        for name, meant in RULES[route].ids.items():
            for value in told.of_kind(kind_of(self.matrix.value(meant, side), meant)):
                others = {
                    other: self.matrix.value(its, own) for other, its in RULES[route].ids.items() if other != name
                }
                yield {name: value, **others}

    # Reaching for what is theirs

    def foreign(self, kind: str) -> list[str]:
        """Return what of a kind is theirs alone."""
        if kind == "seq":
            return [seq for seq in self.theirs.of_kind("seq") if seq not in self.ours.seqs]
        known = replace(self.theirs, ids=self.theirs.ids & self.secret)
        keys = {"hd": [self.company.b.handler_key]}
        return known.of_kind(kind) + keys.get(kind, [])

    def reach(self, route: str, shown: Shown, foreign: str, unknown: str, how: Any) -> None:
        """Ask for something foreign, and for what is nowhere: nobody can tell one from the other."""
        told = []
        self.sent |= {foreign, unknown}
        for value in (foreign, unknown):
            answer = self.matrix.asked(route, shown, self.company.a, "reviewer:privacy", **how(value))
            self.look(route, answer, value)
            told.append(replace(answer, text=answer.text.replace(value, "<it>")))
        self.asked += 1
        if told[0].bare() != told[1].bare() or told[0].status >= 500:
            self.surprises.append(f"{route} {foreign}: {told[0]} and not, as for {unknown}: {told[1]}")

    def look(self, route: str, answer: Answer, asked: str = "") -> None:
        """Find in an answer what is theirs, but for what was asked: what a thief writes into the own log is no secret."""
        text = (answer.text + " ".join(answer.headers.values())).replace(asked or "\0", "")
        found = (self.secret - self.sent) & (set(ID.findall(text)) | set(HASH.findall(text)))
        found |= {word for word in self.words if word in text}
        if found:
            self.surprises.append(f"{route} asked for {asked!r} told {sorted(found)}")

    def unknown(self, kind: str) -> str:
        return str(2**40) if kind == "seq" else new_id(kind)


@pytest.fixture(scope="session")
def burglar(company: Company, address: str, database_url: str) -> Burglar:
    return Burglar(company, address, database_url)


@pytest.fixture(autouse=True)
def none_before(burglar: Burglar) -> None:
    burglar.surprises, burglar.asked = [], 0


def test_the_owner_is_told_enough_for_a_foreigner_to_look_for(burglar: Burglar) -> None:
    kinds = {value[:2] for value in burglar.secret if ID.fullmatch(value)}
    assert kinds >= {"hd", "ds", "tr", "pm", "ev", "ex", "gr", "pr", "dg", "bg"} - (set() if WHOLE else {"ev"}), kinds
    assert len(burglar.theirs.marked) > 20, burglar.theirs.marked
    assert len(burglar.foreign("seq")) == min(DEEP, len(burglar.foreign("seq"))) > 0


def test_no_id_of_another_company_leads_anywhere_in_a_path(burglar: Burglar) -> None:
    for route, rule in RULES.items():
        for shown in burglar.thieves() if route.startswith(SAFE) or WHOLE else burglar.thieves()[:1]:
            for name, meant in rule.ids.items():
                kind = kind_of(burglar.matrix.value(meant, burglar.company.a), meant)
                for value in burglar.foreign(kind) if kind else ():
                    burglar.reach(route, shown, value, burglar.unknown(kind), lambda it, name=name: {"ids": {name: it}})
    assert not burglar.surprises, "\n".join(burglar.surprises)
    assert burglar.asked > 120


def test_no_id_of_another_company_is_taken_in_a_body(burglar: Burglar) -> None:
    role = "reviewer:privacy"
    for route, rule in RULES.items():
        body = None if rule.body is None else burglar.matrix.body(rule, burglar.company.a, role)
        for shown in burglar.thieves() if WHOLE else burglar.thieves()[:1]:
            for path, leaf in leaves(body):
                kind = kind_of(leaf)
                found = burglar.foreign(kind) if kind and kind not in NAMED else []
                for value in found[:1] if route in ECHOED else found:
                    how = lambda it, path=path, body=body: {"body": with_leaf(body, path, it)}  # noqa: E731
                    burglar.reach(route, shown, value, burglar.unknown(kind), how)
    assert not burglar.surprises, "\n".join(burglar.surprises)
    assert burglar.asked > 10


def test_no_list_filtered_by_an_id_of_another_company_tells_of_it(burglar: Burglar) -> None:
    for route, rule in RULES.items():
        for name, meant in rule.filters.items():
            kind = kind_of(burglar.matrix.value(meant, burglar.company.a))
            for shown in burglar.thieves() if WHOLE else burglar.thieves()[:1]:
                for value in burglar.foreign(kind) if kind else ():
                    how = lambda it, name=name: {"query": {name: it}}  # noqa: E731
                    burglar.reach(route, shown, value, burglar.unknown(kind), how)
    assert not burglar.surprises, "\n".join(burglar.surprises)
    assert burglar.asked > 10


def test_nothing_that_a_foreigner_lists_holds_anything_of_another_company(burglar: Burglar) -> None:
    for shown in burglar.thieves():
        for route in burglar.readable(ids=False):
            for answer in burglar.pages(route, shown, burglar.company.a):
                burglar.look(route, answer)
    assert not burglar.surprises, "\n".join(burglar.surprises)
