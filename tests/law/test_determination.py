"""What the cases of the specification leave open: evidence by route, headroom, what covers what, citations by day."""

from datetime import date
from typing import Any

import pytest

from service.law.count_bands import LawByCount
from service.law.determination import Headroom, covers, determine
from service.law.facts import Count, Route
from service.law.mechanisms import Mechanism
from tests.law.builders import a_case, codes
from tests.law.strategies import BOOK

Parts = dict[str, Any]


BAY: Parts = {
    "handler": {"in_gba": True},
    "recipient": {"country": "HK", "in_gba": True},
    "transfer": {"persons": 100_000},
}


@pytest.mark.parametrize(
    ("route", "paper", "filed", "barred"),
    [
        (None, "standard_contract", True, True),
        (Route.STANDARD_CONTRACT, "standard_contract", True, False),
        (Route.CERTIFICATION, "certificate", False, False),
        (Route.GBA_STANDARD_CONTRACT, "gba_standard_contract", True, True),
        (Route.STATE_APPROVAL, "standard_contract", True, True),
    ],
)
def test_the_chosen_route_decides_papers_and_duties(
    route: Route | None, paper: str, *, filed: bool, barred: bool
) -> None:
    found = determine(a_case(**BAY), BOOK, route)
    contracts = {"standard_contract", "certificate", "gba_standard_contract"}
    assert codes(found.evidence) & contracts == {paper}
    assert ("file_standard_contract" in codes(found.obligations)) == filed
    assert ("onward_transfer_barred" in codes(found.warnings)) == barred


@pytest.mark.parametrize(
    ("parts", "room"),
    [
        ({"transfer": {"persons": 120_000}}, Headroom(879_999, 9_999)),
        ({}, Headroom(99_998, 0)),
        ({"handler": {"ciio": True}}, Headroom(None, None)),
        ({"transfer": {"persons": 2_000_000}}, Headroom(None, None)),
        ({"transfer": {"necessity": "hr"}}, Headroom(None, None)),
        ({"recipient": {"country": "CN"}}, Headroom(None, None)),
        ({"dataset": {"tags": []}, "transfer": {"persons": 0}}, Headroom(None, None)),
        ({"as_of": date(2023, 7, 1), "transfer": {"persons": 40_000}}, Headroom(59_999, 9_999)),
        (
            {"as_of": date(2023, 7, 1), "ledger": {"previous_year": {"sensitive_persons": 9_000, "persons": 90_500}}},
            Headroom(498, 498),
        ),
    ],
)
def test_headroom(parts: Parts, room: Headroom) -> None:
    assert determine(a_case(**parts), BOOK).headroom == room


CONTRACT = frozenset({Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION})


@pytest.mark.parametrize(
    ("held", "parts", "covered"),
    [
        (CONTRACT, {}, True),
        (CONTRACT, {"transfer": {"persons": 999_999}}, True),
        (CONTRACT, {"transfer": {"persons": 1_000_000}}, False),
        (frozenset({Mechanism.EXEMPT}), {"transfer": {"persons": 100_000}}, False),
        (frozenset({Mechanism.STATE_APPROVAL}), {"transfer": {"persons": 1_000_000}}, True),
        (CONTRACT, {"recipient": {"kind": "judicial_or_enforcement"}}, False),
        (CONTRACT | {Mechanism.AUTHORITY_APPROVAL}, {"recipient": {"kind": "judicial_or_enforcement"}}, True),
        (CONTRACT | {Mechanism.PROHIBITED}, {"recipient": {"restricted": True}}, False),
        (frozenset({Mechanism.SECURITY_ASSESSMENT}), {"dataset": {"tags": ["core", "personal"]}}, False),
        (frozenset(), {"recipient": {"country": "CN"}}, True),
        (frozenset(), {}, False),
    ],
)
def test_what_was_obtained_covers_what_is_asked(held: frozenset[Mechanism], parts: Parts, *, covered: bool) -> None:
    assert covers(held, determine(a_case(**parts), BOOK)) == covered


def test_headroom_under_a_contract_reaches_to_the_assessment() -> None:
    law = LawByCount(a_case(), BOOK)
    assert Headroom(*law.headroom(Count(persons=1), CONTRACT)) == Headroom(999_998, 9_999)
    assert Headroom(*law.headroom(Count(persons=1_000_000), CONTRACT)) == Headroom(0, 0)
    inside = LawByCount(a_case(recipient={"country": "CN"}), BOOK)
    assert Headroom(*inside.headroom(Count(persons=1), CONTRACT)) == Headroom(None, None)


def test_citations_are_those_in_force_on_the_day() -> None:
    def cited(day: date) -> set[str]:
        facts = a_case(day, dataset={"tags": ["important"]}, transfer={"persons": 0})
        return {citation.instrument for citation in determine(facts, BOOK).requirements[0].citations}

    assert cited(date(2022, 8, 31)) == {"DSL"}
    assert cited(date(2022, 9, 1)) == {"DSL", "SAM"}
    assert cited(date(2024, 3, 22)) == {"DSL", "SAM", "CBDF"}
    assert cited(date(2025, 1, 1)) == {"DSL", "SAM", "CBDF", "NDSMR"}


def test_the_article_on_personal_data_is_cited_for_personal_data_alone() -> None:
    court: Parts = {"recipient": {"kind": "judicial_or_enforcement"}}
    personal = determine(a_case(**court), BOOK).requirements[0].citations
    general = determine(a_case(dataset={"tags": []}, transfer={"persons": 0}, **court), BOOK).requirements[0].citations
    assert [c.instrument for c in personal] == ["DSL", "PIPL"]
    assert [c.instrument for c in general] == ["DSL"]
