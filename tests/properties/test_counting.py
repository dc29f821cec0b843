"""Properties of counting: a union knows no order, no grouping and no repeats, and a total only grows."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from service.ledger.counting import Report, Sketch, Tally, sketch_of, unite

CROWD = random.Random(7).randbytes(16 * 400_000)  # noqa: S311 - repeatable, not secret

small = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted)
large = st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)).map(sorted)


def part(span: list[int]) -> bytes:
    return CROWD[16 * span[0] : 16 * span[1]]


def persons(span: list[int]) -> Sketch:
    return sketch_of(part(span))


def check_union(first: list[int], second: list[int], third: list[int]) -> None:
    a, b, c = persons(first), persons(second), persons(third)
    assert unite(a, a) == a
    assert unite(a, b) == unite(b, a)
    assert unite(unite(a, b), c) == unite(a, unite(b, c)) == unite(c, b, a)
    together = unite(a, b, c)
    assert all(together.upper >= one.upper for one in (a, b, c))


@given(small, small, small)
def test_a_union_of_few_knows_no_order_no_grouping_and_no_repeats(a: list[int], b: list[int], c: list[int]) -> None:
    check_union(a, b, c)
    truth = set()
    for span in (a, b, c):
        truth |= set(range(*span))
    assert unite(persons(a), persons(b), persons(c)).upper == len(truth)


@settings(max_examples=8)
@given(large, large, large)
def test_a_union_of_many_knows_no_order_no_grouping_and_no_repeats(a: list[int], b: list[int], c: list[int]) -> None:
    check_union(a, b, c)


reports = st.one_of(
    st.integers(0, 500).map(lambda number: Report(number=number)),
    small.map(lambda span: Report(sketch=persons(span), at_most=span[1] - span[0])),
    small.map(lambda span: Report.of_sketch(persons(span))),
)


@given(st.lists(reports, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_reports_makes_no_difference_and_a_total_only_grows(
    given_: list[Report], shuffler: random.Random
) -> None:
    steps = [Tally()]
    for report in given_:
        steps.append(steps[-1].plus(report))
    assert all(later.total >= earlier.total for earlier, later in pairwise(steps))
    shuffled = shuffler.sample(given_, len(given_))
    tally = Tally()
    for report in shuffled:
        tally = tally.plus(report)
    assert tally == steps[-1]
    assert tally.total == tally.plain + tally.upper
