"""Reads rows of transfers: single rows with or without a lock, and lists with one query for each table."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, and_, select, tuple_

from service.access import directory, persons
from service.access.caller import READERS, Caller, Role
from service.access.directory import Tenure
from service.clock import day_in_shanghai
from service.database.columns import Base
from service.database.session import Transaction, elevated
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.permits.tables import Permit
from service.transfers import revision_diff, workflow
from service.transfers.case import Case, case_of
from service.transfers.conditions import Conditions
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
from service.transfers.workflow import EvidenceItem, Status
from service.validation.problems import Conflict, Forbidden, NotFound

REQUESTERS = frozenset({Role.REQUESTER})
Row = TypeVar("Row", bound=Base)


async def transfer_of(tx: Transaction, caller: Caller, transfer_id: str, *, lock: bool = False) -> Transfer:
    """Load a transfer that the caller may read, with a row lock on request.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    transfer = await tx.get(Transfer, transfer_id, with_for_update=lock or None, populate_existing=lock)
    if transfer is None or not caller.reaches(READERS, transfer.handler):
        raise NotFound("There is no such transfer.")
    return transfer


def require_status(transfer: Transfer, tx: Transaction, allowed: frozenset[Status], verb: str) -> Status:
    """Return the status of a transfer, or refuse an act that its status does not allow.

    Args:
        transfer: the transfer.
        tx: gives the day.
        allowed: statuses in which the act is possible.
        verb: past participle of the act, for the message.

    Raises:
        Conflict: another status.
    """
    status = workflow.effective_status(transfer.status, transfer.valid_until, day_in_shanghai(tx.now))
    if status not in allowed:
        raise Conflict(
            f"This transfer is {status}; it can no longer be {verb}."
            if status is not Status.DRAFT
            else f"This transfer is a draft; it must be submitted before it can be {verb}."
        )
    return status


async def revision_of(tx: Transaction, transfer: Transfer) -> Revision | None:
    """Load the last submitted revision; None: there is none."""
    return await tx.get(Revision, (transfer.id, transfer.revision)) if transfer.revision else None


async def stages_of(tx: Transaction, transfer: Transfer) -> Sequence[RevisionStage]:
    """Load the stages of the last revision, in order."""
    query = (
        select(RevisionStage)
        .where(RevisionStage.transfer == transfer.id, RevisionStage.revision == transfer.revision)
        .order_by(RevisionStage.place)
        .execution_options(populate_existing=True)
    )
    await tx.flush()
    return (await tx.scalars(query)).all()


async def reviews_of(tx: Transaction, transfer: Transfer) -> Sequence[Review]:
    """Load the reviews of the last revision that have not been taken back."""
    query = select(Review).where(
        Review.transfer == transfer.id, Review.revision == transfer.revision, Review.taken_back_at.is_(None)
    )
    return (await tx.scalars(query.order_by(Review.id))).all()


