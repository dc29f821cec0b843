"""Counting persons by hash: exact where it must be, bounded where it cannot, and closed to hostile bytes."""

from __future__ import annotations

import os
import random
import struct

import datasketches
import pytest

from service.ledger import counting
from service.ledger.counting import EXACT, NOBODY, HashCollector, Report, Sketch, SketchError, Tally, sketch_of, unite

RANDOM = random.Random(20260101)  # noqa: S311 - repeatable, not secret
TRIALS = int(os.environ.get("OUTBOUND_COUNTING_TRIALS", "100"))


def hashes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(16 * count)  # noqa: S311 - repeatable, not secret


def header(longs: int = 2, version: int = 3, family: int = 3, flags: int = 0x1A, seed: int = 0x93CC) -> bytes:
    return bytes([longs, version, family, 0, 0, flags]) + struct.pack("<H", seed)


def exact(*entries: int, **head: int) -> bytes:
    return header(**head) + struct.pack("<II", len(entries), 0) + struct.pack(f"<{len(entries)}Q", *entries)


def bounds(sketch: Sketch) -> tuple[int, int, int]:
    return sketch.lower, sketch.estimate, sketch.upper


@pytest.mark.parametrize("persons", [0, 1, 2, 9_999, 10_000, 99_999, 100_000, EXACT])
def test_so_many_persons_are_counted_to_the_person(persons: int) -> None:
    assert bounds(sketch_of(hashes(persons))) == (persons, persons, persons)


def test_beyond_them_the_bounds_hold_the_truth_and_the_error_is_below_one_in_a_hundred() -> None:
    for persons in (EXACT + 1, 200_000, 1_000_000):
        sketch = sketch_of(hashes(persons))
        assert sketch.lower <= persons <= sketch.upper
        assert abs(sketch.estimate - persons) < persons / 100


def test_the_upper_bound_is_below_the_truth_in_no_more_than_five_of_a_thousand_trials() -> None:
    below = 0
    for trial in range(TRIALS):
        persons = 135_000 + 300 * trial
        below += sketch_of(hashes(persons, seed=trial)).upper < persons
    assert below * 1000 <= 5 * TRIALS


def test_a_repeat_counts_nobody_twice() -> None:
    for persons in (1, 100_000, 200_000):
        sketch = sketch_of(hashes(persons))
        assert sketch_of(hashes(persons) * 2) == unite(sketch, sketch) == sketch


def test_pieces_make_no_difference() -> None:
    whole, gathering = hashes(5_000), HashCollector()
    for start in range(0, len(whole), 16 * 77):
        gathering.add(memoryview(whole)[start : start + 16 * 77])
    assert (gathering.sketch(), gathering.hashes) == (sketch_of(whole), 5_000)


def test_a_union_counts_whoever_is_in_any_part() -> None:
    everybody = hashes(120_000)
    first, second = everybody[: 16 * 80_000], everybody[16 * 40_000 :]
    assert unite(sketch_of(first), sketch_of(second)) == sketch_of(everybody)
    assert unite() == unite(NOBODY, NOBODY) == NOBODY
    assert unite(NOBODY, sketch_of(first)) == sketch_of(first)


def of_the_library(*sketches: Sketch) -> bytes:
    union = datasketches.theta_union(counting.LG_K)
    for sketch in sketches:
        union.update(datasketches.compact_theta_sketch.deserialize(sketch.content))
    content: bytes = union.get_result().serialize()
    return content


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 1), (0, 2)],
        [(0, 1), (5, 6)],
        [(0, EXACT), (EXACT, EXACT + 1)],
        [(0, 100_000), (60_000, EXACT)],
        [(0, 200_000), (0, 10)],
        [(0, 200_000), (150_000, 400_000), (390_000, 390_500)],
        [(0, 100_000), (100_000, 200_000), (200_000, 300_000), (300_000, 400_000)],
    ],
)
def test_a_union_is_the_librarys_to_the_byte(spans: list[tuple[int, int]]) -> None:
    crowd = hashes(400_000)
    parts = [sketch_of(crowd[16 * start : 16 * end]) for start, end in spans]
    assert unite(*parts).content == unite(*reversed(parts)).content == of_the_library(*parts)


