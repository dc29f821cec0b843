"""Signing in with a browser, sessions and how they end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from tests.api.test_oidc import gate, group_handler, issuer, linked, provided
from tests.commands import outbound
from tests.conftest import Clock, Served
from tests.issuers import Issuer
from tests.world import Person, World

Json = dict[str, Any]
COOKIE = "outbound_session"
__all__ = ["gate", "group_handler", "issuer"]


class Browser:
    """A browser as far as it matters: it keeps cookies, follows nothing by itself, and says which page something comes from."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=30)
        self.origin = address
        self.answer = httpx.Response(200)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Post JSON from a page of the service that shows the session's token."""
        named = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.csrf()}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, json=body, headers={name: value for name, value in named.items() if value})

    def form(self, path: str, fields: Json, **headers: str) -> httpx.Response:
        named = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, data=fields, headers={name: value for name, value in named.items() if value})

    def csrf(self) -> str:
        answer = self.get("/v1/session")
        return str(answer.json().get("csrf_token", "none"))

    @property
    def token(self) -> str | None:
        return self.http.cookies.get(COOKIE)

    def copy(self) -> Browser:
        """A thief's browser with the same cookie."""
        other = Browser(self.origin)
        other.http.cookies.set(COOKIE, self.token or "", domain="127.0.0.1")
        return other

    def me(self) -> httpx.Response:
        return self.get("/v1/me")

    def closed(self) -> None:
        self.http.close()


@pytest.fixture
def browser(address: str) -> Iterator[Browser]:
    """On the service without a provider."""
    found = Browser(address)
    yield found
    found.http.close()


def link_for(database_url: str, person: Person, *words: str) -> str:
    done = outbound(database_url, "login-link", "--principal", person.id, *words)
    assert done.returncode == 0, done.stderr
    return str(parse_qs(urlsplit(done.stdout.strip()).query)["token"][0])