def parties_of(reviews: Iterable[Review]) -> set[str]:
    """Return the reviewers of some reviews, and the principals that lent them the role."""
    return {party for review in reviews for party in (review.reviewer, review.on_behalf_of) if party is not None}


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Persons that the separation of duties excludes from deciding on a request, by reason."""

    authors: frozenset[str]
    """Persons who could have written, changed or submitted it, or accepted its terms."""
    earlier: frozenset[str]
    """Persons who could have decided a stage of the current revision, or lent their role for it."""
    recused: frozenset[str]
    filed: frozenset[str]
    """Persons who could have filed valid evidence of a required kind."""


async def exclusions_of(tx: Transaction, transfer: Transfer, *, except_stage: str | None = None) -> Exclusions:
    """Load the persons who may not decide on a request, without the reviewers of `except_stage`."""
    return (await exclusions_of_many(tx, [transfer], except_stage=except_stage))[transfer.id]


async def exclusions_of_many(
    tx: Transaction, transfers: Sequence[Transfer], *, except_stage: str | None = None
) -> Mapping[str, Exclusions]:
    """Load the exclusions of many requests with one query for each table."""
    await tx.flush()
    ids = [transfer.id for transfer in transfers]
    last = [(transfer.id, transfer.revision) for transfer in transfers]
    counting_reviews = and_(tuple_(Review.transfer, Review.revision).in_(last), Review.taken_back_at.is_(None))
    reviews = await rows_by(tx, Review, "transfer", counting_reviews, Review.id)
    recusals = await rows_by(tx, Recusal, "transfer", Recusal.transfer.in_(ids), Recusal.principal)
    evidence = await rows_by(
        tx, Evidence, "transfer", and_(Evidence.transfer.in_(ids), Evidence.ended_at.is_(None)), Evidence.id
    )
    required_query = select(Revision.transfer, Revision.determination["evidence"]).where(
        tuple_(Revision.transfer, Revision.number).in_(last)
    )
    required = {row[0]: {item["code"] for item in row[1]} for row in await tx.execute(required_query)}
    holders = {
        author for transfer in transfers for author in transfer.authors if author not in (transfer.author_persons or ())
    }
    holders |= {row.reviewer for rows in reviews.values() for row in rows if row.persons is None}
    holders |= {row.principal for rows in recusals.values() for row in rows if row.persons is None}
    holders |= {row.added_by for rows in evidence.values() for row in rows if row.added_persons is None}
    credentials_seen = await directory.load_credential_viewers(tx, holders)
    return {
        transfer.id: Exclusions(
            authors=persons.set_of_authors(transfer.authors, transfer.author_persons, credentials_seen),
            earlier=frozenset().union(
                *(
                    persons.set_of(party, row.persons, credentials_seen)
                    for row in reviews.get(transfer.id, ())
                    if row.stage != except_stage
                    for party in (row.reviewer, row.on_behalf_of)
                )
            ),
            recused=frozenset().union(
                *(persons.set_of(row.principal, row.persons, credentials_seen) for row in recusals.get(transfer.id, ()))
            ),
            filed=frozenset().union(
                *(
                    persons.set_of(row.added_by, row.added_persons, credentials_seen)
                    for row in evidence.get(transfer.id, ())
                    if row.kind in required.get(transfer.id, ())
                )
            ),
        )
        for transfer in transfers
    }


async def add_author(tx: Transaction, caller: Caller, transfer: Transfer) -> None:
    """Add the caller to the authors of a request, and everyone who could have acted with the caller's key."""
    before = await directory.persons_of(tx, authors=[(transfer.authors, transfer.author_persons)])
    transfer.authors = sorted({*transfer.authors, caller.principal})
    transfer.author_persons = sorted(before | caller.persons)


async def require_may_write(tx: Transaction, caller: Caller, transfer: Transfer) -> None:
    """Refuse to add the caller to the authors if the caller has verified the request.

    Raises:
        Forbidden: the caller could have verified valid evidence of the request, or answered a finding on it.
    """
    require_separate_writer(await _verifiers_of(tx, transfer), caller.persons)


async def _verifiers_of(tx: Transaction, transfer: Transfer) -> frozenset[str]:
    """Load the persons who could have verified valid evidence of a request, or answered a finding on it."""
    verified = select(Evidence.verified_by, Evidence.verified_persons).where(
        Evidence.transfer == transfer.id, Evidence.verified_at.is_not(None), Evidence.ended_at.is_(None)
    )
    answered = select(StructuringFinding.answered_by, StructuringFinding.answered_persons).where(
        StructuringFinding.transfers.contains([transfer.id]), StructuringFinding.answered_at.is_not(None)
    )
    acts = [(row[0], row[1]) for row in await tx.execute(verified)]
    async with elevated(tx, "who answered findings on affiliates' requests"):
        acts += [(row[0], row[1]) for row in await tx.execute(answered)]
    return await directory.persons_of(tx, *acts)


def require_separate_writer(verifiers: Collection[str], writers: Collection[str]) -> None:
    """Refuse writers of a request who could have verified it.

    Raises:
        Forbidden: a writer could be one of the verifiers.
    """
    if not persons.are_two(writers, verifiers):
        raise Forbidden(
            "You have verified evidence of this request or answered a finding on it, or have made or seen the key by which it was done; "
            "somebody else must write it."
        )


