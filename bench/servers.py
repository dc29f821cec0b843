"""Servers that a run starts, watches and stops: on 127.0.0.1, on ports that nobody holds, in process groups of their own."""

import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from service.commands.listen_address import free_port

READY_WITHIN: Final = 90.0
STOPPED_WITHIN: Final = 20.0
LOOKED_AT_EVERY: Final = 0.1
TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PROC: Final = Path("/proc")


class ServerError(RuntimeError):
    """A server did not start; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one server process in MiB: what it holds now, and the most that it held."""

    resident: float
    peak: float


class Server:
    """A server process and its children, from the first answer until the end of the `with` block.

    Args:
        command: starts it; `{port}` is filled in.
        folder: where it runs and what it says is kept.
        environment: set besides what this process has, less everything that configures Outbound.
        probe: a path that is answered once it is ready, whatever the status.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, probe: str = "/"
    ) -> None:
        self.port = free_port()
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._folder = folder
        self._environment = dict(environment)
        self._probe = probe
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it, and wait until it answers.

        Raises:
            ServerError: it ended, or did not answer in time.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOUND_")}
        with (self._folder / f"{self.port}.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=inherited | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it with everything that it started."""
        self._stop()

    def _await(self) -> None:
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.base + self._probe, timeout=5).close()  # noqa: S310 - http on 127.0.0.1
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)
            else:
                return
        said = (self._folder / f"{self.port}.log").read_text("utf-8", "replace").strip()
        raise ServerError(f"{self._command[0]} did not answer on {self.base}: {said[-800:]}")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPED_WITHIN)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def processes(self) -> list[int]:
        """Return its processes."""
        return [] if self._process is None else [self._process.pid, *descendants(self._process.pid)]

    def busy(self) -> float:
        """Return the processor seconds that its processes have taken."""
        return spent(self.processes())

    def memory(self) -> Memory | None:
        """Return what its largest process holds; None where there is no /proc."""
        held = [memory for memory in map(_memory, self.processes()) if memory is not None]
        return max(held, key=lambda memory: memory.resident, default=None)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command took: seconds, and the most memory that it and its children held in MiB, each at its own worst moment."""

    seconds: float
    peak: float


def ended(command: Sequence[str], **environment: str) -> Ended:
    """Run a command of this checkout to its end.

    Raises:
        ServerError: it ended with another code than 0.
    """
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | environment
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT)
        while not _is_over(process):
            for each in (process.pid, *descendants(process.pid)):
                if (memory := _memory(each)) is not None:
                    peaks[each] = memory.peak
        seconds = time.monotonic() - began
        said.seek(0)
        if process.returncode:
            raise ServerError(f"{command[1:3]} ended with {process.returncode}: {said.read().decode()[-800:]}")
    return Ended(seconds, sum(peaks.values()))


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(LOOKED_AT_EVERY)
    except subprocess.TimeoutExpired:
        return False
    return True


def descendants(process: int) -> list[int]:
    """Return the children of a process, and theirs; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        if (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], list(children.get(process, ()))
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], ())
    return found


def spent(processes: Sequence[int]) -> float:
    """Return the processor seconds of processes, those of their ended children included."""
    fields = [found for found in map(_stat, processes) if found is not None]
    return sum(int(field) for found in fields for field in found[11:15]) / TICKS


def _stat(process: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third on (state, parent, …)."""
    try:
        return (PROC / str(process) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None


def _memory(process: int) -> Memory | None:
    try:
        lines = (PROC / str(process) / "status").read_text("utf-8").splitlines()
    except OSError:
        return None
    told = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    if "VmRSS" not in told or "VmHWM" not in told:
        return None
    return Memory(int(told["VmRSS"][0]) / 1024, int(told["VmHWM"][0]) / 1024)


Busy = Callable[[], float]
