"""Builds outlooks: later determinations and decisions, with reasons, for a transfer, a permit, or all permits."""

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
from service.law.explanation import render_determination
from service.law.facts import NO_PERSONS, Count, Facts, Route
from service.law.forecast import LegalChange
from service.law.rule_book import RuleBook
from service.law.schemas import DeterminationOut, TextOut
from service.ledger import operations as ledger
from service.obligations import queries as obligations
from service.obligations.obligation_rules import State
from service.permits import queries as permits
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
"""Maximum period of an outlook."""


class AnswerOut(BaseModel):
    """Determination of the facts on a day, with the stages."""

    on: date
    determination: DeterminationOut
    stages: list[str]


class AheadOut(BaseModel):
    """Change on a day."""

    on: date
    kind: Literal[
        "law_changes", "year_begins", "evidence_ends", "permit_ends", "transfer_ends", "duty_due", "grading_review"
    ]
    subject: str | None = Field(description="Id of the evidence, obligation or dataset concerned.")
    text: TextOut


class ContradictionOut(BaseModel):
    """Fact of the register that the request contradicts, so that no determination is possible."""

    pointer: str
    detail: str


class LineOut(BaseModel):
    """Threshold that the year's count has not reached, with its stricter mechanism."""

    id: str
    kind: Literal["persons", "sensitive_persons"]
    mechanism: str
    value: int = Field(description="As it is applied: the company's own may be lower than the law's.")
    law_value: int
    count: int = Field(description="The year's count once all that is left of this transfer has been sent.")
    headroom: int
    near: bool


class WhyOut(BaseModel):
    """Reason for which a permit is no longer valid for a dataset."""

    dataset: str
    reason: Reason
    text: TextOut


class TransferOutlook(BaseModel):
    """Determinations of a transfer: today, later, and with more persons, with the coming changes."""

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
    """Outlook of a permit, with its validity at the gate."""

    permit: str
    stands: bool = Field(description="Whether the gate would allow something under it today.")
    why_not: list[WhyOut]
    stands_later: bool | None
    why_not_later: list[WhyOut]
    stands_with_more: bool | None
    why_not_with_more: list[WhyOut]


class InvalidatedPermit(BaseModel):
    """Permit in force that is no longer valid."""

    permit: str
    transfer: str
    handler: str
    purpose: str
    why: list[WhyOut]


@dataclass(frozen=True, slots=True)
class OutlookQuery:
    """Query of an outlook."""

    on: date | None = None
    more: Count = NO_PERSONS

    @property
    def has_more(self) -> bool:
        """True if the query adds persons to the count."""
        return self.more != Count()


async def build_transfer_outlook(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, query: OutlookQuery
) -> TransferOutlook:
    """Build the outlook of a transfer, from the present register.

    Raises:
        Invalid: a day that has passed.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    _require_future(tx, query)
    case = await case_of(tx, transfer)
    seen = await _answers(tx, book, case, query)
    ends = [_present_end("transfer_ends", transfer.id, transfer.valid_until, "The transfer", "申请")]
    changes = [*seen.changes, *ends, *await _evidence_changes(tx, book, transfer), *await _grading_changes(tx, case)]
    return seen.model_copy(update={"changes": _sorted(tx, changes)})


async def build_permit_outlook(
    tx: Transaction, caller: Caller, book: RuleBook, permit_id: str, query: OutlookQuery
) -> PermitOutlook:
    """Build the outlook of a permit by the gate's own decisions: today, on a later day, and with a higher count.

    Raises:
        Invalid: a day that has passed.
    """
    permit = await permits.permit_of(tx, caller, permit_id)
    _require_future(tx, query)
    transfer = await tx.get_one(Transfer, permit.transfer)
    case = await case_of(tx, transfer)
    seen = await _answers(tx, book, case, query)
    today = day_in_shanghai(tx.now)
    why = await find_denials(tx, book, permit, today)
    later = None if query.on is None else await find_denials(tx, book, permit, query.on)
    more = await find_denials(tx, book, permit, today, query.more) if query.has_more else None
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
    """Find permits in force under which the gate would allow nothing, with the reasons.

    A permit that has not begun is decided on as of its first day.

    Example:
        for permit in await find_invalidated_permits(tx, book):
            print(permit.permit, [denial.reason for denial in permit.why])
    """
    today = day_in_shanghai(tx.now)
    query = select(Permit).where(permits.not_ended(today)).order_by(Permit.id)
    invalidated: list[InvalidatedPermit] = []
    for permit in (await tx.scalars(query)).all():
        why = await find_denials(tx, book, permit, max(today, permit.valid_from))
        if why:
            invalidated.append(
                InvalidatedPermit(
                    permit=permit.id,
                    transfer=permit.transfer,
                    handler=permit.handler,
                    purpose=permit.purpose,
                    why=why,
                )
            )
    return invalidated


async def find_denials(
    tx: Transaction,
    book: RuleBook,
    permit: Permit,
    today: date,
    more: Count = Count(),  # noqa: B008 - immutable
) -> list[WhyOut]:
    """Return the reason of each dataset for which the gate would deny exports under a permit; empty if the permit is valid."""
    return [
        WhyOut(dataset=dataset, reason=decision.reason, text=TextOut.model_validate(REASONS[decision.reason]))
        for dataset, inputs in await read_inputs(tx, permit, today)
        if not (decision := decide_under(permit, structs.replace(inputs, year=_sum(inputs.year, more)), book)).allowed
    ]


async def read_inputs(tx: Transaction, permit: Permit, today: date) -> list[tuple[str, DecisionInputs]]:
    """Read the gate's inputs for each dataset of a permit on a day."""
    query = select(PermitDataset.dataset).where(PermitDataset.permit == permit.id).order_by(PermitDataset.dataset)
    datasets = (await tx.scalars(query)).all()
    lookups = [Lookup(dataset, permit.recipient, permit=permit.id) for dataset in datasets]
    return [
        (dataset, snapshot.inputs)
        for dataset, snapshot in zip(datasets, await read_in(tx, lookups, today), strict=True)
    ]


