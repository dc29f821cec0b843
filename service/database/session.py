"""Database sessions: the engine, the one `transaction()` with its retries, PostgreSQL's clock, and closing the gate."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar, cast

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, AsyncSessionTransaction, create_async_engine

from service.clock import utc_now
from service.connections import (
    ANSWER,
    FROZEN_SILENCES,
    SILENCE,
    WITH_LOCK,
    Bounds,
    has_transaction_timeout,
    watch_pooled,
)
from service.database.columns import Base
from service.database.faults import (
    DatabaseUnavailableError,
    LockTimeoutError,
    is_conflict,
    is_disconnected,
    is_lock_timeout,
    is_unavailable,
    pause,
)
from service.database.locks import GATE_LOCK
from service.database.row_security import EVERYWHERE, NOWHERE, TELL, OfHandler, Reach, RowScope, ScopedSession

Result = TypeVar("Result")

ATTEMPTS: Final = 6

_AS_JSON: Final = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
"""Columns of JSON keep the text as it is written here: short."""


WAITS: Final = 12
"""Attempts of a change to get the gate's lock."""
WAIT_MILLISECONDS: Final = 150
"""Time-out of one attempt: decisions wait behind it."""
HELD_MILLISECONDS: Final = 500
"""Time-out of waiting for a row while the gate is closed: every decision waits with it."""


class MovedError(Exception):
    """What a transaction was made for has changed under it: it is undone, and tried again."""


class Time:
    """What time it is: for whatever is decided PostgreSQL tells it, which is the same for every process that decides with it.

    Called, it tells the time of this machine.
    """

    ahead = timedelta()
    """How far ahead of both it is: for a rehearsal of what a later day brings."""

    def __call__(self) -> datetime:
        """Return the time of this machine in UTC."""
        return utc_now() + self.ahead


Entity = TypeVar("Entity", bound=Base)

_NOW: Final = text("select clock_timestamp() + cast(:ahead as interval)")


class Transaction(AsyncSession):
    """One database transaction, the one moment, in UTC, at which everything in it happens, and whose rows it sees: nobody's at first.

    The moment is PostgreSQL's: the clocks of two server processes may differ, and what one has given away the other must not.
    """

    time: Time
    silence: float
    """Seconds for which its session may be silent."""
    sync_session_class = ScopedSession
    sync_session: ScopedSession
    can_deny: bool = False
    """Whether what it did can turn an allow into a deny: then the gate is closed once, right before the commit."""
    look_again: Callable[[], Awaitable[None]] | None = None
    """What is looked at again once the gate is closed, since it may have changed while the transaction was at work."""

    async def ready(self) -> None:
        """Make ready to commit; where that can turn an allow into a deny, the gate is closed, once everything else is done.

        Raises:
            LockTimeoutError: the gate's lock was not given in time.
            MovedError: what was looked at again is not the same any more.
        """
        await self.flush()
        if self.can_deny:
            await close_gate(self)
            if self.look_again is not None:
                await self.look_again()

    async def look_at_clock(self) -> None:
        """Take PostgreSQL's time for the moment of this transaction: again, where it has waited for what it decides on."""
        self.now = (await self.execute(_NOW, {"ahead": self.time.ahead})).scalar_one()

    @property
    def now(self) -> datetime:
        """Instant of the transaction."""
        return self.sync_session.now

    @now.setter
    def now(self, moment: datetime) -> None:
        self.sync_session.now = moment

    @property
    def view(self) -> RowScope:
        """Who looks, and as far as which handlers."""
        return self.sync_session.view

    async def look(self, view: RowScope) -> None:
        """See from now on what a view sees: what has been added before is written under the one before."""
        if view != self.view:
            self.sync_session.deferred()
        await self.flush()
        if view != self.view:
            self.sync_session.view = view
            await self.execute(TELL, view.told)

    async def get(self, entity: type[Entity], ident: Any, **options: Any) -> Entity | None:  # type: ignore[override]
        """Return a row by its key, also one that this transaction has at hand already, as long as it sees it."""
        found = await super().get(entity, ident, **options)
        return None if found is None or not self.sees(found) else found

    def begin_nested(self) -> AsyncSessionTransaction:
        """Begin a savepoint: what has been recorded before stays on record if it is gone back to."""
        self.sync_session.deferred()
        return super().begin_nested()

    def sees(self, row: Base) -> bool:
        """Tell whether a row is of a handler that this transaction sees, as far as the row itself can tell."""
        if self.view.reach == EVERYWHERE or not isinstance(row, OfHandler):
            return True
        return row.is_seen_by(self.view)


