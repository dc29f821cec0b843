"""Batches in trouble: a killed process, a connection cut at any moment, a request that poisons its batch, a queue that is full."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.database import migrate
from service.database.embedded import EmbeddedServer
from service.database.locks import GATE_LOCK
from service.gate import batch_write
from service.gate.announced_growth import SKETCHES
from service.gate.batch_decisions import DecisionBatch, Entries
from service.gate.batch_write import EARLIER_ANSWERS, LOCK_QUOTAS
from service.gate.group_commit import SETTINGS
from service.law import loader
from service.settings import Settings
from service.validation.problems import DatabaseUnavailable
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.faults.racing import THE_GATE, Clients, connected, export, held, question, queued, times
from tests.faults.test_process import serving
from tests.invariants import broken, require_exact
from tests.waiting import until
from tests.world import Json, Person, World


class Gateway:
    """A dataset that one system may export, so much that no quota is in the way."""

    def __init__(self, world: World, persons: int = 90_000) -> None:
        self.world = world
        self.handler = world.handler()
        self.recipient = world.recipient()
        self.dataset = world.dataset(self.handler, "personal")
        self.permit = world.approved(self.handler, [self.dataset], self.recipient, persons=persons)["permit"]
        self.person: Person = world.exporter

    def ask(self, subject: str, **more: Any) -> Json:
        return question(self.person, self.dataset, self.recipient, subject, **more)

    def export(self, persons: int = 1, **more: Any) -> Json:
        return export(self.dataset, self.recipient, persons, **more)


def refused_for_now(answer: httpx.Response) -> bool:
    """Tell whether it is 503, and demand that it says when to come back."""
    if answer.status_code != 503:
        return False
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    return True


class Load:
    """Clients that ask and export without a pause, and what they were told."""

    def __init__(self, gateway: Gateway, clients: Clients, name: str) -> None:
        self.gateway, self.clients, self.name = gateway, clients, name
        self.asked: dict[str, str] = {}
        """Id of the evaluation by what was asked, where it was answered."""
        self.sent: set[str] = set()
        self.exported: dict[str, str] = {}
        """Id of the export by `Idempotency-Key`, where it was answered."""
        self.keys: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.stopping = False

    async def one(self, number: int) -> None:
        turn = 0
        while not self.stopping:
            turn += 1
            name = f"{self.name}-{number}-{turn}"
            try:
                if (turn + number) % 2:
                    self.sent.add(name)
                    answer = await self.clients.ask(self.gateway.ask(name))
                    if answer.status_code == 200:
                        self.asked[name] = answer.json()["context"]["id"]
                else:
                    self.keys.append(name)
                    answer = await self.clients.post("/v1/exports", self.gateway.export(), key=name)
                    if answer.status_code == 201:
                        self.exported[name] = answer.json()["id"]
            except httpx.TransportError:
                if self.stopping:
                    break
                raise
            self.statuses[answer.status_code] += 1
            assert answer.status_code in {200, 201} or refused_for_now(answer), answer.text
            if answer.status_code == 503:
                await asyncio.sleep(0.01)  # a client backs off after 503

    async def repeat_everything(self, clients: Clients) -> None:
        """Send every export again with its key, as a client does that has had no answer: none happens twice."""
        for key in self.keys:
            answer = await clients.post("/v1/exports", self.gateway.export(), key=key)
            assert answer.status_code == 201, answer.text
            assert self.exported.setdefault(key, answer.json()["id"]) == answer.json()["id"]

    async def check(self, connection: asyncpg.Connection) -> None:
        """Hold what was told against what is on record."""
        rows = await connection.fetch(
            """
            select body::jsonb #>> '{details,question,subject,id}' as name, subject from entries
            where action = 'gate.evaluated' and handler = $1
            """,
            self.gateway.handler["id"],
        )
        recorded = Counter(row["name"] for row in rows if row["name"] in self.sent)
        assert set(recorded.values()) <= {1}, "a question was recorded twice"
        found = {row["name"]: row["subject"] for row in rows}
        assert {name: found.get(name) for name in self.asked} == self.asked, "an acknowledged decision is missing"
        exports = await connection.fetch(
            "select id, persons from exports where permit = $1 and id = any($2)",
            self.gateway.permit,
            list(self.exported.values()),
        )
        assert len(exports) == len(self.exported) == len(set(self.exported.values()))
        assert await broken(connection) == []


# A process that is killed


def test_what_was_acknowledged_under_load_is_there_once_after_a_kill(tmp_path: Path, postgres: str) -> None:
    run_sql(postgres, "drop database if exists killed", "create database killed template template_outbound")
    url = database_named(postgres, "killed")
    loads: list[Load] = []
    gateway: Gateway | None = None

    async def load_and_kill(gateway: Gateway, address: str, pid: int, number: int) -> Load:
        async with Clients([address], gateway.person.secret) as clients:
            load = Load(gateway, clients, f"kill{number}")
            tasks = [asyncio.create_task(load.one(client)) for client in range(16)]
            await until(lambda: _reached(load, 60 + 7 * number))
            load.stopping = True
            os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*tasks)
        return load

    async def check_all(gateway: Gateway, address: str) -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(url) as connection:
            for load in loads:
                await load.check(connection)
                await load.repeat_everything(clients)
                await load.check(connection)
            rows = await connection.fetchval("select count(*) from exports where permit = $1", gateway.permit)
            assert rows == sum(len(load.keys) for load in loads)

    for number in range(times(3, 20) + 1):
        with serving(tmp_path / "data", OUTBOUND_DATABASE_URL=url) as (address, process, output):
            assert process.poll() is None, output.read_text()
            if gateway is None:
                gateway = Gateway(World(httpx.Client(base_url=address, timeout=30), admins(url)))
            if number == times(3, 20):
                asyncio.run(check_all(gateway, address))
            else:
                loads.append(asyncio.run(load_and_kill(gateway, address, process.pid, number)))
    assert sum(len(load.exported) for load in loads) > 20


async def _reached(load: Load, answers: int) -> bool:
    return len(load.asked) + len(load.exported) >= answers


# A connection that is cut


CUT = """
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and application_name = 'outbound gate' and query like $1
"""
SLOW_COMMIT = """
  create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep({}); return null; end $$;
  create constraint trigger linger after insert on {} deferrable initially deferred
  for each row when ({}) execute function linger()
