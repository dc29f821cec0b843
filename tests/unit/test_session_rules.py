"""Sessions: how long they stand, and when their token is replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.identity import session_rules
from service.identity.session_rules import GRACE, NOTE_AFTER, SKEW, Limits, SessionState, Verdict

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIMITS = Limits(timedelta(minutes=30), timedelta(hours=12), timedelta(minutes=15))
SECOND = timedelta(seconds=1)
FRESH = SessionState(NOW, NOW + LIMITS.whole, None, NOW, NOW, None, None)


@pytest.mark.parametrize(
    ("seat", "after", "expected"),
    [
        (FRESH, timedelta(), Verdict.STANDS),
        (FRESH, LIMITS.idle - SECOND, Verdict.STANDS),
        (FRESH, LIMITS.idle, Verdict.IDLE),
        (replace(FRESH, seen_at=NOW + LIMITS.whole), LIMITS.whole - SECOND, Verdict.STANDS),
        (replace(FRESH, seen_at=NOW + LIMITS.whole), LIMITS.whole, Verdict.OVER),
        (replace(FRESH, ended_at=NOW), timedelta(), Verdict.ENDED),
        (replace(FRESH, ended_at=NOW), -LIMITS.whole, Verdict.ENDED),
        (FRESH, -SKEW, Verdict.STANDS),
        (FRESH, -SKEW - SECOND, Verdict.CLOCK),
        (replace(FRESH, token_replaced_at=NOW), GRACE - SECOND, Verdict.STANDS),
        (replace(FRESH, token_replaced_at=NOW), GRACE, Verdict.REPLAY),
    ],
)
def test_a_session_stands_until_its_time_or_a_replayed_token_ends_it(
    seat: SessionState, after: timedelta, expected: Verdict
) -> None:
    assert session_rules.verdict(seat, NOW + after, LIMITS) is expected


def test_only_time_and_replay_end_a_session() -> None:
    assert {found for found in Verdict if session_rules.ends(found)} == {Verdict.IDLE, Verdict.OVER, Verdict.REPLAY}


@pytest.mark.parametrize(
    ("seat", "expected"),
    [
        (FRESH, True),
        (replace(FRESH, token_made_at=NOW + SECOND), False),
        (replace(FRESH, token_replaced_at=NOW), False),
        (replace(FRESH, successor_made_at=NOW + LIMITS.rotate - GRACE), True),
        (replace(FRESH, successor_made_at=NOW + LIMITS.rotate - GRACE + SECOND), False),
    ],
)
def test_an_old_token_gets_one_successor_at_a_time(seat: SessionState, *, expected: bool) -> None:
    assert session_rules.is_due(seat, NOW + LIMITS.rotate, LIMITS) is expected


def test_a_use_is_noted_now_and_then_and_the_first_one_at_once() -> None:
    assert not session_rules.is_worth_a_note(FRESH, NOW + NOTE_AFTER - SECOND, LIMITS)
    assert session_rules.is_worth_a_note(FRESH, NOW + NOTE_AFTER, LIMITS)
    assert session_rules.is_worth_a_note(replace(FRESH, token_used_at=None), NOW, LIMITS)
    due = replace(FRESH, seen_at=NOW + LIMITS.rotate)
    assert session_rules.is_worth_a_note(due, NOW + LIMITS.rotate, LIMITS)
