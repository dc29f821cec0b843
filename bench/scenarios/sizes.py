"""The same question with ever more datasets and permits in the register: speed, and memory of the server process."""

from contextlib import ExitStack
from typing import Final

from bench.contestants import outbound
from bench.report import Bar, Chart, Section, at_least, figure, ratio_told, table
from bench.servers import Memory
from bench.stage import Rounds, Stage, Target

MOST_MEMORY: Final = 300
MOST_GROWTH: Final = 1.1


def run(stage: Stage) -> Section:
    """Measure on all three registers, each with a server of its own."""
    sizes = stage.pace.sizes
    with ExitStack() as stack:
        servers, targets = {}, {}
        for size in sizes:
            register = stage.register(size)
            servers[size] = stage.serve(stack, register)
            asked = outbound.evaluation(servers[size].base, register.key, size)
            targets[_name(size)] = Target(asked, servers[size])
        rounds = stage.interleave("sizes", targets, stage.pace.main_rounds)
        memory = {size: server.memory() for size, server in servers.items()}
    return _section(rounds, memory)


def _name(size: int) -> str:
    return f"{size:,} datasets"


def _section(rounds: Rounds, memory: dict[int, Memory | None]) -> Section:
    small, *_, large = memory
    rows = []
    for size, held in memory.items():
        mib = ("–", "–") if held is None else (figure(held.resident), figure(held.peak))
        ratio = figure(rounds.ratio(_name(size), _name(small)), 2)
        rows.append([f"{size:,}", figure(rounds.median(_name(size))), ratio, figure(rounds.p99(_name(size)), 2), *mib])
    head = ("datasets and permits", "requests/s", f"of {small:,}", "p99, ms", "resident, MiB", "peak, MiB")
    return Section(
        "sizes",
        {"table": table(head, rows)},
        bars=[
            at_least(
                f"evaluation at {large:,} datasets and permits against at {small:,}",
                0.85,
                rounds.ratio(_name(large), _name(small)),
            ),
            _memory_bar(large, small, memory),
        ],
        charts=[
            Chart(
                "Requests/s by datasets and permits",
                [f"{size:,}" for size in memory],
                {"Outbound": [rounds.median(_name(size)) or 0.0 for size in memory]},
            )
        ],
    )


def _memory_bar(large: int, small: int, memory: dict[int, Memory | None]) -> Bar:
    what = f"memory of a server process at {large:,} against at {small:,}"
    wanted = f"at most {MOST_GROWTH} times, and under {MOST_MEMORY} MiB"
    most, least = memory[large], memory[small]
    if most is None or least is None:
        return Bar(what, wanted, "not measured", None)
    growth = most.peak / least.peak
    measured = f"{ratio_told(growth)} times, {most.peak:.0f} MiB at its peak"
    return Bar(what, wanted, measured, growth <= MOST_GROWTH and most.peak < MOST_MEMORY)
