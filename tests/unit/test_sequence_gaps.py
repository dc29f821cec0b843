"""Which numbers may still become leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.audit.tlog.sequence_gaps import LAST, Numbering


def test_at_first_every_number_may_come() -> None:
    assert Numbering().ranges == [(1, LAST)]


def test_what_was_passed_over_may_still_come() -> None:
    numbering = Numbering()
    numbering.take([1, 2, 5, 6, 9])
    assert numbering.ranges == [(3, 4), (7, 8), (10, LAST)]
    numbering.take([3, 8])
    assert numbering.ranges == [(4, 4), (7, 7), (10, LAST)]
    numbering.take([4, 7, 12])
    assert numbering.ranges == [(10, 11), (13, LAST)]


def test_below_the_watermark_nothing_comes_any_more() -> None:
    numbering = Numbering()
    numbering.take([2, 5])
    numbering.raise_to(3)
    assert (numbering.watermark, numbering.ranges) == (3, [(4, 4), (6, LAST)])
    numbering.raise_to(7)
    assert numbering.ranges == [(8, LAST)]
    numbering.raise_to(5)
    assert (numbering.watermark, numbering.ranges) == (7, [(8, LAST)])


def test_whoever_takes_over_knows_the_same() -> None:
    numbering = Numbering(3)
    numbering.take([4, 6])
    assert Numbering(3, iter([4, 6])).ranges == numbering.ranges == [(5, 5), (7, LAST)]


def test_the_last_number_leaves_nothing_open() -> None:
    numbering = Numbering(LAST - 2)
    numbering.take([LAST])
    assert numbering.ranges == [(LAST - 1, LAST - 1)]
    numbering.take([LAST - 1, LAST])
    assert numbering.ranges == []


@given(st.lists(st.sets(st.integers(1, 60), max_size=20), max_size=8), st.integers(0, 70))
def test_what_may_come_is_all_that_is_above_the_mark_and_not_taken(turns: list[set[int]], mark: int) -> None:
    numbering = Numbering()
    taken: set[int] = set()
    for turn in turns:
        numbering.take(sorted(turn))
        taken |= turn
    numbering.raise_to(mark)
    open_ = {number for first, last in numbering.ranges for number in range(first, min(last, 100) + 1)}
    assert open_ == set(range(mark + 1, 101)) - taken
    assert Numbering(mark, sorted(number for number in taken if number > mark)).ranges == numbering.ranges
