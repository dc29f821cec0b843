"""Assigns, recuses and reminds reviewers of requests, keeps comments, and lists the queue of a reviewer.

Example:
    queue = await list_queue(
        tx, caller, book, stage=None, handler=None, overdue=True, assigned=None, after=None, limit=50
    )
    print(queue.counts, [item.transfer for item in queue.items])
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_, select

from service.access import directory, persons
from service.access.caller import READERS, REVIEWERS, Caller, Role
from service.access.directory import EligiblePerson
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.events import operations as events
from service.http import paging
from service.http.paging import page_of
from service.http.references import is_of
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.transfers import notifications, workflow
from service.transfers.queries import (
    REQUESTERS,
    exclusions_of,
    exclusions_of_many,
    require_status,
    service_time,
    stages_of,
    transfer_of,
)
from service.transfers.schemas import (
    AssignIn,
    CommentIn,
    QueueItemOut,
    QueueOut,
    RevisionRef,
)
from service.transfers.tables import (
    Comment,
    Recusal,
    Review,
    Revision,
    RevisionStage,
    StructuringFinding,
    Transfer,
)
from service.transfers.workflow import StageStatus, Status
from service.validation.problems import Conflict, Invalid

COMMENTERS = READERS - {Role.EXPORTER}
"""Roles that may comment on requests of their handlers: every reader except exporting systems."""

MAX_QUEUE_STAGES = 1000
"""Open stages that one answer considers; more than a reviewer can work through."""


async def list_reviewers(tx: Transaction, caller: Caller, transfer_id: str, stage: Stage) -> Sequence[EligiblePerson]:
    """Load the people who may decide a stage of a request now."""
    transfer = await transfer_of(tx, caller, transfer_id)
    if not await _is_undecided(tx, transfer, stage):
        return []
    return await notifications.eligible_reviewers(tx, transfer, stage)


async def _is_undecided(tx: Transaction, transfer: Transfer, stage: Stage) -> bool:
    """True if a stage of a request can still be decided; in review, only the stages of the revision can."""
    status = workflow.effective_status(transfer.status, transfer.valid_until, day_in_shanghai(tx.now))
    if status is Status.IN_REVIEW:
        return stage in {row.name for row in await stages_of(tx, transfer)}
    return status in {Status.DRAFT, Status.RETURNED}


async def assign(tx: Transaction, caller: Caller, transfer_id: str, body: AssignIn) -> Transfer:
    """Assign a stage to a person who may decide it; other eligible reviewers still may.

    Raises:
        Invalid: the person may not decide the stage.
        Conflict: not in review, no such stage, or decided already.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REVIEWERS | REQUESTERS, transfer.handler, noun="transfer")
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "assigned")
    stage = next((row for row in await stages_of(tx, transfer) if row.name == body.stage), None)
    if stage is None or stage.status not in {StageStatus.OPEN, StageStatus.WAITING}:
        raise Conflict(f"There is no stage {body.stage} to be decided.")
    people = await notifications.eligible_reviewers(tx, transfer, body.stage)
    chosen = next((person for person in people if body.reviewer in {person.principal, person.name}), None)
    if chosen is None:
        raise Invalid(
            "This person may not decide the stage.",
            errors=[("/reviewer", "Choose one of GET …/reviewers for this stage.")],
        )
    before, stage.assignee = stage.assignee, chosen.principal
    details = {"stage": body.stage, "from": before, "to": chosen.principal, "reason": body.reason}
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.STAGE_ASSIGNED,
            transfer,
            details,
            reason=body.reason,
            audience=[person for person in (before, chosen.principal) if person is not None],
            link=f"/v1/transfers/{transfer.id}/reviews",
            method="POST",
            on_behalf_of=caller.behalf(REVIEWERS | REQUESTERS, transfer.handler),
        ),
    )
    await tx.flush()
    return transfer


