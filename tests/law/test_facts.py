"""Facts that cannot be, each with the field at fault; and several datasets taken as one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from service.law.facts import Count, DatasetFacts, Facts, FtzList, Ledger, Origin, Tag, find_faults, merge_datasets
from tests.law.builders import a_case


def pointers(facts: Any) -> list[str]:
    return [fault.pointer for fault in find_faults(facts)]


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"as_of": date(2021, 8, 31)}, "/as_of"),
        ({"recipient": {"country": "XX"}}, "/recipient/country"),
        ({"recipient": {"country": "sg"}}, "/recipient/country"),
        ({"as_of": date(2024, 3, 21), "handler": {"pi_subjects": None}}, "/handler/pi_subjects"),
        ({"transfer": {"persons": 1, "sensitive_persons": 1}}, "/transfer/sensitive_persons"),
        ({"dataset": {"tags": ["important"]}}, "/transfer/persons"),
        ({"dataset": {"tags": []}}, "/transfer/persons"),
        ({"transfer": {"persons": 0}}, "/transfer/persons"),
        (
            {"dataset": {"tags": ["sensitive"]}, "transfer": {"persons": 0, "sensitive_left_out": True}},
            "/transfer/persons",
        ),
        ({"dataset": {"tags": ["sensitive"]}, "transfer": {"persons": 3000}}, "/transfer/sensitive_persons"),
        ({"dataset": {"tags": ["core", "sensitive"]}, "transfer": {"persons": 1}}, "/transfer/sensitive_persons"),
        ({"dataset": {"tags": ["sensitive"], "contains_minors": True}}, "/transfer/sensitive_persons"),
        ({"dataset": {"contains_minors": True}}, "/dataset/tags"),
        ({"dataset": {"tags": [], "contains_minors": True}, "transfer": {"persons": 0}}, "/dataset/tags"),
        ({"transfer": {"persons": 1, "sensitive_left_out": True}}, "/transfer/sensitive_left_out"),
        (
            {
                "dataset": {"tags": ["sensitive"]},
                "transfer": {"persons": 1, "sensitive_persons": 1, "sensitive_left_out": True},
            },
            "/transfer/sensitive_left_out",
        ),
        (
            {
                "dataset": {"tags": ["sensitive"], "contains_minors": True},
                "transfer": {"sensitive_persons": 1, "sensitive_left_out": True},
            },
            "/transfer/sensitive_left_out",
        ),
    ],
)
def test_a_fault_names_its_field(parts: dict[str, Any], pointer: str) -> None:
    assert pointers(a_case(**parts)) == [pointer]


@pytest.mark.parametrize("tags", [["sensitive"], ["personal"]])
def test_nobody_was_sensitive_by_law_before_the_law_said_so(tags: list[str]) -> None:
    parts: dict[str, Any] = {"dataset": {"tags": tags, "contains_minors": True}, "transfer": {"persons": 1}}
    assert pointers(a_case(date(2021, 10, 31), **parts)) == []
    assert len(pointers(a_case(date(2021, 11, 1), **parts))) == 1


def test_nobody_needs_to_say_how_many_are_held_since_2024() -> None:
    assert pointers(a_case(date(2024, 3, 22), handler={"pi_subjects": None})) == []


@pytest.mark.parametrize("day", [date(2021, 9, 1), date(2024, 3, 21)])
def test_nobody_needs_to_say_how_many_are_held_where_the_data_is_not_personal(day: date) -> None:
    parts: dict[str, Any] = {"handler": {"pi_subjects": None}, "dataset": {"tags": []}, "transfer": {"persons": 0}}
    assert pointers(a_case(day, **parts)) == []


def test_of_sensitive_data_somebody_is_sensitive_unless_a_person_states_that_it_is_left_out() -> None:
    left_out = {"persons": 1, "sensitive_left_out": True}
    assert pointers(a_case(dataset={"tags": ["sensitive"]}, transfer=left_out)) == []
    minors = a_case(dataset={"tags": ["sensitive"], "contains_minors": True}, transfer=left_out)
    assert pointers(minors) == ["/transfer/sensitive_persons", "/transfer/sensitive_left_out"]
    both = {"tags": ["sensitive"], "contains_minors": True}
    assert pointers(a_case(dataset=both, transfer={"persons": 0, "sensitive_persons": 1})) == []
    assert pointers(a_case(dataset={"tags": ["sensitive"]}, transfer={"persons": 0, "sensitive_persons": 1})) == []


NEGATIVE = [
    (lambda facts: replace(facts, handler=replace(facts.handler, pi_subjects=-1)), "/handler/pi_subjects"),
    (lambda facts: replace(facts, handler=replace(facts.handler, platform_users=-1)), "/handler/platform_users"),
    (lambda facts: replace(facts, transfer=replace(facts.transfer, persons=-1)), "/transfer/persons"),
    (
        lambda facts: replace(facts, transfer=replace(facts.transfer, sensitive_persons=-1)),
        "/transfer/sensitive_persons",
    ),
    (lambda facts: replace(facts, ledger=Ledger(this_year=Count(persons=-1))), "/ledger/this_year/persons"),
    (
        lambda facts: replace(facts, ledger=Ledger(this_year=Count(sensitive_persons=-1))),
        "/ledger/this_year/sensitive_persons",
    ),
    (lambda facts: replace(facts, ledger=Ledger(previous_year=Count(persons=-1))), "/ledger/previous_year/persons"),
    (
        lambda facts: replace(facts, ledger=Ledger(previous_year=Count(sensitive_persons=-1))),
        "/ledger/previous_year/sensitive_persons",
    ),
]


@pytest.mark.parametrize(("spoil", "pointer"), NEGATIVE, ids=[pointer for _, pointer in NEGATIVE])
def test_a_negative_count_is_a_fault(spoil: Callable[[Facts], Facts], pointer: str) -> None:
    assert pointers(spoil(a_case())) == [pointer]


def test_every_fault_is_told_at_once() -> None:
    facts = a_case(
        date(2021, 8, 31),
        handler={"pi_subjects": None},
        recipient={"country": "ZZ"},
        transfer={"persons": 0, "sensitive_persons": 1},
    )
    assert pointers(facts) == ["/as_of", "/recipient/country", "/handler/pi_subjects", "/transfer/sensitive_persons"]


@pytest.mark.parametrize("country", ["CN", "HK", "MO", "TW", "SG"])
def test_hong_kong_macao_and_taiwan_are_known_as_well_as_states(country: str) -> None:
    assert pointers(a_case(recipient={"country": country})) == []


def test_several_datasets_are_taken_in_their_strictest_reading() -> None:
    foreign = DatasetFacts(frozenset({Tag.PERSONAL}), Origin.FOREIGN, domestic_data_added=False)
    domestic = DatasetFacts(frozenset({Tag.IMPORTANT}), contains_minors=True)
    assert merge_datasets([foreign, foreign]) == foreign
    both = merge_datasets([foreign, domestic])
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
    assert merge_datasets([DatasetFacts(ftz_list=standing) for standing in standings]).ftz_list is together


def test_of_no_dataset_nothing_that_frees_is_taken_for_granted() -> None:
    nothing = merge_datasets([])
    assert nothing == DatasetFacts()
    assert not nothing.is_foreign_origin
