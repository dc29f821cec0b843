"""Rules of credentials: when an API key or a linked identity is valid. Pure."""

from datetime import datetime


def is_valid_credential(
    *, ended_at: datetime | None, expires_at: datetime | None, disabled_at: datetime | None, now: datetime
) -> bool:
    """Return True if a credential identifies its principal at an instant; `gate/sql/gate_read_2.sql` repeats this rule.

    Args:
        ended_at: when the key was revoked, or the identity unlinked; None: it was not.
        expires_at: the first instant at which it is not valid any more; None: it does not expire.
        disabled_at: when the principal was disabled; None: it is enabled.
        now: the instant.
    """
    return ended_at is None and disabled_at is None and (expires_at is None or now < expires_at)
