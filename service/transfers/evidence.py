"""Evidence: the records of the papers that a permit rests on, and their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, cast

from sqlalchemy import CursorResult, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from service.access import directory, persons
from service.access.caller import READERS, REVIEWERS, Caller, Role
from service.audit import recording
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction, close_gate, elevated
from service.events import operations as events
from service.http.paging import page_of
from service.law.rule_book import RuleBook
from service.obligations import obligation_rules
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code
from service.permits import operations as permits
from service.transfers import notifications, workflow
from service.transfers.queries import (
    REQUESTERS,
    distrusted_kinds,
    ends_on,
    evidence_item_of,
    evidence_of,
    exclusions_of,
    parties_of,
    require_status,
    reviews_of,
    revision_of,
    scope_of,
    transfer_of,
)
from service.transfers.schemas import EvidenceIn
from service.transfers.tables import Document, Evidence, Transfer
from service.transfers.workflow import EarlierFiling, Status
from service.validation.problems import Conflict, Forbidden, Invalid, NotFound

OTHER_KIND = "other"
FILE_READERS = READERS - {Role.EXPORTER}
"""Who may have the files of a handler; systems that export see the records alone."""

MAX_RECORDS: Final = 100
"""Records that one request may have, and once more as many after its approval: whoever reads it reads them all."""

_CLOSED_STATUSES = frozenset({Status.REJECTED, Status.WITHDRAWN, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is taken, under the name by which it is kept."""

    name: str
    media_type: str
    sha256: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it goes out."""

    name: str
    media_type: str
    sha256: str
    content: bytes


async def add_evidence(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer_id: str,
    wanted: EvidenceIn,
    upload: Upload | None = None,
) -> Evidence:
    """Add the record of a paper, from draft on, and after approval too (a duty's receipt comes then).

    With `replaces` it takes the place of an earlier record, for the permits that rest on that one too: at once, or once it is verified,
    where a reviewer withdrew a paper of its kind or somebody verified the one that it replaces.

    Raises:
        Forbidden: the caller has decided a stage of the revision, which rests on papers of this kind.
        Invalid: a kind that nobody knows, a file that the caller has no record of or that does not serve for it, nothing to replace, or a
            replacement that does not count today.
        Conflict: the transfer was rejected or withdrawn, or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    if wanted.kind not in book.kinds | {OTHER_KIND}:
        known = ", ".join(sorted(book.kinds | {OTHER_KIND}))
        raise Invalid("This kind of evidence is not known.", errors=[("/kind", f"Choose one of: {known}.")])
    require_status(transfer, tx, frozenset(Status) - _CLOSED_STATUSES, "given evidence")
    await _require_may_file(tx, caller, transfer, wanted.kind)
    await _require_below_limit(tx, transfer)
    document, name = await _resolve_document(tx, caller, wanted, upload)
    number = workflow.number_of(wanted.issuer, wanted.reference) if wanted.kind in workflow.BOUND_KINDS else None
    if number is not None:
        await _require_serves(tx, transfer, wanted, number, document)
    evidence = Evidence(
        id=new_id("ed"),
        transfer=transfer.id,
        document=document,
        file_name=name,
        number=number,
        scope=scope_of(transfer) if wanted.kind in workflow.SCOPED_KINDS else None,
        reused_from=None,
        added_by=caller.principal,
        added_persons=caller.acting(),
        added_at=tx.now,
        verified_by=None,
        verified_at=None,
        replaced_by=None,
        ended_by=None,
        ended_at=None,
        ended_reason=None,
        **wanted.model_dump(exclude={"document"}),
    )
    tx.add(evidence)
    await tx.flush()
    old = (
        None if wanted.replaces is None else await _replaceable_evidence(tx, book, transfer, wanted.replaces, evidence)
    )
    is_distrusted = evidence.kind in distrusted_kinds(await _all_evidence_of(tx, transfer))
    waits = is_distrusted or (old is not None and old.verified_at is not None)
    transfer.updated_at = tx.now
    details = wanted.model_dump(mode="json", exclude={"document"}) | {
        "evidence": evidence.id,
        "document": None if document is None else document.hex(),
        "file_name": name,
        "number": number,
        "waits": waits,
    }
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_EVIDENCE_ADDED, transfer, details, audience=await _deciders(tx, transfer)
        ),
    )
    if not (waits or old is None):
        await tx.flush()
        await close_gate(tx)  # before duties and permits: whoever stops a permit holds the gate when it comes to them
    if not is_distrusted:
        await _settle(tx, caller, book, evidence)
    if old is not None and not waits:
        await _replace(tx, caller, book, transfer, old, evidence)
    await tx.flush()
    return evidence


