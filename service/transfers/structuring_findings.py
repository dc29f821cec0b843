"""Raises and answers findings of structuring and of exceeded quotas; each stays open until a reviewer of `legal` answers it.

A finding of structuring is raised on each of its requests, a finding on a quota on the request of the permit. Readers see only
the requests that they may read, and the number of the others.

Example:
    await raise_findings(tx, caller, book, transfer)
    findings, cursor = await list_findings(tx, is_open=True, handler=None, transfer=transfer.id, cursor=None, limit=50)
    await answer(tx, legal, findings[0].id, AnswerIn(answer="unrelated", reason="Different customers."))
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
from service.permits.standing import has_ended
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
    """Raise a finding on each request that reaches a threshold only together with this one.

    Called at every submission and approval, since groups and the count of the year change in between.
    """
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": FINDINGS_LOCK})
    async with elevated(tx, "the requests of affiliates"):
        await _raise_findings(tx, caller, book, transfer)


async def _raise_findings(tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer) -> None:
    today = day_in_shanghai(tx.now)
    planned = await _load_planned(tx, transfer)
    mine = next(request for request in planned if request.transfer == transfer.id)
    others = [request for request in planned if request.transfer != transfer.id]
    thresholds = [
        Threshold(threshold["id"], threshold["kind"], threshold["value"])
        for threshold in book.volume_thresholds(today, Count())
    ]
    years = await ledger.totals(tx, {request.handler for request in planned}, today.year)
    for crossing in structuring.find_crossings(mine, others, thresholds, years):
        for concerned in crossing.transfers:
            await _raise_finding(tx, caller, transfer.handler, concerned, crossing)
    await tx.flush()


async def raise_above_quota(tx: Transaction, caller: Caller, permit: Permit, exported: Mapping[CountKind, int]) -> None:
    """Raise a finding for each exceeded quota of a permit, on its request.

    Args:
        tx: holds the row lock of the permit.
        caller: the caller who reported the export.
        permit: the permit.
        exported: lower bound of the persons exported, by exceeded quota.
    """
    transfer = await tx.get_one(Transfer, permit.transfer)
    async with elevated(tx, "reviewers of legal to notify"):
        for kind, total in exported.items():
            threshold = f"quota.{kind}"
            open_query = select(StructuringFinding).where(
                StructuringFinding.transfer == transfer.id,
                StructuringFinding.threshold == threshold,
                StructuringFinding.answered_at.is_(None),
            )
            finding = (await tx.scalars(open_query.with_for_update())).one_or_none()
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
            await _record_and_notify(tx, caller, action, finding, transfer)
        await tx.flush()


async def answer(tx: Transaction, caller: Caller, finding_id: str, body: AnswerIn) -> StructuringFinding:
    """Answer a finding as a reviewer of `legal` who is neither an author of its requests nor recused.

    Raises:
        NotFound: there is none that the caller may read.
        Forbidden: without the role `legal`, or excluded by the separation of duties.
        Conflict: it has been answered already.
    """
    finding = await read_finding(tx, caller, finding_id, lock=True)
    caller.require(LEGAL, finding.handler, noun="finding")
    transfer = await tx.get_one(Transfer, finding.transfer)
    behalf = await _behalf(tx, caller, finding)
    if finding.answered_at is not None:
        raise Conflict("This finding has been answered already.")
    finding.answer, finding.answer_reason = body.answer, body.reason
    finding.answered_by, finding.answered_at = caller.principal, tx.now
    finding.answered_persons = caller.acting(behalf)
    details = {"finding": finding.id, "answer": body.answer, "reason": body.reason}
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.FINDING_ANSWERED, transfer, details, reason=body.reason, on_behalf_of=behalf
        ),
    )
    await tx.flush()
    return finding


async def _behalf(tx: Transaction, caller: Caller, finding: StructuringFinding) -> str | None:
    """Return the lender of the role with which the caller answers, None for their own role.

    Raises:
        Forbidden: the caller is a system, an author or recused.
    """
    authors, recused = await _excluded_persons(tx, finding)
    denials: list[str] = []
    for behalf in caller.lenders(LEGAL, finding.handler) or (None,):
        denial = workflow.review_denial(
            caller.principal,
            is_person=caller.kind == "person",
            seen_by=caller.seen_by,
            authors=authors,
            earlier=(),
            recused=recused,
            behalf=behalf,
        )
        if denial is None:
            return behalf
        denials.append(denial)
    raise Forbidden(denials[0])


async def _excluded_persons(tx: Transaction, finding: StructuringFinding) -> tuple[frozenset[str], frozenset[str]]:
    """Load the persons who could have written a request of a finding, and those recused from the one it is on."""
    authors_query = select(Transfer.authors, Transfer.author_persons).where(Transfer.id.in_(finding.transfers))
    async with elevated(tx, "authors of affiliates' requests"):
        authors = [(row[0], row[1]) for row in await tx.execute(authors_query)]
    recusals_query = select(Recusal.principal, Recusal.persons).where(Recusal.transfer == finding.transfer)
    recused = [(row[0], row[1]) for row in await tx.execute(recusals_query)]
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
    """Load a page of the findings that the caller may read, oldest first."""
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
    """Load the requests of the handler and its group that count and were submitted within a year, this one included.

    Requests that ended undecided are left out: nothing can be exported under them.
    """
    today = day_in_shanghai(tx.now)
    agreed = func.lower(Handler.group) == func.lower(Handler.confirmed_group)
    group = await tx.scalar(select(Handler.group).where(Handler.id == transfer.handler, agreed))
    same = Handler.id == transfer.handler
    renewed, renewed_permit = aliased(Transfer, name="renewed"), aliased(Permit, name="renewed_permit")
    query = (
        select(Transfer, Recipient.group, Permit, renewed, renewed_permit)
        .join(Handler, Handler.id == Transfer.handler)
        .join(Recipient, Recipient.id == Transfer.recipient)
        .join(Revision, (Revision.transfer == Transfer.id) & (Revision.number == Transfer.revision))
        .outerjoin(Permit, Permit.transfer == Transfer.id)
        .outerjoin(renewed, renewed.id == Transfer.renews)
        .outerjoin(renewed_permit, renewed_permit.transfer == renewed.id)
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
    permits = [row.Permit.id for row in rows if row.Permit is not None]
    exported = await ledger.counted_under(tx, permits, today.year)
    planned = [
        _planned(
            row.Transfer,
            row.group,
            _count(row.Transfer, row.Permit, today),
            Count() if row.Permit is None else exported.get(row.Permit.id, Count()),
            _replaced_request(row.Transfer, row.Permit, row.renewed, row.renewed_permit),
        )
        for row in rows
    ]
    if all(request.transfer != transfer.id for request in planned):
        recipient_group = await tx.scalar(select(Recipient.group).where(Recipient.id == transfer.recipient))
        planned.append(_planned(transfer, recipient_group, Count(), Count()))
    return planned


def _count(transfer: Transfer, permit: Permit | None, today: date) -> Count:
    """Return the persons requested; once approved, those permitted; once the permit is over, those exported under it."""
    if permit is None:
        return Count(transfer.persons, transfer.sensitive_persons)
    if has_ended(permit.status, permit.valid_until, today):
        return Count(permit.sent_persons, permit.sent_sensitive_persons)
    return Count(permit.persons, permit.sensitive_persons)


def _replaced_request(
    transfer: Transfer, permit: Permit | None, renewed: Transfer | None, renewed_permit: Permit | None
) -> str | None:
    request = None
    if renewed is not None:
        ids = (None, None) if renewed_permit is None else (renewed_permit.id, renewed_permit.superseded_by)
        request = RenewedRequest(renewed.id, renewed.recipient, frozenset(renewed.datasets), *ids)
    own = (None, None) if permit is None else (permit.id, permit.supersedes)
    return structuring.replaced_request(request, transfer.recipient, transfer.datasets, *own)


def _planned(
    transfer: Transfer, recipient_group: str | None, count: Count, exported: Count, follows: str | None = None
) -> PlannedExport:
    return PlannedExport(
        transfer=transfer.id,
        handler=transfer.handler,
        purpose=transfer.purpose,
        recipient=transfer.recipient,
        recipient_group=recipient_group,
        count=count,
        exported=exported,
        follows=follows,
    )


async def _raise_finding(
    tx: Transaction, caller: Caller, acting_handler: str, concerned: str, crossing: Crossing
) -> None:
    """Raise a finding on a request, or update its open one, unless its last finding covers the crossing.

    On a request of another handler than the caller's, the system is recorded as the actor: that handler must not learn the caller.
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
    figures: dict[str, Any] = {
        "transfers": list(crossing.transfers),
        "handlers": list(crossing.handlers),
        "total": crossing.total,
        "exported": crossing.exported,
        "shared": crossing.shared,
    }
    if last is not None and last.answered_at is None:
        for name, value in figures.items():
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
            **figures,
        )
        tx.add(finding)
        action = AuditAction.FINDING_RAISED
    await tx.flush()
    await _record_and_notify(
        tx, caller if transfer.handler == acting_handler else SYSTEM_ACTOR, action, finding, transfer
    )


