"""Each route asked as everybody, for what is theirs, what is another's and what is nowhere; and what of the answers is a surprise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

from tests.authz.asking import ID, Answer, Line
from tests.authz.rules import ANYONE, Reach, Rule
from tests.authz.things import Caller, Company, Shown, Side
from tests.world import day

MOST_PAGES = 40


class Outcome(Enum):
    """What an answer has to be."""

    PASSES = "let through"
    REFUSED = "403, for the role"
    MISSING = "as for what is nowhere"
    STRANGER = "401"


@dataclass(frozen=True)
class Cell:
    """One question of the matrix."""

    route: str
    caller: str
    about: str
    wanted: Outcome

    def row(self, told: object, why: str = "") -> str:
        wanted = f"{self.wanted.value} {why}".strip()
        return f"{self.route:<64} {self.caller:<36} {self.about:<24} wanted: {wanted:<26} got: {told}"


@dataclass
class Found:
    """What was asked, and what of the answers nobody wanted."""

    cells: int = 0
    surprises: list[str] = field(default_factory=list)

    def table(self) -> str:
        return f"{len(self.surprises)} surprises in {self.cells} cells\n" + "\n".join(self.surprises)


def routes(document: Any) -> dict[str, Any]:
    """Return the operations of an OpenAPI document by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def gaps(document: Any, rules: Mapping[str, Rule]) -> list[str]:
    """Return what of a document no rule is for, and what rules are for that is not there."""
    known = routes(document)
    missing = [f"{route}: no rule" for route in known if route not in rules]
    missing += [f"{route}: a rule without a route" for route in rules if route not in known]
    for route in known.keys() & rules.keys():
        ruled = {*rules[route].ids, *rules[route].filters}
        missing += [f"{route}: no rule for {name}" for name in _references(known[route]) if name not in ruled]
    return sorted(missing)


def _references(operation: Any) -> Iterator[str]:
    """Yield the parameters that can name a thing: those of the path, and texts of the query that are not of a few words or a day."""
    for parameter in operation.get("parameters", []):
        kinds = [parameter["schema"], *parameter["schema"].get("anyOf", [])]
        is_text = any(kind.get("type") == "string" and not {"enum", "format"} & kind.keys() for kind in kinds)
        in_query = parameter["in"] == "query" and parameter["name"] != "cursor" and is_text
        if parameter["in"] == "path" or in_query:
            yield parameter["name"]


def wanted_of(rule: Rule, caller: Caller, about: str) -> Outcome:
    """Return what a caller has to be answered about something of the first handler (own), of the second (foreign), or of none."""
    held = caller.others | ({caller.own} if caller.own else set())
    if rule.reach is Reach.PUBLIC:
        return Outcome.PASSES
    if rule.who != ANYONE and not held & rule.who:
        return Outcome.REFUSED
    if rule.reach is Reach.EVERYWHERE:
        return Outcome.PASSES if caller.everywhere and caller.own in rule.who else Outcome.REFUSED
    if rule.reach in {Reach.SHARED, Reach.LIST}:
        return Outcome.PASSES
    if about != "own" or caller.own is None:
        return Outcome.MISSING
    if caller.own in rule.who:
        return Outcome.MISSING if caller.own in rule.blind else Outcome.PASSES
    return Outcome.REFUSED if caller.own in rule.sight else Outcome.MISSING