async def recuse(tx: Transaction, caller: Caller, transfer_id: str, reason: str) -> Transfer:
    """Recuse the caller from a request permanently; nobody can decide a stage on the caller's behalf either.

    Raises:
        Conflict: the request is decided, the caller is recused already, or has a decision to take back first.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REVIEWERS, transfer.handler, noun="transfer")
    undecided = frozenset({Status.DRAFT, Status.IN_REVIEW, Status.RETURNED})
    require_status(transfer, tx, undecided, "left to others")
    if not persons.are_two(caller.persons, (await exclusions_of(tx, transfer)).earlier):
        raise Conflict("You have decided a stage of this revision; take that back first.")
    if await tx.get(Recusal, (transfer.id, caller.principal)) is not None:
        raise Conflict("You have recused yourself from this request already.")
    tx.add(Recusal(transfer=transfer.id, principal=caller.principal, persons=caller.acting(), reason=reason, at=tx.now))
    freed = [stage for stage in await stages_of(tx, transfer) if stage.assignee == caller.principal]
    for stage in freed:
        stage.assignee = None
    events.record(
        tx, caller, notifications.change_of(AuditAction.TRANSFER_RECUSED, transfer, {"reason": reason}, reason=reason)
    )
    await tx.flush()
    for stage in freed:
        if stage.status == StageStatus.OPEN:
            await notifications.notify_stage_reviewers(tx, caller, transfer, stage)
    await tx.flush()
    return transfer


async def add_comment(tx: Transaction, caller: Caller, transfer_id: str, body: CommentIn) -> Comment:
    """Comment on a request and notify the people mentioned.

    Raises:
        Invalid: a person mentioned does not exist or may not read the request.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    caller.require(COMMENTERS, transfer.handler, noun="transfer")
    today = day_in_shanghai(tx.now)
    readers = await directory.find_readers(tx, transfer.handler, body.mentions, today)
    unknown = [place for place, reference in enumerate(body.mentions) if reference not in readers]
    if unknown:
        raise Invalid(
            "Some people cannot be mentioned.",
            errors=[(f"/mentions/{place}", "Nobody with this id or name may read the request.") for place in unknown],
        )
    mentions = sorted(set(readers.values()))
    comment = Comment(
        id=new_id("cm"),
        transfer=transfer.id,
        author=caller.principal,
        text=body.text,
        mentions=mentions,
        at=tx.now,
    )
    tx.add(comment)
    details = {"comment": comment.id, "text": body.text, "mentions": mentions}
    events.record(
        tx,
        caller,
        notifications.change_of(AuditAction.TRANSFER_COMMENTED, transfer, details, reason=body.text, audience=mentions),
    )
    await tx.flush()
    return comment