class TooManyRecords(Conflict):
    """The request has as many records of evidence as one may have, those that do not count any more included."""

    slug, title = "too-many-records", "The request has as much evidence as it may have"


async def _require_below_limit(tx: Transaction, transfer: Transfer) -> None:
    query = select(func.count()).select_from(Evidence).where(Evidence.transfer == transfer.id)
    # What follows an approval, such as a receipt, has room of its own.
    most = 2 * MAX_RECORDS if transfer.status == Status.APPROVED else MAX_RECORDS
    if (await tx.scalar(query) or 0) >= most:
        raise TooManyRecords(
            f"A request may have {most} records, those that were withdrawn or replaced included. What belongs together goes into "
            "one file; what is new begins a new request.",
        )


async def verify(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, evidence_id: str) -> Evidence:
    """Say, as a reviewer who did not add it, that a paper is what its record says; one that had to wait for that counts from now on.

    Raises:
        Forbidden: the caller added it or may be whoever did, acts for them, or is a system.
        Conflict: it is verified already, or no longer counts.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REVIEWERS, transfer.handler, what="transfer")
    evidence = await _evidence_of(tx, transfer, evidence_id)
    behalf = caller.behalf(REVIEWERS, transfer.handler)
    written = [(transfer.authors, transfer.author_persons)]
    barred = await directory.persons_of(tx, (evidence.added_by, evidence.added_persons), authors=written)
    if caller.kind != "person" or not persons.are_two(caller.acting(behalf), barred):
        raise Forbidden(
            "Evidence is verified by a reviewer who has neither added it nor written the request: by a role that was not lent by whoever "
            "did, and with a key that they have not seen; nor have you made or seen theirs."
        )
    _require_not_ended(evidence)
    if evidence.verified_at is not None:
        raise Conflict("This evidence has been verified already.")
    evidence.verified_by, evidence.verified_at = caller.principal, tx.now
    evidence.verified_persons = caller.acting(behalf)
    details = {"evidence": evidence.id, "kind": evidence.kind}
    events.record(
        tx,
        caller,
        notifications.change_of(AuditAction.TRANSFER_EVIDENCE_VERIFIED, transfer, details, on_behalf_of=behalf),
    )
    await tx.flush()
    if evidence.replaces is not None:
        await close_gate(tx)  # before duties and permits, as above
    if evidence.kind in distrusted_kinds(await _all_evidence_of(tx, transfer)):
        await _settle(tx, caller, book, evidence)
    old = None if evidence.replaces is None else await tx.get_one(Evidence, evidence.replaces)
    if old is not None and old.replaced_by is None and _is_valid_today(tx, evidence, book):
        await _replace(tx, caller, book, transfer, old, evidence)
    await tx.flush()
    return evidence


async def withdraw(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, evidence_id: str, reason: str
) -> Evidence:
    """Let a paper count no longer; permits that rest on it are denied from this commit on, until it is replaced.

    What a reviewer withdrew is replaced by what another than its author has verified.

    Raises:
        Conflict: it has been withdrawn or replaced already.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS | REVIEWERS, transfer.handler, what="transfer")
    evidence = await _evidence_of(tx, transfer, evidence_id)
    _require_not_ended(evidence)
    by_reviewer = caller.reaches(REVIEWERS, transfer.handler)
    _end(tx, caller, evidence, reason, by_reviewer=by_reviewer)
    details = {"evidence": evidence.id, "kind": evidence.kind, "reason": reason, "by_reviewer": by_reviewer}
    audience, behalf = await _deciders(tx, transfer), caller.behalf(REQUESTERS | REVIEWERS, transfer.handler)
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_EVIDENCE_WITHDRAWN,
            transfer,
            details,
            reason=reason,
            audience=audience,
            on_behalf_of=behalf,
        ),
    )
    await tx.flush()
    await close_gate(tx)  # before duties, as above
    await obligations.unsettle(tx, caller, evidence.id)
    await _withdraw_repetitions(tx, caller, evidence, reason, by_reviewer=by_reviewer)
    await tx.flush()
    await _settle_with_remaining(tx, caller, book, transfer, evidence.kind)
    await tx.flush()
    return evidence