def test_what_was_kept_is_what_is_read() -> None:
    for persons in (0, 1, 1000, 200_000):
        sketch = sketch_of(hashes(persons))
        assert counting.load_sketch(sketch.content) == counting.parse_sketch(sketch.content) == sketch


def test_a_sketch_shows_no_hash_that_was_given_to_it() -> None:
    given = hashes(100)
    content = sketch_of(given).content
    assert not any(given[start : start + 8] in content for start in range(0, len(given), 8))
    assert "content" not in repr(sketch_of(given))


# Sketches of strangers


def made_elsewhere(persons: int, lg_k: int, *, ordered: bool = True, compress: bool = False, seed: int = 9001) -> bytes:
    sketch = datasketches.update_theta_sketch(lg_k, 1.0, seed)
    given = hashes(persons).hex()
    for start in range(0, len(given), 32):
        sketch.update(given[start : start + 32])
    content: bytes = sketch.compact(ordered).serialize(compress)
    return content


@pytest.mark.parametrize("persons", [0, 1, 2, 200_000, 400_000])
@pytest.mark.parametrize("lg_k", [17, 18])
def test_a_sketch_made_elsewhere_over_the_same_hashes_is_the_same(persons: int, lg_k: int) -> None:
    if (persons, lg_k) != (400_000, 18):
        assert counting.parse_sketch(made_elsewhere(persons, lg_k)) == sketch_of(hashes(persons))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "8 to"),
        (b"\x01\x03\x03\x00\x00\x1e\xcc", "8 to"),
        (bytes(counting.MAX_SKETCH_BYTES + 1), "8 to"),
        (exact(1, 2, version=2), "compact Theta"),
        (exact(1, 2, version=4), "compact Theta"),
        (exact(1, 2, family=2), "compact Theta"),
        (exact(1, 2, flags=0x1B), "little-endian"),
        (exact(1, 2, flags=0x5A), "little-endian"),
        (exact(1, 2, flags=0x12), "compact"),
        (exact(1, 2, flags=0x0A), "ordered"),
        (header(longs=1, flags=0x1E) + bytes(8), "empty"),
        (header(longs=2, flags=0x1E), "empty"),
        (exact(1, 2, seed=0x93CD), "seed"),
        (header(longs=2), "cut off"),
        (header(longs=3) + struct.pack("<II", 0, 0), "cut off"),
        (header(longs=0) + bytes(8), "cut off"),
        (header(longs=4) + bytes(24), "cut off"),
        (header(longs=1), "longer or shorter"),
        (exact(1, 2) + b"\x00", "longer or shorter"),
        (exact(1, 2)[:-8], "longer or shorter"),
        (header() + struct.pack("<II", 2**32 - 1, 0), "longer or shorter"),
        (exact(2, 1), "rising order"),
        (exact(1, 1), "rising order"),
        (exact(0, 1), "rising order"),
        (exact(1, 2**63 - 1), "rising order"),
        (exact(1, 2**64 - 1), "rising order"),
        (header(longs=3) + struct.pack("<IIQ", 0, 0, 2**63), "beyond"),
        (header(longs=3) + struct.pack("<IIQ2Q", 2, 0, 2**62, 1, 2), "too coarse"),
        (header(longs=3) + struct.pack("<IIQ", 0, 0, 0), "too coarse"),
        (made_elsewhere(200_000, 16), "too coarse"),
        (made_elsewhere(100, 17, ordered=False), "ordered"),
        (made_elsewhere(100, 17, compress=True), "uncompressed"),
        (made_elsewhere(100, 17, seed=1), "seed"),
    ],
)
def test_what_is_no_sketch_of_ours_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(SketchError, match=why):
        counting.parse_sketch(content)


