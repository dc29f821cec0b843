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
from service.audit.actions import AuditAction
from service.audit.commitments import MAX_BODY_SIZE, SALT_SIZE, Opening, commit_texts
from service.clock import rfc3339
from service.database.ids import new_ids
from service.gate import questions
from service.gate.batch_read import Snapshot
from service.gate.decide import Ask, Decision, DecisionInputs, Growth, PermitState, Reason, contradicted, decide
from service.gate.reason_texts import NEXT, REASONS
from service.law.facts import NO_PERSONS, Count, Tag
from service.law.rule_book import RuleBook
from service.ledger.reservation_rules import status_at
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
    """Denial of an export by the gate; the evaluation is recorded."""

    slug, title = "export-refused", "This export may not happen"


class ExportEnded(Conflict):
    """Refusal of an act that needs an export that has not ended."""

    slug, title = "export-ended", "This export has ended"


_ENDS: Final = {
    "completed": "was reported as sent",
    "cancelled": "was cancelled",
    "lapsed": "lapsed, and its persons were given back",
}


def export_ended(export: str, state: str) -> ExportEnded:
    """Return the refusal of an act that needs an export that has not ended.

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


# The record. Members are in alphabetical order and numbers are integers, so that the encoder's output is RFC 8785.


class _Announced(Struct, frozen=True):
    """Growth of the permit's and the year's total by persons announced by hash."""

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


class ReservedExport(Struct, frozen=True, kw_only=True):
    """Reserved export, in the shape of `ExportOut`."""

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


class ReservedPersons(Struct, frozen=True):
    """Persons that a reservation holds: all, or the new ones of those announced by hash."""

    of_permit: Count
    in_year: Count


class EarlierExport(Struct, frozen=True):
    """Present state of an export that an earlier request with the same `Idempotency-Key` reserved."""

    id: str
    permit: str | None
    status: str
    """As stored."""
    year: int
    """The year of its reserved persons, if it `counts`."""
    counts: bool
    expires_at: datetime
    reserved: ReservedPersons

    def state(self, now: datetime) -> str:
        """Return its status at an instant."""
        return status_at(self.status, self.expires_at, now)

    def without_own(self, inputs: DecisionInputs) -> DecisionInputs:
        """Return the inputs without the persons that it has reserved itself."""
        permits = [
            permit.using(Count(-self.reserved.of_permit.persons, -self.reserved.of_permit.sensitive_persons))
            if permit.id == self.permit
            else permit
            for permit in inputs.permits
        ]
        year = inputs.year
        if self.counts and self.year == inputs.today.year:
            of_year = self.reserved.in_year
            year = Count(year.persons - of_year.persons, year.sensitive_persons - of_year.sensitive_persons)
        return structs.replace(inputs, permits=permits, year=year)


NO_PERMIT: Final = "-"
"""Placeholder for a permit's id: the export was reserved without one, so that no later permit applies to it."""


@dataclass(slots=True)
class Entries:
    """Columns of the audit log, with a row for each decision."""

    actor: list[str] = field(default_factory=list)
    action: list[str] = field(default_factory=list)
    subject: list[str] = field(default_factory=list)
    handler: list[str] = field(default_factory=list)
    """Empty where there is none."""
    body: list[str] = field(default_factory=list)
    sha256: list[bytes] = field(default_factory=list)
    openings: list[tuple[str, Opening]] = field(default_factory=list)
    """Openings of the lists that are committed because a body is too long, by subject."""


