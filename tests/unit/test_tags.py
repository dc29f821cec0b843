"""Which change of tags loses protection."""

from itertools import chain, combinations

import pytest

from service.law.facts import Tag
from service.registry import tags

SETS = [frozenset(found) for found in chain.from_iterable(combinations(Tag, size) for size in range(len(Tag) + 1))]


@pytest.mark.parametrize(
    ("old", "new", "lowers"),
    [
        ("", "", False),
        ("", "personal", False),
        ("personal", "", True),
        ("personal", "sensitive", False),
        ("sensitive", "personal", True),
        ("important", "core", False),
        ("core", "important", True),
        ("important", "personal", True),
        ("important", "important personal", False),
    ],
)
def test_a_lowering_is_the_loss_of_any_protection(old: str, new: str, *, lowers: bool) -> None:
    assert tags.is_lowering(map(Tag, old.split()), map(Tag, new.split())) == lowers


@pytest.mark.parametrize("old", SETS)
def test_what_stands_meanwhile_protects_as_much_as_both(old: frozenset[Tag]) -> None:
    for new in SETS:
        meanwhile = tags.joined(old, new)
        assert not tags.is_lowering(old, meanwhile)
        assert not tags.is_lowering(new, meanwhile)


def test_tags_are_told_once_and_in_order() -> None:
    assert tags.ordered(["sensitive", "core", "core"]) == [Tag.CORE, Tag.SENSITIVE]


def test_important_and_core_data_is_a_matter_of_national_security() -> None:
    assert tags.is_weighty([Tag.CORE])
    assert tags.is_weighty([Tag.IMPORTANT, Tag.PERSONAL])
    assert not tags.is_weighty([Tag.SENSITIVE])