def address(url: str) -> URL:
    """Return the SQLAlchemy address for asyncpg of any `postgres://` or `postgresql://` address.

    libpq's `sslmode` is handed on under asyncpg's name for it.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("OUTBOUND_DATABASE_URL must start with postgresql://")
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def watched_engine(
    url: str,
    name: str,
    bounds: Bounds,
    *,
    timeout: float = 10.0,
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncEngine:
    """Return an engine whose sessions are bounded at both ends (see `service.connections`); `options` are SQLAlchemy's."""
    engine = create_async_engine(
        address(url),
        connect_args={
            "timeout": timeout,
            "command_timeout": bounds.answer,
            "server_settings": bounds.settings(name) | dict(settings or {}),
        },
        **options,
    )
    event.listen(engine.sync_engine, "connect", watch_pooled)
    return engine


class Database:
    """One PostgreSQL, a pool of connections to it, and the clock.

    Args:
        url: address as for `address()`.
        pool: connections kept at most.
        timeout: seconds that one statement, or the wait for a connection, or all waiting for locks together, may take.
        clock: by how far PostgreSQL's time is taken to be ahead, and this machine's time.
        reach: the handlers that transactions see until they are told otherwise: none, save for what is no caller's.
        role: whose rights connections take, where the address does not log in as that role itself.
        silence: seconds that a transaction may be without a statement before PostgreSQL ends it.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: int = 10,
        timeout: float = 10.0,
        clock: Time | None = None,
        reach: Reach = NOWHERE,
        role: str | None = None,
        silence: float = SILENCE,
    ) -> None:
        bounds = Bounds(statement=timeout, silence=silence)
        self.clock = clock or Time()
        self._timeout = timeout
        self._silence = silence
        self.view = RowScope(reach)
        self.engine = watched_engine(
            url,
            "outbound",
            bounds,
            timeout=timeout,
            settings={} if role is None else {"role": role},
            json_serializer=_AS_JSON,
            pool_size=pool,
            max_overflow=0,
            hide_parameters=True,  # what callers sent never reaches a log line
            pool_timeout=timeout,
        )

    async def transaction(
        self, work: Callable[[Transaction], Awaitable[Result]], *, reach: Reach | None = None, waits: bool = True
    ) -> Result:
        """Run `work` in one transaction, commit, and return what it returned; `reach` is the database's, where none is given.

        Serialization failures and deadlocks are tried again, `ATTEMPTS` times in all; so is a connection that was lost before
        the commit was sent, and, unless it is not to wait, what others held a lock of. `work` must therefore have no effect but on its
        transaction. What was silent for so long that PostgreSQL ends it is not tried again: who was frozen does nothing late.

        Raises:
            LockTimeoutError: others held a lock that it needs for all the time that it may wait.
            DatabaseUnavailableError: PostgreSQL is not there, or not in time. Of a commit that was under way nothing is known.
        """
        until = time.monotonic() + self._timeout if waits else 0.0
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            began = time.monotonic()
            try:
                async with self._begun() as tx:
                    await tx.look(self.view if reach is None else RowScope(reach))
                    result = await work(tx)
                    await tx.ready()
                    committing = True
                    await tx.commit()
                    return result
            except MovedError as error:
                if attempt == ATTEMPTS:
                    raise LockTimeoutError from error
            except (DBAPIError, PoolTimeoutError, OSError, TimeoutError, asyncpg.PostgresError) as error:
                now = time.monotonic()
                is_late = now - began >= FROZEN_SILENCES * self._silence
                is_first_loss = is_disconnected(error) and not committing and attempt == 1 and not is_late
                again = is_conflict(error) or is_first_loss or (is_lock_timeout(error) and not is_late and now < until)
                if not again or attempt == ATTEMPTS:
                    if is_lock_timeout(error):
                        raise LockTimeoutError from error
                    if is_unavailable(error) or is_conflict(error):
                        raise DatabaseUnavailableError(type(error).__name__) from error
                    raise
            await pause(attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[Transaction]:
        """Give a transaction; its connection goes with it where nobody knows what is still on its way over it."""
        async with Transaction(self.engine, expire_on_commit=False) as tx:
            tx.time, tx.silence = self.clock, self._silence
            try:
                await tx.look_at_clock()
                yield tx
            except (TimeoutError, asyncio.CancelledError):
                await asyncio.shield(_undone(tx))
                raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """Give a transaction that sees one moment of the database from its first statement to its end, and changes nothing."""
        async with self.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with Transaction(connection, expire_on_commit=False) as tx:
                tx.time, tx.silence = self.clock, self._silence
                await tx.look_at_clock()
                await tx.look(self.view)
                yield tx

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.engine.dispose()


async def _undone(tx: Transaction) -> None:
    """Roll back what was given up, if PostgreSQL still answers; else the connection goes with it, and nobody waits for the answer."""
    try:
        async with asyncio.timeout(ANSWER):
            await tx.rollback()
    except (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await tx.invalidate()


async def join_gate(tx: Transaction) -> None:
    """Take the gate's lock beside other decisions: what the transaction reads from now on stands until it commits."""
    connection, bound = await _at_gate(tx)
    await connection.execute(bound + _JOIN)


