"""One server process and two, ours and the floor."""

import os
from contextlib import ExitStack
from typing import Final

from bench.contestants import bare, outbound
from bench.report import Section, figure, table
from bench.request import Request
from bench.scenarios.contestants import limit
from bench.stage import Rounds, Stage, Target

PROCESSES: Final = (1, 2)


def run(stage: Stage) -> Section:
    """Measure on the large register."""
    register = stage.register(stage.pace.sizes[2])
    targets: dict[str, Target] = {}
    with ExitStack() as stack:
        for count in PROCESSES:
            server = stage.serve(stack, register, count)
            ours = outbound.evaluation(server.base, register.key, register.size)
            floor = stack.enter_context(bare.serve("x" * 400, stage.folder / "bare", count))
            theirs = Request(f"{floor.base}/access/v1/evaluation", ours.body, "x", ours.headers)
            targets |= {_name("bare", count): Target(theirs, floor), _name("ours", count): Target(ours, server)}
        rounds = stage.interleave("processes", targets)
    return _section(rounds)


def _name(who: str, count: int) -> str:
    return f"{who}, {count} process{'' if count == 1 else 'es'}"


def _section(rounds: Rounds) -> Section:
    names = [_name(who, count) for who in ("ours", "bare") for count in PROCESSES]
    rows = [
        [
            name.replace("ours", "Outbound").replace("bare", "bare ASGI"),
            figure(rounds.median(name)),
            figure(rounds.p99(name), 2),
            figure(rounds.cores(name, "server"), 2),
            figure(rounds.cores(name, "postgres"), 2),
            figure(rounds.cores(name, "generator"), 2),
        ]
        for name in names
    ]
    head = ("", "requests/s", "p99, ms", "server, cores", "PostgreSQL, cores", "load, cores")
    return Section(
        "processes",
        {
            "table": table(head, rows),
            "growth": figure(rounds.ratio(_name("ours", 2), _name("ours", 1)), 2),
            "floor_growth": figure(rounds.ratio(_name("bare", 2), _name("bare", 1)), 2),
            "cores": str(os.cpu_count()),
            "limit": limit(rounds, _name("ours", 2), processes=2),
        },
    )