def test_a_theta_that_an_entry_reaches_is_refused() -> None:
    entries = struct.pack(f"<{EXACT}Q", *range(1, EXACT + 1))
    whole = header(longs=3) + struct.pack("<IIQ", EXACT, 0, EXACT) + entries
    with pytest.raises(SketchError, match="rising order"):
        counting.parse_sketch(whole)


def test_hostile_bytes_are_refused_or_are_a_sketch_and_never_end_the_process() -> None:
    valid = [exact(1, 2, 3), sketch_of(hashes(1)).content, sketch_of(hashes(50)).content, NOBODY.content]
    read = 0
    for _ in range(20_000):
        content = bytearray(RANDOM.choice(valid))
        for _ in range(RANDOM.randint(1, 4)):
            content[RANDOM.randrange(min(len(content), 40))] = RANDOM.choice(
                (0, 1, 2, 3, 4, 127, 255, RANDOM.randrange(256))
            )
        if RANDOM.random() < 0.2:
            del content[RANDOM.randrange(len(content)) :]
        try:
            sketch = counting.parse_sketch(bytes(content))
        except SketchError:
            continue
        read += 1
        assert sketch.lower <= sketch.estimate <= sketch.upper
        assert unite(sketch, sketch_of(hashes(10))).estimate >= 10
    assert read


# Reports and what they add up to


