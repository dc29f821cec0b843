"""What holds for all facts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from service.law.count_bands import LawByCount
from service.law.determination import Headroom, covers, determine
from service.law.explanation import render_determination
from service.law.facts import Count, Facts, Necessity, Route, Tag, find_faults
from service.law.loader import load
from service.law.mechanisms import Mechanism
from service.law.schemas import DeterminationOut, FactsIn
from tests.law.oracle import oracle
from tests.law.strategies import BOOK, counts, facts, with_transfer

CASES = json.loads((Path(__file__).parent.parent / "law" / "cases.json").read_text())
AGAIN = load()
some = settings(max_examples=100)


def strictness(given_facts: Facts) -> int:
    return determine(given_facts, BOOK).mechanism.strictness


@settings(max_examples=600)
@given(facts())
def test_the_engine_says_what_the_procedure_says(asked: Facts) -> None:
    found, told = determine(asked, BOOK), oracle(asked)
    assert found.mechanism == told["mechanism"]
    assert found.exemption == told["exemption"]
    assert {(r.rule, str(r.mechanism)) for r in found.requirements} == told["requirements"]
    assert [str(route) for route in found.routes] == told["routes"]
    assert {item.code for item in found.obligations} == told["obligations"]
    assert {item.code for item in found.evidence} == told["evidence"]
    assert found.counts_toward_ledger == told["counts"]


@some
@given(facts())
def test_random_facts_have_no_faults(asked: Facts) -> None:
    assert find_faults(asked) == ()


@some
@given(facts(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_persons_never_give_a_freer_mechanism(asked: Facts, persons: int, sensitive: int) -> None:
    more = replace(
        asked.transfer,
        persons=asked.transfer.persons + persons,
        sensitive_persons=asked.transfer.sensitive_persons + sensitive,
    )
    assert strictness(replace(asked, transfer=more)) >= strictness(asked)


@some
@given(facts(), st.sampled_from(Tag))
def test_adding_a_tag_never_gives_a_freer_mechanism(asked: Facts, tag: Tag) -> None:
    more = replace(asked.dataset, tags=asked.dataset.tags | {tag})
    assert strictness(replace(asked, dataset=more)) >= strictness(asked)


@some
@given(facts())
def test_dropping_a_claim_never_gives_a_freer_mechanism(asked: Facts) -> None:
    assert strictness(replace(asked, transfer=replace(asked.transfer, necessity=None))) >= strictness(asked)


@some
@given(facts())
def test_the_answer_depends_on_the_facts_alone(asked: Facts) -> None:
    assert determine(asked, BOOK) == determine(asked, AGAIN)


@some
@given(facts())
def test_headroom_is_exact(asked: Facts) -> None:
    room, now = determine(asked, BOOK).headroom, strictness(asked)
    for kind in ("persons", "sensitive_persons"):
        most = getattr(room, kind)
        if most is None:
            assert strictness(added(asked, kind, 10**12)) == now
        else:
            assert strictness(added(asked, kind, most)) == now
            assert strictness(added(asked, kind, most + 1)) > now


@some
@given(facts(), st.lists(counts, max_size=4), st.one_of(st.none(), st.sampled_from(Route)))
def test_the_law_by_count_is_the_law(asked: Facts, others: list[Count], route: Route | None) -> None:
    law = LawByCount(asked, BOOK, route)
    for count in (with_transfer(asked), *others):
        ledger = replace(asked.ledger, this_year=count)
        nobody = replace(asked.transfer, persons=0, sensitive_persons=0)
        found, told = law.at(count), determine(replace(asked, transfer=nobody, ledger=ledger), BOOK, route)
        for name in ("mechanism", "exemption", "requirements", "routes", "evidence_kinds", "counts_toward_ledger"):
            assert getattr(found, name) == getattr(told, name)


@some
@given(facts(), st.frozensets(st.sampled_from(Mechanism)))
def test_headroom_under_a_permit_is_exact(asked: Facts, held: frozenset[Mechanism]) -> None:
    room = Headroom(*LawByCount(asked, BOOK).headroom(with_transfer(asked), held))
    for kind in ("persons", "sensitive_persons"):
        most = getattr(room, kind)
        if most is None:
            assert covers(held, determine(added(asked, kind, 10**12), BOOK))
        elif covers(held, determine(asked, BOOK)):
            assert covers(held, determine(added(asked, kind, most), BOOK))
            assert not covers(held, determine(added(asked, kind, most + 1), BOOK))
        else:
            assert most == 0


def added(asked: Facts, kind: str, number: int) -> Facts:
    year = asked.ledger.this_year
    more = Count(
        **{name: getattr(year, name) + (number if name == kind else 0) for name in ("persons", "sensitive_persons")}
    )
    return replace(asked, ledger=replace(asked.ledger, this_year=more))


@some
@given(facts())
def test_every_answer_has_the_documented_shape_and_both_languages(asked: Facts) -> None:
    told = DeterminationOut.model_validate(render_determination(asked, determine(asked, BOOK), BOOK))
    assert f"{asked.as_of}" in told.explanation.en
    assert "not legal advice" in told.explanation.en
    assert f"{asked.as_of}" in told.explanation.zh


def test_on_every_day_until_2030_some_rule_decides() -> None:
    day = date(2021, 9, 1)
    while day <= date(2030, 12, 31):
        asked = FactsIn.model_validate(
            {
                "as_of": day,
                "handler": {"ciio": False, "pi_subjects": 1},
                "dataset": {"tags": ["personal"]},
                "recipient": {"country": "SG"},
                "transfer": {"persons": 1},
            }
        ).facts(day)
        assert determine(asked, BOOK).requirements
        day += timedelta(days=1)


def test_every_rule_decides_some_case() -> None:
    decided = {"border"}
    for case in CASES:
        asked = FactsIn.model_validate(case["facts"]).facts(date(2026, 11, 24))
        decided |= {requirement.rule for requirement in determine(asked, BOOK).requirements}
    ids = {rule["id"] for day in (date(2021, 9, 1), date(2022, 9, 1), date(2026, 1, 1)) for rule in BOOK.rules_on(day)}
    assert ids == decided


def test_a_claim_frees_a_ciio_too() -> None:
    case = next(case for case in CASES if case["id"] == "c042")
    asked = FactsIn.model_validate(case["facts"]).facts(date(2026, 11, 24))
    without = replace(asked, transfer=replace(asked.transfer, necessity=None))
    assert determine(asked, BOOK).exemption == Necessity.HR
    assert determine(without, BOOK).mechanism is Mechanism.SECURITY_ASSESSMENT
