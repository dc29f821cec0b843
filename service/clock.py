"""Clock: UTC and Shanghai time, and instants as RFC 3339."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo


def rfc3339(at: datetime) -> str:
    """Return an instant in UTC as RFC 3339."""
    return at.isoformat().replace("+00:00", "Z")


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return this machine's time in UTC, for purposes on which no decision depends."""
    return datetime.now(UTC)


SHANGHAI = ZoneInfo("Asia/Shanghai")


def day_in_shanghai(at: datetime) -> date:
    """Return the calendar day of an instant in Asia/Shanghai, by which the law counts days."""
    return at.astimezone(SHANGHAI).date()