def by_hash(content: bytes) -> Report:
    return Report(sketch=sketch_of(content), at_most=len(content) // 16)


def test_a_number_exceeds_from_the_first_person_too_many() -> None:
    assert not Report(number=10).exceeds(10)
    assert Report(number=11).exceeds(10)


def test_hashes_exceed_when_the_distinct_ones_do() -> None:
    ten = hashes(10)
    assert not by_hash(ten * 3).exceeds(10)
    assert by_hash(ten * 3).exceeds(9)
    many = by_hash(hashes(200_000))
    assert not many.exceeds(200_000)
    assert not many.exceeds(many.sketch.lower), "within the error nothing is certain"
    assert many.exceeds(many.sketch.lower - 1)


def test_what_was_sent_is_never_more_than_reserved_or_than_there_were_hashes() -> None:
    many = by_hash(hashes(200_000))
    estimate = many.sketch.estimate
    assert Report(number=7).sent(10) == 7
    assert by_hash(hashes(7) * 2).sent(10) == 7
    assert many.sent(10**9) == min(estimate, 200_000)
    assert many.sent(199_000) == min(estimate, 199_000)
    assert Report.of_sketch(many.sketch).sent(10**9) == estimate


def test_numbers_add_up_and_hashes_do_not() -> None:
    feed = by_hash(hashes(100_000))
    tally = Tally()
    for _ in range(3):
        tally = tally.plus(feed)
    assert (tally.total, tally.plain, tally.lower, tally.estimate, tally.upper) == (100_000, 0, *[100_000] * 3)
    for _ in range(3):
        tally = tally.plus(Report(number=50))
    assert (tally.total, tally.plain, tally.upper) == (100_150, 150, 100_000)


def test_a_tally_is_never_more_than_its_reports_add_up_to() -> None:
    first = Tally().plus(by_hash(hashes(1_000_000)))
    assert first.sketch.upper > first.total == 1_000_000 == first.at_most
    second = first.plus(by_hash(hashes(1_000_000)))
    assert second.total == second.sketch.upper < 1_010_000


def test_a_report_of_nobody_changes_nothing() -> None:
    tally = Tally().plus(by_hash(hashes(10)))
    assert tally.plus(Report()) == tally
    assert tally.plus(by_hash(b"")) == tally


# Who is new


def test_the_growth_of_a_total_is_who_is_not_in_it() -> None:
    crowd = hashes(150)
    tally = Tally().plus(by_hash(crowd[: 16 * 100]))
    assert tally.growth(by_hash(crowd[: 16 * 100] * 2)) == 0
    assert tally.growth(by_hash(crowd[16 * 50 :])) == 50
    assert tally.growth(Report(number=7)) == 7
    assert tally.growth(Report()) == 0
    assert Tally().growth(by_hash(crowd)) == by_hash(crowd).persons == 150


def test_whoever_was_announced_is_never_surely_more_than_the_growth_while_counts_are_exact() -> None:
    crowd = hashes(3000)
    tally = Tally().plus(by_hash(crowd[: 16 * 1000]))
    going = by_hash(crowd[16 * 500 : 16 * 2000])
    growth = tally.growth(going)
    later = tally.plus(by_hash(crowd[16 * 1500 : 16 * 2500]))
    assert tally.surely_new(going) == growth == 1000
    assert later.surely_new(going) == later.growth(going) == 500


def test_among_estimated_persons_only_what_is_beyond_twice_the_error_is_surely_new() -> None:
    crowd = hashes(400_000)
    tally = Tally().plus(by_hash(crowd[: 16 * 300_000]))
    known, others = by_hash(crowd[: 16 * 200_000]), by_hash(crowd[16 * 200_000 :])
    assert tally.surely_new(known) == 0
    assert 90_000 < tally.surely_new(others) < 100_000
    assert 90_000 < tally.growth(others) < 110_000
    assert tally.surely_new(by_hash(crowd[16 * 300_000 : 16 * 300_001] * 3)) <= 3


def test_a_sketch_without_another_holds_who_is_in_the_first_only() -> None:
    crowd = hashes(300)
    first, second = sketch_of(crowd[: 16 * 200]), sketch_of(crowd[16 * 100 :])
    assert counting.subtract(first, second) == sketch_of(crowd[: 16 * 100])
    assert counting.subtract(first, NOBODY) == first
    assert counting.subtract(first, first).upper == counting.subtract(NOBODY, first).upper == 0


def told(content: bytes) -> Report:
    return Report(sketch=sketch_of(content), at_most=len(content) // 16)


@pytest.mark.parametrize(
    ("first", "then", "more"),
    [
        (Report(number=10), Report(number=10), 0),
        (Report(number=10), Report(number=9), 0),
        (Report(number=10), Report(number=12), 2),
        (Report(), Report(number=3), 3),
        (Report(), told(hashes(5)), 5),
        (told(hashes(100)), told(hashes(100)), 0),
        (told(hashes(100)), told(hashes(100)[: 16 * 40]), 0),
        (told(hashes(100)), told(hashes(100)[16 * 40 :] + hashes(7, seed=2)), 7),
        (told(hashes(100)), told(hashes(100, seed=2)), 100),
        (told(hashes(100)), Report(number=100), 0),
        (told(hashes(100)), Report(number=104), 4),
        (Report(number=100), told(hashes(100)), 0),
        (Report(number=100), told(hashes(103)), 3),
    ],
)
def test_a_later_report_tells_more_by_whoever_is_beyond_the_one_before(first: Report, then: Report, more: int) -> None:
    before = Tally().plus(first)
    found = before.more(then)
    assert found.persons == more
    assert (found == Report()) is (more == 0)
    assert before.plus(found).total == before.total + more


def test_of_an_estimate_only_what_is_beyond_doubt_counts_as_more() -> None:
    crowd = hashes(300_000)
    before = Tally().plus(told(crowd))
    assert before.more(told(crowd)) == Report()
    assert before.more(told(crowd[:-16])) == Report()
    assert before.more(told(crowd + hashes(50_000, seed=2))).persons > 40_000


def test_a_report_shows_no_more_than_was_reserved_unless_it_is_beyond_doubt() -> None:
    assert (told(hashes(101)).sent(100), told(hashes(99)).sent(100), Report(number=7).sent(5)) == (101, 99, 7)
    estimated = told(hashes(150_000))
    assert estimated.sent(estimated.sketch.lower) == estimated.sketch.lower
