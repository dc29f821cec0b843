"""Outlook: what the law and the gate would say later, and why, of a transfer, of a permit, and of all permits at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal

from msgspec import structs
from pydantic import BaseModel, Field
from sqlalchemy import select

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.gate.batch_read import Lookup, read_in
from service.gate.decide import Ask, Decision, DecisionInputs, Reason, decide
from service.gate.reason_texts import REASONS
from service.law import forecast
from service.law.determination import determine
from service.law.explanation import answer
from service.law.facts import NOBODY, Count, Facts, Route
from service.law.forecast import LegalChange
from service.law.rule_book import RuleBook
from service.law.schemas import DeterminationOut, TextOut
from service.ledger import operations as ledger
from service.obligations import operations as obligations
from service.obligations.obligation_rules import State
from service.permits import operations as permits
from service.permits.standing import left
from service.permits.tables import Permit, PermitDataset
from service.registry.fields import NO_FIELDS
from service.registry.tables import Grading
from service.transfers.case import Case, case_of, facts_of, route_of
from service.transfers.queries import evidence_of, transfer_of
from service.transfers.tables import Transfer
from service.transfers.workflow import stages_for
from service.validation.problems import Invalid

HORIZON = timedelta(days=3 * 366)
"""How far ahead changes are looked for, at most."""


class AnswerOut(BaseModel):
    """What the law says of the facts on a day, and the stages that it would take."""

    on: date
    determination: DeterminationOut
    stages: list[str]


class AheadOut(BaseModel):
    """A day on which something changes, and what."""

    on: date
    kind: Literal[
        "law_changes", "year_begins", "evidence_ends", "permit_ends", "transfer_ends", "duty_due", "grading_review"
    ]
    subject: str | None = Field(description="Id of the paper, duty or dataset that it is about.")
    text: TextOut


class ContradictionOut(BaseModel):
    """Why nothing can be said: a fact of the register that the request contradicts."""

    pointer: str
    detail: str


class LineOut(BaseModel):
    """A line that the year's count has not reached yet, and at which more would be asked for."""

    id: str
    kind: Literal["persons", "sensitive_persons"]
    mechanism: str
    value: int = Field(description="As it is applied: the company's own may be lower than the law's.")
    law_value: int
    count: int = Field(description="The year's count once all that is left of this transfer has been sent.")
    headroom: int
    near: bool


class WhyOut(BaseModel):
    """Why something no longer stands."""

    dataset: str
    reason: Reason
    text: TextOut


class TransferOutlook(BaseModel):
    """What the law would say of a transfer: today, later, with more persons, and when and why that changes."""

    transfer: str
    now: AnswerOut | None = Field(
        description="On what is left of it. Null where the request contradicts the register as it stands now."
    )
    contradictions: list[ContradictionOut]
    later: AnswerOut | None
    with_more: AnswerOut | None
    changes: list[AheadOut]
    thresholds: list[LineOut]


class PermitOutlook(TransferOutlook):
    """The same of a permit, and whether it stands."""

    permit: str
    stands: bool = Field(description="Whether the gate would allow something under it today.")
    why_not: list[WhyOut]
    stands_later: bool | None
    why_not_later: list[WhyOut]
    stands_with_more: bool | None
    why_not_with_more: list[WhyOut]


class InvalidatedPermit(BaseModel):
    """A permit in force that no longer stands."""

    permit: str
    transfer: str
    handler: str
    purpose: str
    why: list[WhyOut]


@dataclass(frozen=True, slots=True)
class OutlookQuery:
    """What an outlook is asked for."""

    on: date | None = None
    more: Count = NOBODY

    @property
    def has_more(self) -> bool:
        """Whether a higher count is asked about."""
        return self.more != Count()


