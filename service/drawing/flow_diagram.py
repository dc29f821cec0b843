"""Draws the flow diagram: datasets of a handler, permits, and recipients by country, connected by lines. Pure.

Example:
    drawing = draw_flow(sources, gates, targets, captions)
    element = svg(drawing)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from service.drawing.svg import Box, Curve, Drawing, Label, Tone, fit_text


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset."""

    id: str
    title: str
    key: str
    tags: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Gate:
    """A permit between datasets and a recipient, or the lack of one."""

    id: str
    title: str
    lines: tuple[str, str]
    tone: Tone
    ground: Tone
    open: bool
    """True if data went through it, or may have."""
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True, slots=True)
class Target:
    """A recipient."""

    id: str
    name: str
    key: str
    country: str


@dataclass(frozen=True, slots=True)
class Captions:
    """Texts of the diagram."""

    handler: str
    datasets: str
    permits: str
    recipients: str
    border: str
    more_datasets: Callable[[int], str]
    more_permits: Callable[[int], str]
    more_recipients: Callable[[int], str]


WIDTH: Final = 760
_SOURCES, _GATES, _TARGETS = 16, 14, 16
_MORE: Final = "more"

_TOP: Final = 40
_LEFT, _SOURCE_WIDTH, _SOURCE_HEIGHT = 6, 222, 54
_MIDDLE, _GATE_WIDTH, _GATE_HEIGHT = 298, 170, 62
_RIGHT, _TARGET_WIDTH, _TARGET_HEIGHT = 536, 202, 40
_BORDER: Final = 502
_FRAME_HEAD, _GAP = 28, 10


