"""Blocks of a report, in one language and for every medium: plain text, never markup. Pure values."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, Literal

from service.drawing.svg import Drawing

Look = Literal["plain", "code", "quiet", "good", "warn", "bad"]
"""How a text is shown; `good`, `warn` and `bad` say nothing that the words do not say."""


@dataclass(frozen=True, slots=True)
class Span:
    """One line of text."""

    text: str
    look: Look = "plain"


Cell = tuple[Span, ...]
"""The lines of a cell, one below the other."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    look: Look = "plain"
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a part of a section; level 3 or 4, below the section's own 2."""

    text: str
    level: int = 3
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True, slots=True)
class Notice:
    """What nobody should miss, with a title."""

    title: str
    lines: tuple[str, ...]
    look: Look = "plain"
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences; numbered, if they are steps."""

    items: tuple[str, ...]
    numbered: bool = False
    kind: Literal["points"] = "points"


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines to type or to compare, letter by letter."""

    text: str
    kind: Literal["listing"] = "listing"


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values."""

    rows: tuple[tuple[str, Cell], ...]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class Figures:
    """A few numbers that stand out, each with its name."""

    items: tuple[tuple[str, str], ...]
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, its share of the width, whether it holds numbers."""

    head: str
    share: float = 1
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row names it."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    named: bool = True
    """Whether the caption is seen; one that a heading has just said is for screen readers alone."""
    foot: tuple[Cell, ...] | None = None
    """A last row, of sums."""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing, with the words for those who do not see it."""

    drawing: Drawing
    caption: str
    alt: str
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a day: when, what, about what and by whom, and its leaf of the log."""

    time: str
    what: str
    subject: str
    by: str
    leaf: str
    look: Look = "plain"


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a timeline."""

    name: str
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened, day by day."""

    days: tuple[Day, ...]
    leaf: str
    """What stands before a leaf's number."""
    kind: Literal["timeline"] = "timeline"


Block = Text | Heading | Notice | Points | Listing | Facts | Figures | Table | Picture | Timeline


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered section."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A report."""

    language: str
    """`en` or `zh-CN`."""
    title: str
    subtitle: str
    kicker: str
    """The line above the title."""
    facts: Facts
    notices: tuple[Notice, ...]
    sections: tuple[Section, ...]
    contents: str
    """The title of the table of contents."""
    running: tuple[str, str]
    """What every page repeats, left and right."""
    page_of: str
    """`{page}` and `{pages}` stand for the numbers."""
    keywords: tuple[str, ...]


_SHOWN_BY_NUMBER: Final = frozenset({"Cc", "Co", "Cs", "Cn", "Zl", "Zp"})
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Marks that turn the direction of what is around them: a file name could show itself as another."""


def trusted(value: Any) -> Any:
    """Return plain values with every text as a reader can trust it: what is invisible or means nothing is shown by its number.

    Line breaks stay. Dataclasses, mappings and sequences are followed; everything else is returned as it is.
    """
    if isinstance(value, str):
        return _shown(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: trusted(getattr(value, one.name)) for one in fields(value)})
    if isinstance(value, Mapping):
        return {_shown(str(name)): trusted(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(trusted(one) for one in value)
    return value


def _shown(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(
        by_number(sign)
        if sign != "\n" and (sign in _TURNING or unicodedata.category(sign) in _SHOWN_BY_NUMBER)
        else sign
        for sign in text
    )


def by_number(sign: str) -> str:
    """Return a sign as its number."""
    return f"<U+{ord(sign):04X}>"


def plain(text: str) -> Cell:
    """Return a cell of one line."""
    return (Span(text),)


def code(text: str) -> Cell:
    """Return a cell of one line that is compared letter by letter."""
    return (Span(text, "code"),)


def lines(*spans: Span | str | None) -> Cell:
    """Return a cell of several lines; None is left out."""
    return tuple(Span(span) if isinstance(span, str) else span for span in spans if span is not None)
