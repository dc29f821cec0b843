"""Session policy: idle and absolute timeouts, token rotation, and reuse detection. Pure.

A session ends after a time without use (idle timeout) and after some hours in any case (absolute timeout). Its token is rotated: the old
token is valid until its successor is used, and `ROTATION_GRACE` longer for parallel requests of the browser. A later use of the old token
means that somebody has a copy. Owner and thief cannot be distinguished, so the session ends for both.

A clock that is set back revives no session. The end of a session is stored, the later of two clocks counts (the service's and the
database's), and a time earlier than the last use is refused.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

ROTATION_GRACE: Final = timedelta(seconds=30)
"""Grace period of a rotated token after the first use of its successor."""
CLOCK_SKEW: Final = timedelta(seconds=60)
"""Maximal difference between the clocks of two replicas."""
USE_PRECISION: Final = timedelta(seconds=30)
"""Precision of the stored time of the last use, which saves a write for most requests."""


class TokenVerdict(StrEnum):
    """Result of presenting a session token. The value of a verdict that ends the session is recorded as its reason."""

    VALID = "stands"
    ENDED = "ended"
    """The session has ended before."""
    IDLE = "idle"
    OVER = "over"
    """The absolute timeout has passed."""
    REPLAY = "replay"
    """The token was rotated and its successor is in use."""
    CLOCK = "clock"
    """The clock shows a time before the last use: the request is refused, the session does not end."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Time-outs of sessions."""

    idle: timedelta
    absolute: timedelta
    rotate: timedelta
    """Age at which a token is rotated."""


@dataclass(frozen=True, slots=True)
class SessionState:
    """Times of a session and of the presented token."""

    seen_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    token_made_at: datetime
    token_used_at: datetime | None
    token_replaced_at: datetime | None
    """First use of a successor of the token."""
    successor_made_at: datetime | None
    """Issue of the newest other token that has not been used yet."""


def judge_token(session: SessionState, now: datetime, limits: SessionLimits) -> TokenVerdict:
    """Return the verdict on the presented token of a session.

    Example:
        A request half an hour after the last one, where the idle timeout is 15 minutes::

            judge_token(state, now, limits)  # TokenVerdict.IDLE
            ends_session(TokenVerdict.IDLE)  # True
    """
    if session.ended_at is not None:
        return TokenVerdict.ENDED
    if now >= session.ends_at:
        return TokenVerdict.OVER
    if now >= session.seen_at + limits.idle:
        return TokenVerdict.IDLE
    if now < session.seen_at - CLOCK_SKEW:
        return TokenVerdict.CLOCK
    if session.token_replaced_at is not None and now >= session.token_replaced_at + ROTATION_GRACE:
        return TokenVerdict.REPLAY
    return TokenVerdict.VALID


def ends_session(verdict: TokenVerdict) -> bool:
    """True if a verdict ends a session that was valid."""
    return verdict in {TokenVerdict.IDLE, TokenVerdict.OVER, TokenVerdict.REPLAY}


def is_rotation_due(session: SessionState, now: datetime, limits: SessionLimits) -> bool:
    """True if the token must be rotated: it is old, it is the newest in use, and no successor was issued within the grace period."""
    is_current = session.token_replaced_at is None
    is_successor_pending = session.successor_made_at is not None and now < session.successor_made_at + ROTATION_GRACE
    return is_current and not is_successor_pending and now >= session.token_made_at + limits.rotate


def must_store_use(session: SessionState, now: datetime, limits: SessionLimits) -> bool:
    """True if a request must write to the session: its last use, the first use of a token, or a new token."""
    return (
        session.token_used_at is None or now >= session.seen_at + USE_PRECISION or is_rotation_due(session, now, limits)
    )
