"""Builds requested packs in the background of a server process, one at a time.

A worker holds the advisory lock of its pack on a connection of its own. When the process dies, the connection and its lock end, and
another worker starts the pack again at once: no lease has to expire. A pack fails after `MAX_ATTEMPTS` starts.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select, text, update

from service.access.caller import SYSTEM_ACTOR
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.faults import DatabaseUnavailableError, LockTimeoutError
from service.database.row_security import EVERYWHERE, SET_VARIABLES, RowScope
from service.database.session import Database, Transaction
from service.packs.builder import BuiltPack, PackBuilder, Tools
from service.packs.operations import file_name
from service.packs.tables import EvidencePack

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""Seconds between two queries of the queue."""
PROGRESS_SECONDS: Final = 1.0
"""Seconds between two updates of the progress."""
MAX_ATTEMPTS: Final = 3
LOCK_CLASS: Final = 0x0B13
"""Class of the advisory locks on packs."""

_OPEN: Final = text("""
  select id from evidence_packs p where state in ('waiting', 'working')
    and not exists (
      select from pg_locks l where l.locktype = 'advisory' and l.classid = :locks and l.objid = cast(hashtext(p.id) as oid)
    )
  order by id limit 1 for update skip locked
""")
_LOCK: Final = text("select pg_try_advisory_lock(:locks, hashtext(:pack))")
_UNLOCK: Final = text("select pg_advisory_unlock(:locks, hashtext(:pack))")


class Worker:
    """Background task of a server process that builds packs.

    Args:
        database: database of packs; its connections belong to the worker alone, which closes them.
        tools: tools of the builder.
        directory: directory of the files.
        keep: retention of a file.

    Example:
        worker = Worker(database, tools, directory, timedelta(days=7))
        worker.start()
        await worker.stop()
    """

    def __init__(self, database: Database, tools: Tools, directory: Path, keep: timedelta) -> None:
        self._database, self._tools, self._directory, self._keep = database, tools, directory, keep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._run(), name="packs")

    async def stop(self) -> None:
        """Stop the task; another worker starts an unfinished pack again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._tools.reader.close()
        await self._database.close()

    async def _run(self) -> None:
        while True:
            try:
                while await self.work():
                    pass
                await self._sweep()
            except (DatabaseUnavailableError, LockTimeoutError):
                logger.warning("Packs wait: the database does not answer.")
            except Exception:
                logger.exception("A pack could not be made.")
            await asyncio.sleep(POLL_SECONDS)

    async def work(self) -> bool:
        """Build the first pack without a worker; return False if there is none."""
        async with self._claim() as pack:
            if pack is None:
                return False
            await self._build(pack)
            return True

    @asynccontextmanager
    async def _claim(self) -> AsyncIterator[EvidencePack | None]:
        """Hold the lock of the first pack without a worker, and yield the pack."""
        async with self._tools.reader.engine.connect() as connection:
            await connection.execute(SET_VARIABLES, RowScope(EVERYWHERE).variables)
            pack_id = (await connection.execute(_OPEN, {"locks": LOCK_CLASS})).scalar()
            lock = {"locks": LOCK_CLASS, "pack": pack_id}
            if pack_id is None or not (await connection.execute(_LOCK, lock)).scalar_one():
                yield None
                return
            await connection.commit()
            try:
                yield await self._database.transaction(lambda tx: self._begin_attempt(tx, pack_id))
            finally:
                await connection.execute(_UNLOCK, lock)
                await connection.commit()

    async def _begin_attempt(self, tx: Transaction, pack_id: str) -> EvidencePack | None:
        pack = await tx.get_one(EvidencePack, pack_id, with_for_update=True)
        if pack.state not in {"waiting", "working"}:
            return None
        if pack.attempts >= MAX_ATTEMPTS:
            pack.state, pack.detail = (
                "failed",
                pack.detail or f"It was begun {MAX_ATTEMPTS} times, and the process ended each time.",
            )
            return None
        pack.state, pack.attempts, pack.done, pack.total = "working", pack.attempts + 1, 0, None
        return pack

    async def _build(self, pack: EvidencePack) -> None:
        draft = self._directory / f"{pack.id}.{secrets.token_hex(4)}.part"
        reported_at = 0.0

        async def progress(done: int, total: int) -> None:
            nonlocal reported_at
            if time.monotonic() - reported_at >= PROGRESS_SECONDS:
                reported_at = time.monotonic()
                await self._set(pack, done=done, total=total)

        for old in self._directory.glob(f"{pack.id}.*.part"):
            old.unlink(missing_ok=True)  # its writer has died, since this worker holds the lock
        try:
            built = await PackBuilder(pack, self._tools, draft, progress).build()
            draft.replace(self._directory / file_name(pack.id, pack.attempts))
        except (DatabaseUnavailableError, LockTimeoutError):
            raise
        except Exception as error:
            logger.exception("The pack %s could not be made.", pack.id)
            state = "failed" if pack.attempts >= MAX_ATTEMPTS else "waiting"
            await self._set(pack, state=state, detail=f"{type(error).__name__}: {error}"[:500])
            return
        await self._database.transaction(lambda tx: self._mark_ready(tx, pack, built))

    async def _mark_ready(self, tx: Transaction, pack: EvidencePack, built: BuiltPack) -> None:
        row = await tx.get_one(EvidencePack, pack.id, with_for_update=True)
        if row.attempts != pack.attempts:
            return  # the lock was lost with its connection, and another worker has started the pack
        row.state, row.detail, row.made_at, row.size, row.sha256 = (
            "ready",
            None,
            built.made_at,
            built.size,
            built.sha256,
        )
        row.done = row.total = row.total or 0
        row.expires_at = tx.now + self._keep
        details = {"kind": row.kind, "subject": row.subject, "sha256": built.sha256.hex(), "bytes": built.size}
        audit.append(tx, SYSTEM_ACTOR, AuditAction.EVIDENCE_PACK_MADE, row.id, handler=row.handler, details=details)

    async def _set(self, pack: EvidencePack, **values: object) -> None:
        """Update a pack, unless another worker has started it."""
        is_same_attempt = (EvidencePack.id == pack.id, EvidencePack.attempts == pack.attempts)
        await self._database.transaction(
            lambda tx: tx.execute(update(EvidencePack).where(*is_same_attempt).values(**values))
        )

    async def _sweep(self) -> None:
        """Remove expired files."""

        async def expire(tx: Transaction) -> list[str]:
            query = (
                select(EvidencePack).where(EvidencePack.state == "ready", EvidencePack.expires_at <= tx.now).limit(100)
            )
            rows = (await tx.scalars(query.with_for_update(skip_locked=True))).all()
            for row in rows:
                row.state = "expired"
            return [row.id for row in rows]

        for pack_id in await self._database.transaction(expire):
            for file in self._directory.glob(f"{pack_id}-*.zip"):
                file.unlink(missing_ok=True)
