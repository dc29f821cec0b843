"""Searches for the candidates that the gate would allow.

Candidates are read by id and decided like evaluations, in one transaction with the gate's lock. A request decides on at most
`MAX_CANDIDATES`, however large the register is; the next page continues there. Datasets are listed to exporters of their handler only.

Source: AuthZEN Authorization API 1.0, 8.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from sqlalchemy import Integer, and_, bindparam, exists, or_, select, text

from service.access.caller import Caller, Credential, Role
from service.access.tables import TODAY, Grant, Principal
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.gate import batch_read, page_tokens
from service.gate.batch_decisions import DATASET, EXPORT, SYSTEM, decision_on
from service.gate.batch_read import EXPORTERS, Snapshot
from service.gate.decide import Decision
from service.gate.jobs import lookup_of
from service.gate.page_tokens import Place
from service.gate.questions import Action, Context, Party, Question, convert
from service.gate.schemas import (
    LIMIT,
    MAX_LIMIT,
    ActionResult,
    ActionSearchIn,
    ActionSearchOut,
    DatasetProperties,
    PageIn,
    PageOut,
    ResourceResult,
    ResourceSearchIn,
    ResourceSearchOut,
    SearchContext,
    SearchIn,
    SubjectResult,
    SubjectSearchIn,
    SubjectSearchOut,
)
from service.law.rule_book import RuleBook

Result = TypeVar("Result")

MAX_CANDIDATES: Final = 1000
"""Maximum number of candidates that one request decides on."""
CANDIDATES_PER_READ: Final = 250
"""Candidates that are read at once."""
_KINDS: Final = {ResourceSearchIn: "resource", SubjectSearchIn: "subject", ActionSearchIn: "action"}
"""Member of the question that is searched for, by the type of search."""
_PARTS: Final[Mapping[str, type[Struct]]] = {
    "subject": Party,
    "action": Action,
    "resource": Party,
    "context": Context,
}
_NOT_RECORDED: Final[Mapping[str, Any]] = {
    "page": True,
    "subject": {"properties"},
    "action": {"properties"},
    "resource": {"properties"},
}
"""Properties are not recorded: no decision depends on them, and they may contain personal information."""

_DATASETS: Final = text("select id, key from datasets where id > :after order by id limit :size")
# A range in the index of handlers and ids, from the end of the page before: with handler = h, the statistics could lead PostgreSQL
# through all other handlers' datasets.
_DATASETS_OF: Final = text("""
  select d.id, d.key from unnest(cast(:handlers as text[])) h
  cross join lateral (
    select id, key from datasets where (handler, id) > (h, :after) and handler <= h order by handler, id limit :size
  ) d order by d.id limit :size
