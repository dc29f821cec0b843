"""Two acts are two persons' where nobody could have made both."""

from __future__ import annotations

import itertools

import pytest

from service.access import persons

PEOPLE = ("a", "b", "c")
SETS = [frozenset(some) for n in range(len(PEOPLE) + 1) for some in itertools.combinations(PEOPLE, n)]


@pytest.mark.parametrize(("one", "other"), list(itertools.product(SETS, SETS)))
def test_two_sets_are_two_persons_where_nobody_is_in_both_whichever_comes_first(
    one: frozenset[str], other: frozenset[str]
) -> None:
    shared = [name for name in PEOPLE if name in one and name in other]
    assert persons.are_two(one, other) is persons.are_two(sorted(other), list(one)) is (not shared)


def test_an_act_is_that_of_its_holder_and_of_whoever_is_stored_with_it() -> None:
    seen = {"a": {"x"}}
    assert persons.set_of("a", ["a", "b"], seen) == {"a", "b"}
    assert persons.set_of("a", [], seen) == {"a"}
    assert persons.set_of(None, ["b"], seen) == frozenset()


def test_of_an_act_of_before_it_is_known_who_has_seen_a_credential_of_its_holder() -> None:
    assert persons.set_of("a", None, {"a": {"x", "y"}, "b": {"z"}}) == {"a", "x", "y"}
    assert persons.set_of("a", None, {}) == {"a"}


def test_of_several_authors_those_of_before_are_looked_up_and_the_others_are_stored() -> None:
    seen = {"a": {"x"}, "b": {"y"}}
    assert persons.set_of_authors(["a", "b"], None, seen) == {"a", "b", "x", "y"}
    assert persons.set_of_authors(["a", "b"], ["a", "m"], seen) == {"a", "m", "b", "y"}
    assert persons.set_of_authors(["a"], ["a", "m"], seen) == {"a", "m"}
