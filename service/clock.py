"""Clock: UTC and Shanghai time, and instants as RFC 3339."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo


def rfc3339(at: datetime) -> str:
    """Return a moment in UTC as RFC 3339."""
    return at.isoformat().replace("+00:00", "Z")


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time of this machine in UTC: for what no decision hangs on."""
    return datetime.now(UTC)


SHANGHAI = ZoneInfo("Asia/Shanghai")


def day_in_shanghai(moment: datetime) -> date:
    """Return the calendar day of a moment in Asia/Shanghai, where a day of the law begins and ends."""
    return moment.astimezone(SHANGHAI).date()