@dataclass(frozen=True, slots=True)
class SubmissionFacts:
    """The facts that a submission is decided on."""

    case: Case
    revision: Revision | None
    """The last submitted revision; None: there is none."""
    evidence: Sequence[EvidenceItem]
    renewed_evidence: Sequence[EvidenceItem]
    """Evidence of the transfer that this one renews."""
    scope: Mapping[str, Any]
    """Purpose and scope of the request, to compare with scoped evidence."""
    verifiers: frozenset[str]
    """Persons who could have verified evidence of the request, or answered a finding on it."""

    @property
    def is_unchanged(self) -> bool:
        """True if the last revision has the same content."""
        return self.revision is not None and self.revision.hash == self.case.hash


async def load_submission(tx: Transaction, transfer: Transfer, book: RuleBook) -> SubmissionFacts:
    """Read the facts that a submission is decided on."""
    renewed = None if transfer.renews is None else await tx.get_one(Transfer, transfer.renews)
    return SubmissionFacts(
        case=await case_of(tx, transfer),
        revision=await revision_of(tx, transfer),
        evidence=await evidence_of(tx, transfer, book),
        renewed_evidence=[] if renewed is None else await evidence_of(tx, renewed, book),
        scope=scope_of(transfer),
        verifiers=await _verifiers_of(tx, transfer),
    )


def pending_terms(reviews: Iterable[Review]) -> list[str]:
    """Return the terms of approvals that the requester has not accepted yet."""
    return [
        term
        for review in reviews
        if review.terms_accepted_at is None
        for term in Conditions.of(review.conditions).terms
    ]


async def evidence_of(tx: Transaction, transfer: Transfer, book: RuleBook) -> list[EvidenceItem]:
    """Load the evidence of a transfer that was neither withdrawn nor replaced."""
    await tx.flush()
    query = select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id)
    return evidence_among((await tx.scalars(query)).all(), book)


def evidence_among(evidence: Sequence[Evidence], book: RuleBook) -> list[EvidenceItem]:
    """Return the items that were neither withdrawn nor replaced, given all the evidence of one transfer."""
    distrusted = distrusted_kinds(evidence)
    return [evidence_item_of(row, book, distrusted) for row in evidence if row.ended_at is None]


def distrusted_kinds(evidence: Iterable[Evidence]) -> set[str]:
    """Return the kinds of which a reviewer withdrew an item, given all the evidence of one transfer.

    Another item of such a kind is valid once it is verified.
    """
    # Older rows do not hold `is_distrusted`: a withdrawal by another than the author is taken for a reviewer's.
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


def evidence_item_of(row: Evidence, book: RuleBook, distrusted: Collection[str] = ()) -> EvidenceItem:
    """Return a record of evidence as the workflow considers it."""
    is_trusted = row.verified_at is not None or row.kind not in distrusted
    return EvidenceItem(row.id, row.kind, row.issued_on, ends_on(row, book), row.scope, is_trusted)


def ends_on(evidence: Evidence, book: RuleBook) -> date | None:
    """Return the last day of an evidence item: the stated one, or the law's if earlier; None: no end."""
    ends = [
        end for end in (evidence.valid_until, book.valid_until(evidence.kind, evidence.issued_on)) if end is not None
    ]
    return min(ends, default=None)


def scope_of(transfer: Transfer) -> dict[str, Any]:
    """Return purpose and scope of a request, to compare with scoped evidence."""
    return {
        "purpose": transfer.purpose,
        "recipient": transfer.recipient,
        "method": str(transfer.method),
        "datasets": sorted(transfer.datasets),
        "fields": transfer.fields,
        "is_sensitive": transfer.sensitive_persons > 0,
    }


def service_time(book: RuleBook, stage: str) -> timedelta:
    """Return the service time of a stage, after which its reviewers are reminded."""
    return timedelta(hours=book.service_hours(stage))


MAX_LISTED_EVIDENCE: Final = 10
"""Records of evidence in each transfer of a list."""
TRANSFERS_PER_SLICE: Final = 10
"""Transfers that are presented in one slice, before other tasks of the event loop run."""


async def rows_by(
    tx: Transaction, table: type[Row], owner: str, condition: ColumnElement[bool], order: Any
) -> Mapping[str, Sequence[Row]]:
    """Load rows in an order, grouped by the value of a column."""
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in await tx.scalars(select(table).where(condition).order_by(order)):
        rows[getattr(row, owner)].append(row)
    return rows


