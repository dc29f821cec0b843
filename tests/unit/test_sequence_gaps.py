"""Which numbers may still become leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.audit.tlog.sequence_gaps import LAST, SequenceGaps


def test_at_first_every_number_may_come() -> None:
    assert SequenceGaps().ranges == [(1, LAST)]


def test_what_was_passed_over_may_still_come() -> None:
    gaps = SequenceGaps()
    gaps.mark_integrated([1, 2, 5, 6, 9])
    assert gaps.ranges == [(3, 4), (7, 8), (10, LAST)]
    gaps.mark_integrated([3, 8])
    assert gaps.ranges == [(4, 4), (7, 7), (10, LAST)]
    gaps.mark_integrated([4, 7, 12])
    assert gaps.ranges == [(10, 11), (13, LAST)]


def test_below_the_watermark_nothing_comes_any_more() -> None:
    gaps = SequenceGaps()
    gaps.mark_integrated([2, 5])
    gaps.advance_watermark(3)
    assert (gaps.watermark, gaps.ranges) == (3, [(4, 4), (6, LAST)])
    gaps.advance_watermark(7)
    assert gaps.ranges == [(8, LAST)]
    gaps.advance_watermark(5)
    assert (gaps.watermark, gaps.ranges) == (7, [(8, LAST)])


def test_whoever_takes_over_knows_the_same() -> None:
    gaps = SequenceGaps(3)
    gaps.mark_integrated([4, 6])
    assert SequenceGaps(3, iter([4, 6])).ranges == gaps.ranges == [(5, 5), (7, LAST)]


def test_the_last_number_leaves_nothing_open() -> None:
    gaps = SequenceGaps(LAST - 2)
    gaps.mark_integrated([LAST])
    assert gaps.ranges == [(LAST - 1, LAST - 1)]
    gaps.mark_integrated([LAST - 1, LAST])
    assert gaps.ranges == []


@given(st.lists(st.sets(st.integers(1, 60), max_size=20), max_size=8), st.integers(0, 70))
def test_what_may_come_is_all_that_is_above_the_mark_and_not_taken(turns: list[set[int]], mark: int) -> None:
    gaps = SequenceGaps()
    taken: set[int] = set()
    for turn in turns:
        gaps.mark_integrated(sorted(turn))
        taken |= turn
    gaps.advance_watermark(mark)
    open_ = {number for first, last in gaps.ranges for number in range(first, min(last, 100) + 1)}
    assert open_ == set(range(mark + 1, 101)) - taken
    assert SequenceGaps(mark, sorted(number for number in taken if number > mark)).ranges == gaps.ranges