"""


@contextmanager
def commits_that_take(seconds: float, url: str, table: str = "stored_answers", when: str = "true") -> Iterator[None]:
    """Have commits of some new rows take their time: the work of a constraint is done when the transaction commits."""
    run_sql(url, SLOW_COMMIT.format(seconds, table, when))
    try:
        yield
    finally:
        run_sql(url, f"drop trigger linger on {table}", "drop function linger")


def test_a_connection_cut_at_any_moment_loses_nothing_and_doubles_nothing(
    world: World, address: str, database_url: str
) -> None:
    gateway = Gateway(world)

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            load = Load(gateway, clients, world.name("cut"))
            tasks = [asyncio.create_task(load.one(client)) for client in range(12)]
            for number in range(times(12, 400)):
                answered = sum(load.statuses.values())
                await until(lambda: _answered(load, answered + 8))  # noqa: B023 - awaited at once
                pattern = ("%", "commit%", "%insert into entries%", "%with reserved as%")[number % 4]
                await until(lambda: _cut(connection, pattern, tasks))  # noqa: B023
                await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - a moment of no meaning
            answered = load.statuses[200] + load.statuses[201]
            await until(lambda: _served(load, answered + 20))
            load.stopping = True
            await asyncio.gather(*tasks)
            assert load.statuses[503] > 0
            await load.check(connection)
            await load.repeat_everything(clients)
            await load.check(connection)

    with commits_that_take(0.01, database_url):
        asyncio.run(run())


async def _answered(load: Load, answers: int) -> bool:
    return sum(load.statuses.values()) >= answers


async def _served(load: Load, answers: int) -> bool:
    return load.statuses[200] + load.statuses[201] >= answers


async def _cut(connection: asyncpg.Connection, pattern: str, tasks: list[asyncio.Task[None]]) -> bool:
    for task in tasks:
        assert not task.done(), task.exception()
    return bool(await connection.fetch(CUT, pattern))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that a test may set up as it likes."""
    with EmbeddedServer(tmp_path / "own") as server:
        migrate.upgrade(server.url)
        yield server


def scans(plan: Json) -> Iterator[Json]:
    if "Relation Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from scans(part)


