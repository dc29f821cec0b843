"""Decides a batch of jobs in order, in memory, and collects the rows to write.

An export that one decision allows is counted by those after it, so a batch decides as its jobs would one by one.
"""

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import msgspec
import rfc8785
from msgspec import UNSET, Struct, UnsetType, structs

from service.access.caller import Caller
from service.audit.commitments import LIMIT, SALT, Opening, seal
from service.clock import rfc3339
from service.database.ids import new_ids
from service.gate import questions
from service.gate.batch_read import Found
from service.gate.decide import Ask, Decision, Growth, Known, KnownPermit, Reason, contradicted, decide
from service.gate.reason_texts import NEXT, REASONS
from service.law.facts import NOBODY, Count, Tag
from service.law.rule_book import RuleBook
from service.validation.problems import Conflict, Forbidden, Invalid, Problem

SYSTEM: Final = "system"
DATASET: Final = "dataset"
EXPORT: Final = "export"
"""The subjects, the resources and the action that the gate knows."""

LEASE_STEPS: Final = 240
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

encode: Final = msgspec.json.Encoder().encode
_REASONS: Final = {reason: msgspec.Raw(encode(text)) for reason, text in REASONS.items()}
_NEXT: Final = {reason: msgspec.Raw(encode(step)) for reason, step in NEXT.items()}


class ExportRefused(Forbidden):
    """The gate said no; the evaluation is on record."""

    slug, title = "export-refused", "This export may not happen"


class ExportEnded(Conflict):
    """An export that has ended: nothing goes under it any more, whatever was answered when it was reserved."""

    slug, title = "export-ended", "This export has ended"


_ENDS: Final = {
    "completed": "was reported as sent",
    "cancelled": "was cancelled",
    "lapsed": "lapsed, and its persons were given back",
}


def export_ended(export: str, state: str) -> ExportEnded:
    """Return the refusal of what needs an export that has not ended.

    Args:
        export: its id.
        state: `completed`, `cancelled` or `lapsed`.
    """
    return ExportEnded(
        f"The export {export} {_ENDS[state]}. Nothing may go under it any more: a new run takes a new Idempotency-Key. "
        "If something went all the same, report it: POST to `next`.",
        export=export,
        state=state,
        next={"href": f"/v1/exports/{export}/complete", "method": "POST"},
    )


# The record. Members stand in the order of the alphabet and numbers are whole, so that what the encoder makes is RFC 8785.


class _Announced(Struct, frozen=True):
    """By how much the persons who were announced by hash would make the permit's and the year's total grow."""

    permit: Count
    year: Count


class _Details(Struct, frozen=True):
    announced: _Announced | UnsetType
    counts: bool | UnsetType
    dataset: str | None
    decision: bool
    evaluation: str | UnsetType
    expires_at: str | UnsetType
    export: str | UnsetType
    mechanism: str | None
    permit: str | None
    question: questions.Question | questions.Export
    reason: str
    recipient: str | None
    year: Count


class _Body(Struct, frozen=True):
    action: str
    actor: str
    at: str
    details: _Details
    handler: str | None
    subject: str


# The answer


class _AnswerContext(Struct, frozen=True):
    id: str
    reason: str
    reason_user: msgspec.Raw
    mechanism: str | None
    permit: str | None
    headroom: Count | None
    next: msgspec.Raw | None
    valid_from: date | None
    recipient: str | None
    purpose: str | None
    persons: int | None
    sensitive_persons: int | None
    fields: Sequence[str] | None


class Answer(Struct, frozen=True):
    """The answer to one question, as AuthZEN has it."""

    decision: bool
    context: _AnswerContext


class Reserved(Struct, frozen=True, kw_only=True):
    """An export that may happen, in the shape of `ExportOut`."""

    id: str
    status: Literal["reserved"] = "reserved"
    late: Literal[False] = False
    evaluation: str
    handler: str
    dataset: str
    recipient: str
    permit: str | None
    system: str
    purpose: str
    fields: Sequence[str] | None
    persons: int
    sensitive_persons: int
    sent_persons: None = None
    sent_sensitive_persons: None = None
    counts_toward_ledger: bool
    reserved_at: str
    expires_at: str
    ended_at: None = None


