"""Findings of structuring: raised with every submission, on each request concerned, and kept until somebody of legal answers."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import or_, select, text

from service.database import Transaction, new_id
from service.http.caller import EVERYWHERE, READERS, Caller, Role
from service.http.paging import page_of
from service.http.problems import Conflict, NotFound
from service.http.references import is_of
from service.law.calendar import day_in_shanghai
from service.law.facts import Count
from service.law.rules import RuleBook
from service.registry.tables import Handler, Recipient
from service.transfers import structuring, telling
from service.transfers.schemas import AnswerIn, FindingOut
from service.transfers.structuring import Crossing, Line, Planned
from service.transfers.tables import Revision, StructuringFinding, Transfer
from service.transfers.workflow import Status

LEGAL = frozenset({Role.LEGAL})
ROLLING = timedelta(days=365)
FINDINGS_LOCK = 0x0B10


async def look(tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer) -> None:
    """Look for requests that reach a line only together with this one, and raise a finding on each of them."""
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": FINDINGS_LOCK})
    planned = await _around(tx, transfer)
    mine = next(one for one in planned if one.transfer == transfer.id)
    others = [one for one in planned if one.transfer != transfer.id]
    lines = [
        Line(line["id"], line["kind"], line["value"]) for line in book.volume_lines(day_in_shanghai(tx.now), Count())
    ]
    for crossing in structuring.crossings(mine, others, lines):
        for concerned in crossing.transfers:
            await _raise(tx, caller, concerned, crossing)
    await tx.flush()


async def answer(tx: Transaction, caller: Caller, finding_id: str, wanted: AnswerIn) -> FindingOut:
    """Answer a finding, as somebody of legal who has not written the request.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it has been answered already.
    """
    finding = await _found(tx, caller, finding_id, lock=True)
    caller.demand(LEGAL, finding.handler, what="finding")
    if finding.answered_at is not None:
        raise Conflict("This finding has been answered already.")
    transfer = await tx.get_one(Transfer, finding.transfer)
    if caller.kind != "person" or caller.principal in transfer.authors:
        raise Conflict("A finding is answered by a person who has not written the request.")
    finding.answer, finding.answer_reason = wanted.answer, wanted.reason
    finding.answered_by, finding.answered_at = caller.principal, tx.now
    details = {"finding": finding.id, "answer": wanted.answer, "reason": wanted.reason}
    telling.record(tx, caller, "finding.answered", transfer, details, why=wanted.reason)
    await tx.flush()
    return FindingOut.of(finding)


async def read_finding(tx: Transaction, caller: Caller, finding_id: str, *, lock: bool = False) -> FindingOut:
    """Return a finding."""
    return FindingOut.of(await _found(tx, caller, finding_id, lock=lock))


async def list_findings(
    tx: Transaction,
    caller: Caller,
    *,
    is_open: bool | None,
    handler: str | None,
    transfer: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[FindingOut], str | None]:
    """Return the findings that the caller may see, oldest first."""
    query = select(StructuringFinding)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(StructuringFinding.handler.in_(reach))
    if is_open is not None:
        column = StructuringFinding.answered_at
        query = query.where(column.is_(None) if is_open else column.is_not(None))
    if handler is not None:
        query = query.where(is_of(StructuringFinding.handler, "handlers", handler))
    if transfer is not None:
        query = query.where(StructuringFinding.transfer == transfer)
    rows, following = await page_of(tx, query, StructuringFinding.id, cursor, limit)
    return [FindingOut.of(row) for row in rows], following


async def _around(tx: Transaction, transfer: Transfer) -> list[Planned]:
    """Return the counted requests of the handler and its group that were submitted within a rolling year, this one included."""
    group = await tx.scalar(select(Handler.group).where(Handler.id == transfer.handler))
    same = Handler.id == transfer.handler
    query = (
        select(Transfer, Recipient.group)
        .join(Handler, Handler.id == Transfer.handler)
        .join(Recipient, Recipient.id == Transfer.recipient)
        .join(Revision, (Revision.transfer == Transfer.id) & (Revision.number == Transfer.revision))
        .where(
            same if group is None else or_(same, Handler.group == group),
            Transfer.status.in_([Status.IN_REVIEW, Status.APPROVED]),
            Revision.submitted_at > tx.now - ROLLING,
            Revision.determination["counts_toward_ledger"].as_boolean(),
        )
        .order_by(Transfer.id)
    )
    if transfer.renews is not None:
        query = query.where(Transfer.id != transfer.renews)
    rows = [(one, kin) for one, kin in (await tx.execute(query)).all() if one.renews is None or one.id == transfer.id]
    found = [_planned(one, kin) for one, kin in rows]
    if all(one.transfer != transfer.id for one in found):
        kin = await tx.scalar(select(Recipient.group).where(Recipient.id == transfer.recipient))
        found.append(_planned(transfer, kin, Count()))
    return found


def _planned(transfer: Transfer, kin: str | None, count: Count | None = None) -> Planned:
    return Planned(
        transfer=transfer.id,
        handler=transfer.handler,
        purpose=transfer.purpose,
        recipient=transfer.recipient,
        recipient_group=kin,
        count=Count(transfer.persons, transfer.sensitive_persons) if count is None else count,
    )


async def _raise(tx: Transaction, caller: Caller, concerned: str, crossing: Crossing) -> None:
    """Raise a finding on one request, or bring the open one up to date; one that says the same and was answered stays so."""
    query = (
        select(StructuringFinding)
        .where(StructuringFinding.transfer == concerned, StructuringFinding.threshold == crossing.line.id)
        .order_by(StructuringFinding.id.desc())
        .with_for_update()
    )
    last = (await tx.scalars(query.limit(1))).one_or_none()
    if last is not None and set(last.transfers) == set(crossing.transfers) and last.total == crossing.total:
        return
    transfer = await tx.get_one(Transfer, concerned)
    if last is not None and last.answered_at is None:
        last.transfers, last.total, last.shared = list(crossing.transfers), crossing.total, crossing.shared
        finding, action = last, "finding.updated"
    else:
        finding = StructuringFinding(
            id=new_id("fi"),
            transfer=concerned,
            handler=transfer.handler,
            threshold=crossing.line.id,
            kind=crossing.line.kind,
            value=crossing.line.value,
            total=crossing.total,
            shared=crossing.shared,
            transfers=list(crossing.transfers),
            found_at=tx.now,
            answer=None,
            answer_reason=None,
            answered_by=None,
            answered_at=None,
        )
        tx.add(finding)
        action = "finding.raised"
    details = {
        "finding": finding.id,
        "threshold": crossing.line.id,
        "value": crossing.line.value,
        "total": crossing.total,
        "transfers": list(crossing.transfers),
        "shared": crossing.shared,
    }
    telling.record(tx, caller, action, transfer, details, href=f"/v1/findings/{finding.id}")
    await tx.flush()


async def _found(tx: Transaction, caller: Caller, finding_id: str, *, lock: bool) -> StructuringFinding:
    finding = await tx.get(StructuringFinding, finding_id, with_for_update=lock or None, populate_existing=lock)
    if finding is None or not caller.reaches(READERS, finding.handler):
        raise NotFound("There is no such finding.")
    return finding
