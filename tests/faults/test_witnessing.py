"""The log before its witnesses: real ones, absent ones, liars; and what they say when the log is cut or rewritten."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.audit.log import feeder
from service.audit.log.feeder import Feeder
from service.audit.log.leader import Leader
from service.audit.log.log_key import LogKey
from service.audit.tlog import signed_note
from service.audit.tlog.signed_note import Checkpoint, Verifier
from service.audit.tlog.witness_protocol import NamedWitness, Submission, WitnessStatus, list_complaints
from service.clock import utc_now
from service.commands.listen_address import free_port
from service.database.logins import Login
from service.database.session import Database
from tests import waiting
from tests.conftest import database_named, run_sql
from tests.faults.test_process import run, serving
from tests.logs import SmallLog, a_witness, pem
from tests.naive_notes import signers
from tests.witnesses import Running
from tests.witnesses import witnessing as running_witness

ORIGINS = [f"example.com/log{number}" for number in range(20)]
numbers = itertools.count()

INSERT = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select now(), 'somebody', 'thing.done', 'thing', null, body, sha256(convert_to(body, 'UTF8'))
  from (select '{"what":"' || gen_random_uuid() || '"}' as body from generate_series(1, $1::int)) made
"""
REWRITE = """
  set session_replication_role = replica;
  update entries set body = body || ' ' where seq = (select min(seq) from entries);
  truncate leaves, log_tiles, checkpoints, cosignatures;
  update log_state set watermark = 0, size = 0;
"""


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that waits for things."""

    @functools.wraps(test)
    def story(**given: Any) -> None:
        asyncio.run(test(**given))

    return story


class Log:
    """A log in a database of its own, whose key the witnesses of these tests know."""

    def __init__(self, url: str, origin: str, folder: Path) -> None:
        self.url, self.origin = url, origin
        self.vkey = SmallLog(origin).signer.vkey
        self.key = LogKey(folder / "log_key.pem")
        self.key.path.write_bytes(pem(origin.encode()))

    @asynccontextmanager
    async def kept_going(self, *witnesses: NamedWitness, max_age: timedelta | None = None) -> AsyncIterator[Led]:
        database = Database(self.url)
        asked = Feeder(database, witnesses, max_age=max_age)
        sequencer = Leader(Login(self.url), clock=utc_now, key=self.key, origin=self.origin, feeder=asked)
        connection = await asyncpg.connect(self.url)
        sequencer.open()
        try:
            yield Led(database, connection, witnesses)
        finally:
            await sequencer.close()
            await connection.close()
            await database.close()


class Led:
    """A log that is kept going, and what can be asked of it."""

    def __init__(self, database: Database, connection: asyncpg.Connection, witnesses: tuple[NamedWitness, ...]) -> None:
        self.database, self.connection, self.witnesses = database, connection, witnesses

    async def grow(self, entries: int) -> int:
        """Add entries, wait until they are in a checkpoint, and return its size."""
        await self.connection.execute(INSERT, entries)
        wanted = await self.connection.fetchval("select count(*) from entries")
        await self.until(lambda: self._signed(wanted))
        size: int = wanted
        return size

    async def _signed(self, size: int) -> bool:
        return bool(await self.connection.fetchval("select exists (select from checkpoints where size >= $1)", size))

    async def standing(self, number: int = 0) -> WitnessStatus:
        found = await self.database.transaction(lambda tx: feeder.load_statuses(tx, self.witnesses))
        return found[number]

    async def standings(self) -> list[WitnessStatus]:
        return [await self.standing(number) for number in range(len(self.witnesses))]

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        await waiting.until(condition, pause=0.05, state=self.standings)

    async def until_cosigned(self, size: int, number: int = 0) -> None:
        async def is_so() -> bool:
            found = await self.standing(number)
            return found.size == size and found.trouble is None

        await self.until(is_so)

    async def until_trouble(self, trouble: str, number: int = 0) -> WitnessStatus:
        async def is_so() -> bool:
            return (await self.standing(number)).trouble == trouble

        await self.until(is_so)
        return await self.standing(number)

    async def cosigned_note(self, size: int) -> str:
        note = await self.connection.fetchval("select note from checkpoints where size = $1", size)
        return await self.database.transaction(lambda tx: feeder.with_cosignatures(tx, size, note))


@pytest.fixture
def database(postgres: str) -> Iterator[Callable[[str], str]]:
    """Makes databases of the test's own, each a copy of another."""
    made = []

    def make(template: str) -> str:
        name = f"witnessed_{next(numbers)}_{time.monotonic_ns()}"
        run_sql(postgres, f"create database {name} template {template}")
        made.append(name)
        return database_named(postgres, name)

    yield make
    for name in made:
        run_sql(postgres, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def origins() -> Iterator[str]:
    return iter(ORIGINS)


@pytest.fixture
def log(database: Callable[[str], str], origins: Iterator[str], tmp_path: Path) -> Log:
    return Log(database("template_outbound"), next(origins), tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One real witness of the logs of all tests."""
    vkeys = [SmallLog(origin).signer.vkey for origin in ORIGINS]
    with running_witness(tmp_path_factory.mktemp("w"), *vkeys) as running:
        yield running


def named(running: Running) -> NamedWitness:
    return NamedWitness(running.verifier, running.url)


@contextmanager
def answering(answer: Callable[[bytes], tuple[int, bytes]], verifier: Verifier) -> Iterator[NamedWitness]:
    """Run a witness that answers whatever a test likes."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", "text/x.tlog.size" if status == 409 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield NamedWitness(verifier, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@awaited
async def test_each_checkpoint_comes_to_be_cosigned(log: Log, running: Running) -> None:
    async with log.kept_going(named(running)) as led:
        for entries in (3, 1, 600):
            size = await led.grow(entries)
            await led.until_cosigned(size)
        note = await led.cosigned_note(size)
        line = signed_note.cosigned_at(note, running.verifier)
        assert signers(note, log.vkey, running.verifier.vkey) == [log.vkey, f"{line} {running.verifier.vkey}"]
        assert await led.database.transaction(feeder.newest_cosigned) == size


@awaited
async def test_a_log_that_stands_still_is_cosigned_anew_and_shows_the_newest_line(log: Log, running: Running) -> None:
    async with log.kept_going(named(running), max_age=timedelta(seconds=3)) as led:
        size = await led.grow(1)

        async def again() -> bool:
            return bool(await led.connection.fetchval("select count(*) >= 3 from cosignatures where size = $1", size))

        await led.until(again)
        newest = await led.connection.fetchval("select extract(epoch from max(at))::bigint from cosignatures")
        note = await led.cosigned_note(size)
        assert len(signed_note.signatures_of(note)) == 2
        assert (signed_note.cosigned_at(note, running.verifier) or 0) >= newest


@awaited
async def test_an_absent_witness_holds_nothing_up_and_is_asked_again(log: Log, tmp_path: Path) -> None:
    port = free_port()
    with running_witness(tmp_path / "w", log.vkey, port=port) as running:
        pass
    async with log.kept_going(named(running)) as led:
        size = await led.grow(5)
        told = await led.until_trouble("away")
        assert (told.size, told.cosigned_at) == (None, None)
        assert "does not answer" in (told.detail or "")
        with running_witness(tmp_path / "w", log.vkey, port=port):
            await led.until_cosigned(size)
        assert (await led.standing()).since is None


@awaited
async def test_a_witness_that_comes_back_goes_on_from_what_it_remembers(log: Log, tmp_path: Path) -> None:
    port = free_port()
    with running_witness(tmp_path / "w", log.vkey, port=port) as running:
        async with log.kept_going(named(running)) as led:
            await led.until_cosigned(await led.grow(5))
    async with log.kept_going(named(running)) as led:
        size = await led.grow(5)
        with running_witness(tmp_path / "w", log.vkey, port=port) as again:
            await led.until_cosigned(size)
            assert again.add(Submission(0, (), await led.cosigned_note(5)).body()).text == "10\n"


@awaited
async def test_a_leader_that_knows_nothing_is_told_where_the_witness_is(log: Log, running: Running) -> None:
    async with log.kept_going(named(running)) as led:
        await led.until_cosigned(await led.grow(5))
    await asyncio.to_thread(run_sql, log.url, "set session_replication_role = replica; truncate cosignatures")
    async with log.kept_going(named(running)) as led:
        await led.until_cosigned(await led.grow(5))


@awaited
async def test_a_silent_witness_holds_up_neither_the_log_nor_another(log: Log, running: Running) -> None:
    let_go = threading.Event()

    def silent(_: bytes) -> tuple[int, bytes]:
        let_go.wait(60)
        return 503, b""

    with answering(silent, a_witness("witness.example/silent").verifier) as mute:
        async with log.kept_going(mute, named(running)) as led:
            for _ in range(3):
                await led.until_cosigned(await led.grow(2), 1)
            assert (await led.standing(0)).size is None
            let_go.set()


def wrong_key(body: bytes) -> tuple[int, bytes]:
    text = signed_note.parts_of(Submission.of(body).note)[0]
    return 200, signed_note.cosign(text, a_witness("witness.example/other"), int(time.time())).encode()


def wrong_text(body: bytes) -> tuple[int, bytes]:
    checkpoint = Checkpoint.of(signed_note.parts_of(Submission.of(body).note)[0])
    other = Checkpoint(checkpoint.origin, checkpoint.size, bytes(32))
    return 200, signed_note.cosign(other.text(), a_witness("witness.example/liar"), int(time.time())).encode()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (wrong_key, "no line of its key"),
        (wrong_text, "is wrong"),
        (lambda _: (200, b""), "signature lines"),
        (lambda _: (200, b"x" * 1_000_000), "has no end"),
        (lambda _: (409, b"1\n"), "does not stand by the size"),
    ],
    ids=["another key", "another text", "nothing", "too much", "always another size"],
)
@awaited
async def test_what_a_witness_has_not_signed_is_never_kept(
    log: Log, answer: Callable[[bytes], tuple[int, bytes]], why: str
) -> None:
    with answering(answer, a_witness("witness.example/liar").verifier) as liar:
        async with log.kept_going(liar) as led:
            await led.grow(2)
            assert why in ((await led.until_trouble("untrue")).detail or "")
            assert await led.connection.fetchval("select count(*) from cosignatures") == 0


@awaited
async def test_a_witness_that_does_not_know_the_log_says_so(log: Log, tmp_path: Path) -> None:
    with running_witness(tmp_path / "w", SmallLog("example.com/unknown").signer.vkey) as stranger:
        async with log.kept_going(named(stranger)) as led:
            await led.grow(2)
            told = await led.until_trouble("refused")
            assert "status 404" in (told.detail or "")


async def complaint(led: Led) -> str:
    found = await led.database.transaction(lambda tx: feeder.load_statuses(tx, led.witnesses))
    return " ".join(list_complaints(found, utc_now(), None))


@pytest.mark.parametrize("more", [0, 4])
@awaited
async def test_a_tree_that_was_rewritten_with_the_right_key_is_told(log: Log, running: Running, more: int) -> None:
    async with log.kept_going(named(running)) as led:
        await led.until_cosigned(await led.grow(9))
    await asyncio.to_thread(run_sql, log.url, REWRITE)
    async with log.kept_going(named(running)) as led:
        await led.grow(more)
        await led.until_trouble("forked")
        assert "does not find that this log begins with" in await complaint(led)
        assert await led.connection.fetchval("select count(*) from cosignatures") == 0
    assert more or "FORK" in running.output.read_text()


@awaited
async def test_an_older_state_that_was_restored_is_told(
    log: Log, running: Running, database: Callable[[str], str], tmp_path: Path
) -> None:
    async with log.kept_going(named(running)) as led:
        await led.until_cosigned(await led.grow(3))
    backup = await asyncio.to_thread(database, log.url.partition("?")[0].rpartition("/")[2])
    async with log.kept_going(named(running)) as led:
        await led.until_cosigned(await led.grow(4))
    async with Log(backup, log.origin, tmp_path).kept_going(named(running)) as led:
        told = await led.until_trouble("shrunk")
        assert "has cosigned 7 entries, this log has 3" in (told.detail or "")
        assert "an older state of the database was restored" in await complaint(led)
        # And however it grows from there, it is not what it was.
        await led.grow(9)
        await led.until_trouble("forked")


def test_the_service_tells_how_its_witnesses_stand(log: Log, tmp_path: Path) -> None:
    data = tmp_path / "data"
    port = free_port()
    with running_witness(tmp_path / "w", log.vkey, port=port) as running:
        pass
    told = {
        "OUTBOUND_DATABASE_URL": log.url,
        "OUTBOUND_LOG_KEY_FILE": str(log.key.path),
        "OUTBOUND_LOG_ORIGIN": log.origin,
        "OUTBOUND_WITNESSES": running.setting,
        "OUTBOUND_WITNESS_MAX_AGE_SECONDS": "5",
    }
    made = run(data, "keys", "create", "--principal", "auditor", "--role", "auditor", env=told)
    with serving(data, **told) as (address, _, _):
        http = httpx.Client(
            base_url=address, timeout=60, headers={"Authorization": f"Bearer {made.stdout.split()[-1]}"}
        )

        def health(is_healthy: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            def look() -> dict[str, Any] | None:
                shown: dict[str, Any] = http.get("/v1/audit/health").json()
                return shown if is_healthy(shown) else None

            return waiting.seen(look, pause=0.1)

        found = health(lambda found: found["witnesses"][0]["trouble"] == "away")
        assert (found["healthy"], found["complaints"]) == (False, ["No witness has cosigned the log yet."])
        with running_witness(tmp_path / "w", log.vkey, port=port):
            found = health(lambda found: bool(found["healthy"]))
            assert found["complaints"] == []
            assert found["witnesses"][0]["size"] >= 1
            note = http.get("/v1/audit/checkpoint").json()["note"]
            assert signed_note.open(note, [running.verifier]).by == {running.verifier.name}
            assert http.get("/tlog/checkpoint").text.startswith(log.origin)
        found = health(lambda found: not found["healthy"])
        assert "The youngest cosignature is" in found["complaints"][0]


def test_a_service_with_witnesses_that_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    ended = run(tmp_path / "data", "serve", env={"OUTBOUND_WITNESSES": "hello http://127.0.0.1:8010"})
    assert (ended.returncode, "is no verifier key" in ended.stderr) == (1, True)
