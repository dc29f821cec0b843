"""Numbers, days and instants as text, the same in both languages. Pure."""

from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


def format_count(number: int) -> str:
    """Return a number with separated thousands."""
    return f"{number:,}"


def format_day(day: date) -> str:
    """Return a day."""
    return day.isoformat()


def format_minute(instant: datetime) -> str:
    """Return an instant in UTC, to the minute."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def format_second(instant: datetime) -> str:
    """Return an instant in UTC, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def format_in_china(instant: datetime) -> str:
    """Return an instant in China Standard Time, to the second."""
    return instant.astimezone(_SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