def draw_flow(
    sources: Sequence[Source], gates: Sequence[Gate], targets: Sequence[Target], captions: Captions
) -> Drawing:
    """Return the diagram. Items beyond one page are gathered in boxes with their number."""
    kept_gates = gates[:_GATES]
    order = _order(source for gate in gates for source in gate.sources)
    kept_sources = sorted(sources, key=lambda source: order.get(source.id, len(order)))[:_SOURCES]
    target_order = _order(gate.target for gate in gates)
    by_order = sorted(targets, key=lambda target: target_order.get(target.id, len(target_order)))[:_TARGETS]
    kept_targets = [target for _, group in _by_country(by_order) for target in group]

    left = _left(kept_sources, captions, len(sources) - len(kept_sources))
    middle = _middle(kept_gates, captions, len(gates) - len(kept_gates))
    right = _right(kept_targets, captions, len(targets) - len(kept_targets))
    height = max(left.height, middle.height, right.height)
    columns = [column.moved((height - column.height) / 2 + _TOP) for column in (left, middle, right)]
    return Drawing(
        WIDTH,
        height + _TOP + 16,
        (
            Box(0, 0, WIDTH, height + _TOP + 16, "paper", None, 0),
            *(frame for column in columns for frame in column.frames),
            Curve(_BORDER, _TOP - 8, _BORDER, height + _TOP + 8, "red", 1.4, dashed=True),
            *_lines(gates, *columns),
            *(box for column in columns for box in column.boxes),
        ),
        (
            Label(_LEFT, 24, fit_text(captions.datasets, 230, 12, bold=True), 12, "quiet", bold=True),
            Label(_MIDDLE, 24, fit_text(captions.permits, 150, 12, bold=True), 12, "quiet", bold=True),
            Label(_BORDER, 24, fit_text(captions.border, 64, 11, bold=True), 11, "red", bold=True, anchor="middle"),
            Label(_RIGHT + 12, 24, fit_text(captions.recipients, 204, 12, bold=True), 12, "quiet", bold=True),
            *(label for column in columns for label in column.labels),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Column:
    height: float
    frames: tuple[Box, ...]
    boxes: tuple[Box, ...]
    labels: tuple[Label, ...]
    middles: Mapping[str, float]
    """Heights at which lines arrive and leave, by id."""

    def moved(self, down: float) -> "_Column":
        """Return the column at a lower position."""
        return _Column(
            self.height,
            tuple(_down(box, down) for box in self.frames),
            tuple(_down(box, down) for box in self.boxes),
            tuple(
                Label(label.x, label.y + down, label.text, label.size, label.tone, label.bold, label.anchor)
                for label in self.labels
            ),
            {id_: middle + down for id_, middle in self.middles.items()},
        )


def _down(box: Box, down: float) -> Box:
    return Box(box.x, box.y + down, box.width, box.height, box.fill, box.stroke, box.radius, box.dashed)


def _order(ids: Iterable[str]) -> dict[str, int]:
    return {id_: place for place, id_ in enumerate(dict.fromkeys(ids))}


def _by_country(targets: Sequence[Target]) -> list[tuple[str, list[Target]]]:
    first = _order(target.country for target in targets)
    ordered = sorted(targets, key=lambda target: first[target.country])
    return [(country, list(group)) for country, group in groupby(ordered, key=lambda target: target.country)]


def _left(sources: Sequence[Source], captions: Captions, more: int) -> _Column:
    boxes: list[Box] = []
    labels = [Label(_LEFT + 10, 19, fit_text(captions.handler, _SOURCE_WIDTH, 12, bold=True), 12, "ink", bold=True)]
    middles: dict[str, float] = {}
    y: float = _FRAME_HEAD
    for source in sources:
        boxes += [
            Box(_LEFT + 8, y, _SOURCE_WIDTH, _SOURCE_HEIGHT, "paper", "line"),
            Box(_LEFT + 8, y, 5, _SOURCE_HEIGHT, source.tone, None, 2),
        ]
        inner_width = _SOURCE_WIDTH - 30
        labels += [
            Label(_LEFT + 22, y + 17, fit_text(source.title, inner_width, 12, bold=True), 12, "ink", bold=True),
            Label(_LEFT + 22, y + 32, fit_text(source.key, inner_width, 10, both_ends=True), 10, "quiet"),
            Label(_LEFT + 22, y + 46, fit_text(source.tags, inner_width, 10, bold=True), 10, source.tone, bold=True),
        ]
        middles[source.id] = y + _SOURCE_HEIGHT / 2
        y += _SOURCE_HEIGHT + _GAP
    y = _add_gathered(more, captions.more_datasets, (_LEFT + 8, y, _SOURCE_WIDTH), boxes, labels, middles)
    frame = Box(_LEFT, 0, _SOURCE_WIDTH + 16, y, "panel", "line", 6)
    return _Column(y, (frame,), tuple(boxes), tuple(labels), middles)


def _middle(gates: Sequence[Gate], captions: Captions, more: int) -> _Column:
    boxes: list[Box] = []
    labels: list[Label] = []
    middles: dict[str, float] = {}
    y: float = 0
    for gate in gates:
        boxes.append(Box(_MIDDLE, y, _GATE_WIDTH, _GATE_HEIGHT, gate.ground, gate.tone, 8, dashed=not gate.open))
        inner_width = _GATE_WIDTH - 24
        labels.append(
            Label(_MIDDLE + 12, y + 19, fit_text(gate.title, inner_width, 12, bold=True), 12, gate.tone, bold=True)
        )
        labels += [
            Label(_MIDDLE + 12, y + 36 + 15 * place, fit_text(line, inner_width, 10.5), 10.5, "ink")
            for place, line in enumerate(gate.lines)
        ]
        middles[gate.id] = y + _GATE_HEIGHT / 2
        y += _GATE_HEIGHT + 2 * _GAP
    y = _add_gathered(more, captions.more_permits, (_MIDDLE, y, _GATE_WIDTH), boxes, labels, middles)
    return _Column(max(y - _GAP, 0), (), tuple(boxes), tuple(labels), middles)


def _right(targets: Sequence[Target], captions: Captions, more: int) -> _Column:
    frames: list[Box] = []
    boxes: list[Box] = []
    labels: list[Label] = []
    middles: dict[str, float] = {}
    y: float = 0
    for country, group in _by_country(targets):
        frame = _FRAME_HEAD + len(group) * (_TARGET_HEIGHT + _GAP)
        frames.append(Box(_RIGHT, y, _TARGET_WIDTH + 16, frame, "panel", "line", 6))
        labels.append(Label(_RIGHT + 12, y + 19, fit_text(country, _TARGET_WIDTH, 12, bold=True), 12, "ink", bold=True))
        for place, target in enumerate(group):
            top = y + _FRAME_HEAD + place * (_TARGET_HEIGHT + _GAP)
            boxes.append(Box(_RIGHT + 8, top, _TARGET_WIDTH, _TARGET_HEIGHT, "paper", "line"))
            inner_width = _TARGET_WIDTH - 20
            labels += [
                Label(_RIGHT + 20, top + 17, fit_text(target.name, inner_width, 11.5), 11.5, "ink"),
                Label(_RIGHT + 20, top + 31, fit_text(target.key, inner_width, 10, both_ends=True), 10, "quiet"),
            ]
            middles[target.id] = top + _TARGET_HEIGHT / 2
        y += frame + _GAP
    y = _add_gathered(more, captions.more_recipients, (_RIGHT + 8, y, _TARGET_WIDTH), boxes, labels, middles)
    return _Column(max(y - _GAP, 0), tuple(frames), tuple(boxes), tuple(labels), middles)


def _add_gathered(
    more: int,
    caption: Callable[[int], str],
    place: tuple[float, float, float],
    boxes: list[Box],
    labels: list[Label],
    middles: dict[str, float],
) -> float:
    """Add the box of items without a box of their own, if any; return the height below it."""
    x, y, width = place
    if not more:
        return y
    boxes.append(Box(x, y, width, 32, "paper", "line", 4, dashed=True))
    labels.append(Label(x + width / 2, y + 20, fit_text(caption(more), width - 16, 11), 11, "quiet", anchor="middle"))
    middles[_MORE] = y + 16
    return y + 32 + _GAP


def _lines(gates: Sequence[Gate], left: _Column, middle: _Column, right: _Column) -> list[Curve]:
    """Return each line once, also between gathered boxes."""
    into: dict[tuple[float, float], Curve] = {}
    out: dict[tuple[float, float], Curve] = {}
    for gate in gates:
        at = middle.middles.get(gate.id, middle.middles.get(_MORE, 0.0))
        for source in gate.sources:
            begin = left.middles.get(source, left.middles.get(_MORE))
            if begin is not None:
                into.setdefault((begin, at), _curve(_LEFT + 8 + _SOURCE_WIDTH, begin, _MIDDLE, at, gate))
        end = right.middles.get(gate.target, right.middles.get(_MORE))
        if end is not None:
            out.setdefault((at, end), _curve(_MIDDLE + _GATE_WIDTH, at, _RIGHT + 8, end, gate))
    return [*into.values(), *out.values()]


def _curve(x1: float, y1: float, x2: float, y2: float, gate: Gate) -> Curve:
    return Curve(x1, y1, x2, y2, gate.tone if gate.open else "line", 1.5, arrow=gate.open, dashed=not gate.open)


def draw_bar_chart(rows: Sequence[tuple[str, str, float, Tone]]) -> Drawing:
    """Return a bar chart of used shares: name, text, share (1: all) and tone of each row."""
    height = 46 * len(rows) + 8
    inner_width = WIDTH - 40
    shapes: list[Box | Curve] = [Box(0, 0, WIDTH, height, "paper", None, 0)]
    labels: list[Label] = []
    for place, (name, words, share, tone) in enumerate(rows):
        y = 46 * place + 8
        shapes += [
            Box(20, y + 20, inner_width, 14, "panel", "line", 3),
            Box(20, y + 20, max(inner_width * min(share, 1), 2 if share else 0), 14, tone, None, 3),
        ]
        labels += [
            Label(20, y + 12, fit_text(name, inner_width * 0.6, 12), 12, "ink"),
            Label(
                20 + inner_width,
                y + 12,
                fit_text(words, inner_width * 0.4, 12, bold=True),
                12,
                "ink",
                bold=True,
                anchor="end",
            ),
        ]
    return Drawing(WIDTH, height, tuple(shapes), tuple(labels))
