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
    ANSWER_MARGIN,
    FROZEN_SILENCES,
    MAX_LOCK_SILENCES,
    SILENCE,
    Bounds,
    has_transaction_timeout,
    prepare_pooled,
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
from service.database.row_security import (
    EVERYWHERE,
    NOWHERE,
    SET_VARIABLES,
    HandlerScope,
    OfHandler,
    RowScope,
    ScopedSession,
)

Result = TypeVar("Result")

ATTEMPTS: Final = 6

_AS_JSON: Final = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
"""Serializer of JSON columns: compact, and without escapes of characters."""


WAITS: Final = 12
"""Maximal attempts of a change to get the gate's lock."""
WAIT_MILLISECONDS: Final = 150
"""Time-out of one attempt. Short, since decisions wait behind it."""
ROW_WAIT_MILLISECONDS: Final = 500
"""Time-out of a wait for a row lock while the gate is closed. Short, since all decisions wait too."""


class ConcurrentChangeError(Exception):
    """Rows that a transaction decided on have changed meanwhile; `Database.transaction` rolls back and retries it."""


class Time:
    """The clock. Decisions take PostgreSQL's time, which all server processes share; a call returns the time of this machine."""

    ahead = timedelta()
    """Offset that is added to both, for the rehearsal of a later day."""

    def __call__(self) -> datetime:
        """Return the time of this machine in UTC."""
        return utc_now() + self.ahead


Entity = TypeVar("Entity", bound=Base)

_NOW: Final = text("select clock_timestamp() + cast(:ahead as interval)")


class Transaction(AsyncSession):
    """A database transaction with its instant (`now`, UTC) and its row scope, which is empty at first.

    The instant is PostgreSQL's: the clocks of two server processes may differ, and both decide on the same quotas.
    """

    time: Time
    silence: float
    """Maximal seconds without a statement."""
    sync_session_class = ScopedSession
    sync_session: ScopedSession
    can_deny: bool = False
    """True if its writes can turn an allow into a deny: then the gate is closed right before the commit."""
    recheck: Callable[[], Awaitable[None]] | None = None
    """Check to repeat once the gate is closed, since its rows may have changed since the transaction read them."""

    async def prepare_commit(self) -> None:
        """Flush all writes; if they can turn an allow into a deny, close the gate and repeat the check.

        Raises:
            LockTimeoutError: the gate's lock was not available in time.
            ConcurrentChangeError: the repeated check found a change.
        """
        await self.flush()
        if self.can_deny:
            await close_gate(self)
            if self.recheck is not None:
                await self.recheck()

    async def read_clock(self) -> None:
        """Set `now` to PostgreSQL's time; repeat it after a wait for rows that the transaction decides on."""
        self.now = (await self.execute(_NOW, {"ahead": self.time.ahead})).scalar_one()

    @property
    def now(self) -> datetime:
        """Instant of the transaction."""
        return self.sync_session.now

    @now.setter
    def now(self, instant: datetime) -> None:
        self.sync_session.now = instant

    @property
    def scope(self) -> RowScope:
        """The row scope."""
        return self.sync_session.scope

    async def set_scope(self, scope: RowScope) -> None:
        """Set the row scope; earlier additions are flushed under the scope before."""
        if scope != self.scope:
            self.sync_session.flush_deferred()
        await self.flush()
        if scope != self.scope:
            self.sync_session.scope = scope
            await self.execute(SET_VARIABLES, scope.variables)

    async def get(self, entity: type[Entity], ident: Any, **options: Any) -> Entity | None:  # type: ignore[override]
        """Return a row by its key, if it is in the row scope, even if it is loaded already."""
        row = await super().get(entity, ident, **options)
        return None if row is None or not self.sees(row) else row

    def begin_nested(self) -> AsyncSessionTransaction:
        """Begin a savepoint; entries recorded before are written first, so that a rollback to it keeps them."""
        self.sync_session.flush_deferred()
        return super().begin_nested()

    def sees(self, row: Base) -> bool:
        """Return True if a loaded row is in the row scope, judged by its own columns."""
        if self.scope.handlers == EVERYWHERE or not isinstance(row, OfHandler):
            return True
        return row.is_seen_by(self.scope)


def address(url: str) -> URL:
    """Return the SQLAlchemy address for asyncpg of any `postgres://` or `postgresql://` address.

    libpq's `sslmode` becomes asyncpg's `ssl`.

    Raises:
        ValueError: the address is of another database.
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
    """Return an engine whose sessions have time-outs at client and server (see `service.connections`); `options` are SQLAlchemy's."""
    engine = create_async_engine(
        address(url),
        connect_args={
            "timeout": timeout,
            "command_timeout": bounds.answer,
            "server_settings": bounds.settings(name) | dict(settings or {}),
        },
        **options,
    )
    event.listen(engine.sync_engine, "connect", prepare_pooled)
    return engine


