"""Whoever writes something that another program reads as an order: SQL, HTML, log lines, paths, headers."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from service import logs
from service.settings import Settings
from service.validation.strict_json import MAX_VALUES
from tests.attacks.companies import Company
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.world import Json, World

SQL = (
    "' OR 1=1 --",
    "'; DROP TABLE handlers; --",
    '" OR ""="',
    "1) UNION SELECT secret FROM api_keys --",
    "$1",
    "%(handler)s",
    "\\'; select pg_sleep(9) --",
    "a' || pg_sleep(9) || 'b",
)
SCRIPT = "<script>alert(document.cookie)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def document(world: World) -> Json:
    found: Json = world.http.get("/openapi.json").json()
    return found


def filters(document: Json) -> Iterator[tuple[str, str]]:
    """Every query parameter that takes any text, of every list."""
    for path, methods in document["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", []):
            if parameter["in"] == "query" and parameter["name"] not in {"limit", "cursor"}:
                yield path, parameter["name"]


def test_no_filter_is_read_as_sql(world: World, victim: Company, document: Json) -> None:
    """Every filter of every list: refused or empty, never a fault, never everything."""
    assert victim.permit
    wide = world.person("auditor", "admin", "registrar", "reviewer:legal")
    asked = 0
    turns = itertools.cycle(SQL)
    for path, name in filters(document):
        if "{" in path:
            continue
        for attack in itertools.islice(turns, 2):
            answer = wide.get(path, **{name: attack})
            asked += 1
            assert answer.status_code in {200, 404, 422}, (path, name, attack, answer.text)
            if answer.status_code == 200:
                assert answer.json()["items"] == [], (path, name, attack)
    assert asked > 80
    assert world.auditor.get(f"/v1/permits/{victim.permit}").status_code == 200


def test_no_id_is_read_as_sql_or_as_a_path(world: World, document: Json) -> None:
    wide = world.person("auditor", "admin", "registrar", "requester", "reviewer:legal", "exporter")
    turns = itertools.cycle(("' OR 1=1 --", "..%2F..%2Fetc%2Fpasswd", "%2e%2e", "*", "%25", "1;select 1", "%27%22%5c"))
    for path, methods in document["paths"].items():
        if "{" not in path or "get" not in methods:
            continue
        for attack in itertools.islice(turns, 2):
            told = path
            for parameter in methods["get"].get("parameters", []):
                if parameter["in"] == "path":
                    told = told.replace("{" + parameter["name"] + "}", attack)
            answer = wide.get(told)
            assert answer.status_code in {403, 404, 422}, (told, answer.status_code)


@pytest.mark.parametrize("words", ["%", "_", "%%", "\\", "a%b"])
def test_a_search_for_a_wildcard_finds_what_holds_it_and_not_everything(
    world: World, victim: Company, words: str
) -> None:
    assert victim.dataset["id"] not in world.auditor.get("/v1/datasets", text=words, limit=200).text
    assert victim.handler["id"] not in world.auditor.get("/v1/handlers", text=words, limit=200).text
    assert victim.transfer["id"] not in world.auditor.get("/v1/transfers", text=words, limit=200).text


def test_sql_in_a_body_is_a_text_like_any_other(world: World) -> None:
    handler = world.handler()
    for attack in SQL:
        dataset = world.dataset(handler, title=attack, owner=attack)
        kept = world.auditor.get(f"/v1/datasets/{dataset['id']}").json()
        assert (kept["title"], kept["owner"]) == (attack, attack)
    told = world.ask({"id": "x' OR 'x'='x"}, {"id": "y'; --"}, purpose="$1 OR true")
    assert told["context"]["reason"] == "dataset_unknown"


def test_nothing_that_callers_write_is_served_as_a_page(world: World, victim: Company) -> None:
    """Whatever is in a title, a comment or an address comes back as JSON that no browser runs."""
    handler = world.handler()
    dataset = world.dataset(handler, title=SCRIPT, owner=SCRIPT)
    comment = f"/v1/transfers/{victim.transfer['id']}/comments"
    world.requester.made(comment, {"text": SCRIPT})
    addresses = (
        f"/v1/datasets/{dataset['id']}",
        "/v1/datasets?text=%3Cscript%3E",
        comment,
        f"/v1/handlers/{SCRIPT}",
        f"/problems/{SCRIPT}",
        f"/{SCRIPT}",
        "/v1/datasets?tag=%3Cscript%3E",
    )
    for address in addresses:
        answer = world.auditor.get(address)
        assert answer.headers["content-type"] in {"application/json", "application/problem+json"}, address
        assert answer.headers.get("x-content-type-options") == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "<script>" not in urlsplit(answer.headers.get("location", "")).path


def test_a_page_of_the_service_runs_nothing_of_others_and_stands_in_no_frame(world: World) -> None:
    page = world.http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers.get("x-frame-options") == "DENY"
    for wanted in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert wanted in policy
    assert "unsafe-eval" not in policy
    assert "script-src" not in policy or "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_another_site_reads_nothing_through_a_visitors_browser(world: World) -> None:
    """No CORS: a page elsewhere may send a simple request, and gets neither the answer nor a cookie to send along."""
    head = {"Origin": "https://evil.example", "Authorization": f"Bearer {world.auditor.secret}"}
    for answer in (
        world.http.get("/v1/me", headers=head),
        world.http.options("/v1/exports", headers=head | {"Access-Control-Request-Method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "set-cookie" not in answer.headers
    body = json.dumps({"key": world.name("recipient"), "name": "Invented", "country": "SG", "facts": {}})
    for path, person in (("/v1/exports", world.exporter), ("/v1/recipients", world.registrar)):
        form = {"Authorization": f"Bearer {person.secret}", "Content-Type": "text/plain"}
        assert world.http.post(path, content=body, headers=form).status_code == 415


FORGED = "ok\n2026-01-01 00:00:00 [info] forged status=200 route=/v1/grants"


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[io.StringIO]:
    """What the service logs meanwhile, in lines for people: those of machines escape whatever is in them."""
    lines = io.StringIO()
    logs.configure("text", "debug", lines)
    yield lines
    with (tmp_path_factory.getbasetemp() / "served.log").open("a", encoding="utf-8") as file:
        file.write(lines.getvalue())
    logs.configure("json", "debug", (tmp_path_factory.getbasetemp() / "served.log").open("a", encoding="utf-8"))


def test_no_line_of_the_log_is_written_by_a_caller(address: str, world: World, told: io.StringIO) -> None:
    """Nothing that a caller makes up is in a line at all: no id of a request, no path, no header, no order to a terminal."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    for raw in (
        FORGED.replace("\n", "\r\n "),
        FORGED.replace("\n", "%0a"),
        FORGED.replace("\n", " "),
        "\x1b[2Jforged",
        "a\x85forged",
    ):
        with socket.create_connection((str(host), int(str(port))), timeout=10) as wire:
            wire.sendall(
                f"GET /v1/me?x={quote(raw)} HTTP/1.1\r\nHost: x\r\nUser-Agent: {raw}\r\nX-Request-ID: {raw}\r\n"
                "Connection: close\r\n\r\n".encode("latin-1", "replace")
            )
            while wire.recv(65536):
                pass
    world.http.get("/v1/handlers/a%0d%0a2026-01-01%20[info]%20forged", headers={"X-Request-ID": "2026-01-01 forged"})
    lines = told.getvalue()
    assert lines.count("request") >= 3, "there are lines"
    assert "forged" not in lines
    assert "\x1b[2J" not in lines


