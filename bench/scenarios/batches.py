"""Many decisions in one request, beside the rate at which PostgreSQL itself takes the same rows."""

import json
import random
from contextlib import ExitStack
from typing import Any, Final

from bench import floor
from bench.contestants import outbound
from bench.register import Register
from bench.report import Section, at_least, figure, table
from bench.request import Request
from bench.stage import Measuring, Rounds, Stage, Target

SIZES: Final = (1, 100, 1_000)
CONNECTIONS: Final = 16
BODIES: Final = 200
POSTGRES: Final = "PostgreSQL alone"


def run(stage: Stage) -> Section:
    """Measure on the large register; the rows that the gate writes are looked at on the small one."""
    register, small = stage.register(stage.pace.sizes[2]), stage.register(stage.pace.sizes[0])
    with ExitStack() as stack:
        # Only what the gate writes is to be seen there, not what the log makes of it later.
        server = stack.enter_context(outbound.serve(small.url, stage.folder / "outbound-floor", sequencer=False))
        with floor.Rows(small.url, lambda: _ask_once(server.base, small)) as rows:
            ours = stage.serve(stack, register)
            contestants: dict[str, Measuring] = {
                _name(size): Target(asking(ours.base, register, size), ours, CONNECTIONS) for size in SIZES
            }
            contestants[POSTGRES] = rows.insert
            rounds = stage.interleave("batches", contestants)
            written = rows.told()
    return _section(rounds, written)


def _name(size: int) -> str:
    return f"{size:,} a request"


def body(size: int, register: Register) -> str:
    """Return a request for so many decisions about datasets at random."""
    asked: dict[str, Any] = outbound.question("")
    del asked["resource"]
    chosen = random.choices(range(1, register.size + 1), k=size)  # noqa: S311 - load, no secret
    items = [{"resource": {"type": "dataset", "id": f"bench/{number}"}} for number in chosen]
    return json.dumps(asked | {"evaluations": items})


def asking(base: str, register: Register, size: int) -> Request:
    """Return a request with another body each time; each answer must hold an allow, and `_ask_once` saw that all of one were."""
    return Request(
        url=f"{base}/access/v1/evaluations",
        body="",
        bodies=[body(size, register) for _ in range(BODIES)],
        headers=outbound.bearer(register.key),
        expects='"reason":"permitted"',
        decisions=size,
    )


def _ask_once(base: str, register: Register) -> None:
    """Ask for a thousand decisions, and see that each is an allow."""
    told = floor.post(f"{base}/access/v1/evaluations", body(floor.DECISIONS, register), outbound.bearer(register.key))
    reasons = [answer["context"]["reason"] for answer in told["evaluations"]]
    if reasons != ["permitted"] * floor.DECISIONS:
        raise RuntimeError(f"The gate does not permit what the register was made for: {set(reasons)}")


def _section(rounds: Rounds, written: str) -> Section:
    def decisions(name: str) -> float | None:
        return rounds.median(name, lambda run: run.decision_rate)

    rows = [
        [name, figure(decisions(name)), figure(rounds.median(name)), figure(rounds.p99(name), 1)]
        for name in [*map(_name, SIZES), POSTGRES]
    ]
    ratio = rounds.ratio(_name(SIZES[-1]), POSTGRES, lambda run: run.decision_rate)
    head = ("", "decisions/s", "requests/s", "p99 of a request, ms")
    what = "decisions/s in batches of 1,000 against PostgreSQL's own rate for the same rows by one `INSERT … SELECT unnest`"
    return Section(
        "batches",
        {"table": table(head, rows), "written": written, "connections": str(CONNECTIONS)},
        bars=[at_least(what, 0.5, ratio)],
    )