class Database:
    """One PostgreSQL, a pool of connections to it, and the clock.

    Args:
        url: address as for `address()`.
        pool: maximal number of connections.
        timeout: seconds for a statement, for the wait for a connection, and for all waits for locks together.
        clock: the clock; the default has no offset.
        handlers: handlers of the row scope with which transactions begin; the default is none.
        role: role whose rights connections take; None: that of the address.
        silence: seconds without a statement after which PostgreSQL ends a transaction.

    Example:
        database = Database("postgresql://outbound@db/outbound", handlers=EVERYWHERE)
        names = await database.transaction(lambda tx: load_names(tx))
        await database.close()
    """

    def __init__(
        self,
        url: str,
        *,
        pool: int = 10,
        timeout: float = 10.0,
        clock: Time | None = None,
        handlers: HandlerScope = NOWHERE,
        role: str | None = None,
        silence: float = SILENCE,
    ) -> None:
        bounds = Bounds(statement=timeout, silence=silence)
        self.clock = clock or Time()
        self._timeout = timeout
        self._silence = silence
        self.scope = RowScope(handlers)
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
        self,
        work: Callable[[Transaction], Awaitable[Result]],
        *,
        handlers: HandlerScope | None = None,
        waits: bool = True,
    ) -> Result:
        """Run `work` in one transaction, commit, and return its result.

        Retries serialization failures, deadlocks and a connection lost before the commit, `ATTEMPTS` times in all, and lock time-outs
        if `waits`. `work` must therefore have no effect outside its transaction. A process that was frozen for so long that PostgreSQL
        ended its transaction does not retry, so that it does nothing late.

        Args:
            work: the work; it may run several times.
            handlers: handlers of the row scope; None: those of the database.
            waits: retry lock time-outs within `timeout`.

        Raises:
            LockTimeoutError: a lock was not available in time.
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow. The outcome of a commit under way is unknown.
        """
        until = time.monotonic() + self._timeout if waits else 0.0
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            began = time.monotonic()
            try:
                async with self._begin() as tx:
                    await tx.set_scope(self.scope if handlers is None else RowScope(handlers))
                    result = await work(tx)
                    await tx.prepare_commit()
                    committing = True
                    await tx.commit()
                    return result
            except ConcurrentChangeError as error:
                if attempt == ATTEMPTS:
                    raise LockTimeoutError from error
            except (DBAPIError, PoolTimeoutError, OSError, TimeoutError, asyncpg.PostgresError) as error:
                now = time.monotonic()
                is_late = now - began >= FROZEN_SILENCES * self._silence
                is_first_loss = is_disconnected(error) and not committing and attempt == 1 and not is_late
                retry = is_conflict(error) or is_first_loss or (is_lock_timeout(error) and not is_late and now < until)
                if not retry or attempt == ATTEMPTS:
                    if is_lock_timeout(error):
                        raise LockTimeoutError from error
                    if is_unavailable(error) or is_conflict(error):
                        raise DatabaseUnavailableError(type(error).__name__) from error
                    raise
            await pause(attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[Transaction]:
        """Yield a transaction; if it is cancelled or times out, roll it back or drop its connection."""
        async with Transaction(self.engine, expire_on_commit=False) as tx:
            tx.time, tx.silence = self.clock, self._silence
            try:
                await tx.read_clock()
                yield tx
            except (TimeoutError, asyncio.CancelledError):
                await asyncio.shield(_roll_back(tx))
                raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Transaction]:
        """Yield a read-only transaction in which all statements see one snapshot of the database."""
        async with self.engine.connect() as default:
            connection = await default.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with Transaction(connection, expire_on_commit=False) as tx:
                tx.time, tx.silence = self.clock, self._silence
                await tx.read_clock()
                await tx.set_scope(self.scope)
                yield tx

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.engine.dispose()


async def _roll_back(tx: Transaction) -> None:
    """Roll back an abandoned transaction; drop its connection if PostgreSQL does not answer in time."""
    try:
        async with asyncio.timeout(ANSWER_MARGIN):
            await tx.rollback()
    except (SQLAlchemyError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await tx.invalidate()


async def join_gate(tx: Transaction) -> None:
    """Take the gate's lock in shared mode: changes that can deny wait until the transaction ends."""
    connection, bound = await _at_gate(tx)
    await connection.execute(bound + _JOIN)


async def close_gate(tx: Transaction) -> None:
    """Take the gate's lock in exclusive mode until the transaction ends; for each change that can turn an allow into a deny.

    A decision under way commits first; a later one reads the rows that this transaction wrote.

    Raises:
        LockTimeoutError: the lock was not available in time.
    """
    # Short attempts: decisions that come meanwhile queue behind a waiting exclusive lock.
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
    """Return the connection of a transaction, and a statement that sets its `transaction_timeout` (empty before PostgreSQL 17)."""
    raw = await (await tx.connection()).get_raw_connection()
    connection = cast("asyncpg.Connection", raw.driver_connection)
    milliseconds = round(1000 * MAX_LOCK_SILENCES * tx.silence)
    is_supported = has_transaction_timeout(connection)
    return connection, f"set local transaction_timeout = {milliseconds}; " if is_supported else ""


_JOIN: Final = f"select pg_advisory_xact_lock_shared({GATE_LOCK})"
_BEFORE_CLOSING: Final = text("savepoint closing")
_CLOSE: Final = (
    f"set local lock_timeout = {WAIT_MILLISECONDS}; select pg_advisory_xact_lock({GATE_LOCK}); "
    f"set local lock_timeout = {ROW_WAIT_MILLISECONDS}"
)
_NOT_CLOSED: Final = "rollback to savepoint closing; release savepoint closing"


@asynccontextmanager
async def elevated(tx: Transaction, reason: str) -> AsyncIterator[None]:  # noqa: ARG001 - documents each use
    """Extend the row scope to all handlers within the block, for the parts of an act that need rows beyond its caller's.

    Args:
        tx: the transaction of the act.
        reason: the rows of other handlers that the block reads, in a few words.

    Example:
        async with elevated(tx, "twins of other handlers"):
            rows = (await tx.scalars(query)).all()
    """
    before = tx.scope
    await tx.set_scope(RowScope(EVERYWHERE, before.principal))
    try:
        yield
    except BaseException:
        # A rollback to a savepoint has reset the variables; a failed transaction refuses the statement, and needs none.
        tx.sync_session.scope = before
        with suppress(SQLAlchemyError):
            await tx.execute(SET_VARIABLES, before.variables)
        raise
    await tx.set_scope(before)
