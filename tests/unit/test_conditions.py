"""Conditions narrow, and never widen."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.law.facts import Count
from service.transfers.conditions import Conditions, Extent, emptied_members, faults, narrow

BEGINS = date(2026, 12, 1)
WHOLE = Extent(Count(100, 10), None, None, ("rc_1",), BEGINS, date(2027, 11, 30))


def test_each_condition_narrows_what_it_names() -> None:
    tied = [
        Conditions(persons=50, fields=("city", "amount")),
        Conditions(sensitive_persons=0, fields=("city",), valid_days=30),
        Conditions(systems=("crm",), valid_until=date(2027, 1, 31), recipients=("rc_1", "rc_2")),
    ]
    found = narrow(WHOLE, tied, BEGINS)
    assert found == Extent(Count(50, 0), ("city",), ("crm",), ("rc_1",), BEGINS, date(2026, 12, 30))


def test_a_recipient_who_is_not_named_is_left_out() -> None:
    assert narrow(WHOLE, [Conditions(recipients=("rc_2",))], BEGINS).recipients == ()


def test_conditions_come_back_as_they_were_stored() -> None:
    stored = {
        "persons": 5,
        "fields": ["city"],
        "valid_until": "2027-01-31",
        "terms": ["Report monthly"],
        "systems": None,
    }
    assert Conditions.of(stored) == Conditions(
        persons=5, fields=("city",), valid_until=date(2027, 1, 31), terms=("Report monthly",)
    )
    assert Conditions.of(None) == Conditions()
    assert Conditions.of({"valid_until": date(2027, 1, 31)}).valid_until == date(2027, 1, 31)


@pytest.mark.parametrize(
    ("condition", "member"),
    [
        (Conditions(persons=101), "persons"),
        (Conditions(sensitive_persons=11), "sensitive_persons"),
        (Conditions(fields=("phone",)), "fields"),
        (Conditions(systems=("other",)), "systems"),
        (Conditions(recipients=("rc_2",)), "recipients"),
        (Conditions(valid_until=date(2026, 11, 30)), "valid_until"),
        (Conditions(valid_until=date(2027, 12, 1)), "valid_until"),
    ],
)
def test_a_condition_that_goes_beyond_the_request_is_refused(condition: Conditions, member: str) -> None:
    extent = replace(WHOLE, systems=("crm",))
    assert [found[0] for found in faults(condition, extent, ["city", "amount"])] == [member]


def test_a_condition_within_the_request_is_taken() -> None:
    within = Conditions(100, 10, ("city",), ("crm",), ("rc_1",), 10, date(2026, 12, 1), ("Ask before",))
    assert faults(within, WHOLE, ["city", "amount"]) == []
    assert faults(within, replace(WHOLE, fields=("city",)), ["city", "amount"]) == []


@pytest.mark.parametrize(
    ("tied", "empty"),
    [
        ([Conditions(persons=0)], []),
        ([Conditions(persons=0), Conditions(sensitive_persons=0)], ["persons"]),
        ([Conditions(fields=("city",)), Conditions(fields=("amount",))], ["fields"]),
        ([Conditions(systems=("crm",)), Conditions(systems=("erp",))], ["systems"]),
        ([Conditions(recipients=("rc_2",))], ["recipients"]),
        ([Conditions(valid_until=date(2026, 12, 1))], []),
        ([Conditions(valid_until=date(2026, 11, 30))], ["valid_until"]),
    ],
)
def test_conditions_that_leave_nothing_are_named(tied: list[Conditions], empty: list[str]) -> None:
    assert emptied_members(WHOLE, narrow(WHOLE, tied, BEGINS), BEGINS) == empty


def test_nothing_is_taken_from_a_request_for_nobody() -> None:
    nobody = replace(WHOLE, quota=Count())
    assert emptied_members(nobody, nobody, BEGINS) == []


limits = st.none() | st.integers(0, 200)
names = st.none() | st.sets(st.sampled_from(["a", "b", "c"])).map(lambda found: tuple(sorted(found)))
conditions = st.builds(
    Conditions,
    persons=limits,
    sensitive_persons=limits,
    fields=names,
    systems=names,
    valid_days=st.none() | st.integers(1, 500),
    valid_until=st.none() | st.dates(BEGINS, date(2028, 1, 1)),
)


@given(st.lists(conditions, max_size=5), conditions)
def test_one_more_condition_never_lets_more_out(tied: list[Conditions], more: Conditions) -> None:
    before, after = narrow(WHOLE, tied, BEGINS), narrow(WHOLE, [*tied, more], BEGINS)
    assert after.quota.persons <= before.quota.persons
    assert after.quota.sensitive_persons <= before.quota.sensitive_persons
    assert after.valid_until <= before.valid_until
    for was, now in ((before.fields, after.fields), (before.systems, after.systems)):
        assert was is None or (now is not None and set(now) <= set(was))


@given(st.lists(conditions, max_size=5))
def test_the_order_of_the_approvals_does_not_matter(tied: list[Conditions]) -> None:
    one, other = narrow(WHOLE, tied, BEGINS), narrow(WHOLE, tied[::-1], BEGINS)
    assert one == replace(other, fields=one.fields, systems=one.systems)
    assert set(one.fields or ()) == set(other.fields or ())
