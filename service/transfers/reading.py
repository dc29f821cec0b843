"""What the rows of a transfer say: found, held, and shown as the API shows them."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import select

from service.database import Transaction
from service.http.caller import READERS, Caller, Role
from service.http.problems import Conflict, NotFound
from service.law.calendar import day_in_shanghai
from service.law.rules import RuleBook
from service.permits.tables import Permit
from service.transfers import workflow
from service.transfers.schemas import (
    EvidenceOut,
    ReviewOut,
    RevisionRef,
    StageOut,
    TransferOut,
)
from service.transfers.tables import Evidence, Review, Revision, RevisionStage, Transfer
from service.transfers.workflow import Paper, Stage, Status

REQUESTERS = frozenset({Role.REQUESTER})


async def transfer_of(tx: Transaction, caller: Caller, transfer_id: str, *, lock: bool = False) -> Transfer:
    """Return the row of a transfer that the caller may see.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    transfer = await tx.get(Transfer, transfer_id, with_for_update=lock or None, populate_existing=lock)
    if transfer is None or not caller.reaches(READERS, transfer.handler):
        raise NotFound("There is no such transfer.")
    return transfer


def demand_status(transfer: Transfer, tx: Transaction, allowed: frozenset[Status], verb: str) -> Status:
    """Return where a transfer stands, or refuse what cannot be done to it there.

    Raises:
        Conflict: its state is none of the allowed ones.
    """
    status = workflow.standing(transfer.status, transfer.valid_until, day_in_shanghai(tx.now))
    if status not in allowed:
        raise Conflict(
            f"This transfer is {status}; it can no longer be {verb}."
            if status is not Status.DRAFT
            else f"This transfer is a draft; it must be submitted before it can be {verb}."
        )
    return status


async def revision_of(tx: Transaction, transfer: Transfer) -> Revision | None:
    """Return the revision that was submitted last; None: none was."""
    return await tx.get(Revision, (transfer.id, transfer.revision)) if transfer.revision else None


async def stages_of(tx: Transaction, transfer: Transfer) -> Sequence[RevisionStage]:
    """Return the stages of the last revision, in their order."""
    query = (
        select(RevisionStage)
        .where(RevisionStage.transfer == transfer.id, RevisionStage.revision == transfer.revision)
        .order_by(RevisionStage.place)
    )
    return (await tx.scalars(query)).all()


async def reviewers_of(tx: Transaction, transfer: Transfer) -> set[str]:
    """Return who has decided a stage of the last revision."""
    query = select(Review.reviewer).where(Review.transfer == transfer.id, Review.revision == transfer.revision)
    return set(await tx.scalars(query))


async def papers_of(tx: Transaction, transfer: Transfer, book: RuleBook) -> list[Paper]:
    """Return the evidence of a transfer, oldest first, with the day on which each piece ends."""
    query = select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id)
    return [Paper(row.id, row.kind, row.issued_on, ends_on(row, book)) for row in await tx.scalars(query)]


def ends_on(evidence: Evidence, book: RuleBook) -> date | None:
    """Return the last day of a piece of evidence: as stated, or by the law if that is earlier; None: no end."""
    ends = [
        end for end in (evidence.valid_until, book.valid_until(evidence.kind, evidence.issued_on)) if end is not None
    ]
    return min(ends, default=None)


async def shown_of(tx: Transaction, transfer: Transfer, book: RuleBook) -> TransferOut:
    """Return a transfer as the API shows it."""
    revision = await revision_of(tx, transfer)
    evidence = (await tx.scalars(select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id))).all()
    reviews = await tx.scalars(select(Review).where(Review.transfer == transfer.id).order_by(Review.id))
    columns = {name: getattr(transfer, name) for name in TransferOut.model_fields if name in Transfer.__table__.columns}
    today = day_in_shanghai(tx.now)
    status = workflow.standing(transfer.status, transfer.valid_until, today)
    shown = columns | {
        "status": status,
        "revision": None if revision is None else RevisionRef(number=revision.number, hash=revision.hash),
        "determination": None if revision is None else revision.determination,
        "stages": [
            StageOut(name=Stage(stage.name), role=Stage(stage.name).role, status=workflow.shown(stage.status, status))
            for stage in await stages_of(tx, transfer)
        ],
        "missing_evidence": await _missing(tx, book, transfer, revision, today),
        "evidence": [EvidenceOut.of(row, ends_on(row, book)) for row in evidence],
        "reviews": [ReviewOut.of(row) for row in reviews],
        "permit": await tx.scalar(select(Permit.id).where(Permit.transfer == transfer.id)),
    }
    return TransferOut.model_validate(shown)


async def _missing(
    tx: Transaction, book: RuleBook, transfer: Transfer, revision: Revision | None, today: date
) -> list[str]:
    if revision is None or transfer.status != Status.IN_REVIEW:
        return []
    needed = [item["code"] for item in revision.determination["evidence"]]
    papers = await papers_of(tx, transfer, book)
    return list(workflow.check_evidence(needed, papers, today, transfer.valid_from).missing)