async def close_gate(tx: Transaction) -> None:
    """Hold the gate until this transaction ends; asked for by whatever can turn an allow into a deny.

    A decision that is under way commits before the lock is given; one that comes later reads what this transaction wrote. The
    lock is waited for a little at a time, since decisions that come meanwhile wait behind whoever waits for it.

    Raises:
        LockTimeoutError: it was not given in time.
    """
    connection, bound = await _at_gate(tx)
    for attempt in range(1, WAITS + 1):
        await tx.execute(_BEFORE_CLOSING)
        try:
            await connection.execute(bound + _CLOSE)
        except asyncpg.LockNotAvailableError:
            await connection.execute(_NOT_CLOSED)
            await pause(min(attempt, 4))
        else:
            return
    raise LockTimeoutError


async def _at_gate(tx: Transaction) -> tuple[asyncpg.Connection, str]:
    """Return the connection of a transaction, and the statement by which PostgreSQL ends it after some seconds, whatever is on in it."""
    raw = await (await tx.connection()).get_raw_connection()
    connection = cast("asyncpg.Connection", raw.driver_connection)
    milliseconds = round(1000 * WITH_LOCK * tx.silence)
    is_known = has_transaction_timeout(connection)
    return connection, f"set local transaction_timeout = {milliseconds}; " if is_known else ""


_JOIN: Final = f"select pg_advisory_xact_lock_shared({GATE_LOCK})"
_BEFORE_CLOSING: Final = text("savepoint closing")
_CLOSE: Final = (
    f"set local lock_timeout = {WAIT_MILLISECONDS}; select pg_advisory_xact_lock({GATE_LOCK}); "
    f"set local lock_timeout = {HELD_MILLISECONDS}"
)
_NOT_CLOSED: Final = "rollback to savepoint closing; release savepoint closing"


@asynccontextmanager
async def elevated(tx: Transaction, why: str) -> AsyncIterator[None]:  # noqa: ARG001 - for whoever reads, and for a search
    """See all handlers for a moment, where a caller's act must look further than the caller: as little as can be goes in here.

    Args:
        tx: the transaction of the act.
        why: what of others is looked at, in a word or two.
    """
    before = tx.view
    await tx.look(RowScope(EVERYWHERE, before.principal))
    try:
        yield
    except BaseException:
        # A transaction that failed has lost what was told within it, and can do nothing more.
        tx.sync_session.view = before
        with suppress(SQLAlchemyError):
            await tx.execute(TELL, before.told)
        raise
    await tx.look(before)
