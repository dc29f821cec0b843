"""The sequencer: each entry one leaf and none lost, whatever transactions do; one leader, another when it dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from service.access.caller import OPERATOR
from service.audit.log import fsck, key_rotation, sequencer
from service.audit.log.leader import Leader
from service.audit.log.log_key import LogKey, LogKeyError
from service.audit.log.sequencer import LogDamagedError, Sequencer
from service.audit.tlog import signed_note
from service.audit.tlog.merkle import leaf_hash, root_of
from service.audit.tlog.signed_note import Checkpoint
from service.clock import utc_now
from service.database.faults import is_conflict
from service.database.locks import LOG_LOCK
from service.database.logins import Login
from service.database.session import Database
from tests.conftest import database_named, run_sql
from tests.waiting import until

INSERT = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select now(), 'somebody', 'thing.done', $1, null, body, sha256(convert_to(body, 'UTF8'))
  from (select '{"subject":"' || $1 || '","number":' || n || '}' as body from generate_series(1, $2::int) n) made
"""
INSERT_AT = """
  insert into entries (at, actor, action, subject, handler, body, sha256) values (:at, 'somebody', 'thing.done', 'x', null, '{}', '')
"""
HOLDERS = """
  select pid from pg_locks join pg_database d on d.oid = database
  where datname = current_database() and locktype = 'advisory' and objid::bigint = $1 and granted
"""
WAITING = """
  select count(*) from pg_locks join pg_database d on d.oid = database where datname = current_database() and not granted
"""
UNSEQUENCED = "select count(*) from entries e where not exists (select from leaves l where l.seq = e.seq)"


async def _are_waiting(connection: asyncpg.Connection, number: int) -> bool:
    return int(await connection.fetchval(WAITING)) >= number