async def read_evidence(tx: Transaction, caller: Caller, transfer_id: str, evidence_id: str) -> Evidence:
    """Return one record."""
    return await _evidence_of(tx, await transfer_of(tx, caller, transfer_id), evidence_id)


async def read_file(tx: Transaction, caller: Caller, transfer_id: str, evidence_id: str) -> StoredFile:
    """Return the file of a record.

    Raises:
        NotFound: no such record, or it has no file.
        Forbidden: the caller only exports for this handler.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    caller.demand(FILE_READERS, transfer.handler, what="transfer")
    evidence = await _evidence_of(tx, transfer, evidence_id)
    if evidence.document is None:
        raise NotFound("This record has no file.")
    document = await tx.get_one(Document, evidence.document)
    return StoredFile(evidence.file_name or "document", document.media_type, document.sha256.hex(), document.content)


async def list_evidence(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Evidence], str | None]:
    """Return the evidence of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Evidence).where(Evidence.transfer == transfer.id)
    return await page_of(tx, query, Evidence.id, cursor, limit)


async def reuse(tx: Transaction, caller: Caller, book: RuleBook, old: Transfer, new: Transfer) -> Sequence[Evidence]:
    """Repeat the records of a renewed transfer that still serve for the new one; return the new records.

    Not taken over: what has been withdrawn or replaced, has ended, ends before the new transfer begins, was made for another
    purpose or scope, or may be used once only. Source: PIPL art. 56 (impact assessment), DSL art. 36 (one request, one approval).
    """
    today = day_in_shanghai(tx.now)
    known = await _all_evidence_of(tx, old)
    distrusted = distrusted_kinds(known)
    kept: list[Evidence] = []
    for row in known:
        if row.ended_at is not None:
            continue
        paper = evidence_item_of(row, book, distrusted)
        check = workflow.check_evidence([row.kind], [paper], today, new.valid_from, scope_of(new))
        if not check.evidence or row.kind in workflow.SINGLE_USE_KINDS:
            continue
        columns = (
            "kind",
            "reference",
            "issuer",
            "issued_on",
            "valid_until",
            "note",
            "document",
            "file_name",
            "scope",
            "number",
        )
        filed = await directory.persons_of(tx, (row.added_by, row.added_persons))
        verified = await directory.persons_of(tx, (row.verified_by, row.verified_persons))
        is_verified = row.verified_at is not None and persons.are_two(caller.persons, verified)
        again = Evidence(
            id=new_id("ed"),
            transfer=new.id,
            reused_from=row.id,
            added_by=caller.principal,
            added_persons=sorted(filed | caller.persons),
            added_at=tx.now,
            verified_by=row.verified_by if is_verified else None,
            verified_persons=sorted(verified) if is_verified else None,
            verified_at=row.verified_at if is_verified else None,
            replaced_by=None,
            ended_by=None,
            ended_at=None,
            ended_reason=None,
            **{name: getattr(row, name) for name in columns},
        )
        tx.add(again)
        kept.append(again)
    await tx.flush()
    return kept


