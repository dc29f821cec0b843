"""Decides which obligations follow, their due days, and which suspend a permit when overdue. Pure.

Source: SCM art. 7 (filing), SAM art. 14 and CBDF art. 9 (extension of an assessment), PIPL art. 55 and 56 (impact assessment),
DSL art. 30 and NDSMR art. 33 (yearly report), MIIT art. 12 (catalogue).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from service.law.calendar import CalendarNotCovered, working_days_after, working_days_before

EXTENSION_WORKING_DAYS: Final = 60
"""An assessment's extension is asked for this many working days before its end. Source: CBDF art. 9."""

FILING_WORKING_DAYS: Final = 10
"""A standard contract is filed within this many working days of its effect. Source: SCM art. 7."""

REFILING_PERCENT: Final = 30
"""A change of scale by this much is filed anew. Source: MIIT art. 12."""

REFILING_MONTHS: Final = 3


class Code(StrEnum):
    """Kinds of obligations."""

    FILE_STANDARD_CONTRACT = "file_standard_contract"
    RENEW_ASSESSMENT = "renew_assessment"
    RENEW_IMPACT_ASSESSMENT = "renew_impact_assessment"
    ANNUAL_RISK_REPORT = "annual_risk_report"
    CATALOGUE_REFILING = "catalogue_refiling"


BLOCKING: Final = frozenset({Code.FILE_STANDARD_CONTRACT, Code.ANNUAL_RISK_REPORT, Code.CATALOGUE_REFILING})
"""Overdue, they suspend the permits that they belong to. An assessment stands to its last day, extended or not."""

SETTLED_BY: Final[Mapping[Code, str]] = {
    Code.FILE_STANDARD_CONTRACT: "filing_receipt",
    Code.RENEW_ASSESSMENT: "security_assessment_result",
    Code.RENEW_IMPACT_ASSESSMENT: "impact_assessment_report",
}
"""Obligations that only evidence of this kind settles."""

RECKONED: Final = frozenset({Code.FILE_STANDARD_CONTRACT, Code.RENEW_ASSESSMENT})
"""Obligations whose due day is computed in working days."""

YEARLY: Final = frozenset({Code.ANNUAL_RISK_REPORT})
"""Obligations that recur a year after their due day."""


class State(StrEnum):
    """Where a task stands."""

    OPEN = "open"
    OVERDUE = "overdue"
    DONE = "done"
    VOID = "void"


def standing(stored: str, due_on: date, today: date, settles_on: date | None = None) -> State:
    """Return where a task stands on a day; it may still be done on the day on which it is due.

    Args:
        stored: `open`, `done` or `void`.
        due_on: its last day.
        today: the day in Asia/Shanghai.
        settles_on: the day of a paper that is dated ahead: from then on the task is done, without anything having to run.
    """
    state = State(stored)
    if state is State.OPEN and settles_on is not None and settles_on <= today:
        return State.DONE
    return State.OVERDUE if state is State.OPEN and today > due_on else state


@dataclass(frozen=True, slots=True)
class Due:
    """Due day, with a note if it was computed without the year's holidays."""

    on: date
    note: str | None = None


def after_working_days(start: date, days: int) -> Due:
    """Return the day by which something is due; where the holidays are not known yet, as if every day were a working day."""
    return _reckoned(lambda: working_days_after(start, days), start + timedelta(days=days))


def before_end(end: date, days: int) -> Due:
    """Return the last day on which something can be asked for, so many working days before an end.

    Where the holidays are not known yet two calendar days are taken for each working day, which no calendar exceeds.
    """
    return _reckoned(lambda: working_days_before(end, days), end - timedelta(days=2 * days))


def reckoned_anew(code: Code, strict: date) -> Due:
    """Recompute a due day that was computed without a year's holidays; with a note if they are still not published.

    What it was reckoned from follows from the strict day itself, since that was so many calendar days away.
    """
    if code is Code.FILE_STANDARD_CONTRACT:
        return after_working_days(strict - timedelta(days=FILING_WORKING_DAYS), FILING_WORKING_DAYS)
    return before_end(strict + timedelta(days=2 * EXTENSION_WORKING_DAYS), EXTENSION_WORKING_DAYS)


def _reckoned(exact: Callable[[], date], strictest: date) -> Due:
    try:
        return Due(exact())
    except CalendarNotCovered as gap:
        return Due(strictest, f"{gap} This is the strictest reading.")


def settles(code: Code, due_on: date, ends_on: date | None) -> bool:
    """Return True if evidence of the right kind settles an obligation; an assessment is renewed only by a result that ends later.

    Args:
        code: the obligation.
        due_on: its last day.
        ends_on: the last day of the paper; None: no end.
    """
    if code is not Code.RENEW_ASSESSMENT or ends_on is None:
        return True
    return before_end(ends_on, EXTENSION_WORKING_DAYS).on > due_on


def a_year_after(day: date) -> date:
    """Return the same day of the next year; of 29 February, the 28th."""
    return months_after(day, 12)


def months_after(day: date, months: int) -> date:
    """Return the same day some months later, or the last one of that month."""
    years, month = divmod(day.month - 1 + months, 12)
    for number in range(day.day, 28, -1):
        try:
            return date(day.year + years, month + 1, number)
        except ValueError:
            continue
    return date(day.year + years, month + 1, min(day.day, 28))


def must_be_refiled(filed: int, scale: int) -> bool:
    """Return True if a scale has changed by so much that the catalogue is filed anew. Source: MIIT art. 12."""
    if filed == 0:
        return scale > 0
    return abs(scale - filed) * 100 >= filed * REFILING_PERCENT


def is_reported_yearly(tags: Collection[str]) -> bool:
    """Return True if data of these tags needs a yearly report. Source: DSL art. 30; NDSMR art. 33."""
    return not {"important", "core"}.isdisjoint(tags)
