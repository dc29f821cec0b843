"""Evaluations over more and more connections, beside the floor."""

from contextlib import ExitStack
from typing import Final

from bench.contestants import bare, outbound
from bench.report import Chart, Section, figure, table
from bench.request import Request
from bench.stage import Rounds, Stage, Target

CONNECTIONS: Final = (1, 16, 64, 256)


def run(stage: Stage) -> Section:
    """Measure on the large register."""
    register = stage.register(stage.pace.sizes[2])
    with ExitStack() as stack:
        server = stage.serve(stack, register)
        floor = stack.enter_context(bare.serve("x" * 400, stage.folder / "bare"))
        ours = outbound.evaluation(server.base, register.key, register.size)
        theirs = Request(f"{floor.base}/access/v1/evaluation", ours.body, "x", ours.headers)
        targets = {_name("bare", count): Target(theirs, floor, count) for count in CONNECTIONS}
        targets |= {_name("ours", count): Target(ours, server, count) for count in CONNECTIONS}
        rounds = stage.interleave("connections", targets)
    return _section(rounds)


def _name(who: str, count: int) -> str:
    return f"{who} at {count}"


def _section(rounds: Rounds) -> Section:
    rows = [
        [
            str(count),
            figure(rounds.median(_name("ours", count))),
            figure(rounds.ratio(_name("ours", count), _name("bare", count)), 2),
            figure(rounds.median(_name("ours", count), lambda run: run.median), 2),
            figure(rounds.p99(_name("ours", count)), 2),
            figure(rounds.p99(_name("bare", count)), 2),
            figure(rounds.cores(_name("ours", count), "server"), 2),
            figure(rounds.cores(_name("ours", count), "postgres"), 2),
        ]
        for count in CONNECTIONS
    ]
    head = (
        "connections",
        "requests/s",
        "of bare ASGI",
        "median, ms",
        "p99, ms",
        "p99 of bare ASGI, ms",
        "server, cores",
        "PostgreSQL, cores",
    )
    rates = {
        told: [rounds.median(_name(who, count)) or 0.0 for count in CONNECTIONS]
        for who, told in (("ours", "Outbound"), ("bare", "bare ASGI"))
    }
    chart = Chart("Requests/s over connections", [str(count) for count in CONNECTIONS], rates)
    growth = rounds.ratio(_name("ours", CONNECTIONS[2]), _name("ours", CONNECTIONS[0]))
    return Section("connections", {"table": table(head, rows), "growth": figure(growth, 1)}, charts=[chart])
