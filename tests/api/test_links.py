"""The links of the OpenAPI document: whoever follows them gets from any answer to what can be done next."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.http.openapi.links import add_links
from tests.authz.matrix import routes
from tests.world import Person, World

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text(encoding="utf-8"))
LINKS = DOCUMENT["components"]["links"]
ROUTES = routes(DOCUMENT)
BY_NAME = {operation["operationId"]: (route, operation) for route, operation in ROUTES.items()}
IDS = {"pack"}
"""Parameters that are ids without being called so."""


def linking() -> Iterator[tuple[str, dict[str, Any], Any, dict[str, Any]]]:
    """Yield where a link stands: the route, its operation, the schema of the answer, and the link."""
    for route, operation in ROUTES.items():
        for answer in operation["responses"].values():
            for reference in answer.get("links", {}).values():
                schema = answer["content"]["application/json"]["schema"]
                yield route, operation, schema, LINKS[reference["$ref"].rpartition("/")[2]]


def parameters(operation: dict[str, Any], *places: str) -> set[str]:
    return {one["name"] for one in operation.get("parameters", []) if one["in"] in places}


def resolved(schema: Any) -> list[Any]:
    """Return what a schema can be, without references."""
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return [one for part in schema["anyOf"] for one in resolved(part)] if "anyOf" in schema else [schema]


def members(schema: Any, pointer: str) -> list[Any]:
    """Return the schemas of what a JSON pointer leads to."""
    found = resolved(schema)
    for step in pointer.split("/")[1:]:
        inner = [
            one["items"] if step.isdigit() and "items" in one else one.get("properties", {}).get(step) for one in found
        ]
        found = [kind for one in inner if one is not None for kind in resolved(one)]
    return found


def test_every_operation_on_a_thing_is_reached() -> None:
    reached = {link["operationId"] for _, _, _, link in linking()}
    needed = {
        name
        for name, (_, operation) in BY_NAME.items()
        if any(one.endswith("_id") or one in IDS for one in parameters(operation, "path"))
    }
    assert needed - reached == set()


def test_every_link_names_an_operation_and_gives_it_what_its_path_needs() -> None:
    for name, link in LINKS.items():
        _, operation = BY_NAME[link["operationId"]]
        assert parameters(operation, "path") <= set(link["parameters"]), name
        assert set(link["parameters"]) <= parameters(operation, "path", "header"), name
        assert re.fullmatch(r"[A-Z].*\.", link["description"]), name


def test_every_link_stands_where_its_values_are() -> None:
    for route, operation, schema, link in linking():
        for value in link["parameters"].values():
            kind, _, rest = value.partition("$response.body#")
            if kind == "":
                assert members(schema, rest), (route, value)
                assert {one["type"] for one in members(schema, rest)} <= {"string", "integer", "null"}, (route, value)
            elif value != "$response.header.ETag":
                assert value.removeprefix("$request.path.") in parameters(operation, "path"), (route, value)


def test_every_link_is_used() -> None:
    assert {id(link) for _, _, _, link in linking()} == {id(link) for link in LINKS.values()}


def test_what_is_renamed_is_followed_and_two_of_a_name_are_noticed() -> None:
    shown = {"schema": {"properties": {"id": {"type": "string"}}}}
    answer = {"200": {"content": {"application/json": shown}}}

    def get(name: str) -> dict[str, Any]:
        return {"get": {"operationId": name, "description": "Read it.", "responses": json.loads(json.dumps(answer))}}

    paths = {"/things/{thing}": get("read_thing"), "/things/{thing}/more": get("more")}
    document: dict[str, Any] = {"components": {"schemas": {}}, "paths": paths}
    add_links(document)
    assert document["components"]["links"] == {
        "more": {"operationId": "more", "parameters": {"thing": "$response.body#/id"}, "description": "Read it."}
    }
    paths["/others/{other}"], paths["/others/{other}/more"] = get("read_other"), get("more")
    with pytest.raises(ValueError, match="two links are named more"):
        add_links(document)


def followed(person: Person, made: Any, asked: str, answer: Any) -> Iterator[tuple[str, int]]:
    """Follow the links of an answer that only read: their names and what they were answered."""
    route, operation = next((r, o) for r, o in ROUTES.items() if r == asked.partition(" of ")[0])
    names = re.findall(r"\{(\w+)\}", route)
    given = dict(zip(names, asked.partition(" of ")[2].split("/"), strict=False))
    for name in operation["responses"][str(answer)]["links"]:
        link = LINKS[name]
        target, _ = BY_NAME[link["operationId"]]
        method, _, path = target.partition(" ")
        for parameter, value in link["parameters"].items():
            found = made
            for step in value.partition("#/")[2].split("/") if "#/" in value else ():
                found = None if not found else found[int(step)] if isinstance(found, list) else found[step]
            found = given[value.removeprefix("$request.path.")] if value.startswith("$request.path.") else found
            path = path.replace("{" + parameter + "}", "" if found is None else str(found))
        if method == "GET" and "//" not in path and not path.endswith("/"):
            yield name, person.get(path).status_code


def test_links_lead_where_they_say(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler)
    transfer = world.submitted(handler, [dataset], recipient)
    world.add_evidence(transfer, ["other"])
    paper = world.requester.get(f"/v1/transfers/{transfer['id']}/evidence").json()["items"][0]
    shown = world.auditor.get(f"/v1/transfers/{transfer['id']}").json()
    dataset = world.auditor.get(f"/v1/datasets/{dataset['id']}").json()
    page = world.auditor.get(f"/v1/datasets/{dataset['id']}/gradings").json()
    told = [
        *followed(world.auditor, handler, "POST /v1/handlers", 201),
        *followed(world.auditor, recipient, "POST /v1/recipients", 201),
        *followed(world.auditor, dataset, f"GET /v1/datasets/{{dataset_id}} of {dataset['id']}", 200),
        *followed(world.auditor, page, f"GET /v1/datasets/{{dataset_id}}/gradings of {dataset['id']}", 200),
        *followed(world.auditor, shown, f"GET /v1/transfers/{{transfer_id}} of {transfer['id']}", 200),
        *followed(world.auditor, paper, f"POST /v1/transfers/{{transfer_id}}/evidence of {transfer['id']}", 201),
    ]
    may_be_absent = {"handler_person_key", "list_group_claims", "read_file", "requester", "reviewers"}
    assert [one for one in told if one[1] != 200 and one[0] not in may_be_absent] == []
    assert {"handler_ledger", "recipient_history", "grading", "first_grading", "revision", "evidence"} <= dict(
        told
    ).keys()


def test_a_tag_that_was_read_is_what_a_change_takes(world: World) -> None:
    handler = world.handler()
    path = f"/v1/handlers/{handler['id']}"
    assert LINKS["change_handler"]["parameters"] == {
        "handler_id": "$response.body#/id",
        "If-Match": "$response.header.ETag",
    }
    tag = world.registrar.get(path).headers["ETag"]
    assert world.registrar.send("PATCH", path, {"name": "Followed"}, If_Match=tag).status_code == 200
