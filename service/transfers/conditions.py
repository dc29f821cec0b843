"""Narrows the extent of a permit by the conditions of approvals, and checks conditions against the request. Pure.

Example:
    condition = Conditions.of({"persons": 100, "valid_days": 90})
    if faults(condition, extent, registered) == []:
        permitted = narrow(extent, [condition], begins)
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any, Self

from service.law.facts import Count


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of one approval; None or empty: no limit."""

    persons: int | None = None
    sensitive_persons: int | None = None
    fields: tuple[str, ...] | None = None
    systems: tuple[str, ...] | None = None
    recipients: tuple[str, ...] | None = None
    """Ids of the only permitted recipients."""
    valid_days: int | None = None
    """Days for which the permit is valid, the first included."""
    valid_until: date | None = None
    terms: tuple[str, ...] = ()
    """Terms that the requester must accept."""

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Self:
        """Parse the conditions stored with a review; None: no conditions."""
        if stored is None:
            return cls()
        members = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: value for name, value in stored.items() if name in members and value is not None
        }
        for name in ("fields", "systems", "recipients", "terms"):
            if name in values:
                values[name] = tuple(values[name])
        if isinstance(values.get("valid_until"), str):
            values["valid_until"] = date.fromisoformat(values["valid_until"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Extent:
    """Persons, fields, systems, recipients and days that a permit allows, or that a request asks for."""

    quota: Count
    fields: tuple[str, ...] | None
    """None: all fields."""
    systems: tuple[str, ...] | None
    """None: every exporter of the handler."""
    recipients: tuple[str, ...]
    valid_from: date
    valid_until: date


def narrow(extent: Extent, conditions: Iterable[Conditions], begins: date) -> Extent:
    """Return the extent that satisfies every condition: the smallest limit of each member applies.

    Args:
        extent: the requested extent.
        conditions: conditions of each approval.
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
                recipient
                for recipient in extent.recipients
                if condition.recipients is None or recipient in condition.recipients
            ),
            valid_until=min(ends),
        )
    return extent


def emptied_members(requested: Extent, left: Extent, begins: date) -> list[str]:
    """Return the members of which the conditions together leave nothing.

    Args:
        requested: the requested extent.
        left: the extent after all conditions.
        begins: the first day on which the permit can be used.
    """
    members = [name for name in ("fields", "systems", "recipients") if getattr(left, name) == ()]
    if left.quota == Count() and requested.quota != Count():
        members.insert(0, "persons")
    if left.valid_until < begins:
        members.append("valid_until")
    return members


def faults(condition: Conditions, extent: Extent, registered: Sequence[str]) -> list[tuple[str, str]]:
    """Return the members of a condition that exceed the request or leave nothing of it, as (member, reason).

    Args:
        condition: the condition of the reviewer.
        extent: the requested extent.
        registered: names of the fields of the datasets.
    """
    violations: list[tuple[str, str]] = []
    for name in ("persons", "sensitive_persons"):
        limit, requested = getattr(condition, name), getattr(extent.quota, name)
        if limit is not None and limit > requested:
            violations.append((name, f"A condition can only narrow: {requested} are asked for."))
    requested_fields = set(extent.fields if extent.fields is not None else registered)
    if condition.fields is not None and not set(condition.fields) <= requested_fields:
        violations.append(("fields", "A condition can only narrow: name fields that are asked for."))
    if (
        condition.systems is not None
        and extent.systems is not None
        and not set(condition.systems) <= set(extent.systems)
    ):
        violations.append(("systems", "A condition can only narrow: name systems that are asked for."))
    if condition.recipients is not None and set(extent.recipients).isdisjoint(condition.recipients):
        violations.append(("recipients", "The recipient of the request is not among them: reject the request instead."))
    if condition.valid_until is not None and not extent.valid_from <= condition.valid_until <= extent.valid_until:
        violations.append(("valid_until", f"Choose a day from {extent.valid_from} to {extent.valid_until}."))
    return violations


def _least(requested: int, limit: int | None) -> int:
    return requested if limit is None else min(requested, limit)


def _within(requested: tuple[str, ...] | None, limit: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if limit is None:
        return requested
    return limit if requested is None else tuple(name for name in requested if name in limit)
