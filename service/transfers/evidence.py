"""Files, verifies, replaces and withdraws evidence of transfers, and stores its files.

Example:
    evidence = await add_evidence(tx, requester, book, "tr_01J...", body, upload)
    await verify(tx, reviewer, book, "tr_01J...", evidence.id)
    await withdraw(tx, reviewer, book, "tr_01J...", evidence.id, "It was revoked by its issuer.")
"""

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
"""Roles that may download files of evidence; exporting systems may read the records only."""

MAX_RECORDS: Final = 100
"""Records of evidence of one request, twice as many once it is approved; reading a request reads all of them."""

_CLOSED_STATUSES = frozenset({Status.REJECTED, Status.WITHDRAWN, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Upload:
    """An accepted file, with its sanitized name."""

    name: str
    media_type: str
    sha256: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file for download."""

    name: str
    media_type: str
    sha256: str
    content: bytes


async def add_evidence(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer_id: str,
    body: EvidenceIn,
    upload: Upload | None = None,
) -> Evidence:
    """File a record of evidence with a request, from draft on and after its approval (a filing receipt comes then).

    With `replaces` it replaces an earlier record, also for the permits that rest on that one. The replacement takes effect at
    once, or after verification if a reviewer withdrew evidence of its kind or the replaced record was verified.

    Raises:
        Forbidden: the caller has decided a stage of the revision, which requires evidence of this kind.
        Invalid: an unknown kind, a file that the caller may not read or that is bound to another request, nothing to replace, or
            a replacement that is not valid today.
        Conflict: the transfer was rejected or withdrawn, or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, transfer.handler, noun="transfer")
    if body.kind not in book.kinds | {OTHER_KIND}:
        kinds = ", ".join(sorted(book.kinds | {OTHER_KIND}))
        raise Invalid("This kind of evidence is unknown.", errors=[("/kind", f"Choose one of: {kinds}.")])
    require_status(transfer, tx, frozenset(Status) - _CLOSED_STATUSES, "given evidence")
    await _require_may_file(tx, caller, transfer, body.kind)
    await _require_below_limit(tx, transfer)
    document, name = await _resolve_document(tx, caller, body, upload)
    number = workflow.number_of(body.issuer, body.reference) if body.kind in workflow.BOUND_KINDS else None
    if number is not None:
        await _require_serves(tx, transfer, body, number, document)
    evidence = Evidence(
        id=new_id("ed"),
        transfer=transfer.id,
        document=document,
        file_name=name,
        number=number,
        scope=scope_of(transfer) if body.kind in workflow.SCOPED_KINDS else None,
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
        **body.model_dump(exclude={"document"}),
    )
    tx.add(evidence)
    await tx.flush()
    replaced = (
        None if body.replaces is None else await _replaceable_evidence(tx, book, transfer, body.replaces, evidence)
    )
    is_distrusted = evidence.kind in distrusted_kinds(await _all_evidence_of(tx, transfer))
    needs_verification = is_distrusted or (replaced is not None and replaced.verified_at is not None)
    transfer.updated_at = tx.now
    details = body.model_dump(mode="json", exclude={"document"}) | {
        "evidence": evidence.id,
        "document": None if document is None else document.hex(),
        "file_name": name,
        "number": number,
        "waits": needs_verification,
    }
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_EVIDENCE_ADDED, transfer, details, audience=await _deciders(tx, transfer)
        ),
    )
    if not (needs_verification or replaced is None):
        await tx.flush()
        await close_gate(tx)  # before obligations and permits, in the lock order of every act that stops a permit
    if not is_distrusted:
        await _settle(tx, caller, book, evidence)
    if replaced is not None and not needs_verification:
        await _replace(tx, caller, book, transfer, replaced, evidence)
    await tx.flush()
    return evidence


class TooManyRecords(Conflict):
    """The request has reached the limit of records of evidence, ended ones included."""

    slug, title = "too-many-records", "The request has as much evidence as it may have"


async def _require_below_limit(tx: Transaction, transfer: Transfer) -> None:
    query = select(func.count()).select_from(Evidence).where(Evidence.transfer == transfer.id)
    # Evidence that follows an approval, such as a filing receipt, has a limit of its own.
    limit = 2 * MAX_RECORDS if transfer.status == Status.APPROVED else MAX_RECORDS
    if (await tx.scalar(query) or 0) >= limit:
        raise TooManyRecords(
            f"A request may have {limit} records, withdrawn and replaced ones included. Combine related documents into one file, "
            "or create a new request.",
        )


