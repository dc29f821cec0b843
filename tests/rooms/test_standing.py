"""Where a permit stands, and what is left of it."""

from datetime import date

import pytest

from service.law.facts import Count
from service.permits.standing import is_used_up, left, standing

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


def test_what_is_left_is_never_below_nothing() -> None:
    assert left(Count(10, 5), Count(3, 9)) == Count(7, 0)
