"""What the handler risks: which rows apply, and their amounts in yuan."""

from datetime import date
from typing import Any

import pytest

from service.law.determination import determine
from service.law.explanation import render_determination
from tests.law.builders import a_case, codes
from tests.law.strategies import BOOK

Parts = dict[str, Any]
COURT: Parts = {"recipient": {"kind": "judicial_or_enforcement"}}
NOBODY: Parts = {"transfer": {"persons": 0}}


@pytest.mark.parametrize(
    ("parts", "exposed"),
    [
        ({"dataset": {"tags": ["core"]}} | NOBODY, {"state_approval", "data_security_duties"}),
        ({"dataset": {"tags": ["core", "important"]}} | NOBODY, {"state_approval", "data_security_duties"}),
        ({"dataset": {"tags": ["important"]}} | NOBODY, {"security_assessment", "data_security_duties"}),
        (
            {"dataset": {"tags": ["important", "personal"]}},
            {"security_assessment", "data_security_duties", "personal_information"},
        ),
        (
            {"dataset": {"tags": ["core", "personal"]}},
            {"state_approval", "data_security_duties", "personal_information"},
        ),
        ({"transfer": {"persons": 1_000_000}}, {"personal_information"}),
        ({"transfer": {"persons": 100_000}}, {"personal_information"}),
        ({"handler": {"ciio": True}}, {"personal_information"}),
        (COURT, {"authority_approval", "personal_information"}),
        ({"dataset": {"tags": []}} | NOBODY | COURT, {"authority_approval"}),
        ({"recipient": {"restricted": True}}, {"personal_information"}),
        ({"as_of": date(2021, 10, 31)} | COURT, {"authority_approval"}),
        ({"as_of": date(2021, 10, 31), "handler": {"ciio": True}}, set()),
        ({"as_of": date(2021, 11, 1), "handler": {"ciio": True}}, {"personal_information"}),
        ({}, set()),
        ({"recipient": {"country": "CN"}, "dataset": {"tags": ["core"]}} | NOBODY, set()),
    ],
)
def test_exposure_follows_the_requirements(parts: Parts, exposed: set[str]) -> None:
    assert codes(determine(a_case(**parts), BOOK).exposure) == exposed


def amounts(least: int | None, most: int, share: float | None = None) -> Parts:
    return {"min": least, "max": most, "turnover_share": share}


@pytest.mark.parametrize(
    ("parts", "code", "article", "company", "person"),
    [
        (
            {"dataset": {"tags": ["core"]}} | NOBODY,
            "state_approval",
            ("DSL", "45(2)"),
            {"ordinary": amounts(2_000_000, 10_000_000), "grave": None},
            None,
        ),
        (
            {"dataset": {"tags": ["important"]}} | NOBODY,
            "security_assessment",
            ("DSL", "46"),
            {"ordinary": amounts(100_000, 1_000_000), "grave": amounts(1_000_000, 10_000_000)},
            {"ordinary": amounts(10_000, 100_000), "grave": amounts(100_000, 1_000_000)},
        ),
        (
            COURT,
            "authority_approval",
            ("DSL", "48(2)"),
            {"ordinary": amounts(100_000, 1_000_000), "grave": amounts(1_000_000, 5_000_000)},
            {"ordinary": amounts(10_000, 100_000), "grave": amounts(50_000, 500_000)},
        ),
        (
            {"transfer": {"persons": 100_000}},
            "personal_information",
            ("PIPL", "66"),
            {"ordinary": amounts(None, 1_000_000), "grave": amounts(None, 50_000_000, 0.05)},
            {"ordinary": amounts(10_000, 100_000), "grave": amounts(100_000, 1_000_000)},
        ),
        (
            {"dataset": {"tags": ["important"]}} | NOBODY,
            "data_security_duties",
            ("DSL", "45(1)"),
            {"ordinary": amounts(50_000, 500_000), "grave": amounts(500_000, 2_000_000)},
            {"ordinary": amounts(10_000, 100_000), "grave": amounts(50_000, 200_000)},
        ),
    ],
)
def test_the_amounts_are_those_of_the_article(
    parts: Parts, code: str, article: tuple[str, str], company: Parts, person: Parts | None
) -> None:
    facts = a_case(**parts)
    row = next(
        row for row in render_determination(facts, determine(facts, BOOK), BOOK)["exposure"] if row["code"] == code
    )
    assert row["citations"] == [{"instrument": article[0], "article": article[1]}]
    assert (row["company"], row["person"]) == (company, person)
