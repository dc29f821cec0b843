"""What a PostgreSQL superuser can do to the log, at random places: the full check names each, and so does the witness what it must."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

import asyncpg
import pytest

from service.audit.log import fsck, retention, sequencer
from service.audit.log.fsck_workers import WorkerPool, open_snapshot
from service.audit.log.log_key import LogKey
from service.audit.log.sequencer import Sequencer
from service.audit.operations import canonical
from service.audit.tlog import merkle, signed_note, tiles, witness_protocol
from service.audit.tlog.signed_note import Checkpoint
from service.audit.tlog.tiles import WIDTH
from service.audit.tlog.witness_protocol import Refusal, Submission
from service.clock import utc_now
from service.database.row_security import EVERYWHERE
from service.database.session import Database
from tests.commands import outbound
from tests.conftest import database_named, run_sql
from tests.faults.racing import times

SIZE = 700
HALF = 400
SEEDS = range(times(2, 40))
Act = Callable[[asyncpg.Connection, random.Random], Awaitable[None]]

WHOLE, EARLIER, COPY = (
    f"log_{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}" for name in ("whole", "earlier", "copy")
)
"""Databases of this test process."""


@dataclass(frozen=True)
class Logs:
    """A log, itself at an earlier time, and who knows what of it."""

    postgres: str
    key: LogKey
    other_key: LogKey
    origin: str
    note: str
    """The newest checkpoint, as somebody kept it elsewhere."""

    @property
    def remembered(self) -> Checkpoint:
        return Checkpoint.of(signed_note.parts_of(self.note)[0])

    def copy(self, name: str, of: str = WHOLE) -> str:
        run_sql(self.postgres, f"drop database if exists {name}", f"create database {name} template {of}")
        return database_named(self.postgres, name)


def clock_at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def start() -> datetime:
    return datetime.now(UTC).replace(microsecond=123456) - timedelta(days=2)


def entry(number: int, at: datetime, word: str = "said") -> tuple[object, ...]:
    told = {
        "at": at,
        "actor": "pr_somebody",
        "action": "thing.done",
        "subject": f"th_{number}",
        "handler": None if number % 3 else "hd_one",
        "details": {"number": number, "word": word},
    }
    body = canonical(told)
    return (
        at,
        told["actor"],
        told["action"],
        told["subject"],
        told["handler"],
        body.decode(),
        hashlib.sha256(body).digest(),
    )


INSERT = "insert into entries (at, actor, action, subject, handler, body, sha256) values ($1, $2, $3, $4, $5, $6, $7)"
INSERT_AT = """
  insert into entries (seq, at, actor, action, subject, handler, body, sha256) values ($8, $1, $2, $3, $4, $5, $6, $7)
"""


async def grow(connection: asyncpg.Connection, key: LogKey, sizes: list[int], begun: datetime) -> str:
    """Let the log grow to these sizes, with a checkpoint at each; some numbers are drawn in vain."""
    note = ""
    for turn, size in enumerate(sizes):
        at = begun + timedelta(minutes=turn)
        there = await connection.fetchval("select count(*) from entries")
        await connection.executemany(INSERT, [entry(number, at) for number in range(there, size)])
        await connection.execute("begin; select nextval('entries_seq_seq'), nextval('entries_seq_seq'); commit")
        writer = await Sequencer.load(connection, clock_at(at + timedelta(seconds=1)), key, "example.com/log")
        note, _ = await writer.run_pass()
        await writer.run_pass()
    assert note
    return note


@pytest.fixture(scope="module")
def logs(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("keys")
    key, other = LogKey(folder / "log_key.pem"), LogKey(folder / "other.pem")
    run_sql(postgres, f"create database {WHOLE} template template_outbound")
    # Migrating makes months from the present one on: in its first days the entries of these tests are of the one before.
    run_sql(database_named(postgres, WHOLE), f"select make_month_of_entries('{start():%Y-%m-%d}')")

    async def to(name: str, sizes: list[int], begun: datetime) -> str:
        connection = await asyncpg.connect(database_named(postgres, name))
        try:
            return await grow(connection, key, sizes, begun)
        finally:
            await connection.close()

    asyncio.run(to(WHOLE, [1, 7, 256, 300, HALF], start()))
    run_sql(postgres, f"create database {EARLIER} template {WHOLE}")
    note = asyncio.run(to(WHOLE, [HALF + 1, 513, 600, SIZE], start() + timedelta(minutes=30)))
    yield Logs(postgres, key, other, "example.com/log", note)
    run_sql(postgres, f"drop database {WHOLE} with (force)", f"drop database {EARLIER} with (force)")


async def tampered(url: str, act: Act, chance: random.Random) -> None:
    """Do something to the log as a superuser, whom no trigger stops."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set session_replication_role = replica")
        await act(connection, chance)
    finally:
        await connection.close()


