"""Facts that cannot be, each with the field at fault; and the shapes that callers send."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from service.law.facts import Count, DatasetFacts, FtzList, Ledger, Origin, Tag, faults, union
from service.law.schemas import FactsIn
from tests.law.builders import TODAY, a_case


def pointers(facts: Any) -> list[str]:
    return [fault.pointer for fault in faults(facts)]


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"as_of": date(2021, 8, 31)}, "/as_of"),
        ({"recipient": {"country": "XX"}}, "/recipient/country"),
        ({"recipient": {"country": "sg"}}, "/recipient/country"),
        ({"as_of": date(2024, 3, 21), "handler": {"pi_subjects": None}}, "/handler/pi_subjects"),
        ({"transfer": {"persons": 1, "sensitive_persons": 1}}, "/transfer/sensitive_persons"),
        ({"dataset": {"tags": ["important"]}}, "/transfer/persons"),
        ({"transfer": {"persons": 0}}, "/transfer/persons"),
    ],
)
def test_a_fault_names_its_field(parts: dict[str, Any], pointer: str) -> None:
    assert pointers(a_case(**parts)) == [pointer]


def test_nobody_needs_to_say_how_many_are_held_since_2024() -> None:
    assert pointers(a_case(date(2024, 3, 22), handler={"pi_subjects": None})) == []


def test_a_negative_count_is_a_fault() -> None:
    facts = replace(a_case(), ledger=Ledger(this_year=Count(persons=-1)))
    assert pointers(facts) == ["/ledger/this_year/persons"]


BODY: dict[str, Any] = {"handler": {"ciio": False}, "recipient": {"country": "SG"}}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"handler": {"ciio": 1}}, ("handler", "ciio")),
        ({"handler": {"ciio": "false"}}, ("handler", "ciio")),
        ({"handler": {}}, ("handler", "ciio")),
        ({"recipient": {}}, ("recipient", "country")),
        ({"transfer": {"persons": "5"}}, ("transfer", "persons")),
        ({"transfer": {"persons": 5.0}}, ("transfer", "persons")),
        ({"transfer": {"persons": True}}, ("transfer", "persons")),
        ({"transfer": {"persons": -1}}, ("transfer", "persons")),
        ({"transfer": {"person": 1}}, ("transfer", "person")),
        ({"dataset": {"tags": ["secret"]}}, ("dataset", "tags", 0)),
        ({"as_of": "2026-11-24T00:00:00"}, ("as_of",)),
        ({"as_of": 1764000000}, ("as_of",)),
        ({"as_of": "2026-02-30"}, ("as_of",)),
        ({"extra": 1}, ("extra",)),
    ],
)
def test_a_body_of_another_shape_is_refused_where_it_is_wrong(change: dict[str, Any], place: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        FactsIn.model_validate(BODY | change)
    assert refused.value.errors()[0]["loc"] == place


def test_the_day_is_today_where_none_is_stated() -> None:
    assert FactsIn.model_validate(BODY).facts(TODAY).as_of == TODAY


def test_several_datasets_are_taken_in_their_strictest_reading() -> None:
    foreign = DatasetFacts(frozenset({Tag.PERSONAL}), Origin.FOREIGN, domestic_data_added=False)
    domestic = DatasetFacts(frozenset({Tag.IMPORTANT}), contains_minors=True)
    assert union([foreign, foreign]) == foreign
    both = union([foreign, domestic])
    assert both.tags == {Tag.PERSONAL, Tag.IMPORTANT}
    assert not both.is_foreign_origin
    assert both.contains_minors


@pytest.mark.parametrize(
    ("standings", "together"),
    [
        ((FtzList.UNLISTED, FtzList.UNLISTED), FtzList.UNLISTED),
        ((FtzList.UNLISTED, None), None),
        ((FtzList.UNLISTED, FtzList.LISTED), FtzList.LISTED),
        ((None, None), None),
    ],
)
def test_datasets_are_unlisted_only_if_each_one_is(standings: Any, together: FtzList | None) -> None:
    assert union([DatasetFacts(ftz_list=standing) for standing in standings]).ftz_list is together
