"""The authorization matrix: each route of the OpenAPI document, asked by each role, for what is of its own handler and of another."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from tests.authz.asking import Line
from tests.authz.matrix import Matrix, gaps, routes
from tests.authz.rules import RULES, Reach, only
from tests.authz.things import ROLES, WHOLE, Company

ROOMS = sorted({route.split("/")[2] if route.split("/")[1] == "v1" else route.split("/")[1] for route in RULES})


def room_of(route: str) -> str:
    parts = route.split("/")
    return parts[2] if parts[1] == "v1" else parts[1]


@pytest.fixture
def matrix(company: Company, address: str) -> Matrix:
    return Matrix(company, Line(address), RULES, whole=WHOLE)


def test_every_route_has_a_rule_and_every_rule_a_route(document: Any) -> None:
    assert gaps(document, RULES) == []


def test_a_route_or_a_filter_without_a_rule_is_noticed(document: Any) -> None:
    more = copy.deepcopy(document)
    more["paths"]["/v1/handlers"]["delete"] = {}
    more["paths"]["/v1/new/{thing}"] = {"get": {}}
    text = {"name": "owned_by", "in": "query", "schema": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    more["paths"]["/v1/exports"]["get"]["parameters"].append(text)
    fewer = {route: rule for route, rule in RULES.items() if route != "GET /v1/me"}
    told = ["DELETE /v1/handlers: no rule", "GET /v1/exports: no rule for owned_by", "GET /v1/me: no rule"]
    assert gaps(more, fewer) == [*told, "GET /v1/new/{thing}: no rule"]


def test_the_document_tells_the_roles_that_the_rules_name(document: Any) -> None:
    told = {route: operation["x-roles"] for route, operation in routes(document).items()}
    ruled = {route: "public" if rule.reach is Reach.PUBLIC else sorted(rule.who) for route, rule in RULES.items()}
    assert told == ruled


def test_the_roles_are_those_that_can_be_granted(document: Any) -> None:
    assert sorted(document["components"]["schemas"]["Role"]["enum"]) == sorted(ROLES)


@pytest.mark.parametrize("room", ROOMS)
def test_everybody_is_answered_as_the_rules_say(matrix: Matrix, room: str, record_property: Any) -> None:
    for route in RULES:
        if room_of(route) == room:
            matrix.look_at(route)
    record_property("cells", matrix.found.cells)
    assert not matrix.found.surprises, matrix.found.table()


def test_a_rule_that_is_not_kept_is_a_surprise(company: Company, address: str) -> None:
    route = "GET /v1/handlers/{handler_id}"
    for rule in (
        replace(RULES[route], who=only("auditor")),
        replace(RULES[route], who=RULES[route].who | {"admin"}),
        replace(RULES[route], blind=only("auditor")),
        replace(RULES[route], reach=Reach.EVERYWHERE),
    ):
        matrix = Matrix(company, Line(address), RULES | {route: rule}, whole=False)
        matrix.look_at(route)
        assert matrix.found.surprises, rule
