"""Who may give, confirm and take away which role; when a grant stands; who must remain: every case, without a database."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service.access import grant_rules
from service.access.caller import REVIEWERS, Role
from service.access.grant_rules import EVERYWHERE, Actor, AdminGrant, GrantPeriod, GrantRequest, GrantState, grant_state

NOON = datetime(2026, 7, 1, 4, 0, tzinfo=UTC)
"""Noon in Shanghai."""

TODAY = date(2026, 7, 1)
A_DAY = timedelta(days=1)
FOREVER = GrantPeriod(NOON, TODAY, None, NOON, None)


def midnight(day: date) -> datetime:
    """Return the first moment of a day in Shanghai."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=8)


# States


@pytest.mark.parametrize(
    ("life", "wanted"),
    [
        (FOREVER, GrantState.STANDING),
        (replace(FOREVER, first_day=TODAY + A_DAY), GrantState.UPCOMING),
        (replace(FOREVER, first_day=TODAY - A_DAY, last_day=TODAY), GrantState.STANDING),
        (replace(FOREVER, first_day=TODAY - A_DAY, last_day=TODAY - A_DAY), GrantState.LAPSED),
        (replace(FOREVER, effective_at=None), GrantState.PENDING),
        (replace(FOREVER, effective_at=None, first_day=TODAY + A_DAY), GrantState.PENDING),
        (replace(FOREVER, effective_at=None, requested_at=NOON - grant_rules.PENDING_PERIOD), GrantState.LAPSED),
        (replace(FOREVER, effective_at=None, last_day=TODAY - A_DAY), GrantState.LAPSED),
        (replace(FOREVER, ended_at=NOON), GrantState.WITHDRAWN),
        (replace(FOREVER, effective_at=None, ended_at=NOON), GrantState.WITHDRAWN),
        (replace(FOREVER, last_day=TODAY - A_DAY, ended_at=NOON), GrantState.LAPSED),
        (replace(FOREVER, last_day=TODAY, ended_at=NOON), GrantState.WITHDRAWN),
    ],
)
def test_a_grant_stands_where_its_days_and_its_confirmation_put_it(life: GrantPeriod, wanted: GrantState) -> None:
    assert grant_state(life, NOON) is wanted


def test_a_grant_begins_and_ends_at_midnight_in_shanghai() -> None:
    life = replace(FOREVER, first_day=TODAY + A_DAY, last_day=TODAY + A_DAY)
    begins, ends = midnight(TODAY + A_DAY), midnight(TODAY + 2 * A_DAY)
    moment = timedelta(microseconds=1)
    assert [grant_state(life, at) for at in (begins - moment, begins, ends - moment, ends)] == [
        GrantState.UPCOMING,
        GrantState.STANDING,
        GrantState.STANDING,
        GrantState.LAPSED,
    ]


def test_a_pending_grant_waits_for_a_week() -> None:
    life = replace(FOREVER, effective_at=None)
    end = NOON + timedelta(days=7)
    assert [grant_state(life, at) for at in (end - timedelta(microseconds=1), end)] == [
        GrantState.PENDING,
        GrantState.LAPSED,
    ]


def test_what_was_taken_away_stays_as_it_was_whenever_it_is_looked_at() -> None:
    for life in (replace(FOREVER, ended_at=NOON), replace(FOREVER, last_day=TODAY - A_DAY, ended_at=NOON)):
        assert grant_state(life, NOON) is grant_state(life, NOON + timedelta(days=4000))


@pytest.mark.parametrize(
    ("first", "last", "wrong"),
    [
        (None, None, []),
        (TODAY, TODAY, []),
        (TODAY + grant_rules.MAX_AHEAD, None, []),
        (None, TODAY + grant_rules.MAX_DURATION, []),
        (TODAY - A_DAY, None, ["valid_from"]),
        (TODAY + grant_rules.MAX_AHEAD + A_DAY, None, ["valid_from"]),
        (None, TODAY - A_DAY, ["valid_until"]),
        (TODAY + A_DAY, TODAY, ["valid_until"]),
        (None, TODAY + grant_rules.MAX_DURATION + A_DAY, ["valid_until"]),
        (TODAY - A_DAY, TODAY - A_DAY, ["valid_from", "valid_until"]),
    ],
)
def test_days_that_do_not_fit_are_named(first: date | None, last: date | None, wrong: list[str]) -> None:
    assert [field for field, _ in grant_rules.find_day_faults(first, last, TODAY)] == wrong


