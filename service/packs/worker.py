"""Makes the packs that were asked for, one at a time, beside the requests of its server process.

Who works on a pack holds its advisory lock on a connection of its own. When the process dies the lock is gone with the connection, and
whichever worker looks next begins the pack anew; no lease has to run out. A pack that has been begun too often is given up.
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
from service.database.faults import DatabaseUnavailableError, LockTimeoutError
from service.database.row_security import EVERYWHERE, TELL, RowScope
from service.database.session import Database, Transaction
from service.packs.builder import Made, Making, Tools
from service.packs.operations import file_name
from service.packs.tables import EvidencePack

logger = logging.getLogger(__name__)

PAUSE: Final = 0.5
"""Seconds between two looks at the queue."""
TOLD_EVERY: Final = 1.0
"""Seconds between two reports of progress."""
ATTEMPTS: Final = 3
LOCKS: Final = 0x0B13
"""The class of advisory locks on packs."""

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
    """The task of one server process.

    Args:
        database: where packs and their progress are; its connections are the worker's own, and go with it.
        tools: what packs are made with.
        directory: where their files are.
        keep: how long a file is kept.
    """

    def __init__(self, database: Database, tools: Tools, directory: Path, keep: timedelta) -> None:
        self._database, self._tools, self._directory, self._keep = database, tools, directory, keep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look at the queue."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._run(), name="packs")

    async def stop(self) -> None:
        """Leave a pack that is being made to the next worker."""
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
            await asyncio.sleep(PAUSE)

    async def work(self) -> bool:
        """Make the first pack that nobody works on; tell whether there was one."""
        async with self._claimed() as pack:
            if pack is None:
                return False
            await self._make(pack)
            return True

    @asynccontextmanager
    async def _claimed(self) -> AsyncIterator[EvidencePack | None]:
        """Hold the lock of the first pack that nobody works on."""
        async with self._tools.reader.engine.connect() as connection:
            await connection.execute(TELL, RowScope(EVERYWHERE).told)
            found = (await connection.execute(_OPEN, {"locks": LOCKS})).scalar()
            asked = {"locks": LOCKS, "pack": found}
            if found is None or not (await connection.execute(_LOCK, asked)).scalar_one():
                yield None
                return
            await connection.commit()
            try:
                yield await self._database.transaction(lambda tx: self._begun(tx, found))
            finally:
                await connection.execute(_UNLOCK, asked)
                await connection.commit()

    async def _begun(self, tx: Transaction, pack_id: str) -> EvidencePack | None:
        pack = await tx.get_one(EvidencePack, pack_id, with_for_update=True)
        if pack.state not in {"waiting", "working"}:
            return None
        if pack.attempts >= ATTEMPTS:
            pack.state, pack.detail = (
                "failed",
                pack.detail or f"It was begun {ATTEMPTS} times, and the process ended each time.",
            )
            return None
        pack.state, pack.attempts, pack.done, pack.total = "working", pack.attempts + 1, 0, None
        return pack

    async def _make(self, pack: EvidencePack) -> None:
        draft = self._directory / f"{pack.id}.{secrets.token_hex(4)}.part"
        told = 0.0

        async def progress(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= TOLD_EVERY:
                told = time.monotonic()
                await self._set(pack, done=done, total=total)

        for old in self._directory.glob(f"{pack.id}.*.part"):
            old.unlink(missing_ok=True)  # whoever wrote it is dead: the lock is ours
        try:
            made = await Making(pack, self._tools, draft, progress).make()
            draft.replace(self._directory / file_name(pack.id, pack.attempts))
        except (DatabaseUnavailableError, LockTimeoutError):
            raise
        except Exception as error:
            logger.exception("The pack %s could not be made.", pack.id)
            state = "failed" if pack.attempts >= ATTEMPTS else "waiting"
            await self._set(pack, state=state, detail=f"{type(error).__name__}: {error}"[:500])
            return
        await self._database.transaction(lambda tx: self._ready(tx, pack, made))

    async def _ready(self, tx: Transaction, pack: EvidencePack, made: Made) -> None:
        row = await tx.get_one(EvidencePack, pack.id, with_for_update=True)
        if row.attempts != pack.attempts:
            return  # the lock was lost with its connection, and somebody else has begun the pack anew
        row.state, row.detail, row.made_at, row.size, row.sha256 = "ready", None, made.made_at, made.size, made.sha256
        row.done = row.total = row.total or 0
        row.expires_at = tx.now + self._keep
        details = {"kind": row.kind, "subject": row.subject, "sha256": made.sha256.hex(), "bytes": made.size}
        audit.append(tx, SYSTEM_ACTOR, "evidence_pack.made", row.id, handler=row.handler, details=details)

    async def _set(self, pack: EvidencePack, **values: object) -> None:
        """Tell how far a pack is, unless somebody else has begun it anew."""
        mine = (EvidencePack.id == pack.id, EvidencePack.attempts == pack.attempts)
        await self._database.transaction(lambda tx: tx.execute(update(EvidencePack).where(*mine).values(**values)))

    async def _sweep(self) -> None:
        """Remove the files that have expired."""

        async def expired(tx: Transaction) -> list[str]:
            query = (
                select(EvidencePack).where(EvidencePack.state == "ready", EvidencePack.expires_at <= tx.now).limit(100)
            )
            rows = (await tx.scalars(query.with_for_update(skip_locked=True))).all()
            for row in rows:
                row.state = "expired"
            return [row.id for row in rows]

        for pack_id in await self._database.transaction(expired):
            for file in self._directory.glob(f"{pack_id}-*.zip"):
                file.unlink(missing_ok=True)
