"""The tree of the log: published trees and proofs, every proof of every small tree, and another library that says the same."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Sequence

import pymerkle
import pytest

from service.audit.tlog import merkle
from service.audit.tlog.merkle import EMPTY, CompactRange, leaf_hash, node_hash

# The trees that implementations of RFC 6962 and 9162 test themselves with, and their roots by size.
DATA = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A, B, C = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)
INCLUSION = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
             "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0", ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [ROOTS[1], B, "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"],
}  # fmt: skip
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [A, B, C],
    (6, 8): ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
             "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0", ROOTS[4]],
    (2, 5): [B, "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"],
    (6, 7): ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
             "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f", ROOTS[4]],
}  # fmt: skip
MOST = 70


def leaves(size: int) -> list[bytes]:
    return [leaf_hash(f"entry {index}".encode()) for index in range(size)]


@functools.cache
def many() -> tuple[bytes, ...]:
    return tuple(leaves(MOST))


def defined_root(hashes: Sequence[bytes]) -> bytes:
    """The definition of RFC 9162, section 2.1.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(defined_root(hashes[:split]), defined_root(hashes[split:]))


def reader(hashes: Sequence[bytes]) -> Callable[[int, int], bytes]:
    def node(level: int, index: int) -> bytes:
        part = hashes[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "a node that is not whole was read"
        return defined_root(part)

    return node


def flipped(hash_: bytes) -> bytes:
    return bytes([hash_[0] ^ 1]) + hash_[1:]


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_the_published_trees_have_the_published_roots(size: int) -> None:
    hashes = [leaf_hash(data) for data in DATA[:size]]
    assert merkle.root_of(hashes).hex() == ROOTS[size]
    assert merkle.root(size, reader(hashes)).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size"), INCLUSION)
def test_the_published_proofs_of_inclusion_are_ours(leaf: int, size: int) -> None:
    hashes = [leaf_hash(data) for data in DATA]
    proof = merkle.inclusion_proof(leaf, size, reader(hashes))
    assert [each.hex() for each in proof] == INCLUSION[leaf, size]
    assert merkle.verify_inclusion(leaf, size, hashes[leaf], proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_the_published_proofs_of_consistency_are_ours(old: int, new: int) -> None:
    proof = merkle.consistency_proof(old, new, reader([leaf_hash(data) for data in DATA]))
    assert [each.hex() for each in proof] == CONSISTENCY[old, new]
    assert merkle.verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@pytest.mark.parametrize("size", range(MOST + 1))
def test_a_root_is_what_the_definition_says(size: int) -> None:
    assert merkle.root_of(many()[:size]) == defined_root(many()[:size])
    assert merkle.root(size, reader(many())) == defined_root(many()[:size])


def test_hashes_one_level_up_are_those_of_the_pairs() -> None:
    one, two, three, four = leaves(4)
    assert merkle.parents(one + two + three + four) == node_hash(one, two) + node_hash(three, four)
    assert merkle.parents(b"") == b""


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_each_leaf_of_a_tree_is_proved_and_no_other_in_its_place(size: int) -> None:
    root = defined_root(many()[:size])
    for leaf in range(size):
        proof = merkle.inclusion_proof(leaf, size, reader(many()))
        assert len(proof) <= (size - 1).bit_length()
        assert merkle.verify_inclusion(leaf, size, many()[leaf], proof, root)
        assert not merkle.verify_inclusion(leaf, size, flipped(many()[leaf]), proof, root)
        assert not merkle.verify_inclusion(leaf, size, many()[leaf], proof, flipped(root))
        assert not merkle.verify_inclusion(leaf, size, many()[leaf], [*proof, EMPTY], root)
        for place in range(len(proof)):
            other = [*proof[:place], flipped(proof[place]), *proof[place + 1 :]]
            assert not merkle.verify_inclusion(leaf, size, many()[leaf], other, root)
        if proof:
            assert not merkle.verify_inclusion(leaf, size, many()[leaf], proof[:-1], root)
            assert not merkle.verify_inclusion(leaf ^ 1, size, many()[leaf], proof, root)


@pytest.mark.parametrize(("leaf", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_a_leaf_beyond_the_tree(leaf: int, size: int) -> None:
    assert not merkle.verify_inclusion(leaf, size, EMPTY, [], EMPTY)
    with pytest.raises(ValueError, match="has no leaf"):
        merkle.inclusion_nodes(leaf, size)


@pytest.mark.parametrize("new", range(MOST + 1))
def test_each_tree_is_proved_to_begin_with_each_smaller_one_and_with_nothing_else(new: int) -> None:
    newer = defined_root(many()[:new])
    for old in range(new + 1):
        older = defined_root(many()[:old])
        proof = merkle.consistency_proof(old, new, reader(many()))
        assert merkle.verify_consistency(old, new, older, newer, proof)
        assert not merkle.verify_consistency(old, new, flipped(older), newer, proof)
        assert not merkle.verify_consistency(old, new, older, newer, [*proof, EMPTY])
        assert old == 0 < new or not merkle.verify_consistency(old, new, older, flipped(newer), proof)
        for place in range(len(proof)):
            other = [*proof[:place], flipped(proof[place]), *proof[place + 1 :]]
            assert not merkle.verify_consistency(old, new, older, newer, other)
        if proof:
            assert not merkle.verify_consistency(old, new, older, newer, proof[:-1])
            assert not merkle.verify_consistency(old, new, older, newer, [])


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3)])
def test_no_tree_begins_with_a_larger_one(old: int, new: int) -> None:
    assert not merkle.verify_consistency(old, new, EMPTY, EMPTY, [])
    with pytest.raises(ValueError, match="does not begin with"):
        merkle.consistency_nodes(old, new)


def test_a_proof_reads_few_nodes_of_a_large_tree() -> None:
    size = 10_000_019
    for leaf in (0, 1, 4_999_999, size - 1):
        assert sum(len(step) for step in merkle.inclusion_nodes(leaf, size)) <= 2 * size.bit_length()
    assert sum(len(step) for step in merkle.consistency_nodes(3_333_333, size)) <= 2 * size.bit_length()


@pytest.fixture(scope="module")
def theirs() -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(MOST):
        tree.append_entry(f"entry {index}".encode())
    return tree


def test_pymerkle_makes_the_same_trees_and_proofs_of_inclusion(theirs: pymerkle.InmemoryTree) -> None:
    for size in range(1, MOST + 1):
        root = theirs.get_root(size)
        assert root == merkle.root_of(many()[:size])
        for leaf in range(size):
            proof = theirs.prove_inclusion(leaf + 1, size)
            assert proof.path[1:] == merkle.inclusion_proof(leaf, size, reader(many()))
            pymerkle.verify_inclusion(many()[leaf], root, proof, leaf + 1, size, "sha256")


def test_pymerkle_proves_the_same_beginnings(theirs: pymerkle.InmemoryTree) -> None:
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            ours = merkle.consistency_proof(old, new, reader(many()))
            assert merkle.verify_consistency(old, new, theirs.get_root(old), theirs.get_root(new), ours)
            proof = theirs.prove_consistency(old, new)
            older, newer = merkle.root_of(many()[:old]), merkle.root_of(many()[:new])
            pymerkle.verify_consistency(older, newer, proof, old, new, "sha256")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 33, 64, MOST])
