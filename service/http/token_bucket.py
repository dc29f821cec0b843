"""Token bucket rate limiting (in the form of GCRA), pure: burst, refill rate, and the seconds to wait where a bucket is empty."""

import math
from dataclasses import dataclass
from typing import Final

MAX_BUCKETS: Final = 10_000
"""Buckets that are kept at most."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """So many a second, and so many at once."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, per_second: float) -> "TokenBucket | None":
        """Return the rate with ten seconds' worth at once; None for 0, which is no limit."""
        return cls(per_second, max(10 * per_second, 1)) if per_second else None

    def take(self, full_at: float, now: float, cost: float = 1) -> tuple[float, float]:
        """Return when the bucket will be full again, and how long to wait before anything can be taken: 0.0 where it was.

        What costs more than a bucket holds is taken from a full one, and paid back over time.

        Args:
            full_at: when the bucket will be full.
            now: the moment, in seconds of the same clock.
            cost: how much to take.
        """
        begins = max(full_at, now)
        wait = begins + min(cost, self.burst) / self.per_second - now - self.burst / self.per_second
        if wait > _TOLERANCE:
            return full_at, wait
        return begins + cost / self.per_second, 0.0


_TOLERANCE: Final = 1e-9
"""Seconds: sums of fractions are not exact."""


class Buckets:
    """One bucket for each key; a key that is not known has a full one. The moments are given.

    Args:
        rate: of each.
        room: buckets that are kept at most; the fullest are forgotten first, which forgives least.
    """

    __slots__ = ("_full_at", "_room", "rate")

    def __init__(self, rate: TokenBucket, room: int = MAX_BUCKETS) -> None:
        self.rate = rate
        self._room = room
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._full_at)

    def take(self, key: bytes, now: float, cost: float = 1) -> float:
        """Take from a bucket, and return 0.0; or leave it, and return the seconds to wait."""
        full_at, wait = self.rate.take(self._full_at.get(key, now), now, cost)
        self._full_at[key] = full_at
        if len(self._full_at) > self._room:
            self._forget(now)
        return wait

    def wait(self, key: bytes, now: float) -> float:
        """Return the seconds to wait before one could be taken, and take nothing."""
        return self.rate.take(self._full_at.get(key, now), now)[1]

    def _forget(self, now: float) -> None:
        """Forget those that are full, and of the others the fullest, down to three quarters of the room."""
        kept = sorted(((full_at, key) for key, full_at in self._full_at.items() if full_at > now), reverse=True)
        self._full_at = {key: full_at for full_at, key in kept[: self._room * 3 // 4]}


def retry_after(wait: float) -> int:
    """Return whole seconds for `Retry-After`: one at least."""
    return max(1, math.ceil(wait))