async def _withdraw_repetitions(
    tx: Transaction, caller: Caller, source: Evidence, reason: str, *, by_reviewer: bool
) -> None:
    """Withdraw what renewals repeated of a paper as well: it is the same paper, and their permits rest on it."""
    query = select(Evidence).where(Evidence.reused_from == source.id).order_by(Evidence.id).with_for_update()
    for again in (await tx.scalars(query)).all():
        if again.ended_at is None:
            _end(tx, caller, again, reason, by_reviewer=by_reviewer)
            renewal = await tx.get_one(Transfer, again.transfer)
            details = {
                "evidence": again.id,
                "kind": again.kind,
                "reason": reason,
                "by_reviewer": by_reviewer,
                "repeats": source.id,
            }
            events.record(
                tx,
                caller,
                notifications.change_of(AuditAction.TRANSFER_EVIDENCE_WITHDRAWN, renewal, details, reason=reason),
            )
            await obligations.unsettle(tx, caller, again.id)
        await _withdraw_repetitions(tx, caller, again, reason, by_reviewer=by_reviewer)


def _end(tx: Transaction, caller: Caller, evidence: Evidence, reason: str, *, by_reviewer: bool) -> None:
    evidence.ended_by, evidence.ended_at, evidence.ended_reason = caller.principal, tx.now, reason
    evidence.ended_persons, evidence.is_distrusted = caller.acting(), by_reviewer


async def _all_evidence_of(tx: Transaction, transfer: Transfer) -> Sequence[Evidence]:
    """Return all the evidence of a transfer, what counts no longer included."""
    return (await tx.scalars(select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id))).all()


async def _require_may_file(tx: Transaction, caller: Caller, transfer: Transfer, kind: str) -> None:
    """Refuse a paper that a stage rests on from whoever has decided one."""
    revision = await revision_of(tx, transfer)
    if revision is None or kind not in {item["code"] for item in revision.determination["evidence"]}:
        return
    if not persons.are_two(caller.persons, (await exclusions_of(tx, transfer)).earlier):
        raise Forbidden(
            "You have decided a stage of this request, or have made or seen the key by which it was done; somebody else must file what "
            "it rests on."
        )


async def _settle(tx: Transaction, caller: Caller, book: RuleBook, evidence: Evidence) -> None:
    """Let a paper settle what it can, today or when its day comes."""
    if _is_valid_today(tx, evidence, book) or evidence.issued_on > day_in_shanghai(tx.now):
        end, begins = ends_on(evidence, book), evidence.issued_on
        await obligations.settle(tx, caller, evidence.transfer, evidence.kind, evidence.id, end, begins)


async def _resolve_document(
    tx: Transaction, caller: Caller, wanted: EvidenceIn, upload: Upload | None
) -> tuple[bytes | None, str | None]:
    """Return the hash and the name of a record's file: sent with it, or kept already for a record whose file the caller may have."""
    if upload is not None:
        return await _store_document(tx, upload)
    if wanted.document is None:
        return None, None
    sha256 = bytes.fromhex(wanted.document.removeprefix("sha256:"))
    query = (
        select(Evidence.file_name).join(Transfer, Transfer.id == Evidence.transfer).where(Evidence.document == sha256)
    )
    reach = caller.reach(FILE_READERS)
    if reach != EVERYWHERE:
        query = query.where(Transfer.handler.in_(reach))
    name = (await tx.scalars(query.order_by(Evidence.id).limit(1))).one_or_none()
    if name is None:
        raise Invalid(
            "The file is not known.", errors=[("/document", "No record whose file you may have is of this SHA-256.")]
        )
    return sha256, name


async def _require_serves(
    tx: Transaction, transfer: Transfer, wanted: EvidenceIn, number: str, document: bytes | None
) -> None:
    """Refuse a paper that does not serve for a request; of two requests that file it at once the second waits for the first."""
    names = {f"{wanted.kind}/{number}", *(() if document is None else (f"{wanted.kind}/{document.hex()}",))}
    for name in sorted(names):
        await tx.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    bar = await _filing_denial(tx, transfer, wanted.kind, number, document)
    if bar is not None:
        raise Invalid("This paper does not serve for this request.", errors=[("/reference", bar)])


async def rest_on_denial(tx: Transaction, transfer: Transfer, evidence_id: str) -> str | None:
    """Return why a permit cannot rest on a paper that was filed with its request; None: it can.

    The request may have become another one since, or somebody may have filed the paper with another one before.
    """
    row = await tx.get_one(Evidence, evidence_id)
    if row.kind not in workflow.BOUND_KINDS:
        return None
    number = workflow.number_of(row.issuer, row.reference)
    return await _filing_denial(tx, transfer, row.kind, number, row.document, before=row.id)


