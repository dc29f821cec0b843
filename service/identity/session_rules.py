"""Session policy: idle and absolute timeouts, token rotation, and reuse detection. Pure.

A session ends when it was unused for a while (idle timeout), and after some hours in any case (absolute timeout). Its token is rotated;
the old token is good until its successor has been used, and some seconds longer, since a browser sends several requests at once.
A token that is shown later than that was copied: the thief and the owner cannot be told apart, so the session ends for both.

A clock that is set back revives nothing: an end is stored, the later of two clocks counts (the service's and the database's), and a
session that was seen in the future is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

GRACE: Final = timedelta(seconds=30)
"""Grace period of a rotated token after the first use of its successor."""
SKEW: Final = timedelta(seconds=60)
"""By how much the clocks of two replicas may differ."""
NOTE_AFTER: Final = timedelta(seconds=30)
"""Age at which the time of the last use is stored anew."""


class Verdict(StrEnum):
    """What becomes of a session when a token is shown; all but the first two and the last end it, under this name."""

    STANDS = "stands"
    ENDED = "ended"
    """Before, for whatever reason."""
    IDLE = "idle"
    OVER = "over"
    REPLAY = "replay"
    CLOCK = "clock"
    """It is earlier than when it was last used: not taken, and not ended either."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time-outs of sessions."""

    idle: timedelta
    whole: timedelta
    rotate: timedelta
    """Age at which a token is rotated."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session and the token that was shown for it."""

    seen_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    token_made_at: datetime
    token_used_at: datetime | None
    token_replaced_at: datetime | None
    """Since when its successor has been in use; or it was never used, and another was given in its place."""
    successor_made_at: datetime | None
    """When the newest token that is to follow it was given, and has not been used yet."""


def verdict(seat: SessionState, now: datetime, limits: Limits) -> Verdict:
    """Return what becomes of a session."""
    if seat.ended_at is not None:
        return Verdict.ENDED
    if now >= seat.ends_at:
        return Verdict.OVER
    if now >= seat.seen_at + limits.idle:
        return Verdict.IDLE
    if now < seat.seen_at - SKEW:
        return Verdict.CLOCK
    if seat.token_replaced_at is not None and now >= seat.token_replaced_at + GRACE:
        return Verdict.REPLAY
    return Verdict.STANDS


def ends(found: Verdict) -> bool:
    """Tell whether a verdict ends a session that stood."""
    return found in {Verdict.IDLE, Verdict.OVER, Verdict.REPLAY}


def is_due(seat: SessionState, now: datetime, limits: Limits) -> bool:
    """Tell whether the token is to be replaced: it is old, it is the newest in use, and no successor is on its way to the browser."""
    is_current = seat.token_replaced_at is None
    on_its_way = seat.successor_made_at is not None and now < seat.successor_made_at + GRACE
    return is_current and not on_its_way and now >= seat.token_made_at + limits.rotate


def is_worth_a_note(seat: SessionState, now: datetime, limits: Limits) -> bool:
    """Tell whether anything is to be written down: the use, the first use of a token, or a new token."""
    return seat.token_used_at is None or now >= seat.seen_at + NOTE_AFTER or is_due(seat, now, limits)
