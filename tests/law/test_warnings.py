"""Each warning, at the place where it begins and where it ends."""

from datetime import date
from typing import Any

import pytest

from service.law.determination import determine
from service.law.facts import Facts
from tests.law.builders import a_case, codes
from tests.law.strategies import BOOK

Parts = dict[str, Any]


def warned(facts: Facts) -> set[str]:
    return codes(determine(facts, BOOK).warnings)


@pytest.mark.parametrize(
    ("persons", "sensitive", "near"),
    [
        (79_999, 0, False),
        (80_000, 0, True),
        (99_999, 0, True),
        (100_000, 0, False),
        (799_999, 0, False),
        (800_000, 0, True),
        (999_999, 0, True),
        (1_000_000, 0, False),
        (1, 7_999, False),
        (1, 8_000, True),
        (1, 9_999, True),
        (1, 10_000, False),
    ],
)
def test_near_a_threshold_from_80_per_cent_on(persons: int, sensitive: int, *, near: bool) -> None:
    facts = a_case(
        dataset={"tags": ["personal", "sensitive"]}, transfer={"persons": persons, "sensitive_persons": sensitive}
    )
    assert ("near_threshold" in warned(facts)) == near


def test_the_year_so_far_brings_a_small_transfer_near() -> None:
    assert "near_threshold" in warned(a_case(ledger={"this_year": {"persons": 79_999}}))
    assert "near_threshold" not in warned(a_case(ledger={"this_year": {"persons": 79_998}}))
    assert "near_threshold" not in warned(a_case(ledger={"previous_year": {"persons": 79_999}}))


@pytest.mark.parametrize(
    ("day", "ledger", "near"),
    [
        (date(2022, 8, 31), {"this_year": {"persons": 79_999}}, False),
        (date(2022, 9, 1), {"this_year": {"persons": 79_999}}, True),
        (date(2024, 3, 21), {"previous_year": {"persons": 79_998, "sensitive_persons": 1}}, True),
        (date(2024, 3, 21), {"previous_year": {"sensitive_persons": 8_000}}, True),
        (date(2024, 3, 21), {"previous_year": {"sensitive_persons": 7_999}}, False),
        (date(2024, 3, 21), {"this_year": {"persons": 99_999}}, False),
        (date(2024, 3, 22), {"previous_year": {"sensitive_persons": 8_000}}, False),
    ],
)
def test_before_2024_two_years_bring_it_near(day: date, ledger: Parts, *, near: bool) -> None:
    assert ("near_threshold" in warned(a_case(day, ledger=ledger))) == near


CONTRADICTIONS: list[Parts] = [
    {"transfer": {"necessity": "hr"}},
    {"dataset": {"ftz_list": "unlisted"}},
    {"dataset": {"origin": "foreign", "domestic_data_added": False}},
]


def contradicted(tags: list[str], parts: Parts) -> Facts:
    return a_case(
        dataset={"tags": tags} | parts.get("dataset", {}),
        transfer={"persons": int("personal" in tags)} | parts.get("transfer", {}),
    )


@pytest.mark.parametrize("tags", [["core"], ["important"], ["core", "personal"], ["important", "personal"]])
@pytest.mark.parametrize("parts", CONTRADICTIONS)
def test_a_tag_that_contradicts_an_exemption_is_warned_of(tags: list[str], parts: Parts) -> None:
    assert "tags_contradict_exemption" in warned(contradicted(tags, parts))


@pytest.mark.parametrize(
    ("tags", "parts"),
    [
        *((["personal"], parts) for parts in CONTRADICTIONS),
        (["important"], {}),
        (["important"], {"dataset": {"ftz_list": "listed"}}),
        (["important"], {"dataset": {"origin": "foreign", "domestic_data_added": True}}),
        (["core"], {"dataset": {"origin": "domestic", "domestic_data_added": False}}),
    ],
)
def test_where_nothing_is_contradicted_nothing_is_warned_of(tags: list[str], parts: Parts) -> None:
    assert "tags_contradict_exemption" not in warned(contradicted(tags, parts))


@pytest.mark.parametrize(
    ("day", "necessity", "told"),
    [
        *(
            (day, necessity, told)
            for necessity in ("contract", "hr", "emergency")
            for day, told in ((date(2024, 3, 21), True), (date(2024, 3, 22), False))
        ),
        (date(2024, 12, 31), "statutory_duty", True),
        (date(2025, 1, 1), "statutory_duty", False),
        (date(2023, 1, 1), None, False),
    ],
)
def test_a_claim_that_the_day_does_not_know_is_warned_of(day: date, necessity: str | None, *, told: bool) -> None:
    assert ("exemption_not_in_force" in warned(a_case(day, transfer={"necessity": necessity}))) == told


@pytest.mark.parametrize(
    ("day", "parts", "told"),
    [
        (date(2021, 10, 31), {}, False),
        (date(2021, 11, 1), {}, True),
        (date(2022, 11, 17), {}, True),
        (date(2022, 11, 18), {}, False),
        (date(2022, 1, 1), {"handler": {"ciio": True}}, False),
        (date(2022, 1, 1), {"recipient": {"restricted": True}}, True),
        (date(2026, 1, 1), {"recipient": {"restricted": True}}, False),
    ],
)
def test_a_mechanism_without_an_instrument_is_warned_of(day: date, parts: Parts, *, told: bool) -> None:
    assert ("instrument_not_yet_available" in warned(a_case(day, **parts))) == told


@pytest.mark.parametrize(
    ("day", "country", "persons", "told"),
    [
        (date(2023, 12, 12), "HK", 1, False),
        (date(2023, 12, 13), "HK", 1, True),
        (date(2024, 9, 9), "MO", 100_000, False),
        (date(2024, 9, 10), "MO", 100_000, True),
        (date(2026, 11, 24), "HK", 99_999, False),
        (date(2026, 11, 24), "HK", 1_000_000, False),
        (date(2026, 11, 24), "SG", 100_000, False),
    ],
)
def test_the_contract_of_the_greater_bay_area_bars_onward_transfer(
    day: date, country: str, persons: int, *, told: bool
) -> None:
    facts = a_case(
        day,
        handler={"in_gba": True},
        recipient={"country": country, "in_gba": True},
        transfer={"persons": persons},
    )
    assert ("onward_transfer_barred" in warned(facts)) == told


def test_inside_the_country_nothing_is_warned_of() -> None:
    facts = a_case(
        recipient={"country": "CN"}, dataset={"tags": ["important", "personal"]}, transfer={"necessity": "hr"}
    )
    assert warned(facts) == set()