@pytest.mark.parametrize("name", ["X-Request-ID", "Idempotency-Key", "If-Match", "Host", "X-Forwarded-Host"])
def test_a_header_is_not_sent_back_as_two(address: str, name: str) -> None:
    """Response splitting."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    with socket.create_connection((str(host), int(str(port))), timeout=10) as wire:
        wire.sendall(
            f"GET /livez HTTP/1.1\r\n{'' if name == 'Host' else 'Host: x'}\r\n{name}: a\rSet-Cookie: evil=1\r\n"
            "Connection: close\r\n\r\n".replace("\r\n\r\nHost", "\r\nHost").encode()
        )
        told = b""
        while piece := wire.recv(65536):
            told += piece
    head = told.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nset-cookie" not in head
    assert b"\nset-cookie" not in head


HOSTILE: dict[str, Any] = {
    "a member twice": b'{"dataset":"a","dataset":"b","recipient":"c","purpose":"d","persons":1}',
    "NaN": b'{"dataset":"a","recipient":"c","purpose":"d","persons":NaN}',
    "a number of many digits": b'{"dataset":"a","recipient":"c","purpose":"d","persons":' + b"9" * 5000 + b"}",
    "a nest": b'{"dataset":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "half a pair": b'{"dataset":"\\ud800","recipient":"c","purpose":"d","persons":1}',
    "a NUL": b'{"dataset":"a\\u0000b","recipient":"c","purpose":"d","persons":1}',
    "no UTF-8": b'{"dataset":"\xff","recipient":"c","purpose":"d","persons":1}',
    "a byte order mark and UTF-16": '{"dataset":"a"}'.encode("utf-16"),
    "something after it": b'{"dataset":"a","recipient":"c","purpose":"d","persons":1} {"persons":0}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_body_that_two_readers_would_read_differently_is_refused(world: World, what: str) -> None:
    head = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    for path in ("/v1/exports", "/access/v1/evaluation"):
        answer = world.http.post(path, content=HOSTILE[what], headers=head)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("value", ["0", "null", "{}", '""'])
def test_a_body_of_values_alone_is_refused_before_any_of_them_is_looked_at(world: World, value: str) -> None:
    """They cost far more than their bytes do: a mebibyte of numbers held the loop for a third of a second."""
    many = f"[{','.join([value] * (MAX_VALUES + 1))}]".encode()
    within = b'{"subject": {"type": "system", "id": "a"}, "fields": ' + many + b"}"
    key = {"Authorization": f"Bearer {world.requester.secret}"}
    handler = world.handler()
    draft = world.draft(handler, [world.dataset(handler)], world.recipient()) if value == "0" else None
    paths = ["/v1/exports", "/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/search/resource"]
    for path in [*paths, "/v1/determinations", "/v1/transfers", "/v1/datasets"]:
        asking = world.exporter if path in paths else world.requester
        for body in (many, within):
            head = {"Authorization": f"Bearer {asking.secret}", "Content-Type": "application/json"}
            told = world.http.post(path, content=body, headers=head)
            assert (told.status_code, "more than 100000 values" in told.text) == (400, True), path
    if draft is not None:
        path = f"/v1/transfers/{draft['id']}/evidence"
        told = world.http.post(path, files={"document": (None, within, "application/json")}, headers=key)
        assert told.status_code == 400, "a part has a bound of its own besides"


def test_an_invisible_letter_makes_no_second_thing_of_a_name(world: World) -> None:
    handler = world.handler()
    taken = world.recipient()["key"]
    for key in (taken + "\u200b", "\u202e" + taken, taken + "\u00ad", taken.replace("e", "\u0435")):
        body = {"key": key, "name": "Twin", "country": "SG", "kind": "company", "facts": {}}
        assert world.registrar.post("/v1/recipients", body).status_code == 422
    hidden = {"key": world.name("x"), "handler": handler["id"], "title": "A\u200bB", "owner": "x", "fields": []}
    assert world.registrar.post("/v1/datasets", hidden).status_code == 422


def test_the_address_in_an_answer_is_not_the_callers_to_choose(world: World) -> None:
    """Host header: an answer points at paths; nothing that is kept holds the name that somebody sent."""
    body = {"key": world.name("recipient"), "name": "Invented", "country": "SG", "kind": "company", "facts": {}}
    head = {
        "Authorization": f"Bearer {world.registrar.secret}",
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
    }
    made = world.http.post("/v1/recipients", json=body, headers=head)
    assert made.status_code == 201
    assert made.headers["location"].startswith("/v1/recipients/")
    assert "evil.example" not in made.text
    assert "evil.example" not in world.http.get("/nowhere", headers={"Host": "evil.example"}).text


EVIL = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/.well-known/authzen-configuration"),
        ("GET", "/v1/me/"),
        ("POST", "/access/v1/evaluation/"),
        ("POST", "/v1/exports/"),
        ("GET", "/docs/"),
        ("GET", "/docs/files"),
        ("GET", "/"),
        ("GET", "/login"),
        ("GET", "/openapi.json"),
        ("GET", "http://evil.example/.well-known/authzen-configuration"),
    ],
)
def test_no_address_of_the_service_is_the_callers_to_choose(world: World, method: str, path: str) -> None:
    """What is signed, kept by caches or followed with a key in the hand names the service as its operator does."""
    own = str(world.http.base_url).rstrip("/")
    place = urlsplit(own)
    key = f"Authorization: Bearer {world.exporter.secret}"
    head = [
        f"{method} {path} HTTP/1.1",
        key,
        *(f"{name}: {value}" for name, value in EVIL.items()),
        "Connection: close",
    ]
    with socket.create_connection((str(place.hostname), int(str(place.port))), timeout=30) as wire:
        wire.sendall("\r\n".join([*head, "Content-Length: 0", "", ""]).encode())
        told = b""
        while piece := wire.recv(65536):
            told += piece
    assert told.startswith(b"HTTP/1.1 ")
    assert b"evil.example" not in told
    assert b"gopher" not in told
    location = re.search(rb"\r\nlocation: ([^\r]*)", told.partition(b"\r\n\r\n")[0].lower())
    assert location is None or location[1].startswith(b"/")
    if path.endswith("authzen-configuration"):
        assert json.loads(told.partition(b"\r\n\r\n")[2])["policy_decision_point"] == own


def test_a_fault_tells_nothing_of_the_inside(world: World, postgres: str, settings: Settings) -> None:
    """Refusals of every kind, and a fault that is one: a table is not as the program thinks."""
    name = "half_migrated_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(postgres, f"create database {name} template template_outbound")
    url = database_named(postgres, name)
    key, _ = admins(url)
    run_sql(url, "alter table delegations rename to elsewhere")
    own = settings.model_copy(update={"sequencer": False, "pack_worker": False})
    with Served(own, url, Clock()) as address:
        fault = httpx.get(f"{address}/v1/me", headers={"Authorization": f"Bearer {key}"}, timeout=60)
    run_sql(postgres, f"drop database {name} with (force)")
    assert fault.status_code == 500
    for answer in (
        fault,
        world.http.get("/v1/handlers/x", headers={"Authorization": "Bearer x"}),
        world.auditor.get("/v1/audit/entries", cursor="AAAA"),
        world.registrar.post("/v1/handlers", {"key": "a"}),
        httpx.get(str(world.http.base_url.join("/v1/%ff%fe"))),
    ):
        assert answer.status_code >= 400
        for word in ("Traceback", "sqlalchemy", "asyncpg", "/service/", "SELECT ", "site-packages", "delegations"):
            assert word not in answer.text


def test_a_name_in_letters_that_look_like_others_is_flagged(world: World) -> None:
    """Cyrillic that looks like Latin, alone or mixed with it: honest ones exist, so it is told and not refused."""
    for name, flags in (("\u0440\u0430\u0441\u0435", ["looks_latin"]), ("Acm\u0435", ["mixed_script"]), ("Acme", [])):
        recipient = world.recipient(name=name)
        assert world.auditor.get(f"/v1/recipients/{recipient['id']}").json()["flags"] == flags
    made = world.admin.made("/v1/principals", {"name": f"\u0440\u0430\u0441\u0435 {world.count.__next__()}"})
    assert world.admin.get(f"/v1/principals/{made['id']}").json()["flags"] == ["looks_latin"]
