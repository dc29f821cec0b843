"""What arrives at the gate's express way and is not as it should be: too large, too deep, half of it, or nobody there to hear."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from service.settings import Settings
from tests.faults.racing import connected, export, question
from tests.waiting import until
from tests.world import Json, World

PATHS = ["/access/v1/evaluation", "/access/v1/evaluations", "/v1/exports"]
LIMIT = Settings().body_limit_bytes


@pytest.fixture
def open_(world: World) -> tuple[Json, Json]:
    """A dataset that may go without a permit, and where to."""
    return world.dataset(world.handler()), world.recipient()


def sent(world: World, path: str, body: bytes) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    answer = world.http.post(path, content=body, headers=headers)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("more", [1, 100_000])
def test_a_body_over_the_limit_is_413(world: World, path: str, more: int) -> None:
    body = b'{"a":"' + b"a" * (LIMIT - 8 + more) + b'"}'
    assert len(body) == LIMIT + more
    assert sent(world, path, body) == (413, "/problems/too-large")


@pytest.mark.parametrize("path", PATHS)
def test_a_body_at_the_limit_is_read(world: World, open_: tuple[Json, Json], path: str) -> None:
    body = export(*open_, 0) if path == "/v1/exports" else question(world.exporter, *open_)
    text = json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    padded = text + b" " * (LIMIT - len(text))
    assert world.http.post(path, content=padded, headers=headers).status_code in {200, 201}
    assert sent(world, path, padded + b" ") == (413, "/problems/too-large")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "value",
    [
        "[" * 33 + "]" * 33,
        "[" * 100_000,
        '{"a":' * 33 + "1" + "}" * 33,
        "1" * 65,
        "1e400",
        "NaN",
        "-Infinity",
        '"\\ud800"',
        '"\\u0000"',
        '1,"x":1',
    ],
    ids=["deep", "open", "objects", "digits", "huge", "nan", "infinity", "surrogate", "nul", "twice"],
)
def test_what_is_no_strict_json_is_400_wherever_it_stands(
    world: World, open_: tuple[Json, Json], path: str, value: str
) -> None:
    body = export(*open_, 0) if path == "/v1/exports" else question(world.exporter, *open_)
    text = json.dumps(body).removesuffix("}") + f',"x":{value}}}'
    assert sent(world, path, text.encode()) == (400, "/problems/malformed")


@pytest.mark.parametrize("spaces", [" ", "\n", "\t", "\r\n "])
def test_an_unknown_member_is_refused_however_it_is_spaced(world: World, open_: tuple[Json, Json], spaces: str) -> None:
    text = json.dumps(export(*open_, 0)).removesuffix("}")
    assert sent(world, "/v1/exports", f'{text},"more"{spaces}:1}}'.encode()) == (422, "/problems/invalid")
    assert sent(world, "/v1/exports", f'{text},"persons"{spaces}:1}}'.encode()) == (400, "/problems/malformed")


# Somebody who goes away


async def _opened(
    address: str, path: str, secret: str, length: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(address)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode())
    return reader, writer


RECORDED = "select count(*) from entries where handler = $1 and actor = $2"


@pytest.mark.parametrize("part", [0, 1, 50])
def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing(
    world: World, address: str, database_url: str, open_: tuple[Json, Json], part: int
) -> None:
    body = json.dumps(question(world.exporter, *open_)).encode()

    async def run() -> None:
        _, writer = await _opened(address, PATHS[0], world.exporter.secret, len(body))
        writer.write(body[:part])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await asyncio.to_thread(world.ask, *open_))["decision"] is True
        async with connected(database_url) as connection:
            recorded = await connection.fetchval(RECORDED, open_[0]["handler"], world.exporter.id)
        assert recorded == 1, "the one that was asked to the end"

    asyncio.run(run())


def test_what_was_asked_is_on_record_though_nobody_waits_for_the_answer(
    world: World, address: str, database_url: str, open_: tuple[Json, Json]
) -> None:
    """The whole question came, so the gate decides; that its client has gone by then harms nobody else."""
    body = json.dumps(export(*open_, 0)).encode()

    async def run() -> None:
        async with connected(database_url) as connection:
            for _ in range(10):
                _, writer = await _opened(address, PATHS[2], world.exporter.secret, len(body))
                writer.write(body)
                await writer.drain()
                writer.close()
            recorded = lambda: connection.fetchval(RECORDED, open_[0]["handler"], world.exporter.id)  # noqa: E731

            async def all_are() -> bool:
                return int(await recorded()) == 10

            await until(all_are)
            reserved = "select count(*) from exports where dataset = $1"
            assert await connection.fetchval(reserved, open_[0]["id"]) == 10
        assert (await asyncio.to_thread(world.ask, *open_))["decision"] is True

    asyncio.run(run())
