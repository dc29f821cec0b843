"""Blocks of a report in one language, for HTML and PDF: plain text, never markup. Pure values."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, Literal

from service.drawing.svg import Drawing

Emphasis = Literal["plain", "code", "quiet", "good", "warn", "bad"]
"""Emphasis of a text; `good`, `warn` and `bad` add no information to the words."""


@dataclass(frozen=True, slots=True)
class Span:
    """One line of text."""

    text: str
    emphasis: Emphasis = "plain"


Cell = tuple[Span, ...]
"""The lines of a cell, one below the other."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    emphasis: Emphasis = "plain"
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """Heading of a part of a section, of level 3 or 4; the section has level 2."""

    text: str
    level: int = 3
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True, slots=True)
class Notice:
    """Important text with a title."""

    title: str
    lines: tuple[str, ...]
    emphasis: Emphasis = "plain"
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences; numbered, if they are steps."""

    items: tuple[str, ...]
    numbered: bool = False
    kind: Literal["points"] = "points"


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines to type or to compare character by character."""

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
    """False if the caption repeats the heading above, and is for screen readers alone."""
    foot: tuple[Cell, ...] | None = None
    """A last row, of sums."""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with an alternative text."""

    drawing: Drawing
    caption: str
    alt: str
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """Line of a timeline: time, act, subject, actor and leaf of the log."""

    time: str
    title: str
    subject: str
    by: str
    leaf: str
    emphasis: Emphasis = "plain"


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a timeline."""

    name: str
    lines: tuple[TimelineLine, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Acts by day."""

    days: tuple[Day, ...]
    leaf: str
    """Label before the number of a leaf."""
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
    """Running head of every page, left and right."""
    page_of: str
    """Text with the placeholders `{page}` and `{pages}`."""
    keywords: tuple[str, ...]


_REPLACED_CATEGORIES: Final = frozenset({"Cc", "Co", "Cs", "Cn", "Zl", "Zp"})
_DIRECTION_MARKS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
"""Marks that change the direction of text, by which a file name could appear as another."""


def trusted(value: Any) -> Any:
    """Return values with invisible and unassigned characters of every text replaced by their numbers.

    Line breaks stay. Dataclasses, mappings and sequences are followed; all other values are returned unchanged.
    """
    if isinstance(value, str):
        return _make_visible(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{member.name: trusted(getattr(value, member.name)) for member in fields(value)})
    if isinstance(value, Mapping):
        return {_make_visible(str(name)): trusted(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(trusted(item) for item in value)
    return value


def _make_visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(
        by_number(character)
        if character != "\n"
        and (character in _DIRECTION_MARKS or unicodedata.category(character) in _REPLACED_CATEGORIES)
        else character
        for character in text
    )


def by_number(character: str) -> str:
    """Return a character as its number."""
    return f"<U+{ord(character):04X}>"


def plain(text: str) -> Cell:
    """Return a cell of one line."""
    return (Span(text),)


def code(text: str) -> Cell:
    """Return a cell of one line that is compared character by character."""
    return (Span(text, "code"),)


def lines(*spans: Span | str | None) -> Cell:
    """Return a cell of several lines, without None."""
    return tuple(Span(span) if isinstance(span, str) else span for span in spans if span is not None)
