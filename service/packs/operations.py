"""Operations on evidence packs: ask for one, see how far it is, fetch it. `worker` makes them."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from service.access.caller import Caller, Role
from service.audit import operations as audit
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.http.paging import page_of
from service.packs.schemas import PackIn, PackOut
from service.packs.tables import EvidencePack
from service.permits import operations as permits
from service.registry import operations as registry
from service.transfers import queries as transfers
from service.validation.problems import Conflict, NotFound

AUDITORS = frozenset({Role.AUDITOR})


class PackNotReady(Conflict):
    """There is no file to send."""

    slug, title = "pack-not-ready", "There is no file of this evidence pack"


async def ask(tx: Transaction, caller: Caller, wanted: PackIn) -> PackOut:
    """Put a pack in the queue.

    Raises:
        NotFound: no such thing, or not within the auditor's handlers.
    """
    kind, subject, handler = await _subject(tx, caller, wanted)
    caller.demand(AUDITORS, handler, what=kind)
    pack = EvidencePack(
        id=new_id("pk"),
        kind=kind,
        subject=subject,
        handler=handler,
        since=wanted.since,
        until=wanted.until,
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
    details = {"kind": kind, "subject": subject, "since": wanted.since, "until": wanted.until}
    audit.append(tx, caller, "evidence_pack.requested", pack.id, handler=handler, details=details)
    await tx.flush()
    return PackOut.of(pack, tx.now)


async def _subject(tx: Transaction, caller: Caller, wanted: PackIn) -> tuple[str, str, str]:
    """Return kind and id of what a pack is to be about, and its handler."""
    if wanted.permit is not None:
        permit = await permits.permit_of(tx, caller, wanted.permit)
        return "permit", permit.id, permit.handler
    if wanted.transfer is not None:
        transfer = await transfers.transfer_of(tx, caller, wanted.transfer)
        return "transfer", transfer.id, transfer.handler
    if wanted.dataset is not None:
        dataset = await registry.dataset_of(tx, caller, wanted.dataset)
        return "dataset", dataset.id, dataset.handler
    handler = await registry.handler_of(tx, caller, str(wanted.handler))
    return "handler", handler.id, handler.id


async def read(tx: Transaction, caller: Caller, pack_id: str) -> PackOut:
    """Return a pack."""
    return PackOut.of(await _of(tx, caller, pack_id), tx.now)


async def list_packs(
    tx: Transaction, caller: Caller, cursor: str | None, limit: int
) -> tuple[Sequence[PackOut], str | None]:
    """Return the packs that the auditor may see, oldest first."""
    query = select(EvidencePack)
    reach = caller.reach(AUDITORS)
    if reach != EVERYWHERE:
        query = query.where(EvidencePack.handler.in_(reach))
    rows, following = await page_of(tx, query, EvidencePack.id, cursor, limit)
    return [PackOut.of(row, tx.now) for row in rows], following


async def file_of(tx: Transaction, caller: Caller, directory: Path, pack_id: str) -> tuple[PackOut, Path]:
    """Return a pack that is ready, with its file; that it was fetched is on record.

    Raises:
        PackNotReady: it is not made yet, could not be made, or has expired; or its file is at another replica.
    """
    pack = await _of(tx, caller, pack_id)
    shown = PackOut.of(pack, tx.now)
    if shown.state != "ready":
        advice = {
            "failed": f"It could not be made: {shown.detail} Ask for a new one.",
            "expired": "It has expired. Ask for a new one.",
        }
        raise PackNotReady(advice.get(shown.state, f"It is {shown.state}, {shown.progress} %. Come back later."))
    path = directory / file_name(pack.id, pack.attempts)
    if not path.is_file():
        raise PackNotReady(
            "Its file is not here: replicas must share the directory OUTBOUND_PACKS_DIR. Ask for a new one."
        )
    audit.append(tx, caller, "evidence_pack.fetched", shown.id, handler=shown.handler, details={"sha256": shown.sha256})
    await tx.flush()
    return shown, path


def file_name(pack_id: str, attempt: int) -> str:
    """Return the name of a pack's file: each attempt has its own, so that none takes the place of another."""
    return f"{pack_id}-{attempt}.zip"


async def _of(tx: Transaction, caller: Caller, pack_id: str) -> EvidencePack:
    pack = await tx.get(EvidencePack, pack_id)
    if pack is None or not caller.reaches(AUDITORS, pack.handler):
        raise NotFound("There is no such evidence pack.")
    return pack
