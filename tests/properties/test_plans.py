"""What-if: plans are lawful, sorted, honest, and never a way around a threshold."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given

from service.law.determination import Mechanism, determine
from service.law.facts import Facts
from service.plans.planning import NO_SPLITTING, Plan, plans
from service.plans.routes import typical_times
from tests.law.builders import a_case
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
