"""Counts distinct persons by hash with Theta sketches: estimates, bounds, and the tallies of years and permits.

A sketch stores none of its input hashes, only the smallest hashes of these. Its union with itself changes nothing, so a person who is
exported every day counts once. Up to `EXACT` persons the count is exact, beyond that an estimate with bounds.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from datasketches import compact_theta_sketch, theta_union, update_theta_sketch

Entries = npt.NDArray[np.uint64]
Kind = Literal["persons", "sensitive_persons"]
KINDS: Final[tuple[Kind, ...]] = ("persons", "sensitive_persons")

LG_K: Final = 17
EXACT: Final = 1 << LG_K
"""Maximum number of persons with an exact count; both yearly thresholds below a million are within."""
DEVIATIONS: Final = 3
HASH_BYTES: Final = 16
HASH_DIGITS: Final = 2 * HASH_BYTES

_HEADER: Final = 8
_SERIAL_VERSION: Final = 3
_FAMILY: Final = 3  # compact Theta
_BIG_ENDIAN, _READ_ONLY, _EMPTY, _COMPACT, _ORDERED, _SINGLE = 1, 2, 4, 8, 16, 32
_ALLOWED_FLAGS: Final = _READ_ONLY | _EMPTY | _COMPACT | _ORDERED | _SINGLE
_SEED_HASH: Final = update_theta_sketch().get_seed_hash()
_NO_THETA: Final = (1 << 63) - 1
_RETAINED: Final = 2 * EXACT
MAX_SKETCH_BYTES: Final = 24 + 8 * _RETAINED
"""Maximum bytes of a sketch of `LG_K` before it is trimmed."""


class SketchError(ValueError):
    """Bytes that are no compatible sketch; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Distinct persons: a compact, ordered Theta sketch of at most `EXACT` entries, with its estimate and bounds."""

    content: bytes = field(repr=False)
    estimate: int
    lower: int
    """Lower bound, at three standard deviations."""
    upper: int
    """Upper bound, at three standard deviations, which thresholds compare (LAW.md section 10)."""


class HashCollector:
    """Collects hashes that arrive in pieces of whole hashes."""

    def __init__(self) -> None:
        self._sketch = update_theta_sketch(LG_K)
        self.hashes = 0

    def add(self, hashes: bytes | bytearray | memoryview) -> None:
        """Add concatenated hashes of `HASH_BYTES` bytes."""
        digits = hashes.hex()
        items = [digits[start : start + HASH_DIGITS] for start in range(0, len(digits), HASH_DIGITS)]
        deque(map(self._sketch.update, items), maxlen=0)
        self.hashes += len(items)

    def sketch(self) -> Sketch:
        """Return the sketch of the persons so far."""
        return _trim_sketch(self._sketch)


def sketch_of(hashes: bytes) -> Sketch:
    """Return the sketch of concatenated hashes."""
    gathering = HashCollector()
    gathering.add(hashes)
    return gathering.sketch()


def unite(*sketches: Sketch) -> Sketch:
    """Return the union of sketches; order and repeats make no difference.

    Entries are ordered, so they are merged. The library's union has the same result, but hashes and sorts them anew and takes ten times as
    long while a year is locked.
    """
    different = {sketch.content: sketch for sketch in sketches if sketch != NOBODY}
    if len(different) <= 1:
        return next(iter(different.values()), NOBODY)
    parsed = [_parse_sketch(content) for content in different]
    theta = min(theta for theta, _ in parsed)
    merged = np.concatenate([entries for _, entries in parsed])
    merged.sort(kind="stable")
    merged = merged[np.diff(merged, prepend=np.uint64(0)) > 0]
    merged = merged[: np.searchsorted(merged, np.uint64(theta))]
    if len(merged) > EXACT:
        theta, merged = int(merged[EXACT]), merged[:EXACT]
    return _wrap_sketch(compact_theta_sketch.deserialize(_serialize_sketch(theta, merged)))


def subtract(sketch: Sketch, others: Sketch) -> Sketch:
    """Return the difference of two sketches: persons of the first who are not in the second."""
    (theta, entries), (other_theta, other_entries) = _parse_sketch(sketch.content), _parse_sketch(others.content)
    theta = min(theta, other_theta)
    left = entries[np.isin(entries, other_entries, assume_unique=True, invert=True)]
    left = left[: np.searchsorted(left, np.uint64(theta))]
    return _wrap_sketch(compact_theta_sketch.deserialize(_serialize_sketch(theta, left)))


def load_sketch(content: bytes) -> Sketch:
    """Return a sketch from its stored bytes."""
    return _wrap_sketch(compact_theta_sketch.deserialize(content))


def parse_sketch(content: bytes) -> Sketch:
    """Parse an untrusted sketch: compact, ordered, uncompressed, with the default seed and at least `LG_K`.

    All bytes are checked first; the library gets a header of our own.

    Raises:
        SketchError: it is not such a sketch.
    """
    theta, entries = _parse_sketch(content)
    if theta < _NO_THETA and len(entries) < EXACT:
        raise SketchError(f"It is too coarse to be united with the year's: make it with lg_k {LG_K}.")
    _check(theta, entries)
    if not len(entries):
        return NOBODY
    sketch = compact_theta_sketch.deserialize(_serialize_sketch(theta, entries))
    return _trim_sketch(sketch) if len(entries) > EXACT else _wrap_sketch(sketch)


def _parse_sketch(content: bytes) -> tuple[int, Entries]:
    """Return theta and the entries of a serialized sketch."""
    if not _HEADER <= len(content) <= MAX_SKETCH_BYTES:
        raise SketchError(f"A serialized sketch has {_HEADER} to {MAX_SKETCH_BYTES} bytes.")
    longs, version, family, flags = content[0], content[1], content[2], content[5]
    if family != _FAMILY or version != _SERIAL_VERSION:
        raise SketchError(
            f"It must be a compact Theta sketch, uncompressed (family {_FAMILY}, serial version {_SERIAL_VERSION})."
        )
    if flags & ~_ALLOWED_FLAGS or not flags & _COMPACT or not flags & (_ORDERED | _EMPTY | _SINGLE):
        raise SketchError("It must be compact, ordered and little-endian.")
    if flags & _EMPTY:
        if len(content) != _HEADER or longs != 1:
            raise SketchError("It says that it is empty, and is not.")
        return _NO_THETA, np.empty(0, dtype="<u8")
    if int.from_bytes(content[6:8], "little") != _SEED_HASH:
        raise SketchError("It was made with another seed than the library's default.")
    if longs == 1:
        return _NO_THETA, _entries(content, _HEADER, 1)
    if longs not in {2, 3} or len(content) < 8 * longs:
        raise SketchError("Its header is cut off.")
    theta = _NO_THETA if longs == 2 else int.from_bytes(content[16:24], "little")  # noqa: PLR2004 - without and with theta
    return theta, _entries(content, 8 * longs, int.from_bytes(content[8:12], "little"))


def _entries(content: bytes, start: int, count: int) -> Entries:
    if len(content) != start + 8 * count:
        raise SketchError("It is longer or shorter than its header says.")
    return np.frombuffer(content, dtype="<u8", offset=start)


def _check(theta: int, entries: Entries) -> None:
    if theta > _NO_THETA:
        raise SketchError("Its theta is beyond the largest.")
    if len(entries) and not (entries[0] > 0 and entries[-1] < theta and bool(np.all(entries[:-1] < entries[1:]))):
        raise SketchError("Its entries are not in rising order between nothing and theta.")


def _serialize_sketch(theta: int, entries: Entries) -> bytes:
    head = bytes([3, _SERIAL_VERSION, _FAMILY, 0, 0, _READ_ONLY | _COMPACT | _ORDERED])
    sizes = _SEED_HASH.to_bytes(2, "little") + len(entries).to_bytes(8, "little")
    return b"".join((head, sizes, theta.to_bytes(8, "little"), entries.tobytes()))


def _trim_sketch(sketch: compact_theta_sketch | update_theta_sketch) -> Sketch:
    """Return a sketch trimmed to `EXACT` entries."""
    union = theta_union(LG_K)
    union.update(sketch)
    return _wrap_sketch(union.get_result())


def _wrap_sketch(sketch: compact_theta_sketch) -> Sketch:
    return Sketch(
        content=sketch.serialize(),
        estimate=round(sketch.get_estimate()),
        lower=math.floor(sketch.get_lower_bound(DEVIATIONS)),
        upper=math.ceil(sketch.get_upper_bound(DEVIATIONS)),
    )


NOBODY: Final = _trim_sketch(update_theta_sketch(LG_K))


@dataclass(frozen=True, slots=True)
class Report:
    """Report of one export on one kind of persons: a number, or persons by hash."""

    number: int = 0
    sketch: Sketch = NOBODY
    at_most: int = 0
    """Certain maximum of the sketch's persons: the number of hashes."""

    @classmethod
    def of_sketch(cls, sketch: Sketch) -> "Report":
        """Return the report of a sketch alone."""
        return cls(sketch=sketch, at_most=sketch.upper)

    @property
    def persons(self) -> int:
        """The maximum number of persons."""
        return self.number + min(self.sketch.upper, self.at_most)

    def exceeds(self, reserved: int) -> bool:
        """Return True if more persons are reported than reserved, by the lower bound of estimates."""
        return self.number > reserved or min(self.sketch.lower, self.at_most) > reserved

    def sent(self, reserved: int) -> int:
        """Return the persons to present as sent: more than reserved only if the lower bound is."""
        estimate = min(self.sketch.estimate, self.at_most)
        return self.number + (estimate if self.exceeds(reserved) else min(estimate, reserved))


