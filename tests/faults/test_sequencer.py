"""The sequencer: each entry one leaf and none lost, whatever transactions do; one leader, another when it dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from service.audit import notes
from service.audit.log_key import LogKey
from service.audit.merkle import leaf_hash, root_of
from service.audit.notes import Checkpoint
from service.audit.sequencer import Sequencer
from service.database import utc_now
from tests.conftest import database_named, run_sql

INSERT = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select now(), 'somebody', 'thing.done', $1, null, body, sha256(convert_to(body, 'UTF8'))
  from (select '{"subject":"' || $1 || '","number":' || n || '}' as body from generate_series(1, $2::int) n) made
"""
UNSEQUENCED = "select count(*) from entries e where not exists (select from leaves l where l.seq = e.seq)"


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
    sequencers = [Sequencer(url, clock=utc_now, key=key) for key in keys]
    for each in sequencers:
        each.open()
    try:
        yield
    finally:
        for each in sequencers:
            await each.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
            await asyncio.sleep(0.02)


async def all_sequenced(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval(UNSEQUENCED) == 0)


async def demand_whole(connection: asyncpg.Connection, key: LogKey) -> None:
    """Demand that the log is what its entries amount to: each once, all places taken, every checkpoint true and signed."""
    rows = await connection.fetch("select l.leaf, e.body from leaves l join entries e using (seq, at) order by l.leaf")
    assert [row["leaf"] for row in rows] == list(range(len(rows)))
    assert await connection.fetchval("select count(*) from entries") == len(rows)
    hashes = [leaf_hash(row["body"].encode()) for row in rows]
    origin = await connection.fetchval("select origin from log_state")
    stored = await connection.fetch("select size, root, note from checkpoints order by size")
    assert stored[-1]["size"] == len(rows)
    for row in stored:
        checkpoint = Checkpoint.of(notes.open(row["note"], [key.signer(origin).verifier]).text)
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
                await asyncio.sleep(chance.choice([0, 0, 0.01, 0.3]))
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
            await demand_whole(watcher, key)

    asyncio.run(run())
