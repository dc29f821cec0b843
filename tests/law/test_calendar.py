"""Days in Shanghai, and working days with the holidays of the State Council."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from service.clock import day_in_shanghai
from service.law.calendar import CalendarNotCovered, working_days_after, working_days_before


def test_a_day_of_the_law_begins_at_four_in_the_afternoon_utc() -> None:
    assert day_in_shanghai(datetime(2026, 11, 24, 15, 59, tzinfo=UTC)) == date(2026, 11, 24)
    assert day_in_shanghai(datetime(2026, 11, 24, 16, 0, tzinfo=UTC)) == date(2026, 11, 25)


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        (date(2026, 11, 24), 10, date(2026, 12, 8)),
        (date(2026, 11, 27), 1, date(2026, 11, 30)),
        (date(2026, 9, 30), 1, date(2026, 10, 8)),
        (date(2026, 10, 9), 1, date(2026, 10, 10)),
        # The Spring Festival of 2026: off from 15 to 23 February, made up for on Saturdays 14 and 28 February.
        (date(2026, 2, 13), 1, date(2026, 2, 14)),
        (date(2026, 2, 14), 1, date(2026, 2, 24)),
        (date(2026, 2, 18), 1, date(2026, 2, 24)),
        (date(2026, 2, 13), 10, date(2026, 3, 5)),
        (date(2026, 2, 27), 1, date(2026, 2, 28)),
        (date(2026, 3, 6), 1, date(2026, 3, 9)),
        (date(2025, 12, 31), 1, date(2026, 1, 4)),
        (date(2026, 11, 24), 0, date(2026, 11, 24)),
    ],
)
def test_holidays_do_not_count_and_make_up_days_do(start: date, days: int, end: date) -> None:
    assert working_days_after(start, days) == end


def test_the_year_of_the_law_begins_at_midnight_in_shanghai() -> None:
    assert day_in_shanghai(datetime(2026, 12, 31, 15, 59, 59, 999_999, tzinfo=UTC)) == date(2026, 12, 31)
    assert day_in_shanghai(datetime(2026, 12, 31, 16, 0, tzinfo=UTC)) == date(2027, 1, 1)
    new_york = timezone(timedelta(hours=-5))
    assert day_in_shanghai(datetime(2026, 12, 31, 11, 0, tzinfo=new_york)) == date(2027, 1, 1)


def test_a_year_whose_holidays_nobody_knows_is_named() -> None:
    with pytest.raises(CalendarNotCovered, match="2099") as told:
        working_days_after(date(2099, 1, 1), 1)
    assert told.value.year == 2099


@pytest.mark.parametrize(
    ("end", "days", "begins"),
    [
        (date(2026, 11, 30), 1, date(2026, 11, 27)),
        (date(2026, 10, 9), 2, date(2026, 9, 30)),
        (date(2026, 11, 24), 0, date(2026, 11, 24)),
    ],
)
def test_working_days_are_counted_back_from_an_end(end: date, days: int, begins: date) -> None:
    assert working_days_before(end, days) == begins