async def verify(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, evidence_id: str) -> Evidence:
    """Verify evidence as a reviewer who did not add it; evidence that required verification is valid from now on.

    Raises:
        Forbidden: the caller could have added it, acts on behalf of one who could, or is a system.
        Conflict: it is verified already, or was withdrawn or replaced.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REVIEWERS, transfer.handler, noun="transfer")
    evidence = await _evidence_of(tx, transfer, evidence_id)
    behalf = caller.behalf(REVIEWERS, transfer.handler)
    authors = [(transfer.authors, transfer.author_persons)]
    excluded = await directory.persons_of(tx, (evidence.added_by, evidence.added_persons), authors=authors)
    if caller.kind != "person" or not persons.are_two(caller.acting(behalf), excluded):
        raise Forbidden(
            "Evidence is verified by a reviewer who has neither added it nor written the request. The role must not be lent by a "
            "person who has, and neither of you may have made or seen the other's key."
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
        await close_gate(tx)  # before obligations and permits, as above
    if evidence.kind in distrusted_kinds(await _all_evidence_of(tx, transfer)):
        await _settle(tx, caller, book, evidence)
    replaced = None if evidence.replaces is None else await tx.get_one(Evidence, evidence.replaces)
    if replaced is not None and replaced.replaced_by is None and _is_valid_today(tx, evidence, book):
        await _replace(tx, caller, book, transfer, replaced, evidence)
    await tx.flush()
    return evidence


async def withdraw(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, evidence_id: str, reason: str
) -> Evidence:
    """Withdraw evidence; the gate denies permits that rest on it from this commit on, until it is replaced.

    The replacement of evidence that a reviewer withdrew must be verified by another person than its author.

    Raises:
        Conflict: it has been withdrawn or replaced already.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS | REVIEWERS, transfer.handler, noun="transfer")
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
    await close_gate(tx)  # before obligations, as above
    await obligations.unsettle(tx, caller, evidence.id)
    await _withdraw_repetitions(tx, caller, evidence, reason, by_reviewer=by_reviewer)
    await tx.flush()
    await _settle_with_remaining(tx, caller, book, transfer, evidence.kind)
    await tx.flush()
    return evidence


async def read_evidence(tx: Transaction, caller: Caller, transfer_id: str, evidence_id: str) -> Evidence:
    """Load a record of evidence that the caller may read."""
    return await _evidence_of(tx, await transfer_of(tx, caller, transfer_id), evidence_id)


async def read_file(tx: Transaction, caller: Caller, transfer_id: str, evidence_id: str) -> StoredFile:
    """Load the file of a record.

    Raises:
        NotFound: no such record, or it has no file.
        Forbidden: the caller has only the role `exporter` at this handler.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    caller.require(FILE_READERS, transfer.handler, noun="transfer")
    evidence = await _evidence_of(tx, transfer, evidence_id)
    if evidence.document is None:
        raise NotFound("This record has no file.")
    document = await tx.get_one(Document, evidence.document)
    return StoredFile(evidence.file_name or "document", document.media_type, document.sha256.hex(), document.content)


async def list_evidence(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Evidence], str | None]:
    """Load a page of the evidence of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Evidence).where(Evidence.transfer == transfer.id)
    return await page_of(tx, query, Evidence.id, cursor, limit)


async def reuse(tx: Transaction, caller: Caller, book: RuleBook, old: Transfer, new: Transfer) -> Sequence[Evidence]:
    """Copy the records of a renewed transfer that are still valid for the renewal; return the copies.

    Not copied: evidence that was withdrawn or replaced, has ended, ends before the renewal begins, was made for another purpose
    or scope, or is valid for one request only. Source: PIPL art. 56 (impact assessment), DSL art. 36 (one request, one approval).
    """
    today = day_in_shanghai(tx.now)
    evidence = await _all_evidence_of(tx, old)
    distrusted = distrusted_kinds(evidence)
    copies: list[Evidence] = []
    for row in evidence:
        if row.ended_at is not None:
            continue
        item = evidence_item_of(row, book, distrusted)
        check = workflow.check_evidence([row.kind], [item], today, new.valid_from, scope_of(new))
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
        copied = Evidence(
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
        tx.add(copied)
        copies.append(copied)
    await tx.flush()
    return copies


async def _withdraw_repetitions(
    tx: Transaction, caller: Caller, source: Evidence, reason: str, *, by_reviewer: bool
) -> None:
    """Withdraw the copies that renewals hold of a record: their permits rest on the same evidence."""
    query = select(Evidence).where(Evidence.reused_from == source.id).order_by(Evidence.id).with_for_update()
    for copied in (await tx.scalars(query)).all():
        if copied.ended_at is None:
            _end(tx, caller, copied, reason, by_reviewer=by_reviewer)
            renewal = await tx.get_one(Transfer, copied.transfer)
            details = {
                "evidence": copied.id,
                "kind": copied.kind,
                "reason": reason,
                "by_reviewer": by_reviewer,
                "repeats": source.id,
            }
            events.record(
                tx,
                caller,
                notifications.change_of(AuditAction.TRANSFER_EVIDENCE_WITHDRAWN, renewal, details, reason=reason),
            )
            await obligations.unsettle(tx, caller, copied.id)
        await _withdraw_repetitions(tx, caller, copied, reason, by_reviewer=by_reviewer)


def _end(tx: Transaction, caller: Caller, evidence: Evidence, reason: str, *, by_reviewer: bool) -> None:
    evidence.ended_by, evidence.ended_at, evidence.ended_reason = caller.principal, tx.now, reason
    evidence.ended_persons, evidence.is_distrusted = caller.acting(), by_reviewer


async def _all_evidence_of(tx: Transaction, transfer: Transfer) -> Sequence[Evidence]:
    """Load all the evidence of a transfer, withdrawn and replaced included."""
    return (await tx.scalars(select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id))).all()