def decide_under(permit: Permit, inputs: DecisionInputs, book: RuleBook) -> Decision:
    """Ask the gate for the least that the permit speaks of: nobody yet, and only fields that the dataset has had since.

    Fields that have changed since they were graded are left out, unless there are no others. Where the year leaves room for not state
    person of those that the permit is for, that is an answer too.
    """
    dataset_fields = NO_FIELDS if inputs.dataset is None else inputs.dataset.fields
    approved = set[str]().union(*(state.registered for state in inputs.permits if state.id == permit.id))
    covered = set(dataset_fields.names) & approved & set(approved if permit.fields is None else permit.fields)
    fields = sorted(covered - dataset_fields.outdated or covered) or permit.fields
    ask = Ask(
        system=next(iter(permit.systems or ()), ""),
        purpose=permit.purpose,
        persons=None,
        sensitive_persons=None,
        fields=fields,
        permit=permit.id,
    )
    decision = decide(ask, inputs, book)
    is_for_persons = permit.persons + permit.sensitive_persons > 0
    if decision.reason is Reason.PERMITTED and is_for_persons and decision.headroom == Count():
        return structs.replace(decision, allowed=False, reason=Reason.LEDGER_THRESHOLD)
    return decision


def _sum(left: Count, right: Count) -> Count:
    return Count(left.persons + right.persons, left.sensitive_persons + right.sensitive_persons)


def _require_future(tx: Transaction, query: OutlookQuery) -> None:
    if query.on is not None and query.on < day_in_shanghai(tx.now):
        raise Invalid("An outlook looks ahead.", errors=[("/on", "Choose today or a day to come.")])


async def _answers(tx: Transaction, book: RuleBook, case: Case, query: OutlookQuery) -> TransferOutlook:
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
        later=None if query.on is None else _answer(forecast.project_to(facts, query.on), book, route),
        with_more=_answer(forecast.add_to_year(facts, query.more), book, route) if query.has_more else None,
        changes=[_present_change(turn) for turn in forecast.find_legal_changes(facts, book, until, route)],
        thresholds=[LineOut(**asdict(line)) for line in forecast.find_threshold_distances(facts, book)],
    )


async def _remaining_facts(tx: Transaction, case: Case, facts: Facts) -> Facts:
    """Return the facts with the remaining persons of the permit: the year's count includes those sent or reserved."""
    permit = await tx.scalar(select(Permit).where(Permit.transfer == case.transfer.id))
    if permit is None:
        return facts
    reserved = (await ledger.reserved_of_permits(tx, [permit.id])).get(permit.id, Count())
    used = _sum(Count(permit.sent_persons, permit.sent_sensitive_persons), reserved)
    rest = left(Count(permit.persons, permit.sensitive_persons), used)
    return replace(facts, transfer=replace(facts.transfer, **structs.asdict(rest)))


def _answer(facts: Facts, book: RuleBook, route: Route | None) -> AnswerOut:
    determination = determine(facts, book, route)
    out = DeterminationOut.model_validate(render_determination(facts, determination, book))
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
        else ("another route, other obligations or other evidence are required", "所需路径、义务或者材料发生变化")
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
    """Return the days on which evidence ends and obligations are due."""
    evidence_ends = [
        AheadOut(
            on=item.ends_on + timedelta(days=1),
            kind="evidence_ends",
            subject=item.id,
            text=TextOut(en=f"The {item.kind} ends with {item.ends_on}.", zh=f"材料{item.kind}于{item.ends_on}到期。"),
        )
        for item in await evidence_of(tx, transfer, book)
        if item.ends_on is not None
    ]
    due_obligations = [
        AheadOut(on=obligation.due_on, kind="duty_due", subject=obligation.id, text=obligation.text)
        for obligation in await obligations.of_transfer(tx, [transfer.id])
        if obligation.state in {State.OPEN, State.OVERDUE}
    ]
    return [*evidence_ends, *due_obligations]


async def _grading_changes(tx: Transaction, case: Case) -> list[AheadOut]:
    """Return the days by which the gradings of the datasets must be reviewed."""
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
    """Return coming and overdue changes, by day."""
    today = day_in_shanghai(tx.now)
    kept = [change for change in changes if change.on > today or change.kind in {"duty_due", "grading_review"}]
    return sorted(kept, key=lambda change: (change.on, change.kind, change.subject or ""))


def documents_of(invalidated: Sequence[InvalidatedPermit]) -> list[dict[str, Any]]:
    """Return invalidated permits as JSON."""
    return [permit.model_dump(mode="json") for permit in invalidated]
