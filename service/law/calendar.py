"""Counts working days in mainland China, with the State Council's holidays and make-up days."""

from datetime import date, timedelta
from functools import cache

import chinese_calendar


class CalendarNotCovered(LookupError):  # noqa: N818 - says what it is
    """Raised for a year whose holidays are not published; the State Council publishes them in November of the year before."""

    def __init__(self, year: int) -> None:
        super().__init__(f"The public holidays of {year} are not known to the calendar.")
        self.year = year


def working_days_after(start: date, days: int) -> date:
    """Return the last day of a term of working days that begins on the day after `start`.

    Raises:
        CalendarNotCovered: the term reaches into a year whose holidays are not published.
    """
    day = start
    while days > 0:
        day += timedelta(days=1)
        days -= _is_working_day(day)
    return day


def working_days_before(end: date, days: int) -> date:
    """Return the last day on which a term of working days before `end` can begin.

    Raises:
        CalendarNotCovered: the term reaches into a year whose holidays are not published.
    """
    day = end
    while days > 0:
        day -= timedelta(days=1)
        days -= _is_working_day(day)
    return day


@cache
def _is_working_day(day: date) -> bool:
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError as error:
        raise CalendarNotCovered(day.year) from error
