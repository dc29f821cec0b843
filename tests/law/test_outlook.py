"""When and why the law's answer will change."""

from datetime import date

from service.law import forecast
from service.law.determination import determine
from service.law.facts import Count
from tests.law.builders import a_case
from tests.law.strategies import BOOK

END = date(2027, 6, 30)
FULL = {"this_year": {"persons": 99_990}}


def test_nothing_changes_where_nothing_will() -> None:
    assert forecast.find_legal_changes(a_case(), BOOK, END) == []


def test_a_new_year_begins_with_nothing_counted() -> None:
    facts = a_case(transfer={"persons": 100}, ledger=FULL)
    assert determine(facts, BOOK).mechanism == "standard_contract_or_certification"
    (turn,) = forecast.find_legal_changes(facts, BOOK, END)
    assert (turn.on, turn.kind, str(turn.after.mechanism)) == (date(2027, 1, 1), "year_begins", "exempt")
    assert forecast.find_legal_changes(facts, BOOK, date(2026, 12, 31)) == []


def test_a_rule_that_comes_into_force_is_seen_before() -> None:
    facts = a_case(date(2024, 3, 1), transfer={"persons": 10}, handler={"pi_subjects": 50_000})
    turns = forecast.find_legal_changes(facts, BOOK, date(2024, 12, 31))
    assert [(turn.on, turn.kind) for turn in turns] == [(date(2024, 3, 22), "law_changes")]
    assert str(turns[0].after.mechanism) == "exempt"


def test_a_route_that_comes_is_a_change_too() -> None:
    facts = a_case(date(2023, 5, 1), transfer={"persons": 10}, handler={"pi_subjects": 50_000})
    assert date(2023, 6, 1) in [turn.on for turn in forecast.find_legal_changes(facts, BOOK, date(2023, 12, 31))]


def test_a_higher_count_and_a_later_day_change_the_facts_alone() -> None:
    facts = a_case(ledger=FULL)
    assert forecast.add_to_year(facts, Count(10, 5)).ledger.this_year == Count(100_000, 5)
    assert forecast.project_to(facts, date(2026, 12, 31)).ledger == facts.ledger
    assert forecast.project_to(facts, date(2027, 1, 1)).ledger.previous_year == Count(99_990, 0)
    assert forecast.project_to(facts, date(2027, 1, 1)).ledger.this_year == Count()


def test_a_line_that_changes_nothing_for_a_transfer_is_not_told() -> None:
    for parts in (
        {"dataset": {"tags": ["important", "personal"]}},
        {"transfer": {"persons": 85_000, "necessity": "contract", "legal_basis": "contract"}},
        {"handler": {"ciio": True}},
        {"recipient": {"country": "CN"}},
    ):
        assert forecast.find_threshold_distances(a_case(**{"transfer": {"persons": 85_000}} | parts), BOOK) == []


def test_lines_ahead_are_told_with_their_distance() -> None:
    lines = {line.id: line for line in forecast.find_threshold_distances(a_case(transfer={"persons": 85_000}), BOOK)}
    assert lines["contract_persons"].near
    assert (lines["contract_persons"].count, lines["contract_persons"].headroom) == (85_000, 14_999)
    assert not lines["assessment_persons"].near
    assert "contract_persons" not in [
        line.id for line in forecast.find_threshold_distances(a_case(transfer={"persons": 100_000}), BOOK)
    ]
