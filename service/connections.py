"""Connects to PostgreSQL so that neither end can be silent for long while others wait.

A frozen or unreachable client keeps its locks until PostgreSQL ends its session. So each session begins with time-outs for silence, and
both ends probe the connection (TCP keepalive).

Example:
    connection = await connect(url, name="outbound log", bounds=Bounds(statement=10, idle=5), settings=login.settings)
    engine = watched_engine(url, "outbound", Bounds(statement=10))  # of `service.database.session`, for a pool
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

SILENCE: Final = 5.0
"""Seconds of silence in a transaction, or with a session's lock, after which PostgreSQL ends the session."""
LONG_SILENCE: Final = 60.0
"""The same for a session for which nobody waits, such as a read-only snapshot or a migration between two statements."""
_LOCK_PART: Final = 0.6
"""Lock timeout as a part of the silence. Below 1, so that sessions that wait for a silent one give up before it is ended."""
FROZEN_SILENCES: Final = 2
"""Silences after which a client concludes that it was frozen itself, and does not retry its work."""
MAX_LOCK_SILENCES: Final = 2
"""Timeout of a transaction that holds the gate's lock, as a number of silences. Each of its statements takes milliseconds."""
ANSWER_MARGIN: Final = 2.0
"""Seconds beyond the statement timeout after which a client closes the connection; PostgreSQL can need them to undo a statement."""

_WITH_TRANSACTION_TIMEOUT: Final = (17,)
_IDLE, _INTERVAL, _COUNT = 5, 2, 3
"""Keepalive of TCP: idle seconds before the first probe, seconds between two probes, and unanswered probes."""
_MAX_UNACKNOWLEDGED: Final = 10_000
"""Milliseconds after which unacknowledged data ends a connection."""

_OPTIONS: Final = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPINTVL": _INTERVAL,
    "TCP_KEEPCNT": _COUNT,
    "TCP_USER_TIMEOUT": _MAX_UNACKNOWLEDGED,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Time-outs of a session, in seconds; None: no time-out.

    Args:
        statement: time of one statement.
        silence: silence of the client in a transaction.
        idle: silence of the client outside of a transaction, where the session can hold a lock.
        waiting: waiting for one lock; None: a part of the silence.
        transaction: time of one transaction, with PostgreSQL 17 or newer.
    """

    statement: float | None = None
    silence: float | None = SILENCE
    idle: float | None = None
    waiting: float | None = None
    transaction: float | None = None

    @property
    def lock(self) -> float | None:
        """Time-out of waiting for one lock."""
        bounds = [self.waiting, None if self.silence is None else self.silence * _LOCK_PART]
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def answer(self) -> float | None:
        """Time-out of the client for the answer to a statement. It is longer than PostgreSQL's own, which ends with a proper error."""
        return None if self.statement is None else self.statement + ANSWER_MARGIN

    def settings(self, name: str) -> dict[str, str]:
        """Return the settings with which a session begins; on a Unix socket PostgreSQL ignores those of TCP."""
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
            "tcp_user_timeout": str(_MAX_UNACKNOWLEDGED),
        } | {setting: f"{max(1, round(1000 * bound))}ms" for setting, bound in seconds.items() if bound is not None}


_ENSURE_SYNCHRONOUS: Final = """
  select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') not in ('on', 'remote_apply')
"""
"""An acknowledged commit survives a crash, whatever the server's own setting is; `remote_apply` waits for more, and stays.

Source: PostgreSQL documentation, 19.5 Write Ahead Log, `synchronous_commit`.
"""


async def connect(
    url: str,
    *,
    name: str,
    bounds: Bounds,
    timeout: float = 10.0,  # noqa: ASYNC109 - the driver has one of its own
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Open one connection with time-outs at both ends.

    Args:
        url: address of the database.
        name: name of the session in PostgreSQL (`application_name`).
        bounds: time-outs of the session.
        timeout: seconds that connecting may take.
        settings: more settings of the session, for instance its role.
    """
    connection = await asyncpg.connect(
        url,
        timeout=timeout,
        command_timeout=bounds.answer,
        server_settings=bounds.settings(name) | dict(settings or {}),
    )
    watch(connection)
    await connection.execute(_ENSURE_SYNCHRONOUS)
    if bounds.transaction is not None and has_transaction_timeout(connection):
        await connection.execute(f"set transaction_timeout = {round(1000 * bounds.transaction)}")
    return connection


def has_transaction_timeout(connection: asyncpg.Connection) -> bool:
    """True if PostgreSQL has a time-out for whole transactions.

    A new statement is sent in two parts. PostgreSQL does not count a client that freezes between them as silent, so this time-out alone
    ends its session.
    """
    version: tuple[Any, ...] = connection.get_server_version()
    return version >= _WITH_TRANSACTION_TIMEOUT


def watch(connection: asyncpg.Connection) -> None:
    """Probe a TCP connection from this end (keepalive); a Unix socket needs no probe."""
    ours: Any = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way to the socket
    if ours is None or ours.family == getattr(socket, "AF_UNIX", None):
        return
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, amount in _OPTIONS.items():
        if hasattr(socket, option):  # not every system has all of them
            ours.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), amount)


def prepare_pooled(pooled: Any, _record: object) -> None:
    """Watch a connection that a pool has made, and let it wait for the disk at each commit."""
    watch(pooled.driver_connection)
    pooled.run_async(lambda connection: connection.execute(_ENSURE_SYNCHRONOUS))
