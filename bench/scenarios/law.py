"""Determinations in-process, without any server."""

from bench import determination
from bench.report import Section, figure, table
from bench.stage import Stage, say


def run(stage: Stage) -> Section:
    """Measure."""
    del stage
    taken = determination.run()
    for name, microseconds in taken.items():
        say(f"  {name:<24}{microseconds:8.1f} µs")
    rows = [[name, figure(microseconds, 1)] for name, microseconds in taken.items()]
    return Section("law", {"table": table(("", "µs"), rows)})
