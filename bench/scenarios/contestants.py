"""One evaluation at a time over 64 connections: ours beside the floor, a framework, an ORM transaction and Cerbos."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx

from bench import load
from bench.contestants import bare, cerbos, naive, noop, outbound
from bench.register import Register
from bench.report import Chart, Section, at_least, at_most, figure, table
from bench.request import Request
from bench.servers import Server
from bench.stage import MAIN, Measuring, Rounds, Stage, Target, say

OURS: Final = "Outbound"
BARE: Final = "bare ASGI"
NOOP: Final = "FastAPI, no work"
NAIVE: Final = "one ORM transaction each"
CERBOS: Final = "Cerbos, decision log on"
BUSY: Final = 0.9
"""Of one core: from there on it is called the limit."""


def run(stage: Stage) -> Section:
    """Measure on the large register."""
    register = stage.register(stage.pace.sizes[2])
    with ExitStack() as stack:
        server = stage.serve(stack, register)
        ours = outbound.evaluation(server.base, register.key, register.size)
        contestants: dict[str, Measuring] = dict(_others(stage, stack, register, ours))
        program = cerbos.install(stage.folder / "npm")
        logged = stage.folder / "cerbos"
        if isinstance(program, Path):
            rival = stack.enter_context(cerbos.serve(program, logged))
            contestants[CERBOS] = Target(cerbos.check(rival.base, register.size), rival)
        else:
            say(f"  Cerbos is missing: {program}")
        contestants[OURS] = Target(ours, server)
        rounds = stage.interleave("contestants", contestants, stage.pace.main_rounds)
        if isinstance(program, Path) and not cerbos.has_logged(logged):
            stage.fail("contestants, Cerbos: nothing is in its decision log")
        by_k9 = _by_k9(stage, rounds, contestants)
    return _section(rounds, contestants, register, by_k9, None if isinstance(program, Path) else program)


def _others(stage: Stage, stack: ExitStack, register: Register, ours: Request) -> dict[str, Target]:
    """Start the contestants that are asked the same question; the constant answers are as long as a real one of ours."""
    body = ours.body.replace(f"{{{{ randomInt(1, {register.size}) }}}}", "1")
    told = httpx.post(ours.url, content=body, headers={"Content-Type": "application/json", **ours.headers}, timeout=30)
    servers = {
        BARE: bare.serve(told.text, stage.folder / "bare"),
        NOOP: noop.serve(told.text, stage.folder / "noop"),
        NAIVE: naive.serve(register.url, stage.folder / "naive"),
    }
    return {name: Target(_asking(ours, stack.enter_context(server)), server) for name, server in servers.items()}


def _asking(ours: Request, server: Server) -> Request:
    return Request(f"{server.base}/access/v1/evaluation", ours.body, ours.expects, ours.headers)


def _by_k9(stage: Stage, rounds: Rounds, contestants: dict[str, Measuring]) -> str:
    """Return in a sentence what the heavier generator measures of the floor, Cerbos and ours, where wrk was the first."""
    if not load.is_light():
        return "The load came from k9, since wrk is not on PATH: it compares every answer, on the same processors."
    some: dict[str, Measuring] = {name: contestants[name] for name in (BARE, CERBOS, OURS) if name in contestants}
    again = stage.interleave("contestants by k9", some, by=load.check)
    told = [f"{figure(again.ratio(OURS, name), 2)} of {name}" for name in some if name != OURS]
    costs = " and ".join(f"{_cost(one, OURS)} ({who})" for who, one in (("wrk", rounds), ("k9", again)))
    return (
        f"The load came from wrk. Under k9, which compares the text of every answer, Outbound reached {' and '.join(told)}: "
        f"it takes more of the shared processors, {costs} microseconds of one for each request to Outbound."
    )


def _cost(rounds: Rounds, name: str) -> str:
    rate, cores = rounds.median(name), rounds.cores(name, "generator")
    return figure(None if rate is None or cores is None else 1e6 * cores / rate, 0)


def _section(
    rounds: Rounds, contestants: dict[str, Measuring], register: Register, by_k9: str, missing: str | None
) -> Section:
    rows = [
        [
            name,
            figure(rounds.median(name)),
            figure(rounds.ratio(OURS, name), 2),
            figure(rounds.median(name, lambda run: run.median), 2),
            figure(rounds.p99(name), 2),
            figure(rounds.cores(name, "server"), 2),
            figure(rounds.cores(name, "postgres"), 2),
            figure(rounds.cores(name, "generator"), 2),
        ]
        for name in contestants
    ]
    head = (
        "",
        "requests/s",
        "Outbound against it",
        "median, ms",
        "p99, ms",
        "server, cores",
        "PostgreSQL, cores",
        "load, cores",
    )
    rates = {name: rate for name in contestants if (rate := rounds.median(name)) is not None}
    return Section(
        "contestants",
        {
            "table": table(head, rows),
            "size": f"{register.size:,}",
            "seeded": f"{register.seconds:.0f}",
            "connections": str(MAIN),
            "cerbos": "" if missing is None else f"Cerbos is missing from this run: {missing}.",
            "by_k9": by_k9,
            "limit": limit(rounds, OURS),
        },
        bars=[
            at_least(
                "durable evaluation against bare ASGI, 64 connections, one process",
                0.30,
                rounds.ratio(OURS, BARE),
                " (aim 0.40)",
            ),
            at_least(
                "durable evaluation against Cerbos with its decision log on",
                2.5,
                rounds.ratio(OURS, CERBOS),
                " (aim 4)",
            ),
            at_least("durable evaluation against one ORM transaction per request", 12, rounds.ratio(OURS, NAIVE)),
            at_most(
                "p99 at 64 connections against bare ASGI's p99",
                6,
                rounds.ratio(OURS, BARE, lambda run: run.p99),
                " times",
            ),
        ],
        charts=[Chart(f"Requests/s at {MAIN} connections", [""], {name: [rate] for name, rate in rates.items()})]
        if rates
        else [],
    )


def limit(rounds: Rounds, name: str, processes: int = 1) -> str:
    """Return in a sentence what kept a contestant from being faster."""
    parts = {part: rounds.cores(name, part) for part in ("server", "postgres", "generator")}
    if any(value is None for value in parts.values()):
        return "The limit was not measured."
    server, postgres, generator = (value or 0.0 for value in parts.values())
    cores = f"Under this load the server uses {server:.2f} cores, PostgreSQL {postgres:.2f}, the load generator {generator:.2f}"
    if processes == 1 and server >= BUSY:
        return f"{cores}: the limit is the one thread of Python, and another process helps where cores are left."
    if server + postgres + generator >= BUSY * (os.cpu_count() or 1):
        return f"{cores}: the limit is the cores of this machine, which all three share."
    return f"{cores}. None is busy all the time: they wait for commits to reach the disk, and for each other."
