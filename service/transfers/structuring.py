"""Detects structuring: requests that are each below a threshold and reach it together. Pure.

Source: SCM art. 4 forbids splitting to avoid the assessment; the same holds for the other thresholds of CBDF art. 7 and 8.

Example:
    threshold = Threshold("CBDF.7.1", "persons", 1_000_000)
    for crossing in find_crossings(request, others, [threshold]):
        print(crossing.total, crossing.transfers)
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
    """The persons and the recipient of a request."""

    transfer: str
    handler: str
    purpose: str
    recipient: str
    recipient_group: str | None
    count: Count
    """Persons requested; once approved, those that the permit allows; once the permit is over, those exported under it."""
    exported: Count = NO_PERSONS
    """Persons exported under it this year; the handler's count of the year includes them."""
    follows: str | None = None
    """Id of the request that it replaces, for the same persons (see `replaced_request`)."""


@dataclass(frozen=True, slots=True)
class RenewedRequest:
    """A request that another one names as the one it renews, with its permit."""

    transfer: str
    recipient: str
    datasets: frozenset[str]
    permit: str | None
    superseded_by: str | None
    """The permit that has superseded its own."""


def replaced_request(
    renewed: RenewedRequest | None, recipient: str, datasets: Iterable[str], permit: str | None, supersedes: str | None
) -> str | None:
    """Return the id of the request that a renewal replaces; None: it counts in addition to it.

    A renewal replaces a request with the same datasets and recipient whose permit its own supersedes, or will supersede.
    Both are then for the same persons, and only one of the two permits is used at a time.

    Args:
        renewed: the request that the renewal names.
        recipient: recipient of the renewal.
        datasets: datasets of the renewal.
        permit: permit of the renewal, if it has one.
        supersedes: the permit that the renewal's own has superseded.
    """
    if renewed is None or renewed.permit is None:
        return None
    if renewed.recipient != recipient or renewed.datasets != frozenset(datasets):
        return None
    is_replaced = renewed.superseded_by is None if permit is None else supersedes == renewed.permit
    return renewed.transfer if is_replaced else None


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of the law on the number of persons."""

    id: str
    kind: CountKind
    value: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """Requests that together reach a threshold that none of them reaches alone."""

    threshold: Threshold
    total: int
    exported: int
    """Part of the total that their handlers have exported this year under other requests."""
    transfers: tuple[str, ...]
    handlers: tuple[str, ...]
    """The handler of each of the transfers."""
    shared: Shared


def find_crossings(
    mine: PlannedExport,
    others: Iterable[PlannedExport],
    thresholds: Sequence[Threshold],
    exported_this_year: Mapping[str, Count] = MappingProxyType({}),
) -> list[Crossing]:
    """Return the thresholds that a request reaches only together with related ones.

    Related requests have the same purpose, the same recipient, or a recipient of the same group. The persons that a handler has
    exported this year count with its requests, as in a determination. A request and its renewal are for the same persons:
    the larger one counts.

    Args:
        mine: the request.
        others: the other requests of the handler and of its group within a rolling year.
        thresholds: thresholds of law of the day.
        exported_this_year: persons exported this year by handler, as the thresholds count them.
    """
    requests = [mine, *others]
    chain = {
        request.transfer: _first_of_chain(request, {other.transfer: other for other in requests})
        for request in requests
    }
    related = [
        request
        for request in requests
        if chain[request.transfer] != chain[mine.transfer] and _shared_trait(mine, request) is not None
    ]
    candidates = (_crossing_of(mine, related, threshold, exported_this_year, chain) for threshold in thresholds)
    return [crossing for crossing in candidates if crossing is not None]


def _crossing_of(
    mine: PlannedExport,
    related: Sequence[PlannedExport],
    threshold: Threshold,
    exported_this_year: Mapping[str, Count],
    chain: Mapping[str, str],
) -> Crossing | None:
    exported_apart = {
        handler: max(
            0,
            _value_of(total, threshold)
            - sum(_value_of(request.exported, threshold) for request in [mine, *related] if request.handler == handler),
        )
        for handler, total in exported_this_year.items()
    }
    largest: dict[str, PlannedExport] = {}
    for request in sorted([mine, *related], key=lambda request: _value_of(request.count, threshold)):
        if 0 < _value_of(request.count, threshold) < threshold.value - exported_apart.get(request.handler, 0):
            largest[chain[request.transfer]] = request
    requests = sorted(largest.values(), key=lambda request: request.transfer)
    exported = sum(exported_apart.get(handler, 0) for handler in {request.handler for request in requests})
    total = exported + sum(_value_of(request.count, threshold) for request in requests)
    if mine not in requests or len(requests) == 1 or total < threshold.value:
        return None
    traits = {_shared_trait(mine, request) for request in requests if request != mine}
    return Crossing(
        threshold,
        total,
        exported,
        tuple(request.transfer for request in requests),
        tuple(request.handler for request in requests),
        "purpose" if traits == {"purpose"} else "recipient" if traits == {"recipient"} else "purpose_or_recipient",
    )


def extends_finding(crossing: Crossing, transfers: Iterable[str], total: int) -> bool:
    """True if a crossing has a larger total or more requests than a finding with these transfers and this total."""
    return crossing.total > total or not set(crossing.transfers) <= set(transfers)


def _first_of_chain(request: PlannedExport, requests: Mapping[str, PlannedExport]) -> str:
    """Return the id of the first request of a chain of renewals, as far back as the requests go."""
    while request.follows is not None:
        if request.follows not in requests:
            return request.follows
        request = requests[request.follows]
    return request.transfer


def _value_of(count: Count, threshold: Threshold) -> int:
    return int(getattr(count, threshold.kind))


def _shared_trait(mine: PlannedExport, other: PlannedExport) -> Literal["purpose", "recipient"] | None:
    """Return the trait that two requests share: the purpose, otherwise the recipient or its group."""
    if _normalize(other.purpose) == _normalize(mine.purpose):
        return "purpose"
    same_group = mine.recipient_group is not None and _normalize(mine.recipient_group) == _normalize(
        other.recipient_group or ""
    )
    return "recipient" if mine.recipient == other.recipient or same_group else None


def _normalize(text: str) -> str:
    """Return a purpose or group name as letters and digits, without case, width and separators."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in folded if character.isalnum()) or folded