def signed_in(browser: Browser, database_url: str, person: Person) -> Browser:
    answer = browser.form("/login/link", {"token": link_for(database_url, person)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/"), answer.text
    return browser


def actions(world: World, person: Person, *names: str) -> list[tuple[str, Any]]:
    items = world.auditor.get("/v1/events", limit=200).json()["items"]
    cursor = world.auditor.get("/v1/events", limit=200).json()["next_cursor"]
    while cursor:
        shown = world.auditor.get("/v1/events", limit=200, cursor=cursor).json()
        items, cursor = items + shown["items"], shown["next_cursor"]
    return [
        (one["kind"], one["details"].get("how") or one["details"].get("by"))
        for one in items
        if one["kind"] in names and one["details"].get("principal") == person.id
    ]


# By a link


@pytest.mark.parametrize(
    ("host", "base"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000"), ("o.example", "http://o.example:8000")],
)
def test_a_link_is_an_address_wherever_the_service_listens(
    world: World, database_url: str, host: str, base: str
) -> None:
    done = outbound(database_url, "login-link", "--principal", world.person("requester").id, OUTBOUND_HOST=host)
    assert done.stdout.startswith(f"{base}/login/link?token="), done.stderr


def test_a_link_signs_in_once_and_looking_at_it_does_not_use_it_up(
    world: World, browser: Browser, database_url: str
) -> None:
    assert "outbound login-link" in browser.get("/login").text
    assert browser.get("/login/start").headers["Location"] == "/login"
    person = world.person("auditor")
    token = link_for(database_url, person)
    for _ in range(3):
        shown = browser.get(f"/login/link?token={token}")
        assert (shown.status_code, "<form" in shown.text) == (200, True)
        assert "Set-Cookie" not in shown.headers
    assert browser.me().status_code == 401
    cookie = browser.form("/login/link", {"token": token}).headers["Set-Cookie"]
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax", cookie)
    me = browser.me().json()
    assert (me["id"], me["kind"], me["roles"]) == (person.id, "person", {"auditor": "*"})
    again = browser.form("/login/link", {"token": token})
    assert (again.status_code, "This link is used" in again.text) == (401, True)
    assert browser.form("/login/link", {"token": "nonsense"}).status_code == 401
    made = actions(world, person, "login_link.made", "session.begun")
    assert made == [("login_link.made", None), ("session.begun", "link")]


def test_of_several_that_use_a_link_at_once_one_gets_in(world: World, address: str, database_url: str) -> None:
    token = link_for(database_url, world.person())
    browsers = [Browser(address) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: one.form("/login/link", {"token": token}).status_code, browsers))
    assert sorted(answers) == [303, *[401] * 7]
    for one in browsers:
        one.closed()


def test_a_link_ends_by_its_time_and_with_its_person(
    world: World, browser: Browser, database_url: str, days_ahead: Clock
) -> None:
    person = world.person()
    token = link_for(database_url, person, "--minutes", "5")
    days_ahead.ahead = timedelta(minutes=6)
    assert browser.form("/login/link", {"token": token}).status_code == 401
    days_ahead.ahead = timedelta()
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert browser.form("/login/link", {"token": token}).status_code == 401
    refused = world.auditor.get("/v1/audit/entries", action="login.refused", subject=person.id).json()["items"]
    assert [entry["details"]["why"] for entry in refused] == ["disabled"]
    for reference, said in ((person.id, "disabled"), (world.exporter.id, "does not sign in"), ("nobody", "no such")):
        done = outbound(database_url, "login-link", "--principal", reference)
        assert (done.returncode, said in done.stderr) == (1, True)


def test_a_link_is_used_from_its_own_page_alone(world: World, browser: Browser, database_url: str) -> None:
    token = link_for(database_url, world.person())
    for headers in (
        {"Origin": "https://evil.test", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.test", "Sec_Fetch_Site": ""},
        {"Origin": "", "Sec_Fetch_Site": "same-site"},
        {"Origin": "", "Sec_Fetch_Site": ""},
        {"Origin": "null", "Sec_Fetch_Site": ""},
        {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
    ):
        assert browser.form("/login/link", {"token": token}, **headers).status_code == 403
    assert browser.form("/login/link", {"token": token}, Origin="null").status_code == 303


def test_what_a_page_shows_is_escaped(browser: Browser) -> None:
    shown = browser.get('/login/link?token="><script>alert(1)</script>')
    assert "<script>" not in shown.text
    assert (
        "script-src" in shown.headers["Content-Security-Policy"]
        or "default-src 'self'" in shown.headers["Content-Security-Policy"]
    )


# What a session may do


def test_what_changes_something_must_come_from_a_page_of_the_session(
    world: World, browser: Browser, database_url: str
) -> None:
    signed_in(browser, database_url, world.person("registrar"))
    body = {"key": world.name("handler"), "name": "By browser", "facts": {"ciio": False}}
    csrf = browser.csrf()
    assert re.fullmatch(r"[0-9a-f]{64}", csrf)
    for headers in (
        {"X_CSRF_Token": ""},
        {"X_CSRF_Token": "0" * 64},
        {"Origin": "https://evil.test"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "", "Sec_Fetch_Site": ""},
    ):
        answer = browser.post("/v1/handlers", body, **headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden"), headers
    assert browser.post("/v1/handlers", body).status_code == 201


def test_the_token_of_another_session_does_not_do(world: World, address: str, database_url: str) -> None:
    person = world.person("registrar")
    first, second = (signed_in(Browser(address), database_url, person) for _ in range(2))
    answer = first.post("/v1/handlers", {}, X_CSRF_Token=second.csrf())
    assert answer.status_code == 403
    first.closed()
    second.closed()


def test_the_gate_takes_no_session(world: World, browser: Browser, database_url: str) -> None:
    signed_in(browser, database_url, world.person("exporter"))
    for path in (
        "/access/v1/evaluation",
        "/access/v1/evaluations",
        "/access/v1/search/subject",
        "/access/v1/search/resource",
        "/access/v1/search/action",
        "/v1/exports",
    ):
        assert browser.post(path, {}).status_code == 401
    assert browser.get("/v1/exports").status_code == 200


def test_a_header_goes_before_the_cookie(world: World, browser: Browser, database_url: str) -> None:
    person = world.person("auditor")
    signed_in(browser, database_url, person)
    assert browser.get("/v1/me", Authorization=f"Bearer {world.requester.secret}").json()["id"] == world.requester.id
    assert browser.get("/v1/me", Authorization="Bearer nonsense").status_code == 401
    assert world.requester.get("/v1/session").status_code == 404


def test_the_document_says_which_routes_take_a_session() -> None:
    document = Path(__file__).parents[2] / "openapi" / "openapi.json"  # `make check` compares it with the code
    paths = json.loads(document.read_text(encoding="utf-8"))["paths"]
    without = {
        (method, path)
        for path, methods in paths.items()
        for method, told in methods.items()
        if told.get("security") and {"session": []} not in told["security"]
    }
    assert without == {
        ("post", "/access/v1/evaluation"),
        ("post", "/access/v1/evaluations"),
        ("post", "/access/v1/search/subject"),
        ("post", "/access/v1/search/resource"),
        ("post", "/access/v1/search/action"),
        ("post", "/v1/exports"),
    }


# How it ends


def test_signing_out_ends_the_session(world: World, browser: Browser, database_url: str) -> None:
    person = world.person()
    signed_in(browser, database_url, person)
    thief = browser.copy()
    ended = browser.post("/v1/session/end")
    assert ended.json()["ended_at"]
    assert "Max-Age=0" in ended.headers["Set-Cookie"]
    assert (browser.me().status_code, thief.me().status_code) == (401, 401)
    assert actions(world, person, "session.ended") == [("session.ended", "logout")]
    thief.closed()


def test_a_form_signs_out(world: World, browser: Browser, database_url: str) -> None:
    signed_in(browser, database_url, world.person())
    thief = browser.copy()
    assert browser.form("/logout", {"csrf_token": "0" * 64}).status_code == 403
    assert browser.form("/logout", {"csrf_token": browser.csrf()}, Origin="https://evil.test").status_code == 403
    assert browser.me().status_code == 200
    answer = browser.form("/logout", {"csrf_token": browser.csrf()})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert (browser.token, thief.me().status_code) == (None, 401)
    assert browser.form("/logout", {}).status_code == 303
    thief.closed()


def test_all_sessions_of_a_person_end_at_once(world: World, address: str, database_url: str) -> None:
    person = world.person()
    browsers = [signed_in(Browser(address), database_url, person) for _ in range(3)]
    other = signed_in(Browser(address), database_url, world.person())
    assert browsers[0].post("/v1/sessions/end").json() == {"ended": 3}
    assert {one.me().status_code for one in browsers} == {401}
    assert other.me().status_code == 200
    for one in [*browsers, other]:
        one.closed()


def test_disabling_a_person_ends_their_sessions_for_good(world: World, browser: Browser, database_url: str) -> None:
    person = world.person()
    signed_in(browser, database_url, person)
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert browser.me().status_code == 401
    world.admin.made(f"/v1/principals/{person.id}/enable", None)
    assert browser.me().status_code == 401
    assert actions(world, person, "session.ended") == [("session.ended", "disabled")]


def test_signing_in_gives_a_new_token_and_ends_the_session_before(
    world: World, browser: Browser, database_url: str
) -> None:
    """A token that somebody has planted in the browser is worth nothing afterwards."""
    first, second = world.person(), world.person()
    planted = "A" * 43
    browser.http.cookies.set(COOKIE, planted, domain="127.0.0.1")
    signed_in(browser, database_url, first)
    assert browser.token not in {None, planted}
    before = browser.copy()
    signed_in(browser, database_url, second)
    assert browser.me().json()["id"] == second.id
    assert before.me().status_code == 401
    before.closed()


def test_a_session_ends_when_it_is_not_used_and_after_its_hours(
    world: World, browser: Browser, database_url: str, days_ahead: Clock
) -> None:
    person = world.person()
    signed_in(browser, database_url, person)
    days_ahead.ahead = timedelta(minutes=31)
    assert browser.me().status_code == 401
    days_ahead.ahead = timedelta()
    assert browser.me().status_code == 401, "a clock set back revives nothing"
    signed_in(browser, database_url, person)
    for quarter in range(1, 48):
        days_ahead.ahead = timedelta(minutes=15 * quarter)
        assert browser.me().status_code == 200
    days_ahead.ahead = timedelta(hours=12, seconds=1)
    assert browser.me().status_code == 401
    ended = actions(world, person, "session.ended")
    assert ended == [("session.ended", "idle"), ("session.ended", "over")]


def test_a_clock_set_back_below_the_last_use_is_not_believed(
    world: World, browser: Browser, database_url: str, days_ahead: Clock
) -> None:
    signed_in(browser, database_url, world.person())
    days_ahead.ahead = timedelta(minutes=10)
    assert browser.me().status_code == 200
    days_ahead.ahead = timedelta()
    assert browser.me().status_code == 401
    days_ahead.ahead = timedelta(minutes=10)
    assert browser.me().status_code == 200


def test_a_token_is_replaced_and_a_copy_of_the_old_one_ends_the_session(
    world: World, browser: Browser, database_url: str, days_ahead: Clock
) -> None:
    person = world.person()
    signed_in(browser, database_url, person)
    csrf = browser.csrf()
    assert browser.me().status_code == 200
    thief = browser.copy()
    days_ahead.ahead = timedelta(minutes=16)
    assert browser.me().status_code == 200
    assert browser.token != thief.token
    assert thief.me().status_code == 200, "its successor may not have reached the browser yet"
    assert browser.me().status_code == 200
    assert browser.csrf() == csrf
    days_ahead.ahead = timedelta(minutes=16, seconds=20)
    assert thief.me().status_code == 200, "requests that were on their way"
    days_ahead.ahead = timedelta(minutes=16, seconds=40)
    assert thief.me().status_code == 401
    assert browser.me().status_code == 401
    assert actions(world, person, "session.ended") == [("session.ended", "replay")]
    thief.closed()


def test_requests_at_once_do_not_end_the_session_that_they_rotate(
    world: World, browser: Browser, database_url: str, days_ahead: Clock
) -> None:
    signed_in(browser, database_url, world.person())
    for minutes in (16, 32, 48):
        days_ahead.ahead = timedelta(minutes=minutes)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: browser.me().status_code, range(24)))
        assert set(answers) == {200}


def test_tokens_are_kept_as_hashes_alone(world: World, browser: Browser, database_url: str) -> None:
    signed_in(browser, database_url, world.person())
    import asyncio  # noqa: PLC0415 - needed here alone
    import hashlib  # noqa: PLC0415

    import asyncpg  # noqa: PLC0415

    async def look() -> list[Any]:
        connection = await asyncpg.connect(database_url)
        try:
            query = "select t.sha256, s::text as session from session_tokens t join sessions s on s.id = t.session"
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    rows = asyncio.run(look())
    token = browser.token or ""
    assert hashlib.sha256(token.encode()).digest() in {row["sha256"] for row in rows}
    assert not any(token in row["session"] for row in rows)


# Through a provider


@pytest.fixture
def console(issuer: Issuer, database_url: str, clock: Clock, tmp_path: Any) -> Iterator[Browser]:
    """A browser on a service whose console is the issuer's client."""
    settings = provided(issuer, tmp_path, oidc_client_id="console", oidc_client_secret="s/cret +")
    with Served(settings, database_url, clock) as address:
        found = Browser(address)
        yield found
        found.closed()


def begun(browser: Browser, then: str = "/docs") -> Json:
    page = browser.get(f"/login?next={then}").text
    (href,) = re.findall(r'href="(/login/start[^"]*)"', page)
    sent = browser.get(href.replace("&amp;", "&"))
    assert sent.status_code == 303
    return dict(parse_qsl(urlsplit(sent.headers["Location"]).query))


def back(browser: Browser, issuer: Issuer, asked: Json, subject: str, **more: Any) -> httpx.Response:
    nonce = more.pop("nonce", asked["nonce"])
    claims = more.pop("claims", {})
    issuer.token_answer = {
        "access_token": "opaque",
        "token_type": "Bearer",
        "id_token": issuer.id_token(subject, nonce, **claims),
    } | more.pop("answer", {})
    found = {"code": "c0de", "state": asked["state"], "iss": issuer.url} | more
    return browser.http.get("/login/callback", params={name: value for name, value in found.items() if value})


def test_groups_that_are_too_many_for_a_token_take_no_role(world: World, console: Browser, issuer: Issuer) -> None:
    person = world.person("requester")
    subject, now = linked(world, issuer, person), int(time.time())
    assert back(console, issuer, begun(console), subject, claims={"groups": "auditors"}).status_code == 303
    assert console.me().json()["roles"] == {"requester": "*", "auditor": "*"}, "one group as a text"
    for later, more in enumerate(({"_claim_names": {"groups": "src1"}}, {"hasgroups": True}), start=2):
        asked = begun(console)
        assert back(console, issuer, asked, subject, claims={"iat": now + later, **more}).status_code == 303
        assert console.me().json()["roles"] == {"requester": "*", "auditor": "*"}


def test_a_person_signs_in_through_the_provider(world: World, console: Browser, issuer: Issuer) -> None:
    person = world.person("requester")
    subject = linked(world, issuer, person)
    asked = begun(console)
    assert asked["redirect_uri"] == f"{console.origin}/login/callback"
    assert (asked["code_challenge_method"], asked["response_type"], asked["scope"]) == (
        "S256",
        "code",
        "openid profile",
    )
    answer = back(console, issuer, asked, subject, claims={"groups": ["auditors"]})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/docs"), answer.text
    form = dict(parse_qsl(issuer.forms[-1]))
    assert form["code"] == "c0de"
    assert "client_secret" not in form
    assert "code_verifier" in form
    import base64  # noqa: PLC0415 - needed here alone
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    me = console.me().json()
    assert (me["id"], me["roles"]) == (person.id, {"requester": "*", "auditor": "*"})
    asked = begun(console)
    assert back(console, issuer, asked, subject, claims={"iat": int(time.time()) + 2}).status_code == 303
    assert console.me().json()["roles"] == {"requester": "*"}, "an ID token without groups says that there are none"
    assert actions(world, person, "session.begun", "session.ended") == [
        ("session.begun", "provider"),
        ("session.ended", "login"),
        ("session.begun", "provider"),
    ]


@pytest.mark.parametrize(
    "then",
    [
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "\\/evil.test",
        "/%5Cevil",
        "javascript:x",
        "/a b",
        "/\r\nX: y",
    ],
)
def test_the_browser_is_sent_nowhere_else(world: World, console: Browser, issuer: Issuer, then: str) -> None:
    subject = linked(world, issuer, world.person())
    sent = console.http.get("/login/start", params={"next": then})
    asked = dict(parse_qsl(urlsplit(sent.headers["Location"]).query))
    where = back(console, issuer, asked, subject).headers["Location"]
    assert where in {"/", "/%5Cevil"}


@pytest.mark.parametrize(
    "change",
    [
        {"state": "x" * 43},
        {"state": ""},
        {"iss": "https://evil.test"},
        {"code": ""},
        {"error": "access_denied"},
        {"nonce": "another"},
        {"claims": {"aud": "other"}},
        {"claims": {"azp": "other"}},
        {"claims": {"at_hash": "AAAA"}},
        {"claims": {"exp": 1}},
        {"answer": {"id_token": None}},
        {"answer": {"id_token": "a.b.c"}},
    ],
)
def test_a_sign_in_that_is_not_this_browsers_own_is_refused(
    world: World, console: Browser, issuer: Issuer, change: Json
) -> None:
    subject = linked(world, issuer, world.person())
    answer = back(console, issuer, begun(console), subject, **change)
    assert (answer.status_code, console.token) == (401, None)
    assert "Not signed in" in answer.text


def test_an_answer_for_another_browser_or_a_second_time_is_refused(
    world: World, console: Browser, issuer: Issuer
) -> None:
    subject = linked(world, issuer, world.person())
    asked = begun(console)
    other = Browser(console.origin)
    assert back(other, issuer, asked, subject).status_code == 401
    begun(other)
    assert back(other, issuer, asked, subject).status_code == 401
    assert other.token is None
    assert back(console, issuer, asked, subject).status_code == 303
    assert back(console, issuer, asked, subject).status_code == 401
    other.closed()


def test_strangers_and_those_shut_out_are_told_so_and_the_latter_are_recorded(
    world: World, console: Browser, issuer: Issuer
) -> None:
    assert "ask an admin" in back(console, issuer, begun(console), "stranger").text
    person = world.person()
    subject = linked(world, issuer, person)
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert back(console, issuer, begun(console), subject).status_code == 401
    refused = world.auditor.get("/v1/audit/entries", action="login.refused", subject=person.id).json()["items"]
    assert [entry["details"]["why"] for entry in refused] == ["disabled"]
    system = world.person(kind="system")
    assert back(console, issuer, begun(console), linked(world, issuer, system)).status_code == 401
    assert console.token is None


def test_ending_a_login_ends_its_sessions(world: World, console: Browser, issuer: Issuer) -> None:
    person = world.person()
    back(console, issuer, begun(console), linked(world, issuer, person))
    assert console.me().status_code == 200
    login = world.admin.get(f"/v1/principals/{person.id}/logins").json()["items"][0]["id"]
    world.admin.made(f"/v1/principals/{person.id}/logins/{login}/end", None)
    assert console.me().status_code == 401
    assert actions(world, person, "session.ended") == [("session.ended", "unlinked")]


def test_over_https_the_cookies_belong_to_this_host_alone(
    world: World, database_url: str, clock: Clock, settings: Any
) -> None:
    named = settings.model_copy(
        update={"public_url": "https://outbound.test", "sequencer": False, "pack_worker": False}
    )
    token = link_for(database_url, world.person())
    with Served(named, database_url, clock) as address, httpx.Client(base_url=address) as client:
        headers = {"Origin": "https://outbound.test"}
        answer = client.post("/login/link", data={"token": token}, headers={"Origin": address})
        assert answer.status_code == 403
        cookie = client.post("/login/link", data={"token": token}, headers=headers).headers["Set-Cookie"]
        assert re.fullmatch(r"__Host-outbound=[\w-]{43}; Max-Age=43200; Path=/; HttpOnly; SameSite=Lax; Secure", cookie)
        value = cookie.partition(";")[0]
        assert client.get("/v1/me", headers={"Cookie": value}).status_code == 200
        assert client.get("/v1/me", headers={"Cookie": value.replace("__Host-outbound", COOKIE)}).status_code == 401
