"""Chapter of the ledger: the count of each year against the thresholds of the law. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.drawing.flow_diagram import draw_bar_chart
from service.drawing.svg import Tone
from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Column, Picture, Span, Table, Text, plain
from service.words.formats import format_count

_LINES: Final = (
    ("assessment_persons", False),
    ("assessment_sensitive_persons", True),
    ("contract_persons", False),
    ("contract_sensitive_persons", True),
)
"""Thresholds of the law, strict ones first; True for those of sensitive information."""


@dataclass(frozen=True, slots=True)
class ThresholdUse:
    """Count of a year and use threshold of the law."""

    year: int
    line: str
    count: int
    limit: int

    @property
    def is_reached(self) -> bool:
        """True if the count has reached the threshold, which requires the stricter mechanism."""
        return self.count >= self.limit

    @property
    def share(self) -> str:
        """Used share of the threshold, as text."""
        return f"{self.count / self.limit:.1%}" if self.count < 10 * self.limit else "> 999%"

    @property
    def text(self) -> str:
        """Count and threshold, as text."""
        return f"{format_count(self.count)} / {format_count(self.limit)}"


def threshold_uses(context: ReportContext) -> list[ThresholdUse]:
    """Return each year with each threshold of the law of the last day, also use of use person (CBDF art. 8)."""
    law = context.book.edition(context.last_day).law
    return [
        ThresholdUse(year.year, line, year.sensitive_persons if sensitive else year.persons, law[line])
        for year in context.data.ledger
        for line, sensitive in _LINES
        if line in law
    ]


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the count of each year against the thresholds."""
    words, uses = context.words, threshold_uses(context)
    if not uses:
        yield Text(words("ledger.none"))
        return
    yield Text(words("ledger.text", day=context.last_day))
    drawn = [use for use in uses if use.line.startswith("assessment")]
    yield Picture(
        draw_bar_chart(
            [(f"{use.year} · {words(f'line.{use.line}')}", use.text, use.count / use.limit, _ink(use)) for use in drawn]
        ),
        words("ledger"),
        words("ledger.alt", years=words.listed(list(dict.fromkeys(str(use.year) for use in drawn)))),
    )
    yield Table(
        words("ledger"),
        (
            Column(words("year"), 1),
            Column(words("line"), 4),
            Column(words("count"), 2, number=True),
            Column(words("limit"), 2, number=True),
            Column(words("share"), 1.4, number=True),
            Column(words("state"), 1.6),
        ),
        tuple(
            (
                plain(str(use.year)),
                plain(words(f"line.{use.line}")),
                plain(format_count(use.count)),
                plain(format_count(use.limit)),
                plain(use.share),
                (Span(words("reached"), "warn") if use.is_reached else Span(words("below"), "plain"),),
            )
            for use in uses
        ),
        named=False,
    )


def _ink(use: ThresholdUse) -> Tone:
    return "red" if use.is_reached else "blue"
