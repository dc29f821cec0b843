"""Conditions that reviewers tie to their approvals: what the permit is narrowed to. Pure decisions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any, Self

from service.law.facts import Count


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one approval is tied to; None or empty: not in this respect."""

    persons: int | None = None
    sensitive_persons: int | None = None
    fields: tuple[str, ...] | None = None
    systems: tuple[str, ...] | None = None
    recipients: tuple[str, ...] | None = None
    """Ids of the only recipients to whom anything may go."""
    valid_days: int | None = None
    """The permit holds for so many days, the first included."""
    valid_until: date | None = None
    terms: tuple[str, ...] = ()
    """What the requester must accept in so many words."""

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self:
        """Return the conditions as they are stored with a review; none, if nothing is."""
        if stored is None:
            return cls()
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in stored.items() if name in known and value is not None}
        for name in ("fields", "systems", "recipients", "terms"):
            if name in values:
                values[name] = tuple(values[name])
        if isinstance(values.get("valid_until"), str):
            values["valid_until"] = date.fromisoformat(values["valid_until"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a permit goes."""

    quota: Count
    fields: tuple[str, ...] | None
    """None: all."""
    systems: tuple[str, ...] | None
    """None: every exporter of the handler."""
    recipients: tuple[str, ...]
    valid_from: date
    valid_until: date


def narrow(extent: Extent, conditions: Iterable[Conditions], begins: date) -> Extent:
    """Return the extent within all of the conditions: the least of each, whoever asked for it.

    Args:
        extent: what was asked for.
        conditions: of each approval.
        begins: the first day on which the permit can be used, from which `valid_days` are counted.
    """
    for condition in conditions:
        ends = [extent.valid_until]
        if condition.valid_until is not None:
            ends.append(condition.valid_until)
        if condition.valid_days is not None:
            ends.append(begins + timedelta(days=condition.valid_days - 1))
        extent = replace(
            extent,
            quota=Count(
                _least(extent.quota.persons, condition.persons),
                _least(extent.quota.sensitive_persons, condition.sensitive_persons),
            ),
            fields=_within(extent.fields, condition.fields),
            systems=_within(extent.systems, condition.systems),
            recipients=tuple(
                one for one in extent.recipients if condition.recipients is None or one in condition.recipients
            ),
            valid_until=min(ends),
        )
    return extent


def emptied_members(asked: Extent, left: Extent, begins: date) -> list[str]:
    """Return the members in which conditions, taken together, leave nothing of what was asked for.

    Args:
        asked: what was asked for.
        left: what the conditions leave of it.
        begins: the first day on which the permit can be used.
    """
    found = [name for name in ("fields", "systems", "recipients") if getattr(left, name) == ()]
    if left.quota == Count() and asked.quota != Count():
        found.insert(0, "persons")
    if left.valid_until < begins:
        found.append("valid_until")
    return found


def faults(condition: Conditions, extent: Extent, registered: Sequence[str]) -> list[tuple[str, str]]:
    """Return what of a condition goes beyond the request, or would leave nothing of it, as (member, reason).

    Args:
        condition: what the reviewer wants.
        extent: what was asked for.
        registered: fields of the datasets.
    """
    found: list[tuple[str, str]] = []
    for name in ("persons", "sensitive_persons"):
        limit, asked = getattr(condition, name), getattr(extent.quota, name)
        if limit is not None and limit > asked:
            found.append((name, f"A condition can only narrow: {asked} are asked for."))
    wanted = set(extent.fields if extent.fields is not None else registered)
    if condition.fields is not None and not set(condition.fields) <= wanted:
        found.append(("fields", "A condition can only narrow: name fields that are asked for."))
    if (
        condition.systems is not None
        and extent.systems is not None
        and not set(condition.systems) <= set(extent.systems)
    ):
        found.append(("systems", "A condition can only narrow: name systems that are asked for."))
    if condition.recipients is not None and set(extent.recipients).isdisjoint(condition.recipients):
        found.append(("recipients", "The recipient of the request is not among them: reject the request instead."))
    if condition.valid_until is not None and not extent.valid_from <= condition.valid_until <= extent.valid_until:
        found.append(("valid_until", f"Choose a day from {extent.valid_from} to {extent.valid_until}."))
    return found


def _least(asked: int, limit: int | None) -> int:
    return asked if limit is None else min(asked, limit)


def _within(asked: tuple[str, ...] | None, limit: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if limit is None:
        return asked
    return limit if asked is None else tuple(one for one in asked if one in limit)
