"""What-if: plans are lawful, sorted, honest, and never a way around a threshold."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given

from service.law.determination import determine
from service.law.facts import Facts
from service.law.mechanisms import Mechanism
from service.law.schemas import FactsIn
from service.whatif.law_routes import determination_of
from service.whatif.plan_routes import body_of, plans_of, typical_times
from service.whatif.plans import NO_SPLITTING, Plan, plans
from tests.law.builders import TODAY, a_case
from tests.law.strategies import BOOK, facts

TIMES = typical_times()


def made(known: Facts) -> tuple[Plan, ...]:
    return plans(known, BOOK, TIMES)


def codes(known: Facts) -> list[str]:
    return [plan.code for plan in made(known)]


@given(facts())
def test_every_plan_is_lawful_and_what_it_says(known: Facts) -> None:
    for plan in made(known):
        assert plan.determination.mechanism is not Mechanism.PROHIBITED
        again = determine(plan.facts, BOOK, plan.route)
        assert replace(again, rules_version="") == replace(plan.determination, rules_version="")
        assert (plan.code == "as_is") == (plan.facts == known)
        assert plan.text["en"]
        assert plan.text["zh"]


@given(facts())
def test_the_cheapest_comes_first_and_keeping_it_inside_last(known: Facts) -> None:
    found = made(known)
    if known.recipient.country == "CN":
        assert [plan.code for plan in found] == ["as_is"]
        return
    assert found[-1].code == "keep_inside"
    for earlier, later in pairwise(found[:-1]):
        assert earlier.working_days <= later.working_days


@given(facts())
def test_no_plan_splits_a_transfer(known: Facts) -> None:
    asked = known.transfer.persons + known.transfer.sensitive_persons
    for plan in made(known):
        sent = plan.facts.transfer.persons + plan.facts.transfer.sensitive_persons
        assert sent <= asked
        assert plan.facts.handler == known.handler
        assert plan.facts.ledger == known.ledger
        assert plan.facts.as_of == known.as_of
        if 0 < sent < asked:
            assert NO_SPLITTING in plan.conditions


@given(facts())
def test_a_change_is_only_proposed_where_it_makes_something_easier(known: Facts) -> None:
    found = made(known)
    as_is = [plan for plan in found if plan.code == "as_is"]
    for plan in found:
        if plan.code not in {"as_is", "keep_inside"} and as_is:
            asked, now = as_is[0].determination.mechanism.strictness, plan.determination.mechanism.strictness
            assert now < asked or (now == asked and plan.working_days < min(one.working_days for one in as_is))


@given(facts())
def test_important_data_is_never_argued_away(known: Facts) -> None:
    weighty = {"core", "important"}
    for plan in made(known):
        assert weighty & plan.facts.dataset.tags == weighty & known.dataset.tags
        if weighty & known.dataset.tags:
            assert not plan.code.startswith("claim_necessity")


def test_a_contract_a_certificate_fewer_persons_or_a_necessity() -> None:
    found = made(a_case(transfer={"persons": 150_000}))
    assert {(plan.code, plan.route) for plan in found} == {
        ("as_is", "standard_contract"),
        ("as_is", "certification"),
        ("reduce_persons", None),
        ("drop_personal_fields", None),
        ("claim_necessity:contract", None),
        ("claim_necessity:hr", None),
        ("claim_necessity:emergency", None),
        ("claim_necessity:statutory_duty", None),
        ("keep_inside", None),
    }
    fewer = next(plan for plan in found if plan.code == "reduce_persons")
    assert fewer.facts.transfer.persons == 99_999
    contract = next(plan for plan in found if plan.route == "standard_contract")
    assert contract.stages == ("data_owner", "privacy", "legal")
    assert contract.working_days == 40 + 1 + 2 + 2


def test_sensitive_fields_are_left_out_alone_or_with_fewer_persons() -> None:
    few = made(a_case(dataset={"tags": ["sensitive"]}, transfer={"persons": 0, "sensitive_persons": 500}))
    plan = next(one for one in few if one.code == "drop_sensitive_fields")
    assert (plan.facts.transfer.persons, plan.facts.transfer.sensitive_persons) == (500, 0)
    assert plan.determination.exemption == "small_volume"
    many = a_case(dataset={"tags": ["sensitive"]}, transfer={"persons": 0, "sensitive_persons": 200_000})
    both = next(one for one in made(many) if one.code == "drop_sensitive_fields+reduce_persons")
    assert [(change.pointer, change.before, change.after) for change in both.changes] == [
        ("/dataset/tags", ["sensitive"], ["personal"]),
        ("/transfer/sensitive_persons", 200_000, 0),
        ("/transfer/persons", 0, 99_999),
    ]


def test_the_negative_list_and_foreign_data_have_their_ways() -> None:
    zone = a_case(handler={"in_ftz": True}, transfer={"persons": 150_000})
    assert "check_negative_list" in codes(zone)
    foreign = a_case(dataset={"origin": "foreign"}, transfer={"persons": 2_000_000})
    assert "keep_domestic_data_out" in codes(foreign)


def test_core_data_takes_the_state_and_a_restricted_recipient_takes_nothing_personal() -> None:
    core = made(a_case(dataset={"tags": ["core"]}, transfer={"persons": 0}))
    assert [(plan.code, plan.route) for plan in core] == [("as_is", "state_approval"), ("keep_inside", None)]
    assert codes(a_case(recipient={"restricted": True})) == ["drop_personal_fields", "keep_inside"]


def test_a_necessity_that_is_claimed_already_is_not_proposed() -> None:
    claimed = a_case(transfer={"persons": 150_000, "necessity": "contract", "legal_basis": "contract"})
    assert not [code for code in codes(claimed) if code.startswith("claim")]
    consent = a_case(transfer={"persons": 150_000, "legal_basis": "contract"})
    plan = next(one for one in made(consent) if one.code == "claim_necessity:contract")
    assert [change.pointer for change in plan.changes] == ["/transfer/necessity"]


@pytest.mark.parametrize("kind", ["stages", "evidence", "changes"])
def test_typical_times_are_days(kind: str) -> None:
    assert all(days > 0 for days in TIMES[kind].values())


@given(facts())
def test_every_plan_gives_what_it_says_when_its_facts_are_asked(known: Facts) -> None:
    told = plans_of(FactsIn.model_validate(body_of(known)), known.as_of, BOOK)
    for plan in told.plans:
        again = determination_of(FactsIn.model_validate(plan.facts), known.as_of, BOOK)
        assert (again.mechanism, again.exemption) == (plan.mechanism, plan.exemption)
        changed = body_of(known)
        for change in plan.changes:
            _, part, name = change.pointer.split("/")
            assert changed[part][name] == change.before
            changed[part][name] = change.after
        assert changed == plan.facts


def test_both_kinds_of_persons_are_reduced_where_one_alone_would_not_do() -> None:
    many = a_case(dataset={"tags": ["sensitive"]}, transfer={"persons": 1_200_000, "sensitive_persons": 12_000})
    fewer = next(plan for plan in made(many) if plan.code == "reduce_persons")
    assert (fewer.facts.transfer.persons, fewer.facts.transfer.sensitive_persons) == (999_999, 9_999)
    assert fewer.determination.mechanism is Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION
    assert "999,999 persons instead of 1,200,000" in fewer.text["en"]
    assert "9,999 persons with sensitive information instead of 12,000" in fewer.text["en"]
    assert NO_SPLITTING in fewer.conditions


def test_fewer_persons_served_before_2024_too_with_the_year_before_counted() -> None:
    then = a_case(date(2023, 7, 1), transfer={"persons": 90_000}, ledger={"previous_year": {"persons": 20_000}})
    fewer = [plan for plan in made(then) if plan.code == "reduce_persons"]
    assert {plan.facts.transfer.persons for plan in fewer} == {79_999}
    holder = replace(then, handler=replace(then.handler, pi_subjects=1_000_000))
    assert "reduce_persons" not in codes(holder)


def test_nobody_is_left_where_the_year_is_full() -> None:
    full = a_case(transfer={"persons": 500}, ledger={"this_year": {"persons": 99_999}})
    assert "reduce_persons" not in codes(full)


def test_what_is_told_of_children_stays_sensitive_whatever_fields_are_left() -> None:
    minors = a_case(
        dataset={"tags": ["sensitive"], "contains_minors": True}, transfer={"persons": 0, "sensitive_persons": 500}
    )
    plan = next(one for one in made(minors) if one.code == "drop_sensitive_fields")
    assert not plan.facts.dataset.contains_minors
    assert "/dataset/contains_minors" in [change.pointer for change in plan.changes]
    assert any("under 14" in condition["en"] for condition in plan.conditions)


def test_every_instrument_that_it_takes_is_named() -> None:
    asked = a_case(recipient={"kind": "judicial_or_enforcement"}, transfer={"persons": 150_000})
    plan = next(one for one in made(asked) if one.route == "standard_contract")
    assert "approval of the competent authority" in plan.text["en"]
    assert "standard contract with the recipient" in plan.text["en"]


def test_a_necessity_is_split_off_and_the_rest_counted() -> None:
    plan = next(one for one in made(a_case(transfer={"persons": 150_000})) if one.code == "claim_necessity:hr")
    assert "Split off what is necessary (hr)" in plan.text["en"]
    assert "everybody in it counted" in plan.text["en"]


def test_papers_come_with_their_typical_days() -> None:
    told = plans_of(FactsIn.model_validate(body_of(a_case(transfer={"persons": 150_000}))), TODAY, BOOK)
    contract = next(plan for plan in told.plans if plan.route == "standard_contract")
    assert {paper.code: paper.working_days for paper in contract.evidence}["standard_contract"] == 40


def test_what_contradicts_itself_is_not_proposed_as_it_is() -> None:
    nobody = a_case(dataset={"tags": ["sensitive"]}, transfer={"persons": 500, "sensitive_persons": 0})
    proposed = codes(nobody)
    assert "as_is" not in proposed
    assert {"drop_sensitive_fields", "drop_personal_fields"} <= set(proposed)
