"""The tree in tiles: the same roots and nodes as without, however it grows."""

from __future__ import annotations

import random

import pytest

from service.audit.tlog import merkle, tiles
from service.audit.tlog.merkle import leaf_hash, root_of
from service.audit.tlog.tiles import Tile, TreeEdge

SIZE = 66_500
"""So large that the second level has a full tile and the third a hash."""


@pytest.fixture(scope="module")
def hashes() -> bytes:
    return b"".join(leaf_hash(index.to_bytes(4)) for index in range(SIZE))


@pytest.fixture(scope="module")
def grown(hashes: bytes) -> dict[Tile, bytes]:
    edge, kept = TreeEdge(), {}
    for at in range(0, SIZE, 5000):
        kept |= edge.append(hashes[at * 32 : (at + 5000) * 32])
    return kept


def test_tiles_hold_what_the_specification_says(hashes: bytes, grown: dict[Tile, bytes]) -> None:
    assert {level for level, _ in grown} == {0, 1, 2}
    for (level, number), held in grown.items():
        span = 256**level
        expected = [
            root_of([hashes[at * 32 : at * 32 + 32] for at in range(first, first + span)])
            for first in range(number * 256 * span, min((number + 1) * 256 * span, SIZE - span + 1), span)
        ]
        assert held == b"".join(expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_that_grows_by_and_by_is_the_same_and_goes_on_from_its_tiles(seed: int, hashes: bytes) -> None:
    chance = random.Random(seed)  # noqa: S311 - a choice of sizes, no secret
    edge, kept, size = TreeEdge(), {}, 0
    while size < 2_000:
        count = chance.choice([1, 2, 255, 256, 257, 600])
        kept |= edge.append(hashes[size * 32 : (size + count) * 32])
        size += count
        assert edge.size == size
        assert edge.root() == root_of([hashes[at * 32 : at * 32 + 32] for at in range(size)])
        wanted = tiles.edge_tiles(size)
        assert edge.tiles() == {tile: kept[tile] for tile in wanted}
        edge = TreeEdge(size, {tile: kept[tile] for tile in wanted})
    assert edge.append(b"") == {}


def test_an_edge_of_an_earlier_size_is_read_from_tiles_that_have_grown(hashes: bytes, grown: dict[Tile, bytes]) -> None:
    for size in (0, 1, 255, 256, 257, 65_536, 66_000):
        assert TreeEdge(size, grown).root() == root_of([hashes[at * 32 : at * 32 + 32] for at in range(size)])


def test_an_edge_whose_tiles_are_missing_is_refused(grown: dict[Tile, bytes]) -> None:
    with pytest.raises(ValueError, match="does not hold node"):
        TreeEdge(257, {(0, 1): grown[0, 1]})


def test_a_copy_grows_by_itself(hashes: bytes) -> None:
    edge = TreeEdge()
    edge.append(hashes[: 300 * 32])
    other = edge.copy()
    other.append(hashes[300 * 32 : 301 * 32])
    assert (edge.size, other.size) == (300, 301)
    assert edge.root() == root_of([hashes[at * 32 : at * 32 + 32] for at in range(300)])
    assert other.root() == root_of([hashes[at * 32 : at * 32 + 32] for at in range(301)])


def test_proofs_come_from_tiles_alone(hashes: bytes, grown: dict[Tile, bytes]) -> None:
    root = TreeEdge(SIZE, grown).root()
    for leaf in (0, 255, 256, 40_000, SIZE - 1):
        wanted = tiles.tiles_for(each for step in merkle.inclusion_nodes(leaf, SIZE) for each in step)
        assert len(wanted) <= 6
        read = tiles.reader({tile: grown[tile] for tile in wanted})
        proof = merkle.inclusion_proof(leaf, SIZE, read)
        assert merkle.verify_inclusion(leaf, SIZE, hashes[leaf * 32 : leaf * 32 + 32], proof, root)


def test_a_node_of_a_tile_that_was_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="Tile \\(0, 0\\) does not hold node \\(3, 1\\)"):
        tiles.reader({})(3, 1)


@pytest.mark.parametrize(
    ("number", "path"),
    [
        (0, "000"),
        (7, "007"),
        (999, "999"),
        (1000, "x001/000"),
        (1234067, "x001/x234/067"),
        (10**9, "x001/x000/x000/000"),
    ],
)
def test_numbers_are_written_in_parts_of_three_digits(number: int, path: str) -> None:
    assert tiles.path_of(number) == path
    assert tiles.number_of(path) == number


@pytest.mark.parametrize(
    "path", ["", "7", "07", "x007", "x000/007", "001/234", "x001/234/067", "00a", "٠٠١", "x001/", "1" * 21]
)
def test_numbers_that_are_written_otherwise_are_none(path: str) -> None:
    assert tiles.number_of(path) is None