async def _filing_denial(
    tx: Transaction, transfer: Transfer, kind: str, number: str, document: bytes | None, before: str | None = None
) -> str | None:
    """Return why a paper does not serve for a request, by its other records, whoever filed them and however they are written.

    The same paper is the same file, or the same number of the same issuer: an authority's at every company, one's own at one's own.
    """
    columns = (
        Evidence.transfer,
        Evidence.scope,
        Evidence.ended_at,
        Evidence.is_distrusted,
        Evidence.verified_at,
        Evidence.document,
        Evidence.issuer,
        Evidence.reference,
    )
    same = or_(Evidence.number == number, Evidence.number.is_(None), Evidence.document == document)
    query = (
        select(*columns, Transfer.handler)
        .join(Transfer, Transfer.id == Evidence.transfer)
        .where(Evidence.kind == kind, same)
        .order_by(Evidence.id)
    )
    if before is not None:
        query = query.where(Evidence.id < before)
    async with elevated(tx, "papers of all"):
        rows = (await tx.execute(query)).all()
        line = await _renewal_chain_of(tx, transfer)
    is_everywhere = workflow.is_numbered_by_authority(kind)
    same_paper = [
        row
        for row in rows
        if (document is not None and row.document == document)
        or (
            (is_everywhere or row.handler == transfer.handler)
            and workflow.number_of(row.issuer, row.reference) == number
        )
    ]
    good = {row.transfer for row in same_paper if row.ended_at is None and row.verified_at is not None}
    filed = [
        EarlierFiling(
            row.transfer, row.scope, row.ended_at is not None, bool(row.is_distrusted) and row.transfer not in good
        )
        for row in same_paper
    ]
    return workflow.filing_denial(kind, transfer.id, scope_of(transfer), filed, line)


async def _renewal_chain_of(tx: Transaction, transfer: Transfer) -> set[str]:
    """Return the requests that one takes the place of, or that take its place, each with the same recipient and datasets."""
    line = {transfer.id}
    while True:
        renewed = select(Transfer.renews).where(Transfer.id.in_(line))
        query = select(Transfer.id, Transfer.datasets).where(
            or_(Transfer.id.in_(renewed), Transfer.renews.in_(line)),
            Transfer.recipient == transfer.recipient,
            Transfer.handler == transfer.handler,
            Transfer.id.not_in(line),
        )
        more = {ident for ident, datasets in await tx.execute(query) if set(datasets) == set(transfer.datasets)}
        if not more:
            return line - {transfer.id}
        line |= more


async def _store_document(tx: Transaction, upload: Upload) -> tuple[bytes, str]:
    row = {
        "sha256": upload.sha256,
        "size": len(upload.content),
        "media_type": upload.media_type,
        "content": upload.content,
        "created_at": tx.now,
    }
    adding = insert(Document).values(**row).on_conflict_do_nothing()
    added = cast("CursorResult[Any]", await tx.execute(adding, execution_options=recording.REPORTED))
    if added.rowcount:
        recording.report_rows(tx, Document.__table__, [row], is_insert=True)
    return upload.sha256, upload.name


def _is_valid_today(tx: Transaction, evidence: Evidence, book: RuleBook) -> bool:
    today = day_in_shanghai(tx.now)
    return bool(workflow.check_evidence([evidence.kind], [evidence_item_of(evidence, book)], today, today).evidence)


async def _replaceable_evidence(
    tx: Transaction, book: RuleBook, transfer: Transfer, old_id: str, new: Evidence
) -> Evidence:
    """Return the record whose place another can take.

    Raises:
        Invalid: none of this transfer, of another kind, replaced already, or the new one does not count today.
    """
    old = await tx.get(Evidence, old_id)
    if old is None or old.transfer != transfer.id or old.kind != new.kind or old.replaced_by is not None:
        raise Invalid(
            "Nothing here can be replaced by this.",
            errors=[("/replaces", "Name a record of this transfer, of the same kind, that was not replaced already.")],
        )
    if not _is_valid_today(tx, new, book):
        raise Invalid(
            "What takes the place of a paper must count today.",
            errors=[("/issued_on", "It is dated in the future, or has ended already.")],
        )
    return old


