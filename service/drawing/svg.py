"""Writes drawings of boxes, lines and labels as SVG. Pure: the same drawing gives the same bytes.

Example:
    drawing = Drawing(200, 80, (Box(10, 10, 180, 60, "panel"),), (Label(20, 44, "Shanghai"),))
    element = svg(drawing)
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final, Literal

Tone = Literal[
    "ink", "quiet", "line", "paper", "panel", "blue", "pale_blue", "red", "pale_red", "amber", "pale_amber", "green"
]

COLOURS: Final[dict[Tone, str]] = {
    "ink": "#14202b",
    "quiet": "#52606d",
    "line": "#9aa5b1",
    "paper": "#ffffff",
    "panel": "#f3f5f7",
    "blue": "#0b4f8a",
    "pale_blue": "#e3eef8",
    "red": "#a3261e",
    "pale_red": "#fbe9e7",
    "amber": "#8a5a00",
    "pale_amber": "#fdf1d8",
    "green": "#1b6e3c",
}
"""Colours by tone, with a contrast of 4.5 to 1 or more on their grounds, and distinct when printed in grey."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: Tone = "paper"
    stroke: Tone | None = "line"
    radius: float = 4
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """A line between two points, horizontal at both ends, with an optional arrowhead."""

    x1: float
    y1: float
    x2: float
    y2: float
    stroke: Tone = "line"
    width: float = 1.4
    arrow: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text with its baseline at `y`."""

    x: float
    y: float
    text: str
    size: float = 12
    tone: Tone = "ink"
    bold: bool = False
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing of `width` by `height` units. Later shapes cover earlier ones; labels cover all shapes."""

    width: float
    height: float
    shapes: tuple[Box | Curve, ...]
    labels: tuple[Label, ...]


def text_width(text: str, *, bold: bool = False) -> float:
    """Return an upper estimate of the width of a text, in em."""
    return sum(_em(character) for character in text) * (1.06 if bold else 1)


_EMS: Final = (("ijlI'|!,.:; ", 0.29), ("frt()[]/-·", 0.4), ("csvxyzkJ", 0.53), ("wW", 0.9), ("mM@%…—", 0.96))
"""Widths of characters in Noto Sans, by groups; other small letters and digits have 0.61, capitals 0.72."""


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 1
    if unicodedata.combining(character):
        return 0
    return next((width for characters, width in _EMS if character in characters), 0.72 if character.isupper() else 0.61)


def fit_text(text: str, width: float, size: float, *, bold: bool = False, both_ends: bool = False) -> str:
    """Return a text cut to `width`, with an ellipsis in place of the cut.

    Args:
        text: one line.
        width: available width, in the drawing's units.
        size: font size.
        bold: True for bold text.
        both_ends: True to cut the middle; keys differ at their ends.
    """
    if text_width(text, bold=bold) * size <= width:
        return text

    def cut(kept: int) -> str:
        tail = kept // 2 if both_ends else 0
        return text[: kept - tail] + "…" + text[len(text) - tail :]

    fitting = (kept for kept in range(len(text) - 1, 0, -1) if text_width(cut(kept), bold=bold) * size <= width)
    return cut(next(fitting, 1))


def svg(drawing: Drawing, *, labels: bool = True) -> str:
    """Return the drawing as an SVG element without scripts and styles, with or without its labels."""
    width, height = _n(drawing.width), _n(drawing.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">',
        *(_box(shape) if isinstance(shape, Box) else "".join(_curve(shape)) for shape in drawing.shapes),
        *(map(_label, drawing.labels) if labels else ()),
        "</svg>",
    ]
    return "".join(parts)


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _box(box: Box) -> str:
    stroke = "" if box.stroke is None else f' stroke="{COLOURS[box.stroke]}"'
    return (
        f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" rx="{_n(box.radius)}"'
        f' fill="{COLOURS[box.fill]}"{stroke}{_dashes(dashed=box.dashed)}/>'
    )


def _curve(curve: Curve) -> Iterator[str]:
    end = curve.x2 - (7 if curve.arrow else 0)
    bend = (end - curve.x1) / 2
    yield (
        f'<path d="M{_n(curve.x1)} {_n(curve.y1)}C{_n(curve.x1 + bend)} {_n(curve.y1)} {_n(end - bend)} {_n(curve.y2)}'
        f' {_n(end)} {_n(curve.y2)}" fill="none" stroke="{COLOURS[curve.stroke]}" stroke-width="{_n(curve.width)}"'
        f"{_dashes(dashed=curve.dashed)}/>"
    )
    if curve.arrow:
        yield (f'<path d="M{_n(curve.x2)} {_n(curve.y2)}l-9 -4.5v9z" fill="{COLOURS[curve.stroke]}"/>')


def _dashes(*, dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""


def _label(label: Label) -> str:
    weight = ' font-weight="600"' if label.bold else ""
    anchor = "" if label.anchor == "start" else f' text-anchor="{label.anchor}"'
    return (
        f'<text x="{_n(label.x)}" y="{_n(label.y)}" font-size="{_n(label.size)}" fill="{COLOURS[label.tone]}"{weight}{anchor}>'
        f"{escape(label.text.replace(chr(10), ' '))}</text>"
    )
