"""A message ends where its framing says, on real sockets: offers of other protocols change nothing, and answers keep their order."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from service.gate.fast_path.http_protocol import FastPathProtocol
from service.http.middleware import MAX_UNREAD_EXPECTED
from tests.faults.racing import export, question
from tests.faults.test_direct import Line, Ordinary, request, run, served
from tests.unit.test_request_parser import REFUSED
from tests.world import Json, World

EVALUATION, DETERMINATIONS, EXPORTS = "/access/v1/evaluation", "/v1/determinations", "/v1/exports"

JDK = (
    "Connection: Upgrade, HTTP2-Settings",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    "Upgrade: h2c",
    "User-Agent: Java-http-client/17.0.15",
)
"""What the JDK's client sends by default over plain connections."""
CURL = (
    "User-Agent: curl/7.88.1",
    "Accept: */*",
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
)
"""What `curl --http2` sends over plain connections."""
OFFERS: dict[str, tuple[str, ...]] = {
    "jdk": JDK,
    "curl": CURL,
    "websocket": (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "unknown": ("connection: keep-alive, upgrade", "upgrade: foo, h2c"),
    "alone": ("Upgrade: foo",),
}


class Kept(FastPathProtocol):
    """A connection that waits for tests which take long, and lingers for a moment only."""

    stall_seconds = 300
    linger_seconds = 0.2


class Lingering(Ordinary):
    linger_seconds = 0.2


@pytest.fixture(scope="module")
def open_(world: World) -> tuple[Json, Json]:
    """A dataset that may go without a permit, and where to."""
    return world.dataset(world.handler()), world.recipient()


@pytest.fixture(scope="module", params=[Kept, Lingering], ids=["direct", "ordinary"])
def place(database_url: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    with served(request.param, database_url, tmp_path_factory.mktemp("reading")) as found:
        yield found


@pytest.fixture(scope="module")
def hidden(world: World) -> bytes:
    """A body that is a request: it must never be answered."""
    return request("/v1/me", b"", world.admin.secret, "X-Request-ID: hidden", method="GET")


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def asked(path: str, body: bytes, secret: str, offer: Sequence[str], framing: str, method: str = "POST") -> bytes:
    if framing == "length":
        return request(path, body, secret, *offer, method=method)
    return request(path, chunked(body), secret, "Transfer-Encoding: chunked", *offer, method=method)


def segments(data: bytes, body: bytes) -> dict[str, list[bytes]]:
    head = data.index(b"\r\n\r\n") + 4
    return {
        "whole": [data],
        "bytes": [data[at : at + 1] for at in range(len(data))],
        "head and body": [data[:head], data[head:]],
        "within the head": [data[: head - 3], data[head - 3 :]],
        "within the body": [data[: -len(body) // 2], data[-len(body) // 2 :]],
    }


ORDER = [(b"200", b""), (b"", b"1"), (b"200", b""), (b"", b"2"), (b"400", b"")]


async def answers(place: str, secret: str, *pieces: bytes, number: int = 1) -> list[tuple[int, Json]]:
    """Return the answers on a connection: as many as there must be, and none besides."""
    line = await Line.to(place)
    for piece in pieces:
        line.writer.write(piece)
        await line.writer.drain()
        await asyncio.sleep(0)
    found = [await line.answer() for _ in range(number)]
    status, headers, _ = await line.ask(request("/v1/me", b"", secret, "X-Request-ID: last", method="GET"))
    assert (status, headers["x-request-id"]) == (200, "last")
    line.writer.close()
    return [(status, json.loads(body)) for status, _, body in found]


def what(found: Sequence[tuple[int, Json]]) -> list[tuple[int, object, object]]:
    return [(status, body.get("decision"), body.get("detail")) for status, body in found]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_offer_that_is_declined_changes_nothing(
    world: World, place: str, hidden: bytes, open_: tuple[Json, Json], offer: str, framing: str
) -> None:
    secret = world.exporter.secret
    plain = json.dumps(question(world.exporter, *open_)).encode()
    cases = [
        (EVALUATION, plain, "POST"),
        (EVALUATION, hidden, "POST"),
        (DETERMINATIONS, hidden, "POST"),
        ("/v1/me", hidden, "GET"),
        ("/livez", hidden, "GET"),
    ]

    async def work() -> None:
        for path, body, method in cases:
            data = asked(path, body, secret, OFFERS[offer], framing, method)
            without = asked(path, body, secret, (), framing, method)
            expected = what(await answers(place, secret, without))
            assert expected[0][:2] == {plain: (200, True)}.get(body, (200 if method == "GET" else 400, None))
            for name, pieces in segments(data, body).items():
                assert what(await answers(place, secret, *pieces)) == expected, name
            followed = await answers(place, secret, data + without + data, without, number=4)
            assert what(followed) == 4 * expected

    run(work())


@pytest.mark.parametrize("offer", ["jdk", "websocket"])
def test_a_head_with_an_offer_is_known_again_as_what_it_is(
    world: World, place: str, open_: tuple[Json, Json], offer: str
) -> None:
    """The body is what changes: an answer of the one before would be told by its purpose and its key."""
    secret = world.exporter.secret

    async def work() -> None:
        line = await Line.to(place)
        for number in range(4):
            body = json.dumps(export(*open_, 0) | {"purpose": f"purpose {number}"}).encode()
            status, _, answer = await line.ask(asked(EXPORTS, body, secret, OFFERS[offer], "length"))
            assert (status, json.loads(answer)["purpose"]) == (201, f"purpose {number}")

    run(work())


def test_a_caller_who_waits_to_be_told_to_go_on_is_told_so_whatever_else_it_offers(
    world: World, place: str, open_: tuple[Json, Json]
) -> None:
    body = json.dumps(question(world.exporter, *open_)).encode()

    async def work() -> None:
        line = await Line.to(place)
        for offer in [(), *OFFERS.values()]:
            data = request(EVALUATION, body, world.exporter.secret, "Expect: 100-continue", *offer)
            line.writer.write(data.removesuffix(body))
            assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            status, _, answer = await line.ask(body)
            assert (status, json.loads(answer)["decision"]) == (200, True)

    run(work())


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_answer_waits_for_the_end_of_its_request(world: World, place: str, hidden: bytes, framing: str) -> None:
    """A proxy that has it before closes its caller's connection, and what the caller sends next is lost."""
    known, unknown = world.auditor.secret, "ob_live_x"
    cases = [
        ("/v1/me", known, "GET", 200),
        ("/livez", known, "GET", 200),
        ("/v1/recipients?limit=1", known, "GET", 200),
        ("/v1/nothing", known, "GET", 404),
        ("/v1/me", known, "DELETE", 405),
        ("/v1/datasets?handler=x", unknown, "GET", 401),
    ]

    async def work(case: tuple[str, str, str, int]) -> None:
        path, secret, method, expected = case
        data = asked(path, hidden, secret, (), framing, method)
        line = await Line.to(place)
        for piece in (data[: -len(hidden)], data[-len(hidden) : -7], data[-7:-1]):
            line.writer.write(piece)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(line.reader.read(1), 0.05)
        status, _, _ = await line.ask(data[-1:])
        assert status == expected, case
        status, headers, _ = await line.ask(request("/livez", b"", known, "X-Request-ID: next", method="GET"))
        assert (status, headers["x-request-id"]) == (200, "next"), case
        line.writer.close()

    async def works() -> None:
        for case in cases:
            await work(case)

    run(works())


def test_an_answer_does_not_wait_for_ever(world: World, place: str) -> None:
    """Of a body that does not come to its end, or comes byte by byte, what comes after the answer is thrown away."""
    me, more = request("/v1/me", b"", world.auditor.secret, method="GET"), 10

    async def work(*, does_drip: bool) -> None:
        line = await Line.to(place)
        head = request("/livez", b"", "x", method="GET").replace(
            b"Content-Length: 0", b"Content-Length: %d" % (more + len(me))
        )
        line.writer.write(head)
        answer = asyncio.ensure_future(line.answer())
        sent = 0
        while does_drip and sent < more and not answer.done():
            line.writer.write(b"x")
            sent += 1
            await asyncio.sleep(0.15)  # the pace of a slow client
        assert (await answer)[0] == 200
        line.writer.write(b"x" * (more - sent) + me)
        status, headers, _ = await line.ask(request("/livez", b"", "x", "X-Request-ID: next", method="GET"))
        assert (status, headers["x-request-id"]) == (200, "next")

    async def works() -> None:
        await work(does_drip=False)
        await work(does_drip=True)

    run(works())


def test_a_short_body_that_nobody_reads_is_asked_for(world: World, place: str, hidden: bytes) -> None:
    """Else it would have to be guessed whether what comes next is this body, and the connection would end."""

    async def work() -> None:
        line = await Line.to(place)
        for framing in ("length", "chunks"):
            data = asked("/v1/me", hidden, world.auditor.secret, ("Expect: 100-continue",), framing, "GET")
            head = data.index(b"\r\n\r\n") + 4
            line.writer.write(data[:head])
            assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            status, _, answer = await line.ask(data[head:])
            assert (status, json.loads(answer)["id"]) == (200, world.auditor.id)

    run(work())


class Recorder:
    """What a connection writes to, and what it has written."""

    written: ClassVar[list[bytes]] = []

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._transport.write(data)


class Recorded(Kept):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", Recorder(transport)))


def test_an_answer_comes_in_one_piece(world: World, database_url: str, tmp_path: Path, hidden: bytes) -> None:
    """HAProxy before 3.1 takes a head that comes alone for all of the answer, now and then, if the caller was told to go on."""
    secret = world.auditor.secret

    async def work(place: str) -> None:
        line = await Line.to(place)
        for path, status in (
            ("/v1/me", 200),
            ("/v1/recipients?limit=1", 200),
            ("/v1/nothing", 404),
            ("/openapi.json", 200),
        ):
            for more in ((), ("Expect: 100-continue",)):
                Recorder.written.clear()
                line.writer.write(request(path, hidden, secret, *more, method="GET"))
                if more:
                    assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                found, _, answer = await line.answer()
                assert found == status, path
                assert len(Recorder.written) == 1 + len(more), path
                assert Recorder.written[-1].endswith(answer), path

    with served(Recorded, database_url, tmp_path) as place:
        run(work(place))


def test_an_answer_without_a_body_comes_too(world: World, place: str) -> None:
    async def work() -> None:
        line = await Line.to(place)
        for method, path, status in (("HEAD", "/livez", 405), ("OPTIONS", "/v1/me", 405), ("HEAD", "/v1/nothing", 404)):
            line.writer.write(request(path, b"", world.auditor.secret, method=method))
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert int(head.split()[1]) == status, (method, path)
            if method != "HEAD":
                await line.reader.readexactly(int(re.findall(rb"content-length: ([0-9]+)", head)[0]))

    run(work())


def test_who_is_answered_before_being_told_to_go_on_has_no_next_request_there(world: World, place: str) -> None:
    """Nobody knows whether the next bytes are the body that was announced."""
    me = request("/v1/me", b"", world.auditor.secret, method="GET")

    async def work() -> None:
        line = await Line.to(place)
        head = request("/livez", b"", "x", "Expect: 100-continue", method="GET").replace(
            b"Content-Length: 0", b"Content-Length: %d" % (MAX_UNREAD_EXPECTED + 1)
        )
        status, _, _ = await line.ask(head)
        assert status == 200
        line.writer.write(me)
        assert await line.reader.read() == b""

    run(work())


def test_what_is_refused_is_answered_once_and_ends_the_connection(world: World, place: str, hidden: bytes) -> None:
    first = request("/livez", b"", world.auditor.secret, "X-Request-ID: first", method="GET")

    async def refused(case: str, before: bytes) -> None:
        line = await Line.to(place)
        line.writer.write(before + REFUSED[case] + hidden)
        if before:
            status, headers, _ = await line.answer()
            assert (status, headers["x-request-id"]) == (200, "first"), case
        status, headers, body = await line.answer()
        assert (status, headers.get("connection")) == (400, "close"), case
        assert json.loads(body)["status"] == 400
        line.writer.write(hidden)
        assert await line.reader.read() == b"", case
        line.writer.close()

    async def work() -> None:
        await asyncio.gather(*(refused(case, before) for case in REFUSED for before in (b"", first)))

    run(work())


def test_a_refusal_waits_for_the_answers_before_it(world: World, place: str, open_: tuple[Json, Json]) -> None:
    """Else it would be taken for the answer to the first of them."""
    body = json.dumps(question(world.exporter, *open_)).encode()
    secret = world.exporter.secret
    first, second = (request(EVALUATION, body, secret, f"X-Request-ID: {number}") for number in (1, 2))
    broken = request(EVALUATION, b"1\r\nab\r\n", secret, "Transfer-Encoding: chunked")
    head, rest = broken[:-4], broken[-4:]

    async def work() -> None:
        for pieces in (
            [first + second + b"nonsense\r\n\r\n"],
            [first + second, b"nonsense\r\n\r\n"],
            [first + second + broken],
            [first + second + head, rest],
            [first, second, head, rest],
        ):
            line = await Line.to(place)
            for piece in pieces:
                line.writer.write(piece)
                await line.writer.drain()
                await asyncio.sleep(0)
            told = (await line.reader.read()).lower()
            assert re.findall(rb"http/1.1 ([0-9]+)|x-request-id: (.)", told) == ORDER

    run(work())


def test_a_body_that_breaks_after_its_answer_is_not_answered_twice(world: World, place: str) -> None:
    head = request("/livez", b"", world.auditor.secret, "Transfer-Encoding: chunked", method="GET")

    async def work() -> None:
        line = await Line.to(place)
        assert (await line.ask(head))[0] == 200
        line.writer.write(b"nonsense\r\n\r\n")
        assert await line.reader.read() == b""

    run(work())


def test_old_callers_need_no_host(world: World, place: str) -> None:
    async def work() -> None:
        line = await Line.to(place)
        line.writer.write(f"GET /v1/me HTTP/1.0\r\nAuthorization: Bearer {world.auditor.secret}\r\n\r\n".encode())
        status, headers, _ = await line.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await line.reader.read() == b""

    run(work())


ASK = """
import java.net.URI; import java.net.http.*; import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
public class Ask { public static void main(String[] a) throws Exception {
  HttpClient client = HttpClient.newHttpClient();
  for (int i = 0; i < 3; i++) {
    HttpRequest.Builder asked = HttpRequest.newBuilder(URI.create(a[0] + a[1])).header("Authorization", "Bearer " + a[2]);
    if (a.length > 3) asked.header("Content-Type", "application/json").POST(BodyPublishers.ofString(a[3]));
    HttpResponse<String> told = client.send(asked.build(), BodyHandlers.ofString());
    System.out.println(told.version() + " " + told.statusCode() + " " + told.body());
  } } }
"""


@pytest.mark.skipif(
    shutil.which("java") is None, reason="its bytes are sent by the tests above; the program itself is not here"
)
def test_the_client_of_the_jdk_is_served_with_its_default_settings(
    world: World, place: str, open_: tuple[Json, Json], tmp_path: Path
) -> None:
    (tmp_path / "Ask.java").write_text(ASK, "utf-8")
    body = json.dumps(question(world.exporter, *open_))
    secret = world.exporter.secret
    for arguments in ([EVALUATION, secret, body], ["/v1/me", secret]):
        told = subprocess.run(
            ["java", "-XX:TieredStopAtLevel=1", str(tmp_path / "Ask.java"), place, *arguments],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        lines = told.stdout.splitlines()
        assert [line.split(" ", 2)[:2] for line in lines] == 3 * [["HTTP_1_1", "200"]]
        if len(arguments) > 2:
            assert all(json.loads(line.split(" ", 2)[2])["decision"] is True for line in lines)
