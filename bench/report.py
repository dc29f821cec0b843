"""What a scenario tells, and the page that all of them make: texts are templates, every number comes from the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

TEXTS: Final = Path(__file__).parent / "texts"
NOT_MEASURED: Final = "not measured"


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
        """Return the section as Markdown."""
        return filled(self.name, self.values)


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
    """Return all bars as a table."""
    verdicts = {True: "met", False: "**missed**", None: NOT_MEASURED}
    lines = ["| what | bar | measured | |", "| --- | --- | ---: | --- |"]
    lines += [
        f"| {bar.what} | {bar.wanted} | {bar.measured} | {verdicts[bar.met]} |"
        for section in sections
        for bar in section.bars
    ]
    return "\n".join(lines)


def page(machine: str, sections: Sequence[Section], failures: Sequence[str], plot: str | None) -> str:
    """Return the whole page.

    Args:
        machine: the table of machine and versions.
        sections: what was measured.
        failures: runs that do not count, in words.
        plot: file name of the plot beside it.
    """
    failed = filled("failures", {"failures": "\n".join(f"- {told}" for told in failures)}) if failures else ""
    values = {
        "machine": machine,
        "bars": bars_table(sections),
        "failures": failed,
        "plot": "" if plot is None else f"![Rates measured, drawn from the tables below]({plot})",
    }
    parts = [filled("page", values), *(section.text() for section in sections), filled("running", {})]
    return "\n\n".join(parts) + "\n"
