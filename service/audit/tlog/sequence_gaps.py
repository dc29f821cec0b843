"""Sequence gaps: numbers that transactions have allocated and that are not integrated into the tree yet. Pure.

A gap closes when its transaction can no longer commit; the watermark is the number below which there is none. The order of the log is
decided here alone; docs/decisions/0018 has the argument.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

LAST = 2**63 - 1

Range = tuple[int, int]
"""First and last number."""


@dataclass
class SequenceGaps:
    """The numbers that may still become leaves: rising ranges, the last of them open to the end.

    Args:
        watermark: no number up to this one can come any more.
        taken: the numbers above it that are in the tree, rising.
    """

    watermark: int = 0
    taken: Iterable[int] = ()
    ranges: list[Range] = field(init=False)

    def __post_init__(self) -> None:
        """Cut what is in the tree out of all that is above the watermark."""
        self.ranges, self.taken = _without([(self.watermark + 1, LAST)], self.taken), ()

    def mark_integrated(self, numbers: Sequence[int]) -> None:
        """Note that these numbers, which rise, are in the tree now."""
        self.ranges = _without(self.ranges, numbers)

    def advance_watermark(self, number: int) -> None:
        """Note that no number up to this one can come any more."""
        self.watermark = max(self.watermark, number)
        self.ranges = [(max(first, number + 1), last) for first, last in self.ranges if last > number]


def _without(ranges: Sequence[Range], numbers: Iterable[int]) -> list[Range]:
    """Return rising ranges without some rising numbers."""
    left: list[Range] = []
    waiting = deque(ranges)
    for number in numbers:
        while waiting and waiting[0][1] < number:
            left.append(waiting.popleft())
        if waiting and waiting[0][0] <= number:
            first, last = waiting.popleft()
            if first < number:
                left.append((first, number - 1))
            if number < last:
                waiting.appendleft((number + 1, last))
    return [*left, *waiting]