class Held(Struct, frozen=True):
    """What a reservation holds: all its persons, or those of the announced ones who are new."""

    of_permit: Count
    in_year: Count


class Earlier(Struct, frozen=True):
    """An export as it is now, that was reserved when its `Idempotency-Key` came first."""

    id: str
    permit: str | None
    status: str
    """As stored."""
    year: int
    """The year in which it holds persons, where it `counts`."""
    counts: bool
    expires_at: datetime
    held: Held

    def state(self, now: datetime) -> str:
        """Return how it reads at a moment."""
        return "lapsed" if self.status == "reserved" and self.expires_at <= now else self.status

    def taken_from(self, known: Known) -> Known:
        """Return what is known without what it holds itself."""
        permits = [
            permit.using(Count(-self.held.of_permit.persons, -self.held.of_permit.sensitive_persons))
            if permit.id == self.permit
            else permit
            for permit in known.permits
        ]
        year = known.year
        if self.counts and self.year == known.today.year:
            of_year = self.held.in_year
            year = Count(year.persons - of_year.persons, year.sensitive_persons - of_year.sensitive_persons)
        return structs.replace(known, permits=permits, year=year)


NO_PERMIT: Final = "-"
"""In the place of a permit's id: the export was reserved without one, and none that came since is its own."""


@dataclass(slots=True)
class Entries:
    """Columns of the audit log, a row a decision."""

    actor: list[str] = field(default_factory=list)
    action: list[str] = field(default_factory=list)
    subject: list[str] = field(default_factory=list)
    handler: list[str] = field(default_factory=list)
    """Empty where there is none."""
    body: list[str] = field(default_factory=list)
    sha256: list[bytes] = field(default_factory=list)
    openings: list[tuple[str, Opening]] = field(default_factory=list)
    """What opens the lists that a body was too long with, by subject."""


