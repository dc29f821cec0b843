"""The register: handlers, datasets, gradings, recipients, their filters and histories, and imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.world import Json, Person, World, day


def ids(answer: httpx.Response) -> list[str]:
    return [item["id"] for item in answer.json()["items"]]


def test_a_handler_is_registered_with_its_code(world: World) -> None:
    body = {"key": world.name("h"), "name": "A", "uscc": "91110000600037341L", "facts": {"ciio": True}}
    made = world.registrar.post("/v1/handlers", body)
    assert made.json()["facts"]["ciio"] is True
    assert made.json()["uscc"] == "91110000600037341L"
    wrong = world.registrar.post("/v1/handlers", body | {"key": world.name("h"), "uscc": "91110000600037341X"})
    assert wrong.json()["errors"][0]["pointer"] == "/uscc"


def test_a_reference_may_be_an_id_or_a_key(world: World) -> None:
    handler = world.handler()
    body = {"key": f"ns/{world.name('d')}", "handler": handler["key"], "title": "T", "owner": "O", "fields": []}
    assert world.registrar.post("/v1/datasets", body).json()["handler"] == handler["id"]
    assert world.registrar.get(f"/v1/handlers/{handler['key']}").json()["id"] == handler["id"]


def test_only_a_registrar_of_all_handlers_registers_one(world: World) -> None:
    narrow = world.person("registrar", handler=world.handler()["id"])
    body = {"key": world.name("h"), "name": "A", "facts": {"ciio": False}}
    assert narrow.post("/v1/handlers", body).status_code == 403
    assert world.requester.post("/v1/handlers", body).status_code == 403


def test_a_change_of_facts_is_merged_and_recorded(world: World) -> None:
    handler = world.handler(pi_subjects=5)
    path = f"/v1/handlers/{handler['id']}"
    changed = world.registrar.patch(path, {"facts": {"ciio": True}}).json()
    assert changed["facts"] == handler["facts"] | {"ciio": True}
    history = world.auditor.get(f"{path}/history").json()["items"]
    assert [entry["action"] for entry in history] == ["handler.created", "handler.changed"]
    assert history[1]["details"]["before"]["facts"]["ciio"] is False
    assert history[1]["details"]["after"]["facts"]["ciio"] is True


def test_a_change_to_what_cannot_be_names_the_field(world: World) -> None:
    path = f"/v1/handlers/{world.handler()['id']}"
    for body, pointer in (
        ({"name": None}, "/name"),
        ({"facts": {"pi_subjects": -1}}, "/facts/pi_subjects"),
        ({"key": "x"}, "/key"),
    ):
        answer = world.registrar.patch(path, body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert world.registrar.patch(path, {}).status_code == 422


def test_tags_are_set_by_grading_and_never_by_editing(world: World) -> None:
    dataset = world.dataset(world.handler(), graded=False)
    assert dataset["tags"] is None
    assert world.registrar.patch(f"/v1/datasets/{dataset['id']}", {"tags": ["core"]}).status_code == 422
    body = {"key": "a/b", "handler": dataset["handler"], "title": "T", "owner": "O", "fields": [], "tags": []}
    assert world.registrar.post("/v1/datasets", body).json()["errors"][0]["pointer"] == "/tags"
    assert world.grade(dataset, "personal")["state"] == "effective"
    assert world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"] == ["personal"]


def grade(person: Person, dataset: Json, *tags: str) -> Json:
    body = {"tags": list(tags), "reason": "Looked again", "basis": "Catalogue 2026"}
    answer = person.post(f"/v1/datasets/{dataset['id']}/gradings", body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def tags_of(world: World, dataset: Json) -> list[str]:
    shown: list[str] = world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"]
    return shown


def test_lowering_waits_for_a_second_person(world: World) -> None:
    dataset = world.dataset(world.handler(), "important", "personal")
    pending = grade(world.registrar, dataset, "personal")
    assert pending["state"] == "pending"
    assert tags_of(world, dataset) == ["important", "personal"]
    path = f"/v1/datasets/{dataset['id']}/gradings/{pending['number']}/confirm"
    assert world.registrar.post(path).status_code == 403
    confirmed = world.second_registrar.post(path)
    assert confirmed.json()["state"] == "effective"
    assert tags_of(world, dataset) == ["personal"]
    assert world.second_registrar.post(path).status_code == 409


def test_a_system_does_not_confirm(world: World) -> None:
    dataset = world.dataset(world.handler(), "personal")
    pending = grade(world.registrar, dataset)
    robot = world.person("registrar", kind="system")
    assert robot.post(f"/v1/datasets/{dataset['id']}/gradings/{pending['number']}/confirm").status_code == 403


def test_what_is_added_stands_while_what_is_dropped_waits(world: World) -> None:
    dataset = world.dataset(world.handler(), "important")
    assert grade(world.registrar, dataset, "personal")["state"] == "pending"
    assert tags_of(world, dataset) == ["important", "personal"]


def test_a_raise_overtakes_a_lowering_that_waits(world: World) -> None:
    dataset = world.dataset(world.handler(), "personal")
    pending = grade(world.registrar, dataset)
    grade(world.registrar, dataset, "personal", "important")
    path = f"/v1/datasets/{dataset['id']}/gradings/{pending['number']}/confirm"
    assert world.second_registrar.post(path).status_code == 409
    states = [g["state"] for g in world.auditor.get(f"/v1/datasets/{dataset['id']}/gradings").json()["items"]]
    assert states == ["superseded", "superseded", "effective"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"tags": ["secret"]}, "/tags/0"),
        ({"reason": ""}, "/reason"),
        ({"basis": " "}, "/basis"),
        ({"review_by": "2020-01-01"}, "/review_by"),
    ],
)
def test_a_grading_needs_known_tags_a_reason_and_a_basis(world: World, change: Json, pointer: str) -> None:
    dataset = world.dataset(world.handler(), graded=False)
    body: Json = {"tags": [], "reason": "r", "basis": "b", "review_by": day(1)}
    answer = world.registrar.post(f"/v1/datasets/{dataset['id']}/gradings", body | change)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_datasets_are_found_by_tag_handler_key_and_text(world: World) -> None:
    handler = world.handler()
    core = world.dataset(handler, "core", title="Surroundings 100%_x")
    sensitive = world.dataset(handler, "sensitive")
    general = world.dataset(handler)
    raw = world.dataset(handler, graded=False)

    def found(**wanted: str) -> list[str]:
        return ids(world.auditor.get("/v1/datasets", handler=handler["id"], **wanted))

    assert found() == [core["id"], sensitive["id"], general["id"], raw["id"]]
    assert found(tag="core") == [core["id"]]
    assert found(tag="personal") == [sensitive["id"]]
    assert found(tag="general") == [general["id"]]
    assert found(tag="ungraded") == [raw["id"]]
    assert found(text="100%_x") == [core["id"]]
    assert found(key=raw["key"]) == [raw["id"]]
    assert world.auditor.get("/v1/datasets", tag="secret").status_code == 422


def test_recipients_are_found_by_country_and_text(world: World) -> None:
    name = world.name("partner")
    made = world.recipient("JP", name=name)
    assert ids(world.auditor.get("/v1/recipients", country="JP", text=name)) == [made["id"]]
    assert ids(world.auditor.get("/v1/recipients", country="DE", text=name)) == []


@pytest.mark.parametrize("country", ["XX", "sg", "SGP", "", 5])
def test_a_country_is_a_country(world: World, country: Any) -> None:
    body = {"key": world.name("r"), "name": "R", "country": country, "kind": "company"}
    assert world.registrar.post("/v1/recipients", body).json()["errors"][0]["pointer"] == "/country"


def test_a_recipients_history_tells_each_change(world: World) -> None:
    path = f"/v1/recipients/{world.recipient()['id']}"
    world.registrar.patch(path, {"facts": {"restricted": True}})
    assert [e["action"] for e in world.auditor.get(f"{path}/history").json()["items"]] == [
        "recipient.created",
        "recipient.changed",
    ]


def test_who_has_no_grant_for_a_handler_does_not_see_it(world: World) -> None:
    mine, other = world.handler(), world.handler()
    narrow = world.person("registrar", handler=mine["id"])
    theirs = world.dataset(other, "personal")
    assert ids(narrow.get("/v1/handlers")) == [mine["id"]]
    assert narrow.get(f"/v1/handlers/{other['id']}").status_code == 404
    assert narrow.get(f"/v1/datasets/{theirs['id']}").status_code == 404
    assert (
        narrow.post(f"/v1/datasets/{theirs['id']}/gradings", {"tags": [], "reason": "r", "basis": "b"}).status_code
        == 404
    )


# Imports

CSV = "key,title,owner,description,fields,origin,contains_minors\n"


def send(world: World, content: str | bytes, kind: str = "text/csv", **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": kind}
    body = content if isinstance(content, bytes) else content.encode()
    return world.http.post("/v1/datasets/import", content=body, headers=headers, params=params)


def test_a_csv_is_imported_all_or_nothing(world: World) -> None:
    handler = world.handler()
    name = world.name("csv")
    good = (
        CSV
        + f'{name}/a,Orders,Team,"Two\nlines",id:bigint:system.operations;city:text,foreign,true\n{name}/b,Riders,Team,,,,\n'
    )
    dry = send(world, good, handler=handler["id"], dry_run=True).json()
    assert (dry["created"], dry["dry_run"]) == (2, True)
    assert world.auditor.get("/v1/datasets", handler=handler["id"]).json()["items"] == []
    assert send(world, good, handler=handler["id"]).json()["created"] == 2
    first = world.auditor.get("/v1/datasets", handler=handler["id"]).json()["items"][0]
    assert first["fields"][0] == {"name": "id", "type": "bigint", "category": "system.operations"}
    assert (first["facts"]["origin"], first["pending_facts"]["origin"]["value"]) == ("domestic", "foreign")
    assert first["facts"]["contains_minors"] is True
    assert send(world, good, handler=handler["id"]).json()["unchanged"] == 2
    assert send(world, good.replace("Riders", "People"), handler=handler["id"]).json()["updated"] == 1


def test_every_bad_row_is_told_with_line_and_field(world: World) -> None:
    handler = world.handler()
    bad = CSV + "x/1,Good,Team,,,,\nx/2,,Team,,id,mars,maybe\nx/1,Again,Team,,,,\nx/4,Too,many,,,,,cells\n"
    refused = send(world, bad, handler=handler["id"])
    assert refused.status_code == 422
    told = {(error["line"], error["field"]) for error in refused.json()["errors"]}
    assert {(3, "facts/contains_minors"), (3, "fields"), (5, "")} <= told
    again = send(world, bad.replace(",,,,,cells", ",,,,").replace("id,mars,maybe", ",mars,"), handler=handler["id"])
    told = {(error["line"], error["field"]) for error in again.json()["errors"]}
    assert {(3, "title"), (3, "facts/origin"), (4, "key")} <= told
    assert world.auditor.get("/v1/datasets", handler=handler["id"]).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"\xff\xfe", "text/csv", 422),
        (b"", "text/csv", 422),
        (b"key,tags\n", "text/csv", 422),
        (b"key,title\n\x00", "text/csv", 422),
        (b'key,title\n"a', "text/csv", 422),
        (b"a: [", "application/yaml", 422),
        (b"a: &x [1]\nb: *x", "application/yaml", 422),
        (b"dataset: 5", "application/yaml", 422),
        (b"dataset:\n- fides_key: a\n", "application/yaml", 422),
        (b"dataset:\n- fides_key: a\n  collections:\n  - name: c\n    fields: [5]\n", "application/yaml", 422),
        (b"- " * 5000, "application/yaml", 422),
        (b"!!python/object:os.system {}", "application/yaml", 422),
        (b"2026-99-99: x", "application/yaml", 422),
        (b"? {a: 1}\n: 2", "application/yaml", 422),
        (b"{}", "application/json", 415),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(world: World, content: bytes, kind: str, status: int) -> None:
    assert send(world, content, kind, handler=world.handler()["id"]).status_code == status


def test_a_key_of_another_handler_is_not_taken_over(world: World) -> None:
    theirs = world.dataset(world.handler(), "personal")
    refused = send(world, f"key,title,owner\n{theirs['key']},T,O\n", handler=world.handler()["id"])
    assert refused.json()["errors"][0]["field"] == "key"


def test_fides_datasets_come_in_collection_by_collection(world: World, samples: Path) -> None:
    handler = world.handler()
    file = samples / "fides" / "postgres_example_test_dataset.yml"
    told = send(world, file.read_bytes(), "application/yaml", handler=handler["id"], owner="Shop team").json()
    assert told["created"] == 11
    customer = world.auditor.get("/v1/datasets", key="postgres_example_test_dataset/customer").json()["items"][0]
    assert customer["owner"] == "Shop team"
    assert {"name": "email", "type": "string", "category": "user.contact.email"} in customer["fields"]

    world.grade(customer, "personal")
    facts = {"handler": {"ciio": False}, "dataset": {"tags": ["personal"]}, "recipient": {"country": "SG"}}
    told = world.auditor.made("/v1/determinations", facts | {"transfer": {"persons": 120_000}})
    shown = world.submitted(handler, [customer], world.recipient(), persons=120_000, fields=["email", "name"])
    assert shown["determination"]["mechanism"] == told["mechanism"] == "standard_contract_or_certification"
    assert world.approve(shown)["permit"]


def test_nested_fields_are_named_with_dots(world: World, samples: Path) -> None:
    file = samples / "fides" / "mongo_example_test_dataset.yml"
    send(world, file.read_bytes(), "application/yaml", handler=world.handler()["id"])
    details = world.auditor.get("/v1/datasets", key="mongo_test/customer_details").json()["items"][0]
    fields = {field["name"]: field for field in details["fields"]}
    assert fields["workplace_info"]["type"] == "object"
    assert fields["workplace_info.position"]["category"] == "user.job_title"


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("Kaifeng 开封 Freight", []),
        ("Acm\u0435 Freight", ["mixed_script"]),
        ("\u0410\u0421\u041c\u0415", ["looks_latin"]),
    ],
)
def test_a_name_that_looks_like_something_else_is_taken_and_told(world: World, name: str, flags: list[str]) -> None:
    handler = world.handler()
    found = [
        world.recipient(name=name),
        world.dataset(handler, title=name, graded=False),
        world.registrar.made("/v1/handlers", {"key": world.name("handler"), "name": name, "facts": {"ciio": False}}),
    ]
    assert [one["flags"] for one in found] == [flags] * 3
    assert world.auditor.get(f"/v1/recipients/{found[0]['id']}").json()["flags"] == flags
