"""Finds the PostgreSQL server of a data folder, and takes no other process for it.

A pid in a file may be anybody's by now. The server of a folder is the process whose executable is PostgreSQL's, which works in that
folder, was started to serve it, and began when the file says; where a clock was set since, the one that answers at its socket.

Usage:
    server = server_of(cluster)  # None: nothing runs there, whatever `postmaster.pid` says
    if server is None:
        discard_stale_file(cluster)
"""

import os
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

FILE: Final = "postmaster.pid"
READY: Final = "ready"
_EXECUTABLE: Final = "postgres"
_TOLERANCE: Final = 10.0
"""Seconds between the start of a process and the one that it notes, on a machine with much to do."""
_START_TIMEOUT: Final = 10.0
"""Seconds that the last processes of a server which has died are waited for."""
_CREDENTIALS: Final = struct.Struct("3i")
_GONE: Final = (psutil.Error, OSError)


class DoubtfulServerError(RuntimeError):
    """A server runs in the data folder that its pid file does not name; it is left alone."""


@dataclass(frozen=True, slots=True)
class PidFile:
    """Lines of `postmaster.pid`; None for a line that is missing or not a number, since the file may be torn."""

    pid: int | None
    started: int | None
    port: int | None
    sockets: Path | None
    status: str | None

    @classmethod
    def of(cls, cluster: Path) -> "PidFile":
        """Read that of a folder."""
        try:
            lines = (cluster / FILE).read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        pid, _, started, port, sockets, _, _, status = (line.strip() for line in [*lines, *[""] * 8][:8])
        return cls(_number(pid), _number(started), _number(port), Path(sockets) if sockets else None, status or None)

    @property
    def socket(self) -> Path | None:
        """Address of the server."""
        return None if self.sockets is None or self.port is None else self.sockets / f".s.PGSQL.{self.port}"


def server_of(cluster: Path) -> psutil.Process | None:
    """Return the running server of a folder; None: there is none.

    Raises:
        DoubtfulServerError: a server runs there that the folder's pid file does not name, or not as what it is.
    """
    noted = PidFile.of(cluster)
    for process in _servers(cluster, noted.pid):
        if process.pid == noted.pid and (_began(process, noted.started) or _answers(process, noted.socket)):
            return process
        raise DoubtfulServerError(
            f"PostgreSQL runs there as process {process.pid}, but {cluster / FILE} does not say so. It is left alone: stop it yourself, "
            "or wait until it has ended"
        )
    return None


def discard_stale_file(cluster: Path) -> None:
    """Remove the pid file of a folder without a server, where it names a process that lives: PostgreSQL would believe it.

    Raises:
        DoubtfulServerError: processes of a server that has died are still there.
    """
    until = time.monotonic() + _START_TIMEOUT
    while remaining := [process.pid for process in psutil.process_iter() if _works_in(process, cluster)]:
        if time.monotonic() > until:
            raise DoubtfulServerError(f"Processes of a PostgreSQL that has died are still there ({remaining})")
        time.sleep(0.1)
    noted = PidFile.of(cluster)
    # One that names a process which is gone PostgreSQL sees through by itself; a torn one it does not.
    if noted.pid is None or noted.status is None or _is_there(noted.pid):
        (cluster / FILE).unlink(missing_ok=True)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None  # noqa: PLR2004


def _servers(cluster: Path, first: int | None) -> list[psutil.Process]:
    """Return the servers that run in a folder, the one of a pid before the others."""
    servers = [process for process in psutil.process_iter() if _serves(process, cluster)]
    return sorted(servers, key=lambda process: process.pid != first)


def _serves(process: psutil.Process, cluster: Path) -> bool:
    """Return True if a process was started as the server of a folder: its children work there too, but say so otherwise."""
    try:
        return _works_in(process, cluster) and "-D" in process.cmdline()
    except _GONE:
        return False


def _works_in(process: psutil.Process, cluster: Path) -> bool:
    """Return True if a process is one of PostgreSQL that works in a folder: the folder itself, not another one of its name."""
    try:
        if Path(process.exe().removesuffix(" (deleted)")).name != _EXECUTABLE:
            return False
        there = Path(f"/proc/{process.pid}/cwd")
        return (there if there.is_symlink() else Path(process.cwd())).samefile(cluster)
    except _GONE:  # it has ended, or is somebody's whose processes we may not look at
        return False


def _began(process: psutil.Process, started: int | None) -> bool:
    return started is not None and abs(process.create_time() - started) <= _TOLERANCE


def _answers(process: psutil.Process, path: Path | None) -> bool:
    """Return True if it is this process that listens at a socket, as the system says."""
    if path is None or not hasattr(socket, "SO_PEERCRED"):
        return False
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        probe.connect(str(path))
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return bool(_CREDENTIALS.unpack(credentials)[0] == process.pid)
    return False


def _is_there(pid: int) -> bool:
    """Return True if a signal would reach something under this number: a process, or a thread of one."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
