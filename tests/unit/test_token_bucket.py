"""How often is too often: a bucket gives what it holds, fills by itself, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.token_bucket import Buckets, TokenBucket, retry_after

TEN = TokenBucket(10, 20)


def test_a_full_bucket_gives_its_burst_and_then_makes_wait() -> None:
    buckets = Buckets(TEN)
    assert [buckets.take(b"a", 5.0) for _ in range(20)] == [0.0] * 20
    assert buckets.take(b"a", 5.0) == pytest.approx(0.1)
    assert buckets.wait(b"a", 5.0) == pytest.approx(0.1)
    assert buckets.take(b"b", 5.0) == 0.0, "another key has another bucket"
    assert buckets.take(b"a", 5.1) == 0.0
    assert buckets.take(b"a", 5.1) > 0


def test_to_ask_what_there_is_takes_nothing() -> None:
    buckets = Buckets(TokenBucket(1, 1))
    assert [buckets.wait(b"a", 0.0) for _ in range(9)] == [0.0] * 9
    assert len(buckets) == 0


def test_what_costs_more_than_a_bucket_holds_is_paid_back() -> None:
    full_at, wait = TEN.take(0.0, 0.0, 1000)
    assert (full_at, wait) == (100.0, 0.0)
    assert TEN.take(full_at, 97.9)[1] > 0
    assert TEN.take(full_at, 98.2)[1] == 0.0
    assert TEN.take(0.05, 0.0, 1000)[1] > 0, "it needs a full one"


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate(steps: list[tuple[float, int]]) -> None:
    buckets, now, given_out = Buckets(TEN), 0.0, 0
    for pause, cost in steps:
        now += pause
        if buckets.take(b"a", now, cost) == 0.0:
            given_out += cost
        assert given_out <= TEN.burst + TEN.per_second * now + 30  # the last one may be paid back later


def test_the_fullest_are_forgotten_first() -> None:
    buckets = Buckets(TEN, capacity=8)
    for _ in range(20):
        buckets.take(b"greedy", 0.0)
    for number in range(100):
        buckets.take(b"%d" % number, 0.0)
        assert len(buckets) <= 8
    assert buckets.take(b"greedy", 0.0) > 0
    for number in range(8):
        buckets.take(b"late %d" % number, 1000.0)
    assert len(buckets) <= 8


def test_no_rate_is_no_limit_and_ten_seconds_come_at_once() -> None:
    assert TokenBucket.of(0) is None
    assert TokenBucket.of(2.5) == TokenBucket(2.5, 25)
    assert TokenBucket.of(0.001) == TokenBucket(0.001, 1)
    assert [retry_after(wait) for wait in (0.001, 1.0, 1.1)] == [1, 1, 2]
