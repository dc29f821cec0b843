"""A client that says nothing, frozen or cut off: others wait for moments, and what thaws late writes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from service.connections import FROZEN_SILENCES, Bounds, connect
from service.database.faults import DatabaseUnavailableError
from service.database.locks import GATE_LOCK, LOG_LOCK
from service.database.session import Database
from service.settings import Settings
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.faults.racing import connected, export, question
from tests.faults.test_process import serving
from tests.waiting import until
from tests.world import Json, Person, World

SILENCE = 1.0
NAME = "silence_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
SERVICE = Path(__file__).parents[2] / "service"

HOLDS = """
  select a.pid from pg_locks l join pg_stat_activity a using (pid)
  where l.locktype = 'advisory' and l.classid = 0 and l.objid = $1 and l.granted and a.pid <> all($2::int[])
    and a.datname = current_database()
"""
ALONE = " and l.mode = 'ExclusiveLock'"
AT_GATE = """
  select count(*) from pg_locks l join pg_stat_activity a using (pid)
  where locktype = 'advisory' and classid = 0 and objid = $1 and mode = 'ExclusiveLock' and not granted
    and a.datname = current_database()
  having count(*) >= $2
"""
HELD_UP = """
  select a.pid from pg_stat_activity a where datname = current_database() and wait_event_type = 'Lock' and a.pid <> all($1::int[])