async def _record_and_notify(
    tx: Transaction, caller: Caller, action: AuditAction, finding: StructuringFinding, transfer: Transfer
) -> None:
    """Record a finding as the readers of its handler may see it, and notify the reviewers who may answer it."""
    response = FindingOut.of(finding, frozenset({finding.handler}))
    members = {"kind", "threshold", "value", "total", "exported", "transfers", "others", "shared"}
    details = {"finding": finding.id} | response.model_dump(mode="json", include=members)
    events.record(
        tx,
        caller,
        notifications.change_of(action, transfer, details, reason=response.text.en, link=f"/v1/findings/{finding.id}"),
    )
    authors, recused = await _excluded_persons(tx, finding)
    legal = await directory.find_eligible_persons(tx, Role.LEGAL, finding.handler, day_in_shanghai(tx.now))
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
            reason=response.text.en,
            figures=notifications.figures_of(transfer),
            details=details,
            link=f"/v1/findings/{finding.id}/answer",
            method="POST",
        ),
    )


async def read_finding(tx: Transaction, caller: Caller, finding_id: str, *, lock: bool = False) -> StructuringFinding:
    """Load a finding that the caller may read, with a row lock on request.

    Raises:
        NotFound: there is none with this id, or the caller has no role at its handler.
    """
    finding = await tx.get(StructuringFinding, finding_id, with_for_update=lock or None, populate_existing=lock)
    if finding is None or not caller.reaches(READERS, finding.handler):
        raise NotFound("There is no such finding.")
    return finding
