"""Callers that are slow at everything, on real sockets: they are let go, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import ClassVar
from urllib.parse import urlsplit

import httpx
import pytest

from service.gate.fast_path.http_protocol import FastPathProtocol
from service.http.connection_limits import ConnectionLimit
from service.http.request_parser import MAX_FIELDS, MAX_HEAD, MAX_TARGET
from service.settings import Settings
from tests.conftest import Clock, Served
from tests.faults.racing import export, question
from tests.faults.test_direct import request
from tests.waiting import until
from tests.world import World

PATIENCE = 0.6


class Brief(FastPathProtocol):
    stall_seconds = PATIENCE
    max_body_seconds = 4 * PATIENCE
    limit = ConnectionLimit(800, 600)
    lost: ClassVar[set[int]] = set()
    """The callers' ports whose connection has ended on this side."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.lost.add(self.client[1])
        super().connection_lost(exc)


@pytest.fixture(scope="module")
def brief(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("brief"), sequencer=False, pack_worker=False)
    with Served(settings, database_url, Clock(), Brief) as address:
        yield address


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(address)
    return await asyncio.open_connection(place.hostname, place.port)


async def dripped(writer: asyncio.StreamWriter, content: bytes, pause: float = PATIENCE / 8) -> None:
    """Write a byte at a time, for as long as the other side takes it."""
    try:
        for byte in content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)  # the pace of a slow client
    except ConnectionError:
        pass


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content", [b"", b"G", b"\r\n" * 500, b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 5000]
)
def test_a_head_that_does_not_come_is_not_waited_for(brief: str, content: bytes) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        began = time.monotonic()
        dripping = asyncio.create_task(dripped(writer, content))
        told = await reader.read()
        assert told == b""
        assert time.monotonic() - began > PATIENCE * 0.9, (
            "not before its time, and how much later is the machine's affair"
        )
        dripping.cancel()

    run(work)


@pytest.mark.parametrize("path", ["/access/v1/evaluation", "/v1/handlers", "/v1/exports"])
@pytest.mark.parametrize("body", [b"", b"{" + b" " * 5000])
def test_a_body_that_stalls_or_drips_is_408(world: World, brief: str, path: str, body: bytes) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        key = world.registrar.secret
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode())
        dripping = asyncio.create_task(dripped(writer, body))
        told = await reader.read()
        assert told.startswith((b"HTTP/1.1 408 Request Timeout\r\n", b"HTTP/1.1 403")), told[:200]
        assert b"application/problem+json" in told
        dripping.cancel()

    run(work)


def test_a_body_that_comes_steadily_and_never_ends_is_408(world: World, brief: str) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        head = f"POST /access/v1/evaluation HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.exporter.secret}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n".encode())
        told = asyncio.create_task(reader.read())
        while not told.done():
            writer.write(b" " * 200)
            await asyncio.sleep(0.05)  # the pace of the client
        assert (await told).startswith(b"HTTP/1.1 408 ")

    run(work)


def test_five_hundred_idle_connections_harm_nobody_and_are_let_go(world: World, brief: str) -> None:
    async def work() -> None:
        idle = [await opened(brief) for _ in range(500)]
        async with httpx.AsyncClient(base_url=brief, timeout=30) as http:
            headers = {"Authorization": f"Bearer {world.auditor.secret}"}
            for _ in range(5):
                assert (await http.get("/v1/me", headers=headers)).status_code == 200
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()

    run(work)


class Crowded(FastPathProtocol):
    """A server with few places, whose callers are all of one address unless they are spared."""

    stall_seconds = 300
    limit = ConnectionLimit(24, 6)


class Open(Crowded):
    exempt = ()


@pytest.fixture(scope="module")
def crowded(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("crowded"), sequencer=False, pack_worker=False)
    with Served(settings, database_url, Clock(), Crowded) as address:
        yield address


@pytest.fixture(scope="module")
def counted(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("counted"), sequencer=False, pack_worker=False)
    with Served(settings, database_url, Clock(), Open) as address:
        yield address


PING = b"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ob_live_x\r\n\r\n"
SLOW_BODY = (
    b"POST /v1/determinations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
)
UNTAKEN = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40
HOLDING = {"idle": b"", "asking": PING, "in a head": PING[:-5], "in a body": SLOW_BODY, "not taking": UNTAKEN}


def me(key: str) -> bytes:
    return f"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def holding(address: str, number: int, sent: bytes) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open connections one after the other, each of which the server has looked at before the next one comes."""
    found = []
    for _ in range(number):
        reader, writer = await opened(address)
        found.append((reader, writer))
        writer.write(sent)
        if sent == UNTAKEN:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        elif sent == PING:
            await reader.readuntil(b"}")
    return found


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> bytes:
    with suppress(ConnectionError):
        writer.write(asked)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        return head[9:12]
    return b"ended"


