"""Evaluations and exports. Each is recorded in the transaction whose commit comes before the answer.

Decisions take the gate's lock beside each other; whatever can turn an allow into a deny takes it alone. So a decision sees everything
that was committed before it, and whoever takes a right away waits for the decisions that were under way.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select

from service.audit import operations as audit
from service.database import Transaction, is_id, join_gate, new_id
from service.gate.decide import Ask, Decision, Reason, decide
from service.gate.reading import EXPORTERS, Read, hold, read
from service.gate.schemas import (
    AnswerContext,
    EvaluationIn,
    EvaluationOut,
    ExportIn,
    ExportOut,
    HeadroomOut,
    NextOut,
)
from service.gate.texts import REASONS
from service.http.caller import EVERYWHERE, READERS, Caller
from service.http.paging import page_of
from service.http.problems import Conflict, Forbidden, Invalid, NotFound
from service.http.references import is_of
from service.law.facts import Tag
from service.law.rules import RuleBook
from service.law.schemas import TextOut
from service.ledger import operations as ledger
from service.ledger.tables import Export
from service.registry.tables import Dataset

_REQUEST = NextOut(href="/v1/transfers", method="POST")
_NEXT = {
    Reason.DATASET_UNKNOWN: NextOut(href="/v1/datasets", method="POST"),
    Reason.RECIPIENT_UNKNOWN: NextOut(href="/v1/recipients", method="POST"),
} | dict.fromkeys(
    (
        Reason.NO_PERMIT,
        Reason.PERMIT_REVOKED,
        Reason.PERMIT_EXPIRED,
        Reason.GRADING_CHANGED,
        Reason.PURPOSE_NOT_COVERED,
        Reason.FIELDS_NOT_COVERED,
        Reason.SYSTEM_NOT_COVERED,
        Reason.QUOTA_EXCEEDED,
        Reason.LEDGER_THRESHOLD,
    ),
    _REQUEST,
)


class ExportRefused(Forbidden):
    """The gate said no; the evaluation is on record."""

    slug, title = "export-refused", "This export may not happen"


# Evaluations


async def evaluate(tx: Transaction, caller: Caller, book: RuleBook, asked: EvaluationIn) -> EvaluationOut:
    """Answer one question and record it; the caller has joined the gate."""
    context = asked.context
    ask = Ask(
        system=asked.subject.id,
        purpose=context.purpose,
        persons=context.persons,
        sensitive_persons=context.sensitive_persons,
        fields=context.fields,
    )
    seen = await read(tx, caller, _dataset_reference(asked), context.recipient)
    decision = decide(ask, seen.known, book)
    if asked.action.name != "export" and decision.allowed:
        # Nothing but an export is ever allowed here: no permit speaks of anything else.
        decision = Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=decision.mechanism)
    evaluation = new_id("ev")
    details = _told(asked, seen, decision)
    audit.append(tx, caller, "gate.evaluated", evaluation, handler=_handler(seen), details=details)
    return _answer(evaluation, decision)


def _dataset_reference(asked: EvaluationIn) -> str:
    """A resource of another type is no dataset, whatever its id."""
    return asked.resource.id if asked.resource.type == "dataset" else ""


def _told(asked: BaseModel, seen: Read, decision: Decision) -> dict[str, Any]:
    """Return what the record of an evaluation holds: the question, who and what it was about, and the answer."""
    return {
        "question": asked.model_dump(mode="json"),
        "dataset": None if seen.dataset is None else seen.dataset.id,
        "recipient": None if seen.recipient is None else seen.recipient.id,
        "decision": decision.allowed,
        "reason": decision.reason,
        "mechanism": decision.mechanism,
        "permit": decision.permit,
        "year": asdict(seen.known.year),
    }


def _handler(seen: Read) -> str | None:
    return None if seen.dataset is None else seen.dataset.handler


def _answer(evaluation: str, decision: Decision) -> EvaluationOut:
    return EvaluationOut(
        decision=decision.allowed,
        context=AnswerContext(
            id=evaluation,
            reason=decision.reason,
            reason_user=TextOut(**REASONS[decision.reason]),
            mechanism=decision.mechanism,
            permit=decision.permit,
            headroom=None if decision.headroom is None else HeadroomOut(**asdict(decision.headroom)),
            next=_NEXT.get(decision.reason),
        ),
    )


# Exports


async def reserve(
    tx: Transaction, caller: Caller, book: RuleBook, wanted: ExportIn, lease: timedelta
) -> ExportOut | ExportRefused:
    """Decide on an export and, when it may happen, reserve its persons until `lease` has passed.

    A refusal is returned, not raised, since its record must be committed as well.

    Raises:
        Invalid: personal data without the number of persons.
    """
    await join_gate(tx)
    await hold(tx, caller, wanted.dataset, wanted.recipient)
    seen = await read(tx, caller, wanted.dataset, wanted.recipient)
    if seen.dataset is not None:
        _demand_persons(wanted, seen.dataset)
    ask = Ask(
        system=caller.name,
        purpose=wanted.purpose,
        persons=wanted.persons,
        sensitive_persons=wanted.sensitive_persons,
        fields=wanted.fields,
        permit=wanted.permit,
    )
    decision = decide(ask, seen.known, book)
    evaluation = new_id("ev")
    details = _told(wanted, seen, decision) | {"evaluation": evaluation}
    if not decision.allowed or seen.dataset is None or seen.recipient is None:
        audit.append(tx, caller, "export.refused", evaluation, handler=_handler(seen), details=details)
        return _refusal(evaluation, decision)
    export = Export(
        id="ex_" + evaluation.removeprefix("ev_"),
        evaluation=evaluation,
        handler=seen.dataset.handler,
        dataset=seen.dataset.id,
        recipient=seen.recipient.id,
        permit=decision.permit,
        system=caller.principal,
        purpose=wanted.purpose,
        fields=wanted.fields,
        year=seen.known.today.year,
        counts=decision.counts,
        persons=ask.count.persons,
        sensitive_persons=ask.count.sensitive_persons,
        sent_persons=None,
        sent_sensitive_persons=None,
        status="reserved",
        reserved_at=tx.now,
        expires_at=tx.now + lease,
        ended_at=None,
    )
    tx.add(export)
    details |= {"export": export.id, "expires_at": export.expires_at}
    audit.append(tx, caller, "export.reserved", export.id, handler=export.handler, details=details)
    await tx.flush()
    return shown(export, tx)


def _demand_persons(wanted: ExportIn, dataset: Dataset) -> None:
    tags = set(dataset.tags or ())
    errors: list[tuple[str, str]] = []
    if Tag.SENSITIVE in tags and wanted.sensitive_persons is None:
        errors.append(
            ("/sensitive_persons", "The data is sensitive: state how many persons' sensitive information goes.")
        )
    if tags & {Tag.PERSONAL, Tag.SENSITIVE} and not (wanted.persons or wanted.sensitive_persons):
        errors.append(("/persons", "The data is personal: state how many persons it concerns."))
    if errors:
        raise Invalid("An export of personal data states its persons.", errors=errors)


def _refusal(evaluation: str, decision: Decision) -> ExportRefused:
    answer = _answer(evaluation, decision).context
    return ExportRefused(
        REASONS[decision.reason]["en"],
        reason=answer.reason,
        reason_user=answer.reason_user.model_dump(),
        evaluation=evaluation,
        mechanism=answer.mechanism,
        permit=answer.permit,
        headroom=None if answer.headroom is None else answer.headroom.model_dump(),
        next=None if answer.next is None else answer.next.model_dump(),
    )


async def cancel(tx: Transaction, caller: Caller, export_id: str) -> ExportOut:
    """Give a reservation back; nothing went.

    Raises:
        Conflict: completed, cancelled or lapsed already.
    """
    export = await held_export(tx, caller, export_id)
    demand_reserved(export, tx)
    export.status, export.ended_at = "cancelled", tx.now
    audit.append(tx, caller, "export.cancelled", export.id, handler=export.handler, details={"permit": export.permit})
    await tx.flush()
    return shown(export, tx)


async def read_export(tx: Transaction, caller: Caller, export_id: str) -> ExportOut:
    """Return an export."""
    return shown(await _export(tx, caller, export_id), tx)


async def list_exports(
    tx: Transaction,
    caller: Caller,
    *,
    handler: str | None,
    dataset: str | None,
    permit: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[ExportOut], str | None]:
    """Return the exports that the caller may see, oldest first."""
    query = select(Export)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Export.handler.in_(reach))
    if handler is not None:
        query = query.where(is_of(Export.handler, "handlers", handler))
    if dataset is not None:
        query = query.where(is_of(Export.dataset, "datasets", dataset))
    if permit is not None:
        query = query.where(Export.permit == permit)
    rows, following = await page_of(tx, query, Export.id, cursor, limit)
    return [shown(row, tx) for row in rows], following


async def held_export(tx: Transaction, caller: Caller, export_id: str) -> Export:
    """Return an export that the caller may end, held with the year's count, in the order in which `reserve` holds them."""
    export = await _export(tx, caller, export_id)
    caller.demand(EXPORTERS, export.handler, what="export")
    await ledger.hold_year(tx, export.handler, export.year)
    await tx.refresh(export, with_for_update=True)
    return export


async def _export(tx: Transaction, caller: Caller, export_id: str) -> Export:
    export = await tx.get(Export, export_id) if is_id(export_id, "ex") else None
    if export is None or not caller.reaches(READERS, export.handler):
        raise NotFound("There is no such export.")
    return export


def status_of(export: Export, tx: Transaction) -> str:
    """Return how a stored export reads at this moment."""
    return "lapsed" if export.status == "reserved" and export.expires_at <= tx.now else export.status


def demand_reserved(export: Export, tx: Transaction) -> None:
    """Refuse to end an export that has ended.

    Raises:
        Conflict: completed, cancelled or lapsed already.
    """
    status = status_of(export, tx)
    if status != "reserved":
        raise Conflict(f"This export is {status} already.")


def shown(export: Export, tx: Transaction) -> ExportOut:
    """Return the shape of an export."""
    columns = {name: getattr(export, name) for name in ExportOut.model_fields if name in Export.__table__.columns}
    return ExportOut.model_validate(columns | {"status": status_of(export, tx), "counts_toward_ledger": export.counts})
