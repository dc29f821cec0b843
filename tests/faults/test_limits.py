"""Too many requests: 429 by key, by address and for failed attempts, and nobody else is harmed by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.rate_limits import RateLimiter, address_of, connection_address, credential_of, exempt_networks
from service.http.token_bucket import TokenBucket
from service.settings import Settings
from service.validation.problems import TooManyRequests
from tests.conftest import Clock, Served
from tests.world import World

LOW: dict[str, float] = {
    "rate_per_second": 0.2,
    "gate_rate_per_second": 0.2,
    "public_rate_per_second": 0.5,
    "failed_rate_per_second": 0.2,
}
UNKNOWN = "ob_live_000000000000_" + "0" * 52


@contextmanager
def limited(folder: Path, url: str, **rates: Any) -> Iterator[httpx.Client]:
    off = dict.fromkeys(LOW, 0.0)
    settings = Settings(data_dir=folder / "data", sequencer=False, pack_worker=False, **{**off, **rates})
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        yield http


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def require_told(answer: httpx.Response) -> None:
    assert answer.status_code == answer.json()["status"] == 429
    assert answer.json()["type"] == "/problems/too-many-requests"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_served(
    world: World, database_url: str, tmp_path: Path
) -> None:
    with limited(tmp_path, database_url, rate_per_second=0.2) as http:
        mine, other = bearer(world.auditor.secret), bearer(world.registrar.secret)
        answers = [http.get("/v1/me", headers=mine) for _ in range(5)]
        assert answers[0].status_code == 200
        assert answers[-1].status_code == 429
        require_told(answers[-1])
        assert http.get("/v1/me", headers=other).status_code == 200
        assert http.get("/readyz").status_code == 200
        begins_alike = world.auditor.secret[:-1] + ("0" if world.auditor.secret[-1] != "0" else "1")
        for _ in range(5):
            assert http.get("/v1/me", headers=bearer(begins_alike)).status_code == 401
        assert http.get("/v1/me", headers=other).status_code == 200


def test_asks_of_the_gate_are_counted_by_ask_on_either_way(world: World, database_url: str, tmp_path: Path) -> None:
    dataset, recipient = world.dataset(world.handler()), world.recipient()
    question = {
        "subject": {"type": "system", "id": "a"},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"]},
    }
    many = {"evaluations": [question] * 50}
    with limited(tmp_path, database_url, gate_rate_per_second=0.2) as http:
        mine = bearer(world.exporter.secret)
        assert http.post("/access/v1/evaluations", json=many, headers=mine).status_code == 200
        require_told(http.post("/access/v1/evaluation", json=question, headers=mine))
        escaped = question | {"subject": {"type": "system", "id": "\u00e9"}}
        require_told(http.post("/access/v1/evaluation", json=escaped, headers=mine))
        assert http.get("/v1/me", headers=mine).status_code == 200, "the other routes have a rate of their own"


def test_failed_attempts_of_an_address_end_and_whoever_is_known_goes_on(
    world: World, database_url: str, tmp_path: Path
) -> None:
    question = {"subject": {"type": "system", "id": "a"}, "action": {"name": "x"}, "resource": {"type": "x", "id": "y"}}
    with limited(tmp_path, database_url, failed_rate_per_second=0.2) as http:
        mine, stranger = bearer(world.exporter.secret), bearer(world.auditor.secret)
        assert http.post("/access/v1/evaluation", json=question, headers=mine).status_code == 200
        answers = [http.get("/v1/me", headers=bearer(UNKNOWN)).status_code for _ in range(6)]
        assert (answers[0], answers[-1]) == (401, 429)
        guessed, real = (http.get("/v1/me", headers=shown) for shown in (bearer(UNKNOWN), stranger))
        require_told(guessed)
        require_told(real)
        assert guessed.json()["title"] == real.json()["title"], "nothing is said of any key"
        require_told(http.post("/access/v1/evaluation", json=question, headers=bearer(UNKNOWN)))
        assert http.post("/access/v1/evaluation", json=question, headers=mine).status_code == 200
        assert http.get("/v1/me", headers=mine).status_code == 200


def test_public_routes_are_counted_by_address_whatever_is_shown_with_them(database_url: str, tmp_path: Path) -> None:
    with limited(tmp_path, database_url, public_rate_per_second=0.5) as http:
        answers = [http.get("/openapi.json", headers=bearer(f"made-up-{number}")) for number in range(9)]
        assert [answers[0].status_code, answers[-1].status_code] == [200, 200 if len(set(answers)) == 1 else 429]
        require_told(answers[-1])
        assert http.get("/livez").status_code == 200


def test_credentials_that_nobody_looks_at_make_nobody_known(database_url: str, tmp_path: Path) -> None:
    with limited(tmp_path, database_url, public_rate_per_second=0.5) as http:
        shown = bearer(UNKNOWN)
        answers = [http.get("/openapi.json", headers=shown).status_code for _ in range(9)]
        assert (answers[0], answers[-1]) == (200, 429)


def test_a_connection_counts_for_its_address_unless_it_is_of_this_machine_or_of_a_proxy() -> None:
    spared = exempt_networks("10.1.0.0/16, 2001:db8::5, /run/proxy.sock,")
    for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::5"):
        assert connection_address((host, 1), spared) is None
    assert connection_address(None, spared) is None
    assert (
        connection_address(("10.2.0.1", 1), spared) == connection_address(("::ffff:10.2.0.1", 1), spared) == b"10.2.0.1"
    )
    assert connection_address(("no address", 1), spared) == b"no address"
    assert (
        connection_address(("2001:db8::6", 1), spared)
        == connection_address(("2001:db8::7%eth0", 1), spared)
        is not None
    )
    assert connection_address(("192.0.2.1", 1), exempt_networks("*")) is None


def test_an_address_of_ipv6_counts_by_its_network() -> None:
    one, same, other = (
        address_of({"client": (host, 1)}) for host in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert one == same != other
    assert address_of({"client": ("192.0.2.1", 1)}) == b"192.0.2.1"
    assert address_of({"client": None}) == address_of({}) == b""
    assert address_of({"client": ("fe80::1%eth0", 1)}) == address_of({"client": ("fe80::2", 1)})
    assert address_of({"client": ("a:b", 1)}) == b"a:b"


def test_what_is_remembered_has_an_end_and_shows_no_secret() -> None:
    limits = RateLimiter(keyed=TokenBucket(1, 1), failed=TokenBucket(1, 1))
    for number in range(11_000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        limits.record_answer({"type": "http", "path": "/v1/me", "client": (address, 1)}, b"wrong", 401)
    assert len(limits._failed or ()) <= 10_000  # noqa: SLF001 - it has no other window
    scope = {"type": "http", "path": "/v1/me", "client": ("192.0.2.1", 1)}
    for number in range(11_000):
        limits.record_answer(scope, b"%d" % number, 200)
    limits.require_request(scope, b"10999")
    with pytest.raises(TooManyRequests):
        limits.require_request(scope, b"10999")
    assert credential_of(f"Bearer {UNKNOWN}", None) == credential_of(f"bearer  {UNKNOWN} ", "other")
    assert credential_of(None, None) is credential_of("", "") is None
    assert UNKNOWN.encode() not in (credential_of(f"Bearer {UNKNOWN}", None) or b"")
    assert len(limits._authenticated) <= 10_000  # noqa: SLF001 - it has no other window
