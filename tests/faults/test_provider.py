"""The identity provider rotates its keys, is slow, goes away, or is somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.clock import utc_now
from service.http.egress import EgressClient
from service.identity.oidc.claims import ExpectedClaims
from service.identity.oidc.jws import TokenRefusedError
from service.identity.oidc.provider import RETRY_SECONDS, Provider
from service.validation.problems import ProviderUnavailable
from tests.api.test_oidc import bearer, provided
from tests.conftest import Clock, Served
from tests.issuers import AUDIENCE, Issuer
from tests.world import World


class Ticks:
    """A clock that only goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    yield found
    found.close()


def provider(issuer: Issuer, ticks: Ticks, **more: Any) -> Provider:
    expected = ExpectedClaims(more.pop("url", issuer.url), AUDIENCE, timedelta(seconds=60), timedelta(days=1))
    return Provider(expected, EgressClient({issuer.host}), utc_now, ticks=ticks, **more)


def test_keys_are_fetched_once_and_again_when_they_are_old(issuer: Issuer) -> None:
    async def run() -> None:
        ticks = Ticks()
        asked = provider(issuer, ticks, keys_seconds=100)
        await asyncio.gather(*(asked.access_token(issuer.token()) for _ in range(20)))
        assert issuer.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}
        ticks.now += 99
        await asked.access_token(issuer.token())
        assert issuer.asked["/keys"] == 1
        ticks.now += 1
        await asked.access_token(issuer.token())
        assert issuer.asked["/keys"] == 2

    asyncio.run(run())


def test_a_new_key_is_fetched_when_it_is_first_seen_and_forged_ones_make_one_call_in_a_while(issuer: Issuer) -> None:
    async def run() -> None:
        ticks = Ticks()
        asked = provider(issuer, ticks)
        old = issuer.token()
        await asked.access_token(old)
        forged = [issuer.token(header={"kid": f"forged-{number}"}) for number in range(50)]
        for token in forged:
            with pytest.raises(TokenRefusedError):
                await asked.access_token(token)
        assert issuer.asked["/keys"] == 1
        ticks.now += RETRY_SECONDS
        refused = await asyncio.gather(*(asked.access_token(token) for token in forged), return_exceptions=True)
        assert {type(one).__name__ for one in refused} == {"UnknownKeyError"}
        assert issuer.asked["/keys"] == 2
        issuer.rotate("second")
        ticks.now += RETRY_SECONDS
        new = issuer.token()
        told = await asyncio.gather(*(asked.access_token(new) for _ in range(10)))
        assert {one.subject for one in told} == {"somebody"}
        assert issuer.asked["/keys"] == 3
        with pytest.raises(TokenRefusedError):
            await asked.access_token(old)

    asyncio.run(run())


def test_keys_outlast_the_providers_absence_for_some_time(issuer: Issuer) -> None:
    async def run() -> None:
        ticks = Ticks()
        asked = provider(issuer, ticks, keys_seconds=100)
        token = issuer.token()
        await asked.access_token(token)
        issuer.status = 503
        ticks.now += 599
        assert (await asked.access_token(token)).subject == "somebody"
        assert issuer.asked["/keys"] == 2
        await asked.access_token(token)
        assert issuer.asked["/keys"] == 2
        with pytest.raises(ProviderUnavailable):
            await asked.access_token(issuer.token(header={"kid": "new"}))
        ticks.now += 1
        with pytest.raises(ProviderUnavailable):
            await asked.access_token(token)
        issuer.status = 200
        ticks.now += RETRY_SECONDS
        assert (await asked.access_token(token)).subject == "somebody"

    asyncio.run(run())


def test_an_absent_provider_is_asked_once_in_a_while(issuer: Issuer) -> None:
    async def run() -> None:
        ticks = Ticks()
        asked = provider(issuer, ticks)
        issuer.status = 500
        for _ in range(10):
            with pytest.raises(ProviderUnavailable):
                await asked.access_token(issuer.token())
        assert sum(issuer.asked.values()) == 2  # one look at each of the two addresses of its description

    asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.test"},
        {"jwks_uri": "http://169.254.169.254/keys"},
        {"jwks_uri": "http://127.0.0.2:9/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
    ],
)
def test_a_description_of_somebody_else_or_with_other_addresses_is_not_used(issuer: Issuer, change: Any) -> None:
    issuer.metadata = change
    with pytest.raises(ProviderUnavailable):
        asyncio.run(provider(issuer, Ticks()).access_token(issuer.token()))
    assert issuer.asked["/keys"] == 0


def test_a_redirect_is_not_followed(issuer: Issuer) -> None:
    issuer.status = 302
    with pytest.raises(ProviderUnavailable):
        asyncio.run(provider(issuer, Ticks()).access_token(issuer.token()))


def test_the_description_of_rfc_8414_will_do(issuer: Issuer) -> None:
    url = f"{issuer.url}/realms/one"
    issuer.described_at = "/.well-known/oauth-authorization-server/realms/one"
    issuer.metadata = {"issuer": url}
    told = asyncio.run(provider(issuer, Ticks(), url=url).access_token(issuer.token(iss=url)))
    assert told.issuer == url


def test_only_tokens_are_answered_503_while_the_provider_is_away(
    world: World, database_url: str, clock: Clock, tmp_path: Path, issuer: Issuer
) -> None:
    person = world.person("auditor")
    world.admin.made(f"/v1/principals/{person.id}/logins", {"issuer": issuer.url, "subject": "s"})
    token, settings = issuer.token("s"), provided(issuer, tmp_path)
    issuer.close()
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        answer = bearer(client, token)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/provider-away")
        assert int(answer.headers["Retry-After"]) > 0
        assert bearer(client, person.secret).status_code == 200
        assert bearer(client, "aaaa.bbbb.cccc").status_code == 401
        assert client.get("/readyz").status_code == 200


def test_a_slow_provider_holds_up_nobody_else(
    world: World, database_url: str, clock: Clock, tmp_path: Path, issuer: Issuer
) -> None:
    person = world.person("auditor")
    world.admin.made(f"/v1/principals/{person.id}/logins", {"issuer": issuer.url, "subject": "s"})
    issuer.delay = 1.0
    served = Served(provided(issuer, tmp_path, database_pool=1), database_url, clock)
    with served as address, httpx.Client(base_url=address, timeout=30) as client:
        assert bearer(client, person.secret).status_code == 200  # the first request of all builds the routes

        async def run() -> tuple[float, float]:
            loop = asyncio.get_running_loop()
            async with httpx.AsyncClient(base_url=address, timeout=30) as web:
                began = loop.time()
                token = asyncio.create_task(web.get("/v1/me", headers={"Authorization": f"Bearer {issuer.token('s')}"}))
                key = await web.get("/v1/me", headers={"Authorization": f"Bearer {person.secret}"})
                of_key = loop.time() - began
                assert key.status_code == 200
                assert (await token).status_code == 200
                return of_key, loop.time() - began

        of_key, of_token = asyncio.run(run())
        assert of_key < 1.0 < of_token
        assert bearer(client, issuer.token("s")).status_code == 200