def test_a_tree_is_rebuilt_from_some_leaves_and_the_subtrees_between_them(size: int) -> None:
    random_ = random.Random(size)  # noqa: S311 - a choice of leaves, no secret
    for count in range(min(size, 12) + 1):
        given = sorted(random_.sample(range(size), count))
        covers = merkle.covering(given, size)
        told = {node: reader(many())(*node) for node in covers}
        assert merkle.root_of_some({leaf: many()[leaf] for leaf in given}, told, size) == defined_root(many()[:size])


@pytest.mark.parametrize("size", range(1, 13))
def test_no_fewer_subtrees_cover_the_rest(size: int) -> None:
    for mask in range(1 << size):
        given = [leaf for leaf in range(size) if mask >> leaf & 1]
        covered: set[int] = set()
        largest = 0
        for level in range(size.bit_length(), -1, -1):
            for index in range(size >> level):
                span = set(range(index << level, (index + 1) << level))
                if not span & set(given) and not span <= covered:
                    covered |= span
                    largest += 1
        assert covered == set(range(size)) - set(given)
        assert len(merkle.covering(given, size)) == largest


@pytest.mark.parametrize("given", [[1, 1], [2, 1], [-1], [5]])
def test_leaves_to_cover_around_must_rise_within_the_tree(given: list[int]) -> None:
    with pytest.raises(ValueError, match="out of order or not in"):
        merkle.covering(given, 5)


def test_what_is_missing_there_twice_or_left_over_is_refused() -> None:
    leaf = {2: many()[2]}
    covers = {node: reader(many())(*node) for node in merkle.covering([2], 5)}
    assert merkle.root_of_some(leaf, covers, 5) == defined_root(many()[:5])
    for node in covers:
        with pytest.raises(ValueError, match=r"leaves out or repeats|makes a tree of 4"):
            merkle.root_of_some(leaf, {each: hash_ for each, hash_ in covers.items() if each != node}, 5)
    with pytest.raises(ValueError, match="leaves out or repeats leaf 3"):
        merkle.root_of_some({**leaf, 3: many()[3]}, covers, 5)
    with pytest.raises(ValueError, match="leaves out or repeats leaf 0"):
        merkle.root_of_some({**leaf, 0: many()[0]}, covers, 5)
    with pytest.raises(ValueError, match="makes a tree of 6 leaves, not of 5"):
        merkle.root_of_some({**leaf, 5: many()[5]}, covers, 5)
    with pytest.raises(ValueError, match="makes a tree of 0 leaves, not of 5"):
        merkle.root_of_some({}, {}, 5)


def test_a_tree_grows_by_leaves_and_by_whole_subtrees_and_goes_on_from_its_peaks() -> None:
    node = reader(many())
    for start in range(MOST):
        grown = CompactRange(start, [node(*peak) for peak in merkle.peaks(start)])
        for leaf in range(start, MOST):
            grown.add(many()[leaf])
        assert grown.root() == defined_root(many())
    grown = CompactRange()
    grown.add(node(2, 0), 2)
    grown.add(node(2, 1), 2)
    grown.add(many()[8])
    assert grown.size == 9
    assert grown.root() == defined_root(many()[:9])
    with pytest.raises(ValueError, match="No subtree of level 1 begins at leaf 9"):
        grown.add(EMPTY, 1)


@pytest.mark.parametrize("level", range(5))
def test_a_tree_is_cut_to_its_whole_subtrees_of_a_level(level: int) -> None:
    for size in range(MOST):
        grown = CompactRange(size, [reader(many())(*peak) for peak in merkle.peaks(size)])
        grown.cut(level)
        assert grown.size == size >> level << level
        assert grown.root() == defined_root(many()[: grown.size])
