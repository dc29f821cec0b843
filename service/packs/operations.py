"""Operations on evidence packs: request, read, list and fetch. `worker` builds them."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from service.access.caller import Caller, Role
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.http.paging import page_of
from service.packs.schemas import PackIn, PackOut
from service.packs.tables import EvidencePack
from service.permits import queries as permits
from service.registry import operations as registry
from service.transfers import queries as transfers
from service.validation.problems import Conflict, NotFound

AUDITORS = frozenset({Role.AUDITOR})


class PackNotReady(Conflict):
    """The pack has no file that could be sent."""

    slug, title = "pack-not-ready", "There is no file of this evidence pack"


async def request_pack(tx: Transaction, caller: Caller, body: PackIn) -> PackOut:
    """Add a pack to the queue.

    Raises:
        NotFound: there is no such subject, or it is not of the auditor's handlers.
    """
    kind, subject, handler = await _subject(tx, caller, body)
    caller.require(AUDITORS, handler, noun=kind)
    pack = EvidencePack(
        id=new_id("pk"),
        kind=kind,
        subject=subject,
        handler=handler,
        since=body.since,
        until=body.until,
        requested_by=caller.principal,
        requested_at=tx.now,
        state="waiting",
        attempts=0,
        done=0,
        total=None,
        detail=None,
        made_at=None,
        size=None,
        sha256=None,
        expires_at=None,
    )
    tx.add(pack)
    details = {"kind": kind, "subject": subject, "since": body.since, "until": body.until}
    audit.append(tx, caller, AuditAction.EVIDENCE_PACK_REQUESTED, pack.id, handler=handler, details=details)
    await tx.flush()
    return PackOut.of(pack, tx.now)


async def _subject(tx: Transaction, caller: Caller, body: PackIn) -> tuple[str, str, str]:
    """Return kind and id of a pack's subject, and its handler."""
    if body.permit is not None:
        permit = await permits.permit_of(tx, caller, body.permit)
        return "permit", permit.id, permit.handler
    if body.transfer is not None:
        transfer = await transfers.transfer_of(tx, caller, body.transfer)
        return "transfer", transfer.id, transfer.handler
    if body.dataset is not None:
        dataset = await registry.dataset_of(tx, caller, body.dataset)
        return "dataset", dataset.id, dataset.handler
    handler = await registry.handler_of(tx, caller, str(body.handler))
    return "handler", handler.id, handler.id


async def read_pack(tx: Transaction, caller: Caller, pack_id: str) -> PackOut:
    """Return a pack with its progress."""
    return PackOut.of(await _load_pack(tx, caller, pack_id), tx.now)


async def list_packs(
    tx: Transaction, caller: Caller, cursor: str | None, limit: int
) -> tuple[Sequence[PackOut], str | None]:
    """Return the packs that the auditor may see, oldest first."""
    query = select(EvidencePack)
    handlers = caller.scope(AUDITORS)
    if handlers != EVERYWHERE:
        query = query.where(EvidencePack.handler.in_(handlers))
    rows, following = await page_of(tx, query, EvidencePack.id, cursor, limit)
    return [PackOut.of(row, tx.now) for row in rows], following


async def fetch_pack(tx: Transaction, caller: Caller, directory: Path, pack_id: str) -> tuple[PackOut, Path]:
    """Return a ready pack with its file, and record the download.

    Raises:
        PackNotReady: the pack is not built yet, has failed or expired, or its file is on another replica.
    """
    pack = await _load_pack(tx, caller, pack_id)
    pack_out = PackOut.of(pack, tx.now)
    if pack_out.state != "ready":
        advice = {
            "failed": f"It could not be made: {pack_out.detail} Ask for a new one.",
            "expired": "It has expired. Ask for a new one.",
        }
        raise PackNotReady(
            advice.get(pack_out.state, f"It is {pack_out.state}, {pack_out.progress} %. Come back later.")
        )
    path = directory / file_name(pack.id, pack.attempts)
    if not path.is_file():
        raise PackNotReady(
            "Its file is not here: replicas must share the directory OUTBOUND_PACKS_DIR. Ask for a new one."
        )
    audit.append(
        tx,
        caller,
        AuditAction.EVIDENCE_PACK_FETCHED,
        pack_out.id,
        handler=pack_out.handler,
        details={"sha256": pack_out.sha256},
    )
    await tx.flush()
    return pack_out, path


def file_name(pack_id: str, attempt: int) -> str:
    """Return the name of a pack's file. Each attempt has its own, so that none overwrites another."""
    return f"{pack_id}-{attempt}.zip"


async def _load_pack(tx: Transaction, caller: Caller, pack_id: str) -> EvidencePack:
    pack = await tx.get(EvidencePack, pack_id)
    if pack is None or not caller.reaches(AUDITORS, pack.handler):
        raise NotFound("There is no such evidence pack.")
    return pack