async def known_to(world: World, address: str, number: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open connections, each of a caller who was let in before the next one comes."""
    found = []
    for _ in range(number):
        found.append(await opened(address))
        assert await answered(*found[-1], me(world.auditor.secret)) == b"200"
    return found


def is_open(reader: asyncio.StreamReader) -> bool:
    return not reader.at_eof() and reader.exception() is None


async def let_go(held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in held:
        writer.transport.abort()


def test_more_connections_than_there_may_be_are_503(world: World, crowded: str) -> None:
    """All places are those of known callers: nobody has to give way."""

    async def work() -> None:
        held = await known_to(world, crowded, Crowded.limit.most)
        reader, writer = await opened(crowded)
        told = await reader.read()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in told
        assert [await answered(*one, me(world.auditor.secret)) for one in held] == [b"200"] * len(held)
        await let_go([*held, (reader, writer)])

    run(work)


def test_one_address_has_its_share_of_connections_until_its_callers_are_known(world: World, counted: str) -> None:
    async def work() -> None:
        known = await known_to(world, counted, 2 * Open.limit.by_address)
        held = await holding(counted, Open.limit.by_address + 4, PING)

        async def are_gone() -> bool:
            return [is_open(reader) for reader, _ in held] == [False] * 4 + [True] * Open.limit.by_address

        await until(are_gone)
        assert [await answered(*one, me(world.auditor.secret)) for one in known] == [b"200"] * len(known)
        await let_go([*known, *held])

    run(work)


@pytest.mark.parametrize("how", HOLDING)
def test_whoever_holds_connections_keeps_nobody_out(world: World, crowded: str, how: str) -> None:
    """As many as there may be, from where they are not counted one by one, and each says something now and then."""

    async def work() -> None:
        held = await holding(crowded, Crowded.limit.most + 3, HOLDING[how])
        for _ in range(12):
            reader, writer = await opened(crowded)
            assert await answered(reader, writer, me(world.exporter.secret)) == b"200"
            writer.close()
            if how == "asking":
                for one in held:
                    with suppress(ConnectionError, asyncio.IncompleteReadError):
                        one[1].write(PING)
        await let_go(held)

    run(work)


def test_some_places_are_kept_for_callers_who_are_known(world: World, crowded: str) -> None:
    async def work() -> None:
        most = Crowded.limit.for_unauthenticated
        assert most < Crowded.limit.most
        held = await holding(crowded, most + 5, PING)

        async def are_gone() -> bool:
            return sum(is_open(reader) for reader, _ in held) == most

        await until(are_gone)
        known = await known_to(world, crowded, Crowded.limit.most - most)
        more = await holding(crowded, 3 * Crowded.limit.most, PING)
        assert [await answered(*one, me(world.auditor.secret)) for one in known] == [b"200"] * len(known)
        await let_go([*held, *known, *more])

    run(work)


@pytest.mark.parametrize("status", [200, 403])
def test_a_caller_of_the_gate_is_known_by_its_answer(world: World, crowded: str, status: int) -> None:
    """Also one who is denied, on the shortest way."""
    dataset, recipient = world.dataset(world.handler()), world.recipient()
    asked = export(dataset, recipient, 0) if status == 403 else question(world.exporter, dataset, recipient)
    body = json.dumps(asked | ({"dataset": "none"} if status == 403 else {})).encode()
    path = "/v1/exports" if status == 403 else "/access/v1/evaluation"

    async def work() -> None:
        mine = await opened(crowded)
        data = request(path, body, world.exporter.secret)
        assert await answered(*mine, data) == str(status).encode()
        more = await holding(crowded, 3 * Crowded.limit.most, PING)
        assert await answered(*mine, data) == str(status).encode()
        await let_go([mine, *more])

    run(work)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", b"431"),
        (b"GET /livez?" + b"a" * MAX_TARGET + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /livez HTTP/1.1\r\na: " + b"a" * 4 * MAX_HEAD, b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
    ],
    ids=["fields", "target", "head", "nonsense", "smuggled", "twice"],
)
def test_a_head_that_holds_too_much_or_says_two_things_is_refused(brief: str, head: bytes, status: bytes) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        with suppress(ConnectionError):  # who is refused in the middle of what it sends may not hear why
            for at in range(0, len(head), 30_000):
                writer.write(head[at : at + 30_000])
                await writer.drain()
                await asyncio.sleep(0.02)  # so that pieces arrive apart
            told = await reader.read()
            assert told.startswith(b"HTTP/1.1 " + status)
            assert b"application/problem+json" in told
        assert reader.at_eof() or reader.exception() is not None

    run(work)


def test_a_slow_request_that_is_in_time_is_served_and_the_connection_kept(world: World, brief: str) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        for _ in range(3):
            writer.write(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n")
            await asyncio.sleep(PATIENCE / 2)  # slow, and within the time of a head
            writer.write(f"Authorization: Bearer {world.auditor.secret}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            length = next(line for line in head.lower().splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            await asyncio.sleep(PATIENCE * 3 / 2)  # idle for longer than a head may take

    run(work)


def test_an_answer_that_nobody_takes_is_given_up(brief: str) -> None:
    async def work() -> None:
        reader, writer = await opened(brief)
        port = writer.get_extra_info("sockname")[1]
        Brief.lost.discard(port)  # a caller before may have had it
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(asked * 40)

        async def is_given_up() -> bool:
            return port in Brief.lost

        await until(is_given_up)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)) as cut:
            await reader.readexactly(10**9)
        taken = cut.value.partial if isinstance(cut.value, asyncio.IncompleteReadError) else b""
        assert taken.count(b"HTTP/1.1 200") < 40, "the rest was kept for whoever does not take it"

    run(work)
