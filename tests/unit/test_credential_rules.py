"""A credential identifies its principal until it is ended, it expires or the principal is disabled."""

from datetime import UTC, datetime, timedelta

import pytest

from service.access.credential_rules import is_valid_credential

NOON = datetime(2026, 7, 1, 4, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("ended_at", "expires_at", "disabled_at", "is_valid"),
    [
        (None, None, None, True),
        (None, NOON + TICK, None, True),
        (None, NOON, None, False),
        (NOON, None, None, False),
        (None, None, NOON, False),
    ],
)
def test_a_credential_is_valid_until_something_ends_it(
    ended_at: datetime | None, expires_at: datetime | None, disabled_at: datetime | None, *, is_valid: bool
) -> None:
    assert is_valid_credential(ended_at=ended_at, expires_at=expires_at, disabled_at=disabled_at, now=NOON) is is_valid
