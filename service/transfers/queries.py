"""What the rows of transfers say: found, held, and shown as the API shows them, a page with one query a table."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, select, tuple_

from service.access import directory, persons
from service.access.caller import READERS, Caller, Role
from service.access.directory import Tenure
from service.database.row_security import Reach
from service.database.session import Base, Transaction, beyond
from service.law.calendar import day_in_shanghai
from service.law.rule_book import RuleBook
from service.permits import operations as permits
from service.permits.tables import Permit
from service.transfers import revision_diff, workflow
from service.transfers.conditions import Conditions
from service.transfers.schemas import (
    CarryableOut,
    ChangeOut,
    DocumentOut,
    EvidenceOut,
    FindingOut,
    FollowsOut,
    ReviewOut,
    RevisionRef,
    StageOut,
    TransferOut,
)
from service.transfers.tables import (
    Document,
    Evidence,
    Recusal,
    Review,
    Revision,
    RevisionStage,
    StructuringFinding,
    Transfer,
)
from service.transfers.workflow import Paper, Stage, StageStatus, Status
from service.validation.problems import Conflict, Forbidden, NotFound

REQUESTERS = frozenset({Role.REQUESTER})
Row = TypeVar("Row", bound=Base)


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
        .execution_options(populate_existing=True)
    )
    await tx.flush()
    return (await tx.scalars(query)).all()


async def reviews_of(tx: Transaction, transfer: Transfer) -> Sequence[Review]:
    """Return the reviews of the last revision that have not been taken back."""
    query = select(Review).where(
        Review.transfer == transfer.id, Review.revision == transfer.revision, Review.taken_back_at.is_(None)
    )
    return (await tx.scalars(query.order_by(Review.id))).all()


def parties_of(reviews: Iterable[Review]) -> set[str]:
    """Return who has decided a stage, and on whose behalf."""
    return {party for review in reviews for party in (review.reviewer, review.on_behalf_of) if party is not None}


@dataclass(frozen=True, slots=True)
class Bars:
    """Who could have done what keeps from deciding on a request."""

    authors: frozenset[str]
    """Wrote, changed or submitted it, or accepted its terms."""
    earlier: frozenset[str]
    """Decided a stage of the revision that stands, for themselves or for somebody else."""
    recused: frozenset[str]
    filed: frozenset[str]
    """Filed evidence, of the kinds that the law asks for, that counts."""


async def bars_of(tx: Transaction, transfer: Transfer, *, but: str | None = None) -> Bars:
    """Return who may not decide on a request; `but` leaves out who has decided that stage."""
    return (await bars_of_many(tx, [transfer], but=but))[transfer.id]


async def bars_of_many(tx: Transaction, transfers: Sequence[Transfer], *, but: str | None = None) -> Mapping[str, Bars]:
    """Return the same for many requests, with one query a table."""
    await tx.flush()
    ids = [transfer.id for transfer in transfers]
    last = [(transfer.id, transfer.revision) for transfer in transfers]
    stands = and_(tuple_(Review.transfer, Review.revision).in_(last), Review.taken_back_at.is_(None))
    reviews = await _by(tx, Review, "transfer", stands, Review.id)
    recusals = await _by(tx, Recusal, "transfer", Recusal.transfer.in_(ids), Recusal.principal)
    evidence = await _by(
        tx, Evidence, "transfer", and_(Evidence.transfer.in_(ids), Evidence.ended_at.is_(None)), Evidence.id
    )
    asked = select(Revision.transfer, Revision.determination["evidence"]).where(
        tuple_(Revision.transfer, Revision.number).in_(last)
    )
    needed = {row[0]: {item["code"] for item in row[1]} for row in await tx.execute(asked)}
    holders = {author for one in transfers for author in one.authors if author not in (one.author_persons or ())}
    holders |= {row.reviewer for rows in reviews.values() for row in rows if row.persons is None}
    holders |= {row.principal for rows in recusals.values() for row in rows if row.persons is None}
    holders |= {row.added_by for rows in evidence.values() for row in rows if row.added_persons is None}
    seen = await directory.seen(tx, holders)
    return {
        one.id: Bars(
            authors=persons.set_of_authors(one.authors, one.author_persons, seen),
            earlier=frozenset().union(
                *(
                    persons.set_of(party, row.persons, seen)
                    for row in reviews.get(one.id, ())
                    if row.stage != but
                    for party in (row.reviewer, row.on_behalf_of)
                )
            ),
            recused=frozenset().union(
                *(persons.set_of(row.principal, row.persons, seen) for row in recusals.get(one.id, ()))
            ),
            filed=frozenset().union(
                *(
                    persons.set_of(row.added_by, row.added_persons, seen)
                    for row in evidence.get(one.id, ())
                    if row.kind in needed.get(one.id, ())
                )
            ),
        )
        for one in transfers
    }


async def add_author(tx: Transaction, caller: Caller, transfer: Transfer) -> None:
    """Count the caller as an author of a request from now on, with whoever else could have acted."""
    before = await directory.persons_of(tx, authors=[(transfer.authors, transfer.author_persons)])
    transfer.authors = sorted({*transfer.authors, caller.principal})
    transfer.author_persons = sorted(before | caller.persons)


async def demand_may_write(tx: Transaction, caller: Caller, transfer: Transfer) -> None:
    """Refuse to become an author of a request to whoever has said, as somebody else than its authors, that it is in order.

    Raises:
        Forbidden: they have verified evidence of it that counts, or answered a finding on it.
    """
    verified = select(Evidence.verified_by, Evidence.verified_persons).where(
        Evidence.transfer == transfer.id, Evidence.verified_at.is_not(None), Evidence.ended_at.is_(None)
    )
    answered = select(StructuringFinding.answered_by, StructuringFinding.answered_persons).where(
        StructuringFinding.transfers.contains([transfer.id]), StructuringFinding.answered_at.is_not(None)
    )
    acts = [(row[0], row[1]) for row in await tx.execute(verified)]
    async with beyond(tx, "who answered findings on affiliates' requests"):
        acts += [(row[0], row[1]) for row in await tx.execute(answered)]
    if not persons.are_two(caller.persons, await directory.persons_of(tx, *acts)):
        raise Forbidden(
            "You have verified evidence of this request or answered a finding on it, or have made or seen the key by which it was done; "
            "somebody else must write it."
        )


def terms_waiting(reviews: Iterable[Review]) -> list[str]:
    """Return the terms of standing approvals that the requester has not accepted."""
    return [
        term
        for review in reviews
        if review.terms_accepted_at is None
        for term in Conditions.of(review.conditions).terms
    ]


async def papers_of(tx: Transaction, transfer: Transfer, book: RuleBook) -> list[Paper]:
    """Return the evidence of a transfer that counts, with the last day of each."""
    await tx.flush()
    query = select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id)
    return papers_among((await tx.scalars(query)).all(), book)


def papers_among(evidence: Sequence[Evidence], book: RuleBook) -> list[Paper]:
    """Return, of all the evidence of one transfer, what counts or may come to, with the last day of each."""
    distrusted = kinds_distrusted(evidence)
    return [paper_of(row, book, distrusted) for row in evidence if row.ended_at is None]


def kinds_distrusted(evidence: Iterable[Evidence]) -> set[str]:
    """Return, of all the evidence of one transfer, the kinds of which a reviewer withdrew a paper: others count once verified.

    Of what was withdrawn before that was stored it is taken to have been a reviewer where it was not whoever had added it.
    """
    return {
        row.kind
        for row in evidence
        if row.is_distrusted
        or (
            row.is_distrusted is None
            and row.ended_at is not None
            and row.replaced_by is None
            and row.ended_by != row.added_by
        )
    }


def paper_of(row: Evidence, book: RuleBook, distrusted: Collection[str] = ()) -> Paper:
    """Return a record as the workflow looks at it."""
    is_trusted = row.verified_at is not None or row.kind not in distrusted
    return Paper(row.id, row.kind, row.issued_on, ends_on(row, book), row.scope, is_trusted)


def ends_on(evidence: Evidence, book: RuleBook) -> date | None:
    """Return the last day of a piece of evidence: as stated, or by the law if that is earlier; None: no end."""
    ends = [
        end for end in (evidence.valid_until, book.valid_until(evidence.kind, evidence.issued_on)) if end is not None
    ]
    return min(ends, default=None)


def scope_of(transfer: Transfer) -> dict[str, Any]:
    """Return what of a request a scoped paper is made for."""
    return {
        "purpose": transfer.purpose,
        "recipient": transfer.recipient,
        "method": str(transfer.method),
        "datasets": sorted(transfer.datasets),
        "fields": transfer.fields,
        "is_sensitive": transfer.sensitive_persons > 0,
    }


def service_time(book: RuleBook, stage: str) -> timedelta:
    """Return how long a stage may stay open before its reviewers are reminded."""
    return timedelta(hours=book.service_hours(stage))


async def shown_of(tx: Transaction, caller: Caller, transfer: Transfer, book: RuleBook) -> TransferOut:
    """Return a transfer as the API shows it to the caller."""
    return (await _shown_some(tx, caller, [transfer], book))[0]


class _Rows(NamedTuple):
    """The rows of a page of transfers, each kind by the transfer that it belongs to."""

    revisions: Mapping[str, Sequence[Revision]]
    stages: Mapping[str, Sequence[RevisionStage]]
    reviews: Mapping[str, Sequence[Review]]
    evidence: Mapping[str, Sequence[Evidence]]
    findings: Mapping[str, Sequence[StructuringFinding]]
    recusals: Mapping[str, Sequence[Recusal]]
    permits: Mapping[str, Sequence[Permit]]
    """Of the transfers and of those that they renew."""
    renewals: Mapping[str, Sequence[Transfer]]
    documents: Mapping[bytes, DocumentOut]
    tenures: Sequence[Tenure]
    disabled: Collection[str]


LISTED: Final = 10
"""Records of evidence that a list shows of each transfer."""
_AT_ONCE: Final = 10
"""Transfers of a list that are read and made ready before others get a turn."""


async def shown_many(
    tx: Transaction, caller: Caller, transfers: Sequence[Transfer], book: RuleBook
) -> list[TransferOut]:
    """Return the transfers of a list as the API shows them to the caller: of each the last records of evidence alone."""
    shown: list[TransferOut] = []
    for first in range(0, len(transfers), _AT_ONCE):
        some = await _shown_some(tx, caller, transfers[first : first + _AT_ONCE], book)
        shown += [one.model_copy(update={"evidence": one.evidence[-LISTED:]}) for one in some]
    return shown


async def _shown_some(
    tx: Transaction, caller: Caller, transfers: Sequence[Transfer], book: RuleBook
) -> list[TransferOut]:
    await tx.flush()
    rows = await _read(tx, transfers)
    reach = caller.reach(READERS)
    return [_shown(tx, transfer, rows, book, reach) for transfer in transfers]


async def _read(tx: Transaction, transfers: Sequence[Transfer]) -> _Rows:
    ids = [transfer.id for transfer in transfers]
    last = [(transfer.id, transfer.revision) for transfer in transfers]
    reviews = await _by(tx, Review, "transfer", Review.transfer.in_(ids), Review.id)
    reviewed = [(review.transfer, review.revision) for several in reviews.values() for review in several]
    evidence = await _by(tx, Evidence, "transfer", Evidence.transfer.in_(ids), Evidence.id)
    people = {party for several in reviews.values() for party in parties_of(several)}
    return _Rows(
        revisions=await _by(
            tx,
            Revision,
            "transfer",
            tuple_(Revision.transfer, Revision.number).in_([*last, *reviewed]),
            Revision.number,
        ),
        stages=await _by(
            tx,
            RevisionStage,
            "transfer",
            tuple_(RevisionStage.transfer, RevisionStage.revision).in_(last),
            RevisionStage.place,
        ),
        reviews=reviews,
        evidence=evidence,
        findings=await _by(
            tx, StructuringFinding, "transfer", StructuringFinding.transfer.in_(ids), StructuringFinding.id
        ),
        recusals=await _by(tx, Recusal, "transfer", Recusal.transfer.in_(ids), Recusal.principal),
        permits=await _by(
            tx,
            Permit,
            "transfer",
            Permit.transfer.in_({*ids, *(one.renews for one in transfers if one.renews)}),
            Permit.id,
        ),
        renewals=await _by(tx, Transfer, "renews", Transfer.renews.in_(ids), Transfer.id),
        documents=await documents_of(tx, [row for several in evidence.values() for row in several]),
        tenures=await directory.tenures(tx, people, day_in_shanghai(tx.now)),
        disabled=await directory.disabled(tx, people),
    )


async def _by(
    tx: Transaction, table: type[Row], owner: str, condition: ColumnElement[bool], order: Any
) -> Mapping[str, Sequence[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in await tx.scalars(select(table).where(condition).order_by(order)):
        found[getattr(row, owner)].append(row)
    return found


async def documents_of(tx: Transaction, evidence: Iterable[Evidence]) -> Mapping[bytes, DocumentOut]:
    """Return what is known of the files of some records, without their bytes; `name` is left to the record."""
    wanted = {row.document for row in evidence if row.document is not None}
    if not wanted:
        return {}
    query = select(Document.sha256, Document.size, Document.media_type).where(Document.sha256.in_(wanted))
    return {
        sha256: DocumentOut(sha256=sha256.hex(), size=size, media_type=media_type, name="")
        for sha256, size, media_type in await tx.execute(query)
    }


def shown_evidence(row: Evidence, documents: Mapping[bytes, DocumentOut], book: RuleBook) -> EvidenceOut:
    """Return a record as the API shows it."""
    document = None if row.document is None else documents[row.document]
    named = None if document is None else document.model_copy(update={"name": row.file_name or "document"})
    return EvidenceOut.of(row, ends_on(row, book), named)


def _shown(tx: Transaction, transfer: Transfer, rows: _Rows, book: RuleBook, reach: Reach) -> TransferOut:
    revisions = {revision.number: revision for revision in rows.revisions.get(transfer.id, ())}
    revision = revisions.get(transfer.revision)
    reviews = rows.reviews.get(transfer.id, ())
    standing = [r for r in reviews if r.revision == transfer.revision and r.taken_back_at is None]
    evidence = rows.evidence.get(transfer.id, ())
    today = day_in_shanghai(tx.now)
    status = workflow.standing(transfer.status, transfer.valid_until, today)
    columns = {name: getattr(transfer, name) for name in TransferOut.model_fields if name in Transfer.__table__.columns}
    stages = rows.stages.get(transfer.id, ())
    in_review = status is Status.IN_REVIEW and revision is not None
    issued = rows.permits.get(transfer.id, ())
    shown = columns | {
        "status": status,
        "revision": None if revision is None else RevisionRef(number=revision.number, hash=revision.hash),
        "determination": None if revision is None else revision.determination,
        "stages": [_stage(tx, stage, status, book) for stage in stages],
        "missing_evidence": _missing(transfer, revision, evidence, today, book) if in_review else [],
        "evidence": [shown_evidence(row, rows.documents, book) for row in evidence],
        "evidence_count": len(evidence),
        "reviews": [_review(review, transfer, rows) for review in reviews],
        "terms_pending": terms_waiting(standing) if in_review else [],
        "carryable": _carryable(revision, revisions, reviews, stages) if in_review else [],
        "findings": [FindingOut.of(finding, reach) for finding in rows.findings.get(transfer.id, ())],
        "recused": [recusal.principal for recusal in rows.recusals.get(transfer.id, ())],
        "follows": _follows(transfer, rows.permits.get(transfer.renews or "", ())),
        "renewed_by": [renewal.id for renewal in rows.renewals.get(transfer.id, ())],
        "permit": issued[0].id if issued else None,
    }
    return TransferOut.model_validate(shown)


def _follows(transfer: Transfer, renewed: Sequence[Permit]) -> FollowsOut | None:
    """Return the permit that a request renews, so that its reviewers see on what conditions it was given."""
    if not renewed:
        return None
    permit = renewed[0]
    allowed, asked = ({name: getattr(side, name) for name in permits.EXTENT} for side in (permit, transfer))
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
        changes=[ChangeOut.of(change) for change in revision_diff.since_permit(allowed, asked)],
    )


def _stage(tx: Transaction, stage: RevisionStage, transfer: Status, book: RuleBook) -> StageOut:
    status = workflow.shown(stage.status, transfer)
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


def _review(review: Review, transfer: Transfer, rows: _Rows) -> ReviewOut:
    standing = "counts" if review.revision == transfer.revision else "earlier_revision"
    columns = {name: getattr(review, name) for name in ReviewOut.model_fields if name in Review.__table__.columns}
    return ReviewOut.model_validate(
        columns
        | {
            "standing": standing if review.taken_back_at is None else "taken_back",
            "grant": _grant(review, transfer, rows),
        }
    )


def _grant(review: Review, transfer: Transfer, rows: _Rows) -> str:
    """Tell what became of the role with which a stage was decided: a later grant of it is another one."""
    if parties_of([review]) & set(rows.disabled):
        return "disabled"
    holder, role = review.on_behalf_of or review.reviewer, Role(Stage(review.stage).role)
    standing = [
        tenure.effective_at
        for tenure in rows.tenures
        if (tenure.principal, tenure.role) == (holder, role)
        and tenure.handler in {None, transfer.handler}
        and not tenure.has_ended
    ]
    if any(effective_at <= review.at for effective_at in standing):
        return "stands"
    return "regranted" if standing else "withdrawn"


def _missing(
    transfer: Transfer, revision: Revision | None, evidence: Sequence[Evidence], today: date, book: RuleBook
) -> list[str]:
    if revision is None:
        return []
    needed = [item["code"] for item in revision.determination["evidence"]]
    papers = papers_among(evidence, book)
    return list(workflow.check_evidence(needed, papers, today, transfer.valid_from, scope_of(transfer)).missing)


def _carryable(
    revision: Revision | None,
    revisions: Mapping[int, Revision],
    reviews: Sequence[Review],
    stages: Sequence[RevisionStage],
) -> list[CarryableOut]:
    """Return the last approval of each stage that is not approved yet, from an earlier revision."""
    if revision is None:
        return []
    wanted = {stage.name for stage in stages if stage.status != StageStatus.APPROVED}
    last = {
        review.stage: review
        for review in reviews
        if review.revision < revision.number
        and review.stage in wanted
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


def changed_inputs(stage: Stage, then: Revision, now: Revision) -> list[str]:
    """Return what a stage decides on that has changed between two revisions."""
    return workflow.touched(stage, {change.part for change in differences(then, now)})


def differences(then: Revision, now: Revision) -> list[revision_diff.Change]:
    """Return everything that has changed between two revisions."""
    return [
        *revision_diff.between(then.content, now.content),
        *revision_diff.between_determinations(then.determination, now.determination),
    ]


async def kin_of(tx: Transaction, transfer: Transfer) -> str | None:
    """Return the permit of the transfer that this one renews, while it has not been superseded and is for the same recipient."""
    if transfer.renews is None:
        return None
    query = select(Permit.id).where(
        Permit.transfer == transfer.renews,
        Permit.superseded_by.is_(None),
        Permit.recipient == transfer.recipient,
    )
    return await tx.scalar(query)
