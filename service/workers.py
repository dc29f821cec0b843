"""Runs work on callers' data in helper processes with limits on processor time and memory.

A *foreman* process loads the modules once and forks a *helper* for each piece of work, within milliseconds and without state of earlier
work. A helper creates one object and calls its methods, one message at a time, so that the caller can query the database in between. It
ends when the caller closes the connection, or when its processor time is used up.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import pickle  # nosec B403 - between us and our own child
import resource
import select
import signal
import socket
import struct
import subprocess  # nosec B404 - starts this program itself
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

PRELOADED: Final = ("service.registry.import_plan", "service.registry.bulk", "service.transfers.file_types")
"""Modules that the foreman loads; none of them needs a database."""
MAX_CPU_SECONDS: Final = 120
"""Maximal processor time of one helper, in seconds."""
MAX_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Maximal memory of a helper in bytes, in addition to the foreman's."""
MAX_HELPERS: Final = 3
"""Maximal number of helpers of one server process; a caller has one at a time."""
MAX_WAITING: Final = 24
"""Maximal number of pieces of work that wait for a helper."""
NICENESS: Final = 10
"""Priority (`nice`) of helpers, below that of the gate's decisions."""

_LENGTH: Final = struct.Struct("!Q")
_CHUNK_BYTES: Final = 256 * 1024
_CONNECTION_ERRORS: Final = (ConnectionError, EOFError, OSError)


class QueueFullError(Exception):
    """Refusal of work because `MAX_WAITING` pieces wait already."""


class HelperEndedError(Exception):
    """End of a helper by its limits of processor time or memory, or by a fault."""


class Executor(Protocol):
    """Executor of a piece of work, in this process or another."""

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the work's object returns."""


class InProcess:
    """Does the work in the process of the caller, for commands, which serve nobody else."""

    def __init__(self, work: object) -> None:
        self._work = work

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the work's object returns."""
        return getattr(self._work, method)(*arguments)


class Helper:
    """A process that does one piece of work."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._process: int | None = None

    async def meet(self) -> None:
        """Receive the process id of the helper.

        Raises:
            HelperEndedError: there is no such process.
        """
        try:
            (pid,) = _LENGTH.unpack(await self._receive(_LENGTH.size))
            if hasattr(os, "pidfd_open"):
                self._process = os.pidfd_open(pid)
        except _CONNECTION_ERRORS as error:
            raise HelperEndedError("It could not be begun.") from error

    def end(self) -> None:
        """Kill the process, also during its work; on systems without `pidfd` it ends itself (`_exit_on_disconnect`)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = None

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the work's object returns.

        Raises:
            HelperEndedError: the process has ended.
        """
        return await self.send((method, arguments))

    async def send(self, message: Any) -> Any:
        """Send a message, and return the answer."""
        try:
            content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
            await self._loop.sock_sendall(self._connection, _LENGTH.pack(len(content)))
            await self._loop.sock_sendall(self._connection, content)
            (length,) = _LENGTH.unpack(await self._receive(_LENGTH.size))
            did, answer = pickle.loads(await self._receive(length))  # noqa: S301 - from our own child  # nosec B301
        except _CONNECTION_ERRORS as error:
            raise HelperEndedError("It was ended.") from error
        if not did:
            raise HelperEndedError(answer)
        return answer

    async def _receive(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            piece = await self._loop.sock_recv(self._connection, min(_CHUNK_BYTES, length - len(received)))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)


class HelperPool:
    """Helpers of one server process. The foreman starts with the first helper.

    Example:
        A plan of an import, of which only the faults come back::

            pool = HelperPool()
            async with pool.helper(caller.principal, ImportPlan, content) as helper:
                faults = await helper.ask("faults")
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_HELPERS)
        self._waiting = 0
        self._caller_locks: dict[str, asyncio.Lock] = {}
        self._foreman: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @asynccontextmanager
    async def helper(self, caller: str, make: Callable[..., object], *arguments: Any) -> AsyncIterator[Helper]:
        """Provide a helper that has created an object; it ends with the block.

        Args:
            caller: id of the caller.
            make: class or function that creates the object, of a preloaded module.
            arguments: arguments of `make`.

        Raises:
            QueueFullError: too much work waits.
            HelperEndedError: creating the object exceeded a limit or failed.
        """
        async with self._acquire_slot(caller):
            ours, theirs = socket.socketpair()
            try:
                ours.setblocking(False)
                with theirs:
                    await asyncio.to_thread(self._hand, theirs)
                helper = Helper(ours)
                try:
                    await helper.meet()
                    await helper.send((make, arguments))
                    yield helper
                finally:
                    helper.end()
            finally:
                ours.close()

    async def close(self) -> None:
        """End the foreman and all helpers."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._foreman is not None:
            await asyncio.to_thread(self._foreman.wait)
            self._foreman = None

    @asynccontextmanager
    async def _acquire_slot(self, caller: str) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise QueueFullError
        self._waiting += 1
        lock = self._caller_locks.setdefault(caller, asyncio.Lock())
        has_begun = False
        try:
            async with lock, self._slots:
                self._waiting -= 1
                has_begun = True
                yield
        finally:
            if not has_begun:
                self._waiting -= 1
            if not lock.locked():
                self._caller_locks.pop(caller, None)

    def _hand(self, connection: socket.socket) -> None:
        """Let the foreman fork a helper at the other end of a connection."""
        for is_last in (False, True):
            try:
                control = self._control or self._start()
                socket.send_fds(control, [b"."], [connection.fileno()])
            except OSError:  # the foreman has ended: start another
                self._control = None
                if is_last:
                    raise
            else:
                return

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._foreman = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)  # noqa: S603  # nosec B603
        self._control = ours
        return ours


def _run_foreman(control: socket.socket) -> None:
    """Fork a helper for each connection, until the server process ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for helpers
    os.nice(NICENESS)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            with contextlib.suppress(*_CONNECTION_ERRORS):
                _help(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _help(connection: socket.socket) -> None:
    """Create an object, and call its methods until the connection closes."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    with open("/proc/self/statm") if os.path.exists("/proc/self/statm") else contextlib.nullcontext() as statm:  # noqa: PTH110, PTH123
        pages = 0 if statm is None else int(statm.read().split()[0])
    limit = pages * resource.getpagesize() + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    threading.Thread(target=_exit_on_disconnect, args=(connection.fileno(),), daemon=True).start()
    connection.sendall(_LENGTH.pack(os.getpid()))
    work: Any = None
    while True:
        message = pickle.loads(_read(connection, _LENGTH.unpack(_read(connection, _LENGTH.size))[0]))  # noqa: S301 - from our own parent  # nosec B301
        try:
            method, arguments = message
            if work is None:
                work, answer = method(*arguments), None
            else:
                answer = getattr(work, method)(*arguments)
            content = pickle.dumps((True, answer), protocol=pickle.HIGHEST_PROTOCOL)
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - reported to the caller
            content = pickle.dumps((False, type(error).__name__))
        connection.sendall(_LENGTH.pack(len(content)) + content)


def _exit_on_disconnect(descriptor: int) -> None:
    """End this process when the connection closes, also during its work."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)


def _read(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(min(_CHUNK_BYTES, length - len(received)))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


if __name__ == "__main__":
    _run_foreman(socket.socket(fileno=int(sys.argv[1])))