@pytest.fixture
def url(postgres: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the test's own."""
    name = f"log_{abs(hash(request.node.nodeid)):x}"
    run_sql(postgres, f"create database {name} template template_outbound")
    yield database_named(postgres, name)
    run_sql(postgres, f"drop database {name} with (force)")


@pytest.fixture
def key(tmp_path: Path) -> LogKey:
    return LogKey(tmp_path / "log_key.pem")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def sequencing_on(url: str, *keys: LogKey) -> AsyncIterator[None]:
    sequencers = [Leader(Login(url), clock=utc_now, key=key) for key in keys]
    for each in sequencers:
        each.open()
    try:
        yield
    finally:
        for each in sequencers:
            await each.close()


async def all_sequenced(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval(UNSEQUENCED) == 0)


async def require_whole(connection: asyncpg.Connection, key: LogKey) -> None:
    """Demand that the log is what its entries amount to: each once, all places taken, every checkpoint true and signed."""
    rows = await connection.fetch("select l.leaf, e.body from leaves l join entries e using (seq, at) order by l.leaf")
    assert [row["leaf"] for row in rows] == list(range(len(rows)))
    assert await connection.fetchval("select count(*) from entries") == len(rows)
    hashes = [leaf_hash(row["body"].encode()) for row in rows]
    origin = await connection.fetchval("select origin from log_state")
    stored = await connection.fetch("select size, root, note from checkpoints order by size")
    assert stored[-1]["size"] == len(rows)
    for row in stored:
        checkpoint = Checkpoint.of(signed_note.open(row["note"], [key.signer(origin).verifier]).text)
        assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (origin, row["size"], row["root"])
        assert checkpoint.root == root_of(hashes[: checkpoint.size])


def test_each_entry_becomes_one_leaf_though_transactions_overlap_linger_and_fail(url: str, key: LogKey) -> None:
    chance = random.Random(6)  # noqa: S311 - a choice of what happens, no secret

    async def append(number: int) -> int:
        kept = 0
        async with connected(url) as connection:
            for turn in range(12):
                transaction = connection.transaction()
                await transaction.start()
                count = chance.choice([1, 3, 40])
                await connection.execute(INSERT, f"{number}/{turn}", count)
                await asyncio.sleep(chance.choice([0, 0, 0.01, 0.3]))  # the transaction stays open for so long
                if chance.random() < 0.3:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    kept += count
        return kept

    async def linger(subject: str, *, begun: asyncio.Event, ended: asyncio.Event) -> None:
        async with connected(url) as connection, connection.transaction():
            await connection.execute(INSERT, subject, 3)
            begun.set()
            await ended.wait()

    async def run() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()
        async with sequencing_on(url, key), connected(url) as watcher:
            lingering = asyncio.create_task(linger("long", begun=begun, ended=ended))
            await begun.wait()
            kept = sum(await asyncio.gather(*(append(number) for number in range(12))))
            # The entries of all others are in the log while a transaction that drew smaller numbers is still open.
            await until(lambda: all_sequenced(watcher))
            assert await watcher.fetchval("select count(*) from leaves") == kept
            assert await watcher.fetchval("select watermark from log_state") < 3
            ended.set()
            await lingering
            await until(lambda: all_sequenced(watcher))
            last = await watcher.fetchval("select last_value from entries_seq_seq")

            async def is_past_all() -> bool:
                return bool(await watcher.fetchval("select watermark from log_state") == last)

            await until(is_past_all)
            await require_whole(watcher, key)

    asyncio.run(run())


def test_whoever_draws_a_number_has_a_transaction_id(url: str) -> None:
    async def run() -> None:
        query = """
          select pg_get_expr(adbin, adrelid) from pg_attrdef
          join pg_attribute on attrelid = adrelid and attnum = adnum and attname = 'seq'
          where adrelid in (select relid from pg_partition_tree('entries'))
        """
        async with connected(url) as connection:
            defaults = [row[0] for row in await connection.fetch(query)]
            assert len(defaults) == await connection.fetchval("select count(*) from pg_partition_tree('entries')")
            for default in defaults:
                async with connection.transaction():
                    assert await connection.fetchval("select pg_current_xact_id_if_assigned()") is None
                    await connection.fetchval(f"select {default}")
                    assert await connection.fetchval("select pg_current_xact_id_if_assigned()") is not None
            assert (
                await connection.fetchval(
                    "select seqcache from pg_sequence where seqrelid = 'entries_seq_seq'::regclass"
                )
                == 1
            )

    asyncio.run(run())


def test_one_leads_and_another_takes_over_when_its_connection_dies(url: str, key: LogKey) -> None:
    async def run() -> None:
        async with sequencing_on(url, key, key, key), connected(url) as watcher:
            seen: set[int] = set()
            for number in range(3):
                await watcher.execute(INSERT, f"turn {number}", 20)
                await until(lambda: all_sequenced(watcher))
                holders = await watcher.fetch(HOLDERS, LOG_LOCK)
                assert len(holders) == 1
                seen.add(holders[0][0])
                await watcher.execute("select pg_terminate_backend($1)", holders[0][0])
            await watcher.execute(INSERT, "last", 5)
            await until(lambda: all_sequenced(watcher))
            assert len(seen) == 3
            await require_whole(watcher, key)

    asyncio.run(run())


def test_a_process_with_another_key_does_not_sign(url: str, key: LogKey, tmp_path: Path) -> None:
    async def run() -> None:
        async with connected(url) as connection:
            await Sequencer.load(connection, utc_now, key)
            with pytest.raises(LogKeyError, match="outbound audit rotate-key"):
                await Sequencer.load(connection, utc_now, LogKey(tmp_path / "another.pem"))

    asyncio.run(run())


@pytest.mark.parametrize(
    "damage",
    [
        "update log_tiles set hashes = set_byte(hashes, 5, 255 - get_byte(hashes, 5))",
        "delete from log_tiles",
        "update log_state set size = 0",
        "delete from checkpoints where size = 7",
    ],
)
def test_nothing_is_signed_on_top_of_a_log_that_is_not_what_was_signed(url: str, key: LogKey, damage: str) -> None:
    async def run() -> None:
        async with connected(url) as connection:
            for count in (3, 4):
                await connection.execute(INSERT, "before", count)
                assert (await (await Sequencer.load(connection, utc_now, key)).run_pass())[0]
            await connection.execute("set session_replication_role = replica")
            await connection.execute(damage)
            with pytest.raises(LogDamagedError):
                await Sequencer.load(connection, utc_now, key)

    asyncio.run(run())


def test_a_log_goes_on_after_a_sequencer_that_failed_in_mid_turn(url: str, key: LogKey) -> None:
    async def run() -> None:
        async with connected(url) as connection:
            await connection.execute(INSERT, "before", 3)
            writer = await Sequencer.load(connection, utc_now, key)
            await connection.execute("alter table checkpoints add constraint no_more check (size < 2)")
            with pytest.raises(asyncpg.CheckViolationError):
                await writer.run_pass()
            assert await connection.fetchval("select count(*) from leaves") == 0
            await connection.execute("alter table checkpoints drop constraint no_more")
        async with sequencing_on(url, key), connected(url) as watcher:
            await until(lambda: all_sequenced(watcher))
            await require_whole(watcher, key)

    asyncio.run(run())


def test_the_first_checkpoint_of_another_key_is_signed_by_the_older_one_as_well(url: str, key: LogKey) -> None:
    async def rotate() -> str:
        database = Database(url, pool=1)
        try:
            origin, _ = await database.transaction(lambda tx: key_rotation.rotate(tx, OPERATOR, key, None))
        finally:
            await database.close()
        key.replace(origin)
        return origin

    async def run() -> None:
        async with sequencing_on(url, key), connected(url) as watcher:
            await watcher.execute(INSERT, "before", 3)
            await until(lambda: all_sequenced(watcher))
            origin = await watcher.fetchval("select origin from log_state")
            older = key.signer(origin).verifier
            await rotate()
            newer = key.signer(origin).verifier
            for number in range(2):
                await watcher.execute(INSERT, f"after {number}", 3)
                await until(lambda: all_sequenced(watcher))

            async def is_signed_by_newer_alone() -> bool:
                note = await watcher.fetchval("select note from checkpoints order by size desc limit 1")
                if signed_note.open(note, [older, newer]).keys == {newer}:
                    return True
                await watcher.execute(INSERT, "more", 1)
                return False

            await until(is_signed_by_newer_alone)
            told = [
                signed_note.open(row["note"], [older, newer]).keys
                for row in await watcher.fetch("select note from checkpoints order by size")
            ]
            assert [keys for number, keys in enumerate(told) if keys not in told[:number]] == [
                {older},
                {older, newer},
                {newer},
            ]
            assert told.count(frozenset({older, newer})) == 1
            body = await watcher.fetchval("select body from entries where action = 'log.key_rotated'")
            assert newer.vkey in body
            assert older.vkey in body
            result = await fsck.check(watcher, [older])
            assert [each for each in result.findings if each.kind != "changed"] == []
        assert key.path.stat().st_mode & 0o077 == 0

    asyncio.run(run())


def test_this_month_and_the_next_two_have_tables_of_their_own(url: str) -> None:
    async def run() -> list[str]:
        async with connected(url) as connection:
            assert await sequencer.create_month_tables(connection, datetime(2031, 12, 5, tzinfo=UTC))
            await connection.execute(INSERT.replace("now()", "'2032-02-29 23:59:59.9Z'::timestamptz"), "leap", 1)
            await connection.execute(INSERT.replace("now()", "'2040-01-01Z'::timestamptz"), "far", 1)
            return [row[0] for row in await connection.fetch("select tableoid::regclass::text from entries order by 1")]

    assert asyncio.run(run()) == ["entries_2032_02", "entries_default"]


def test_a_month_whose_entries_stand_in_the_default_table_gets_none(url: str) -> None:
    async def run() -> None:
        async with connected(url) as connection:
            await connection.execute(INSERT.replace("now()", "'2035-05-05Z'::timestamptz"), "early", 1)
            assert not await sequencer.create_month_tables(connection, datetime(2035, 4, 5, tzinfo=UTC))
            query = "select to_regclass('entries_2035_' || month) from unnest(array['04', '05', '06']) month"
            assert [row[0] is None for row in await connection.fetch(query)] == [False, True, False]

    asyncio.run(run())


# A month whose table is made while an entry of it is on its way


def test_an_entry_on_its_way_while_the_table_of_its_month_is_made_is_written_all_the_same(url: str) -> None:
    """It was on its way into the default partition, which no longer takes it: that is to be tried again, not a fault."""
    month = datetime(2031, 5, 10, tzinfo=UTC)

    async def append(database: Database) -> None:
        await database.transaction(lambda tx: tx.execute(text(INSERT_AT), {"at": month}))

    async def run() -> None:
        database = Database(url, pool=1)
        async with connected(url) as maker, connected(url) as watcher:
            making = maker.transaction()
            await making.start()
            assert await maker.fetchval("select make_month_of_entries('2031-05-01')")
            direct = asyncio.create_task(watcher.execute(INSERT_AT.replace(":at", "$1::timestamptz"), month))
            through = asyncio.create_task(append(database))
            async with connected(url) as another:
                await until(lambda: _are_waiting(another, 2), pause=0.01)
            await making.commit()
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await direct
            assert is_conflict(refused.value)
            await through
            assert await maker.fetchval("select count(*) from entries_2031_05") == 1
        await database.close()

    asyncio.run(run())


def test_a_check_that_has_a_name_is_no_conflict(url: str) -> None:
    async def run() -> None:
        async with connected(url) as connection:
            await connection.execute("create table checked (n int constraint small check (n < 3))")
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await connection.execute("insert into checked values (7)")
            assert not is_conflict(refused.value)

    asyncio.run(run())
