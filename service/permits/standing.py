"""Where a permit stands on a day: a pure function of what is stored of it."""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum

from service.law.facts import Count


class Standing(StrEnum):
    """States of a permit."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    REVOKED = "revoked"
    EXHAUSTED = "exhausted"


def standing(
    stored: str,
    valid_until: date,
    quota: Count,
    sent: Count,
    today: date,
    *,
    is_overdue: bool = False,
    is_personal: bool = False,
) -> Standing:
    """Return where a permit stands.

    Args:
        stored: what people did to it: `active`, `suspended` or `revoked`.
        valid_until: its last day, in Asia/Shanghai.
        quota: persons that it allows.
        sent: persons reported as sent under it.
        today: the day in Asia/Shanghai.
        is_overdue: True if an obligation is overdue or evidence that it rests on is missing: it is suspended until that is made good.
        is_personal: whether it is for data about persons.
    """
    if has_ended(stored, valid_until, today):
        return Standing.REVOKED if stored == Standing.REVOKED else Standing.EXPIRED
    if stored == Standing.SUSPENDED or is_overdue:
        return Standing.SUSPENDED
    return Standing.EXHAUSTED if is_used_up(quota, sent, is_personal=is_personal) else Standing.ACTIVE


def has_ended(stored: str, valid_until: date, today: date) -> bool:
    """Return True if a permit allows nothing from a day on, for good: it was revoked, or its last day has passed."""
    return stored == Standing.REVOKED or today > valid_until


def is_effective(stored: str, valid_from: date, valid_until: date, today: date) -> bool:
    """Return True if a permit was neither suspended nor revoked, and a day is within its days."""
    return stored == Standing.ACTIVE and valid_from <= today <= valid_until


def is_used_up(quota: Count, used: Count, *, is_personal: bool = False) -> bool:
    """Return True if no persons remain of a quota; a permit for data that is not about persons is never used up."""
    is_for_persons = is_personal or quota.persons + quota.sensitive_persons > 0
    return is_for_persons and used.persons >= quota.persons and used.sensitive_persons >= quota.sensitive_persons


def is_weighty(tags: Iterable[str]) -> bool:
    """Return True if data of these tags carries the obligations of important data. Source: DSL art. 21, 27, 30."""
    return not {"important", "core"}.isdisjoint(tags)


def is_personal(tags: Iterable[str]) -> bool:
    """Return True if data of these tags is about persons."""
    return not {"personal", "sensitive"}.isdisjoint(tags)


def is_within(new: object, allowed: object) -> bool:
    """Return True if a new number, day or list of names allows no more than the present one; None: all names."""
    if isinstance(new, list):
        return allowed is None or (isinstance(allowed, list) and set(new) <= set(allowed))
    if isinstance(new, date):
        return isinstance(allowed, date) and new <= allowed
    return isinstance(new, int) and isinstance(allowed, int) and new <= allowed


def left(quota: Count, used: Count) -> Count:
    """Return the remaining persons of a quota, at least zero."""
    return Count(max(0, quota.persons - used.persons), max(0, quota.sensitive_persons - used.sensitive_persons))