class DecisionBatch:
    """Decisions of one transaction.

    Args:
        book: the law.
        now: the instant, in UTC.
        lapses_at: the instant at which new reservations lapse.
    """

    def __init__(self, book: RuleBook, now: datetime, lapses_at: datetime) -> None:
        self._book = book
        self.now = now
        self._at = rfc3339(now)
        self._ids = new_ids("ev")
        self.lapses_at = lapses_at
        self._until = rfc3339(lapses_at)
        self._added_to_permit: defaultdict[str, Count] = defaultdict(Count)
        self._added_to_handler: defaultdict[str, Count] = defaultdict(Count)
        self.entries = Entries()
        self.exports: list[ReservedExport] = []
        self.contradictions: dict[tuple[str, str, str], tuple[str, str, str, str, str, int, int]] = {}
        """Rows of statements that contradict tags, by dataset, kind and caller: these, handler, subject and both counts of persons."""
        self.reserved_persons: list[ReservedPersons] = []
        """Persons reserved by each of the exports."""

    def evaluate(self, question: questions.Question, snapshot: Snapshot, caller: Caller) -> Answer:
        """Answer one question."""
        inputs = self._current_inputs(snapshot)
        decision = decision_on(question, inputs, self._book)
        evaluation = next(self._ids)
        self._record(AuditAction.GATE_EVALUATED, evaluation, caller, snapshot, inputs, decision, question)
        return answer_of(evaluation, decision, question.context or _NO_CONTEXT)

    def reserve(self, request: questions.Export, snapshot: Snapshot, caller: Caller) -> ReservedExport | ExportRefused:
        """Decide on an export and, when it may happen, reserve its persons.

        Raises:
            Invalid: personal data without the number of persons.
        """
        _require_persons(request, snapshot.inputs)
        ask = _ask_of(request, caller, request.permit or None, snapshot.growth)
        inputs = self._current_inputs(snapshot)
        decision = decide(ask, inputs, self._book)
        evaluation = next(self._ids)
        count, reserved = ask.count, ReservedPersons(ask.of_permit(decision.permit), ask.of_year)
        announced = UNSET if snapshot.growth is None else _Announced(reserved.of_permit, reserved.in_year)
        record = partial(
            self._record,
            caller=caller,
            snapshot=snapshot,
            inputs=inputs,
            decision=decision,
            question=request,
            announced=announced,
            evaluation=evaluation,
        )
        if not decision.allowed or snapshot.dataset is None or snapshot.handler is None or snapshot.recipient is None:
            record(AuditAction.EXPORT_REFUSED, evaluation)
            return refusal(evaluation, decision)
        export = ReservedExport(
            id="ex_" + evaluation.removeprefix("ev_"),
            evaluation=evaluation,
            handler=snapshot.handler,
            dataset=snapshot.dataset,
            recipient=snapshot.recipient,
            permit=decision.permit,
            system=caller.principal,
            purpose=request.purpose,
            fields=ask.fields,
            persons=count.persons,
            sensitive_persons=count.sensitive_persons,
            counts_toward_ledger=decision.counts,
            reserved_at=self._at,
            expires_at=self._until,
        )
        self.exports.append(export)
        self.reserved_persons.append(reserved)
        self._add(decision, snapshot.handler, reserved)
        record(AuditAction.EXPORT_RESERVED, export.id, counts=decision.counts, expires_at=self._until, export=export.id)
        return export

    def repeat(
        self,
        request: questions.Export,
        snapshot: Snapshot,
        caller: Caller,
        earlier: EarlierExport,
        *,
        is_announced: bool,
    ) -> Problem | None:
        """Decide anew on an export that was reserved before; None if it may still happen. Reserves nothing more.

        The decision is on the present state, under the export's own permit alone, without its own reservation. Either answer is recorded.

        Raises:
            Invalid: the present grading needs a number of persons that the request does not state.
        """
        if snapshot.handler is not None:
            state = earlier.state(self.now)
            if state != "reserved":
                return export_ended(earlier.id, state)
            _require_persons(request, snapshot.inputs)
        growth = None
        if is_announced:
            growth = Growth(
                earlier.reserved.in_year, {} if earlier.permit is None else {earlier.permit: earlier.reserved.of_permit}
            )
        ask = _ask_of(request, caller, earlier.permit or NO_PERMIT, growth)
        inputs = earlier.without_own(self._current_inputs(snapshot))
        decision = decide(ask, inputs, self._book)
        evaluation = next(self._ids)
        self._record(
            AuditAction.EXPORT_REPEATED if decision.allowed else AuditAction.EXPORT_REFUSED,
            earlier.id if decision.allowed else evaluation,
            caller,
            snapshot,
            inputs,
            decision,
            request,
            evaluation=evaluation,
            export=earlier.id,
        )
        return None if decision.allowed else refusal(evaluation, decision, export=earlier.id)

    def _current_inputs(self, snapshot: Snapshot) -> DecisionInputs:
        """Return the inputs with the earlier exports of the batch counted."""
        inputs = snapshot.inputs
        if not self.exports or snapshot.handler is None:
            return inputs
        year = _sum(inputs.year, self._added_to_handler[snapshot.handler])
        return DecisionInputs(
            inputs.today,
            inputs.dataset,
            inputs.recipient,
            [self._current_permit(permit) for permit in inputs.permits],
            year,
        )

    def _current_permit(self, permit: PermitState) -> PermitState:
        taken = self._added_to_permit.get(permit.id)
        return permit if taken is None else permit.using(taken)

    def _add(self, decision: Decision, handler: str, reserved: ReservedPersons) -> None:
        if decision.permit is not None:
            self._added_to_permit[decision.permit] = _sum(self._added_to_permit[decision.permit], reserved.of_permit)
        if decision.counts:
            self._added_to_handler[handler] = _sum(self._added_to_handler[handler], reserved.in_year)

    def _record(
        self,
        action: AuditAction,
        subject: str,
        caller: Caller,
        snapshot: Snapshot,
        inputs: DecisionInputs,
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
            dataset=snapshot.dataset,
            decision=decision.allowed,
            evaluation=evaluation,
            expires_at=expires_at,
            export=export,
            mechanism=decision.mechanism,
            permit=decision.permit,
            question=question,
            reason=decision.reason,
            recipient=snapshot.recipient,
            year=inputs.year,
        )
        body = encode(_Body(action, caller.principal, self._at, details, snapshot.handler, subject))
        entries = self.entries
        if len(body) > MAX_BODY_SIZE:
            committed, openings = commit_texts(json.loads(body), lambda: secrets.token_bytes(SALT_SIZE))
            entries.openings += [(subject, opening) for opening in openings]
            body = rfc8785.dumps(committed)
        if decision.contradiction is not None and snapshot.dataset is not None and snapshot.handler is not None:
            stated = question if isinstance(question, questions.Export) else question.context or _NO_CONTEXT
            count = (_value_or_none(stated.persons) or 0, _value_or_none(stated.sensitive_persons) or 0)
            key = (snapshot.dataset, decision.contradiction, caller.principal)
            self.contradictions.setdefault(key, (*key, snapshot.handler, subject, *count))
        entries.actor.append(caller.principal)
        entries.action.append(action)
        entries.subject.append(subject)
        entries.handler.append(snapshot.handler or "")
        entries.body.append(body.decode())
        entries.sha256.append(hashlib.sha256(body).digest())


