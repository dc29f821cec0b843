"""Builds the page on performance, and the results beside it: texts are templates, every number comes from a run."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

TEXTS: Final = Path(__file__).parent / "texts"
NOT_MEASURED: Final = "not measured"
ON_PAGE: Final = ("contestants", "batches", "exports", "connections")
"""Scenarios whose tables are on the page on performance."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the specification.

    Args:
        what: what is compared with what.
        wanted: the bar in words.
        measured: what was measured, in words.
        met: whether that is enough; None: it was not measured.
    """

    what: str
    wanted: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Rates to draw: of each name one at every place.

    Args:
        title: above it.
        places: along the line; a single one: bars instead of a line.
        rates: by name.
    """

    title: str
    places: Sequence[str]
    rates: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Section:
    """What one scenario tells.

    Args:
        name: of the scenario and of its text.
        values: fill the text in: figures, sentences and tables.
        bars: read from it.
        charts: drawn of it.
    """

    name: str
    values: Mapping[str, str]
    bars: Sequence[Bar] = field(default=())
    charts: Sequence[Chart] = field(default=())

    def text(self) -> str:
        """Return the section as Markdown, with the command that prints it below the heading."""
        heading, _, rest = filled(self.name, self.values).partition("\n\n")
        break_ = "\n\n" if rest.startswith("|") else " "
        return f"{heading}\n\nPrinted by `.venv/bin/python -m bench {option(self.name)}`.{break_}{rest}"


def option(name: str) -> str:
    """Return the option that runs one scenario alone."""
    return f"--only {name}"


def filled(name: str, values: Mapping[str, str]) -> str:
    """Return a text of the folder `texts` with its values."""
    return Template((TEXTS / f"{name}.md").read_text("utf-8")).substitute(values).strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first hold figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: float | None, digits: int = 0) -> str:
    """Return a figure for a table."""
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio_told(ratio: float) -> str:
    """Return a ratio for a bar with three digits, so that hardly one rounds to the bar that it missed."""
    return f"{ratio:.3g}"


def at_least(what: str, wanted: float, ratio: float | None, note: str = "") -> Bar:
    """Return the bar of a ratio that must not be lower."""
    measured = NOT_MEASURED if ratio is None else ratio_told(ratio)
    return Bar(what, f"at least {wanted:g}{note}", measured, None if ratio is None else ratio >= wanted)


def at_most(what: str, wanted: float, ratio: float | None, unit: str = "") -> Bar:
    """Return the bar of a figure that must not be higher."""
    measured = NOT_MEASURED if ratio is None else ratio_told(ratio) + unit
    return Bar(what, f"at most {wanted:g}{unit}", measured, None if ratio is None else ratio <= wanted)


def bars_table(sections: Sequence[Section]) -> str:
    """Return all targets as a table, each with the option that measures it."""
    verdicts = {True: "met", False: "**missed**", None: NOT_MEASURED}
    lines = ["| comparison | target | measured | | option |", "| --- | --- | ---: | --- | --- |"]
    lines += [
        f"| {bar.what} | {bar.wanted} | {bar.measured} | {verdicts[bar.met]} | `{option(section.name)}` |"
        for section in sections
        for bar in section.bars
    ]
    return "\n".join(lines)


def page(sections: Sequence[Section], failures: Sequence[str], plot: str | None, details: str) -> str:
    """Return the page on performance: ratios, and the sections that `ON_PAGE` lists.

    Args:
        sections: the results.
        failures: runs that do not count, in words.
        plot: file name of the plot in the same folder.
        details: path of the other results, from the page.
    """
    failed = filled("failures", {"failures": "\n".join(f"- {failure}" for failure in failures)}) if failures else ""
    values = {
        "bars": bars_table(sections),
        "cores": str(os.cpu_count()),
        "details": details,
        "failures": failed,
        "plot": "" if plot is None else f"![Rates, drawn from the tables below]({plot})",
    }
    parts = [
        filled("page", values),
        *(section.text() for section in sections if section.name in ON_PAGE),
        filled("costs", {"details": details}),
        filled("running", {}),
    ]
    return joined(parts)


def details(machine: str, sections: Sequence[Section], page: str) -> str:
    """Return the other results.

    Args:
        machine: the table of machine and versions.
        sections: the results.
        page: path of the page on performance, from these results.
    """
    parts = [
        filled("details", {"machine": machine, "page": page}),
        *(section.text() for section in sections if section.name not in ON_PAGE),
    ]
    return joined(parts)


def joined(parts: Iterable[str]) -> str:
    """Return a page of its parts, without the gaps that empty values leave."""
    text = re.sub(r" +$", "", "\n\n".join(part.strip() for part in parts), flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text) + "\n"
