"""Structuring: requests that stay below a threshold one by one and cross it together. Pure decisions.

Source: SCM art. 4 forbids splitting to avoid the assessment; the same holds for the other lines of CBDF art. 7 and 8.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from service.law.facts import Count

CountKind = Literal["persons", "sensitive_persons"]
Shared = Literal["purpose", "recipient", "purpose_or_recipient"]


NO_PERSONS: Final = Count()


@dataclass(frozen=True, slots=True)
class PlannedExport:
    """A request as far as it matters here."""

    transfer: str
    handler: str
    purpose: str
    recipient: str
    recipient_group: str | None
    count: Count
    """What it is for; of an approved one what its permit allows, and once that is over what went under it."""
    exported: Count = NO_PERSONS
    """What went under it this year already: it is in the handler's count of the year, too."""
    follows: str | None = None
    """The request that it takes the place of, for the same persons (see `replaced_request`)."""


@dataclass(frozen=True, slots=True)
class RenewedRequest:
    """The request that another says it renews, with what came of it."""

    transfer: str
    recipient: str
    datasets: frozenset[str]
    permit: str | None
    superseded_by: str | None
    """The permit that has taken the place of its own."""


def replaced_request(
    renewed: RenewedRequest | None, recipient: str, datasets: Iterable[str], permit: str | None, supersedes: str | None
) -> str | None:
    """Return the request that a renewal takes the place of; None: it stands beside it, whatever it says of itself.

    It does where its permit supersedes the other's, or will once it is approved, and is for the same datasets and the same recipient:
    then the same persons are meant, and no more than one of the two is used at a time.

    Args:
        renewed: what it says it renews.
        recipient: whom it is for.
        datasets: what it is for.
        permit: its own, where it has one.
        supersedes: the permit that its own took the place of.
    """
    if renewed is None or renewed.permit is None:
        return None
    if renewed.recipient != recipient or renewed.datasets != frozenset(datasets):
        return None
    takes_over = renewed.superseded_by is None if permit is None else supersedes == renewed.permit
    return renewed.transfer if takes_over else None


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of the law."""

    id: str
    kind: CountKind
    value: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """Requests that together reach a line which none of them reaches alone."""

    line: Threshold
    total: int
    exported: int
    """Of the total what their handlers have exported this year under other requests."""
    transfers: tuple[str, ...]
    handlers: tuple[str, ...]
    """The handler of each of the transfers."""
    shared: Shared


def find_crossings(
    mine: PlannedExport,
    others: Iterable[PlannedExport],
    lines: Sequence[Threshold],
    years: Mapping[str, Count] = MappingProxyType({}),
) -> list[Crossing]:
    """Return the lines that a request reaches only together with others for the same purpose, or to the same recipient or its group.

    A handler's year counts with its requests, as it does when the law is asked of one of them. A request and the one that
    follows it are for the same persons: the larger of them counts.

    Args:
        mine: the request.
        others: the other requests of the handler and of its group within a rolling year.
        lines: the thresholds of the day.
        years: what each handler has exported this year, as the thresholds count it.
    """
    around = [mine, *others]
    chain = {one.transfer: _first_of_chain(one, {other.transfer: other for other in around}) for one in around}
    kin = [
        one for one in around if chain[one.transfer] != chain[mine.transfer] and _shared_trait(mine, one) is not None
    ]
    found = (_crossing_of(mine, kin, line, years, chain) for line in lines)
    return [crossing for crossing in found if crossing is not None]


def _crossing_of(
    mine: PlannedExport,
    kin: Sequence[PlannedExport],
    line: Threshold,
    years: Mapping[str, Count],
    chain: Mapping[str, str],
) -> Crossing | None:
    apart = {
        handler: max(
            0,
            _value_of(total, line)
            - sum(_value_of(one.exported, line) for one in [mine, *kin] if one.handler == handler),
        )
        for handler, total in years.items()
    }
    largest: dict[str, PlannedExport] = {}
    for one in sorted([mine, *kin], key=lambda one: _value_of(one.count, line)):
        if 0 < _value_of(one.count, line) < line.value - apart.get(one.handler, 0):
            largest[chain[one.transfer]] = one
    below = sorted(largest.values(), key=lambda one: one.transfer)
    exported = sum(apart.get(handler, 0) for handler in {one.handler for one in below})
    total = exported + sum(_value_of(one.count, line) for one in below)
    if mine not in below or len(below) == 1 or total < line.value:
        return None
    ways = {_shared_trait(mine, one) for one in below if one != mine}
    return Crossing(
        line,
        total,
        exported,
        tuple(one.transfer for one in below),
        tuple(one.handler for one in below),
        "purpose" if ways == {"purpose"} else "recipient" if ways == {"recipient"} else "purpose_or_recipient",
    )


def extends_finding(crossing: Crossing, transfers: Iterable[str], total: int) -> bool:
    """Tell whether a crossing says more than a finding that names these transfers and this total."""
    return crossing.total > total or not set(crossing.transfers) <= set(transfers)


def _first_of_chain(one: PlannedExport, around: Mapping[str, PlannedExport]) -> str:
    """Return the first request of a chain that follow each other, as far back as it is known."""
    while one.follows is not None:
        if one.follows not in around:
            return one.follows
        one = around[one.follows]
    return one.transfer


def _value_of(count: Count, line: Threshold) -> int:
    return int(getattr(count, line.kind))


def _shared_trait(mine: PlannedExport, other: PlannedExport) -> Literal["purpose", "recipient"] | None:
    """Return what two requests have in common; the purpose, where it is both."""
    if _normalize(other.purpose) == _normalize(mine.purpose):
        return "purpose"
    same_group = mine.recipient_group is not None and _normalize(mine.recipient_group) == _normalize(
        other.recipient_group or ""
    )
    return "recipient" if mine.recipient == other.recipient or same_group else None


def _normalize(text: str) -> str:
    """Return what two ways to write a purpose or a group have in common: letters and digits, without case, width and separators."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(one for one in plain if one.isalnum()) or plain
