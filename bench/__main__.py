"""`make bench`: measures everything, prints the targets, writes docs/performance.md and bench/results.md."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer

from bench import machine, pages, plot, report
from bench.register import Cluster
from bench.report import Section
from bench.scenarios import (
    batches,
    beside,
    connections,
    contestants,
    exports,
    hashes,
    law,
    log,
    packs,
    processes,
    sizes,
    state,
)
from bench.stage import FULL, QUICK, Stage, say
from service.database.embedded import EmbeddedServer

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
DETAILS: Final = Path(__file__).parent / "results.md"
SCENARIOS: Final[Mapping[str, Callable[[Stage], Section]]] = {
    "contestants": contestants.run,
    "batches": batches.run,
    "exports": exports.run,
    "sizes": sizes.run,
    "hashes": hashes.run,
    "connections": connections.run,
    "processes": processes.run,
    "beside": beside.run,
    "law": law.run,
    "log": log.run,
    "state": state.run,
    "packs": packs.run,
}


class OutOfTimeError(Exception):
    """The measurements took longer than they may."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small registers and short runs: to try it out.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"One of: {', '.join(SCENARIOS)}; may be repeated.")] = None,
    to: Annotated[
        Path | None, typer.Option("--report", help="Where to write the page, with its plot and the other results.")
    ] = None,
) -> None:
    """Measure side by side; ends with 1 when a run failed, whether or not the bars are met."""
    unknown = set(only or ()) - SCENARIOS.keys()
    if unknown:
        raise typer.BadParameter(f"There is no {', '.join(sorted(unknown))}.", param_hint="--only")
    chosen = [name for name in SCENARIOS if only is None or name in only]
    is_whole = not quick and only is None
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)  # now, and not when all has been measured
    signal.signal(signal.SIGTERM, _stop)
    folder = Path(tempfile.mkdtemp(prefix="outbound-bench-"))
    # Asked for before the embedded server is: so it comes after the server's own last act, which would make the folder anew.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pages.lent(), EmbeddedServer(folder) as server:
        stage = Stage(QUICK if quick else FULL, Cluster(server, folder), folder)
        sections = _measure(stage, chosen)
        versions = machine.table(server.url)
    charts = [chart for section in sections for chart in section.charts]
    page = to or (PAGE if is_whole else None)
    details = DETAILS if to is None else to.with_stem(f"{to.stem}-details")
    if page is not None:
        picture = page.with_suffix(".svg")
        picture.write_text(plot.draw(charts), "utf-8")
        link = os.path.relpath(details, page.parent)
        page.write_text(report.page(sections, stage.failures, picture.name, link), "utf-8")
        details.write_text(report.details(versions, sections, os.path.relpath(page, details.parent)), "utf-8")
        print(f"{page}, {picture.name} and {details} are written.")
        print(report.bars_table(sections))
    else:
        print(report.page(sections, stage.failures, None, details.name))
        print(report.details(versions, sections, PAGE.name))
    for failure in stage.failures:
        print(f"FAILED {failure}")
    raise typer.Exit(1 if stage.failures else 0)


def _measure(stage: Stage, chosen: Sequence[str]) -> list[Section]:
    """Run the scenarios one after the other; one that breaks, or the end of the time, does not take the others' figures along."""
    sections: list[Section] = []
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.alarm(stage.pace.limit)
    for name in chosen:
        began = time.monotonic()
        say(f"{name}:")
        try:
            sections.append(SCENARIOS[name](stage))
        except OutOfTimeError:
            stage.fail(f"{name}: the time for all measurements, {stage.pace.limit} s, was over")
            break
        except Exception as error:  # noqa: BLE001 - it is told, and fails the run
            stage.fail(f"{name}: {type(error).__name__}: {error}")
        say(f"  took {time.monotonic() - began:.0f} s")
    signal.alarm(0)
    return sections


def _time_is_up(signal_number: int, frame: FrameType | None) -> NoReturn:
    del signal_number, frame
    raise OutOfTimeError


def _stop(signal_number: int, frame: FrameType | None) -> NoReturn:
    """Let go of every server on the way out."""
    del frame
    sys.exit(128 + signal_number)


if __name__ == "__main__":
    typer.run(main)
