"""The Merkle tree of the log, pure: hashes, roots, and proofs that anyone can check.

Source: RFC 9162 section 2.1 (the same tree as RFC 6962), with SHA-256. A node is `(level, index)`: it stands for the whole subtree of
`2**level` leaves from leaf `index * 2**level` on, so that `(0, i)` is leaf `i`. Nodes never change once all of their leaves are there.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

Node: TypeAlias = tuple[int, int]
"""Level and index at that level."""

NodeReader: TypeAlias = Callable[[int, int], bytes]
"""Returns the hash of the node at a level and an index."""

HASH_SIZE = 32
EMPTY = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf that holds these bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def parents(hashes: bytes) -> bytes:
    """Return the hashes one level up of an even number of hashes that stand one behind the other, 32 bytes each."""
    sha256 = hashlib.sha256
    return b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])


def peaks(size: int) -> list[Node]:
    """Return the fewest whole subtrees that make up a tree of this size, left to right."""
    return _whole_subtrees(0, size)


def root(size: int, node: NodeReader) -> bytes:
    """Return the root of the tree of the first `size` leaves.

    Args:
        size: number of leaves.
        node: tells the hashes of `peaks(size)`.
    """
    return _fold([node(*peak) for peak in peaks(size)]) if size else EMPTY


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree of these hashes of leaves."""
    grown = CompactRange()
    for each in hashes:
        grown.add(each)
    return grown.root()


class CompactRange:
    """A tree that grows to the right; holds no more than the hashes of its peaks."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Start with a tree of `size` leaves, of which `hashes` are those of its peaks, left to right."""
        self.size = size
        self.hashes = list(hashes)

    def add(self, hash_: bytes, level: int = 0) -> None:
        """Append a leaf, or a whole subtree of `2**level` leaves.

        Raises:
            ValueError: a whole subtree of that level cannot begin here.
        """
        index, remainder = divmod(self.size, 1 << level)
        if remainder:
            raise ValueError(f"No subtree of level {level} begins at leaf {self.size}.")
        while index & 1:
            hash_ = node_hash(self.hashes.pop(), hash_)
            index >>= 1
        self.hashes.append(hash_)
        self.size += 1 << level

    def cut(self, level: int) -> None:
        """Forget the leaves that are in no whole subtree of `2**level` leaves."""
        remainder = self.size & ((1 << level) - 1)
        if remainder:
            del self.hashes[-remainder.bit_count() :]
            self.size -= remainder

    def root(self) -> bytes:
        """Return the root of what is there."""
        return _fold(self.hashes) if self.size else EMPTY


def inclusion_nodes(leaf: int, size: int) -> list[list[Node]]:
    """Return what proves that a leaf is in a tree: for each hash of the proof the whole subtrees that it is made of.

    Source: RFC 9162 section 2.1.3.1.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= leaf < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {leaf}.")
    start, end, steps = 0, size, []
    while end - start > 1:
        middle = start + _largest_power_below(end - start)
        if leaf < middle:
            steps.append(_whole_subtrees(middle, end))
            end = middle
        else:
            steps.append(_whole_subtrees(start, middle))
            start = middle
    return steps[::-1]


def inclusion_proof(leaf: int, size: int, node: NodeReader) -> list[bytes]:
    """Return the hashes that prove that a leaf is in the tree of the first `size` leaves.

    Args:
        leaf: index of the leaf.
        size: number of leaves.
        node: tells the hashes of `inclusion_nodes(leaf, size)`.

    Raises:
        ValueError: the tree has no such leaf.
    """
    return [_fold([node(*each) for each in step]) for step in inclusion_nodes(leaf, size)]


def verify_inclusion(leaf: int, size: int, hash: bytes, proof: Sequence[bytes], root: bytes) -> bool:  # noqa: A002
    """Return True if a proof shows that the leaf with this hash stands at index `leaf` of the tree with this size and root.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= leaf < size:
        return False
    index, last, computed = leaf, size - 1, hash
    for each in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            computed = node_hash(each, computed)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            computed = node_hash(computed, each)
        index, last = index >> 1, last >> 1
    return last == 0 and computed == root


