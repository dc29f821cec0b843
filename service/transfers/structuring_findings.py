"""Findings of structuring, and of more persons who went than a permit allows: each is kept until somebody of legal answers.

The first are raised on each request concerned, the others on the one behind the permit.
What one of them says of another handler's request is for those alone who may read that one: the others learn how many there are.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.orm import aliased

from service.access import directory
from service.access.caller import READERS, SYSTEM_ACTOR, Caller, Role
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.locks import FINDINGS_LOCK
from service.database.session import Transaction, elevated
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.law.facts import Count
from service.law.rule_book import RuleBook
from service.ledger import operations as ledger
from service.permits.standing import Standing
from service.permits.tables import Permit
from service.registry.tables import Handler, Recipient
from service.transfers import notifications, structuring, workflow
from service.transfers.schemas import AnswerIn, FindingOut
from service.transfers.structuring import CountKind, Crossing, PlannedExport, RenewedRequest, Threshold
from service.transfers.tables import OVER_QUOTA, Recusal, Revision, StructuringFinding, Transfer
from service.transfers.workflow import Status
from service.validation.problems import Conflict, Forbidden, NotFound

LEGAL = frozenset({Role.LEGAL})
ROLLING_YEAR = timedelta(days=365)


async def raise_findings(tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer) -> None:
    """Look for requests that reach a line only together with this one, and raise a finding on each of them.

    At every submission and approval: handlers and recipients may have come into a group since, and the year's count moves.
    """
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": FINDINGS_LOCK})
    async with elevated(tx, "the requests of affiliates"):
        await _raise_findings(tx, caller, book, transfer)


async def _raise_findings(tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer) -> None:
    today = day_in_shanghai(tx.now)
    planned = await _load_planned(tx, transfer)
    mine = next(one for one in planned if one.transfer == transfer.id)
    others = [one for one in planned if one.transfer != transfer.id]
    lines = [Threshold(line["id"], line["kind"], line["value"]) for line in book.volume_thresholds(today, Count())]
    years = await ledger.totals(tx, {one.handler for one in planned}, today.year)
    for crossing in structuring.find_crossings(mine, others, lines, years):
        for concerned in crossing.transfers:
            await _raise_finding(tx, caller, transfer.handler, concerned, crossing)
    await tx.flush()


async def raise_above_quota(tx: Transaction, caller: Caller, permit: Permit, sent: Mapping[CountKind, int]) -> None:
    """Raise a finding on the request behind a permit under which more persons have gone than it allows, one for each kind.

    Args:
        tx: holds the row of the permit.
        caller: whose report says so.
        permit: the permit.
        sent: of each kind of which too many went: how many, at least.
    """
    transfer = await tx.get_one(Transfer, permit.transfer)
    async with elevated(tx, "those of legal who are told"):
        for kind, total in sent.items():
            threshold = f"quota.{kind}"
            open_one = select(StructuringFinding).where(
                StructuringFinding.transfer == transfer.id,
                StructuringFinding.threshold == threshold,
                StructuringFinding.answered_at.is_(None),
            )
            finding = (await tx.scalars(open_one.with_for_update())).one_or_none()
            action = AuditAction.FINDING_RAISED if finding is None else AuditAction.FINDING_UPDATED
            if finding is None:
                finding = StructuringFinding(
                    id=new_id("fi"),
                    about=OVER_QUOTA,
                    transfer=transfer.id,
                    handler=transfer.handler,
                    threshold=threshold,
                    kind=kind,
                    value=getattr(permit, kind),
                    transfers=[transfer.id],
                    handlers=[transfer.handler],
                    exported=0,
                    shared="purpose_or_recipient",
                    found_at=tx.now,
                    answer=None,
                    answer_reason=None,
                    answered_by=None,
                    answered_at=None,
                )
                tx.add(finding)
            finding.total = total
            await tx.flush()
            await _tell(tx, caller, action, finding, transfer)
        await tx.flush()


async def answer(tx: Transaction, caller: Caller, finding_id: str, wanted: AnswerIn) -> StructuringFinding:
    """Answer a finding, as somebody of legal who has written none of the requests and has not stood back.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: not of legal, or barred.
        Conflict: it has been answered already.
    """
    finding = await read_finding(tx, caller, finding_id, lock=True)
    caller.demand(LEGAL, finding.handler, what="finding")
    transfer = await tx.get_one(Transfer, finding.transfer)
    behalf = await _behalf(tx, caller, finding)
    if finding.answered_at is not None:
        raise Conflict("This finding has been answered already.")
    finding.answer, finding.answer_reason = wanted.answer, wanted.reason
    finding.answered_by, finding.answered_at = caller.principal, tx.now
    finding.answered_persons = caller.acting(behalf)
    details = {"finding": finding.id, "answer": wanted.answer, "reason": wanted.reason}
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.FINDING_ANSWERED, transfer, details, reason=wanted.reason, on_behalf_of=behalf
        ),
    )
    await tx.flush()
    return finding


async def _behalf(tx: Transaction, caller: Caller, finding: StructuringFinding) -> str | None:
    """Return on whose behalf the caller answers, None for their own; or refuse who is no person, an author or has stood back."""
    authors, recused = await _excluded_persons(tx, finding)
    bars: list[str] = []
    for behalf in caller.lenders(LEGAL, finding.handler) or (None,):
        bar = workflow.review_denial(
            caller.principal,
            is_person=caller.kind == "person",
            seen_by=caller.seen_by,
            authors=authors,
            earlier=(),
            recused=recused,
            behalf=behalf,
        )
        if bar is None:
            return behalf
        bars.append(bar)
    raise Forbidden(bars[0])


async def _excluded_persons(tx: Transaction, finding: StructuringFinding) -> tuple[frozenset[str], frozenset[str]]:
    """Return who could have written any of the requests of a finding, and have stood back from the one that it is on."""
    wrote = select(Transfer.authors, Transfer.author_persons).where(Transfer.id.in_(finding.transfers))
    async with elevated(tx, "authors of affiliates' requests"):
        authors = [(row[0], row[1]) for row in await tx.execute(wrote)]
    stood_back = select(Recusal.principal, Recusal.persons).where(Recusal.transfer == finding.transfer)
    recused = [(row[0], row[1]) for row in await tx.execute(stood_back)]
    return await directory.persons_of(tx, authors=authors), await directory.persons_of(tx, *recused)


async def list_findings(
    tx: Transaction,
    *,
    is_open: bool | None,
    handler: str | None,
    transfer: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[StructuringFinding], str | None]:
    """Return the findings that the caller may see, oldest first."""
    query = select(StructuringFinding)
    if is_open is not None:
        column = StructuringFinding.answered_at
        query = query.where(column.is_(None) if is_open else column.is_not(None))
    if handler is not None:
        query = query.where(is_of(StructuringFinding.handler, "handlers", handler))
    if transfer is not None:
        query = query.where(StructuringFinding.transfer == transfer)
    return await page_of(tx, query, StructuringFinding.id, cursor, limit)


async def _load_planned(tx: Transaction, transfer: Transfer) -> list[PlannedExport]:
    """Return the counted requests of the handler and its group that were submitted within a rolling year, this one included.

    Those that ended undecided are not among them: nothing can go under them.
    """
    today = day_in_shanghai(tx.now)
    agreed = func.lower(Handler.group) == func.lower(Handler.confirmed_group)
    group = await tx.scalar(select(Handler.group).where(Handler.id == transfer.handler, agreed))
    same = Handler.id == transfer.handler
    renewed, before = aliased(Transfer), aliased(Permit)
    query = (
        select(Transfer, Recipient.group, Permit, renewed, before)
        .join(Handler, Handler.id == Transfer.handler)
        .join(Recipient, Recipient.id == Transfer.recipient)
        .join(Revision, (Revision.transfer == Transfer.id) & (Revision.number == Transfer.revision))
        .outerjoin(Permit, Permit.transfer == Transfer.id)
        .outerjoin(renewed, renewed.id == Transfer.renews)
        .outerjoin(before, before.transfer == renewed.id)
        .where(
            same if group is None else or_(same, and_(agreed, func.lower(Handler.group) == func.lower(group))),
            or_(
                Transfer.status == Status.APPROVED,
                and_(Transfer.status == Status.IN_REVIEW, Transfer.valid_until >= today),
            ),
            Revision.submitted_at > tx.now - ROLLING_YEAR,
            Revision.determination["counts_toward_ledger"].as_boolean(),
        )
        .order_by(Transfer.id)
    )
    rows = (await tx.execute(query)).all()
    permits = [row[2].id for row in rows if row[2] is not None]
    under = await ledger.counted_under(tx, permits, today.year)
    found = [
        _planned(
            one,
            kin,
            _count(one, permit, today),
            Count() if permit is None else under.get(permit.id, Count()),
            _replaced_request(one, permit, renewed_one, before_it),
        )
        for one, kin, permit, renewed_one, before_it in rows
    ]
    if all(one.transfer != transfer.id for one in found):
        kin = await tx.scalar(select(Recipient.group).where(Recipient.id == transfer.recipient))
        found.append(_planned(transfer, kin, Count(), Count()))
    return found


def _count(transfer: Transfer, permit: Permit | None, today: date) -> Count:
    """Return what a request is for; of an approved one what its permit allows, and once that is over what went under it."""
    if permit is None:
        return Count(transfer.persons, transfer.sensitive_persons)
    if permit.status == Standing.REVOKED or permit.valid_until < today:
        return Count(permit.sent_persons, permit.sent_sensitive_persons)
    return Count(permit.persons, permit.sensitive_persons)


def _replaced_request(
    transfer: Transfer, permit: Permit | None, renewed: Transfer | None, before: Permit | None
) -> str | None:
    known = None
    if renewed is not None:
        of_it = (None, None) if before is None else (before.id, before.superseded_by)
        known = RenewedRequest(renewed.id, renewed.recipient, frozenset(renewed.datasets), *of_it)
    own = (None, None) if permit is None else (permit.id, permit.supersedes)
    return structuring.replaced_request(known, transfer.recipient, transfer.datasets, *own)


def _planned(
    transfer: Transfer, kin: str | None, count: Count, exported: Count, follows: str | None = None
) -> PlannedExport:
    return PlannedExport(
        transfer=transfer.id,
        handler=transfer.handler,
        purpose=transfer.purpose,
        recipient=transfer.recipient,
        recipient_group=kin,
        count=count,
        exported=exported,
        follows=follows,
    )


async def _raise_finding(tx: Transaction, caller: Caller, acts_at: str, concerned: str, crossing: Crossing) -> None:
    """Raise a finding on one request, or bring the open one up to date; one that says as much, answered or not, stays as it is.

    On a request of another handler than the one at which somebody acts it is not told who did: that is their own handler's to know.
    """
    query = (
        select(StructuringFinding)
        .where(StructuringFinding.transfer == concerned, StructuringFinding.threshold == crossing.threshold.id)
        .order_by(StructuringFinding.id.desc())
        .with_for_update()
    )
    last = (await tx.scalars(query.limit(1))).one_or_none()
    if last is not None and not structuring.extends_finding(crossing, last.transfers, last.total):
        return
    transfer = await tx.get_one(Transfer, concerned)
    said: dict[str, Any] = {
        "transfers": list(crossing.transfers),
        "handlers": list(crossing.handlers),
        "total": crossing.total,
        "exported": crossing.exported,
        "shared": crossing.shared,
    }
    if last is not None and last.answered_at is None:
        for name, value in said.items():
            setattr(last, name, value)
        finding, action = last, AuditAction.FINDING_UPDATED
    else:
        finding = StructuringFinding(
            id=new_id("fi"),
            transfer=concerned,
            handler=transfer.handler,
            threshold=crossing.threshold.id,
            kind=crossing.threshold.kind,
            value=crossing.threshold.value,
            found_at=tx.now,
            answer=None,
            answer_reason=None,
            answered_by=None,
            answered_at=None,
            **said,
        )
        tx.add(finding)
        action = AuditAction.FINDING_RAISED
    await tx.flush()
    await _tell(tx, caller if transfer.handler == acts_at else SYSTEM_ACTOR, action, finding, transfer)


async def _tell(
    tx: Transaction, caller: Caller, action: AuditAction, finding: StructuringFinding, transfer: Transfer
) -> None:
    """Record a finding as its handler's people may know it, and tell those of legal who may answer it."""
    shown = FindingOut.of(finding, frozenset({finding.handler}))
    named = {"kind", "threshold", "value", "total", "exported", "transfers", "others", "shared"}
    details = {"finding": finding.id} | shown.model_dump(mode="json", include=named)
    events.record(
        tx,
        caller,
        notifications.change_of(action, transfer, details, reason=shown.text.en, link=f"/v1/findings/{finding.id}"),
    )
    authors, recused = await _excluded_persons(tx, finding)
    legal = await directory.entitled(tx, Role.LEGAL, finding.handler, day_in_shanghai(tx.now))
    events.notify(
        tx,
        caller,
        events.Change(
            action=AuditAction.FINDING_OPENED,
            subject=transfer.id,
            handler=finding.handler,
            audience=[
                person.principal
                for person in legal
                if {person.principal, person.on_behalf_of}.isdisjoint({*authors, *recused})
            ],
            reason=shown.text.en,
            figures=notifications.figures_of(transfer),
            details=details,
            link=f"/v1/findings/{finding.id}/answer",
            method="POST",
        ),
    )


async def read_finding(tx: Transaction, caller: Caller, finding_id: str, *, lock: bool = False) -> StructuringFinding:
    """Return a finding that the caller may see.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    finding = await tx.get(StructuringFinding, finding_id, with_for_update=lock or None, populate_existing=lock)
    if finding is None or not caller.reaches(READERS, finding.handler):
        raise NotFound("There is no such finding.")
    return finding
