"""The year's count against the law's lines. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.drawing.flow_diagram import bars
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
"""The lines of the law that a year's count is held against, strict ones first; whether they are of sensitive information."""


@dataclass(frozen=True, slots=True)
class Held:
    """A year's count beside one line of the law."""

    year: int
    line: str
    count: int
    limit: int

    @property
    def reached(self) -> bool:
        """Whether the count is at the line, which asks for the stricter mechanism."""
        return self.count >= self.limit

    @property
    def share(self) -> str:
        """How much of the line is used, in words."""
        return f"{self.count / self.limit:.1%}" if self.count < 10 * self.limit else "> 999%"

    @property
    def told(self) -> str:
        """The count and the line."""
        return f"{format_count(self.count)} / {format_count(self.limit)}"


def held_of(reading: ReportContext) -> list[Held]:
    """Return every year beside every line of the law of the last day; a line of one person (CBDF art. 8) is in the table as well."""
    law = reading.book.edition(reading.last_day).law
    return [
        Held(one.year, line, one.sensitive_persons if sensitive else one.persons, law[line])
        for one in reading.story.ledger
        for line, sensitive in _LINES
        if line in law
    ]


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return each year's count beside the lines of the law."""
    words, held = reading.words, held_of(reading)
    if not held:
        yield Text(words("ledger.none"))
        return
    yield Text(words("ledger.told", day=reading.last_day))
    drawn = [one for one in held if one.line.startswith("assessment")]
    yield Picture(
        bars(
            [(f"{one.year} · {words(f'line.{one.line}')}", one.told, one.count / one.limit, _ink(one)) for one in drawn]
        ),
        words("ledger"),
        words("ledger.alt", years=words.listed(list(dict.fromkeys(str(one.year) for one in drawn)))),
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
                plain(str(one.year)),
                plain(words(f"line.{one.line}")),
                plain(format_count(one.count)),
                plain(format_count(one.limit)),
                plain(one.share),
                (Span(words("reached"), "warn") if one.reached else Span(words("below"), "plain"),),
            )
            for one in held
        ),
        named=False,
    )


def _ink(held: Held) -> Tone:
    return "red" if held.reached else "blue"
