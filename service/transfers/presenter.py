"""Presents transfers and what belongs to them as responses of the API.

Example:
    transfer = await transfer_of(tx, caller, "tr_01J...")
    response = await present(tx, caller, transfer, book)
    print(response.status, response.missing_evidence)
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from service.access.caller import READERS, Caller, Role
from service.access.directory import EligiblePerson
from service.clock import day_in_shanghai
from service.database.row_security import HandlerScope
from service.database.session import Transaction
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.permits import queries as permits
from service.permits.tables import Permit
from service.transfers import revision_diff, workflow
from service.transfers.queries import (
    MAX_LISTED_EVIDENCE,
    TRANSFERS_PER_SLICE,
    DocumentFacts,
    TransferRows,
    changed_inputs,
    documents_of,
    ends_on,
    evidence_among,
    load_rows,
    parties_of,
    pending_terms,
    scope_of,
    service_time,
)
from service.transfers.schemas import (
    CarryableOut,
    ChangeOut,
    CommentOut,
    DocumentOut,
    EvidenceOut,
    FindingOut,
    FollowsOut,
    ReviewerOut,
    ReviewersOut,
    ReviewOut,
    RevisionOut,
    RevisionRef,
    StageOut,
    TransferOut,
)
from service.transfers.tables import (
    Comment,
    Evidence,
    Review,
    Revision,
    RevisionStage,
    StructuringFinding,
    Transfer,
)
from service.transfers.workflow import StageStatus, Status


async def present(tx: Transaction, caller: Caller, transfer: Transfer, book: RuleBook) -> TransferOut:
    """Return the response for a transfer, as far as the caller may read it."""
    return (await _present_some(tx, caller, [transfer], book))[0]


async def present_many(
    tx: Transaction, caller: Caller, transfers: Sequence[Transfer], book: RuleBook
) -> list[TransferOut]:
    """Return the responses for a list of transfers, each with its last records of evidence only."""
    presented: list[TransferOut] = []
    for first in range(0, len(transfers), TRANSFERS_PER_SLICE):
        presented_slice = await _present_some(tx, caller, transfers[first : first + TRANSFERS_PER_SLICE], book)
        presented += [
            transfer.model_copy(update={"evidence": transfer.evidence[-MAX_LISTED_EVIDENCE:]})
            for transfer in presented_slice
        ]
    return presented


async def _present_some(
    tx: Transaction, caller: Caller, transfers: Sequence[Transfer], book: RuleBook
) -> list[TransferOut]:
    rows = await load_rows(tx, transfers)
    scope = caller.scope(READERS)
    return [_present_transfer(tx, transfer, rows, book, scope) for transfer in transfers]


async def present_evidence(tx: Transaction, evidence: Sequence[Evidence], book: RuleBook) -> list[EvidenceOut]:
    """Return the responses for records of evidence, in the same order."""
    documents = await documents_of(tx, evidence)
    return [_evidence(row, documents, book) for row in evidence]


def present_findings(caller: Caller, findings: Iterable[StructuringFinding]) -> list[FindingOut]:
    """Return the responses for findings, without the requests that the caller may not read."""
    scope = caller.scope(READERS)
    return [FindingOut.of(finding, scope) for finding in findings]


def present_reviewers(stage: Stage, people: Iterable[EligiblePerson]) -> ReviewersOut:
    """Return the response for the eligible reviewers of a stage."""
    return ReviewersOut(
        stage=stage,
        items=[
            ReviewerOut(principal=person.principal, name=person.name, on_behalf_of=person.on_behalf_of)
            for person in people
        ],
    )


def present_comment(comment: Comment) -> CommentOut:
    """Return the response for a comment."""
    return CommentOut.model_validate(comment, from_attributes=True)


def present_revision(revision: Revision) -> RevisionOut:
    """Return the response for a revision."""
    return RevisionOut.model_validate(revision, from_attributes=True)


def _evidence(row: Evidence, documents: Mapping[bytes, DocumentFacts], book: RuleBook) -> EvidenceOut:
    """Return the response for a record of evidence."""
    if row.document is None:
        return EvidenceOut.of(row, ends_on(row, book), None)
    size, media_type = documents[row.document]
    name = row.file_name or "document"
    document = DocumentOut(sha256=row.document.hex(), size=size, media_type=media_type, name=name)
    return EvidenceOut.of(row, ends_on(row, book), document)


def _present_transfer(
    tx: Transaction, transfer: Transfer, rows: TransferRows, book: RuleBook, scope: HandlerScope
) -> TransferOut:
    revisions = {revision.number: revision for revision in rows.revisions.get(transfer.id, ())}
    revision = revisions.get(transfer.revision)
    reviews = rows.reviews.get(transfer.id, ())
    counting = [r for r in reviews if r.revision == transfer.revision and r.taken_back_at is None]
    evidence = rows.evidence.get(transfer.id, ())
    today = day_in_shanghai(tx.now)
    status = workflow.effective_status(transfer.status, transfer.valid_until, today)
    columns = {name: getattr(transfer, name) for name in TransferOut.model_fields if name in Transfer.__table__.columns}
    stages = rows.stages.get(transfer.id, ())
    in_review = status is Status.IN_REVIEW and revision is not None
    issued = rows.permits.get(transfer.id, ())
    members = columns | {
        "status": status,
        "revision": None if revision is None else RevisionRef(number=revision.number, hash=revision.hash),
        "determination": None if revision is None else revision.determination,
        "stages": [_stage(tx, stage, status, book) for stage in stages],
        "missing_evidence": _missing(transfer, revision, evidence, today, book) if in_review else [],
        "evidence": [_evidence(row, rows.documents, book) for row in evidence],
        "evidence_count": len(evidence),
        "reviews": [_review(review, transfer, rows) for review in reviews],
        "terms_pending": pending_terms(counting) if in_review else [],
        "carryable": _carryable(revision, revisions, reviews, stages) if in_review else [],
        "findings": [FindingOut.of(finding, scope) for finding in rows.findings.get(transfer.id, ())],
        "recused": [recusal.principal for recusal in rows.recusals.get(transfer.id, ())],
        "follows": _follows(transfer, rows.permits.get(transfer.renews or "", ())),
        "renewed_by": [renewal.id for renewal in rows.renewals.get(transfer.id, ())],
        "permit": issued[0].id if issued else None,
    }
    return TransferOut.model_validate(members)


def _follows(transfer: Transfer, renewed: Sequence[Permit]) -> FollowsOut | None:
    """Return the permit that a request renews, with its conditions and the differences; None: no renewal."""
    if not renewed:
        return None
    permit = renewed[0]
    allowed, requested = ({name: getattr(side, name) for name in permits.EXTENT} for side in (permit, transfer))
    return FollowsOut(
        permit=permit.id,
        persons=permit.persons,
        sensitive_persons=permit.sensitive_persons,
        fields=permit.fields,
        systems=permit.systems,
        valid_from=permit.valid_from,
        valid_until=permit.valid_until,
        conditions=permit.conditions,
        reason=permit.reason,
        changes=[ChangeOut.of(change) for change in revision_diff.compare_with_permit(allowed, requested)],
    )


def _stage(tx: Transaction, stage: RevisionStage, transfer: Status, book: RuleBook) -> StageOut:
    status = workflow.effective_stage_status(stage.status, transfer)
    due_at = None if stage.opened_at is None else stage.opened_at + service_time(book, stage.name)
    is_open = status is StageStatus.OPEN
    return StageOut(
        name=Stage(stage.name),
        role=Stage(stage.name).role,
        status=status,
        opened_at=stage.opened_at,
        due_at=due_at if is_open else None,
        overdue=is_open and due_at is not None and tx.now > due_at,
        assignee=stage.assignee,
    )


def _review(review: Review, transfer: Transfer, rows: TransferRows) -> ReviewOut:
    standing = "counts" if review.revision == transfer.revision else "earlier_revision"
    columns = {name: getattr(review, name) for name in ReviewOut.model_fields if name in Review.__table__.columns}
    return ReviewOut.model_validate(
        columns
        | {
            "standing": standing if review.taken_back_at is None else "taken_back",
            "grant": _grant(review, transfer, rows),
        }
    )


def _grant(review: Review, transfer: Transfer, rows: TransferRows) -> str:
    """Return the state of the role with which a stage was decided; a role granted later is another grant."""
    if parties_of([review]) & set(rows.disabled):
        return "disabled"
    holder, role = review.on_behalf_of or review.reviewer, Role(Stage(review.stage).role)
    in_force = [
        tenure.effective_at
        for tenure in rows.tenures
        if (tenure.principal, tenure.role) == (holder, role)
        and tenure.handler in {None, transfer.handler}
        and not tenure.has_ended
    ]
    if any(effective_at <= review.at for effective_at in in_force):
        return "stands"
    return "regranted" if in_force else "withdrawn"


def _missing(
    transfer: Transfer, revision: Revision | None, evidence: Sequence[Evidence], today: date, book: RuleBook
) -> list[str]:
    if revision is None:
        return []
    needed = [item["code"] for item in revision.determination["evidence"]]
    filed = evidence_among(evidence, book)
    return list(workflow.check_evidence(needed, filed, today, transfer.valid_from, scope_of(transfer)).missing)


def _carryable(
    revision: Revision | None,
    revisions: Mapping[int, Revision],
    reviews: Sequence[Review],
    stages: Sequence[RevisionStage],
) -> list[CarryableOut]:
    """Return the last approval of each stage that is not approved yet, from an earlier revision."""
    if revision is None:
        return []
    unapproved = {stage.name for stage in stages if stage.status != StageStatus.APPROVED}
    last = {
        review.stage: review
        for review in reviews
        if review.revision < revision.number
        and review.stage in unapproved
        and review.decision == workflow.Decision.APPROVE
        and review.taken_back_at is None
    }
    return [_carried(review, revisions[review.revision], revision) for review in last.values()]


def _carried(review: Review, then: Revision, now: Revision) -> CarryableOut:
    changed = changed_inputs(Stage(review.stage), then, now)
    return CarryableOut(
        review=review.id,
        stage=Stage(review.stage),
        reviewer=review.reviewer,
        revision=review.revision,
        changed=changed,
        allowed=not changed,
    )
