"""What changed between two revisions, in words."""

from copy import deepcopy
from typing import Any

from service.transfers import revision_diff

CONTENT: dict[str, Any] = {
    "request": {
        "purpose": "analytics",
        "fields": None,
        "systems": ["crm"],
        "persons": 10,
        "necessity": None,
        "valid_until": "2026-12-31",
    },
    "handler": {"id": "hd_1", "facts": {"ciio": False}},
    "datasets": [
        {
            "id": "ds_1",
            "key": "orders",
            "tags": ["personal"],
            "fields": [{"name": "city", "type": "text"}],
            "facts": {},
        },
        {"id": "ds_2", "key": "drivers", "tags": [], "fields": [], "facts": {}},
    ],
    "recipient": {"id": "rc_1", "country": "SG", "kind": "company", "facts": {}},
}
LAW: dict[str, Any] = {
    "mechanism": "exempt",
    "exemption": "small_volume",
    "requirements": [{"rule": "small-volume"}],
    "evidence": [{"code": "impact_assessment_report"}],
    "obligations": [],
    "warnings": [],
}


def told(*edits: tuple[str, Any]) -> list[revision_diff.Change]:
    after = deepcopy(CONTENT)
    for path, value in edits:
        *way, last = path.split("/")
        here: Any = after
        for step in way:
            here = here[int(step)] if isinstance(here, list) else here[step]
        here[int(last) if isinstance(here, list) else last] = value
    return revision_diff.compare_contents(CONTENT, after)


def test_nothing_changed_is_told_as_nothing() -> None:
    assert told() == []
    assert revision_diff.compare_determinations(LAW, LAW) == []


def test_a_number_and_a_list_are_told_in_both_languages() -> None:
    persons, systems = told(("request/persons", 20), ("request/systems", ["erp", "bi"]))[::-1]
    assert (persons.part, persons.pointer, persons.before, persons.after) == ("persons", "/request/persons", 10, 20)
    assert (persons.en, persons.zh) == ("Persons: from 10 to 20.", "人数：由10变更为20。")
    assert systems.en == "Systems: added erp, bi; removed crm."
    assert systems.zh == "系统：新增erp、bi；移除crm。"


def test_everything_and_nothing_have_their_words() -> None:
    (fields,) = told(("request/fields", ["city"]))
    assert fields.en == "Fields: from all to city."
    (systems,) = told(("request/systems", None))
    assert systems.en == "Systems: from crm to every exporter."
    (necessity,) = told(("request/necessity", "hr"))
    assert necessity.en == "Claimed necessity: from nothing to hr."
    (order,) = revision_diff.compare_determinations(LAW, LAW | {"evidence": []})
    assert order.en == "Evidence asked for: removed impact_assessment_report."


def test_members_in_another_order_are_told_whole() -> None:
    before = LAW | {"obligations": [{"code": "a"}, {"code": "b"}]}
    after = LAW | {"obligations": [{"code": "b"}, {"code": "a"}]}
    (change,) = revision_diff.compare_determinations(before, after)
    assert change.en == "Obligations: from a, b to b, a."
    (emptied,) = told(("datasets/0/facts", {"origin": "foreign"}))
    assert emptied.en == "Dataset orders: Facts: from nothing to origin = foreign."


def test_a_field_of_another_kind_is_told_by_what_it_was_and_is() -> None:
    (field,) = told(("datasets/0/fields", [{"name": "city", "type": "geometry"}]))
    assert field.en == "Dataset orders: Fields: city from (name = city; type = text) to (name = city; type = geometry)."
    assert field.zh == "数据集orders：字段：city由（name = city; type = text）变更为（name = city; type = geometry）。"


def test_datasets_that_come_go_and_change_are_told_by_key() -> None:
    (grade,) = told(("datasets/0/tags", ["personal", "important"]))
    assert (grade.part, grade.en) == ("datasets", "Dataset orders: Tags: added important.")
    (field,) = told(("datasets/0/fields", []))
    assert field.en == "Dataset orders: Fields: removed city."
    other = {"id": "ds_3", "key": "trips", "tags": [], "fields": [], "facts": {}}
    added, removed = told(("datasets/1", other))
    assert (added.en, removed.en) == ("Dataset added: trips.", "Dataset removed: drivers.")
    assert (added.part, removed.part) == ("datasets", "datasets")


def test_handler_recipient_and_law_are_parts_of_their_own() -> None:
    assert [change.part for change in told(("handler/facts", {"ciio": True}), ("recipient/country", "HK"))] == [
        "handler",
        "recipient",
    ]
    (law,) = revision_diff.compare_determinations(LAW, LAW | {"mechanism": "security_assessment"})
    assert law.part == "determination"
    assert law.en == "What the law asks for: from exempt to security_assessment."


def test_a_renewal_is_compared_with_what_the_permit_allows_whatever_the_order_of_names() -> None:
    allowed = {"purpose": "analytics", "persons": 10, "fields": ["city", "amount"], "systems": None}
    assert revision_diff.compare_with_permit(allowed, allowed | {"fields": ["amount", "city"]}) == []
    (change,) = revision_diff.compare_with_permit(allowed, allowed | {"persons": 12})
    assert (change.pointer, change.en) == ("/request/persons", "Persons: from 10 to 12.")
