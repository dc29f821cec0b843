"""The database: engine, the one `transaction()`, retry, identifiers, the clock, and the gate's lock."""

import asyncio
import json
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, TypeVar, cast

import asyncpg
import uuid_utils
from sqlalchemy import DateTime, MetaData, String, Text, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, AsyncSessionTransaction, create_async_engine
from sqlalchemy.orm import DeclarativeBase, mapped_column

from service.connections import ANSWER, LATE, SILENCE, WITH_LOCK, Bounds, has_transaction_timeout, watch_pooled
from service.database.row_security import EVERYWHERE, NOWHERE, TELL, Bounded, OfHandler, Reach, View

Result = TypeVar("Result")
Clock = Callable[[], datetime]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TRIPLES: Final = tuple(high + mid + low for high in _ALPHABET for mid in _ALPHABET for low in _ALPHABET)
_COUNTED: Final = (1 << 30) - 1
_ID: Final = re.compile(r"[a-z]{2}_[0-7][0-9a-hjkmnp-tv-z]{25}")

ATTEMPTS: Final = 6
_RETRY: Final = frozenset({"40001", "40P01"})
_ENDED: Final = frozenset({"57P01", "57P05", "25P03", "25P04"})
"""PostgreSQL has ended the session: it was told to, or the session was silent, or its transaction open, for too long."""
_HELD: Final = "55P03"
"""A lock was waited for as long as one is."""
# Connection lost or refused, server going down or read-only, no room, a statement cancelled for its time.
_AWAY: Final = _ENDED | {"53000", "53100", "53200", "53300", "57014", "57P02", "57P03", "25006"}

_AS_JSON: Final = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))
"""Columns of JSON keep the text as it is written here: short."""

# The advisory locks, all here, so that no two are one.
GATE_LOCK: Final = 0x0B0D
"""The gate: shared by decisions, exclusive to whatever can turn an allow into a deny."""
FIRST_ADMIN_LOCK: Final = 0x0B0E
SAMPLE_LOCK: Final = 0x0B0F
FINDINGS_LOCK: Final = 0x0B10
POWERS_LOCK: Final = 0x0B30
LOG_LOCK: Final = 0x0B11
"""The log: whoever holds it writes leaves, tiles and checkpoints. It belongs to a connection, and so does the gate's at first
where questions alone are decided; the others belong to a transaction."""


WAITS: Final = 12
"""How often a change waits for the gate's lock before it is given up."""
WAIT_MILLISECONDS: Final = 150
"""How long it waits at a time: decisions that come meanwhile wait behind it."""
HELD_MILLISECONDS: Final = 500
"""How long whoever has closed the gate waits for a row at most: everybody waits with it."""


class DatabaseAwayError(Exception):
    """The database cannot be reached, or did not answer in time: nothing may be allowed now."""


class HeldError(Exception):
    """A lock that others hold was not given in time: the database is there, and the same again may well succeed."""


class MovedError(Exception):
    """What a transaction was made for has changed under it: it is undone, and tried again."""


class Base(DeclarativeBase):
    """The base of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


Id = String(29, collation="C")
Key = Text(collation="C")
"""What people and systems call a thing: compared byte by byte as well, since the gate looks things up by it."""

PrimaryId = Annotated[str, mapped_column(Id, primary_key=True)]
"""`<prefix>_<uuidv7 in Crockford base32>`, compared byte by byte, so that order is order of making."""

Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]


def utc_now() -> datetime:
    """Return the time of this machine in UTC: for what no decision hangs on."""
    return datetime.now(UTC)


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
    sync_session_class = Bounded
    sync_session: Bounded
    can_deny: bool = False
    """Whether what it did can turn an allow into a deny: then the gate is closed once, right before the commit."""
    look_again: Callable[[], Awaitable[None]] | None = None
    """What is looked at again once the gate is closed, since it may have changed while the transaction was at work."""

    async def ready(self) -> None:
        """Make ready to commit; where that can turn an allow into a deny, the gate is closed, once everything else is done.

        Raises:
            HeldError: the gate's lock was not given in time.
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
        """The moment at which everything in it happens."""
        return self.sync_session.now

    @now.setter
    def now(self, moment: datetime) -> None:
        self.sync_session.now = moment

    @property
    def view(self) -> View:
        """Who looks, and as far as which handlers."""
        return self.sync_session.view

    async def look(self, view: View) -> None:
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


def new_id(prefix: str) -> str:
    """Return a fresh identifier of 29 characters: two-letter prefix, underscore, UUIDv7 in Crockford base32."""
    return next(new_ids(prefix))


def new_ids(prefix: str) -> Iterator[str]:
    """Yield fresh identifiers for what is made at one moment: the first is drawn, and each other follows the one before.

    An id opens nothing, so that one may be told from its neighbour. Source: RFC 9562 section 6.2, method 2: of several UUIDv7 that are made
    at once the random part is counted on; here its last 30 bits are.
    """
    three = _TRIPLES
    while True:
        number = uuid_utils.uuid7().int
        head = (
            f"{prefix}_{_ALPHABET[number >> 125]}{_ALPHABET[number >> 120 & 31]}"
            f"{three[number >> 105 & 32767]}{three[number >> 90 & 32767]}{three[number >> 75 & 32767]}{three[number >> 60 & 32767]}"
            f"{three[number >> 45 & 32767]}{three[number >> 30 & 32767]}"
        )
        for last in range(number & _COUNTED, _COUNTED + 1):
            yield f"{head}{three[last >> 15]}{three[last & 32767]}"