async def list_comments(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Comment], str | None]:
    """Load a page of the comments on a request, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Comment).where(Comment.transfer == transfer.id)
    return await page_of(tx, query, Comment.id, cursor, limit)


async def list_queue(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    *,
    stage: Stage | None,
    handler: str | None,
    overdue: bool | None,
    assigned: bool | None,
    after: str | None,
    limit: int,
) -> QueueOut:
    """Load a page of the open stages that the caller may decide, oldest first, with counts of all of them."""
    items = await _load_queue(tx, caller, book, handler)
    counts: dict[str, int] = {name.value: 0 for name in Stage} | {"overdue": 0, "all": len(items)}
    for item in items:
        counts[item.stage] += 1
        counts["overdue"] += item.overdue
    matching = [
        item
        for item in items
        if (stage is None or item.stage is stage)
        and (overdue is None or item.overdue is overdue)
        and (assigned is None or (item.assignee == caller.principal) is assigned)
    ]
    begin = 0
    if after is not None:
        position = _parse_cursor(paging.decode_cursor(after))
        begin = sum((item.opened_at, item.transfer) <= position for item in matching)
    page = matching[begin : begin + limit]
    more = begin + limit < len(matching)
    return QueueOut(items=page, next_cursor=_cursor_of(page[-1]) if more else None, counts=counts)


def _cursor_of(last: QueueItemOut) -> str:
    return paging.encode_cursor(f"{last.opened_at.isoformat()} {last.transfer}")


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    """Parse the position at which a page of the queue ended; its item may be gone since."""
    timestamp, _, transfer = cursor.partition(" ")
    try:
        instant = datetime.fromisoformat(timestamp)
    except ValueError as error:
        raise paging.unknown_cursor() from error
    if instant.tzinfo is None:
        raise paging.unknown_cursor()
    return instant, transfer


async def _load_queue(tx: Transaction, caller: Caller, book: RuleBook, handler: str | None) -> list[QueueItemOut]:
    query = (
        select(Transfer, RevisionStage, Revision)
        .join(
            RevisionStage,
            and_(
                RevisionStage.transfer == Transfer.id,
                RevisionStage.revision == Transfer.revision,
                RevisionStage.status == StageStatus.OPEN,
            ),
        )
        .join(Revision, and_(Revision.transfer == Transfer.id, Revision.number == Transfer.revision))
        .where(
            Transfer.status == Status.IN_REVIEW,
            Transfer.valid_until >= day_in_shanghai(tx.now),
            or_(*(_is_in_role(caller, stage) for stage in Stage)),
            ~select(Review.id)
            .where(
                Review.transfer == Transfer.id,
                Review.revision == Transfer.revision,
                Review.taken_back_at.is_(None),
                or_(Review.reviewer == caller.principal, Review.on_behalf_of == caller.principal),
            )
            .exists(),
            ~Transfer.authors.contains([caller.principal]),
            ~select(Recusal.principal)
            .where(Recusal.transfer == Transfer.id, Recusal.principal == caller.principal)
            .exists(),
        )
        .order_by(RevisionStage.opened_at, Transfer.id)
        .limit(MAX_QUEUE_STAGES)
    )
    if handler is not None:
        query = query.where(is_of(Transfer.handler, "handlers", handler))
    rows = (await tx.execute(query)).all()
    ids = [row[0].id for row in rows]
    exclusions = await exclusions_of_many(tx, [row[0] for row in rows])
    findings = await _count_open_findings(tx, ids)
    items: list[QueueItemOut] = []
    for transfer, stage, revision in rows:
        role = frozenset({Role(Stage(stage.name).role)})
        lenders = [
            behalf
            for behalf in (caller.lenders(role, transfer.handler) or (None,))
            if workflow.review_denial(
                caller.principal,
                is_person=caller.kind == "person",
                seen_by=caller.seen_by,
                authors=exclusions[transfer.id].authors,
                earlier=exclusions[transfer.id].earlier,
                recused=exclusions[transfer.id].recused,
                filed=exclusions[transfer.id].filed,
                behalf=behalf,
            )
            is None
        ]
        if lenders:
            items.append(_present_item(tx, book, transfer, stage, revision, lenders[0], findings.get(transfer.id, 0)))
    return items


def _is_in_role(caller: Caller, stage: Stage) -> ColumnElement[bool]:
    """Return the criterion for rows of a stage at the handlers where the caller has its role."""
    scope = caller.scope(frozenset({Role(stage.role)}))
    named = RevisionStage.name == stage
    return named if scope == EVERYWHERE else and_(named, Transfer.handler.in_(scope))


def _present_item(
    tx: Transaction,
    book: RuleBook,
    transfer: Transfer,
    stage: RevisionStage,
    revision: Revision,
    behalf: str | None,
    findings: int,
) -> QueueItemOut:
    open_since = stage.opened_at or revision.submitted_at
    due = open_since + service_time(book, stage.name)
    return QueueItemOut(
        transfer=transfer.id,
        stage=Stage(stage.name),
        handler=transfer.handler,
        recipient=transfer.recipient,
        purpose=transfer.purpose,
        persons=transfer.persons,
        sensitive_persons=transfer.sensitive_persons,
        mechanism=revision.determination["mechanism"],
        revision=RevisionRef(number=revision.number, hash=revision.hash),
        requester=transfer.requester,
        opened_at=open_since,
        age_hours=round((tx.now - open_since) / timedelta(hours=1), 1),
        due_at=due,
        overdue=tx.now > due,
        assignee=stage.assignee,
        on_behalf_of=behalf,
        findings=findings,
    )


async def _count_open_findings(tx: Transaction, ids: Sequence[str]) -> dict[str, int]:
    query = select(StructuringFinding.transfer).where(
        StructuringFinding.transfer.in_(ids), StructuringFinding.answered_at.is_(None)
    )
    counts: dict[str, int] = {}
    for transfer in await tx.scalars(query):
        counts[transfer] = counts.get(transfer, 0) + 1
    return counts


async def remind(tx: Transaction, caller: Caller, book: RuleBook) -> list[tuple[str, str, str]]:
    """Remind the reviewers of open stages after their service time, and escalate after twice that; each once.

    Notifies the people who may decide the stage, and the requester. An escalation also notifies the executives of the handler,
    who may assign the stage to another reviewer.

    Returns:
        Transfer, stage and `reminded` or `escalated`, in the order of opening.
    """
    query = (
        select(Transfer, RevisionStage)
        .join(
            RevisionStage,
            and_(RevisionStage.transfer == Transfer.id, RevisionStage.revision == Transfer.revision),
        )
        .where(
            Transfer.status == Status.IN_REVIEW,
            Transfer.valid_until >= day_in_shanghai(tx.now),
            RevisionStage.status == StageStatus.OPEN,
            RevisionStage.escalated_at.is_(None),
        )
        .order_by(RevisionStage.opened_at, Transfer.id)
        .with_for_update(of=RevisionStage)
    )
    reminded: list[tuple[str, str, str]] = []
    for transfer, stage in (await tx.execute(query)).all():
        action = _due_action(stage, service_time(book, stage.name), tx.now)
        if action is None:
            continue
        people = {
            person.principal for person in await notifications.eligible_reviewers(tx, transfer, Stage(stage.name))
        }
        observers = {transfer.requester}
        stage.reminded_at = stage.reminded_at or tx.now
        if action == "escalated":
            stage.escalated_at = tx.now
            executives = await directory.find_eligible_persons(
                tx, Role.EXECUTIVE, transfer.handler, day_in_shanghai(tx.now)
            )
            observers = {transfer.requester} | {person.principal for person in executives}
        details = {"stage": stage.name, "revision": transfer.revision, "opened_at": stage.opened_at}
        events.record(
            tx,
            caller,
            events.Change(
                action=AuditAction.STAGE_ESCALATED if action == "escalated" else AuditAction.STAGE_REMINDED,
                subject=transfer.id,
                handler=transfer.handler,
                details=details,
                audience=people,
                figures=notifications.figures_of(transfer),
                link=f"/v1/transfers/{transfer.id}/reviews",
                method="POST",
            ),
        )
        events.notify(
            tx,
            caller,
            events.Change(
                action=AuditAction.STAGE_OVERDUE,
                subject=transfer.id,
                handler=transfer.handler,
                audience=observers - people,
                figures=notifications.figures_of(transfer),
                details=details,
                link=f"/v1/transfers/{transfer.id}/assign",
                method="POST",
            ),
        )
        reminded.append((transfer.id, stage.name, action))
    await tx.flush()
    return reminded


def _due_action(stage: RevisionStage, service: timedelta, now: datetime) -> str | None:
    """Return the action due for an open stage: `reminded` after its service time, `escalated` after twice that."""
    if stage.opened_at is None or now <= stage.opened_at + service:
        return None
    if now > stage.opened_at + 2 * service:
        return "escalated"
    return "reminded" if stage.reminded_at is None else None