class Matrix:
    """The matrix of one company.

    Args:
        company: who asks, and what for.
        line: to the service.
        rules: what is to be answered.
        whole: whether those ask as well who have a role everywhere or on both handlers, and what is nowhere is asked for anew by
            each caller, filters are tried by all, and keys that have ended on each route; else as little of that as shows a hole.
    """

    def __init__(self, company: Company, line: Line, rules: Mapping[str, Rule], *, whole: bool) -> None:
        self.company = company
        self.found = Found()
        self._whole = whole
        self._nowhere: dict[tuple[str, bool], Answer] = {}
        self._filtered: set[str] = set()
        self._line = line
        self._rules = rules
        self._sides = {"own": company.a, "foreign": company.b, "unknown": company.a.unknown()}
        self._foreign = company.b.names()
        self._own = company.a.names()

    # Asking

    def asked(self, route: str, shown: Shown, side: Side, role: str = "", **more: Any) -> Answer:
        """Ask a route for what belongs to a side."""
        rule = self._rules[route]
        method, path, ids = self._address(route, side, more.get("ids"))
        query = ids | more.get("query", {})
        body = more["body"] if "body" in more else self.body(rule, side, role)
        raw = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        address = f"{path}?{urlencode(query)}" if query else path
        return self._line.ask(method, address, shown, raw, rule.media)

    def example(self, route: str, side: Side, role: str) -> dict[str, Any]:
        """Return a request that a route takes from somebody of a role: the parameters of its path and its query, and its body."""
        rule = self._rules[route]
        ids = {name: self.value(meant, side) for name, meant in rule.ids.items()}
        path = {name: value for name, value in ids.items() if "{" + name + "}" in route}
        query = {name: value for name, value in ids.items() if name not in path}
        return {"path": path, "query": query, "body": self.body(rule, side, role), "media": rule.media}

    def _address(self, route: str, side: Side, other: Mapping[str, str] | None) -> tuple[str, str, dict[str, str]]:
        method, _, path = route.partition(" ")
        query: dict[str, str] = {}
        for name, meant in self._rules[route].ids.items():
            value = (other or {}).get(name) or self.value(meant, side)
            if "{" + name + "}" in path:
                path = path.replace("{" + name + "}", quote(value, safe="/"))
            else:
                query[name] = value
        return method, path, query

    def value(self, meant: str, side: Side) -> str:
        """Return what stands where a rule names something of a side."""
        if not meant.startswith("="):
            return str(getattr(side, meant))
        known = {"today": day(0), "tile": "0/000.p/1"}
        return known.get(meant[1:]) or str(getattr(self.company, meant[1:], meant[1:]))

    def body(self, rule: Rule, side: Side, role: str) -> Any:
        """Return the body that a rule asks with about what belongs to a side."""
        return None if rule.body is None else self._filled(rule.body(side, role), side)

    def _filled(self, value: Any, side: Side) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(member, side) for name, member in value.items()}
        if isinstance(value, list):
            return [self._filled(member, side) for member in value]
        return self.value(value, side) if isinstance(value, str) and value.startswith("=") else value

    # Judging

    def look_at(self, route: str) -> None:
        """Ask a route as everybody."""
        rule = self._rules[route]
        if rule.reach is Reach.PUBLIC:
            answer = self.asked(route, {}, self.company.a)
            self._judge(Cell(route, "anybody", "", Outcome.PASSES), rule, answer)
            return
        self._strangers(route)
        passing: list[Cell] = []
        for caller in self._asking(rule):
            passing += self._roles(route, caller)
        self._references(route)
        reached = [self._passed(cell, rule) for cell in passing]
        if passing and not any(200 <= status < 300 for status in reached):
            self.found.surprises.append(f"{route:<64} nobody was answered 2xx: {sorted(set(reached))}")

    def _asking(self, rule: Rule) -> Iterator[Caller]:
        for caller in self.company.callers:
            if (
                self._whole
                or caller.is_limited
                or (caller.everywhere and (rule.reach is Reach.EVERYWHERE or rule.barred))
            ):
                yield caller

    def _strangers(self, route: str) -> None:
        told: dict[str, Answer] = {}
        ended = ("disabled", "expired", "revoked")
        asking = ended if self._whole else (ended[len(route) % len(ended)],)
        for who in ("no key", "nonsense", "of its form", *asking):
            told[who] = self.asked(route, self.company.outsiders[who], self.company.a, "")
            self._judge(Cell(route, who, "own", Outcome.STRANGER), self._rules[route], told[who])
        for who in asking:
            if told[who].bare() != told["of its form"].bare():
                self._surprise(Cell(route, who, "own", Outcome.STRANGER), told[who], "as for a key that never was")

    def _roles(self, route: str, caller: Caller) -> list[Cell]:
        """Ask for what must not be given, and return what is to be given, to be asked for last."""
        rule = self._rules[route]
        if rule.reach not in {Reach.THING, Reach.NAMED}:
            cell = Cell(route, caller.label, "", wanted_of(rule, caller, "own"))
            return [cell] if cell.wanted is Outcome.PASSES else [c for c in [cell] if self._refused(c, caller)]
        abouts = ("foreign", "own") if caller.is_limited and caller.own else ("own",)
        is_same_as_alone = caller.others and caller.own in rule.who
        told: dict[str, Answer] = {}
        passing: list[Cell] = []
        for about in () if is_same_as_alone else abouts:
            cell = Cell(route, caller.label, about, wanted_of(rule, caller, about))
            if cell.wanted is Outcome.PASSES:
                passing.append(cell)
                continue
            told[about] = self.asked(route, caller.shown, self._sides[about], caller.own or "")
            self._judge(cell, rule, told[about])
            if cell.wanted is Outcome.MISSING:
                self._same_as_nowhere(cell, told[about], caller)
            elif about == "own" and "foreign" in told:
                self._same(cell, told[about], told["foreign"])
        return passing

    def _same_as_nowhere(self, cell: Cell, answer: Answer, caller: Caller) -> None:
        """Demand the answer that is given for what is nowhere; where time is short, it may be the one that somebody alike was given."""
        alike = (cell.route, caller.own in self._rules[cell.route].who)
        if not self._whole and alike in self._nowhere and self._nowhere[alike].bare() == answer.bare():
            return
        self._nowhere[alike] = self.asked(cell.route, caller.shown, self._sides["unknown"], caller.own or "")
        self._same(cell, answer, self._nowhere[alike])

    def _refused(self, cell: Cell, caller: Caller) -> bool:
        answer = self.asked(cell.route, caller.shown, self.company.a, caller.own or "")
        self._judge(cell, self._rules[cell.route], answer)
        return False

    def _passed(self, cell: Cell, rule: Rule) -> int:
        caller = next(one for one in self.company.callers if one.label == cell.caller)
        if rule.reach is Reach.LIST:
            return self._listed(cell, rule, caller)
        answer = self.asked(cell.route, caller.shown, self.company.a, caller.own or "")
        self._judge(cell, rule, answer)
        self.undo(rule, answer, caller.shown)
        return answer.status

    def undo(self, rule: Rule, answer: Answer, shown: Shown) -> None:
        """Take back what an answer tells of, where it would widen what the caller is asked for later."""
        if rule.undo and answer.status == 201:
            self._line.ask("POST", rule.undo.replace("{id}", answer.json["id"]), shown)

    def _judge(self, cell: Cell, rule: Rule, answer: Answer) -> None:
        self.found.cells += 1
        if not fits(cell.wanted, rule, answer):
            self._surprise(cell, answer)

    def _same(self, cell: Cell, answer: Answer, unknown: Answer) -> None:
        if answer.bare() != unknown.bare():
            self._surprise(cell, answer, f"as {unknown}")

    def _surprise(self, cell: Cell, answer: object, why: str = "") -> None:
        self.found.surprises.append(cell.row(answer, why))

    # Lists

    def _listed(self, cell: Cell, rule: Rule, caller: Caller) -> int:
        query = {"handler": self.company.a.handler} if caller.everywhere and "handler" in rule.filters else {}
        pages = list(self._pages(cell.route, caller, query, 1 if caller.everywhere and not query else MOST_PAGES))
        self._judge(cell, rule, pages[-1])
        seen = set(ID.findall("".join(page.text for page in pages)))
        sees_own = caller.own in rule.who and caller.own not in rule.blind
        if rule.lists and sees_own and (caller.is_limited or query):
            self._demand(cell, getattr(self.company.a, rule.lists) in seen, f"that its {rule.lists} is there")
        if not caller.everywhere:
            # That the caller has a role on its handler, the caller may know.
            kept = {"handler", *rule.told} if caller.own else set()
            names = {} if caller.others else dict(self._foreign)
            names |= {} if sees_own else {ident: name for ident, name in self._own.items() if name not in kept}
            told = sorted(names[ident] for ident in seen & names.keys())
            self._demand(cell, not told, f"nothing foreign, not {told}")
        if caller.is_limited and caller.own in rule.who and (self._whole or cell.route not in self._filtered):
            self._filtered.add(cell.route)
            self._filters(cell, rule, caller)
        counted = pages[0].json.get("counts", {}).get("all")
        if counted is not None:
            number = sum(len(page.json["items"]) for page in pages)
            self._demand(cell, counted == number, f"counts of the {number} that it shows, not {counted}")
        return pages[-1].status

    def _pages(self, route: str, caller: Caller, query: Mapping[str, str], most: int) -> Iterator[Answer]:
        cursor: dict[str, str] = {}
        rule = self._rules[route]
        for _ in range(most):
            limits = {} if rule.body else {"limit": "200"}
            answer = self.asked(
                route, caller.shown, self.company.a, caller.own or "", query=dict(query) | limits | cursor
            )
            yield answer
            following = answer.json.get("next_cursor")
            if following is None:
                return
            cursor = {"cursor": following}

    def _filters(self, cell: Cell, rule: Rule, caller: Caller) -> None:
        for name, meant in rule.filters.items():
            told = {
                about: self.asked(
                    cell.route,
                    caller.shown,
                    side,
                    caller.own or "",
                    query={name: self.value(meant, side)},
                )
                for about, side in self._sides.items()
            }
            self._demand(cell, told["own"].status == 200, f"200 for its own {name}")
            if not meant.startswith("="):
                self.found.cells += 1
                about = Cell(cell.route, cell.caller, f"foreign {name}", Outcome.MISSING)
                self._same(about, told["foreign"], told["unknown"])

    def _demand(self, cell: Cell, truth: bool, what: str) -> None:  # noqa: FBT001
        self.found.cells += 1
        if not truth:
            self._surprise(cell, "not so", what)

    # References

    def _references(self, route: str) -> None:
        """Name one foreign thing among the caller's own, in the path and in the body: it is as if it were nowhere."""
        rule = self._rules[route]
        caller = next(
            (one for one in self.company.callers if one.label.endswith("@A") and one.own in rule.who - rule.blind), None
        )
        if caller is None or rule.reach not in {Reach.THING, Reach.NAMED}:
            return
        for where, foreign, unknown in itertools.chain(self._in_path(rule), self._in_body(rule, caller)):
            told = [
                self.asked(route, caller.shown, self.company.a, caller.own or "", **how) for how in (foreign, unknown)
            ]
            cell = Cell(route, caller.label, where, Outcome.MISSING)
            self._judge(cell, rule, told[0])
            self._same(cell, *told)

    def _in_path(self, rule: Rule) -> Iterator[tuple[str, Any, Any]]:
        mine = [name for name, meant in rule.ids.items() if not meant.startswith("=")]
        for name in mine if len(mine) > 1 else ():
            ways = [{"ids": {name: self.value(rule.ids[name], self._sides[which])}} for which in ("foreign", "unknown")]
            yield f"foreign {name}", *ways

    def _in_body(self, rule: Rule, caller: Caller) -> Iterator[tuple[str, Any, Any]]:
        body = self.body(rule, self.company.a, caller.own or "")
        for path, value in leaves(body):
            name = self._own.get(value)
            for meant in [name, *([f"{name}_key"] if name in {"handler", "dataset"} else [])] if name else []:
                if meant not in asdict(self.company.a) or value.startswith("sha256:"):
                    continue
                ways = [
                    {"body": with_leaf(body, path, getattr(self._sides[which], str(meant)))}
                    for which in ("foreign", "unknown")
                ]
                yield f"foreign {meant} in {'/'.join(map(str, path))}", *ways