async def build_transfer_outlook(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, asked: OutlookQuery
) -> TransferOutlook:
    """Return the outlook of a transfer, on the register as it stands.

    Raises:
        Invalid: a day that has passed.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    _require_future(tx, asked)
    case = await case_of(tx, transfer)
    seen = await _answers(tx, book, case, asked)
    ends = [_present_end("transfer_ends", transfer.id, transfer.valid_until, "The transfer", "申请")]
    changes = [*seen.changes, *ends, *await _evidence_changes(tx, book, transfer), *await _grading_changes(tx, case)]
    return seen.model_copy(update={"changes": _sorted(tx, changes)})


async def build_permit_outlook(
    tx: Transaction, caller: Caller, book: RuleBook, permit_id: str, asked: OutlookQuery
) -> PermitOutlook:
    """Return the outlook of a permit: the gate's own check of it, today, on a later day and with a higher count.

    Raises:
        Invalid: a day that has passed.
    """
    permit = await permits.permit_of(tx, caller, permit_id)
    _require_future(tx, asked)
    transfer = await tx.get_one(Transfer, permit.transfer)
    case = await case_of(tx, transfer)
    seen = await _answers(tx, book, case, asked)
    today = day_in_shanghai(tx.now)
    why = await find_denials(tx, book, permit, today)
    later = None if asked.on is None else await find_denials(tx, book, permit, asked.on)
    more = await find_denials(tx, book, permit, today, asked.more) if asked.has_more else None
    ends = [_present_end("permit_ends", permit.id, permit.valid_until, "The permit", "许可")]
    changes = [*seen.changes, *ends, *await _evidence_changes(tx, book, transfer), *await _grading_changes(tx, case)]
    return PermitOutlook(
        **seen.model_dump(exclude={"changes"}),
        changes=_sorted(tx, changes),
        permit=permit.id,
        stands=not why,
        why_not=why,
        stands_later=None if later is None else not later,
        why_not_later=later or [],
        stands_with_more=None if more is None else not more,
        why_not_with_more=more or [],
    )


async def find_invalidated_permits(tx: Transaction, book: RuleBook) -> list[InvalidatedPermit]:
    """Return the permits that people hold to be in force and that the gate would allow nothing under, with the reasons.

    A permit that has not begun is looked at as of its first day.
    """
    today = day_in_shanghai(tx.now)
    query = (
        select(Permit)
        .where(Permit.status.in_(["active", "suspended"]), Permit.valid_until >= today)
        .order_by(Permit.id)
    )
    found: list[InvalidatedPermit] = []
    for permit in (await tx.scalars(query)).all():
        why = await find_denials(tx, book, permit, max(today, permit.valid_from))
        if why:
            found.append(
                InvalidatedPermit(
                    permit=permit.id,
                    transfer=permit.transfer,
                    handler=permit.handler,
                    purpose=permit.purpose,
                    why=why,
                )
            )
    return found


async def find_denials(
    tx: Transaction,
    book: RuleBook,
    permit: Permit,
    today: date,
    more: Count = Count(),  # noqa: B008 - immutable
) -> list[WhyOut]:
    """Return for each dataset of a permit why the gate would allow nothing of it under the permit; nothing, if it stands."""
    return [
        WhyOut(dataset=dataset, reason=decision.reason, text=TextOut.model_validate(REASONS[decision.reason]))
        for dataset, known in await read_inputs(tx, permit, today)
        if not (decision := decide_under(permit, structs.replace(known, year=_sum(known.year, more)), book)).allowed
    ]


async def read_inputs(tx: Transaction, permit: Permit, today: date) -> list[tuple[str, DecisionInputs]]:
    """Return for each dataset of a permit what the gate knows when it decides under this permit on a day."""
    query = select(PermitDataset.dataset).where(PermitDataset.permit == permit.id).order_by(PermitDataset.dataset)
    datasets = (await tx.scalars(query)).all()
    wanted = [Lookup(dataset, permit.recipient, permit=permit.id) for dataset in datasets]
    return [(dataset, one.inputs) for dataset, one in zip(datasets, await read_in(tx, wanted, today), strict=True)]


def decide_under(permit: Permit, known: DecisionInputs, book: RuleBook) -> Decision:
    """Ask the gate for the least that the permit speaks of: nobody yet, and only fields that the dataset has had since.

    Fields that have changed since they were graded are left out, unless there are no others. Where the year leaves room for not one
    person of those that the permit is for, that is an answer too.
    """
    held = NO_FIELDS if known.dataset is None else known.dataset.fields
    approved = set[str]().union(*(one.registered for one in known.permits if one.id == permit.id))
    covered = set(held.names) & approved & set(approved if permit.fields is None else permit.fields)
    fields = sorted(covered - held.outdated or covered) or permit.fields
    ask = Ask(
        system=next(iter(permit.systems or ()), ""),
        purpose=permit.purpose,
        persons=None,
        sensitive_persons=None,
        fields=fields,
        permit=permit.id,
    )
    found = decide(ask, known, book)
    is_for_persons = permit.persons + permit.sensitive_persons > 0
    if found.reason is Reason.PERMITTED and is_for_persons and found.headroom == Count():
        return structs.replace(found, allowed=False, reason=Reason.LEDGER_THRESHOLD)
    return found


def _sum(one: Count, other: Count) -> Count:
    return Count(one.persons + other.persons, one.sensitive_persons + other.sensitive_persons)


def _require_future(tx: Transaction, asked: OutlookQuery) -> None:
    if asked.on is not None and asked.on < day_in_shanghai(tx.now):
        raise Invalid("An outlook looks ahead.", errors=[("/on", "Choose today or a day to come.")])


async def _answers(tx: Transaction, book: RuleBook, case: Case, asked: OutlookQuery) -> TransferOutlook:
    today = day_in_shanghai(tx.now)
    try:
        facts, route = await _remaining_facts(tx, case, facts_of(case, today)), route_of(case)
    except Invalid as contradiction:
        return TransferOutlook(
            transfer=case.transfer.id,
            now=None,
            contradictions=[ContradictionOut.model_validate(error) for error in contradiction.errors],
            later=None,
            with_more=None,
            changes=[],
            thresholds=[],
        )
    until = max(today, min(case.transfer.valid_until, today + HORIZON))
    return TransferOutlook(
        transfer=case.transfer.id,
        now=_answer(facts, book, route),
        contradictions=[],
        later=None if asked.on is None else _answer(forecast.on(facts, asked.on), book, route),
        with_more=_answer(forecast.with_more(facts, asked.more), book, route) if asked.has_more else None,
        changes=[_present_change(turn) for turn in forecast.turns(facts, book, until, route)],
        thresholds=[LineOut(**asdict(line)) for line in forecast.approaches(facts, book)],
    )


async def _remaining_facts(tx: Transaction, case: Case, facts: Facts) -> Facts:
    """Return the facts with what can still go under the permit: what went or is reserved stands in the year's count already."""
    permit = await tx.scalar(select(Permit).where(Permit.transfer == case.transfer.id))
    if permit is None:
        return facts
    held = (await ledger.reserved_of_permits(tx, [permit.id])).get(permit.id, Count())
    used = _sum(Count(permit.sent_persons, permit.sent_sensitive_persons), held)
    rest = left(Count(permit.persons, permit.sensitive_persons), used)
    return replace(facts, transfer=replace(facts.transfer, **structs.asdict(rest)))


