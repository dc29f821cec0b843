"""Headers of every answer: safe everywhere, open to pages of other origins nowhere, unless the operator names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from tests.conftest import Clock, Served
from tests.world import World

PAGES = ["/docs"]
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
ORIGIN = "https://tools.example.com"


def every_route(http: httpx.Client) -> Iterator[tuple[str, str]]:
    for path, methods in http.get("/openapi.json").json()["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("{", "").replace("}", "")
    yield from (("GET", path) for path in ("/", "/docs", "/docs/start.js", "/docs/files/swagger-ui.css", "/nothing"))


def test_every_answer_has_safe_headers_and_none_that_opens_it(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.auditor.secret}", "Origin": ORIGIN}
    for method, path in every_route(world.http):
        for sent in ({}, headers):
            answer = world.http.request(method, path, headers={**sent, "Origin": ORIGIN})
            assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE, (method, path)
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "script-src" not in policy, "what default-src says holds"
            assert "default-src 'none'" in policy or path in PAGES
            assert answer.headers.get("Cache-Control"), (method, path)
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
            assert "Server" not in answer.headers or answer.headers["Server"] == "uvicorn"
            assert "Strict-Transport-Security" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_to_itself(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe-eval" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PUT", "DELETE"])
def test_methods_that_no_route_has_are_405(world: World, method: str) -> None:
    for path in ("/v1/me", "/access/v1/evaluation", "/v1/exports", "/docs", "/livez"):
        answer = world.http.request(method, path, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})
        assert answer.status_code == 405, (method, path)
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_gate_answers_with_few_headers(world: World) -> None:
    question = {"subject": {"type": "system", "id": "a"}, "action": {"name": "x"}, "resource": {"type": "x", "id": "y"}}
    answer = world.exporter.post("/access/v1/evaluation", question)
    assert len(answer.headers) <= 8
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_over_https_callers_are_told_to_stay_and_named_origins_may_call_without_cookies(
    world: World, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        sequencer=False,
        pack_worker=False,
        public_url="https://outbound.example.com",
        cors_origins=ORIGIN,
    )
    with Served(settings, database_url, Clock()) as address, httpx.Client(base_url=address) as http:
        headers = {"Authorization": f"Bearer {world.auditor.secret}", "Origin": ORIGIN}
        answer = http.get("/v1/me", headers=headers)
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Access-Control-Allow-Credentials" not in answer.headers
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "If-Match",
        }
        assert http.options("/v1/handlers", headers=asked).status_code == 200
        for other in (
            "https://tools.example.com.evil.example",
            "https://evil.example",
            "null",
            "http://tools.example.com",
        ):
            told = http.get("/v1/me", headers=headers | {"Origin": other})
            assert "Access-Control-Allow-Origin" not in told.headers
            assert (
                "Access-Control-Allow-Origin" not in http.options("/v1/me", headers=asked | {"Origin": other}).headers
            )
