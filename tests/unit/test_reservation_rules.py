"""A reservation lapses at the instant at which it expires, unless something was reported before."""

from datetime import UTC, datetime, timedelta

import pytest

from service.ledger.reservation_rules import status_at

NOON = datetime(2026, 7, 1, 4, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("stored", "expires_at", "status"),
    [
        ("reserved", NOON + TICK, "reserved"),
        ("reserved", NOON, "lapsed"),
        ("completed", NOON, "completed"),
        ("cancelled", NOON, "cancelled"),
    ],
)
def test_a_reservation_lapses_when_it_expires(stored: str, expires_at: datetime, status: str) -> None:
    assert status_at(stored, expires_at, NOON) == status