def _answer(facts: Facts, book: RuleBook, route: Route | None) -> AnswerOut:
    determination = determine(facts, book, route)
    out = DeterminationOut.model_validate(answer(facts, determination, book))
    return AnswerOut(on=facts.as_of, determination=out, stages=[str(stage) for stage in stages_for(determination)])


def _present_change(turn: LegalChange) -> AheadOut:
    was, now = turn.before.mechanism, turn.after.mechanism
    why = {
        "law_changes": ("Another rule comes into force", "新的规则生效"),
        "year_begins": ("The count of a new year begins", "新的年度累计开始"),
    }[turn.kind]
    moved = (
        (f"the law then asks for {now} instead of {was}", f"法定要求由{was}变更为{now}")
        if was is not now
        else ("other instruments, duties or papers are asked for", "所需路径、义务或者材料发生变化")
    )
    return AheadOut(
        on=turn.on,
        kind=turn.kind,
        subject=None,
        text=TextOut(en=f"{why[0]}: {moved[0]}.", zh=f"{why[1]}：{moved[1]}。"),
    )


def _present_end(kind: Literal["permit_ends", "transfer_ends"], subject: str, last: date, en: str, zh: str) -> AheadOut:
    text = TextOut(en=f"{en} ends with {last}.", zh=f"{zh}于{last}届满。")
    return AheadOut(on=last + timedelta(days=1), kind=kind, subject=subject, text=text)


async def _evidence_changes(tx: Transaction, book: RuleBook, transfer: Transfer) -> list[AheadOut]:
    """Return the days on which papers end and duties are due."""
    found = [
        AheadOut(
            on=paper.ends_on + timedelta(days=1),
            kind="evidence_ends",
            subject=paper.id,
            text=TextOut(
                en=f"The {paper.kind} ends with {paper.ends_on}.", zh=f"材料{paper.kind}于{paper.ends_on}到期。"
            ),
        )
        for paper in await evidence_of(tx, transfer, book)
        if paper.ends_on is not None
    ]
    duties = [
        AheadOut(on=duty.due_on, kind="duty_due", subject=duty.id, text=duty.text)
        for duty in await obligations.of_transfer(tx, [transfer.id])
        if duty.state in {State.OPEN, State.OVERDUE}
    ]
    return [*found, *duties]


async def _grading_changes(tx: Transaction, case: Case) -> list[AheadOut]:
    """Return the days by which the gradings of the datasets must be looked at again."""
    query = select(Grading).where(
        Grading.dataset.in_([dataset.id for dataset in case.datasets]),
        Grading.state == "effective",
        Grading.review_by.is_not(None),
    )
    return [
        AheadOut(
            on=grading.review_by,
            kind="grading_review",
            subject=grading.dataset,
            text=TextOut(en="The grading must be looked at again.", zh="数据分级须重新审视。"),
        )
        for grading in await tx.scalars(query)
        if grading.review_by is not None
    ]


def _sorted(tx: Transaction, changes: Sequence[AheadOut]) -> list[AheadOut]:
    """Return what is still to come, and what should have been done already, the first first."""
    today = day_in_shanghai(tx.now)
    kept = [change for change in changes if change.on > today or change.kind in {"duty_due", "grading_review"}]
    return sorted(kept, key=lambda change: (change.on, change.kind, change.subject or ""))


def documents_of(found: Sequence[InvalidatedPermit]) -> list[dict[str, Any]]:
    """Return permits that have fallen as JSON."""
    return [one.model_dump(mode="json") for one in found]
