"""OpenID AuthZEN Authorization API 1.0, section by section: what a caller may rely on, on each of the two ways that a request can take.

Source: https://openid.net/specs/authorization-api-1_0.html; where it leaves a choice, the certification scenario of the working group.
"""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import apart, run_sql
from tests.world import Json, Person, World

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"
SUBJECTS, RESOURCES, ACTIONS = (f"/access/v1/search/{kind}" for kind in ("subject", "resource", "action"))
STRICTLY = "?way=strict"
"""A query is ignored, and sends a request the long way, on which everything is read strictly."""


class Fixture:
    """A handler's personal dataset that may go to a recipient for analytics, one that may not, and a system that asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.recipient = world.recipient()
        self.open = world.dataset(self.handler, "personal")
        self.closed = world.dataset(self.handler, "personal")
        self.permit = world.approved(self.handler, [self.open], self.recipient, persons=1000)["permit"]
        self.system = self.exporter()

    def exporter(self) -> Person:
        """Return one more system that exports for the handler only."""
        return self.world.person("exporter", kind="system", handler=self.handler["id"])

    @property
    def context(self) -> Json:
        return {"recipient": self.recipient["key"], "purpose": "analytics", "persons": 5}

    def question(self, **change: Any) -> Json:
        return {
            "subject": {"type": "system", "id": self.system.name},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": self.open["key"]},
            "context": self.context,
        } | change

    def without(self, *names: str, **change: Any) -> Json:
        return {name: value for name, value in self.question(**change).items() if name not in names}

    def denied(self, **change: Any) -> Json:
        """Return an item of several that is answered no."""
        return {"resource": {"type": "dataset", "id": self.closed["key"]}, **change}

    def send(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.system.post(path, body, **headers)

    def raw(self, path: str, content: bytes, kind: str | None = "application/json") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.system.secret}"} | ({"Content-Type": kind} if kind else {})
        return self.world.http.post(path, content=content, headers=headers)

    def told(self, path: str, body: Json) -> Json:
        answer = self.send(path, body)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
        told: Json = answer.json()
        return told


class Uncounted(Fixture):
    """The same, where no question states persons."""

    @property
    def context(self) -> Json:
        return {"recipient": self.recipient["key"], "purpose": "analytics"}


@pytest.fixture(scope="module")
def fixture(world: World) -> Fixture:
    return Fixture(world)


@pytest.fixture(params=["", STRICTLY], ids=["express", "strict"])
def way(request: pytest.FixtureRequest) -> str:
    """What to put behind a path, so that the request takes one way or the other."""
    way: str = request.param
    return way


# 5 Information model


@pytest.mark.parametrize("entity", ["subject", "action", "resource"])
def test_entities_may_have_properties(fixture: Fixture, way: str, entity: str) -> None:
    described = fixture.question()[entity] | {"properties": {"department": "Sales", "ip": ["10.0.0.1"], "more": {}}}
    assert fixture.told(EVALUATION + way, fixture.question(**{entity: described}))["decision"] is True


@pytest.mark.parametrize("entity", ["subject", "action", "resource"])
def test_properties_are_an_object(fixture: Fixture, way: str, entity: str) -> None:
    described = fixture.question()[entity] | {"properties": "Sales"}
    assert fixture.send(EVALUATION + way, fixture.question(**{entity: described})).status_code == 400


def test_properties_change_no_decision_and_are_not_recorded(fixture: Fixture, way: str) -> None:
    resource = {"type": "dataset", "id": fixture.closed["id"], "properties": {"tags": [], "mail": "a@example.com"}}
    told = fixture.told(EVALUATION + way, fixture.question(resource=resource))
    assert told["decision"] is False
    entry = fixture.world.auditor.get("/v1/audit/entries", subject=told["context"]["id"]).json()["items"][0]
    assert entry["details"]["question"]["resource"] == {"type": "dataset", "id": fixture.closed["id"]}


def test_the_context_may_hold_what_the_gate_does_not_know(fixture: Fixture, way: str) -> None:
    context = fixture.context | {"time": "2026-06-27T18:03:00+08:00", "ip": "192.168.1.1"}
    assert fixture.told(EVALUATION + way, fixture.question(context=context))["decision"] is True


def test_the_context_may_be_missing_or_null(fixture: Fixture, way: str) -> None:
    for body in (fixture.without("context"), fixture.question(context=None)):
        for path in (EVALUATION, EVALUATIONS):
            assert fixture.told(path + way, body)["context"]["reason"] == "recipient_unknown"


def test_an_id_is_unique_within_its_type_only(world: World) -> None:
    only = world.person("exporter", kind="system")
    fixture = Fixture(world)
    world.approved(fixture.handler, [fixture.closed], fixture.recipient, persons=10, systems=[only.name])
    asked = fixture.denied(context=fixture.context, action={"name": "export"})
    reasons = {
        kind: fixture.told(EVALUATION, asked | {"subject": {"type": kind, "id": only.name}})["context"]["reason"]
        for kind in ("system", "user")
    }
    assert reasons == {"system": "permitted", "user": "system_not_covered"}


# 6 Access Evaluation API


def test_a_decision_is_a_boolean_with_a_context(fixture: Fixture, way: str) -> None:
    allowed = fixture.told(EVALUATION + way, fixture.question())
    denied = fixture.told(EVALUATION + way, fixture.question(**fixture.denied()))
    assert (allowed["decision"], denied["decision"]) == (True, False)
    assert isinstance(allowed["context"], dict)
    assert (allowed["context"]["reason"], denied["context"]["reason"]) == ("permitted", "no_permit")


def test_the_same_question_is_answered_the_same(fixture: Fixture, way: str) -> None:
    answers = [fixture.told(EVALUATION + way, fixture.question())["decision"] for _ in range(5)]
    assert answers == [True] * 5


def test_nothing_but_an_export_of_a_dataset_is_allowed(fixture: Fixture, way: str) -> None:
    for change in ({"action": {"name": "delete"}}, {"resource": {"type": "table", "id": fixture.open["id"]}}):
        assert fixture.told(EVALUATION + way, fixture.question(**change))["decision"] is False


MALFORMED: list[Json] = [
    {"subject": None},
    {"subject": "crm-export"},
    {"subject": {"type": "system"}},
    {"subject": {"id": "crm-export"}},
    {"subject": {"type": 5, "id": "crm-export"}},
    {"action": None},
    {"action": {}},
    {"action": {"name": 123}},
    {"action": {"name": ""}},
    {"resource": None},
    {"resource": {"id": "x"}},
    {"resource": {"type": "dataset"}},
    {"resource": []},
    {"context": []},
    {"context": "now"},
    {"context": {"recipient": 5}},
    {"context": {"persons": -1}},
    {"context": {"persons": "5"}},
    {"context": {"persons": 5.0}},
    {"context": {"persons": 2**60}},
    {"context": {"fields": "city"}},
]


@pytest.mark.parametrize("change", MALFORMED, ids=json.dumps)
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_a_malformed_question_is_400_and_the_field_is_named(
    fixture: Fixture, way: str, path: str, change: Json
) -> None:
    answer = fixture.send(path + way, fixture.question(**change))
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["errors"][0]["pointer"].startswith("/" + next(iter(change)))


@pytest.mark.parametrize("missing", ["subject", "action", "resource"])
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_a_missing_entity_is_400(fixture: Fixture, way: str, path: str, missing: str) -> None:
    answer = fixture.send(path + way, fixture.without(missing))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{missing}")


# 7 Access Evaluations API


@pytest.mark.parametrize("evaluations", [{}, {"evaluations": []}, {"evaluations": None}, {"options": None}])
def test_without_evaluations_it_behaves_as_a_single_one(fixture: Fixture, way: str, evaluations: Json) -> None:
    told = fixture.told(EVALUATIONS + way, fixture.question() | evaluations)
    assert told["decision"] is True
    assert "evaluations" not in told


def test_each_question_may_be_complete_by_itself(fixture: Fixture, way: str) -> None:
    items = [fixture.question(), fixture.question(**fixture.denied())]
    told = fixture.told(EVALUATIONS + way, {"evaluations": items})
    assert [answer["decision"] for answer in told["evaluations"]] == [True, False]
    assert "decision" not in told


def test_what_a_question_leaves_out_is_taken_from_the_defaults(fixture: Fixture, way: str) -> None:
    asked = fixture.question() | {"evaluations": [{}, fixture.denied(), {"action": {"name": "delete"}}]}
    told = fixture.told(EVALUATIONS + way, asked)["evaluations"]
    assert [answer["context"]["reason"] for answer in told] == ["permitted", "no_permit", "no_permit"]


def test_a_members_of_a_question_replaces_the_default_as_a_whole(fixture: Fixture, way: str) -> None:
    recipient = {"recipient": fixture.recipient["id"]}
    items = [{}, {"context": {}}, {"context": recipient}, {"context": recipient | {"purpose": "analytics"}}]
    told = fixture.told(EVALUATIONS + way, fixture.question() | {"evaluations": items})["evaluations"]
    reasons = [answer["context"]["reason"] for answer in told]
    assert reasons == ["permitted", "recipient_unknown", "purpose_not_covered", "permitted"]


def test_null_in_a_question_takes_the_default(fixture: Fixture, way: str) -> None:
    items = [dict.fromkeys(("subject", "action", "resource", "context"))]
    told = fixture.told(EVALUATIONS + way, fixture.question() | {"evaluations": items})["evaluations"]
    assert told[0]["decision"] is True


@pytest.mark.parametrize(
    ("semantic", "answers"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
        (None, [True, False, True]),
    ],
)
def test_the_semantics(fixture: Fixture, way: str, semantic: str | None, answers: list[bool]) -> None:
    options = {"another_option": "value"} | ({"evaluations_semantic": semantic} if semantic else {})
    asked = fixture.question() | {"evaluations": [{}, fixture.denied(), {}], "options": options}
    told = fixture.told(EVALUATIONS + way, asked)["evaluations"]
    assert [answer["decision"] for answer in told] == answers


def test_permit_on_first_permit_goes_past_denials(fixture: Fixture, way: str) -> None:
    options = {"evaluations_semantic": "permit_on_first_permit"}
    asked = fixture.question() | {"evaluations": [fixture.denied(), {}, {}], "options": options}
    told = fixture.told(EVALUATIONS + way, asked)["evaluations"]
    assert [answer["decision"] for answer in told] == [False, True]


BROKEN: list[Json] = [
    {"resource": {"type": "dataset"}},
    {"resource": "orders"},
    {"subject": {"type": "system", "id": 5}},
    {"action": {}},
    {"context": {"persons": -1}},
]


@pytest.mark.parametrize("broken", BROKEN, ids=json.dumps)
def test_an_error_in_one_question_denies_that_one_and_no_other(fixture: Fixture, way: str, broken: Json) -> None:
    told = fixture.told(EVALUATIONS + way, fixture.question() | {"evaluations": [{}, broken, {}]})["evaluations"]
    assert [answer["decision"] for answer in told] == [True, False, True]
    error = told[1]["context"]["error"]
    assert error["status"] == 400
    assert error["errors"][0]["pointer"].startswith(f"/evaluations/1/{next(iter(broken))}")


def test_a_question_without_a_subject_anywhere_is_denied(fixture: Fixture, way: str) -> None:
    items = [{"subject": fixture.question()["subject"]}, {}]
    told = fixture.told(EVALUATIONS + way, fixture.without("subject") | {"evaluations": items})["evaluations"]
    assert [answer["decision"] for answer in told] == [True, False]
    errors = [{"pointer": "/evaluations/1/subject", "detail": "This field is required."}]
    assert told[1]["context"]["error"]["errors"] == errors


def test_all_questions_may_be_in_error(fixture: Fixture, way: str) -> None:
    told = fixture.told(EVALUATIONS + way, {"evaluations": [{}, {}]})["evaluations"]
    assert [answer["decision"] for answer in told] == [False, False]


@pytest.mark.parametrize(
    ("semantic", "answers"), [("deny_on_first_deny", [True, False]), ("permit_on_first_permit", [True])]
)
def test_an_error_counts_as_a_denial(fixture: Fixture, semantic: str, answers: list[bool]) -> None:
    first = [{}] if semantic == "deny_on_first_deny" else []
    asked = fixture.question() | {"options": {"evaluations_semantic": semantic}}
    items = [*first, {"action": {}}, {}]
    told = fixture.told(EVALUATIONS, asked | {"evaluations": items})["evaluations"]
    assert [answer["decision"] for answer in told] == (answers if first else [False, True])


def test_an_error_in_one_question_lets_nobody_in_without_a_key(fixture: Fixture) -> None:
    answer = fixture.world.http.post(EVALUATIONS, json={"evaluations": [{}]})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"evaluations": {}},
        {"evaluations": [5]},
        {"evaluations": ["x"]},
        {"evaluations": [{}] * 1001},
        {"evaluations": [{}], "subject": "crm"},
        {"evaluations": [{}], "options": {"evaluations_semantic": "first"}},
        {"evaluations": [{}], "options": []},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_what_is_wrong_with_the_whole_is_400(fixture: Fixture, way: str, change: Json) -> None:
    assert fixture.send(EVALUATIONS + way, fixture.question() | change).status_code == 400


def test_a_thousand_questions_are_answered_in_their_order(fixture: Fixture, way: str) -> None:
    items = [{} if number % 3 else fixture.denied() for number in range(1000)]
    told = fixture.told(EVALUATIONS + way, fixture.question() | {"evaluations": items})["evaluations"]
    assert [answer["decision"] for answer in told] == [number % 3 != 0 for number in range(1000)]


# 8 Search APIs


def searches(fixture: Fixture) -> dict[str, Json]:
    """Return a valid search on each endpoint: without the id of what is searched for, without an action to find one."""
    return {
        SUBJECTS: fixture.question(subject={"type": "system"}),
        RESOURCES: fixture.question(resource={"type": "dataset"}),
        ACTIONS: fixture.without("action"),
    }


def found(told: Json) -> list[str]:
    return [result.get("id", result.get("name")) for result in told["results"]]


def walked(fixture: Fixture, path: str, body: Json, **page: Any) -> list[Json]:
    """Return the pages of a search, followed by their tokens to the end."""
    pages = [fixture.told(path, body | {"page": page})]
    while pages[-1]["page"]["next_token"]:
        pages.append(fixture.told(path, body | {"page": {"token": pages[-1]["page"]["next_token"]}}))
    return pages


def test_which_systems_may_export_this_dataset(fixture: Fixture) -> None:
    told = fixture.told(SUBJECTS, searches(fixture)[SUBJECTS])
    assert {"type": "system", "id": fixture.system.name} in told["results"]
    assert all(result.keys() == {"type", "id"} and result["type"] == "system" for result in told["results"])


def test_which_datasets_may_this_system_export(fixture: Fixture) -> None:
    told = fixture.told(RESOURCES, searches(fixture)[RESOURCES])
    properties = {"key": fixture.open["key"], "reason": "permitted"}
    assert told["results"] == [{"type": "dataset", "id": fixture.open["id"], "properties": properties}]


def test_what_may_this_system_do_to_this_dataset(fixture: Fixture) -> None:
    asked = searches(fixture)[ACTIONS]
    assert fixture.told(ACTIONS, asked)["results"] == [{"name": "export"}]
    assert fixture.told(ACTIONS, asked | fixture.denied())["results"] == []


@pytest.mark.parametrize("path", [SUBJECTS, RESOURCES, ACTIONS])
def test_a_search_answers_with_page_context_and_results_in_this_order(fixture: Fixture, path: str) -> None:
    told = fixture.told(path, searches(fixture)[path])
    assert list(told) == ["page", "context", "results"]
    assert told["page"] == {"next_token": "", "count": len(told["results"])}
    assert told["context"]["id"].startswith("sr_")


@pytest.mark.parametrize(("path", "entity"), [(SUBJECTS, "subject"), (RESOURCES, "resource")])
@pytest.mark.parametrize("ident", ["nothing", "", 5, None])
def test_the_id_of_what_is_searched_for_is_ignored(fixture: Fixture, path: str, entity: str, ident: Any) -> None:
    asked = searches(fixture)[path]
    named = asked | {entity: asked[entity] | {"id": ident}}
    assert found(fixture.told(path, named)) == found(fixture.told(path, asked)) != []


def test_an_action_in_an_action_search_is_ignored(fixture: Fixture) -> None:
    assert found(fixture.told(ACTIONS, searches(fixture)[ACTIONS] | {"action": {"name": "delete"}})) == ["export"]


def test_what_is_found_is_allowed_when_it_is_asked_for_and_the_rest_is_not(world: World) -> None:
    fixture = Fixture(world)
    kinds: dict[str, tuple[str, ...]] = {"general": (), "personal": ("personal",), "important": ("important",)}
    datasets = [fixture.open, fixture.closed, world.dataset(fixture.handler, graded=False)]
    datasets += [world.dataset(fixture.handler, *tags) for tags in kinds.values()]
    world.approved(fixture.handler, [datasets[-1]], fixture.recipient)
    world.approved(fixture.handler, [datasets[-2]], fixture.recipient, persons=1)
    listed = found(fixture.told(RESOURCES, fixture.question(resource={"type": "dataset"})))
    asked = [{"resource": {"type": "dataset", "id": dataset["id"]}} for dataset in datasets]
    told = fixture.told(EVALUATIONS, fixture.question() | {"evaluations": asked})["evaluations"]
    allowed = [dataset["id"] for dataset, answer in zip(datasets, told, strict=True) if answer["decision"]]
    # Persons are stated, and general data is about nobody: that is not found either.
    assert listed == allowed == [datasets[0]["id"]]


def test_the_context_counts_as_in_an_evaluation(fixture: Fixture) -> None:
    asked = searches(fixture)[RESOURCES]
    for change in ({"persons": 1001}, {"purpose": "advertising"}, {"recipient": "nobody"}, {"fields": ["unheard"]}):
        assert found(fixture.told(RESOURCES, asked | {"context": fixture.context | change})) == []
    assert found(fixture.told(RESOURCES, {name: asked[name] for name in asked if name != "context"})) == []


def test_a_revoked_permit_is_found_no_more(world: World) -> None:
    fixture = Fixture(world)
    asked = searches(fixture)
    assert all(fixture.told(path, body)["results"] for path, body in asked.items())
    world.reviewers["legal"].made(f"/v1/permits/{fixture.permit}/revoke", {"reason": "Contract ended"})
    assert [fixture.told(path, body)["results"] for path, body in asked.items()] == [[], [], []]


def test_after_a_revocation_no_search_under_way_finds_anything(world: World) -> None:
    for _ in range(3):
        fixture = Fixture(world)
        body = searches(fixture)[RESOURCES]
        with ThreadPoolExecutor(9) as pool:
            sought = [pool.submit(fixture.told, RESOURCES, body) for _ in range(24)]
            revoked = pool.submit(
                world.reviewers["legal"].made, f"/v1/permits/{fixture.permit}/revoke", {"reason": "Contract ended"}
            )
            answers = {answer.result()["context"]["id"]: found(answer.result()) for answer in sought}
            revoked.result()
        entries = world.auditor.get("/v1/audit/entries", handler=fixture.handler["id"], limit=200).json()["items"]
        acts = [entry for entry in entries if entry["action"] in {"gate.searched", "permit.revoked"}]
        place = [entry["action"] for entry in acts].index("permit.revoked")
        assert len(acts) == 25
        assert all(answers[entry["subject"]] == [fixture.open["id"]] for entry in acts[:place])
        assert all(answers[entry["subject"]] == [] for entry in acts[place + 1 :])


def test_only_datasets_of_the_callers_handlers_are_named(world: World, fixture: Fixture) -> None:
    other = Fixture(world)
    context = {"recipient": fixture.recipient["key"], "purpose": "analytics", "persons": 5}
    world.approved(other.handler, [other.open], fixture.recipient, persons=1000)
    assert found(fixture.told(RESOURCES, searches(fixture)[RESOURCES])) == [fixture.open["id"]]
    assert found(other.told(RESOURCES, other.question(resource={"type": "dataset"}, context=context))) == [
        other.open["id"]
    ]
    both = world.exporter.post(RESOURCES, searches(fixture)[RESOURCES]).json()
    assert set(found(both)) >= {fixture.open["id"], other.open["id"]}


def test_an_exporter_of_some_handlers_finds_those_of_all_of_them(world: World) -> None:
    fixture, other = Fixture(world), Fixture(world)
    world.approved(other.handler, [other.open], fixture.recipient, persons=1000)
    grant = {"principal": fixture.system.id, "role": "exporter", "handler": other.handler["id"]}
    world.admin.made("/v1/grants", grant)
    asked = searches(fixture)[RESOURCES]
    assert found(fixture.told(RESOURCES, asked)) == [fixture.open["id"], other.open["id"]]
    assert [found(page) for page in walked(fixture, RESOURCES, asked, limit=1)][:2] == [
        [fixture.open["id"]],
        [other.open["id"]],
    ]


def test_of_another_handlers_dataset_nothing_is_told(world: World, fixture: Fixture) -> None:
    stranger = Fixture(world)
    asked = searches(fixture)
    for path in (SUBJECTS, ACTIONS):
        assert stranger.told(path, asked[path])["results"] == []
        assert stranger.told(path, asked[path])["context"]["looked_at"] == 0


def test_systems_are_found_that_export_for_the_handler_and_are_not_shut_out(world: World) -> None:
    fixture = Fixture(world)
    second, elsewhere, out = fixture.exporter(), Fixture(world).system, fixture.exporter()
    person = world.person("exporter", handler=fixture.handler["id"])
    auditor = world.person("auditor", kind="system", handler=fixture.handler["id"])
    world.admin.made(f"/v1/principals/{out.id}/disable", None)
    names = found(fixture.told(SUBJECTS, searches(fixture)[SUBJECTS]))
    assert {fixture.system.name, second.name, world.exporter.name} <= set(names)
    assert not {elsewhere.name, out.name, person.name, auditor.name} & set(names)


def test_systems_that_a_permit_does_not_name_are_not_found(world: World) -> None:
    fixture = Fixture(world)
    fixture.exporter()
    world.approved(fixture.handler, [fixture.closed], fixture.recipient, persons=9, systems=[fixture.system.name])
    asked = searches(fixture)[SUBJECTS] | fixture.denied()
    assert found(fixture.told(SUBJECTS, asked)) == [fixture.system.name]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (SUBJECTS, {"subject": {"type": "spaceship"}}),
        (SUBJECTS, {"resource": {"type": "dataset", "id": "nothing"}}),
        (SUBJECTS, {"resource": {"type": "spaceship", "id": "nothing"}}),
        (SUBJECTS, {"action": {"name": "delete"}}),
        (RESOURCES, {"resource": {"type": "spaceship"}}),
        (RESOURCES, {"action": {"name": "delete"}}),
        (ACTIONS, {"resource": {"type": "dataset", "id": "nothing"}}),
        (ACTIONS, {"resource": {"type": "spaceship", "id": "nothing"}}),
    ],
)
def test_what_is_not_known_is_no_error_and_finds_nothing(fixture: Fixture, path: str, change: Json) -> None:
    told = fixture.told(path, searches(fixture)[path] | change)
    assert (told["results"], told["page"]) == ([], {"next_token": "", "count": 0})


REQUIRED = [
    (SUBJECTS, "subject", "type"),
    (SUBJECTS, "action", "name"),
    (SUBJECTS, "resource", "id"),
    (RESOURCES, "subject", "id"),
    (RESOURCES, "action", "name"),
    (RESOURCES, "resource", "type"),
    (ACTIONS, "subject", "id"),
    (ACTIONS, "resource", "id"),
]


@pytest.mark.parametrize(("path", "entity", "member"), REQUIRED)
def test_what_a_search_must_hold(fixture: Fixture, path: str, entity: str, member: str) -> None:
    asked = searches(fixture)[path]
    lacking = {name: value for name, value in asked[entity].items() if name != member}
    for wrong in (asked | {entity: lacking}, asked | {entity: "x"}, {n: v for n, v in asked.items() if n != entity}):
        answer = fixture.send(path, wrong)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"].startswith(f"/{entity}")


def test_every_search_is_one_entry_with_what_was_asked_and_found(fixture: Fixture) -> None:
    for path, results in ((RESOURCES, [fixture.open["id"]]), (ACTIONS, ["export"])):
        asked = searches(fixture)[path]
        asked["subject"] = asked["subject"] | {"properties": {"mail": "a@example.com"}}
        told = fixture.told(path, asked)
        (entry,) = fixture.world.auditor.get("/v1/audit/entries", subject=told["context"]["id"]).json()["items"]
        assert (entry["action"], entry["actor"]) == ("gate.searched", fixture.system.id)
        assert entry["handler"] == fixture.handler["id"]
        assert entry["details"]["search"] == path.rsplit("/", 1)[1]
        assert entry["details"]["results"] == results
        assert "properties" not in entry["details"]["question"]["subject"]


def test_a_search_that_is_refused_leaves_nothing(fixture: Fixture) -> None:
    def entries() -> int:
        return len(fixture.world.auditor.get("/v1/audit/entries", actor=fixture.system.id, limit=200).json()["items"])

    fixture = Fixture(fixture.world)
    before = entries()
    fixture.send(RESOURCES, searches(fixture)[RESOURCES] | {"page": {"token": "x"}})
    assert entries() == before == 0


def test_who_exports_for_nobody_may_not_search(world: World, fixture: Fixture) -> None:
    for path, body in searches(fixture).items():
        assert world.requester.post(path, body).status_code == 403
        assert world.http.post(path, json=body).status_code == 401


# 8.2 Pagination


@pytest.fixture(scope="module")
def many(world: World) -> Fixture:
    """Seven datasets of general data between others that are never found, and six systems."""
    fixture = Uncounted(world)
    for _ in range(6):
        world.dataset(fixture.handler)
        world.dataset(fixture.handler, "personal")
        fixture.exporter()
    return fixture


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100, 5000])
def test_pages_leave_nothing_out_and_repeat_nothing(many: Fixture, limit: int) -> None:
    asked = many.question(resource={"type": "dataset"})
    everything = found(many.told(RESOURCES, asked))
    pages = walked(many, RESOURCES, asked, limit=limit)
    assert [ident for page in pages for ident in found(page)] == everything
    assert len(everything) == 7
    assert all(page["page"]["count"] == len(page["results"]) <= limit for page in pages)


def test_a_request_looks_at_a_bounded_part_of_the_register(postgres: str, tmp_path: Path) -> None:
    columns = "id, key, handler, title, owner, fields, facts, created_at, updated_at"
    with apart(postgres, "search", tmp_path) as (world, url):
        fixture = Fixture(world)
        run_sql(
            url,
            f"insert into datasets ({columns}) select 'ds_' || lpad(n::text, 26, '0'), 'ungraded/' || n, '{fixture.handler['id']}',"  # noqa: S608
            " 'Orders', 'Order team', '[]', '{}', now(), now() from generate_series(1, 2300) n",
        )
        pages = walked(fixture, RESOURCES, fixture.question(resource={"type": "dataset"}))
    assert [page["context"]["looked_at"] for page in pages] == [1000, 1000, 302]
    assert [found(page) for page in pages] == [[], [], [fixture.open["id"]]]


def test_systems_come_in_pages_too(many: Fixture) -> None:
    asked = many.question(subject={"type": "system"})
    everything = found(many.told(SUBJECTS, asked))
    pages = walked(many, SUBJECTS, asked, limit=2)
    assert [ident for page in pages for ident in found(page)] == everything
    assert len(everything) >= 7


def test_a_page_of_nothing_leads_to_the_beginning(many: Fixture) -> None:
    asked = many.question(resource={"type": "dataset"})
    told = many.told(RESOURCES, asked | {"page": {"limit": 0}})
    assert told["results"] == []
    assert told["page"]["next_token"] != ""


def test_an_action_search_has_one_page(many: Fixture) -> None:
    asked = many.without("action")
    assert many.told(ACTIONS, asked | {"page": {"limit": 1}})["page"] == {"next_token": "", "count": 1}


@pytest.mark.parametrize("page", [None, {}, {"token": ""}, {"token": None, "limit": None}, {"properties": {}, "x": 1}])
def test_a_page_may_say_nothing(many: Fixture, page: Json | None) -> None:
    asked = many.question(resource={"type": "dataset"}, page=page)
    assert len(found(many.told(RESOURCES, asked))) == 7


def token_of(many: Fixture, **change: Any) -> tuple[Json, str]:
    asked = many.question(resource={"type": "dataset"}, **change)
    token: str = many.told(RESOURCES, asked | {"page": {"limit": 2}})["page"]["next_token"]
    return asked, token


def test_a_token_goes_with_the_same_limit_or_none(many: Fixture) -> None:
    asked, token = token_of(many)
    for page in ({"token": token}, {"token": token, "limit": 2}):
        assert many.told(RESOURCES, asked | {"page": page})["page"]["count"] == 2
    other = many.send(RESOURCES, asked | {"page": {"token": token, "limit": 3}})
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (400, "/page/limit")


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"type": "system", "id": "another"}},
        {"action": {"name": "delete"}},
        {"context": {"recipient": "another"}},
        {"context": None},
        {"action": {"name": "export", "properties": {"method": "GET"}}},
    ],
)
def test_a_token_of_another_query_is_refused(many: Fixture, change: Json) -> None:
    asked, token = token_of(many)
    answer = many.send(RESOURCES, asked | change | {"page": {"token": token}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/page/token")


def test_a_token_of_another_search_or_another_caller_is_refused(many: Fixture) -> None:
    asked, token = token_of(many)
    other = many.exporter()
    assert other.post(RESOURCES, asked | {"page": {"token": token}}).status_code == 400
    assert many.send(SUBJECTS, many.question(page={"token": token})).status_code == 400


def test_a_token_that_was_touched_is_refused(many: Fixture) -> None:
    asked, token = token_of(many)
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    touched = [bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]]) for at in range(len(raw))]
    wrong = [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in touched]
    for page in [*wrong, token[:-4], token + "AAAA", "AAAA", "%%%", "é", "x" * 500]:
        assert many.send(RESOURCES, asked | {"page": {"token": page}}).status_code == 400


@pytest.mark.parametrize("page", [5, [], {"limit": -1}, {"limit": "5"}, {"limit": 1.5}, {"token": 5}, {"limit": True}])
def test_a_malformed_page_is_400(many: Fixture, page: Any) -> None:
    answer = many.send(RESOURCES, many.question(resource={"type": "dataset"}, page=page))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"][:5]) == (400, "/page")


# 9 Metadata


def test_metadata_names_every_endpoint(fixture: Fixture) -> None:
    answer = fixture.world.http.get("/.well-known/authzen-configuration")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "max-age=600"
    told = answer.json()
    base = told["policy_decision_point"]
    assert told == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_evaluations_endpoint": base + EVALUATIONS,
        "search_subject_endpoint": base + SUBJECTS,
        "search_resource_endpoint": base + RESOURCES,
        "search_action_endpoint": base + ACTIONS,
    }
    assert base == str(fixture.world.http.base_url).rstrip("/")


# 10 Transport

PATHS = [EVALUATION, EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS]


def body_for(fixture: Fixture, path: str) -> Json:
    return searches(fixture).get(path, fixture.question())


@pytest.mark.parametrize("path", PATHS)
def test_unknown_fields_are_ignored_wherever_they_are(fixture: Fixture, way: str, path: str) -> None:
    body = {name: value | {"future": {"nested": [1]}} for name, value in body_for(fixture, path).items()}
    fixture.told(path + way, body | {"foo": "bar", "futureField": {"nested": True}})


@pytest.mark.parametrize("path", PATHS)
def test_members_may_come_in_any_order(fixture: Fixture, way: str, path: str) -> None:
    body = body_for(fixture, path)
    turned = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value
        for name, value in reversed(body.items())
    }
    told, again = fixture.told(path + way, body), fixture.told(path + way, turned)
    assert (told.get("decision"), told.get("results")) == (again.get("decision"), again.get("results"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/problem+json", "application/jsonx"]
)
def test_another_media_type_is_400(fixture: Fixture, way: str, path: str, kind: str | None) -> None:
    body = json.dumps(body_for(fixture, path)).encode()
    assert fixture.raw(path + way, body, kind).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_json_with_parameters_too(fixture: Fixture, way: str, kind: str) -> None:
    answer = fixture.raw(EVALUATION + way, json.dumps(fixture.question()).encode(), kind)
    assert answer.json()["decision"] is True


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 100 + b"}",
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"a": 1} {}',
    ],
    ids=lambda body: repr(body[:14]),
)
def test_what_is_no_proper_json_is_400(fixture: Fixture, way: str, path: str, body: bytes) -> None:
    answer = fixture.raw(path + way, body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("member", "twice"),
    [
        ('"subject"', '"subject": {"type": "system", "id": "a"}, "subject"'),
        ('"subject"', '"extra": 1, "extra": 2, "subject"'),
        ('"subject"', '"\\u0073ubject": {"type": "system", "id": "a"}, "subject"'),
        ('"type"', '"type": "system", "type"'),
    ],
)
def test_a_member_that_comes_twice_is_400(fixture: Fixture, way: str, path: str, member: str, twice: str) -> None:
    body = json.dumps(body_for(fixture, path)).replace(member, twice, 1)
    assert fixture.raw(path + way, body.encode()).status_code == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "more",
    [b'"a": ' + b'{"a":' * 40 + b"1" + b"}" * 40, b'"a": ' + b"9" * 100, b'"a": 1e999'],
    ids=["depth", "digits", "magnitude"],
)
def test_the_limits_hold_in_fields_that_are_ignored_too(fixture: Fixture, way: str, path: str, more: bytes) -> None:
    body = json.dumps(body_for(fixture, path)).encode()
    assert fixture.raw(path + way, b"{" + more + b", " + body[1:]).status_code == 400


@pytest.mark.parametrize("path", PATHS)
def test_a_body_over_the_limit_is_413(fixture: Fixture, way: str, path: str) -> None:
    big = json.dumps(body_for(fixture, path) | {"padding": "a" * 2**20}).encode()
    assert fixture.raw(path + way, big).status_code == 413

    def chunks() -> Any:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    headers = {"Authorization": f"Bearer {fixture.system.secret}", "Content-Type": "application/json"}
    assert fixture.world.http.post(path + way, content=chunks(), headers=headers).status_code == 413


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "ident", ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "a b", '{"trace": "<1>"}', "00-4bf9-01;x=~!#$%", "x" * 1024]
)
def test_the_request_id_is_given_back_as_it_came(fixture: Fixture, way: str, path: str, ident: str) -> None:
    for body in (body_for(fixture, path), {}):
        assert fixture.send(path + way, body, X_Request_ID=ident).headers["X-Request-ID"] == ident


@pytest.mark.parametrize("path", PATHS)
def test_without_a_request_id_one_is_made(fixture: Fixture, way: str, path: str) -> None:
    assert fixture.send(path + way, body_for(fixture, path)).headers["X-Request-ID"].startswith("rq_")


@pytest.mark.parametrize("path", PATHS)
def test_who_shows_no_key_is_401_with_a_challenge(fixture: Fixture, way: str, path: str) -> None:
    for key in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer ob_live_000000000000_" + "0" * 52}):
        answer = fixture.world.http.post(path + way, json=body_for(fixture, path), headers=key)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize("path", PATHS)
def test_another_method_is_405(fixture: Fixture, path: str) -> None:
    assert fixture.system.get(path).status_code == 405


# What the guide for callers says


GUIDE = Path(__file__).parents[2] / "docs" / "callers.md"


def test_the_calls_of_the_guide_are_answered(fixture: Fixture) -> None:
    calls = re.findall(
        r"curl -s \"\$OUTBOUND(/access/\S+)\".*? -d '(.*?)'", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert [path for path, _ in calls] == [EVALUATION, RESOURCES]
    for path, body in calls:
        assert fixture.raw(path, body.encode()).status_code == 200


def test_the_documents_of_the_guide_are_what_is_sent_and_answered(fixture: Fixture) -> None:
    documents = re.findall(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (several,) = [json.loads(text) for text in documents if "evaluations_semantic" in text]
    (answer,) = [json.loads(text) for text in documents if "next_token" in text]
    assert len(fixture.told(EVALUATIONS, several)["evaluations"]) == 2
    told = fixture.told(RESOURCES, searches(fixture)[RESOURCES])
    for shown, real in ((answer, told), (answer["page"], told["page"]), (answer["context"], told["context"])):
        assert shown.keys() == real.keys()
    assert answer["results"][0].keys() == told["results"][0].keys()
    assert answer["results"][0]["properties"].keys() == told["results"][0]["properties"].keys()
