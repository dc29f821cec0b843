"""Where a permit stands, and what is left of it."""

from datetime import date

import pytest

from service.law.facts import Count
from service.permits.standing import (
    has_ended,
    is_effective,
    is_personal,
    is_used_up,
    is_weighty,
    is_within,
    left,
    standing,
)

DAY = date(2026, 11, 24)


@pytest.mark.parametrize(
    ("stored", "until", "sent", "stands"),
    [
        ("active", DAY, Count(), "active"),
        ("active", DAY, Count(10, 5), "exhausted"),
        ("active", DAY, Count(10, 4), "active"),
        ("active", date(2026, 11, 23), Count(), "expired"),
        ("suspended", DAY, Count(10, 5), "suspended"),
        ("suspended", date(2026, 11, 23), Count(), "expired"),
        ("revoked", date(2026, 11, 23), Count(), "revoked"),
    ],
)
def test_standing(stored: str, until: date, sent: Count, stands: str) -> None:
    assert standing(stored, until, Count(10, 5), sent, DAY) == stands


def test_a_permit_about_nobody_is_never_used_up() -> None:
    assert not is_used_up(Count(), Count())


def test_a_permit_for_personal_data_that_was_narrowed_to_nobody_is_used_up() -> None:
    assert is_used_up(Count(), Count(), is_personal=True)
    assert standing("active", DAY, Count(), Count(), DAY, is_personal=is_personal(["sensitive"])) == "exhausted"
    assert standing("active", DAY, Count(), Count(), DAY, is_personal=is_personal(["important"])) == "active"


def test_what_is_left_is_never_below_nothing() -> None:
    assert left(Count(10, 5), Count(3, 9)) == Count(7, 0)


@pytest.mark.parametrize(
    ("stored", "until", "stands"),
    [
        ("active", DAY, "suspended"),
        ("suspended", DAY, "suspended"),
        ("revoked", DAY, "revoked"),
        ("active", date(2026, 11, 23), "expired"),
    ],
)
def test_an_overdue_duty_suspends_what_is_still_in_force(stored: str, until: date, stands: str) -> None:
    assert standing(stored, until, Count(10, 5), Count(10, 5), DAY, is_overdue=True) == stands


@pytest.mark.parametrize(
    ("wanted", "allowed", "within"),
    [
        (5, 5, True),
        (6, 5, False),
        (DAY, DAY, True),
        (date(2026, 11, 25), DAY, False),
        (["a"], ["a", "b"], True),
        (["a", "c"], ["a", "b"], False),
        (["a"], None, True),
        ("a", 5, False),
    ],
)
def test_only_what_is_within_what_is_allowed_narrows(wanted: object, allowed: object, *, within: bool) -> None:
    assert is_within(wanted, allowed) == within


def test_important_and_core_data_carries_the_handler_s_own_duties() -> None:
    assert is_weighty(["personal", "core"])
    assert not is_weighty(["personal"])


@pytest.mark.parametrize(
    ("stored", "begins", "ends", "is_over", "is_in_effect"),
    [
        ("active", DAY, DAY, False, True),
        ("active", date(2026, 11, 25), date(2026, 11, 25), False, False),
        ("active", date(2026, 11, 23), date(2026, 11, 23), True, False),
        ("suspended", DAY, DAY, False, False),
        ("revoked", DAY, DAY, True, False),
    ],
)
def test_a_permit_ends_by_revocation_or_after_its_last_day(
    stored: str, begins: date, ends: date, *, is_over: bool, is_in_effect: bool
) -> None:
    assert has_ended(stored, ends, DAY) is is_over
    assert is_effective(stored, begins, ends, DAY) is is_in_effect