"""


@dataclass
class Two:
    """Two replicas on one database: one may be frozen, the other is where the world is told of."""

    url: str
    world: World
    frozen: str
    process: subprocess.Popen[str]
    handler: Json
    recipient: Json
    data: Path

    def there(self, person: Person) -> Person:
        """Return somebody as a client of the replica that may be frozen."""
        return Person(httpx.Client(base_url=self.frozen, timeout=60), person.secret, person.id, person.name)

    def rows(self, query: str, *arguments: Any) -> list[Any]:
        async def asked() -> list[Any]:
            async with connected(self.url) as connection:
                return list(await connection.fetch(query, *arguments))

        return asyncio.run(asked())

    @contextmanager
    def frozen_while(self, held: str, act: Callable[[], Any]) -> Iterator[Future[Any]]:
        """Freeze the replica right when its session has got what an act needs.

        Something holds what the last statement of the act needs; once the session waits for it, the process is stopped, and the
        statement is let through. Afterwards the process goes on.
        """
        with self._frozen(lambda pool, others: self._freeze(pool, held, act, others)) as answer:
            yield answer

    @contextmanager
    def frozen_at_gate(self, act: Callable[[], Any], count: int = 1) -> Iterator[Future[Any]]:
        """Freeze the replica right when one of its sessions has been given the gate, which as many of them wait for."""
        with self._frozen(lambda pool, _: self._freeze_at_gate(pool, act, count)) as answer:
            yield answer

    @contextmanager
    def _frozen(
        self, freeze: Callable[[ThreadPoolExecutor, list[int]], Coroutine[Any, Any, Future[Any]]]
    ) -> Iterator[Future[Any]]:
        others = [row["pid"] for row in self.rows("select pid from pg_stat_activity")]
        with ThreadPoolExecutor(1) as pool:
            answer = asyncio.run(freeze(pool, others))
            since = time.monotonic()
            try:
                yield answer
                # Frozen for so long that whoever it was knows.
                self.rows("select pg_sleep($1)", max(0.0, since + FROZEN_SILENCES * SILENCE + 0.2 - time.monotonic()))
            finally:
                self.process.send_signal(signal.SIGCONT)

    async def _freeze(
        self, pool: ThreadPoolExecutor, held: str, act: Callable[[], Any], others: list[int]
    ) -> Future[Any]:
        async with connected(self.url) as holder, connected(self.url) as watcher:
            known = [*others, holder.get_server_pid(), watcher.get_server_pid()]
            known = [pid for pid in known if pid not in await self._sessions(watcher)]
            async with holder.transaction():
                await holder.execute(held)
                answer = pool.submit(act)
                await until(lambda: watcher.fetch(HELD_UP, known))
                self.process.send_signal(signal.SIGSTOP)
            return answer

    async def _freeze_at_gate(self, pool: ThreadPoolExecutor, act: Callable[[], Any], count: int) -> Future[Any]:
        """A session waits for the gate a moment at a time: where that moment ends before the gate is free, the same again."""
        async with connected(self.url) as holder, connected(self.url) as watcher:
            answer: Future[Any] | None = None
            while True:
                async with holder.transaction():
                    await holder.execute("select pg_advisory_xact_lock_shared($1)", GATE_LOCK)
                    self.process.send_signal(signal.SIGCONT)
                    answer = answer or pool.submit(act)
                    await until(lambda: watcher.fetch(AT_GATE, GATE_LOCK, count))
                    self.process.send_signal(signal.SIGSTOP)
                if await watcher.fetch(HOLDS + ALONE, GATE_LOCK, []):
                    return answer

    async def _sessions(self, watcher: asyncpg.Connection) -> set[int]:
        return {
            row["pid"]
            for row in await watcher.fetch("select pid from pg_stat_activity where application_name like 'outbound%'")
        }


@pytest.fixture(scope="module")
def two(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("silence")
    run_sql(
        postgres, f"drop database if exists {NAME} with (force)", f"create database {NAME} template template_outbound"
    )
    url = database_named(postgres, NAME)
    bounds = {"OUTBOUND_DATABASE_SILENCE_SECONDS": str(SILENCE), "OUTBOUND_PACK_WORKER": "false"}
    settings = Settings(
        data_dir=folder / "data",
        database_silence_seconds=SILENCE,
        sequencer=False,
        pack_worker=False,
        log_level="error",
        log_origin="a/b",
    )
    (folder / "data").mkdir()
    keys = admins(url)
    with (
        serving(folder / "data", OUTBOUND_DATABASE_URL=url, **bounds) as (
            frozen,
            process,
            _,
        ),
        Served(settings, url, Clock()) as address,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        try:
            world = World(http, keys)
            yield Two(url, world, frozen, process, world.handler(), world.recipient(), folder / "data")
        finally:
            process.send_signal(signal.SIGCONT)


GRADING = {"tags": ["core", "personal"], "reason": "Looked again", "basis": "Catalogue 2026, entry 7"}


def test_whoever_is_frozen_with_the_gate_to_itself_keeps_nobody_waiting_and_writes_nothing(two: Two) -> None:
    dataset, other = (two.world.dataset(two.handler, "personal") for _ in range(2))
    registrar, at = two.there(two.world.registrar), f"/v1/datasets/{dataset['id']}/gradings"
    with two.frozen_at_gate(lambda: registrar.post(at, GRADING)) as answer:
        began = time.monotonic()
        assert two.world.ask(other, two.recipient)["context"]["reason"] == "no_permit"
        assert two.world.registrar.post(f"/v1/datasets/{other['id']}/gradings", GRADING).status_code == 201
        assert time.monotonic() - began < 15
    assert answer.result(60).status_code == 503
    assert len(two.world.registrar.get(at).json()["items"]) == 1
    # It serves on.
    assert registrar.post(at, GRADING).status_code == 201


def test_whoever_is_frozen_between_reading_and_writing_decides_nothing(two: Two) -> None:
    dataset = two.world.dataset(two.handler, "personal")
    exporter = two.there(two.world.exporter)
    asked = question(exporter, dataset, two.recipient)
    assert exporter.post("/access/v1/evaluation", asked).status_code == 200
    written = "select seq from entries where action = 'gate.evaluated' and body like '%' || $1 || '%'"
    assert len(two.rows(written, dataset["id"])) == 1
    locked = "lock table datasets in access exclusive mode"
    with two.frozen_while(locked, lambda: exporter.post("/access/v1/evaluation", asked)) as answer:
        assert two.rows(HOLDS, GATE_LOCK, []), "the frozen one holds the gate, beside others"
        began = time.monotonic()
        at = f"/v1/datasets/{dataset['id']}/gradings"
        assert two.world.registrar.post(at, GRADING).status_code == 201
        assert time.monotonic() - began < 15
    assert answer.result(60).status_code == 503
    assert len(two.rows(written, dataset["id"])) == 1
    assert exporter.post("/access/v1/evaluation", asked).status_code == 200
    assert len(two.rows(written, dataset["id"])) == 2


def test_whoever_is_frozen_while_it_reserves_holds_no_quota(two: Two) -> None:
    dataset = two.world.dataset(two.handler, "personal")
    transfer = two.world.approved(two.handler, [dataset], two.recipient, persons=104)
    exporter = two.there(two.world.exporter)
    for _ in range(4):  # whatever it sends for the first time it has sent before
        assert exporter.post("/v1/exports", export(dataset, two.recipient, 1)).status_code == 201
    locked = "lock table exports in share mode"
    with two.frozen_while(locked, lambda: exporter.post("/v1/exports", export(dataset, two.recipient, 100))) as answer:
        began = time.monotonic()
        made = two.world.export(dataset, two.recipient, persons=100)
        assert made.status_code == 201, made.text
        suspended = two.world.reviewers["privacy"].post(f"/v1/permits/{transfer['permit']}/suspend", {"reason": "Now"})
        assert suspended.status_code == 200
        assert time.monotonic() - began < 15
    assert answer.result(60).status_code == 503
    assert len(two.rows("select id from exports where dataset = $1", dataset["id"])) == 5


def test_whoever_is_frozen_in_the_middle_of_a_statement_holds_no_quota(two: Two) -> None:
    """What is sent for the first time is sent in two parts: here the process is frozen between them."""
    dataset = two.world.dataset(two.handler, "personal")
    two.world.approved(two.handler, [dataset], two.recipient, persons=100)
    exporter = two.there(two.world.exporter)
    two.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'outbound gate' and datname = current_database()"
    )
    locked = "lock table exports in share mode"
    with two.frozen_while(locked, lambda: exporter.post("/v1/exports", export(dataset, two.recipient, 100))) as answer:
        assert two.rows(HOLDS + " and a.state = 'active'", GATE_LOCK, []), (
            "in the middle of a statement, with the gate's lock"
        )
        began = time.monotonic()
        made = two.world.export(dataset, two.recipient, persons=100)
        assert made.status_code == 201, made.text
        assert time.monotonic() - began < 15
    assert answer.result(60).status_code == 503
    assert len(two.rows("select id from exports where dataset = $1", dataset["id"])) == 1


def test_of_several_that_one_frozen_client_has_waiting_only_the_first_holds_others_up(two: Two) -> None:
    """Each would be silent in its turn: all give up before the first is ended."""
    datasets = [two.world.dataset(two.handler, "personal") for _ in range(4)]
    other, registrar = two.world.dataset(two.handler, "personal"), two.there(two.world.registrar)

    def grade(dataset: Json) -> httpx.Response:
        return registrar.post(f"/v1/datasets/{dataset['id']}/gradings", GRADING)

    def act() -> list[httpx.Response]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(grade, datasets))

    async def watch(asked: Future[Json]) -> set[int]:
        async with connected(two.url) as watcher:
            seen: set[int] = set()
            while not asked.done():
                seen |= {row["pid"] for row in await watcher.fetch(HOLDS + ALONE, GATE_LOCK, [])}
                await asyncio.sleep(0.01)  # between two samples
            return seen

    with two.frozen_at_gate(act, len(datasets)) as answers, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(two.world.ask, other, two.recipient)
        assert len(asyncio.run(watch(asked))) == 1
        assert asked.result()["context"]["reason"] == "no_permit"
    assert {answer.status_code for answer in answers.result(90)} <= {503}


def test_a_frozen_leader_loses_the_log(two: Two) -> None:
    """Who leads is frozen: the other takes over."""
    leads = HOLDS.replace("select a.pid", "select a.pid, a.state")

    async def frozen_leader(watcher: asyncpg.Connection) -> int:
        """Freeze the leader between two of its turns: it holds the log, and is in no transaction."""
        while True:
            two.process.send_signal(signal.SIGSTOP)
            for row in await watcher.fetch(leads, LOG_LOCK, []):
                if row["state"] == "idle":
                    return int(row["pid"])
            two.process.send_signal(signal.SIGCONT)
            await watcher.execute("select pg_sleep(0.1)")  # let it go on

    async def freeze() -> int:
        async with connected(two.url) as watcher, asyncio.timeout(90):
            return await frozen_leader(watcher)

    async def taken_over(leader: int) -> None:
        async with connected(two.url) as watcher:
            await until(lambda: watcher.fetch(HOLDS, LOG_LOCK, [leader]), 30)

    settings = Settings(data_dir=two.data, pack_worker=False, log_level="error")
    try:
        leader = asyncio.run(freeze())
        with Served(settings, two.url, Clock()):
            asyncio.run(taken_over(leader))
    finally:
        two.process.send_signal(signal.SIGCONT)


def test_a_gate_that_others_hold_for_long_is_told_so(two: Two) -> None:
    """Whoever holds it here is not ours: nothing ends it. Each wait has an end, and says what it waited for."""
    settings = Settings(
        data_dir=two.data, pack_worker=False, sequencer=False, log_level="error", database_timeout_seconds=1.5
    )

    async def hold(act: Callable[[], Any]) -> Any:
        async with connected(two.url) as holder:
            await holder.execute(f"select pg_advisory_lock({GATE_LOCK})")
            return await asyncio.to_thread(act)

    dataset = two.world.dataset(two.handler, "personal")
    with Served(settings, two.url, Clock()) as address, httpx.Client(base_url=address, timeout=60) as http:
        exporter, registrar = (
            Person(http, one.secret, one.id, one.name) for one in (two.world.exporter, two.world.registrar)
        )

        def act() -> list[httpx.Response]:
            return [
                exporter.post("/access/v1/evaluation", question(exporter, dataset, two.recipient)),
                exporter.post("/v1/exports", export(dataset, two.recipient, 1)),
                registrar.post(f"/v1/datasets/{dataset['id']}/gradings", GRADING),
            ]

        for answer in asyncio.run(hold(act)):
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"] in {"/problems/busy", "/problems/database-away"}
            assert answer.headers["Retry-After"] == "1"
        assert act()[2].status_code == 201


class Proxy:
    """Stands between a client and PostgreSQL, and can stop to hand on what the links of a moment say."""

    def __init__(self, folder: str) -> None:
        self._to = f"{folder}/.s.PGSQL.5432"
        self.swallowed: set[object] = set()
        self._links: set[object] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, there = await asyncio.open_unix_connection(self._to)
        link = object()
        self._links.add(link)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    if link in self.swallowed:
                        await asyncio.Event().wait()
                    target.write(data)
                    await target.drain()
            target.close()

        with suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, there), pump(theirs, writer))

    def swallow(self) -> None:
        """From now on nothing of what is open comes through; it is not closed either, and new links work."""
        self.swallowed |= self._links


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """Give an address of the database over TCP, by way of a proxy."""
    proxy = Proxy(url.partition("?host=")[2])
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    name = re.search(r"/(\w+)\?host=", url)
    assert name is not None
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{name[1]}", proxy
    finally:
        server.close()


def test_a_connection_that_swallows_everything_is_given_up_and_another_one_made(database_url: str) -> None:
    async def run() -> None:
        async with proxied(database_url) as (url, proxy), asyncio.timeout(30):
            database = Database(url, pool=1, timeout=0.3)
            await database.transaction(lambda tx: tx.execute(text("select 1")))
            proxy.swallow()
            with pytest.raises(DatabaseUnavailableError):
                await database.transaction(lambda tx: tx.execute(text("select 1")))
            await database.transaction(lambda tx: tx.execute(text("select 1")))
            proxy.swallow()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):  # as a request whose time is over
                    await database.transaction(lambda tx: tx.execute(text("select 1")))
            await database.transaction(lambda tx: tx.execute(text("select 1")))
            await database.close()

    asyncio.run(run())


def test_both_ends_of_a_connection_notice_that_the_other_is_gone(database_url: str) -> None:
    async def run() -> None:
        async with proxied(database_url) as (url, _):
            direct = await connect(url, name="outbound test", bounds=Bounds(statement=7, silence=3, idle=4))
            require_watched(direct)
            assert [await direct.fetchval(f"show {name}") for name in SETTINGS] == ["7s", "3s", "1800ms", "4s"]
            await direct.close()
            database = Database(url, pool=1, silence=5)
            async with database.engine.connect() as pooled:
                require_watched((await pooled.get_raw_connection()).driver_connection)
                shown = [(await pooled.execute(text(f"show {name}"))).scalar() for name in SETTINGS]
                assert shown == ["10s", "5s", "3s", "0"]
            await database.close()

    asyncio.run(run())


SETTINGS = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "idle_session_timeout")


def require_watched(connection: Any) -> None:
    ours = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way to it
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5


def test_nothing_connects_without_bounds() -> None:
    """Each way to PostgreSQL goes through the two functions that bound it."""
    ways = re.compile(r"asyncpg\.connect\(|create_async_engine\(|create_engine\(|create_pool\(")
    found = {
        (path.name, match[0])
        for folder in (SERVICE, SERVICE.parent / "migrations")
        for path in folder.rglob("*.py")
        for match in ways.finditer(path.read_text("utf-8"))
    }
    assert found == {("connections.py", "asyncpg.connect("), ("session.py", "create_async_engine(")}


def test_all_wait_for_less_than_one_may_be_silent() -> None:
    for silence in (0.01, 1.0, 5.0, 60.0):
        bounds = Bounds(silence=silence)
        assert bounds.lock is not None
        assert bounds.lock < silence
    assert Bounds(silence=None).settings("x").keys() & set(SETTINGS) == set()
