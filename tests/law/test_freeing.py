"""Which way each fact frees: every fact has a direction, and the law agrees with each."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.law import freeing
from service.law.determination import determine
from service.law.facts import (
    DatasetFacts,
    Facts,
    FtzList,
    HandlerFacts,
    Origin,
    RecipientFacts,
    RecipientKind,
    Tag,
)
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn
from tests.law import strategies
from tests.law.strategies import BOOK

TRUTH = (False, True)
NUMBERS = (None, 0, 1, 999_999, 1_000_000)
VALUES: dict[freeing.FactSubject, dict[str, tuple[Any, ...]]] = {
    "handler": {
        "ciio": TRUTH,
        "pi_subjects": NUMBERS,
        "in_ftz": TRUTH,
        "in_gba": TRUTH,
        "listing_abroad": TRUTH,
        "platform_users": NUMBERS[1:],
    },
    "dataset": {
        "origin": tuple(Origin),
        "domestic_data_added": TRUTH,
        "ftz_list": (None, *FtzList),
        "contains_minors": TRUTH,
    },
    "recipient": {
        "in_gba": TRUTH,
        "restricted": TRUTH,
        "kind": tuple(RecipientKind),
        "country": ("CN", "HK", "MO", "SG", "TW", "US"),
    },
}
FREEING = [
    ("handler", "ciio", True, False),
    ("handler", "in_ftz", False, True),
    ("handler", "in_gba", False, True),
    ("handler", "listing_abroad", True, False),
    ("handler", "pi_subjects", 1_000_000, 999_999),
    ("handler", "pi_subjects", 5, None),
    ("handler", "platform_users", 1_000_000, 0),
    ("dataset", "origin", "domestic", "foreign"),
    ("dataset", "domestic_data_added", True, False),
    ("dataset", "ftz_list", None, "unlisted"),
    ("dataset", "ftz_list", "listed", "unlisted"),
    ("dataset", "ftz_list", "listed", None),
    ("dataset", "contains_minors", True, False),
    ("recipient", "in_gba", False, True),
    ("recipient", "restricted", True, False),
    *[("recipient", "kind", "judicial_or_enforcement", kind) for kind in ("company", "affiliate", "public_body")],
    *[("recipient", "country", away, "CN") for away in ("SG", "HK", "MO")],
    ("recipient", "country", "SG", "HK"),
    ("recipient", "country", "US", "MO"),
]


def test_every_fact_has_a_direction() -> None:
    """A fact that is added to a schema fails here until somebody says which way it frees."""
    shapes: dict[freeing.FactSubject, tuple[set[str], set[str]]] = {
        "handler": (set(HandlerFactsIn.model_fields), {field.name for field in fields(HandlerFacts)}),
        "dataset": (set(OriginFactsIn.model_fields), {field.name for field in fields(DatasetFacts)} - {"tags"}),
        "recipient": (
            set(RecipientFactsIn.model_fields),
            {field.name for field in fields(RecipientFacts)} - {"key", "name"},
        ),
    }
    assert set(freeing.STRICTNESS) == set(shapes)
    for thing, (stated, meant) in shapes.items():
        assert set(freeing.STRICTNESS[thing]) == stated == meant == set(VALUES[thing])


def test_what_nobody_says_is_what_the_schemas_take() -> None:
    for thing, shape in (("handler", HandlerFactsIn), ("dataset", OriginFactsIn), ("recipient", RecipientFactsIn)):
        known = {name: one.default for name, one in shape.model_fields.items() if not one.is_required()}
        assert freeing.DEFAULTS[thing] == known  # type: ignore[index]


@pytest.mark.parametrize(("thing", "fact", "before", "after"), FREEING)
def test_what_frees_waits_and_the_way_back_does_not(
    thing: freeing.FactSubject, fact: str, before: Any, after: Any
) -> None:
    assert freeing.frees(thing, fact, before, after)
    assert not freeing.frees(thing, fact, after, before)


def test_nothing_else_frees() -> None:
    found = {
        (thing, fact, before, after)
        for thing, facts in VALUES.items()
        for fact, values in facts.items()
        for before, after in product(values, values)
        if freeing.frees(thing, fact, before, after)
    }
    numbers = {one for one in found if one[1] in {"pi_subjects", "platform_users"}}
    assert all((after or 0) < (before or 0) for _, _, before, after in numbers)
    places = {one for one in found if one[1] == "country"}
    assert {after for *_, after in places} == {"CN", "HK", "MO"}
    assert found - numbers - places == {
        one for one in FREEING if one[1] not in {"pi_subjects", "platform_users", "country"}
    }


@st.composite
def _changed(draw: st.DrawFn) -> tuple[Facts, Facts]:
    """Return facts, and the same with some of them stated anew and none of them freed."""
    before = draw(strategies.facts())
    parts: dict[freeing.FactSubject, Any] = {
        "handler": before.handler,
        "dataset": before.dataset,
        "recipient": before.recipient,
    }
    for thing, facts in VALUES.items():
        for fact, values in facts.items():
            value = draw(st.sampled_from([one for one in values if fact != "pi_subjects" or one is not None]))
            if not freeing.frees(thing, fact, getattr(parts[thing], fact), value):
                parts[thing] = replace(parts[thing], **{fact: value})
    return before, replace(before, **parts)


@given(_changed())
def test_under_the_law_nothing_comes_to_be_freer_by_what_one_person_may_say(pair: tuple[Facts, Facts]) -> None:
    before, after = (determine(facts, BOOK) for facts in pair)
    assert after.mechanism.strictness >= before.mechanism.strictness
    assert after.counts_toward_ledger or not before.counts_toward_ledger
    assert {one.mechanism for one in before.requirements if one.mechanism.strictness > 1} <= {
        one.mechanism for one in after.requirements
    } or after.mechanism.strictness > before.mechanism.strictness


def test_a_statement_protects_at_once_and_frees_later() -> None:
    held = {"origin": "domestic", "domestic_data_added": True, "ftz_list": None, "contains_minors": False}
    found = freeing.apply_statement("dataset", held, {}, {"origin": "foreign", "contains_minors": True})
    assert found.facts == held | {"contains_minors": True}
    assert (found.pending, found.overtaken) == ({"origin": "foreign"}, frozenset())


@pytest.mark.parametrize(
    ("waiting", "stated", "facts", "asked", "overtaken"),
    [
        ({}, {}, None, {}, ()),
        ({"ftz_list": "unlisted"}, {}, None, {}, ()),
        ({"ftz_list": "unlisted"}, {"ftz_list": "unlisted"}, None, {}, ()),
        ({"ftz_list": None}, {"ftz_list": "unlisted"}, None, {"ftz_list": "unlisted"}, ("ftz_list",)),
        ({"ftz_list": "unlisted"}, {"ftz_list": None}, None, {"ftz_list": None}, ("ftz_list",)),
        ({"ftz_list": "unlisted"}, {"ftz_list": "listed"}, None, {}, ("ftz_list",)),
        ({"origin": "foreign"}, {"ftz_list": "unlisted"}, None, {"ftz_list": "unlisted"}, ()),
        ({"ftz_list": "unlisted"}, {"contains_minors": True}, {"contains_minors": True}, {}, ()),
    ],
)
def test_a_later_statement_overtakes_what_waits_of_the_same_fact(
    waiting: Any, stated: Any, facts: Any, asked: Any, overtaken: Any
) -> None:
    held = {"origin": "domestic", "domestic_data_added": True, "ftz_list": "listed", "contains_minors": False}
    found = freeing.apply_statement("dataset", held, waiting, stated)
    assert found == freeing.FactChange(held | (facts or {}), asked, frozenset(overtaken))


def test_of_a_new_thing_what_frees_waits_as_well() -> None:
    found = freeing.apply_first_statement(
        "handler", {"ciio": False, "in_ftz": True, "pi_subjects": 7, "platform_users": 0}
    )
    assert found.facts == {**freeing.DEFAULTS["handler"], "ciio": False, "pi_subjects": 7}
    assert (found.pending, found.overtaken) == ({"in_ftz": True}, frozenset())
    assert freeing.apply_first_statement("recipient", {"country": "HK", "in_gba": False}).pending == {}


@given(st.sampled_from(list(VALUES)), st.data())
def test_of_two_readings_the_stricter_one_frees_neither(thing: freeing.FactSubject, data: st.DataObject) -> None:
    if thing == "recipient":
        return
    shape: Any = HandlerFacts if thing == "handler" else DatasetFacts
    one, other = (
        shape(**{fact: data.draw(st.sampled_from(values)) for fact, values in VALUES[thing].items()}) for _ in "ab"
    )
    join: Any = freeing.merge_handlers_strictly if thing == "handler" else freeing.merge_datasets_strictly
    found = join(one, other)
    for fact in VALUES[thing]:
        values = [getattr(reading, fact) for reading in (one, other)]
        assert getattr(found, fact) in values
        assert not any(freeing.frees(thing, fact, value, getattr(found, fact)) for value in values)


def test_the_stricter_reading_keeps_the_tags_of_the_first() -> None:
    one, other = DatasetFacts(frozenset({Tag.CORE})), DatasetFacts(frozenset(), contains_minors=True)
    assert asdict(freeing.merge_datasets_strictly(one, other)) == asdict(DatasetFacts(one.tags, contains_minors=True))