async def _require_may_file(tx: Transaction, caller: Caller, transfer: Transfer, kind: str) -> None:
    """Refuse evidence of a required kind from a caller who has decided a stage."""
    revision = await revision_of(tx, transfer)
    if revision is None or kind not in {item["code"] for item in revision.determination["evidence"]}:
        return
    if not persons.are_two(caller.persons, (await exclusions_of(tx, transfer)).earlier):
        raise Forbidden(
            "You have decided a stage of this request, or have made or seen the key by which it was done; another person must file the "
            "evidence that it requires."
        )


async def _settle(tx: Transaction, caller: Caller, book: RuleBook, evidence: Evidence) -> None:
    """Settle the obligations that evidence fulfils, today or from its day of issue."""
    if _is_valid_today(tx, evidence, book) or evidence.issued_on > day_in_shanghai(tx.now):
        end, begins = ends_on(evidence, book), evidence.issued_on
        await obligations.settle(tx, caller, evidence.transfer, evidence.kind, evidence.id, end, begins)


async def _resolve_document(
    tx: Transaction, caller: Caller, body: EvidenceIn, upload: Upload | None
) -> tuple[bytes | None, str | None]:
    """Return hash and name of the file of a record: the upload, or a stored file that the caller may read."""
    if upload is not None:
        return await _store_document(tx, upload)
    if body.document is None:
        return None, None
    sha256 = bytes.fromhex(body.document.removeprefix("sha256:"))
    query = (
        select(Evidence.file_name).join(Transfer, Transfer.id == Evidence.transfer).where(Evidence.document == sha256)
    )
    scope = caller.scope(FILE_READERS)
    if scope != EVERYWHERE:
        query = query.where(Transfer.handler.in_(scope))
    name = (await tx.scalars(query.order_by(Evidence.id).limit(1))).one_or_none()
    if name is None:
        raise Invalid(
            "The file is unknown.", errors=[("/document", "No record whose file you may read has this SHA-256.")]
        )
    return sha256, name


