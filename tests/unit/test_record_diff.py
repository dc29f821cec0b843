"""What a change of the register changes, and whether it can deny."""

from __future__ import annotations

from typing import Any

import pytest

from service.law import freeing
from service.law.schemas import HandlerFactsIn
from service.registry.record_diff import (
    HARMLESS,
    confirmed_group_after,
    diff_of,
    is_group_confirmed,
    pending_values,
    plan_pending,
)
from service.registry.schemas import DatasetIn, HandlerIn, RecipientIn

BEFORE = {
    "datasets": {
        "title": "T",
        "owner": "O",
        "description": None,
        "scale": 1,
        "fields": [],
        "facts": {"origin": "domestic"},
    },
    "handlers": {"name": "N", "uscc": None, "group": None, "facts": {"ciio": False}},
    "recipients": {"name": "N", "country": "SG", "kind": "company", "group": None, "facts": {"in_gba": False}},
}


@pytest.mark.parametrize(
    ("thing", "after", "can_deny"),
    [
        ("datasets", {"title": "Other"}, False),
        ("datasets", {"owner": "Other", "description": "D", "scale": 2}, False),
        ("datasets", {"fields": [{"name": "a"}]}, True),
        ("datasets", {"title": "Other", "facts": {"origin": "foreign"}}, True),
        ("handlers", {"name": "Other", "uscc": "1", "group": "G"}, False),
        ("handlers", {"facts": {"ciio": True}}, True),
        ("recipients", {"group": "G"}, False),
        ("recipients", {"name": "Other"}, True),
        ("recipients", {"country": "DE"}, True),
        ("recipients", {"kind": "person"}, True),
        ("recipients", {"facts": {"in_gba": True}}, True),
    ],
)
def test_a_change_names_what_differs_and_whether_it_can_deny(thing: str, after: dict[str, Any], can_deny: bool) -> None:  # noqa: FBT001
    change = diff_of(thing, BEFORE[thing], BEFORE[thing] | after)
    assert change is not None
    assert (change.after, change.can_deny) == (after, can_deny)
    assert change.details == {"before": {name: BEFORE[thing][name] for name in after}, "after": after}


@pytest.mark.parametrize("thing", sorted(BEFORE))
def test_what_is_the_same_changes_nothing(thing: str) -> None:
    assert diff_of(thing, BEFORE[thing], dict(BEFORE[thing])) is None


@pytest.mark.parametrize(
    ("thing", "shape"), [("datasets", DatasetIn), ("handlers", HandlerIn), ("recipients", RecipientIn)]
)
def test_what_is_harmless_is_a_member_and_no_fact(thing: str, shape: type) -> None:
    members = {*shape.model_fields, *({"confirmed_group"} if thing == "handlers" else ())}  # type: ignore[attr-defined]
    assert HARMLESS[thing] < members
    assert not HARMLESS[thing] & {"facts", "fields", "country", "kind", "key", "handler", *HandlerFactsIn.model_fields}


@pytest.mark.parametrize(
    ("group", "confirmed", "is_the_one"),
    [("Lanting", "lanting", True), ("lanting", "other", False), (None, "lanting", False), ("lanting", None, False)],
)
def test_a_group_is_confirmed_where_it_is_the_one_agreed_on(
    group: str | None, confirmed: str | None, *, is_the_one: bool
) -> None:
    assert is_group_confirmed(group, confirmed) is is_the_one


@pytest.mark.parametrize(
    ("group", "confirmed", "is_named", "is_for_all", "after"),
    [
        ("new", "old", True, True, "new"),
        (None, "old", True, True, None),
        ("new", "old", True, False, None),
        ("OLD", "old", True, False, "old"),
        ("old", "old", False, True, "old"),
        ("new", "old", False, True, None),
    ],
)
def test_only_a_registrar_of_all_handlers_agrees_on_a_group_by_naming_it(
    group: str | None, confirmed: str | None, after: str | None, *, is_named: bool, is_for_all: bool
) -> None:
    assert confirmed_group_after(group, confirmed, is_named=is_named, is_for_all=is_for_all) == after


WAITS: dict[str, Any] = {
    "ciio": {"value": False, "change": "fc_1"},
    "in_ftz": {"value": True, "change": "fc_0"},
    "platform_users": {"value": 1, "change": "fc_2"},
}


def test_what_waits_is_told_with_its_value() -> None:
    assert pending_values(WAITS) == {"ciio": False, "in_ftz": True, "platform_users": 1}


def test_a_statement_that_frees_waits_and_overtakes_what_waited_of_the_same_fact() -> None:
    change = freeing.FactChange(
        facts={"platform_users": 9, "in_ftz": False, "ciio": True},
        pending={"platform_users": 2},
        overtaken=frozenset({"platform_users", "in_ftz"}),
    )
    left = plan_pending("hd_1", "hd_1", change, WAITS, ["pr_b", "pr_a"], iter(["fc_3"]))
    assert left is not None
    pending = {"ciio": WAITS["ciio"], "platform_users": {"value": 2, "change": "fc_3"}}
    added = {"id": "fc_3", "subject": "hd_1", "handler": "hd_1", "fact": "platform_users", "before": 9, "after": 2}
    assert (left.pending, left.added) == (pending, [added])
    assert left.details == {
        "changes": {"platform_users": {"change": "fc_3", "before": 9, "after": 2}},
        "overtaken": ["fc_0", "fc_2"],
        "askers": ["pr_a", "pr_b"],
        "pending_facts": pending,
    }


def test_a_statement_that_frees_nothing_and_overtakes_nothing_leaves_nothing_to_wait() -> None:
    change = freeing.FactChange(facts={"ciio": True}, pending={}, overtaken=frozenset())
    assert plan_pending("hd_1", "hd_1", change, WAITS, ["pr_a"], iter(())) is None


def test_a_statement_may_only_put_aside_what_waited() -> None:
    change = freeing.FactChange(facts={"ciio": True}, pending={}, overtaken=frozenset({"ciio"}))
    left = plan_pending("rc_1", None, change, {"ciio": WAITS["ciio"]}, ["pr_a"], iter(()))
    assert left is not None
    assert (left.pending, left.added, left.overtaken) == ({}, [], ["fc_1"])