def consistency_nodes(old: int, new: int) -> list[list[Node]]:
    """Return what proves that a tree is the beginning of another: for each hash of the proof the whole subtrees that it is made of.

    Source: RFC 9162 section 2.1.4.1; every tree begins with the empty one, which takes no proof.

    Raises:
        ValueError: the older tree is larger than the newer one.
    """
    if not 0 <= old <= new:
        raise ValueError(f"A tree of {new} leaves does not begin with one of {old}.")
    if old == 0:
        return []
    start, end, steps, is_whole = 0, new, [], True
    while end != old:
        middle = start + _largest_power_below(end - start)
        if old <= middle:
            steps.append(_whole_subtrees(middle, end))
            end = middle
        else:
            steps.append(_whole_subtrees(start, middle))
            start, is_whole = middle, False
    if not is_whole:
        steps.append(_whole_subtrees(start, end))
    return steps[::-1]


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Return the hashes that prove that the tree of the first `new` leaves begins with that of the first `old`.

    Args:
        old: number of leaves of the older tree.
        new: number of leaves of the newer tree.
        node: tells the hashes of `consistency_nodes(old, new)`.

    Raises:
        ValueError: the older tree is larger than the newer one.
    """
    return [_fold([node(*each) for each in step]) for step in consistency_nodes(old, new)]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return True if a proof shows that the tree of size `new` begins with the tree of size `old`, by their roots.

    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY and (new > 0 or new_root == EMPTY)
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    older = newer = path[0]
    for each in path[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            older, newer = node_hash(each, older), node_hash(each, newer)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            newer = node_hash(newer, each)
        index, last = index >> 1, last >> 1
    return last == 0 and older == old_root and newer == new_root


def covering(leaves: Iterable[int], size: int) -> list[Node]:
    """Return the fewest whole subtrees that hold all leaves but the given ones, left to right; see `covers`."""
    return list(covers(leaves, size))


def covers(leaves: Iterable[int], size: int) -> Iterator[Node]:
    """Yield the fewest whole subtrees that hold all leaves but the given ones, left to right.

    Args:
        leaves: indexes, rising, each once.
        size: number of leaves of the tree.

    Raises:
        ValueError: the indexes do not rise, or the tree has no such leaf.
    """
    start = 0
    for leaf in leaves:
        if not start <= leaf < size:
            raise ValueError(f"Leaf {leaf} is out of order or not in a tree of {size} leaves.")
        yield from _whole_subtrees(start, leaf)
        start = leaf + 1
    yield from _whole_subtrees(start, size)


def root_of_some(leaves: Mapping[int, bytes], covers: Mapping[Node, bytes], size: int) -> bytes:
    """Return the root of a tree of which some leaves and the subtrees between them are known.

    Args:
        leaves: hashes of leaves by index.
        covers: hashes of whole subtrees that hold all other leaves, those of `covering` for instance.
        size: number of leaves of the tree.

    Raises:
        ValueError: something is missing, is there twice, or is left over.
    """
    parts = [(index, 0, hash_) for index, hash_ in leaves.items()]
    parts += [(index << level, level, hash_) for (level, index), hash_ in covers.items()]
    parts.sort(key=lambda part: part[:2])
    grown = CompactRange()
    for start, level, hash_ in parts:
        if start != grown.size:
            raise ValueError(f"What is given leaves out or repeats leaf {min(start, grown.size)}.")
        grown.add(hash_, level)
    if grown.size != size:
        raise ValueError(f"What is given makes a tree of {grown.size} leaves, not of {size}.")
    return grown.root()


def _whole_subtrees(start: int, end: int) -> list[Node]:
    """Return the fewest whole subtrees that hold exactly the leaves from `start` to before `end`, left to right."""
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Return the hash above subtrees that stand side by side, the largest first."""
    hash_ = hashes[-1]
    for each in reversed(hashes[:-1]):
        hash_ = node_hash(each, hash_)
    return hash_


def _largest_power_below(size: int) -> int:
    """Return the largest power of two that is smaller than a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)