# Who may do what

ROLES = [str(role) for role in Role]
TWO = {"admin", *map(str, REVIEWERS)}
ADMINS = [EVERYWHERE, frozenset({"h"}), frozenset({"other"}), frozenset[str]()]


def test_the_roles_that_take_two_are_those_of_reviewers_and_admins() -> None:
    assert {role for role in ROLES if grant_rules.requires_second_admin(role)} == TWO
    assert {role for role in ROLES if not grant_rules.is_role_possible(role, "system")} == {
        str(role) for role in REVIEWERS
    }
    assert all(grant_rules.is_role_possible(role, "person") for role in ROLES)


def test_who_may_give_a_role_is_told_case_by_case() -> None:
    for role, handler, kind, reach, who in itertools.product(
        ROLES, [None, "h"], ["person", "system", "operator"], ADMINS, ["a", "g", "d"]
    ):
        by = Actor(who, kind, reach)
        bar = grant_rules.grant_denial(by, GrantRequest(role, handler, "g", "person", frozenset({"d"})))
        reaches = reach == EVERYWHERE or (handler == "h" and "h" in reach)
        alone = role not in TWO or (kind == "person" and who != "d")
        assert (bar is None) is (kind == "operator" or (who != "g" and reaches and alone)), (by, role, handler, bar)


def test_who_may_confirm_a_role_is_told_case_by_case() -> None:
    for role, handler, kind, reach, who in itertools.product(
        sorted(TWO), [None, "h"], ["person", "system"], ADMINS, ["a", "b", "g", "d"]
    ):
        by = Actor(who, kind, reach)
        bar = grant_rules.confirm_denial(
            by, GrantRequest(role, handler, "g", "person", frozenset({"d"})), frozenset({"a"})
        )
        reaches = reach == EVERYWHERE or (role != "admin" and handler == "h" and "h" in reach)
        assert (bar is None) is (who == "b" and kind == "person" and reaches), (by, role, handler, bar)


@pytest.mark.parametrize("seen", ["a", "g", "d"])
def test_a_key_that_one_of_those_concerned_has_seen_confirms_nothing(seen: str) -> None:
    ask = GrantRequest("reviewer:legal", None, "g", "person", frozenset({"d"}))
    by = Actor("b", "person", EVERYWHERE, frozenset({"x", seen}))
    assert grant_rules.confirm_denial(by, ask, frozenset({"a"})) is not None
    assert grant_rules.confirm_denial(replace(by, seen_by=frozenset({"x"})), ask, frozenset({"a"})) is None


@pytest.mark.parametrize("seen", ["g", "d"])
def test_a_key_that_its_user_to_be_has_seen_asks_for_nothing_for_them_nor_for_what_takes_two(seen: str) -> None:
    by = Actor("a", "person", EVERYWHERE, frozenset({seen}))
    for role in ROLES:
        bar = grant_rules.grant_denial(by, GrantRequest(role, None, "g", "person", frozenset({"d"})))
        assert (bar is not None) is (role in TWO or seen == "g")


def test_whoever_has_seen_the_key_that_was_asked_with_does_not_confirm() -> None:
    ask = GrantRequest("admin", None, "g", "person")
    assert grant_rules.confirm_denial(Actor("b", "person", EVERYWHERE), ask, frozenset({"a", "b"})) is not None


def test_to_take_away_needs_the_role_for_the_handler_and_no_second_admin() -> None:
    for reach, handler in itertools.product(ADMINS, [None, "h"]):
        allowed = reach == EVERYWHERE or (handler == "h" and "h" in reach)
        assert (grant_rules.withdraw_denial(Actor("a", "system", reach), handler) is None) is allowed
    assert grant_rules.withdraw_denial(Actor("operator", "operator"), None) is None


# Lending for somebody else


def test_who_may_ask_that_roles_of_somebody_else_are_lent() -> None:
    for kind, reach, who in itertools.product(["person", "system"], ADMINS, ["a", "d"]):
        allowed = kind == "person" and reach == EVERYWHERE and who != "d"
        assert (grant_rules.lend_for_denial(Actor(who, kind, reach), "d") is None) is allowed
    assert grant_rules.lend_for_denial(Actor("a", "person", EVERYWHERE, frozenset({"d"})), "d") is not None