""")
_HAS_ROLE: Final = and_(
    Grant.role == str(Role.EXPORTER), or_(Grant.handler.is_(None), Grant.handler == bindparam("handler"))
)
_EXPORTERS: Final = (
    select(Principal.id, Principal.name, Principal.kind, Principal.disabled_at)
    .where(Principal.id > bindparam("after"), exists().where(Grant.principal == Principal.id, _HAS_ROLE))
    .order_by(Principal.id)
    .limit(bindparam("size", type_=Integer))
    .subquery("p")
)
_SYSTEMS: Final = select(
    _EXPORTERS.c.id,
    _EXPORTERS.c.name,
    and_(
        _EXPORTERS.c.kind == "system",
        _EXPORTERS.c.disabled_at.is_(None),
        exists().where(Grant.principal == _EXPORTERS.c.id, _HAS_ROLE, Grant.standing(TODAY)),
    ).label("may_export"),
).order_by(_EXPORTERS.c.id)
"""The next principals that have or had the role of an exporter for a handler, and whether they may export today."""


@dataclass(frozen=True, slots=True)
class Searcher:
    """Caller of a search, and the law for its decisions."""

    caller: Caller
    credentials: Credential
    book: RuleBook


@dataclass(frozen=True, slots=True)
class _Candidate(Generic[Result]):
    """Candidate of a search; `result` is None if the gate would deny it."""

    id: str
    result: Result | None


Step = Callable[[str, int], Awaitable[Sequence[_Candidate[Result]]]]
"""Returns the next candidates by id, up to a number; fewer only at the end."""


@dataclass(slots=True)
class _Walk(Generic[Result]):
    """Progress of a search; `after` is the last candidate decided on, None once there are no more."""

    after: str | None
    results: list[Result] = field(default_factory=list)
    looked_at: int = 0

    async def go(self, step: Step[Result], limit: int) -> None:
        """Decide on candidates until the page is full, no candidates are left, or the request has reached its maximum."""
        while self.after is not None and len(self.results) < limit and self.looked_at < MAX_CANDIDATES:
            size = min(CANDIDATES_PER_READ, MAX_CANDIDATES - self.looked_at)
            candidates = await step(self.after, size)
            if self._take(candidates, limit) == len(candidates) < size:
                self.after = None

    def _take(self, candidates: Sequence[_Candidate[Result]], limit: int) -> int:
        for number, candidate in enumerate(candidates):
            if len(self.results) == limit:
                return number
            self.after = candidate.id
            self.looked_at += 1
            if candidate.result is not None:
                self.results.append(candidate.result)
        return len(candidates)


async def resources(tx: Transaction, searcher: Searcher, body: ResourceSearchIn) -> ResourceSearchOut:
    """Return the datasets that a system may export, of handlers for which the caller is an exporter."""
    search = _Search(tx, searcher, body)
    scope = searcher.caller.scope(EXPORTERS)

    async def step(after: str, size: int) -> Sequence[_Candidate[ResourceResult]]:
        among = {} if scope == EVERYWHERE else {"handlers": sorted(scope)}
        query = _DATASETS if scope == EVERYWHERE else _DATASETS_OF
        rows = (await tx.execute(query, {"after": after, "size": size} | among)).all()
        questions = [search.question(Party(row.id, DATASET)) for row in rows]
        decisions = zip(rows, await search.decisions(questions), strict=True)
        return [_Candidate(row.id, _resource(row.id, row.key, decision)) for row, decision in decisions]

    walk = await search.walk(step, has_candidates=body.resource.type == DATASET)
    handler = next(iter(scope)) if scope != EVERYWHERE and len(scope) == 1 else None
    page, context = search.record(walk, [resource.id for resource in walk.results], handler)
    return ResourceSearchOut(page=page, context=context, results=walk.results)


def _resource(ident: str, key: str, decision: Decision) -> ResourceResult | None:
    if not decision.allowed:
        return None
    return ResourceResult(type=DATASET, id=ident, properties=DatasetProperties(key=key, reason=decision.reason))


async def subjects(tx: Transaction, searcher: Searcher, body: SubjectSearchIn) -> SubjectSearchOut:
    """Return the systems that may export a dataset: exporters of its handler that the gate would allow."""
    search = _Search(tx, searcher, body)
    (snapshot,) = await search.read([search.question(Party("", SYSTEM))])

    async def step(after: str, size: int) -> Sequence[_Candidate[SubjectResult]]:
        among = {"handler": snapshot.handler, "today": day_in_shanghai(tx.now)}
        rows = (await tx.execute(_SYSTEMS, {"after": after, "size": size} | among)).all()
        return [_Candidate(row.id, subject(row.name) if row.may_export else None) for row in rows]

    def subject(name: str) -> SubjectResult | None:
        question = search.question(Party(name, SYSTEM))
        is_allowed = decision_on(question, snapshot.inputs, searcher.book).allowed
        return SubjectResult(type=SYSTEM, id=name) if is_allowed else None

    walk = await search.walk(step, has_candidates=body.subject.type == SYSTEM and snapshot.handler is not None)
    page, context = search.record(walk, [subject.id for subject in walk.results], snapshot.handler)
    return SubjectSearchOut(page=page, context=context, results=walk.results)


async def actions(tx: Transaction, searcher: Searcher, body: ActionSearchIn) -> ActionSearchOut:
    """Return the actions that a system may take on a dataset: `export`, or none."""
    search = _Search(tx, searcher, body)
    question = search.question(Action(EXPORT))
    (snapshot,) = await search.read([question])

    async def step(after: str, _: int) -> Sequence[_Candidate[ActionResult]]:
        is_allowed = decision_on(question, snapshot.inputs, searcher.book).allowed
        return [] if after else [_Candidate(EXPORT, ActionResult(name=EXPORT) if is_allowed else None)]

    walk = await search.walk(step, has_candidates=snapshot.handler is not None)
    page, context = search.record(walk, [action.name for action in walk.results], snapshot.handler)
    return ActionSearchOut(page=page, context=context, results=walk.results)


class _Search:
    """One search: the question for every candidate, the page, and the audit entry.

    Raises:
        Malformed: the page's token is of another query.
    """

    def __init__(self, tx: Transaction, searcher: Searcher, body: SearchIn) -> None:
        self._tx, self._searcher = tx, searcher
        self._kind = _KINDS[type(body)]
        self._question = body.model_dump(exclude=dict(_NOT_RECORDED), exclude_none=True)
        names = self._question.keys() & _PARTS.keys() - {self._kind}
        self._parts: Mapping[str, Any] = {name: convert(_PARTS[name], self._question[name]) for name in names}
        page = body.page or PageIn()
        parts = [self._kind, searcher.caller.principal, body.model_dump(exclude={"page"}), page.properties]
        self._query = json.dumps(parts, sort_keys=True).encode()
        limit = None if page.limit is None else min(page.limit, MAX_LIMIT)
        if page.token:
            self._place = page_tokens.decode_cursor(page.token, self._query, limit)
        else:
            self._place = Place(LIMIT if limit is None else limit, "")

    def question(self, candidate: Party | Action) -> Question:
        """Return the question about one candidate."""
        parts: Mapping[str, Any] = {**self._parts, self._kind: candidate}
        return Question(**parts)

    async def read(self, questions: Sequence[Question]) -> Sequence[Snapshot]:
        """Read the rows for the decisions on some questions."""
        lookups = [lookup_of(question, self._searcher.credentials) for question in questions]
        return await batch_read.read_in(self._tx, lookups, day_in_shanghai(self._tx.now)) if lookups else ()

    async def decisions(self, questions: Sequence[Question]) -> Sequence[Decision]:
        """Return the decisions on some questions."""
        snapshots = await self.read(questions)
        return [
            decision_on(question, snapshot.inputs, self._searcher.book)
            for question, snapshot in zip(questions, snapshots, strict=True)
        ]

    async def walk(self, step: Step[Result], *, has_candidates: bool) -> _Walk[Result]:
        """Return the results of the page; none if the subject of the search is unknown."""
        walk = _Walk[Result](self._place.after if has_candidates else None)
        await walk.go(step, self._place.limit)
        return walk

    def record(self, walk: _Walk[Any], results: Sequence[str], handler: str | None) -> tuple[PageOut, SearchContext]:
        """Record the search with its results, and return page and context of the answer."""
        ident = new_id("sr")
        details = {
            "search": self._kind,
            "question": self._question,
            "after": self._place.after or None,
            "looked_at": walk.looked_at,
            "results": list(results),
            "is_last": walk.after is None,
        }
        audit.append(
            self._tx, self._searcher.caller, AuditAction.GATE_SEARCHED, ident, handler=handler, details=details
        )
        token = (
            "" if walk.after is None else page_tokens.encode_cursor(Place(self._place.limit, walk.after), self._query)
        )
        return PageOut(next_token=token, count=len(results)), SearchContext(id=ident, looked_at=walk.looked_at)