class DecisionBatch:
    """One transaction's decisions.

    Args:
        book: the law.
        now: the moment, in UTC.
        lapses_at: when what is reserved now lapses.
    """

    def __init__(self, book: RuleBook, now: datetime, lapses_at: datetime) -> None:
        self._book = book
        self.now = now
        self._at = rfc3339(now)
        self._ids = new_ids("ev")
        self.lapses_at = lapses_at
        self._until = rfc3339(lapses_at)
        self._taken_of_permit: defaultdict[str, Count] = defaultdict(Count)
        self._taken_of_handler: defaultdict[str, Count] = defaultdict(Count)
        self.entries = Entries()
        self.exports: list[Reserved] = []
        self.contradictions: dict[tuple[str, str, str], tuple[str, str, str, str, str, int, int]] = {}
        """What was stated against tags, once a dataset, kind and caller: these three, handler, subject and persons of either kind."""
        self.held: list[Held] = []
        """What each of the exports holds."""

    def evaluate(self, asked: questions.Question, found: Found, caller: Caller) -> Answer:
        """Answer one question."""
        known = self._now_known(found)
        decision = decision_on(asked, known, self._book)
        evaluation = next(self._ids)
        self._record("gate.evaluated", evaluation, caller, found, known, decision, asked)
        return answer_of(evaluation, decision, asked.context or _NOTHING)

    def reserve(self, asked: questions.Export, found: Found, caller: Caller) -> Reserved | ExportRefused:
        """Decide on an export and, when it may happen, reserve its persons.

        Raises:
            Invalid: personal data without the number of persons.
        """
        _require_persons(asked, found.known)
        ask = _ask_of(asked, caller, asked.permit or None, found.growth)
        known = self._now_known(found)
        decision = decide(ask, known, self._book)
        evaluation = next(self._ids)
        count, held = ask.count, Held(ask.of_permit(decision.permit), ask.of_year)
        announced = UNSET if found.growth is None else _Announced(held.of_permit, held.in_year)
        record = partial(
            self._record,
            caller=caller,
            found=found,
            known=known,
            decision=decision,
            question=asked,
            announced=announced,
            evaluation=evaluation,
        )
        if not decision.allowed or found.dataset is None or found.handler is None or found.recipient is None:
            record("export.refused", evaluation)
            return refusal(evaluation, decision)
        export = Reserved(
            id="ex_" + evaluation.removeprefix("ev_"),
            evaluation=evaluation,
            handler=found.handler,
            dataset=found.dataset,
            recipient=found.recipient,
            permit=decision.permit,
            system=caller.principal,
            purpose=asked.purpose,
            fields=ask.fields,
            persons=count.persons,
            sensitive_persons=count.sensitive_persons,
            counts_toward_ledger=decision.counts,
            reserved_at=self._at,
            expires_at=self._until,
        )
        self.exports.append(export)
        self.held.append(held)
        self._take(decision, found.handler, held)
        record("export.reserved", export.id, counts=decision.counts, expires_at=self._until, export=export.id)
        return export

    def repeat(
        self, asked: questions.Export, found: Found, caller: Caller, earlier: Earlier, *, is_announced: bool
    ) -> Problem | None:
        """Decide anew on an export that was reserved before; None: it still may happen. Nothing more is taken for it.

        It is decided on as if it were asked for now, under its own permit alone, and without what it holds itself. Either answer is
        recorded.

        Raises:
            Invalid: what the data is by now takes more than was stated.
        """
        if found.handler is not None:
            state = earlier.state(self.now)
            if state != "reserved":
                return export_ended(earlier.id, state)
            _require_persons(asked, found.known)
        growth = None
        if is_announced:
            growth = Growth(
                earlier.held.in_year, {} if earlier.permit is None else {earlier.permit: earlier.held.of_permit}
            )
        ask = _ask_of(asked, caller, earlier.permit or NO_PERMIT, growth)
        known = earlier.taken_from(self._now_known(found))
        decision = decide(ask, known, self._book)
        evaluation = next(self._ids)
        self._record(
            "export.repeated" if decision.allowed else "export.refused",
            earlier.id if decision.allowed else evaluation,
            caller,
            found,
            known,
            decision,
            asked,
            evaluation=evaluation,
            export=earlier.id,
        )
        return None if decision.allowed else refusal(evaluation, decision, export=earlier.id)

    def _now_known(self, found: Found) -> Known:
        """Return what is known once the exports before are counted."""
        known = found.known
        if not self.exports or found.handler is None:
            return known
        year = _sum(known.year, self._taken_of_handler[found.handler])
        return Known(known.today, known.dataset, known.recipient, [self._now_used(one) for one in known.permits], year)

    def _now_used(self, permit: KnownPermit) -> KnownPermit:
        taken = self._taken_of_permit.get(permit.id)
        return permit if taken is None else permit.using(taken)

    def _take(self, decision: Decision, handler: str, held: Held) -> None:
        if decision.permit is not None:
            self._taken_of_permit[decision.permit] = _sum(self._taken_of_permit[decision.permit], held.of_permit)
        if decision.counts:
            self._taken_of_handler[handler] = _sum(self._taken_of_handler[handler], held.in_year)

    def _record(
        self,
        action: str,
        subject: str,
        caller: Caller,
        found: Found,
        known: Known,
        decision: Decision,
        question: questions.Question | questions.Export,
        *,
        announced: _Announced | UnsetType = UNSET,
        counts: bool | UnsetType = UNSET,
        evaluation: str | UnsetType = UNSET,
        expires_at: str | UnsetType = UNSET,
        export: str | UnsetType = UNSET,
    ) -> None:
        details = _Details(
            announced=announced,
            counts=counts,
            dataset=found.dataset,
            decision=decision.allowed,
            evaluation=evaluation,
            expires_at=expires_at,
            export=export,
            mechanism=decision.mechanism,
            permit=decision.permit,
            question=question,
            reason=decision.reason,
            recipient=found.recipient,
            year=known.year,
        )
        body = encode(_Body(action, caller.principal, self._at, details, found.handler, subject))
        entries = self.entries
        if len(body) > LIMIT:
            sealed, openings = seal(json.loads(body), lambda: secrets.token_bytes(SALT))
            entries.openings += [(subject, opening) for opening in openings]
            body = rfc8785.dumps(sealed)
        if decision.contradiction is not None and found.dataset is not None and found.handler is not None:
            stated = question if isinstance(question, questions.Export) else question.context or _NOTHING
            count = (_given(stated.persons) or 0, _given(stated.sensitive_persons) or 0)
            what = (found.dataset, decision.contradiction, caller.principal)
            self.contradictions.setdefault(what, (*what, found.handler, subject, *count))
        entries.actor.append(caller.principal)
        entries.action.append(action)
        entries.subject.append(subject)
        entries.handler.append(found.handler or "")
        entries.body.append(body.decode())
        entries.sha256.append(hashlib.sha256(body).digest())


