"""Evaluations alone, and beside what others send in bulk: a long import, one grading for many datasets, hostile files."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Final

import httpx

from bench import load
from bench.contestants import outbound
from bench.probe import WAIT, Waited, probed
from bench.register import HANDLER, Register
from bench.report import Bar, Section, figure, table
from bench.request import Run
from bench.stage import FULL, Stage, Target

CONNECTIONS: Final = 8
MOST: Final = 3.0
"""Times the quiet 99th percentile at most."""
LONGEST: Final = 100.0
"""Milliseconds that the event loop may stand."""
STOPPED: Final = 1_000.0
"""Milliseconds within which a permit is suspended."""
QUIET: Final = 4
"""Runs without anything beside."""
GRADED: Final = 1_000
FILE: Final = 512 * 1024

Act = Callable[[httpx.Client], None]


@dataclass(slots=True)
class Beside:
    """What was measured beside one kind of work."""

    runs: list[Run] = field(default_factory=list)
    longest: float = 0.0
    """Milliseconds until the slowest answer of `/livez`, asked for by one client."""
    suspended: float = 0.0
    """Milliseconds until the slowest suspension of a permit was answered."""
    seconds: float = 0.0

    @property
    def p99(self) -> float:
        """The median of the runs, in milliseconds."""
        return statistics.median(run.p99 for run in self.runs)

    @property
    def wrong(self) -> int:
        """Answers that were not what was expected."""
        return sum(run.wrong for run in self.runs)


def run(stage: Stage) -> Section:
    """Measure on the middle register, with one server process."""
    register = stage.register(stage.pace.sizes[1])
    found: dict[str, Beside] = {}
    with ExitStack() as stack:
        server = stage.serve(stack, register)
        target = Target(outbound.evaluation(server.base, register.key, register.size), server, CONNECTIONS)
        stage.load(target, stage.pace.warm_up, load.check)
        acts = _acts(stage, register)
        for place, (name, act) in enumerate(acts.items()):
            first = 1 + place * register.size // len(acts)
            found[name] = _measured(stage, target, probed(server.base, register.reviewer, first), act)
    for name, one in found.items():
        if one.wrong:
            stage.fail(f"beside, {name}: {one.wrong} answers were not what was expected")
    return _section(found)


def _acts(stage: Stage, register: Register) -> Mapping[str, Act | None]:
    """Return what is done beside: nothing at first."""
    rows, files = stage.pace.sizes[1], 100 if stage.pace is FULL else 10
    return {
        "quiet": None,
        f"{rows:,} rows imported": lambda http: _import(http, register, rows),
        f"{GRADED:,} datasets graded": lambda http: _grade(http, register),
        f"{files} hostile files": lambda http: _send_hostile(http, register, files),
    }


def _measured(stage: Stage, target: Target, probe: AbstractContextManager[Waited], act: Act | None) -> Beside:
    beside = Beside()
    began = time.monotonic()
    with probe as waited, httpx.Client(base_url=target.server.base, timeout=WAIT) as http:
        working = threading.Thread(target=act or (lambda _: time.sleep(QUIET * stage.pace.seconds)), args=(http,))
        working.start()
        while working.is_alive() or not beside.runs:
            beside.runs.append(stage.load(target, stage.pace.seconds, load.run))
        working.join()
    beside.seconds, beside.longest, beside.suspended = time.monotonic() - began, waited.small, waited.suspended
    return beside


def _import(http: httpx.Client, register: Register, rows: int) -> None:
    lines = "".join(f'beside/{n},Table {n},Team,"id:bigint;phone:string:user.contact"\n' for n in range(rows))
    told = _sent(http, register, "key,title,owner,fields\n" + lines, "text/csv")
    if told.status_code != httpx.codes.OK:
        raise RuntimeError(told.text[:200])


def _grade(http: httpx.Client, register: Register) -> None:
    body = {"tags": ["personal"], "reason": "Measured", "basis": "PIPL art. 4"}
    datasets = [f"beside/{n}" for n in range(GRADED)]
    told = http.post("/v1/gradings", json=body | {"datasets": datasets}, headers=outbound.bearer(register.registrar))
    if told.status_code != httpx.codes.CREATED:
        raise RuntimeError(told.text[:200])


def _send_hostile(http: httpx.Client, register: Register, files: int) -> None:
    flow = "dataset: [" + "a," * (FILE // 2) + "]"
    unit = "  - name: f\n    fields:\n    - name: a\n"
    collections = "dataset:\n- fides_key: x\n  collections:\n" + unit * (FILE // len(unit))
    for number in range(files):
        told = _sent(http, register, (flow, collections)[number % 2], "application/yaml")
        if told.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            raise RuntimeError(told.text[:200])


def _sent(http: httpx.Client, register: Register, content: str, kind: str) -> httpx.Response:
    headers = outbound.bearer(register.registrar) | {"Content-Type": kind}
    return http.post("/v1/datasets/import", params={"handler": HANDLER}, content=content, headers=headers)


def _section(found: Mapping[str, Beside]) -> Section:
    quiet = found["quiet"]
    others = [one for name, one in found.items() if name != "quiet"]
    ratio = max(one.p99 for one in others) / quiet.p99
    longest, suspended = (max(getattr(one, name) for one in others) for name in ("longest", "suspended"))
    rows = [
        [
            name,
            figure(one.seconds),
            figure(max(run.rate for run in one.runs)),
            figure(one.p99, 1),
            figure(max(run.p99 for run in one.runs), 1),
            figure(one.longest, 1),
            figure(one.suspended, 1),
            str(one.wrong),
        ]
        for name, one in found.items()
    ]
    head = (
        "",
        "seconds",
        "evaluations/s",
        "p99, ms",
        "highest p99, ms",
        "longest /livez, ms",
        "longest suspension, ms",
        "wrong answers",
    )
    wrong = sum(one.wrong for one in others)
    return Section(
        "beside",
        {"table": table(head, rows), "connections": str(CONNECTIONS)},
        bars=[
            Bar("wrong answers to evaluations during bulk work", "none", str(wrong), wrong == 0),
            Bar(
                "p99 of evaluations during bulk work against alone",
                f"at most {MOST:g} times",
                f"{ratio:.2f}",
                ratio <= MOST,
            ),
            Bar(
                "stall of the event loop during bulk work",
                f"at most {LONGEST:g} ms",
                f"{longest:.0f} ms",
                longest <= LONGEST,
            ),
            Bar(
                "time to suspend a permit during bulk work",
                f"within {STOPPED:g} ms",
                f"{suspended:.0f} ms",
                suspended <= STOPPED,
            ),
        ],
    )
