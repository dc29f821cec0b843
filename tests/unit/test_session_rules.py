"""Sessions: how long they stand, and when their token is replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.identity import session_rules
from service.identity.session_rules import (
    CLOCK_SKEW,
    ROTATION_GRACE,
    USE_PRECISION,
    SessionLimits,
    SessionState,
    TokenVerdict,
)

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIMITS = SessionLimits(timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=15))
SECOND = timedelta(seconds=1)
FRESH = SessionState(NOW, NOW + LIMITS.absolute, None, NOW, NOW, None, None)


@pytest.mark.parametrize(
    ("seat", "after", "expected"),
    [
        (FRESH, timedelta(), TokenVerdict.VALID),
        (FRESH, LIMITS.idle - SECOND, TokenVerdict.VALID),
        (FRESH, LIMITS.idle, TokenVerdict.IDLE),
        (replace(FRESH, seen_at=NOW + LIMITS.absolute), LIMITS.absolute - SECOND, TokenVerdict.VALID),
        (replace(FRESH, seen_at=NOW + LIMITS.absolute), LIMITS.absolute, TokenVerdict.OVER),
        (replace(FRESH, ended_at=NOW), timedelta(), TokenVerdict.ENDED),
        (replace(FRESH, ended_at=NOW), -LIMITS.absolute, TokenVerdict.ENDED),
        (FRESH, -CLOCK_SKEW, TokenVerdict.VALID),
        (FRESH, -CLOCK_SKEW - SECOND, TokenVerdict.CLOCK),
        (replace(FRESH, token_replaced_at=NOW), ROTATION_GRACE - SECOND, TokenVerdict.VALID),
        (replace(FRESH, token_replaced_at=NOW), ROTATION_GRACE, TokenVerdict.REPLAY),
    ],
)
def test_a_session_stands_until_its_time_or_a_replayed_token_ends_it(
    seat: SessionState, after: timedelta, expected: TokenVerdict
) -> None:
    assert session_rules.judge_token(seat, NOW + after, LIMITS) is expected


def test_only_time_and_replay_end_a_session() -> None:
    assert {verdict for verdict in TokenVerdict if session_rules.ends_session(verdict)} == {
        TokenVerdict.IDLE,
        TokenVerdict.OVER,
        TokenVerdict.REPLAY,
    }


@pytest.mark.parametrize(
    ("seat", "expected"),
    [
        (FRESH, True),
        (replace(FRESH, token_made_at=NOW + SECOND), False),
        (replace(FRESH, token_replaced_at=NOW), False),
        (replace(FRESH, successor_made_at=NOW + LIMITS.rotate - ROTATION_GRACE), True),
        (replace(FRESH, successor_made_at=NOW + LIMITS.rotate - ROTATION_GRACE + SECOND), False),
    ],
)
def test_an_old_token_gets_one_successor_at_a_time(seat: SessionState, *, expected: bool) -> None:
    assert session_rules.is_rotation_due(seat, NOW + LIMITS.rotate, LIMITS) is expected


def test_a_use_is_noted_now_and_then_and_the_first_one_at_once() -> None:
    assert not session_rules.must_store_use(FRESH, NOW + USE_PRECISION - SECOND, LIMITS)
    assert session_rules.must_store_use(FRESH, NOW + USE_PRECISION, LIMITS)
    assert session_rules.must_store_use(replace(FRESH, token_used_at=None), NOW, LIMITS)
    due = replace(FRESH, seen_at=NOW + LIMITS.rotate)
    assert session_rules.must_store_use(due, NOW + LIMITS.rotate, LIMITS)