def helped(url: str) -> fsck.ChunkHasher:
    """Return what reads and hashes ahead as `WorkerPool` do, but in this process."""

    async def ahead(view: str, spans: Sequence[fsck.LeafRange]) -> AsyncGenerator[fsck.CleanChunk | None, None]:
        async with open_snapshot(url, view) as connection:
            for span in spans:
                yield await fsck.hash_clean_chunk(connection, span)

    return ahead


async def checked(
    url: str, logs: Logs, *remembered: str, helpers: Sequence[fsck.ChunkHasher | None] | None = None
) -> fsck.Result:
    """Check a log alone and, in small chunks, with helpers; each time the same must be found."""
    connection = await asyncpg.connect(url, server_settings=fsck.SETTINGS)
    trusted = [logs.key.signer(logs.origin).verifier]
    try:
        alone = await fsck.check(connection, trusted, remembered)
        with mock.patch.object(fsck, "CHUNK_LEAVES", WIDTH):
            for each in (None, helped(url)) if helpers is None else helpers:
                found = await fsck.check(connection, trusted, remembered, hasher=each)
                assert sorted(found.findings, key=str) == sorted(alone.findings, key=str)
                assert replace(found, findings=[]) == replace(alone, findings=[])
    finally:
        await connection.close()
    return alone


