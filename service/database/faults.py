"""Classifies faults of PostgreSQL: conflict, lock not free, connection lost, server unavailable."""

import asyncio
import random
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_RETRY: Final = frozenset({"40001", "40P01"})
_ENDED: Final = frozenset({"57P01", "57P05", "25P03", "25P04"})
"""PostgreSQL has ended the session: it was told to, or the session was silent, or its transaction open, for too long."""
_LOCK_NOT_AVAILABLE: Final = "55P03"
"""A lock was waited for as long as one is."""
# Connection lost or refused, server going down or read-only, no room, a statement cancelled for its time.
_UNAVAILABLE: Final = _ENDED | {"53000", "53100", "53200", "53300", "57014", "57P02", "57P03", "25006"}


class DatabaseUnavailableError(Exception):
    """The database cannot be reached, or did not answer in time: nothing may be allowed now."""


class LockTimeoutError(Exception):
    """A lock that others hold was not given in time: the database is there, and the same again may well succeed."""


class EmbeddedServerError(RuntimeError):
    """The embedded server can neither be started nor joined; the message says why and what to do."""


def _state(error: BaseException) -> str | None:
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def is_conflict(error: BaseException) -> bool:
    """Return True if another transaction was in the way: the same again may well succeed."""
    return _state(error) in _RETRY or _is_partition_new(error)


def _is_partition_new(error: BaseException) -> bool:
    """Return True if a row was on its way into one table of a partitioned one while another was made for it."""
    if _state(error) != "23514":
        return False
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "constraint_name"):
        cause = cause.__cause__
    return cause is not None and cause.constraint_name is None  # that of a partition has no name


def is_lock_timeout(error: BaseException) -> bool:
    """Return True if a lock was not given in time."""
    return _state(error) == _LOCK_NOT_AVAILABLE


def is_disconnected(error: BaseException) -> bool:
    """Return True if the connection is gone."""
    state = _state(error)
    if state is not None and (state.startswith("08") or state in _ENDED):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated
    return _is_closed(error) or (isinstance(error, OSError) and not isinstance(error, TimeoutError))


def is_unavailable(error: BaseException) -> bool:
    """Return True if an error means that the database cannot serve now, whatever was asked of it."""
    if isinstance(error, PoolTimeoutError | OSError | TimeoutError) or _is_closed(error):
        return True
    state = _state(error)
    if state is not None:
        return state in _UNAVAILABLE or state.startswith("08")
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _is_driver_fault(error))


def _is_driver_fault(error: DBAPIError) -> bool:
    cause = getattr(error.orig, "__cause__", None)
    return isinstance(cause, OSError | TimeoutError) or _is_closed(cause)


def _is_closed(error: object) -> bool:
    """Return True if the driver itself says that its connection cannot be used, or does not know any more where it stands with it."""
    fault = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return fault and not isinstance(error, asyncpg.DataError)


async def pause(attempt: int) -> None:
    """Wait a little before the next attempt, longer each time, and never in step with others."""
    await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret  # nosec B311