def decision_on(question: questions.Question, inputs: DecisionInputs, book: RuleBook) -> Decision:
    """Return the decision on a question."""
    context = question.context or _NO_CONTEXT
    ask = Ask(
        # Ids are unique within their type only: a subject of another type is no system of a permit.
        system=question.subject.id if question.subject.type == SYSTEM else "",
        purpose=context.purpose or None,
        persons=_value_or_none(context.persons),
        sensitive_persons=_value_or_none(context.sensitive_persons),
        fields=_value_or_none(context.fields),
    )
    decision = decide(ask, inputs, book)
    if question.action.name != EXPORT and decision.allowed:
        # Permits allow exports only.
        return Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=decision.mechanism)
    return decision


def _ask_of(request: questions.Export, caller: Caller, permit: str | None, growth: Growth | None) -> Ask:
    return Ask(
        system=caller.name,
        purpose=request.purpose,
        persons=_value_or_none(request.persons),
        sensitive_persons=_value_or_none(request.sensitive_persons),
        fields=_value_or_none(request.fields),
        permit=permit,
        growth=growth,
    )


def lapse_time(now: datetime, lease: timedelta) -> datetime:
    """Return the instant at which new reservations lapse: the last whole step before the end of the lease, which has `LEASE_STEPS`.

    Reservations lapse together, so a few sums hold their persons, however many there are.
    """
    step = max(lease // LEASE_STEPS, timedelta(microseconds=1))
    return EPOCH + (now + lease - EPOCH) // step * step


_NO_CONTEXT: Final = questions.Context()


def answer_of(evaluation: str, decision: Decision, context: questions.Context) -> Answer:
    """Return the answer for a decision, with the parts of the question that it rests on."""
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
            recipient=context.recipient or None,
            purpose=context.purpose or None,
            persons=_value_or_none(context.persons),
            sensitive_persons=_value_or_none(context.sensitive_persons),
            fields=_value_or_none(context.fields),
        ),
    )


def refusal(evaluation: str, decision: Decision, **more: Any) -> ExportRefused:
    """Return the problem with the reason of a denied export."""
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


def _require_persons(request: questions.Export, inputs: DecisionInputs) -> None:
    """Refuse an export of personal data without persons, unless the gate denies it anyway because it contradicts the tags."""
    dataset = inputs.dataset
    if dataset is None or dataset.facts is None or not dataset.facts.is_personal:
        return
    persons, sensitive_persons = _value_or_none(request.persons), _value_or_none(request.sensitive_persons)
    if persons or sensitive_persons:
        return
    is_stated = persons is not None or sensitive_persons is not None
    if (
        is_stated
        and contradicted(dataset.facts, dataset.fields, _value_or_none(request.fields), NO_PERSONS) is not None
    ):
        return
    errors = [("/persons", "The data is personal: state how many persons it concerns.")]
    if Tag.SENSITIVE in dataset.facts.tags:
        errors.append(
            ("/sensitive_persons", "The data is sensitive: state how many persons' sensitive information goes.")
        )
    raise Invalid("An export of personal data states its persons.", errors=errors)


def _value_or_none(value: Any) -> Any:
    return None if value is UNSET else value


def _sum(left: Count, right: Count) -> Count:
    return Count(left.persons + right.persons, left.sensitive_persons + right.sensitive_persons)
