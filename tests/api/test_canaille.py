"""Signing in through a provider that nobody here wrote: its login and consent pages are filled in as a person would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import httpx
import pytest

from service.commands.listen_address import free_port
from service.settings import Settings
from tests.api.test_sessions import Browser
from tests.canaille_provider import CLIENT, GROUP, PASSWORD, SECRET, USER
from tests.conftest import Clock, Served
from tests.waiting import seen
from tests.world import World


@dataclass(frozen=True)
class Console:
    """The service, and the provider by which people sign in to it."""

    address: str
    provider: str


@pytest.fixture
def console(database_url: str, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    host = f"127.0.0.1:{free_port()}"
    data = tmp_path_factory.mktemp("canaille")
    settings = Settings(
        data_dir=data,
        log_level="error",
        sequencer=False,
        pack_worker=False,
        oidc_issuer=f"http://{host}",
        oidc_audience="https://outbound.test",
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_scopes="openid profile groups",
        oidc_groups=[{"group": GROUP, "role": "auditor"}],
        egress_allow=host,
    )
    with Served(settings, database_url, clock) as address:
        command = [sys.executable, "-m", "tests.canaille_provider", host.partition(":")[2], f"{address}/login/callback"]
        with (data / "provider.log").open("wb") as log:
            provider = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
            try:
                _wait_for(f"http://{host}/.well-known/openid-configuration")
                yield Console(address, f"http://{host}")
            finally:
                provider.terminate()
                provider.wait(15)


def _wait_for(address: str) -> None:
    def is_there() -> bool:
        try:
            return httpx.get(address).status_code == 200
        except httpx.TransportError:
            return False

    seen(is_there, pause=0.1)


def walk(console: Console, user: str, *, answer: str = "accept", password: str = PASSWORD) -> Browser:
    """Go from the service's page to the provider, fill in what it asks, and come back."""
    browser = Browser(console.address)
    page = browser.get("/login?next=/docs").text
    shown = browser.get(unescape(re.findall(r'href="(/login/start[^"]*)"', page)[0]))
    provider = httpx.Client(base_url=console.provider, timeout=30)
    asked = {"login": user, "password": password, "answer": answer}
    for _ in range(10):
        while shown.is_redirect and not shown.headers["Location"].startswith(console.address):
            shown = provider.get(shown.headers["Location"])
        if shown.is_redirect:
            break
        fields = dict(re.findall(r'name="(csrf_token)"[^>]*value="([^"]*)"', shown.text))
        fields |= {name: value for name, value in asked.items() if f'name="{name}"' in shown.text}
        shown = provider.post(str(shown.url), data=fields)
    provider.close()
    browser.answer = browser.http.get(shown.headers["Location"])
    return browser


def test_a_person_signs_in_with_login_and_consent(world: World, console: Console) -> None:
    person = world.person("requester")
    world.admin.made(f"/v1/principals/{person.id}/logins", {"issuer": console.provider, "subject": USER})
    browser = walk(console, USER)
    assert (browser.answer.status_code, browser.answer.headers.get("Location")) == (303, "/docs"), browser.answer.text
    me = browser.me().json()
    assert (me["id"], me["kind"], me["roles"]) == (person.id, "person", {"requester": "*", "auditor": "*"})
    assert browser.post("/v1/session/end").status_code == 200
    assert browser.me().status_code == 401
    browser.closed()


def test_whom_the_provider_alone_knows_and_who_declines_stay_outside(world: World, console: Console) -> None:
    person = world.person("requester")
    world.admin.made(f"/v1/principals/{person.id}/logins", {"issuer": console.provider, "subject": "mary"})
    # Declining comes first: the provider asks nobody any more once somebody has consented.
    for user, answer in (("mary", "deny"), ("grace", "accept")):
        browser = walk(console, user, answer=answer)
        assert (browser.answer.status_code, browser.token) == (401, None)
        browser.closed()
