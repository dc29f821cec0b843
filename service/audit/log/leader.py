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
"""Seconds between passes: less than a second from a commit to the checkpoint that covers it."""
POLL_INTERVAL: Final = 1.0
"""Seconds between attempts to lead."""
MONTH_CHECK_INTERVAL: Final = timedelta(hours=1)
"""Interval of the check that the coming months have tables."""

_CONNECTION_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

# Entries are read in the order of their numbers through the index, whatever the statistics of the tables are.
NAME: Final = "outbound log"
SETTINGS: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

log = structlog.get_logger("outbound.log")


class Leader:
    """Competes for the lead of the log while it is open, and runs the sequencer while it leads.

    Example:
        leader = Leader(login, clock=clock, key=LogKey(path), origin="example.com/outbound", feeder=feeder)
        leader.open()
        ...
        await leader.close()

    Args:
        login: login of the log to the database.
        clock: clock of the service.
        key: signs checkpoints.
        origin: name of a new log; None makes one up.
        timeout: seconds that one statement may take.
        feeder: submits each committed checkpoint to the witnesses, in the background.
        silence: seconds without a message after which PostgreSQL ends the session, and the lead with it.
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
        # A process that waits to lead sends a message at each attempt.
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
        self._logged_fault: str | None = None

    def open(self) -> None:
        """Start the task that leads, or waits to."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; another process can lead at once."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        """Try to lead until closed; faults do not stop the service."""
        while True:
            try:
                await self._connect_and_lead()
            except Exception as error:  # noqa: BLE001 - logged, then retried
                self._log_fault(error)
            await asyncio.sleep(POLL_INTERVAL)

    def _log_fault(self, error: Exception) -> None:
        """Log a fault once, however often it recurs."""
        fault = f"{type(error).__name__}: {error}"
        if fault == self._logged_fault:
            return
        self._logged_fault = fault
        is_ours = isinstance(error, LogKeyError | LogDamagedError)
        log.error("the log is not being extended", error=type(error).__name__, detail=str(error) if is_ours else None)

    async def _connect_and_lead(self) -> None:
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
        """Run passes until the connection fails or the key file changes; both discard the state in memory."""
        writer = await Sequencer.load(connection, self._clock, self._key, self._origin)
        mark = self._key.mark()
        self._logged_fault = None
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