def test_the_delegator_or_a_second_admin_confirms_that_roles_are_lent() -> None:
    for kind, reach, who, seen in itertools.product(
        ["person", "system"], ADMINS, ["a", "b", "g", "d"], [None, "x", "a", "d"]
    ):
        by = Actor(who, kind, reach, frozenset({seen} if seen else ()))
        bar = grant_rules.confirm_lending_denial(by, delegator="g", delegate="d", askers=frozenset({"a"}))
        entitled = who == "g" or (who == "b" and reach == EVERYWHERE)
        assert (bar is None) is (kind == "person" and entitled and seen in {None, "x"}), (by, bar)


# Who must remain

KEEPER = AdminGrant("gr_1", "pr_1", "person", is_enabled=True, source="admin", period=FOREVER)
OTHERS = [
    replace(KEEPER, grant="gr_2", principal="pr_2", kind="system"),
    replace(KEEPER, grant="gr_2", principal="pr_2", is_enabled=False),
    replace(KEEPER, grant="gr_2", principal="pr_2", source="group"),
    replace(KEEPER, grant="gr_2", principal="pr_2", period=replace(FOREVER, last_day=TODAY + timedelta(days=300))),
    replace(KEEPER, grant="gr_2", principal="pr_2", period=replace(FOREVER, effective_at=None)),
    replace(KEEPER, grant="gr_2", principal="pr_2", period=replace(FOREVER, first_day=TODAY + A_DAY)),
    replace(KEEPER, grant="gr_2", principal="pr_2", period=replace(FOREVER, ended_at=NOON)),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("going", ["gr_1", "pr_1"])
def test_the_last_admin_on_whom_one_can_rely_stays(other: AdminGrant, going: str) -> None:
    assert not grant_rules.has_remaining_admin([KEEPER, other], going, NOON)
    assert grant_rules.has_remaining_admin([KEEPER, other], "gr_2", NOON)
    lasting = replace(KEEPER, grant="gr_3", principal="pr_3", source="operator")
    assert grant_rules.has_remaining_admin([KEEPER, other, lasting], going, NOON)


def test_where_nobody_could_be_relied_on_nobody_is_kept() -> None:
    assert grant_rules.has_remaining_admin(OTHERS, "gr_2", NOON)
    assert grant_rules.has_remaining_admin([], "gr_1", NOON)


# Break-glass access


def test_the_glass_is_broken_by_people_who_are_admins_there() -> None:
    for kind, reach, handler in itertools.product(["person", "system"], ADMINS, [None, "h"]):
        allowed = kind == "person" and (reach == EVERYWHERE or (handler == "h" and "h" in reach))
        assert (grant_rules.break_denial(Actor("a", kind, reach), handler) is None) is allowed


def test_whoever_opened_it_or_an_admin_closes_it() -> None:
    for reach, handler, who in itertools.product(ADMINS, [None, "h"], ["a", "b"]):
        allowed = who == "a" or reach == EVERYWHERE or (handler == "h" and "h" in reach)
        assert (grant_rules.close_denial(Actor(who, "person", reach), "a", handler) is None) is allowed


def test_it_ends_after_its_hours() -> None:
    assert grant_rules.break_glass_end(NOON, 8) == NOON + timedelta(hours=8)
    assert {glass.value for glass in grant_rules.BreakGlassRole} == {"auditor", "stop"}


# Delegations


@pytest.mark.parametrize(
    ("first", "last", "effective_at", "ended_at", "lends", "is_over"),
    [
        (TODAY, TODAY, NOON, None, True, False),
        (TODAY + A_DAY, TODAY + A_DAY, NOON, None, False, False),
        (TODAY - A_DAY, TODAY - A_DAY, NOON, None, False, True),
        (TODAY, TODAY, None, None, False, False),
        (TODAY, TODAY, NOON, NOON, False, True),
    ],
)
def test_a_delegation_lends_roles_on_its_days_once_it_is_confirmed_and_until_it_is_ended(
    first: date,
    last: date,
    effective_at: datetime | None,
    ended_at: datetime | None,
    *,
    lends: bool,
    is_over: bool,
) -> None:
    assert (
        grant_rules.is_delegation_in_force(first, last, effective_at=effective_at, ended_at=ended_at, today=TODAY)
        is lends
    )
    assert grant_rules.is_delegation_over(last, ended_at, TODAY) is is_over
