"""Moments as texts."""

from datetime import datetime


def rfc3339(at: datetime) -> str:
    """Return a moment in UTC as RFC 3339."""
    return at.isoformat().replace("+00:00", "Z")