def decision_on(asked: questions.Question, known: Known, book: RuleBook) -> Decision:
    """Return the decision on a question."""
    context = asked.context or _NOTHING
    ask = Ask(
        # Ids are unique within their type only: whoever is no system is none of those that a permit names.
        system=asked.subject.id if asked.subject.type == SYSTEM else "",
        purpose=context.purpose or None,
        persons=_given(context.persons),
        sensitive_persons=_given(context.sensitive_persons),
        fields=_given(context.fields),
    )
    decision = decide(ask, known, book)
    if asked.action.name != EXPORT and decision.allowed:
        # Nothing but an export is ever allowed here: no permit speaks of anything else.
        return Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=decision.mechanism)
    return decision


def _ask_of(asked: questions.Export, caller: Caller, permit: str | None, growth: Growth | None) -> Ask:
    return Ask(
        system=caller.name,
        purpose=asked.purpose,
        persons=_given(asked.persons),
        sensitive_persons=_given(asked.sensitive_persons),
        fields=_given(asked.fields),
        permit=permit,
        growth=growth,
    )


def lapse(now: datetime, lease: timedelta) -> datetime:
    """Return when what is reserved now lapses: the last whole step before the lease is over, of which it has `LEASE_STEPS`.

    So reservations lapse together, and what they hold until then is a few sums, however many they are.
    """
    step = max(lease // LEASE_STEPS, timedelta(microseconds=1))
    return EPOCH + (now + lease - EPOCH) // step * step


_NOTHING: Final = questions.Context()


def answer_of(evaluation: str, decision: Decision, read: questions.Context) -> Answer:
    """Return the answer that tells a decision, and what of the question it was taken on."""
    return Answer(
        decision.allowed,
        _AnswerContext(
            id=evaluation,
            reason=decision.reason,
            reason_user=_REASONS[decision.reason],
            mechanism=decision.mechanism,
            permit=decision.permit,
            headroom=decision.headroom,
            next=_NEXT.get(decision.reason),
            valid_from=decision.valid_from,
            recipient=read.recipient or None,
            purpose=read.purpose or None,
            persons=_given(read.persons),
            sensitive_persons=_given(read.sensitive_persons),
            fields=_given(read.fields),
        ),
    )


def refusal(evaluation: str, decision: Decision, **more: Any) -> ExportRefused:
    """Return the problem that tells why an export may not happen."""
    return ExportRefused(
        REASONS[decision.reason]["en"],
        reason=decision.reason,
        reason_user=dict(REASONS[decision.reason]),
        evaluation=evaluation,
        mechanism=decision.mechanism,
        permit=decision.permit,
        headroom=None if decision.headroom is None else structs.asdict(decision.headroom),
        next=NEXT.get(decision.reason),
        valid_from=None if decision.valid_from is None else decision.valid_from.isoformat(),
        **more,
    )


def _require_persons(asked: questions.Export, known: Known) -> None:
    """Refuse an export of personal data that states nobody; where that contradicts the tags, it is refused for this reason instead."""
    dataset = known.dataset
    if dataset is None or dataset.facts is None or not dataset.facts.is_personal:
        return
    persons, sensitive_persons = _given(asked.persons), _given(asked.sensitive_persons)
    if persons or sensitive_persons:
        return
    is_stated = persons is not None or sensitive_persons is not None
    if is_stated and contradicted(dataset.facts, dataset.fields, _given(asked.fields), NOBODY) is not None:
        return
    errors = [("/persons", "The data is personal: state how many persons it concerns.")]
    if Tag.SENSITIVE in dataset.facts.tags:
        errors.append(
            ("/sensitive_persons", "The data is sensitive: state how many persons' sensitive information goes.")
        )
    raise Invalid("An export of personal data states its persons.", errors=errors)


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def _sum(one: Count, other: Count) -> Count:
    return Count(one.persons + other.persons, one.sensitive_persons + other.sensitive_persons)