def is_id(candidate: str, prefix: str) -> bool:
    """Tell whether a reference is an identifier with this prefix, and not a key."""
    return candidate.startswith(prefix + "_") and _ID.fullmatch(candidate) is not None


def is_any_id(candidate: str) -> bool:
    """Tell whether a text has the form of an identifier, whatever its prefix."""
    return _ID.fullmatch(candidate) is not None


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
        self.view = View(reach)
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
            HeldError: others held a lock that it needs for all the time that it may wait.
            DatabaseAwayError: PostgreSQL is not there, or not in time. Of a commit that was under way nothing is known.
        """
        until = time.monotonic() + self._timeout if waits else 0.0
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            began = time.monotonic()
            try:
                async with self._begun() as tx:
                    await tx.look(self.view if reach is None else View(reach))
                    result = await work(tx)
                    await tx.ready()
                    committing = True
                    await tx.commit()
                    return result
            except MovedError as error:
                if attempt == ATTEMPTS:
                    raise HeldError from error
            except (DBAPIError, PoolTimeoutError, OSError, TimeoutError, asyncpg.PostgresError) as error:
                now = time.monotonic()
                is_late = now - began >= LATE * self._silence
                is_first_loss = is_lost(error) and not committing and attempt == 1 and not is_late
                again = is_conflict(error) or is_first_loss or (is_held(error) and not is_late and now < until)
                if not again or attempt == ATTEMPTS:
                    if is_held(error):
                        raise HeldError from error
                    if is_away(error) or is_conflict(error):
                        raise DatabaseAwayError(type(error).__name__) from error
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


def _state(error: BaseException) -> str | None:
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def is_conflict(error: BaseException) -> bool:
    """Tell whether another transaction was in the way: the same again may well succeed."""
    return _state(error) in _RETRY or _is_partition_new(error)


def _is_partition_new(error: BaseException) -> bool:
    """Tell whether a row was on its way into one table of a partitioned one while another was made for it."""
    if _state(error) != "23514":
        return False
    found: BaseException | None = error
    while found is not None and not hasattr(found, "constraint_name"):
        found = found.__cause__
    return found is not None and found.constraint_name is None  # that of a partition has no name


def is_held(error: BaseException) -> bool:
    """Tell whether a lock was not given in time."""
    return _state(error) == _HELD


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone."""
    state = _state(error)
    if state is not None and (state.startswith("08") or state in _ENDED):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    return _is_closed(error) or (isinstance(error, OSError) and not isinstance(error, TimeoutError))


def is_away(error: BaseException) -> bool:
    """Tell whether an error means that the database cannot serve now, whatever was asked of it."""
    if isinstance(error, PoolTimeoutError | OSError | TimeoutError) or _is_closed(error):
        return True
    state = _state(error)
    if state is not None:
        return state in _AWAY or state.startswith("08")
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _is_driver_fault(error))


def _is_driver_fault(error: DBAPIError) -> bool:
    cause = getattr(error.orig, "__cause__", None)
    return isinstance(cause, OSError | TimeoutError) or _is_closed(cause)


def _is_closed(error: object) -> bool:
    """Tell whether the driver itself says that its connection cannot be used, or does not know any more where it stands with it."""
    fault = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return fault and not isinstance(error, asyncpg.DataError)


async def pause(attempt: int) -> None:
    """Wait a little before the next attempt, longer each time, and never in step with others."""
    await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret  # nosec B311


async def join_gate(tx: Transaction) -> None:
    """Take the gate's lock beside other decisions: what the transaction reads from now on stands until it commits."""
    connection, bound = await _at_gate(tx)
    await connection.execute(bound + _JOIN)


async def close_gate(tx: Transaction) -> None:
    """Hold the gate until this transaction ends; asked for by whatever can turn an allow into a deny.

    A decision that is under way commits before the lock is given; one that comes later reads what this transaction wrote. The
    lock is waited for a little at a time, since decisions that come meanwhile wait behind whoever waits for it.

    Raises:
        HeldError: it was not given in time.
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
    raise HeldError


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
async def beyond(tx: Transaction, why: str) -> AsyncIterator[None]:  # noqa: ARG001 - for whoever reads, and for a search
    """See all handlers for a moment, where a caller's act must look further than the caller: as little as can be goes in here.

    Args:
        tx: the transaction of the act.
        why: what of others is looked at, in a word or two.
    """
    before = tx.view
    await tx.look(View(EVERYWHERE, before.principal))
    try:
        yield
    except BaseException:
        # A transaction that failed has lost what was told within it, and can do nothing more.
        tx.sync_session.view = before
        with suppress(SQLAlchemyError):
            await tx.execute(TELL, before.told)
        raise
    await tx.look(before)


def new_secret(length: int) -> str:
    """Return `length` random characters of Crockford base32, five bits each, from the system's source of secrets."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
