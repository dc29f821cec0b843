"""Counting distinct persons who are known by a hash only: sketches, their bounds, and what a year and a permit hold.

A sketch keeps no hash that was given to it, only the smallest of the hashes of those hashes; uniting it with itself changes nothing,
so a person who goes every day counts once. Up to `EXACT` persons the count is exact, beyond that it is an estimate with bounds.
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
"""So many persons are counted to the person; both yearly thresholds below a million lie within."""
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
"""What a sketch of `LG_K` can take before it is trimmed."""


class SketchError(ValueError):
    """These bytes are no sketch that can be united with ours; the message says why."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Distinct persons: a compact, ordered Theta sketch of at most `EXACT` entries, and what it says."""

    content: bytes = field(repr=False)
    estimate: int
    lower: int
    """They are at least so many, at three standard deviations."""
    upper: int
    """They are at most so many, at three standard deviations: what thresholds look at (LAW.md section 10)."""


class HashCollector:
    """Hashes as they come in, in pieces of any number of whole hashes."""

    def __init__(self) -> None:
        self._sketch = update_theta_sketch(LG_K)
        self.hashes = 0

    def add(self, hashes: bytes | bytearray | memoryview) -> None:
        """Take hashes of `HASH_BYTES` bytes that stand one after the other."""
        digits = hashes.hex()
        items = [digits[start : start + HASH_DIGITS] for start in range(0, len(digits), HASH_DIGITS)]
        deque(map(self._sketch.update, items), maxlen=0)
        self.hashes += len(items)

    def sketch(self) -> Sketch:
        """Return the persons gathered so far."""
        return _trim_sketch(self._sketch)


def sketch_of(hashes: bytes) -> Sketch:
    """Return the persons of hashes that stand one after the other."""
    gathering = HashCollector()
    gathering.add(hashes)
    return gathering.sketch()


def unite(*sketches: Sketch) -> Sketch:
    """Return the persons who are in any of the sketches; order and repeats make no difference.

    Entries are kept in order, so they are merged; the library's union, which gives the same, hashes and sorts them anew and takes ten
    times as long while a year is held.
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
    """Return the persons of a sketch who are not in another one."""
    (theta, entries), (other_theta, other_entries) = _parse_sketch(sketch.content), _parse_sketch(others.content)
    theta = min(theta, other_theta)
    left = entries[np.isin(entries, other_entries, assume_unique=True, invert=True)]
    left = left[: np.searchsorted(left, np.uint64(theta))]
    return _wrap_sketch(compact_theta_sketch.deserialize(_serialize_sketch(theta, left)))


def load_sketch(content: bytes) -> Sketch:
    """Return a sketch from the bytes that it was kept as."""
    return _wrap_sketch(compact_theta_sketch.deserialize(content))


def parse_sketch(content: bytes) -> Sketch:
    """Return a sketch that a stranger has made: compact, ordered, uncompressed, of the default seed and at least `LG_K`.

    Everything is looked at before the library sees a byte of it, and it sees a header of our own.

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
    """Return theta and the entries of a serialized sketch, as its header tells them."""
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
    """Return a sketch cut down to `EXACT` entries, if it holds more."""
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
    """What one export reports of one kind: a number, or persons by hash."""

    number: int = 0
    sketch: Sketch = NOBODY
    at_most: int = 0
    """What is certain of the sketch's persons: no more than there were hashes."""

    @classmethod
    def of_sketch(cls, sketch: Sketch) -> "Report":
        """Return the report of a sketch alone."""
        return cls(sketch=sketch, at_most=sketch.upper)

    @property
    def persons(self) -> int:
        """They are at most so many."""
        return self.number + min(self.sketch.upper, self.at_most)

    def exceeds(self, reserved: int) -> bool:
        """Tell whether more persons are reported than were reserved, beyond doubt where they are estimated."""
        return self.number > reserved or min(self.sketch.lower, self.at_most) > reserved

    def sent(self, reserved: int) -> int:
        """Return the persons to show as sent, given how many were reserved: more than those only where it is beyond doubt."""
        estimate = min(self.sketch.estimate, self.at_most)
        return self.number + (estimate if self.exceeds(reserved) else min(estimate, reserved))


@dataclass(frozen=True, slots=True)
class Tally:
    """What a year or a permit holds of one kind, from all the reports of its exports."""

    plain: int = 0
    """The sum of those that came as numbers."""
    sketch: Sketch = NOBODY
    at_most: int = 0
    """What the reports by hash add up to: their persons are no more, whatever the sketch estimates."""

    @property
    def estimate(self) -> int:
        """Distinct persons by hash, as estimated."""
        return min(self.sketch.estimate, self.at_most)

    @property
    def lower(self) -> int:
        """Distinct persons by hash, at least."""
        return min(self.sketch.lower, self.at_most)

    @property
    def upper(self) -> int:
        """Distinct persons by hash, at most."""
        return min(self.sketch.upper, self.at_most)

    @property
    def total(self) -> int:
        """Persons as a threshold and a quota see them (LAW.md section 10: a count that is estimated, at its upper bound)."""
        return self.plain + self.upper

    def plus(self, report: Report) -> "Tally":
        """Return what is held once a report has come."""
        sum_ = replace(self, plain=self.plain + report.number)
        if report.sketch == NOBODY:
            return sum_
        at_most = self.at_most + min(report.sketch.upper, report.at_most)
        return replace(sum_, sketch=unite(self.sketch, report.sketch), at_most=at_most)

    def growth(self, report: Report) -> int:
        """Return by how much the total would grow with a report; repeats of who is held already add nothing."""
        return self.plus(report).total - self.total

    def more(self, report: Report) -> Report:
        """Return what a later report of the same export tells beyond what is held of it; nobody, where it tells no more.

        Persons by hash are united with those who are held. Where one report was a number and the other is not, nobody can tell whether
        they are the same persons: then it is by how many they are more.
        """
        if report.sketch == NOBODY:
            return Report(number=max(0, report.number - self.plain - self.estimate))
        if self.sketch == NOBODY and self.plain:
            return Report(number=max(0, min(report.sketch.estimate, report.at_most) - self.plain))
        after = self.plus(report)
        grown = after.upper - self.upper
        return Report(sketch=after.sketch, at_most=grown) if self.surely_new(report) and grown > 0 else Report()

    def surely_new(self, report: Report) -> int:
        """Return how many persons of a report are not held yet, beyond doubt.

        A number is new in full. Where persons are estimated, the bound's distance is taken twice: what they are compared with was
        estimated too, and a report of what really happened must not be refused for an error of ours.
        """
        found = subtract(report.sketch, self.sketch)
        return report.number + min(report.at_most, max(0, 2 * found.lower - found.estimate))
