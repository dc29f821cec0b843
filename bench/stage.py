"""What every scenario works with: how long to measure, the registers, and runs of several contestants with their rounds interleaved."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from bench import load
from bench.contestants import outbound
from bench.register import Cluster, Register
from bench.request import LoadError, Request, Run
from bench.servers import Server, descendants, spent

MAIN: Final = 64
"""Connections where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured.

    Args:
        rounds: of every scenario.
        main_rounds: of the comparisons whose rounds lie further apart than what is measured lies from its bar.
        seconds: of one run.
        warm_up: seconds of load on each contestant before the first round.
        sizes: of the registers: small, middle, large.
        limit: seconds after which everything stops.
    """

    rounds: int
    main_rounds: int
    seconds: float
    warm_up: float
    sizes: tuple[int, int, int]
    limit: int

    @property
    def lanes(self) -> int:
        """Handlers for runs of exports in the middle register: two kinds a round, two to warm up, a race, and the reports."""
        return 2 * (self.rounds + 1) + 2


FULL: Final = Pace(rounds=3, main_rounds=7, seconds=4, warm_up=4, sizes=(1_000, 100_000, 1_000_000), limit=30 * 60)
QUICK: Final = Pace(rounds=1, main_rounds=1, seconds=2, warm_up=0.5, sizes=(1_000, 5_000, 20_000), limit=8 * 60)


@dataclass(frozen=True, slots=True)
class Target:
    """A contestant: whom to ask what, over how many connections.

    Args:
        request: what to ask, or what returns it anew for each run.
        server: whose time is told; None: nobody's.
        connections: kept open.
    """

    request: Request | Callable[[], Request]
    server: Server | None = None
    connections: int = MAIN


Generator = Callable[[Request, int, float, Path], Run]
"""Puts load on an address: what to send, from how many connections, for how many seconds, and a folder to work in."""
Measuring = Target | Callable[[float], Run]
"""A target under load, or whatever else measures a rate for some seconds."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What several contestants measured, round by round; a run that failed is missing."""

    runs: Mapping[str, Sequence[Run | None]]

    def median(self, name: str, of: Callable[[Run], float] = lambda run: run.rate) -> float | None:
        """Return the median of a figure over the rounds; None where no run counts."""
        found = [of(run) for run in self.runs.get(name, ()) if run is not None]
        return statistics.median(found) if found else None

    def ratio(self, one: str, other: str, of: Callable[[Run], float] = lambda run: run.rate) -> float | None:
        """Return the median over the rounds of the ratio within each; None where no round has both."""
        pairs = zip(self.runs.get(one, ()), self.runs.get(other, ()), strict=False)
        found = [of(a) / of(b) for a, b in pairs if a is not None and b is not None and of(b)]
        return statistics.median(found) if found else None

    def p99(self, name: str) -> float | None:
        """Return the median of the 99th percentiles, in milliseconds."""
        return self.median(name, lambda run: run.p99)

    def cores(self, name: str, part: str) -> float | None:
        """Return how many cores a part (`server`, `postgres`, `generator`) kept busy."""
        return self.median(name, lambda run: run.cores.get(part, 0.0))


@dataclass
class Stage:
    """One run of the measurements.

    Args:
        pace: how much is measured.
        cluster: the PostgreSQL of all contestants.
        folder: for whatever the run leaves behind.
        failures: runs that do not count, in words.
    """

    pace: Pace
    cluster: Cluster
    folder: Path
    failures: list[str] = field(default_factory=list)

    def register(self, size: int) -> Register:
        """Return the register of a size; the middle one has lanes for exports."""
        return self.cluster.register(size, self.pace.lanes if size == self.pace.sizes[1] else 0)

    def serve(self, stack: ExitStack, register: Register, workers: int = 1) -> Server:
        """Start ours on a register, until the stack is left."""
        folder = self.folder / f"outbound-{register.size}-{workers}"
        return stack.enter_context(outbound.serve(register.url, folder, workers))

    def interleave(
        self,
        scenario: str,
        contestants: Mapping[str, Measuring],
        rounds: int | None = None,
        by: Generator = load.run,
    ) -> Rounds:
        """Warm every contestant up, with a look at each answer, then measure them one after the other, round by round."""
        for name, contestant in contestants.items():
            self._measure(f"{scenario}, {name}, warming up", contestant, self.pace.warm_up, load.check)
        runs: dict[str, list[Run | None]] = {name: [] for name in contestants}
        for number in range(1, (rounds or self.pace.rounds) + 1):
            for name, contestant in contestants.items():
                told = f"{scenario}, {name}, round {number}"
                runs[name].append(self._measure(told, contestant, self.pace.seconds, by))
        return Rounds(runs)

    def _measure(self, told: str, contestant: Measuring, seconds: float, by: Generator) -> Run | None:
        try:
            run = self.load(contestant, seconds, by) if isinstance(contestant, Target) else contestant(seconds)
        except (LoadError, httpx.HTTPError) as error:
            self.fail(f"{told}: {error}")
            return None
        fault = run.fault()
        say(f"  {told}: {run.decision_rate:,.0f}/s, p99 {run.p99:.1f} ms{'' if fault is None else ' - FAILED'}")
        if fault is not None:
            self.fail(f"{told}: {fault}")
            return None
        return run

    def load(self, target: Target, seconds: float, by: Generator) -> Run:
        """Put load on a target, and tell how busy its server and PostgreSQL were."""
        request = target.request if isinstance(target.request, Request) else target.request()
        postgres = [self.cluster.process, *descendants(self.cluster.process)]
        before = 0.0 if target.server is None else target.server.busy(), spent(postgres)
        run = by(request, target.connections, seconds, self.folder)
        after = 0.0 if target.server is None else target.server.busy(), spent(postgres)
        # The generator's own start is no load: what was busy is told over the seconds that it sent for.
        busy = {"server": (after[0] - before[0]) / seconds, "postgres": (after[1] - before[1]) / seconds}
        return replace(run, cores={**run.cores, **busy})

    def fail(self, told: str) -> None:
        """Keep in words what went wrong: the whole run has then failed."""
        say(f"  FAILED {told}")
        self.failures.append(told)


def say(line: str) -> None:
    """Tell the person in front of the terminal how far it is."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