def changed_inputs(stage: Stage, then: Revision, now: Revision) -> list[str]:
    """Return the inputs of a stage that have changed between two revisions."""
    return workflow.affected_inputs(stage, {change.part for change in differences(then, now)})


def differences(then: Revision, now: Revision) -> list[revision_diff.Change]:
    """Return the differences of content and determination between two revisions."""
    return [
        *revision_diff.compare_contents(then.content, now.content),
        *revision_diff.compare_determinations(then.determination, now.determination),
    ]


async def renewed_permit_of(tx: Transaction, transfer: Transfer) -> str | None:
    """Load the id of the permit that a transfer renews; None: none, superseded, or for another recipient."""
    if transfer.renews is None:
        return None
    query = select(Permit.id).where(
        Permit.transfer == transfer.renews,
        Permit.superseded_by.is_(None),
        Permit.recipient == transfer.recipient,
    )
    return await tx.scalar(query)


class DocumentFacts(NamedTuple):
    """Size and type of a file."""

    size: int
    media_type: str


class TransferRows(NamedTuple):
    """Rows for the presentation of transfers, each kind by transfer id."""

    revisions: Mapping[str, Sequence[Revision]]
    stages: Mapping[str, Sequence[RevisionStage]]
    reviews: Mapping[str, Sequence[Review]]
    evidence: Mapping[str, Sequence[Evidence]]
    findings: Mapping[str, Sequence[StructuringFinding]]
    recusals: Mapping[str, Sequence[Recusal]]
    permits: Mapping[str, Sequence[Permit]]
    """Permits of the transfers and of the transfers that they renew."""
    renewals: Mapping[str, Sequence[Transfer]]
    documents: Mapping[bytes, DocumentFacts]
    tenures: Sequence[Tenure]
    disabled: Collection[str]


async def load_rows(tx: Transaction, transfers: Sequence[Transfer]) -> TransferRows:
    """Load the rows for a presentation of transfers, with one query for each table."""
    await tx.flush()
    ids = [transfer.id for transfer in transfers]
    last = [(transfer.id, transfer.revision) for transfer in transfers]
    reviews = await rows_by(tx, Review, "transfer", Review.transfer.in_(ids), Review.id)
    reviewed = [(review.transfer, review.revision) for several in reviews.values() for review in several]
    evidence = await rows_by(tx, Evidence, "transfer", Evidence.transfer.in_(ids), Evidence.id)
    people = {party for several in reviews.values() for party in parties_of(several)}
    return TransferRows(
        revisions=await rows_by(
            tx,
            Revision,
            "transfer",
            tuple_(Revision.transfer, Revision.number).in_([*last, *reviewed]),
            Revision.number,
        ),
        stages=await rows_by(
            tx,
            RevisionStage,
            "transfer",
            tuple_(RevisionStage.transfer, RevisionStage.revision).in_(last),
            RevisionStage.place,
        ),
        reviews=reviews,
        evidence=evidence,
        findings=await rows_by(
            tx, StructuringFinding, "transfer", StructuringFinding.transfer.in_(ids), StructuringFinding.id
        ),
        recusals=await rows_by(tx, Recusal, "transfer", Recusal.transfer.in_(ids), Recusal.principal),
        permits=await rows_by(
            tx,
            Permit,
            "transfer",
            Permit.transfer.in_({*ids, *(transfer.renews for transfer in transfers if transfer.renews)}),
            Permit.id,
        ),
        renewals=await rows_by(tx, Transfer, "renews", Transfer.renews.in_(ids), Transfer.id),
        documents=await documents_of(tx, [row for several in evidence.values() for row in several]),
        tenures=await directory.load_tenures(tx, people, day_in_shanghai(tx.now)),
        disabled=await directory.find_disabled(tx, people),
    )


async def documents_of(tx: Transaction, evidence: Iterable[Evidence]) -> Mapping[bytes, DocumentFacts]:
    """Load size and media type of the files of some records, by SHA-256."""
    hashes = {row.document for row in evidence if row.document is not None}
    if not hashes:
        return {}
    query = select(Document.sha256, Document.size, Document.media_type).where(Document.sha256.in_(hashes))
    return {sha256: DocumentFacts(size, media_type) for sha256, size, media_type in await tx.execute(query)}
