"""The shape that callers send: no unknown field, no value of another type, a day written one way."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from service.law.facts import DatasetFacts, HandlerFacts, Ledger, Method, RecipientFacts, Tag, TransferFacts
from service.law.schemas import MAX_PERSONS, FactsIn
from tests.law.builders import TODAY

BODY: dict[str, Any] = {"handler": {"ciio": False}, "recipient": {"country": "SG"}}


def places(body: dict[str, Any]) -> list[tuple[Any, ...]]:
    with pytest.raises(ValidationError) as refused:
        FactsIn.model_validate(body)
    return [error["loc"] for error in refused.value.errors()]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"handler": {"ciio": 1}}, ("handler", "ciio")),
        ({"handler": {"ciio": "false"}}, ("handler", "ciio")),
        ({"handler": {"ciio": None}}, ("handler", "ciio")),
        ({"handler": {}}, ("handler", "ciio")),
        ({"handler": None}, ("handler",)),
        ({"handler": {"ciio": False, "platform_users": True}}, ("handler", "platform_users")),
        ({"handler": {"ciio": False, "pi_subjects": "5"}}, ("handler", "pi_subjects")),
        ({"handler": {"ciio": False, "in_ftz": 0}}, ("handler", "in_ftz")),
        ({"dataset": {"domestic_data_added": "no"}}, ("dataset", "domestic_data_added")),
        ({"dataset": {"contains_minors": 1}}, ("dataset", "contains_minors")),
        ({"dataset": {"origin": "abroad"}}, ("dataset", "origin")),
        ({"dataset": {"ftz_list": "unknown"}}, ("dataset", "ftz_list")),
        ({"dataset": {"tags": ["secret"]}}, ("dataset", "tags", 0)),
        ({"dataset": {"tags": "core"}}, ("dataset", "tags")),
        ({"dataset": {"tags": ["core"] * 33}}, ("dataset", "tags")),
        ({"recipient": {}}, ("recipient", "country")),
        ({"recipient": {"country": 65}}, ("recipient", "country")),
        ({"recipient": {"country": "SGP"}}, ("recipient", "country")),
        ({"recipient": {"country": "SG", "kind": "court"}}, ("recipient", "kind")),
        ({"recipient": {"country": "SG", "restricted": "yes"}}, ("recipient", "restricted")),
        ({"transfer": {"persons": "5"}}, ("transfer", "persons")),
        ({"transfer": {"persons": 5.0}}, ("transfer", "persons")),
        ({"transfer": {"persons": True}}, ("transfer", "persons")),
        ({"transfer": {"persons": None}}, ("transfer", "persons")),
        ({"transfer": {"persons": -1}}, ("transfer", "persons")),
        ({"transfer": {"persons": MAX_PERSONS + 1}}, ("transfer", "persons")),
        ({"transfer": {"sensitive_persons": True}}, ("transfer", "sensitive_persons")),
        ({"transfer": {"necessity": "whim"}}, ("transfer", "necessity")),
        ({"transfer": {"method": "post"}}, ("transfer", "method")),
        ({"transfer": {"legal_basis": None}}, ("transfer", "legal_basis")),
        ({"ledger": {"this_year": {"persons": "1"}}}, ("ledger", "this_year", "persons")),
        ({"ledger": {"previous_year": {"sensitive_persons": -1}}}, ("ledger", "previous_year", "sensitive_persons")),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_stands(change: dict[str, Any], place: tuple[Any, ...]) -> None:
    assert places(BODY | change) == [place]


@pytest.mark.parametrize(
    "place",
    [
        ("extra",),
        ("handler", "extra"),
        ("dataset", "extra"),
        ("recipient", "extra"),
        ("transfer", "extra"),
        ("ledger", "extra"),
        ("ledger", "this_year", "extra"),
        ("ledger", "previous_year", "extra"),
    ],
)
def test_an_unknown_field_is_refused_where_it_stands(place: tuple[str, ...]) -> None:
    body: dict[str, Any] = {"handler": {"ciio": False}, "recipient": {"country": "SG"}}
    here = body
    for step in place[:-1]:
        here = here.setdefault(step, {})
    here[place[-1]] = 1
    assert places(body) == [place]


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-24T00:00:00",
        "2026-11-24 ",
        "2026-1-24",
        "20261124",
        "24.11.2026",
        "2026/11/24",
        "2026-W48-2",
        "2026-02-30",
        "2026-13-01",
        "１234-11-24",
        "1763942400",  # midnight of 2025-11-24, in seconds since 1970
        1763942400,
        1763942400.0,
        True,
        ["2026-11-24"],
        "",
    ],
)
def test_a_day_is_written_in_one_way(written: object) -> None:
    assert places(BODY | {"as_of": written}) == [("as_of",)]


def test_a_day_so_written_is_that_day() -> None:
    assert FactsIn.model_validate(BODY | {"as_of": "2024-02-29"}).facts(TODAY).as_of == date(2024, 2, 29)


def test_the_day_is_today_where_none_is_stated() -> None:
    assert FactsIn.model_validate(BODY).facts(TODAY).as_of == TODAY


def test_the_defaults_are_those_of_the_specification() -> None:
    facts = FactsIn.model_validate(BODY).facts(TODAY)
    assert facts.handler == HandlerFacts(
        ciio=False, pi_subjects=None, in_ftz=False, in_gba=False, listing_abroad=False, platform_users=0
    )
    assert facts.dataset == DatasetFacts()
    assert facts.dataset.domestic_data_added
    assert facts.dataset.ftz_list is None
    assert facts.recipient == RecipientFacts("SG")
    assert facts.transfer == TransferFacts()
    assert facts.transfer.legal_basis == "consent"
    assert facts.ledger == Ledger()


def test_tags_are_a_set() -> None:
    sent = BODY | {"dataset": {"tags": ["personal", "personal", "sensitive"]}}
    assert FactsIn.model_validate(sent).facts(TODAY).dataset.tags == {Tag.PERSONAL, Tag.SENSITIVE}


def test_everything_sent_arrives() -> None:
    sent = {
        "as_of": "2026-11-24",
        "handler": {
            "ciio": True,
            "pi_subjects": 1,
            "in_ftz": True,
            "in_gba": True,
            "listing_abroad": True,
            "platform_users": 2,
        },
        "dataset": {
            "tags": ["core"],
            "origin": "foreign",
            "domestic_data_added": False,
            "ftz_list": "listed",
            "contains_minors": True,
        },
        "recipient": {"country": "HK", "kind": "affiliate", "in_gba": True, "restricted": True},
        "transfer": {
            "method": "remote_access",
            "necessity": "hr",
            "legal_basis": "hr",
            "persons": 3,
            "sensitive_persons": 4,
        },
        "ledger": {
            "this_year": {"persons": 5, "sensitive_persons": 6},
            "previous_year": {"persons": 7, "sensitive_persons": 8},
        },
    }
    facts = FactsIn.model_validate(sent).facts(TODAY)
    assert facts.handler == HandlerFacts(
        ciio=True, pi_subjects=1, in_ftz=True, in_gba=True, listing_abroad=True, platform_users=2
    )
    assert facts.dataset.is_foreign_origin
    assert (facts.dataset.ftz_list, facts.dataset.contains_minors) == ("listed", True)
    assert (facts.recipient.kind, facts.recipient.in_gba, facts.recipient.restricted) == ("affiliate", True, True)
    assert facts.transfer.method is Method.REMOTE_ACCESS
    assert (facts.transfer.persons, facts.transfer.sensitive_persons) == (3, 4)
    assert (facts.ledger.this_year.persons, facts.ledger.previous_year.sensitive_persons) == (5, 8)
