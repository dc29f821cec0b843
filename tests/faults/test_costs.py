"""What a request costs is bounded, and tells nothing: parts of a body and their heads, and the look-up of a key."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from service.database.session import Database
from service.identity import operations as identity
from service.validation.problems import Unauthenticated
from tests.conftest import Clock
from tests.world import Json, World


@pytest.fixture(scope="session")
def shown(world: World) -> Json:
    handler = world.handler()
    return world.submitted(handler, [world.dataset(handler, "personal")], world.recipient(), persons=150_000)


def many_parts(boundary: str, parts: int) -> bytes:
    one = f'--{boundary}\r\nContent-Disposition: form-data; name="part"\r\n\r\nx\r\n'
    return (one * parts + f"--{boundary}--\r\n").encode()


def large_head(boundary: str, name: str, size: int, *, times: int = 1) -> bytes:
    lines = f"{name}: {'a' * size}\r\n" * times
    disposition = 'Content-Disposition: form-data; name="document"'
    return f"--{boundary}\r\n{disposition}\r\n{lines}\r\n{{}}\r\n--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(many_parts("cut", 10_000), id="many parts"),
        pytest.param(large_head("cut", "X-Large", 9_000), id="a large value"),
        pytest.param(large_head("cut", "X-" + "n" * 9_000, 1), id="a large name"),
        pytest.param(large_head("cut", "X-Many", 1, times=20), id="many lines"),
        pytest.param(large_head("cut", "X-Endless", 12_000_000), id="a head without an end"),
    ],
)
def test_a_body_of_many_parts_or_with_large_heads_is_not_read(world: World, shown: Json, body: bytes) -> None:
    answer = world.http.post(
        f"/v1/transfers/{shown['id']}/evidence",
        content=body,
        headers={
            "Authorization": f"Bearer {world.requester.secret}",
            "Content-Type": "multipart/form-data; boundary=cut",
        },
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed"), answer.text


def test_a_look_up_of_a_key_costs_the_same_statements_whatever_is_wrong_with_it(
    world: World, database_url: str
) -> None:
    """An answer that comes a statement earlier would tell an unknown key from one that has ended, or has another secret."""
    ended, disabled, late = (world.person("auditor") for _ in range(3))
    ident = world.admin.get("/v1/api-keys", principal=ended.id).json()["items"][0]["id"]
    world.admin.made(f"/v1/api-keys/{ident}/revoke", None)
    world.admin.made(f"/v1/principals/{disabled.id}/disable", None)
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    expired = world.admin.made("/v1/api-keys", {"principal": late.id, "expires_at": expires})["secret"]
    shown = {
        "unknown": "ob_live_" + "0" * 12 + "_" + "0" * 52,
        "another secret": world.auditor.secret[:20] + "_" + "0" * 52,
        "revoked": ended.secret,
        "disabled": disabled.secret,
        "expired": expired,
    }
    sent: list[str] = []

    async def look_up(secret: str, ahead: timedelta) -> None:
        clock = Clock()
        clock.ahead = ahead
        database = Database(database_url, clock=clock)
        engine = database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", lambda _, __, statement, *___: sent.append(statement))
        proof = identity.parse_api_key(f"Bearer {secret}")
        try:
            with pytest.raises(Unauthenticated):
                await database.transaction(lambda tx: identity.authenticate(tx, proof))
        finally:
            await database.close()

    costs: dict[str, list[str]] = {}
    for why, secret in shown.items():
        sent.clear()
        asyncio.run(look_up(secret, timedelta(days=2 if why == "expired" else 0)))
        costs[why] = [" ".join(statement.split()) for statement in sent]
    assert len(costs["unknown"]) == 2, "the moment, and the key"
    assert set(map(tuple, costs.values())) == {tuple(costs["unknown"])}
