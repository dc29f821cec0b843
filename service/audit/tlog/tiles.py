"""The tree of the log in tiles, pure: each holds 256 hashes of every eighth level, side by side, and all between is hashed when needed.

Source: C2SP tlog-tiles.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from service.audit.tlog import merkle
from service.audit.tlog.merkle import HASH_SIZE, CompactRange, Node, NodeReader

HEIGHT = 8
WIDTH = 1 << HEIGHT
FULL = WIDTH * HASH_SIZE
MAX_LEVEL = 7
"""More than enough for 2**63 leaves."""

Tile: TypeAlias = tuple[int, int]
"""Level of the tile (its hashes stand at level `8 * level` of the tree) and its number at that level."""


def tile_of(node: Node) -> Tile:
    """Return the tile from whose hashes a node is made."""
    level, index = node
    return level // HEIGHT, index >> (HEIGHT - level % HEIGHT)


def node_in(hashes: bytes, node: Node) -> bytes:
    """Return the hash of a node, given the hashes of its tile.

    Raises:
        ValueError: the tile does not hold so much yet.
    """
    level, index = node
    height = level % HEIGHT
    first = (index & ((1 << (HEIGHT - height)) - 1)) << height
    part = hashes[first * HASH_SIZE : (first + (1 << height)) * HASH_SIZE]
    if len(part) != HASH_SIZE << height:
        raise ValueError(f"Tile {tile_of(node)} does not hold node {node}.")
    return _above(part)


def tiles_for(nodes: Iterable[Node]) -> set[Tile]:
    """Return the tiles to read for some nodes."""
    return {tile_of(node) for node in nodes}


def reader(tiles: Mapping[Tile, bytes]) -> NodeReader:
    """Return what tells nodes from tiles that have been read; it raises ValueError for a node that they do not hold."""

    def node(level: int, index: int) -> bytes:
        return node_in(tiles.get(tile_of((level, index)), b""), (level, index))

    return node


class TreeEdge:
    """The right edge of the tree: the tiles that are not full yet, and the root.

    Args:
        size: number of leaves.
        tiles: the hashes of `edge_tiles(size)`; of a tile only those of whole subtrees of a tree of this size are taken.

    Raises:
        ValueError: the tiles do not hold a tree of this size.
    """

    def __init__(self, size: int = 0, tiles: Mapping[Tile, bytes] | None = None) -> None:
        self._open: dict[int, bytes] = {}
        stored = tiles or {}
        for level, number in edge_tiles(size):
            width = (size >> (HEIGHT * level)) % WIDTH
            self._open[level] = stored.get((level, number), b"")[: width * HASH_SIZE]
        peaks = merkle.peaks(size)
        self._growth = CompactRange(
            size, [node_in(self._open.get(level // HEIGHT, b""), (level, i)) for level, i in peaks]
        )

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._growth.size

    def root(self) -> bytes:
        """Return the root of the tree."""
        return self._growth.root()

    def copy(self) -> "TreeEdge":
        """Return another one that grows by itself."""
        edge = TreeEdge()
        edge._open = dict(self._open)
        edge._growth = CompactRange(self._growth.size, self._growth.hashes)
        return edge

    def tiles(self) -> dict[Tile, bytes]:
        """Return the tiles that are not full, with what they hold."""
        return {(level, (self.size >> (HEIGHT * level)) // WIDTH): hashes for level, hashes in self._open.items()}

    def append(self, hashes: bytes) -> dict[Tile, bytes]:
        """Append leaves, whose hashes stand one behind the other, and return the tiles that have changed, with all that they hold now."""
        changed: dict[Tile, bytes] = {}
        if not hashes:
            return changed
        first, size = self.size, self.size + len(hashes) // HASH_SIZE
        above = more = self._extend(0, first, hashes, changed)
        level = 1
        while more:
            more = self._extend(level, first >> (HEIGHT * level), more, changed)
            level += 1
        if above:
            self._growth.cut(HEIGHT)
            for at in range(0, len(above), HASH_SIZE):
                self._growth.add(above[at : at + HASH_SIZE], HEIGHT)
        for at in range(len(hashes) - (size - self.size) * HASH_SIZE, len(hashes), HASH_SIZE):
            self._growth.add(hashes[at : at + HASH_SIZE])
        return changed

    def _extend(self, level: int, first: int, more: bytes, changed: dict[Tile, bytes]) -> bytes:
        """Add hashes at one level, from index `first` on, and return those of the tiles that became full."""
        hashes = self._open.pop(level, b"") + more
        above = []
        for at in range(0, len(hashes), FULL):
            tile = hashes[at : at + FULL]
            number = first // WIDTH + at // FULL
            changed[level, number] = tile
            if len(tile) == FULL:
                above.append(_above(tile))
            else:
                self._open[level] = tile
        return b"".join(above)


def edge_tiles(size: int) -> list[Tile]:
    """Return the tiles that are not full in a tree of this size, one a level at most."""
    widths = [(level, size >> (HEIGHT * level)) for level in range(MAX_LEVEL + 1)]
    return [(level, width // WIDTH) for level, width in widths if width % WIDTH]


def path_of(number: int) -> str:
    """Return how a number is written in the path of a tile: 1234067 as `x001/x234/067`."""
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])


def number_of(path: str) -> int | None:
    """Return the number that a path of a tile names; None where it is not written as `path_of` writes it."""
    digits = path.replace("/x", "").replace("/", "").removeprefix("x")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 19:  # noqa: PLR2004 - 2**63 has 19 digits
        return None
    number = int(digits)
    return number if path_of(number) == path else None


def _above(hashes: bytes) -> bytes:
    """Return the hash above hashes that stand side by side; their number is a power of two."""
    while len(hashes) > HASH_SIZE:
        hashes = merkle.parents(hashes)
    return hashes
