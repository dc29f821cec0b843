"""Structuring: requests that stay below a threshold one by one and cross it together. Pure decisions.

Source: SCM art. 4 forbids splitting to avoid the assessment; the same holds for the other lines of CBDF art. 7 and 8.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.law.facts import Count

Kind = Literal["persons", "sensitive_persons"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A request as far as it matters here."""

    transfer: str
    handler: str
    purpose: str
    recipient: str
    recipient_group: str | None
    count: Count


@dataclass(frozen=True, slots=True)
class Line:
    """A threshold of the law."""

    id: str
    kind: Kind
    value: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """Requests that together reach a line which none of them reaches alone."""

    line: Line
    total: int
    transfers: tuple[str, ...]
    shared: Literal["purpose", "recipient"]


def crossings(mine: Planned, others: Iterable[Planned], lines: Sequence[Line]) -> list[Crossing]:
    """Return the lines that a request reaches only together with others for the same purpose, or to the same recipient or its group.

    Args:
        mine: the request.
        others: the other requests of the handler and of its group within a rolling year.
        lines: the thresholds of the day.
    """
    around = list(others)
    related: tuple[tuple[Literal["purpose", "recipient"], list[Planned]], ...] = (
        ("purpose", [other for other in around if _folded(other.purpose) == _folded(mine.purpose)]),
        ("recipient", [other for other in around if _is_same_recipient(mine, other)]),
    )
    found: dict[str, Crossing] = {}
    for shared, kin in related:
        for line in lines:
            below = [other for other in [mine, *kin] if 0 < _of(other, line) < line.value]
            total = sum(_of(other, line) for other in below)
            if mine in below and len(below) > 1 and total >= line.value:
                members = tuple(sorted(other.transfer for other in below))
                found.setdefault(line.id, Crossing(line, total, members, shared))
    return list(found.values())


def _of(planned: Planned, line: Line) -> int:
    return int(getattr(planned.count, line.kind))


def _is_same_recipient(mine: Planned, other: Planned) -> bool:
    same_group = mine.recipient_group is not None and mine.recipient_group == other.recipient_group
    return mine.recipient == other.recipient or same_group


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
