"""What a change of the register changes, and whether it can deny."""

from __future__ import annotations

from typing import Any

import pytest

from service.law.schemas import HandlerFactsIn
from service.registry.changes import HARMLESS, change_of
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
    change = change_of(thing, BEFORE[thing], BEFORE[thing] | after)
    assert change is not None
    assert (change.after, change.can_deny) == (after, can_deny)
    assert change.details == {"before": {name: BEFORE[thing][name] for name in after}, "after": after}


@pytest.mark.parametrize("thing", sorted(BEFORE))
def test_what_is_the_same_changes_nothing(thing: str) -> None:
    assert change_of(thing, BEFORE[thing], dict(BEFORE[thing])) is None


@pytest.mark.parametrize(
    ("thing", "shape"), [("datasets", DatasetIn), ("handlers", HandlerIn), ("recipients", RecipientIn)]
)
def test_what_is_harmless_is_a_member_and_no_fact(thing: str, shape: type) -> None:
    members = {*shape.model_fields, *({"confirmed_group"} if thing == "handlers" else ())}  # type: ignore[attr-defined]
    assert HARMLESS[thing] < members
    assert not HARMLESS[thing] & {"facts", "fields", "country", "kind", "key", "handler", *HandlerFactsIn.model_fields}
