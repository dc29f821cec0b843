"""Connects to PostgreSQL so that neither end can be silent for long while others wait.

A client that is frozen, whose machine is gone, or whose network swallows what it sends, keeps its locks until PostgreSQL ends its
session. So PostgreSQL is told, when a session begins, how long it may be silent; and both ends probe the connection.

Usage:
    connection = await connect(url, name="outbound log", bounds=Bounds(statement=10, idle=5), role=login.settings)
    engine = watched_engine(url, "outbound", Bounds(statement=10))  # of `service.database.session`, for a pool
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

SILENCE: Final = 5.0
"""Seconds that a session may be silent in a transaction, or with a lock of its own, before PostgreSQL ends it."""
LONG_SILENCE: Final = 60.0
"""The same for a session that others do not wait for: a snapshot that is only read, a migration between two statements."""
_OF_SILENCE: Final = 0.6
"""Part of it that one lock is waited for at most: less than all, so that of several sessions of one silent client, each of which waits
for the one before, all give up before the first is ended."""
FROZEN_SILENCES: Final = 2
"""Of as many silences a client knows that it was frozen itself: what it was doing then it does not begin again."""
WITH_LOCK: Final = 2
"""Of as many silences a transaction that holds the gate's lock may take in all: each of its statements takes milliseconds."""
ANSWER: Final = 2.0
"""Seconds more than a statement may take after which a client takes the connection for dead; as long as it may take to undo one."""

_WITH_TRANSACTION_TIMEOUT: Final = (17,)
_IDLE, _INTERVAL, _COUNT = 5, 2, 3
"""Keepalive: seconds of quiet before the first probe, seconds between two, and how many may go unanswered."""
_UNACKNOWLEDGED: Final = 10_000
"""Milliseconds for which what was sent may go unacknowledged."""

_OPTIONS: Final = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPINTVL": _INTERVAL,
    "TCP_KEEPCNT": _COUNT,
    "TCP_USER_TIMEOUT": _UNACKNOWLEDGED,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a session may take and be silent, in seconds.

    Args:
        statement: for one statement; None: as long as it takes.
        silence: without a word from its client in a transaction; None: as long as it likes.
        idle: the same outside of a transaction, where the session may hold a lock; None: as long as it likes.
        waiting: for one lock at most, where whoever asked is told sooner than silence takes; None: a part of the silence.
        transaction: for one transaction, whatever is on in it, where PostgreSQL is 17 or newer; None: as long as it takes.
    """

    statement: float | None = None
    silence: float | None = SILENCE
    idle: float | None = None
    waiting: float | None = None
    transaction: float | None = None

    @property
    def lock(self) -> float | None:
        """Time-out of waiting for one lock."""
        bounds = [self.waiting, None if self.silence is None else self.silence * _OF_SILENCE]
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def answer(self) -> float | None:
        """How long the client waits for the answer to a statement: PostgreSQL is the first to give up, and says so in order."""
        return None if self.statement is None else self.statement + ANSWER

    def settings(self, name: str) -> dict[str, str]:
        """Return what PostgreSQL is told when a session begins; on a Unix socket it ignores what is of TCP."""
        seconds = {
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.silence,
            "lock_timeout": self.lock,
            "idle_session_timeout": self.idle,
        }
        return {
            "application_name": name,
            "timezone": "UTC",
            "tcp_keepalives_idle": str(_IDLE),
            "tcp_keepalives_interval": str(_INTERVAL),
            "tcp_keepalives_count": str(_COUNT),
            "tcp_user_timeout": str(_UNACKNOWLEDGED),
        } | {setting: f"{max(1, round(1000 * bound))}ms" for setting, bound in seconds.items() if bound is not None}


async def connect(
    url: str,
    *,
    name: str,
    bounds: Bounds,
    timeout: float = 10.0,  # noqa: ASYNC109 - the driver has one of its own
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Open one connection that is bounded at both ends.

    Args:
        url: address of the database.
        name: what PostgreSQL calls the session.
        bounds: how long it may take and be silent.
        timeout: seconds that connecting may take.
        settings: more that PostgreSQL is told, for instance a role.
    """
    connection = await asyncpg.connect(
        url,
        timeout=timeout,
        command_timeout=bounds.answer,
        server_settings=bounds.settings(name) | dict(settings or {}),
    )
    watch(connection)
    if bounds.transaction is not None and has_transaction_timeout(connection):
        await connection.execute(f"set transaction_timeout = {round(1000 * bounds.transaction)}")
    return connection


def has_transaction_timeout(connection: asyncpg.Connection) -> bool:
    """Tell whether PostgreSQL can bound a whole transaction.

    A statement that is sent for the first time is sent in two parts, and a client that is frozen between them is not silent to
    PostgreSQL: this bound alone ends its session.
    """
    version: tuple[Any, ...] = connection.get_server_version()
    return version >= _WITH_TRANSACTION_TIMEOUT


def watch(connection: asyncpg.Connection) -> None:
    """Have this end notice that the other has gone: a connection of TCP is probed, one of a Unix socket needs nothing."""
    ours: Any = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way to the socket
    if ours is None or ours.family == getattr(socket, "AF_UNIX", None):
        return
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, amount in _OPTIONS.items():
        if hasattr(socket, option):  # not every system has all of them
            ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), amount)


def watch_pooled(pooled: Any, _record: object) -> None:
    """Do the same for a connection that a pool has made."""
    watch(pooled.driver_connection)
