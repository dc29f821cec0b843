"""Duties: when they are due, when they are overdue, when scale is filed anew."""

from datetime import date, timedelta

import pytest

from service.obligations import obligation_rules
from service.obligations.obligation_rules import State


@pytest.mark.parametrize(
    ("stored", "due", "stands"),
    [
        ("open", date(2026, 11, 24), "open"),
        ("open", date(2026, 11, 23), "overdue"),
        ("done", date(2026, 11, 23), "done"),
        ("void", date(2026, 11, 23), "void"),
    ],
)
def test_a_duty_may_be_done_on_its_last_day(stored: str, due: date, stands: str) -> None:
    assert obligation_rules.standing(stored, due, date(2026, 11, 24)) is State(stands)


@pytest.mark.parametrize(("ahead", "stands"), [(0, "done"), (1, "overdue")])
def test_a_paper_that_is_dated_ahead_settles_on_its_day(ahead: int, stands: str) -> None:
    today = date(2026, 11, 24)
    settles_on = today + timedelta(days=ahead)
    assert obligation_rules.standing("open", date(2026, 11, 23), today, settles_on) is State(stands)


@pytest.mark.parametrize(
    ("code", "strict", "exact"),
    [
        (obligation_rules.Code.FILE_STANDARD_CONTRACT, date(2026, 10, 5), date(2026, 10, 15)),
        (
            obligation_rules.Code.RENEW_ASSESSMENT,
            date(2026, 8, 1),
            obligation_rules.before_end(date(2026, 11, 29), 60).on,
        ),
    ],
)
def test_a_strict_day_is_reckoned_anew_from_what_it_was_reckoned_from(
    code: obligation_rules.Code, strict: date, exact: date
) -> None:
    assert obligation_rules.reckoned_anew(code, strict) == obligation_rules.Due(exact)


def test_a_strict_day_stays_while_the_holidays_are_not_known() -> None:
    strict = obligation_rules.after_working_days(date(2030, 12, 28), 10)
    assert strict.note is not None
    assert obligation_rules.reckoned_anew(obligation_rules.Code.FILE_STANDARD_CONTRACT, strict.on) == strict


def test_ten_working_days_are_counted_with_the_holidays() -> None:
    assert obligation_rules.after_working_days(date(2026, 9, 25), 10) == obligation_rules.Due(date(2026, 10, 15))


def test_where_the_holidays_are_not_known_the_strictest_day_is_taken_and_said() -> None:
    due = obligation_rules.after_working_days(date(2026, 12, 28), 10)
    assert due.on == date(2027, 1, 7)
    assert due.note is not None
    assert "2027" in due.note
    end = obligation_rules.before_end(date(2099, 12, 31), 60)
    assert (end.on, end.note is not None) == (date(2099, 9, 2), True)


def test_an_extension_is_asked_for_60_working_days_before_the_end() -> None:
    assert obligation_rules.before_end(date(2026, 11, 24), 60) == obligation_rules.Due(date(2026, 8, 26))


@pytest.mark.parametrize(
    ("code", "ends_on", "settled"),
    [
        (obligation_rules.Code.RENEW_ASSESSMENT, date(2026, 11, 24), False),
        (obligation_rules.Code.RENEW_ASSESSMENT, date(2026, 11, 25), True),
        (obligation_rules.Code.RENEW_ASSESSMENT, None, True),
        (obligation_rules.Code.FILE_STANDARD_CONTRACT, date(2026, 1, 1), True),
    ],
)
def test_an_assessment_is_renewed_by_a_longer_one(
    code: obligation_rules.Code, ends_on: date | None, *, settled: bool
) -> None:
    assert obligation_rules.settles(code, obligation_rules.before_end(date(2026, 11, 24), 60).on, ends_on) == settled


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        (date(2026, 11, 30), 3, date(2027, 2, 28)),
        (date(2027, 11, 30), 3, date(2028, 2, 29)),
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2026, 3, 31), 1, date(2026, 4, 30)),
        (date(2026, 12, 5), 1, date(2027, 1, 5)),
        (date(2028, 2, 29), 12, date(2029, 2, 28)),
    ],
)
def test_months_end_with_their_last_day(day: date, months: int, later: date) -> None:
    assert obligation_rules.months_after(day, months) == later


def test_a_year_is_twelve_months() -> None:
    assert obligation_rules.a_year_after(date(2026, 11, 24)) == date(2027, 11, 24)


@pytest.mark.parametrize(
    ("filed", "now", "anew"),
    [(100, 129, False), (100, 130, True), (100, 71, False), (100, 70, True), (0, 0, False), (0, 1, True)],
)
def test_a_change_by_30_percent_is_filed_anew(filed: int, now: int, *, anew: bool) -> None:
    assert obligation_rules.must_be_refiled(filed, now) == anew


def test_important_and_core_data_is_reported_on_every_year() -> None:
    assert obligation_rules.is_reported_yearly(["personal", "important"])
    assert obligation_rules.is_reported_yearly(["core"])
    assert not obligation_rules.is_reported_yearly(["personal", "sensitive"])