@pytest.mark.parametrize("is_begun", [False, True], ids=["empty", "small"])
def test_plans_look_everything_up_by_an_index_however_small_a_table_was(
    own_server: EmbeddedServer, tmp_path: Path, *, is_begun: bool
) -> None:
    """The plan of the first batch serves until the connection ends, by when a table may have a million rows."""
    if is_begun:
        settings = Settings(data_dir=tmp_path / "data", log_level="error")
        with Served(settings, own_server.url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
            Gateway(World(http, admins(own_server.url)))

    async def plan_of(connection: asyncpg.Connection, statement: str) -> Json:
        explained = await connection.prepare(f"explain (generic_plan, format json) {statement}")
        plan: list[Json] = json.loads(await explained.fetchval(*[None for _ in explained.get_parameters()]))
        found: Json = plan[0]["Plan"]
        return found

    async def run() -> None:
        connection = await asyncpg.connect(own_server.url, server_settings=SETTINGS)
        await connection.execute("analyze")
        function: str = await connection.fetchval("select prosrc from pg_proc where proname = 'gate_read_2'")
        read = function.partition("return query")[2].partition(";")[0]
        for name, place in (("at_moment", "$7"), ("on_day", "$8"), ("in_year", "$9")):
            read = re.sub(rf"\b{name}\b", lambda _, place=place: place, read)  # type: ignore[misc]
        for statement in (read, LOCK_QUOTAS, EARLIER_ANSWERS, SKETCHES):
            found = list(scans(await plan_of(connection, statement)))
            assert found
            assert [scan["Relation Name"] for scan in found if "Index Cond" not in scan] == []
        await connection.close()

    asyncio.run(run())


def test_a_commit_that_is_done_but_never_told_is_not_acknowledged_and_not_repeated(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """A commit that waits for its copy on a standby is on disk already: the connection is cut right there."""
    url, data = own_server.url, tmp_path / "data"
    waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'outbound gate'"

    async def run(gateway: Gateway, address: str) -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(url) as connection:
            await connection.execute("set synchronous_commit = local")
            await connection.execute("alter system set synchronous_standby_names = 'nobody'")
            await connection.execute("select pg_reload_conf()")
            sent = asyncio.create_task(clients.post("/v1/exports", gateway.export(), key="once"))
            await until(lambda: connection.fetch(waiting))
            await connection.execute(f"select pg_terminate_backend(pid) from ({waiting}) w")  # noqa: S608 - written above
            assert refused_for_now(await sent)
            await connection.execute("alter system reset synchronous_standby_names")
            await connection.execute("select pg_reload_conf()")
            again = await clients.post("/v1/exports", gateway.export(), key="once")
            assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
            assert await connection.fetchval("select count(*) from exports") == 1
            assert await broken(connection) == []

    settings = Settings(data_dir=data, log_level="error")
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        asyncio.run(run(Gateway(World(http, admins(url))), address))


# One batch that is held up


def test_who_waits_for_a_row_that_somebody_holds_keeps_nobody_else_waiting(
    world: World, address: str, database_url: str
) -> None:
    gateway = Gateway(world)

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients:
            tasks: list[asyncio.Task[httpx.Response]] = []
            holding = f"select from permits where id = '{gateway.permit}' for update"
            async with held(database_url, holding, tasks) as watcher:
                tasks.append(asyncio.create_task(clients.post("/v1/exports", gateway.export())))
                await queued(watcher)
                for _ in range(3):
                    assert (await clients.ask(gateway.ask("meanwhile"))).json()["decision"] is True
                assert not tasks[0].done()
            assert (await tasks[0]).status_code == 201

    asyncio.run(run())


def test_a_batch_is_decided_while_another_one_is_being_committed(world: World, address: str, database_url: str) -> None:
    gateway = Gateway(world)
    committing = """
      select pid from pg_stat_activity
      where datname = current_database() and application_name = 'outbound gate' and state = 'active' and query = 'commit'
    """

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            exporting = asyncio.create_task(clients.post("/v1/exports", gateway.export(), key=world.name("slow")))
            await until(lambda: connection.fetch(committing))
            assert (await clients.ask(gateway.ask("meanwhile"))).json()["decision"] is True
            assert not exporting.done()
            assert (await exporting).status_code == 201

    with commits_that_take(3, database_url):
        asyncio.run(run())


# One request that cannot be carried out


POISON = """
  create function poison() returns trigger language plpgsql as $$ begin
    if new.body like '%poison%' then raise exception 'poison'; end if; return new;
  end $$;
  create trigger poison before insert on entries for each row execute function poison()
"""


@pytest.fixture
def poisoned(database_url: str) -> Iterator[None]:
    """A database that takes no record of whatever speaks of poison."""
    run_sql(database_url, POISON)
    yield
    run_sql(database_url, "drop trigger poison on entries", "drop function poison")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("place", [0, 3, 20, 29])
def test_a_request_that_poisons_its_batch_harms_no_other(
    world: World, address: str, database_url: str, place: int
) -> None:
    gateway, name = Gateway(world, persons=20), world.name("ask")

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            tasks: list[asyncio.Task[httpx.Response]] = []
            async with held(database_url, THE_GATE, tasks):
                for number in range(30):
                    if number == place:
                        sent = clients.ask(gateway.ask("poison"))
                    elif number % 3:
                        sent = clients.ask(gateway.ask(f"{name}-{number}"))
                    else:
                        sent = clients.post("/v1/exports", gateway.export(), key=f"{name}-{number}")
                    tasks.append(asyncio.create_task(sent))
            answers = await asyncio.gather(*tasks)
            statuses = [answer.status_code for answer in answers]
            assert statuses[place] == 500
            assert set(statuses[:place] + statuses[place + 1 :]) == {200, 201}
            told = [
                answer.json()["id"] if answer.status_code == 201 else answer.json()["context"]["id"]
                for answer in answers
                if answer.status_code != 500
            ]
            rows = await connection.fetch(
                "select subject, xmin::text from entries where handler = $1 and actor = $2",
                gateway.handler["id"],
                gateway.person.id,
            )
            assert sorted(row["subject"] for row in rows) == sorted(told)
            if place:
                assert len({row["xmin"] for row in rows}) > 2, "they were tried again one by one"

    asyncio.run(run())
    require_exact(database_url)


@pytest.fixture
def conflicting(database_url: str) -> Iterator[None]:
    """A database that undoes the first record of a question because of another transaction, as it says."""
    run_sql(
        database_url,
        "create sequence conflicts",
        """
        create function conflict() returns trigger language plpgsql security definer as $$ begin
          if new.action = 'gate.evaluated' and nextval('conflicts') = 1 then
            raise exception 'conflict' using errcode = 'serialization_failure';
          end if;
          return new;
        end $$
        """,
        "create trigger conflict before insert on entries for each row execute function conflict()",
    )
    yield
    run_sql(database_url, "drop trigger conflict on entries", "drop function conflict", "drop sequence conflicts")


@pytest.mark.usefixtures("conflicting")
def test_a_question_whose_record_was_undone_is_decided_again(world: World, address: str, database_url: str) -> None:
    gateway = Gateway(world)

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            answer = await clients.ask(gateway.ask("again"))
            assert answer.status_code == 200, answer.text
            assert await connection.fetchval("select last_value from conflicts") == 2
            recorded = "select count(*) from entries where handler = $1 and action = 'gate.evaluated'"
            assert await connection.fetchval(recorded, gateway.handler["id"]) == 1

    asyncio.run(run())


@pytest.mark.usefixtures("poisoned")
def test_an_export_that_poisons_its_batch_takes_nothing_of_the_quota(
    world: World, address: str, database_url: str
) -> None:
    gateway = Gateway(world, persons=10)

    async def run() -> list[int]:
        async with Clients([address], gateway.person.secret) as clients:
            tasks: list[asyncio.Task[httpx.Response]] = []
            async with held(database_url, THE_GATE, tasks):
                for number in range(20):
                    more = {"fields": ["poison"]} if number % 2 else {"fields": ["city"]}
                    sent = clients.post("/v1/exports", gateway.export(**more))
                    tasks.append(asyncio.create_task(sent))
            return [answer.status_code for answer in await asyncio.gather(*tasks)]

    assert asyncio.run(run()) == [201, 500] * 10
    require_exact(database_url)


# A queue that is full


def test_a_full_queue_tells_to_come_back_and_drops_nothing(
    world: World, settings: Settings, database_url: str, clock: Clock
) -> None:
    gateway, name = Gateway(world), world.name("queue")
    several = {**gateway.ask(name), "evaluations": [{}] * 500}

    async def run(address: str) -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            tasks: list[asyncio.Task[httpx.Response]] = []
            async with held(database_url, THE_GATE, tasks) as watcher:
                taken = [asyncio.create_task(clients.post("/access/v1/evaluations", several)) for _ in range(2)]
                await queued(watcher)
                tasks += taken
                for _ in range(3):
                    answer = await clients.ask(gateway.ask(name))
                    assert refused_for_now(answer)
                    assert answer.json()["type"] == "/problems/busy"
                    assert refused_for_now(await clients.post("/v1/exports", gateway.export()))
            answers = await asyncio.gather(*tasks)
            told = [one["context"]["id"] for answer in answers for one in answer.json()["evaluations"]]
            rows = await connection.fetch(
                "select subject from entries where handler = $1 and actor = $2",
                gateway.handler["id"],
                gateway.person.id,
            )
            assert sorted(row["subject"] for row in rows) == sorted(told)
            assert len(told) == 1000
            assert (await clients.ask(gateway.ask(name))).status_code == 200

    with Served(settings.model_copy(update={"gate_queue": 1000}), database_url, clock) as address:
        asyncio.run(run(address))


# The gate's lock, which questions hold in the session before they hold it in a transaction


LINGERS = """
  select pid from pg_stat_activity
  where datname = current_database() and application_name = 'outbound gate' and wait_event = 'PgSleep'
"""
LOCKS_HELD = f"""
  select count(*) from pg_locks join pg_stat_activity using (pid)
  where datname = current_database() and application_name = 'outbound gate' and locktype = 'advisory' and objid = {GATE_LOCK}
"""  # noqa: S608 - a number
INTERRUPT = """
  select count(pg_cancel_backend(pid)) from pg_stat_activity
  where datname = current_database() and application_name = 'outbound gate' and wait_event_type = 'Lock'
"""


def test_no_right_is_taken_away_before_a_question_that_was_told_of_it_is_on_record(
    world: World, address: str, database_url: str
) -> None:
    gateway, name = Gateway(world), world.name("ask")
    path = f"/v1/permits/{gateway.permit}/revoke"

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:
            asking = asyncio.create_task(clients.ask(gateway.ask(name)))
            await until(lambda: connection.fetch(LINGERS))
            revoked = await asyncio.to_thread(world.reviewers["legal"].post, path, {"reason": "Told too late"})
            assert revoked.status_code == 200
            recorded = await connection.fetchval(
                "select count(*) from entries where handler = $1 and action = 'gate.evaluated'", gateway.handler["id"]
            )
            assert recorded == 1, "the permit was gone before what rests on it was committed"
            assert (await asking).json()["decision"] is True
            assert (await clients.ask(gateway.ask(name))).json()["context"]["reason"] == "permit_revoked"

    with commits_that_take(1, database_url, "entries", "new.action = 'gate.evaluated'"):
        asyncio.run(run())


@pytest.mark.usefixtures("poisoned")
def test_no_session_keeps_the_gates_lock_whatever_became_of_a_batch(
    world: World, address: str, database_url: str
) -> None:
    gateway = Gateway(world)
    many = [f"field_{number:04}_{'x' * 80}" for number in range(1000)]

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients, connected(database_url) as connection:

            async def answered(body: Json, status: int, teller: Clients = clients) -> Json:
                answer = await teller.ask(body)
                assert answer.status_code == status, answer.text
                assert await connection.fetchval(LOCKS_HELD) == 0
                told: Json = answer.json()
                return told

            await answered(gateway.ask("plain"), 200)
            long = await answered(gateway.ask("long", fields=many), 200)
            sealed = "select count(*) from openings join entries using (seq, at) where subject = $1"
            assert await connection.fetchval(sealed, long["context"]["id"]) == 1
            await answered(gateway.ask("poison"), 500)
            async with Clients([address], world.person(kind="system").secret) as stranger:
                await answered(gateway.ask("of nobody's"), 403, stranger)
            async with connected(database_url) as holder, holder.transaction():
                await holder.execute("lock table permits in access exclusive mode")
                interrupted = asyncio.create_task(clients.ask(gateway.ask("interrupted")))
                await until(lambda: connection.fetchval(INTERRUPT))
                assert refused_for_now(await interrupted)
                assert await connection.fetchval(LOCKS_HELD) == 0

    asyncio.run(run())


def test_without_the_gates_lock_nothing_is_recorded(database_url: str) -> None:
    """A session that lost it, however that came about, cannot commit what it decided under it."""
    sitting = DecisionBatch(loader.load(), datetime.now(UTC), datetime.now(UTC))
    sitting.entries = Entries(["system"], ["test.unlocked"], ["ev_unlocked"], [""], ["{}"], [bytes(32)])

    async def run() -> None:
        async with connected(database_url) as connection:
            recorded = "select count(*) from entries where subject = 'ev_unlocked'"
            with pytest.raises(DatabaseUnavailable):
                await batch_write.write_and_commit(connection, sitting)
            assert await connection.fetchval(recorded) == 0
            await connection.execute(f"select pg_advisory_lock_shared({GATE_LOCK})")
            undone = connection.transaction()
            await undone.start()
            await batch_write.write_and_commit(connection, sitting)
            assert await connection.fetchval(recorded) == 1
            await undone.rollback()

    asyncio.run(run())


# Keys of requests


def test_a_key_that_comes_several_times_in_one_batch_happens_once(
    world: World, address: str, database_url: str
) -> None:
    gateway, key = Gateway(world), world.name("key")

    async def run() -> list[httpx.Response]:
        async with Clients([address], gateway.person.secret) as clients:
            tasks: list[asyncio.Task[httpx.Response]] = []
            async with held(database_url, THE_GATE, tasks):
                for number in range(12):
                    sent = clients.post("/v1/exports", gateway.export(), key=key if number > 1 else f"{key}-{number}")
                    tasks.append(asyncio.create_task(sent))
            return list(await asyncio.gather(*tasks))

    answers = asyncio.run(run())
    first, repeats = answers[:2], answers[2:]
    assert [answer.status_code for answer in first] == [201, 201]
    made = {answer.json()["id"] for answer in repeats if answer.status_code == 201}
    assert len(made) == 1
    assert {answer.json()["type"] for answer in repeats if answer.status_code != 201} == {
        "/problems/idempotency-key-in-flight"
    }
    again = gateway.person.post("/v1/exports", gateway.export(), Idempotency_Key=key)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (made.pop(), "true")
    require_exact(database_url)


def test_a_key_over_two_replicas_happens_once(
    world: World, settings: Settings, address: str, database_url: str, clock: Clock
) -> None:
    gateway = Gateway(world)

    async def run(addresses: list[str]) -> None:
        async with Clients(addresses, gateway.person.secret) as clients, connected(database_url) as connection:
            for _ in range(times(15, 300)):
                key = world.name("key")
                answers = await asyncio.gather(
                    *[clients.post("/v1/exports", gateway.export(), key=key) for _ in range(6)]
                )
                made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
                assert len(made) == 1
                assert {answer.status_code for answer in answers} <= {201, 409}
                other = await clients.post("/v1/exports", gateway.export(2), key=key)
                assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
            rows = await connection.fetchval("select count(*) from exports where permit = $1", gateway.permit)
            assert rows == times(15, 300)

    with Served(settings, database_url, clock) as second:
        asyncio.run(run([address, second]))


def test_a_key_whose_first_request_is_under_way_is_409_at_once(world: World, address: str, database_url: str) -> None:
    gateway, key = Gateway(world), world.name("key")
    unknown = {**gateway.export(), "dataset": "nobody/knows"}

    async def run() -> None:
        async with Clients([address], gateway.person.secret) as clients:
            tasks: list[asyncio.Task[httpx.Response]] = []
            async with held(database_url, "lock table entries in share mode", tasks) as watcher:
                tasks.append(asyncio.create_task(clients.post("/v1/exports", unknown, key=key)))
                await queued(watcher)
                second = await clients.post("/v1/exports", gateway.export(), key=key)
                assert (second.status_code, second.json()["type"]) == (409, "/problems/idempotency-key-in-flight")
            assert (await tasks[0]).json()["reason"] == "dataset_unknown"

    asyncio.run(run())


def test_a_refusal_is_told_again_for_its_key_even_when_it_would_be_allowed_by_now(world: World) -> None:
    gateway, key = Gateway(world, persons=5), world.name("key")
    first = gateway.person.made("/v1/exports", gateway.export(5))
    refused = gateway.person.post("/v1/exports", gateway.export(), Idempotency_Key=key)
    assert refused.json()["reason"] == "quota_exceeded"
    gateway.person.made(f"/v1/exports/{first['id']}/cancel", None)
    again = gateway.person.post("/v1/exports", gateway.export(), Idempotency_Key=key)
    assert (again.status_code, again.content) == (403, refused.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert gateway.person.post("/v1/exports", gateway.export(), Idempotency_Key=key + "2").status_code == 201
