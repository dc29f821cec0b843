"""Token bucket rate limiting in the form of GCRA, pure: refill rate, burst, and the seconds to wait for an empty bucket.

Example:
    buckets = Buckets(TokenBucket(per_second=5, burst=50))
    wait = buckets.take(b"key", now=time.monotonic())  # 0.0: taken
"""

import math
from dataclasses import dataclass
from typing import Final

MAX_BUCKETS: Final = 10_000
"""Most buckets that are stored."""


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Refill rate per second, and burst."""

    per_second: float
    burst: float

    @classmethod
    def of(cls, per_second: float) -> "TokenBucket | None":
        """Return the bucket with a burst of ten seconds; None for 0, which is no limit."""
        return cls(per_second, max(10 * per_second, 1)) if per_second else None

    def take(self, full_at: float, now: float, cost: float = 1) -> tuple[float, float]:
        """Return the time at which the bucket will be full, and the seconds to wait; 0.0 if the cost was taken.

        A cost above the burst is taken from a full bucket, and refilled over time.

        Args:
            full_at: time at which the bucket will be full.
            now: present time, by the same clock.
            cost: tokens to take.
        """
        begins = max(full_at, now)
        wait = begins + min(cost, self.burst) / self.per_second - now - self.burst / self.per_second
        if wait > _TOLERANCE:
            return full_at, wait
        return begins + cost / self.per_second, 0.0


_TOLERANCE: Final = 1e-9
"""Seconds: sums of fractions are not exact."""


class Buckets:
    """Token buckets by key; a new key has a full bucket. The caller passes the time.

    Args:
        rate: rate and burst of each bucket.
        capacity: most buckets that are stored; the fullest are removed first, which loses least.
    """

    __slots__ = ("_capacity", "_full_at", "rate")

    def __init__(self, rate: TokenBucket, capacity: int = MAX_BUCKETS) -> None:
        self.rate = rate
        self._capacity = capacity
        self._full_at: dict[bytes, float] = {}

    def __len__(self) -> int:
        """Return the number of stored buckets."""
        return len(self._full_at)

    def take(self, key: bytes, now: float, cost: float = 1) -> float:
        """Take tokens and return 0.0, or take none and return the seconds to wait."""
        full_at, wait = self.rate.take(self._full_at.get(key, now), now, cost)
        self._full_at[key] = full_at
        if len(self._full_at) > self._capacity:
            self._forget(now)
        return wait

    def wait(self, key: bytes, now: float) -> float:
        """Return the seconds to wait for one token, and take none."""
        return self.rate.take(self._full_at.get(key, now), now)[1]

    def _forget(self, now: float) -> None:
        """Remove full buckets, and the fullest of the others, down to three quarters of the capacity."""
        kept = sorted(((full_at, key) for key, full_at in self._full_at.items() if full_at > now), reverse=True)
        self._full_at = {key: full_at for full_at, key in kept[: self._capacity * 3 // 4]}


def retry_after(wait: float) -> int:
    """Return whole seconds for `Retry-After`: one at least."""
    return max(1, math.ceil(wait))
