"""The HTTP contract: problems, ETags, Idempotency-Key, paging, request ids, health, and bad input of every kind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.headers import AsTold
from tests.world import World, day


def test_a_stranger_is_told_nothing_but_that_a_key_is_needed(http: httpx.Client) -> None:
    for key in (None, "Bearer nonsense", "Bearer ob_live_000000000000_" + "0" * 52, "Basic abc"):
        answer = http.get("/v1/me", headers={"Authorization": key} if key else {})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"].endswith("unauthenticated")


def test_a_stranger_learns_nothing_of_what_a_body_should_be(http: httpx.Client) -> None:
    assert http.post("/v1/handlers", json={"nonsense": 1}).status_code == 401


def test_a_problem_has_all_of_its_members(world: World) -> None:
    answer = world.registrar.post("/v1/handlers", {"key": "x", "name": "", "facts": {"ciio": "no"}, "extra": 1})
    problem = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert {"type", "title", "status", "detail", "instance", "errors"} <= set(problem)
    assert problem["instance"] == "/v1/handlers"
    assert {error["pointer"] for error in problem["errors"]} == {"/name", "/facts/ciio", "/extra"}
    assert world.http.get(problem["type"]).json()["status"] == 422


def test_a_wrong_path_method_or_type_is_a_problem_document(world: World) -> None:
    assert world.registrar.get("/v1/nothing").json()["status"] == 404
    assert world.registrar.send("PUT", "/v1/handlers", {}).json()["status"] == 405
    headers = {"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": "text/plain"}
    assert world.http.post("/v1/handlers", content="{}", headers=headers).json()["status"] == 415


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/handlers", "GET, POST"),
        ("/v1/handlers/some", "GET, PATCH"),
        ("/v1/handlers/some/ledger", "GET"),
        ("/v1/datasets/import", "POST"),
        ("/access/v1/evaluation", "POST"),
    ],
)
def test_a_wrong_method_is_told_all_that_the_path_takes(world: World, path: str, allowed: str) -> None:
    answer = world.registrar.send("PUT", path, {})
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"key": NaN}',
        b'{"key": 1e999}',
        b'{"key": "a", "key": "b"}',
        b'{"key": "\\u0000"}',
        b'{"key": "\\ud800"}',
        b'{"\\udfff": 1}',
        b"\xff\xfe",
        b'{"key": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/handlers", "/v1/transfers", "/v1/exports", "/v1/determinations", "/access/v1/evaluation"]
)
def test_what_is_no_proper_json_is_refused_and_never_a_fault(world: World, path: str, body: bytes) -> None:
    everyone = world.person("registrar", "requester", "exporter")
    headers = {"Authorization": f"Bearer {everyone.secret}", "Content-Type": "application/json"}
    answer = world.http.post(path, content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_body_over_the_limit_is_refused(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": "application/json"}
    big = b'{"key": "' + b"a" * 2_000_000 + b'"}'
    assert world.http.post("/v1/handlers", content=big, headers=headers).status_code == 413

    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65536

    assert world.http.post("/v1/handlers", content=chunks(), headers=headers).status_code == 413


@pytest.mark.parametrize(
    "path", ["/v1/datasets?limit=0", "/v1/datasets?limit=201", "/v1/datasets?limt=5", "/v1/datasets?cursor=%21"]
)
def test_a_wrong_parameter_is_named(world: World, path: str) -> None:
    answer = world.registrar.get(path)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] in {"/limit", "/limt", "/cursor"}


@pytest.mark.parametrize(
    "reference",
    ["nothing", "hd_00000000000000000000000000", "%00", "a%00b", "%ff", "x" * 190, "'; drop table handlers; --"],
)
def test_a_reference_to_nothing_is_404(world: World, reference: str) -> None:
    for path in ("handlers", "recipients", "datasets", "transfers", "permits", "exports"):
        assert world.auditor.get(f"/v1/{path}/{reference}").status_code in {400, 404, 422}


def test_the_request_id_is_echoed_or_made(http: httpx.Client) -> None:
    assert http.get("/livez", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    assert http.get("/livez").headers["X-Request-ID"].startswith("rq_")
    assert http.get("/livez", headers={"X-Request-ID": "a\tb<script>"}).headers["X-Request-ID"].startswith("rq_")


def test_a_list_is_walked_page_by_page_without_gap_or_repeat(world: World) -> None:
    handler = world.handler()
    made = [world.dataset(handler, graded=False)["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"handler": handler["id"], "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = world.auditor.get("/v1/datasets", **params).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made


def test_a_change_needs_the_etag_of_what_was_read(world: World) -> None:
    handler = world.handler()
    path = f"/v1/handlers/{handler['id']}"
    etag = world.registrar.get(path).headers["ETag"]
    assert world.registrar.send("PATCH", path, {"name": "A"}).status_code == 428
    assert world.registrar.send("PATCH", path, {"name": "A"}, If_Match='"other"').status_code == 412
    changed = world.registrar.send("PATCH", path, {"name": "A"}, If_Match=etag)
    assert (changed.status_code, changed.json()["name"]) == (200, "A")
    assert changed.headers["ETag"] == world.registrar.get(path).headers["ETag"] != etag
    assert world.registrar.send("PATCH", path, {"name": "B"}, If_Match=etag).status_code == 412


def test_what_the_caller_holds_is_not_sent_again(world: World) -> None:
    path = f"/v1/handlers/{world.handler()['id']}"
    etag = world.registrar.get(path).headers["ETag"]
    assert world.registrar.send("GET", path, If_None_Match=etag).status_code == 304


def test_two_changes_with_one_etag_do_not_both_happen(world: World) -> None:
    path = f"/v1/handlers/{world.handler()['id']}"
    etag = world.registrar.get(path).headers["ETag"]

    def change(number: int) -> int:
        return world.registrar.send("PATCH", path, {"name": f"Name {number}"}, If_Match=etag).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(8))) == [200] + [412] * 7


def test_an_action_looks_at_if_match_when_it_is_sent(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    draft = world.draft(handler, [world.dataset(handler, "personal")], recipient, persons=5)
    path = f"/v1/transfers/{draft['id']}/submit"
    assert world.requester.post(path, None, If_Match='"stale"').status_code == 412
    assert world.requester.post(path).status_code == 200


def test_a_created_resource_tells_where_it_is(world: World) -> None:
    body = {"key": world.name("handler"), "name": "Invented", "facts": {"ciio": False}}
    made = world.registrar.post("/v1/handlers", body)
    assert made.status_code == 201
    assert world.registrar.get(made.headers["Location"]).json() == made.json()


def test_the_same_key_and_body_happen_once(world: World) -> None:
    body = {"key": world.name("handler"), "name": "Invented", "facts": {"ciio": False}}
    first = world.registrar.post("/v1/handlers", body, Idempotency_Key="one")
    again = world.registrar.post("/v1/handlers", body, Idempotency_Key="one")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Location"] == first.headers["Location"]
    assert world.registrar.post("/v1/handlers", body | {"name": "Other"}, Idempotency_Key="one").status_code == 422
    assert world.registrar.post("/v1/handlers", body).status_code == 409


def test_one_callers_key_is_not_anothers(world: World) -> None:
    other = world.person("registrar")
    for caller in (world.registrar, other):
        body = {"key": world.name("handler"), "name": "Invented", "facts": {"ciio": False}}
        assert caller.post("/v1/handlers", body, Idempotency_Key="shared").status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_an_unusable_key_is_refused(world: World, key: str) -> None:
    body = {"key": world.name("handler"), "name": "Invented", "facts": {"ciio": False}}
    assert world.registrar.post("/v1/handlers", body, Idempotency_Key=key).status_code == 422


def test_one_key_sent_many_times_at_once_makes_one_thing(world: World) -> None:
    body = {"key": world.name("handler"), "name": "Invented", "facts": {"ciio": False}}
    start = threading.Barrier(8)

    def send(_: int) -> httpx.Response:
        start.wait()
        return world.registrar.post("/v1/handlers", body, Idempotency_Key="race")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert all("in-flight" in answer.json()["type"] for answer in answers if answer.status_code == 409)


def test_health(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "alive"}
    assert http.get("/readyz").json() == {"status": "ready"}


def test_the_document_is_served_and_states_the_roles_of_every_route(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["x-roles"], (method, path)
            assert operation["operationId"]


def test_the_documentation_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "http" not in page.replace("http-equiv", "")
    for path in ("/docs/files/swagger-ui.css", "/docs/files/swagger-ui-bundle.js", "/docs/start.js"):
        assert path in page
        assert http.get(path).status_code == 200
    assert "default-src 'self'" in http.get("/docs").headers["Content-Security-Policy"]


def test_nothing_is_stored_of_a_refused_request(world: World) -> None:
    def entries() -> int:
        page = world.auditor.get("/v1/audit/entries", actor=world.registrar.id, limit=200).json()
        return len(page["items"])

    before = entries()
    world.registrar.post("/v1/handlers", {"key": world.name("handler"), "name": "x", "facts": {}})
    world.registrar.post("/v1/datasets", {"key": "a/b", "handler": "nowhere", "title": "T", "owner": "O", "fields": []})
    assert entries() == before


Sender = Callable[[dict[str, Any]], httpx.Response]


@pytest.mark.parametrize("value", [10**16, -1, 1.5, "5", True, None, [], 10**30])
def test_a_count_that_is_none_is_refused_everywhere(world: World, value: Any) -> None:
    facts = {"handler": {"ciio": False}, "dataset": {"tags": ["personal"]}, "recipient": {"country": "SG"}}
    answer = world.auditor.post("/v1/determinations", facts | {"transfer": {"persons": value}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/transfer/persons"
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    body = {"dataset": dataset["id"], "recipient": world.recipient()["id"], "purpose": "analytics", "persons": value}
    assert world.exporter.post("/v1/exports", body).status_code == 422


def test_days_are_days(world: World) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    body = {
        "handler": handler["id"],
        "datasets": [dataset["id"]],
        "recipient": recipient["id"],
        "purpose": "p",
        "description": "d",
        "persons": 1,
        "sensitive_persons": 0,
        "valid_from": day(0),
        "valid_until": day(1),
    }
    for wrong in ("tomorrow", "2026-13-01", 5, "2026-11-24T00:00:00Z", ""):
        answer = world.requester.post("/v1/transfers", body | {"valid_until": wrong})
        assert answer.json()["errors"][0]["pointer"] == "/valid_until"
    assert world.requester.post("/v1/transfers", body | {"valid_until": day(-1)}).status_code == 422
    assert json.loads(world.requester.post("/v1/transfers", body).content)["status"] == "draft"


@pytest.mark.parametrize("day_", ["0001-01-01", "1989-12-31", "2201-01-01", "9999-12-31"])
def test_days_beyond_any_calendar_are_refused_and_never_a_fault(world: World, day_: str) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    draft = world.draft(handler, [dataset], world.recipient(), persons=1)
    paper = {"kind": "certificate", "reference": "1", "issuer": "I", "issued_on": day_}
    assert world.requester.post(f"/v1/transfers/{draft['id']}/evidence", paper).status_code == 422
    assert world.requester.patch(f"/v1/transfers/{draft['id']}", {"valid_until": day_}).status_code == 422
    grading = {"tags": [], "reason": "r", "basis": "b", "review_by": day_}
    assert world.registrar.post(f"/v1/datasets/{dataset['id']}/gradings", grading).status_code == 422
    moment = f"{day_}T00:00:00+14:00"
    assert world.auditor.get("/v1/audit/entries", since=moment).status_code == 422
    key = {"principal": world.exporter.id, "expires_at": moment}
    assert world.admin.post("/v1/api-keys", key).status_code == 422
    facts = {"handler": {"ciio": False}, "recipient": {"country": "SG"}, "as_of": day_}
    assert world.auditor.post("/v1/determinations", facts).status_code == (422 if day_ < "2021" else 200)


@pytest.mark.parametrize("name", ["上海 数据", "全角\u3000空格", "Zoë O’Neil", "emoji 🚕"])
def test_names_of_every_script_are_taken(world: World, name: str) -> None:
    body = {"key": world.name("h"), "name": name, "facts": {"ciio": False}}
    assert world.registrar.post("/v1/handlers", body).json()["name"] == name


@pytest.mark.parametrize("name", ["turned \u202e round", "zero\u200bwidth", "line\nbreak", "bell\x07"])
def test_what_nobody_can_see_is_refused(world: World, name: str) -> None:
    body = {"key": world.name("h"), "name": name, "facts": {"ciio": False}}
    assert world.registrar.post("/v1/handlers", body).json()["errors"][0]["pointer"] == "/name"


def test_a_key_may_hold_an_underscore_anywhere(world: World) -> None:
    handler = world.handler()
    body = {"handler": handler["id"], "title": "T", "owner": "O", "fields": []}
    assert world.registrar.post("/v1/datasets", body | {"key": "db_" + "u" * 26}).status_code == 201
    assert world.registrar.post("/v1/datasets", body | {"key": handler["id"]}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status", "headers", "is_as_told"),
    [
        ("GET", "/v1/handlers/a%2Fb?x=1", 200, {"ETag": '"a"', "X-Request-ID": "1"}, True),
        ("GET", "/v1/handlers/a%2Fb", 200, {}, False),
        ("GET", "/v1/handlers", 200, {"ETag": '"a"'}, False),
        ("POST", "/v1/handlers", 201, {"ETag": '"a"'}, False),
        ("POST", "/v1/handlers", 503, {}, False),
        ("POST", "/v1/handlers", 429, {"Retry-After": "1"}, True),
        ("GET", "/v1/nowhere", 404, {"ETag": '"a"'}, True),
    ],
)
def test_a_header_that_is_missing_or_was_not_announced_is_noticed(
    method: str,
    path: str,
    status: int,
    headers: dict[str, str],
    is_as_told: bool,  # noqa: FBT001
) -> None:
    """As every answer is looked at that the suite is given (`tests/headers.py`)."""
    answer = httpx.Response(status, headers=headers, request=httpx.Request(method, f"http://outbound{path}"))
    if is_as_told:
        AsTold()(answer)
    else:
        with pytest.raises(AssertionError):
            AsTold()(answer)