async def _require_serves(
    tx: Transaction, transfer: Transfer, body: EvidenceIn, number: str, document: bytes | None
) -> None:
    """Refuse evidence that is bound to another request. An advisory lock makes concurrent filings of it take turns."""
    names = {f"{body.kind}/{number}", *(() if document is None else (f"{body.kind}/{document.hex()}",))}
    for name in sorted(names):
        await tx.execute(text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    denial = await _filing_denial(tx, transfer, body.kind, number, document)
    if denial is not None:
        raise Invalid("This evidence is not valid for this request.", errors=[("/reference", denial)])


async def rest_on_denial(tx: Transaction, transfer: Transfer, evidence_id: str) -> str | None:
    """Return the reason why a permit cannot rest on evidence of its request; None: it can.

    The request may have changed since, or the evidence may have been filed with another request earlier.
    """
    row = await tx.get_one(Evidence, evidence_id)
    if row.kind not in workflow.BOUND_KINDS:
        return None
    number = workflow.number_of(row.issuer, row.reference)
    return await _filing_denial(tx, transfer, row.kind, number, row.document, before=row.id)


async def _filing_denial(
    tx: Transaction, transfer: Transfer, kind: str, number: str, document: bytes | None, before: str | None = None
) -> str | None:
    """Return the reason why evidence is not valid for a request, by its other records at all handlers; None: it is.

    Records are of the same evidence if they have the same file, or the same number of the same issuer. The number of an
    authority is compared across handlers, any other number within the handler.
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
    async with elevated(tx, "evidence of all handlers"):
        rows = (await tx.execute(query)).all()
        renewals = await _renewal_chain_of(tx, transfer)
    is_by_authority = workflow.is_numbered_by_authority(kind)
    same_evidence = [
        row
        for row in rows
        if (document is not None and row.document == document)
        or (
            (is_by_authority or row.handler == transfer.handler)
            and workflow.number_of(row.issuer, row.reference) == number
        )
    ]
    verified_in = {row.transfer for row in same_evidence if row.ended_at is None and row.verified_at is not None}
    filed = [
        EarlierFiling(
            row.transfer,
            row.scope,
            row.ended_at is not None,
            bool(row.is_distrusted) and row.transfer not in verified_in,
        )
        for row in same_evidence
    ]
    return workflow.filing_denial(kind, transfer.id, scope_of(transfer), filed, renewals)


async def _renewal_chain_of(tx: Transaction, transfer: Transfer) -> set[str]:
    """Load the requests that one renews, or that renew it, with the same recipient and datasets."""
    chain = {transfer.id}
    while True:
        renewed = select(Transfer.renews).where(Transfer.id.in_(chain))
        query = select(Transfer.id, Transfer.datasets).where(
            or_(Transfer.id.in_(renewed), Transfer.renews.in_(chain)),
            Transfer.recipient == transfer.recipient,
            Transfer.handler == transfer.handler,
            Transfer.id.not_in(chain),
        )
        more = {ident for ident, datasets in await tx.execute(query) if set(datasets) == set(transfer.datasets)}
        if not more:
            return chain - {transfer.id}
        chain |= more


async def _store_document(tx: Transaction, upload: Upload) -> tuple[bytes, str]:
    row = {
        "sha256": upload.sha256,
        "size": len(upload.content),
        "media_type": upload.media_type,
        "content": upload.content,
        "created_at": tx.now,
    }
    statement = insert(Document).values(**row).on_conflict_do_nothing()
    result = cast("CursorResult[Any]", await tx.execute(statement, execution_options=recording.REPORTED))
    if result.rowcount:
        recording.report_rows(tx, Document.__table__, [row], is_insert=True)
    return upload.sha256, upload.name


def _is_valid_today(tx: Transaction, evidence: Evidence, book: RuleBook) -> bool:
    today = day_in_shanghai(tx.now)
    return bool(workflow.check_evidence([evidence.kind], [evidence_item_of(evidence, book)], today, today).evidence)


async def _replaceable_evidence(
    tx: Transaction, book: RuleBook, transfer: Transfer, old_id: str, new: Evidence
) -> Evidence:
    """Load the record that another one replaces.

    Raises:
        Invalid: not of this transfer, of another kind, replaced already, or the new record is not valid today.
    """
    old = await tx.get(Evidence, old_id)
    if old is None or old.transfer != transfer.id or old.kind != new.kind or old.replaced_by is not None:
        raise Invalid(
            "This record cannot replace that one.",
            errors=[("/replaces", "Name a record of this transfer, of the same kind, that has not been replaced.")],
        )
    if not _is_valid_today(tx, new, book):
        raise Invalid(
            "A replacement must be valid today.",
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
    """Open the obligations of a permit that follow from the evidence that it rests on now.

    A contract with another effective day is another contract, and must be filed anew. Source: SCM art. 7, 8; CBDF art. 9.
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
    """Settle obligations with the remaining evidence of a kind.

    A filing receipt from before the contract took effect belongs to another contract, and is left out.
    """
    today = day_in_shanghai(tx.now)
    filed = await evidence_of(tx, transfer, book)
    effective_days = [item.issued_on for item in filed if book.follow_up_of(item.kind, item.issued_on) is not None]
    is_receipt = kind == obligation_rules.SETTLED_BY[Code.FILE_STANDARD_CONTRACT]
    since = max(effective_days, default=date.min) if is_receipt else date.min
    candidates = [item for item in filed if item.kind == kind and item.issued_on >= since]
    future = [item for item in candidates if item.issued_on > today and item.is_trusted]
    for item in [*workflow.check_evidence([kind], candidates, today, today).evidence, *future]:
        await obligations.settle(tx, caller, transfer.id, kind, item.id, item.ends_on, item.issued_on)


async def _deciders(tx: Transaction, transfer: Transfer) -> set[str]:
    """Load the reviewers of a request, who are notified when its evidence changes."""
    return parties_of(await reviews_of(tx, transfer))


async def _evidence_of(tx: Transaction, transfer: Transfer, evidence_id: str) -> Evidence:
    evidence = await tx.get(Evidence, evidence_id)
    if evidence is None or evidence.transfer != transfer.id:
        raise NotFound("There is no such evidence.")
    return evidence


def _require_not_ended(evidence: Evidence) -> None:
    if evidence.ended_at is not None:
        raise Conflict("This evidence has been withdrawn or replaced already.")