def fits(wanted: Outcome, rule: Rule, answer: Answer) -> bool:
    """Tell whether an answer is what is wanted."""
    if wanted is Outcome.PASSES:
        if answer.problem == "forbidden":
            return str(answer.json["detail"]).startswith(rule.barred or ("\0",))
        return answer.status < 300 or answer.status == 409 or answer.problem == "export-refused"
    if wanted is Outcome.MISSING:
        if answer.problem == "forbidden":
            return str(answer.json["detail"]).startswith(rule.barred or ("\0",))
        if answer.problem == "export-refused":
            return answer.json["reason"] in {"dataset_unknown", "no_permit"}
        told = rule.reach is Reach.NAMED and answer.status == 200 and rule.is_told(answer.json)
        refused = answer.status in ({404, 422} if rule.body is not None else {404})
        return told or refused
    if wanted is Outcome.REFUSED:
        return answer.problem in rule.refusal
    return (answer.status, answer.problem) == (401, "unauthenticated")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield the texts of a body with their places."""
    if isinstance(value, str):
        yield path, value
    members: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    members = enumerate(value) if isinstance(value, list) else members
    for name, member in members:
        yield from leaves(member, (*path, name))


def with_leaf(value: Any, path: tuple[Any, ...], leaf: str) -> Any:
    """Return a body with another text at a place."""
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_leaf(value[path[0]], path[1:], leaf)
    return copy