@dataclass(frozen=True, slots=True)
class Tally:
    """Tally of one kind of persons for a year or a permit, from all reports of its exports."""

    plain: int = 0
    """The sum of the reports that are numbers."""
    sketch: Sketch = NOBODY
    at_most: int = 0
    """The sum of the maxima of reports by hash, which bounds the sketch's estimate."""

    @property
    def estimate(self) -> int:
        """Estimate of distinct persons by hash."""
        return min(self.sketch.estimate, self.at_most)

    @property
    def lower(self) -> int:
        """Lower bound of distinct persons by hash."""
        return min(self.sketch.lower, self.at_most)

    @property
    def upper(self) -> int:
        """Upper bound of distinct persons by hash."""
        return min(self.sketch.upper, self.at_most)

    @property
    def total(self) -> int:
        """Persons for thresholds and quotas: an estimate counts at its upper bound (LAW.md section 10)."""
        return self.plain + self.upper

    def plus(self, report: Report) -> "Tally":
        """Return the tally with a report added."""
        sum_ = replace(self, plain=self.plain + report.number)
        if report.sketch == NOBODY:
            return sum_
        at_most = self.at_most + min(report.sketch.upper, report.at_most)
        return replace(sum_, sketch=unite(self.sketch, report.sketch), at_most=at_most)

    def growth(self, report: Report) -> int:
        """Return the growth of the total by a report; persons already counted add nothing."""
        return self.plus(report).total - self.total

    def more(self, report: Report) -> Report:
        """Return the part of a later report of the same export that exceeds this tally; empty if it does not.

        Persons by hash are united with the counted ones. A number and hashes cannot be compared by person, so the excess of the count is
        returned.
        """
        if report.sketch == NOBODY:
            return Report(number=max(0, report.number - self.plain - self.estimate))
        if self.sketch == NOBODY and self.plain:
            return Report(number=max(0, min(report.sketch.estimate, report.at_most) - self.plain))
        after = self.plus(report)
        grown = after.upper - self.upper
        return Report(sketch=after.sketch, at_most=grown) if self.surely_new(report) and grown > 0 else Report()

    def surely_new(self, report: Report) -> int:
        """Return a lower bound of the persons of a report that are not counted yet.

        A number is new in full. For estimates, the distance to the bound is taken twice: both sides are estimated, and an estimation error
        must not refuse a true report.
        """
        new_persons = subtract(report.sketch, self.sketch)
        return report.number + min(report.at_most, max(0, 2 * new_persons.lower - new_persons.estimate))
