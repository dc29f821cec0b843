"""Leader election for the sequencer: one server process leads, the others wait to take over.

The advisory lock of the log belongs to a connection: when the leader or its connection dies, PostgreSQL gives the lock to the next.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import structlog

from service.audit.log.feeder import Feeder
from service.audit.log.log_key import LogKey, LogKeyError
from service.audit.log.sequencer import LogDamagedError, Sequencer, create_month_tables
from service.clock import Clock
from service.connections import ANSWER_MARGIN, SILENCE, Bounds, connect
from service.database.locks import LOG_LOCK
from service.database.logins import Login

PASS_INTERVAL: Final = 0.3
"""Seconds between turns: with the turn itself less than one from a commit to the checkpoint over it."""
POLL_INTERVAL: Final = 1.0
"""Seconds between attempts to lead."""
MONTH_CHECK_INTERVAL: Final = timedelta(hours=1)
"""How often it is looked whether the coming months have tables."""

_CONNECTION_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

# Reads in the order of numbers, from wherever it stands: an index does that, however the tables look to the planner.
NAME: Final = "outbound log"
SETTINGS: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

log = structlog.get_logger("outbound.log")


class Leader:
    """Keeps the log going for as long as it is open.

    Args:
        login: that of the log, to the database.
        clock: the service's.
        key: signs checkpoints.
        origin: the name of the log, should it have to be begun.
        timeout: seconds that one statement may take.
        feeder: shows each new checkpoint to the witnesses, once it is committed; is never waited for.
        silence: seconds for which it may say nothing to PostgreSQL before that ends its session, and its lead with it.
    """

    def __init__(
        self,
        login: Login,
        *,
        clock: Clock,
        key: LogKey,
        origin: str | None = None,
        timeout: float = 10.0,
        feeder: Feeder | None = None,
        silence: float = SILENCE,
    ) -> None:
        # Whoever waits to lead says so at each attempt.
        self._bounds = Bounds(
            statement=timeout,
            silence=silence,
            idle=max(silence, 3 * POLL_INTERVAL),
            transaction=timeout + ANSWER_MARGIN,
        )
        self._login = login
        self._clock = clock
        self._key = key
        self._origin = origin
        self._timeout = timeout
        self._feeder = feeder
        self._task: asyncio.Task[None] | None = None
        self._told: str | None = None

    def open(self) -> None:
        """Begin: from now on this process leads, or waits to."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; another process may lead at once."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        """Try to lead, again and again: whatever goes wrong here, the service goes on."""
        while True:
            try:
                await self._connected()
            except Exception as error:  # noqa: BLE001 - it is told, and tried again
                self._tell(error)
            await asyncio.sleep(POLL_INTERVAL)

    def _tell(self, error: Exception) -> None:
        """Tell of a fault once, however often it comes again."""
        fault = f"{type(error).__name__}: {error}"
        if fault == self._told:
            return
        self._told = fault
        is_ours = isinstance(error, LogKeyError | LogDamagedError)
        log.error("the log is not being extended", error=type(error).__name__, detail=str(error) if is_ours else None)

    async def _connected(self) -> None:
        connection = await connect(
            self._login.url,
            name=NAME,
            bounds=self._bounds,
            timeout=self._timeout,
            settings=SETTINGS | self._login.settings,
        )
        try:
            while not await connection.fetchval("select pg_try_advisory_lock($1)", LOG_LOCK):  # noqa: ASYNC110 - it is PostgreSQL's
                await asyncio.sleep(POLL_INTERVAL)
            await self._lead(connection)
        finally:
            if self._feeder is not None:
                await self._feeder.close()
            with suppress(*_CONNECTION_ERRORS):
                await connection.close(timeout=POLL_INTERVAL)

    async def _lead(self, connection: asyncpg.Connection) -> None:
        """Take turns until the connection or the key is another; what was in memory goes with them."""
        writer = await Sequencer.load(connection, self._clock, self._key, self._origin)
        mark = self._key.mark()
        self._told = None
        looked: datetime | None = None
        if self._feeder is not None:
            self._feeder.open()
        while self._key.mark() == mark:
            if looked is None or abs(self._clock() - looked) > MONTH_CHECK_INTERVAL:
                looked = self._clock()
                await self._make_months(connection, looked)
            note, is_more = await writer.run_pass()
            if note is not None and self._feeder is not None:
                self._feeder.announce(note)
            if not is_more:
                await asyncio.sleep(PASS_INTERVAL)

    async def _make_months(self, connection: asyncpg.Connection, now: datetime) -> None:
        try:
            if not await create_month_tables(connection, now):
                log.warning("entries of a month stand in entries_default, which therefore has no table of its own")
        except asyncpg.LockNotAvailableError:
            log.warning("the tables of the coming months have to wait: the log is being read")