async def shown_to_witness(url: str, logs: Logs) -> None:
    """Show the log's newest checkpoint to a witness that has cosigned what was remembered, with the best proof there is."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow("select size, note from checkpoints order by size desc limit 1")
        rows = await connection.fetch("select level, number, hashes from log_tiles")
    finally:
        await connection.close()
    node = tiles.reader({(each["level"], each["number"]): each["hashes"] for each in rows})
    old = min(logs.remembered.size, row["size"])
    proof = tuple(merkle.consistency_proof(old, row["size"], node))
    known = {logs.origin: [logs.key.signer(logs.origin).verifier]}
    witness_protocol.verify_submission(Submission(old, proof, row["note"]), known, {logs.origin: logs.remembered})


async def some_seq(connection: asyncpg.Connection, chance: random.Random) -> int:
    leaf = chance.randrange(SIZE)
    return int(await connection.fetchval("select seq from leaves where leaf = $1", leaf))


async def change(connection: asyncpg.Connection, chance: random.Random) -> None:
    seq = await some_seq(connection, chance)
    at = await connection.fetchval("select at from entries where seq = $1", seq)
    values = entry(seq, at, "never said")
    which = chance.choice(["body", "all", "actor", "handler", "at", "sha256"])
    if which == "body":
        await connection.execute("update entries set body = $2 where seq = $1", seq, values[5])
    elif which == "all":
        await connection.execute("update entries set body = $2, sha256 = $3 where seq = $1", seq, *values[5:])
    elif which == "at":
        await connection.execute("update entries set at = at + interval '1 minute' where seq = $1", seq)
    elif which == "sha256":
        await connection.execute("update entries set sha256 = $2 where seq = $1", seq, b"0" * 32)
    else:
        await connection.execute(f"update entries set {which} = 'pr_nobody' where seq = $1", seq)  # noqa: S608


async def delete(connection: asyncpg.Connection, chance: random.Random) -> None:
    seq = await some_seq(connection, chance)
    await connection.execute("delete from entries where seq = $1", seq)
    if chance.random() < 0.5 and seq < SIZE:
        await connection.execute("delete from leaves where seq = $1", seq)


async def swap(connection: asyncpg.Connection, chance: random.Random) -> None:
    one, other = chance.sample(range(SIZE), 2)
    rows = await connection.fetch("select * from leaves where leaf = any($1) order by leaf", [one, other])
    (leaf, seq, at), (second_leaf, second_seq, second_at) = rows
    if chance.random() < 0.5:
        await connection.execute("delete from leaves where leaf = any($1)", [leaf, second_leaf])
        place = "insert into leaves (leaf, seq, at) values ($1, $2, $3)"
        if chance.random() < 0.5:
            at, second_at = second_at, at
        await connection.execute(place, leaf, second_seq, at)
        await connection.execute(place, second_leaf, seq, second_at)
    else:
        await connection.execute("update entries set seq = -1 where seq = $1", seq)
        await connection.execute("update entries set seq = $1 where seq = $2", seq, second_seq)
        await connection.execute("update entries set seq = $1 where seq = -1", second_seq)


async def truncate(connection: asyncpg.Connection, chance: random.Random) -> None:
    which, leaf = chance.choice(["entries", "leaves", "end", "all"]), chance.randrange(SIZE - 3)
    if which in {"entries", "leaves"}:
        await connection.execute(f"truncate {which}")
        return
    await connection.execute("delete from entries where seq in (select seq from leaves where leaf >= $1)", leaf)
    if which == "all":
        await connection.execute("delete from leaves where leaf >= $1", leaf)
        await connection.execute("update log_state set size = $1", leaf)


async def insert(connection: asyncpg.Connection, chance: random.Random) -> None:
    which = chance.choice(["late", "second", "leaf"])
    at = start() + timedelta(minutes=chance.randrange(40))
    watermark = await connection.fetchval("select watermark from log_state")
    gaps = await connection.fetch(
        "select n from generate_series(-3, $1::bigint) n where not exists (select from leaves where seq = n)", watermark
    )
    seq = chance.choice(gaps)[0] if which != "second" else await some_seq(connection, chance)
    await connection.execute(INSERT_AT, *entry(9999, at + timedelta(seconds=7)), seq)
    if which == "leaf":
        await connection.execute("insert into leaves select $1, seq, at from entries where seq = $2", SIZE, seq)
        await connection.execute("update log_state set size = $1", SIZE + 1)


async def backdate(connection: asyncpg.Connection, chance: random.Random, logs: Logs) -> None:
    await connection.execute(INSERT, *entry(9999, start() - timedelta(days=chance.randrange(1, 400))))
    writer = await Sequencer.load(connection, clock_at(datetime.now(UTC)), logs.key)
    assert (await writer.run_pass())[0]


async def spoil_tile(connection: asyncpg.Connection, chance: random.Random) -> None:
    rows = await connection.fetch("select level, number, hashes from log_tiles")
    row = chance.choice(rows)
    hashes = bytearray(row["hashes"])
    hashes[chance.randrange(len(hashes))] ^= 1 << chance.randrange(8)
    update = "update log_tiles set hashes = $3 where level = $1 and number = $2"
    await connection.execute(update, row["level"], row["number"], bytes(hashes))


async def rewrite(connection: asyncpg.Connection, chance: random.Random, key: LogKey) -> None:
    """Change one entry and make everything anew, as if it had always been so."""
    number = chance.randrange(SIZE)
    seq, at = await connection.fetchrow("select seq, at from leaves where leaf = $1", number)
    values = entry(number, at, "never said")
    await connection.execute("update entries set body = $2, sha256 = $3 where seq = $1", seq, *values[5:])
    for table in ("leaves", "log_tiles", "cosignatures", "checkpoints", "log_keys"):
        await connection.execute(f"delete from {table}")  # noqa: S608
    await connection.execute("update log_state set size = 0, watermark = 0")
    writer = await Sequencer.load(connection, clock_at(start() + timedelta(hours=3)), key)
    assert (await writer.run_pass())[0]
    await writer.run_pass()


def test_a_log_that_nobody_touched_is_whole(logs: Logs) -> None:
    result = asyncio.run(checked(logs.copy(COPY), logs, logs.note))
    assert result.findings == []
    assert (result.leaves, result.newest) == (SIZE, logs.remembered)


class Watched:
    """Helpers, and what they have told of each chunk."""

    def __init__(self, helpers: fsck.ChunkHasher) -> None:
        self._helpers = helpers
        self.told: list[bool] = []

    async def __call__(
        self, view: str, spans: Sequence[fsck.LeafRange]
    ) -> AsyncGenerator[fsck.CleanChunk | None, None]:
        async with aclosing(self._helpers(view, spans)) as telling:
            async for each in telling:
                self.told.append(each is not None)
                yield each


def test_processes_read_and_hash_ahead(logs: Logs) -> None:
    url, chunks = logs.copy(COPY), -(-SIZE // WIDTH)
    few, many, lost = (
        Watched(WorkerPool(address, 2, worthwhile))
        for address, worthwhile in ((url, SIZE + 1), (url, SIZE), ("postgresql://nobody@127.0.0.1:1/none", SIZE))
    )
    assert asyncio.run(checked(url, logs, logs.note, helpers=(few, many, lost))).findings == []
    assert few.told == lost.told == [False] * chunks
    assert many.told == [True] * chunks
    asyncio.run(tampered(url, change, random.Random(1)))  # noqa: S311
    many.told.clear()
    assert asyncio.run(checked(url, logs, helpers=[many])).kinds == {"changed"}
    assert sorted(many.told) == [False] + [True] * (chunks - 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("changed", change),
        ("deleted", delete),
        ("swapped", swap),
        ("truncated", truncate),
        ("inserted", insert),
        ("tile", spoil_tile),
    ],
)
def test_the_check_names_what_was_done_to_entries_leaves_and_tiles(logs: Logs, kind: str, act: Act, seed: int) -> None:
    url = logs.copy(COPY)
    chance = random.Random(f"{kind} {seed}")  # noqa: S311 - a choice of places, no secret
    asyncio.run(tampered(url, act, chance))
    result = asyncio.run(checked(url, logs))
    assert kind in result.kinds, result.findings


@pytest.mark.parametrize("seed", SEEDS)
def test_an_entry_that_claims_to_be_older_than_it_is_is_named(logs: Logs, seed: int) -> None:
    url = logs.copy(COPY)
    chance = random.Random(seed)  # noqa: S311
    asyncio.run(tampered(url, lambda connection, chance: backdate(connection, chance, logs), chance))
    assert asyncio.run(checked(url, logs)).kinds == {"backdated"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_rewritten_with_the_wrong_key_is_named_by_the_check_and_the_witness(logs: Logs, seed: int) -> None:
    url = logs.copy(COPY)
    chance = random.Random(seed)  # noqa: S311
    asyncio.run(tampered(url, lambda connection, chance: rewrite(connection, chance, logs.other_key), chance))
    assert {"signature", "rewritten"} <= asyncio.run(checked(url, logs)).kinds
    with pytest.raises(Refusal, match="not signed by"):
        asyncio.run(shown_to_witness(url, logs))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_rewritten_with_the_right_key_is_named_by_whoever_remembers(logs: Logs, seed: int) -> None:
    url = logs.copy(COPY)
    chance = random.Random(seed)  # noqa: S311
    asyncio.run(tampered(url, lambda connection, chance: rewrite(connection, chance, logs.key), chance))
    assert asyncio.run(checked(url, logs)).findings == []  # nothing in the database can tell
    assert asyncio.run(checked(url, logs, logs.note)).kinds == {"rewritten"}
    with pytest.raises(Refusal, match="FORK"):
        asyncio.run(shown_to_witness(url, logs))


def test_an_old_backup_is_named_by_whoever_remembers(logs: Logs) -> None:
    url = logs.copy(COPY, EARLIER)
    assert asyncio.run(checked(url, logs)).findings == []
    assert asyncio.run(checked(url, logs, logs.note)).kinds == {"restored"}
    with pytest.raises(Refusal, match=f"has cosigned {logs.origin} at size {SIZE}"):
        asyncio.run(shown_to_witness(url, logs))


@pytest.mark.parametrize("more", [1, 50, 400])
def test_an_old_backup_that_went_on_is_named_by_whoever_remembers(logs: Logs, more: int) -> None:
    url = logs.copy(COPY, EARLIER)

    async def go_on(connection: asyncpg.Connection, _: random.Random) -> None:
        await grow(connection, logs.key, [HALF + more], start() + timedelta(hours=2))

    asyncio.run(tampered(url, go_on, random.Random(1)))  # noqa: S311
    assert asyncio.run(checked(url, logs, logs.note)).kinds & {"rewritten", "restored"}
    with pytest.raises(Refusal):
        asyncio.run(shown_to_witness(url, logs))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("update checkpoints set root = sha256('') where size = 300", "checkpoint"),
        ("update checkpoints set note = replace(note, 'example', 'simple') where size = 300", "signature"),
        ("update checkpoints set note = 'nothing' where size = 300", "checkpoint"),
        ("delete from checkpoints where size = (select max(size) from checkpoints)", "inserted"),
        ("update log_state set size = size + 1", "truncated"),
    ],
)
def test_checkpoints_that_were_touched_are_named(logs: Logs, statement: str, kind: str) -> None:
    url = logs.copy(COPY)
    run_sql(url, "set session_replication_role = replica; " + statement)
    assert kind in asyncio.run(checked(url, logs)).kinds


def test_a_month_that_was_moved_to_a_file_is_no_tampering(logs: Logs, tmp_path: Path) -> None:
    url = logs.copy(COPY, "template_outbound")
    long_ago = datetime(2020, 5, 5, tzinfo=UTC)

    async def run() -> fsck.Result:
        connection = await asyncpg.connect(url)
        try:
            await sequencer.create_month_tables(connection, long_ago)
            await grow(connection, logs.key, [5, 300], long_ago)
            await grow(connection, logs.key, [310], start())
            database = Database(url, pool=1, handlers=EVERYWHERE)
            moved = [each async for each in retention.archive_months(database, date(2020, 6, 1), tmp_path)]
            await database.close()
            assert [each.head.entries for each in moved] == [300]
            writer = await Sequencer.load(connection, utc_now, logs.key)
            await writer.run_pass()
        finally:
            await connection.close()
        return await checked(url, logs)

    result = asyncio.run(run())
    assert result.findings == []
    assert (result.leaves, result.archived) == (311, 300)


def test_the_command_ends_with_the_verdict(logs: Logs, tmp_path: Path) -> None:
    url = logs.copy(COPY)
    kept = tmp_path / "kept.note"
    kept.write_text(logs.note, encoding="utf-8")
    vkey = logs.key.signer(logs.origin).vkey

    def run() -> subprocess.CompletedProcess[str]:
        words = ("audit", "check", "--since", str(kept), "--vkey", vkey)
        return outbound(url, *words, OUTBOUND_DATA_DIR=str(tmp_path))

    whole = run()
    verdicts = ["The log is whole.", "The tables hold what the log says."]
    assert (whole.returncode, whole.stdout.splitlines()[-2:]) == (0, verdicts)
    asyncio.run(tampered(url, delete, random.Random(5)))  # noqa: S311
    broken = run()
    assert broken.returncode == 1
    assert broken.stdout.startswith("deleted: The log promises leaf ")
    assert "The log was tampered with: 1 findings." in broken.stderr


async def month_with_entries(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("select min(tableoid::regclass::text) from entries"))
    finally:
        await connection.close()


def test_the_database_itself_refuses_to_rewrite_the_log(logs: Logs) -> None:
    url = logs.copy(COPY)
    month = asyncio.run(month_with_entries(url))
    assert month.startswith("entries_2")
    for statement in (
        "delete from leaves",
        "update leaves set seq = seq + 1000",
        "truncate leaves",
        "update log_tiles set hashes = sha256('') where level = 0 and number = 0",
        "delete from log_tiles",
        "truncate log_tiles",
        "update checkpoints set note = ''",
        "delete from checkpoints",
        "truncate checkpoints cascade",
        "delete from log_keys",
        "update log_keys set vkey = 'x'",
        "truncate entries_default",
        "truncate " + month,
        "update " + month + " set actor = actor",  # noqa: S608
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            run_sql(url, statement)
