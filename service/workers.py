"""Runs work on what callers send in processes of its own, each with a bound on its processor time and its memory.

```python
async with workshop.helper(caller.principal, ImportPlan, content) as reading:
    faults = await reading.ask("faults")
```

A *foreman* process loads the modules that are needed once, and forks a *helper* for each piece of work: within some milliseconds, and with
nothing left of the work before. A helper makes one object and calls its methods, one message at a time, so that whoever asks can go
to the database in between. It is ended when whoever asked has let go of it, and when it has used up its processor time.
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
"""Modules with work for helpers; none of them needs a database."""
SECONDS: Final = 120
"""Processor time of one helper at most."""
MEMORY: Final = 1024 * 1024 * 1024
"""Bytes of memory at most that a helper may take beside what the foreman has."""
HELPERS: Final = 3
"""Helpers at a time at most, of one server process; one caller has one of them at a time."""
MAX_WAITING: Final = 24
"""Pieces of work that wait for one at most."""
NICE: Final = 10
"""Decisions come first where there are few processors."""

_LENGTH: Final = struct.Struct("!Q")
_PIECE: Final = 256 * 1024
_DEAD: Final = (ConnectionError, EOFError, OSError)


class CrowdedError(Exception):
    """More work waits than is taken on."""


class SpentError(Exception):
    """A helper was ended since it took more processor time or memory than it may, or broke down."""


class Asks(Protocol):
    """Executor of a piece of work, in this process or another."""

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the work's object returns."""


class Here:
    """Does the work in this very process: for commands, which hold nobody up."""

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
        """Find out which process it is.

        Raises:
            SpentError: there is none.
        """
        try:
            (pid,) = _LENGTH.unpack(await self._received(_LENGTH.size))
            if hasattr(os, "pidfd_open"):
                self._process = os.pidfd_open(pid)
        except _DEAD as error:
            raise SpentError("It could not be begun.") from error

    def end(self) -> None:
        """End the process, in the middle of its work if it is at work; elsewhere than on Linux it ends itself (`_leave_with`)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = None

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the work's object returns.

        Raises:
            SpentError: it has been ended.
        """
        return await self.send((method, arguments))

    async def send(self, message: Any) -> Any:
        """Send a message, and return the answer."""
        try:
            content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
            await self._loop.sock_sendall(self._connection, _LENGTH.pack(len(content)))
            await self._loop.sock_sendall(self._connection, content)
            (length,) = _LENGTH.unpack(await self._received(_LENGTH.size))
            did, answer = pickle.loads(await self._received(length))  # noqa: S301 - from our own child  # nosec B301
        except _DEAD as error:
            raise SpentError("It was ended.") from error
        if not did:
            raise SpentError(answer)
        return answer

    async def _received(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            piece = await self._loop.sock_recv(self._connection, min(_PIECE, length - len(received)))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)


class Workshop:
    """The helpers of one server process. The foreman is started when the first one is needed."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(HELPERS)
        self._waiting = 0
        self._of_callers: dict[str, asyncio.Lock] = {}
        self._foreman: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @asynccontextmanager
    async def helper(self, caller: str, make: Callable[..., object], *arguments: Any) -> AsyncIterator[Helper]:
        """Give a helper that has made an object; it is ended with the block.

        Args:
            caller: whose work it is.
            make: a class or function of a module that is preloaded.
            arguments: what it takes.

        Raises:
            CrowdedError: too much waits already.
            SpentError: making it took too much.
        """
        async with self._turn(caller):
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
        """Let the foreman go, with all helpers that are at work."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._foreman is not None:
            await asyncio.to_thread(self._foreman.wait)
            self._foreman = None

    @asynccontextmanager
    async def _turn(self, caller: str) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise CrowdedError
        self._waiting += 1
        lock = self._of_callers.setdefault(caller, asyncio.Lock())
        has_begun = False
        try:
            async with lock, self._room:
                self._waiting -= 1
                has_begun = True
                yield
        finally:
            if not has_begun:
                self._waiting -= 1
            if not lock.locked():
                self._of_callers.pop(caller, None)

    def _hand(self, connection: socket.socket) -> None:
        """Have the foreman fork a helper at the other end of a connection."""
        for is_last in (False, True):
            try:
                control = self._control or self._start()
                socket.send_fds(control, [b"."], [connection.fileno()])
            except OSError:  # it has gone: another one takes its place
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
    """Fork a helper for each connection that comes, until whoever started this has gone."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for helpers
    os.nice(NICE)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            with contextlib.suppress(*_DEAD):
                _help(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _help(connection: socket.socket) -> None:
    """Make an object, and call its methods as long as somebody asks."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    with open("/proc/self/statm") if os.path.exists("/proc/self/statm") else contextlib.nullcontext() as statm:  # noqa: PTH110, PTH123
        pages = 0 if statm is None else int(statm.read().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    threading.Thread(target=_leave_with, args=(connection.fileno(),), daemon=True).start()
    connection.sendall(_LENGTH.pack(os.getpid()))
    work: Any = None
    while True:
        message = pickle.loads(_read(connection, _LENGTH.unpack(_read(connection, _LENGTH.size))[0]))  # noqa: S301 - from our own parent  # nosec B301
        try:
            what, arguments = message
            if work is None:
                work, answer = what(*arguments), None
            else:
                answer = getattr(work, what)(*arguments)
            content = pickle.dumps((True, answer), protocol=pickle.HIGHEST_PROTOCOL)
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            content = pickle.dumps((False, type(error).__name__))
        connection.sendall(_LENGTH.pack(len(content)) + content)


def _leave_with(descriptor: int) -> None:
    """End this process when whoever asked has let go of it, in the middle of its work."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(1)


def _read(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(min(_PIECE, length - len(received)))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


if __name__ == "__main__":
    _run_foreman(socket.socket(fileno=int(sys.argv[1])))
