"""Rules of reservations: when one lapses, and the status of its export from then on. Pure."""

from datetime import datetime


def has_lapsed(expires_at: datetime, now: datetime) -> bool:
    """Return True if a reservation no longer counts: nothing was reported before it expired."""
    return now >= expires_at


def status_at(stored: str, expires_at: datetime, now: datetime) -> str:
    """Return the status of an export at an instant: `reserved`, `completed`, `cancelled` or `lapsed`.

    Args:
        stored: `reserved`, `completed` or `cancelled`.
        expires_at: the first instant at which its reservation no longer counts.
        now: the instant.
    """
    return "lapsed" if stored == "reserved" and has_lapsed(expires_at, now) else stored