async def _replace(
    tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer, old: Evidence, new: Evidence
) -> None:
    if old.ended_at is None:
        _end(tx, caller, old, f"Replaced by {new.id}", by_reviewer=False)
    old.replaced_by = new.id
    details = {"evidence": old.id, "by": new.id, "kind": new.kind}
    audience = await _deciders(tx, transfer)
    events.record(
        tx,
        caller,
        notifications.change_of(AuditAction.TRANSFER_EVIDENCE_REPLACED, transfer, details, audience=audience),
    )
    await tx.flush()
    await obligations.rest_on(tx, caller, old.id, new.id)
    for permit in await permits.rest_on(tx, caller, old.id, new.id, ends_on(new, book)):
        await _open_follow_up_obligations(tx, caller, book, transfer, permit, old, new)


async def _open_follow_up_obligations(
    tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer, permit: str, old: Evidence, new: Evidence
) -> None:
    """Open the duties of a permit that follow from the paper that it rests on now.

    A contract that takes effect on another day is another one, and filed anew. Source: SCM art. 7, 8; CBDF art. 9.
    """
    owned = {"handler": transfer.handler, "transfer": transfer.id, "permit": permit, "owner": transfer.requester}
    receipt, end = book.follow_up_of(new.kind, new.issued_on), ends_on(new, book)
    if receipt is not None and new.issued_on != old.issued_on:
        due = obligation_rules.after_working_days(new.issued_on, receipt.working_days)
        await obligations.open_duty(tx, caller, Code.FILE_STANDARD_CONTRACT, due, **owned)
        await _settle_with_remaining(tx, caller, book, transfer, receipt.kind)
    if new.kind == obligation_rules.SETTLED_BY[Code.RENEW_ASSESSMENT] and end is not None:
        due = obligation_rules.before_end(end, obligation_rules.EXTENSION_WORKING_DAYS)
        why = f"The result was replaced by {new.id}."
        await obligations.void_of_permit(tx, caller, permit, why, codes={Code.RENEW_ASSESSMENT})
        await obligations.open_duty(tx, caller, Code.RENEW_ASSESSMENT, due, **owned)


async def _settle_with_remaining(
    tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer, kind: str
) -> None:
    """Let the papers of a kind that are left settle what they can; a receipt from before the contract's effect is of another one."""
    today = day_in_shanghai(tx.now)
    papers = await evidence_of(tx, transfer, book)
    effects = [paper.issued_on for paper in papers if book.follow_up_of(paper.kind, paper.issued_on) is not None]
    is_receipt = kind == obligation_rules.SETTLED_BY[Code.FILE_STANDARD_CONTRACT]
    since = max(effects, default=date.min) if is_receipt else date.min
    fit = [paper for paper in papers if paper.kind == kind and paper.issued_on >= since]
    ahead = [paper for paper in fit if paper.issued_on > today and paper.is_trusted]
    for paper in [*workflow.check_evidence([kind], fit, today, today).evidence, *ahead]:
        await obligations.settle(tx, caller, transfer.id, kind, paper.id, paper.ends_on, paper.issued_on)


async def _deciders(tx: Transaction, transfer: Transfer) -> set[str]:
    """Return who has decided on a request with the papers as they were, and is told when they change."""
    return parties_of(await reviews_of(tx, transfer))


async def _evidence_of(tx: Transaction, transfer: Transfer, evidence_id: str) -> Evidence:
    evidence = await tx.get(Evidence, evidence_id)
    if evidence is None or evidence.transfer != transfer.id:
        raise NotFound("There is no such evidence.")
    return evidence


def _require_not_ended(evidence: Evidence) -> None:
    if evidence.ended_at is not None:
        raise Conflict("This evidence has been withdrawn or replaced already.")
