"""The shortest way into the gate answers as the others do, and stands back for whatever is not plain."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from service.gate.fast_path.http_protocol import MAX_BUFFERED_BODY, MAX_TEMPLATE, MAX_TEMPLATES, FastPathProtocol
from service.http.server_protocol import TimeoutProtocol
from service.settings import Settings
from tests.conftest import Clock, Served
from tests.faults.racing import export, question
from tests.world import Json, World

EVALUATION, EVALUATIONS, EXPORTS = "/access/v1/evaluation", "/access/v1/evaluations", "/v1/exports"
OWN_TO_EACH = {"date", "x-request-id", "location", "etag"}


class Watched(FastPathProtocol):
    """Counts what was taken, and by a head that was known, and breaks where a request asks for it."""

    stall_seconds = 300
    taken: ClassVar[int] = 0
    known: ClassVar[int] = 0
    kept: ClassVar[int] = 0

    def _begin_from_template(self, data: bytes) -> bool:
        is_begun = super()._begin_from_template(data)
        Watched.known += is_begun
        return is_begun

    def _store_template(self, head: Any, varying: Any, body: bytes) -> None:
        super()._store_template(head, varying, body)
        Watched.kept = len(self._templates)

    def _write_answer(self, exchange: Any, status: int, lines: bytes, body: bytes) -> None:
        if b"x-request-id: break\r\n" in lines:
            self.transport.abort()
            raise RuntimeError("invented")
        Watched.taken += 1
        super()._write_answer(exchange, status, lines, body)


class Ordinary(TimeoutProtocol):
    stall_seconds = 300


def served(protocol: type[TimeoutProtocol], url: str, folder: Path) -> Served:
    return Served(Settings(data_dir=folder, sequencer=False, pack_worker=False), url, Clock(), protocol)


@pytest.fixture(scope="module")
def direct(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Watched, database_url, tmp_path_factory.mktemp("direct")) as address:
        yield address


@pytest.fixture(scope="module")
def ordinary(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Ordinary, database_url, tmp_path_factory.mktemp("ordinary")) as address:
        yield address


@pytest.fixture(scope="module")
def open_(world: World) -> tuple[Json, Json]:
    """A dataset that may go without a permit, and where to."""
    return world.dataset(world.handler()), world.recipient()


def request(path: str, body: bytes, secret: str, *more: str, version: str = "1.1", method: str = "POST") -> bytes:
    head = [
        f"{method} {path} HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {secret}",
        "Content-Type: application/json",
        *more,
    ]
    if not any(line.lower().startswith("transfer-encoding") for line in more):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, address: str) -> Line:
        place = urlsplit(address)
        return cls(*await asyncio.open_connection(place.hostname, place.port))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
        for part in parts:
            self.writer.write(part)
            await asyncio.sleep(0.02)  # so that parts arrive apart
        return await self.answer()


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


def bodies(world: World, open_: tuple[Json, Json]) -> dict[str, tuple[str, bytes]]:
    plain, asked = question(world.exporter, *open_), export(*open_, 0)
    found = {
        "allow": (EVALUATION, plain),
        "no such dataset": (EVALUATION, plain | {"resource": {"type": "dataset", "id": "none"}}),
        "several": (EVALUATIONS, {"evaluations": [plain, plain]}),
        "export": (EXPORTS, asked),
        "denied export": (EXPORTS, asked | {"dataset": "none"}),
        "unknown member": (EXPORTS, asked | {"more": 1}),
        "wrong type": (EXPORTS, asked | {"persons": "many"}),
        "escaped": (EVALUATION, plain | {"context": {"recipient": open_[1]["id"], "purpose": 'a"b'}}),
        "list": (EVALUATION, []),
    }
    return {name: (path, json.dumps(body).encode()) for name, (path, body) in found.items()} | {
        "no json": (EVALUATION, b"{"),
        "nothing": (EVALUATION, b""),
    }


CASES = {
    "allow": True,
    "no such dataset": True,
    "several": True,
    "export": True,
    "denied export": True,
    "unknown member": False,
    "wrong type": False,
    "escaped": False,
    "list": False,
    "no json": False,
    "nothing": False,
}


@pytest.mark.parametrize(("case", "is_taken"), CASES.items(), ids=CASES)
@pytest.mark.parametrize("who", ["exporter", "auditor", "nobody"])
def test_answers_are_those_of_the_ordinary_way(
    world: World, direct: str, ordinary: str, open_: tuple[Json, Json], case: str, who: str, *, is_taken: bool
) -> None:
    path, body = bodies(world, open_)[case]
    secret = {"exporter": world.exporter.secret, "auditor": world.auditor.secret}.get(who, "ob_live_" + "x" * 60)

    async def asked(address: str) -> tuple[int, dict[str, str], Json]:
        line = await Line.to(address)
        status, headers, told = await line.ask(request(path, body, secret))
        document = json.loads(told)
        own = ("id", "evaluation", "reserved_at", "expires_at")
        shown = {name: value for name, value in document.items() if name not in own}
        if "context" in shown:
            shown["context"] = {name: value for name, value in shown["context"].items() if name not in {*own, "id"}}
        if "evaluations" in shown:
            shown["evaluations"] = [one["decision"] for one in shown["evaluations"]]
        headers = {name: value for name, value in headers.items() if name not in {*OWN_TO_EACH, "content-length"}}
        return status, headers, shown

    before = Watched.taken
    assert run(asked(direct)) == run(asked(ordinary))
    assert (Watched.taken - before == 1) is (is_taken and who != "nobody")


def test_a_request_id_comes_back_and_one_that_no_header_can_hold_does_not(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]

    async def work() -> None:
        line = await Line.to(direct)
        for given, comes_back in [("a b", True), ("\xe9", False), ("a\tb", False), ("x" * 1025, False)]:
            _, headers, _ = await line.ask(request(path, body, world.exporter.secret, f"X-Request-ID: {given}"))
            assert (headers["x-request-id"] == given) is comes_back

    run(work())


def test_requests_that_follow_each_other_are_answered_in_order(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    key = world.exporter.secret

    async def work() -> None:
        line = await Line.to(direct)
        line.writer.write(
            request(path, body, key, "X-Request-ID: 1")
            + request(path, body, key, "X-Request-ID: 2")
            + request("/v1/me", b"", key, "X-Request-ID: 3", method="GET")
            + request(path, b"{", key, "X-Request-ID: 4")
            + request(path, body, key, "X-Request-ID: 5")
        )
        found = [await line.answer() for _ in range(5)]
        assert [(status, headers["x-request-id"]) for status, headers, _ in found] == [
            *((200, f"{number}") for number in (1, 2, 3)),
            (400, "4"),
            (200, "5"),
        ]
        before = Watched.taken
        assert (await line.ask(request(path, body, key)))[0] == 200
        assert Watched.taken == before + 1, "once nothing is under way it is the shortest way again"

    run(work())


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_a_body_in_parts_is_kept_back_until_it_is_whole(
    world: World, direct: str, open_: tuple[Json, Json], parts: int
) -> None:
    path, body = bodies(world, open_)["allow"]
    whole = request(path, body, world.exporter.secret)
    at = [len(whole) - len(body) + len(body) * part // parts for part in range(parts)]
    pieces = [whole[begin:end] for begin, end in zip([0, *at[1:]], [*at[1:], len(whole)], strict=True)]

    async def work() -> None:
        before = Watched.taken
        status, _, told = await (await Line.to(direct)).ask(*pieces)
        assert (status, json.loads(told)["decision"], Watched.taken - before) == (200, True, 1)

    run(work())


@pytest.mark.parametrize(
    ("more", "version", "is_taken", "is_kept"),
    [
        ((), "1.1", True, True),
        (("Connection: close",), "1.1", True, False),
        (("Connection: keep-alive",), "1.1", True, True),
        (("Expect: 100-continue",), "1.1", False, True),
        ((), "1.0", False, False),
    ],
    ids=["plain", "close", "keep", "expect", "old"],
)
def test_what_the_caller_says_of_the_connection_holds(
    world: World,
    direct: str,
    open_: tuple[Json, Json],
    more: tuple[str, ...],
    version: str,
    *,
    is_taken: bool,
    is_kept: bool,
) -> None:
    path, body = bodies(world, open_)["allow"]

    async def work() -> None:
        line = await Line.to(direct)
        before = Watched.taken
        line.writer.write(request(path, body, world.exporter.secret, *more, version=version))
        if "Expect: 100-continue" in more:
            assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        status, headers, told = await line.answer()
        assert (status, json.loads(told)["decision"]) == (200, True)
        assert (Watched.taken - before == 1) is is_taken
        if is_kept:
            assert (await line.ask(request(path, body, world.exporter.secret)))[0] == 200
        else:
            assert headers["connection"] == "close"
            assert await line.reader.read() == b""

    run(work())


def test_other_methods_queries_and_large_bodies_go_the_ordinary_way(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    key = world.exporter.secret
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    async def work() -> None:
        line = await Line.to(direct)
        before = Watched.taken
        assert (await line.ask(request(path, body, key, method="PUT")))[0] == 405
        assert (await line.ask(request(f"{path}?a=1", body, key)))[0] in {200, 400, 422}
        assert (await line.ask(request(path, b" " * MAX_BUFFERED_BODY + body, key)))[0] == 200
        assert Watched.taken == before
        status, _, told = await line.ask(request(path, chunked, key, "Transfer-Encoding: chunked"))
        assert (status, json.loads(told)["decision"], Watched.taken - before) == (200, True, 1)
        upgrading = request(path, b"", key, "Connection: Upgrade", "Upgrade: h2c")
        assert (await line.ask(upgrading))[0] == 400

    run(work())


def test_one_who_cannot_be_told_keeps_nothing_from_the_others(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    key = world.exporter.secret

    async def work() -> None:
        lines = [await Line.to(direct) for _ in range(9)]
        for number, line in enumerate(lines):
            line.writer.write(request(path, body, key, "X-Request-ID: break" if number == 4 else "X-Request-ID: ok"))
        for number, line in enumerate(lines):
            if number == 4:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await line.answer()
            else:
                assert (await line.answer())[0] == 200

    run(work())


def test_who_goes_before_the_answer_leaves_the_server_well(world: World, direct: str, open_: tuple[Json, Json]) -> None:
    path, body = bodies(world, open_)["allow"]

    async def work() -> None:
        for _ in range(20):
            line = await Line.to(direct)
            line.writer.write(request(path, body, world.exporter.secret))
            await line.writer.drain()
            line.writer.close()
        assert (await (await Line.to(direct)).ask(request(path, body, world.exporter.secret)))[0] == 200

    run(work())


def test_a_head_that_came_before_is_known_and_means_the_same(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    key = world.exporter.secret
    none = json.dumps(json.loads(body) | {"resource": {"type": "dataset", "id": "x" * 29}}).encode()
    assert len(none) == len(body)
    closing = request(path, body, key, "Connection: close")

    async def work() -> None:
        line = await Line.to(direct)
        told = []
        for asked, by_known in [
            (request(path, body, key), False),
            (request(path, body, key), True),
            (request(path, none, key), True),
            (request(path, body + b" ", key), True),
            (request(path, body, key, "X-Request-ID: one"), False),
            (request(path, body, key, "X-Request-ID: one"), True),
            (request(EXPORTS, body, key), False),
            (request(path, body, key), True),
            (request(path, body, key, f"More: {'x' * MAX_TEMPLATE}"), False),
            (request(path, body, key, f"More: {'x' * MAX_TEMPLATE}"), False),
            (closing, False),
        ]:
            before = Watched.known
            status, headers, answer = await line.ask(asked)
            assert Watched.known - before == by_known
            told.append((status, json.loads(answer).get("decision"), headers["x-request-id"] == "one"))
        yes, no = (200, True, False), (200, False, False)
        assert told == [yes, yes, no, yes, (200, True, True), (200, True, True), (422, None, False)] + 4 * [yes]
        for extra in range(3 * MAX_TEMPLATES):
            line = line if extra else await Line.to(direct)
            assert (await line.ask(request(path, body, key, f"More: {extra}")))[0] == 200
            assert Watched.kept <= MAX_TEMPLATES

    run(work())


def test_what_varies_in_a_known_head_is_read_anew(world: World, direct: str, open_: tuple[Json, Json]) -> None:
    body, secret, mine = json.dumps(export(*open_, 0)).encode(), world.exporter.secret, uuid4().hex

    async def work() -> None:
        line = await Line.to(direct)
        made = dict[str, bytes]()
        for key, ident, by_known in [
            ("1", "a", False),
            ("2", "b", True),
            ("22", "a-longer-one", True),
            ("2", "again", True),
            ("k" * (255 - len(mine)), "r" * 255, True),
        ]:
            before = Watched.known
            asked = request(EXPORTS, body, secret, f"Idempotency-Key: {mine}{key}", f"X-Request-ID: {ident}")
            status, headers, answer = await line.ask(asked)
            assert (status, headers["x-request-id"], Watched.known - before) == (201, ident, by_known)
            assert headers.get("idempotent-replayed", "false") == str(key in made).lower()
            assert made.setdefault(key, answer) == answer
        assert len(set(made.values())) == 4

    run(work())


@pytest.mark.parametrize(
    "more",
    [
        ("Idempotency-Key: {} two words",),
        ("Idempotency-Key: {}\xe9",),
        ("Idempotency-Key: {}\t",),
        ("Idempotency-Key: ",),
        ("Idempotency-Key: {}" + "k" * 255,),
        ("Idempotency-Key: {}", "Idempotency-Key: {}"),
        ("Idempotency-Key: {}\r\n more",),
        ("Idempotency-Key: {}\r\nContent-Length: 1",),
        ("Idempotency-Key: {}\r\nTransfer-Encoding: chunked",),
        ("Idempotency-Key: {}", "X-Request-ID: two words"),
        ("Idempotency-Key: {}", "X-Request-ID: word "),
    ],
)
def test_a_value_in_another_form_is_not_read_by_a_known_head(
    world: World, direct: str, open_: tuple[Json, Json], more: Sequence[str]
) -> None:
    body, secret = json.dumps(export(*open_, 0)).encode(), world.exporter.secret

    def other() -> bytes:
        asked = request(EXPORTS, body, secret, *[one.format(uuid4().hex) for one in more])
        return asked.decode().encode("latin-1")

    async def work() -> None:
        line, fresh = await Line.to(direct), await Line.to(direct)
        for known in [(), ("X-Request-ID: a",)]:
            assert (await line.ask(request(EXPORTS, body, secret, f"Idempotency-Key: {uuid4()}", *known)))[0] == 201
        before = Watched.known
        assert (await line.ask(other()))[0] == (await fresh.ask(other()))[0]
        assert Watched.known == before

    run(work())


@pytest.mark.parametrize("length", ["{}0", "0{}", "+{}", "{}, {}", "{} ", "0x{}", ""])
def test_a_length_in_another_form_is_not_read_by_a_known_head(
    world: World, direct: str, open_: tuple[Json, Json], length: str
) -> None:
    path, body = bodies(world, open_)["allow"]

    async def work() -> None:
        line = await Line.to(direct)
        whole = request(path, body, world.exporter.secret)
        for _ in range(2):
            assert (await line.ask(whole))[0] == 200
        before, usual = Watched.known, b"Content-Length: %d" % len(body)
        other = f"Content-Length: {length.format(len(body), len(body))}".encode()
        line.writer.write(whole.replace(usual, other))
        await asyncio.sleep(0.1)  # nothing may happen in this time, so nothing announces its end
        assert Watched.known == before

    run(work())


def test_what_stands_behind_a_known_head_is_read_for_what_it_is(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    key = world.exporter.secret
    longer = body + b" "
    whole, me = request(path, longer, key), request("/v1/me", b"", key, "X-Request-ID: me", method="GET")
    spoilt = whole.removesuffix(longer) + b"{" * len(longer)

    async def work() -> None:
        line = await Line.to(direct)
        assert (await line.ask(whole))[0] == 200
        for parts, statuses in [
            ((whole + whole,), [200, 200]),
            ((whole + me,), [200, 200]),
            ((me + whole,), [200, 200]),
            ((whole[:-1], whole[-1:] + whole), [200, 200]),
            ((whole[:40], whole[40:]), [200]),
            ((whole.removesuffix(longer), longer), [200]),
            ((spoilt,), [400]),
            ((b"\r\n" + whole,), [200]),
            ((whole + whole[:9], whole[9:]), [200, 200]),
        ]:
            for part in parts:
                line.writer.write(part)
                await asyncio.sleep(0.02)  # so that parts arrive apart
            assert [(await line.answer())[0] for _ in statuses] == statuses
            before = Watched.known
            assert (await line.ask(whole))[0] == 200
            assert Watched.known == before + 1

    run(work())


def test_a_key_that_is_revoked_opens_nothing_where_its_head_is_known(
    world: World, direct: str, open_: tuple[Json, Json]
) -> None:
    path, body = bodies(world, open_)["allow"]
    exporter = world.person("exporter", kind="system")

    async def work() -> None:
        line = await Line.to(direct)
        before = Watched.known
        assert [(await line.ask(request(path, body, exporter.secret)))[0] for _ in range(2)] == [200, 200]
        (key,) = world.admin.get("/v1/api-keys", principal=exporter.id).json()["items"]
        assert world.admin.post(f"/v1/api-keys/{key['id']}/revoke").status_code == 200
        assert (await line.ask(request(path, body, exporter.secret)))[0] == 401
        assert Watched.known == before + 2

    run(work())
