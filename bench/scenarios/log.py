"""The log: what it costs decisions, how fast it takes them in, what proofs cost in a long one, and what a full check takes."""

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncpg

from bench.contestants import outbound
from bench.register import Register
from bench.report import Bar, Section, at_least, figure, ratio_told, table
from bench.servers import ended
from bench.stage import Rounds, Stage, Target, say
from service.audit.log import fsck, proofs
from service.audit.log.fsck_workers import WorkerPool, count_processors
from service.audit.log.leader import SETTINGS
from service.audit.log.log_key import LogKey
from service.audit.log.sequencer import CHUNK_LEAVES, Sequencer
from service.audit.tlog import merkle, tiles
from service.audit.tlog.merkle import HASH_SIZE, leaf_hash
from service.audit.tlog.tiles import TreeEdge
from service.clock import utc_now
from service.database.session import Database

ON: Final = "the log going"
OFF: Final = "the log standing still"
SMALL: Final = 10_000
PROOFS: Final = 200
MOST_MEMORY: Final = 300

ENTRIES: Final = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select at, 'pr_bench', 'gate.evaluated', subject, 'hd_bench', body, sha256(convert_to(body, 'UTF8')) from (
    select at, 'ev_' || n as subject, '{"action":"gate.evaluated","actor":"pr_bench","at":"'
      || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || '","details":{"number":' || n || ',"padding":"'
      || repeat(md5(n::text), 16) || '"},"handler":"hd_bench","subject":"ev_' || n || '"}' as body
    from (select n, date_trunc('second', now()) as at from generate_series(1, $1::int) n) numbered
  ) made
"""
"""Entries of the length that those of decisions have."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """What a proof takes in a log of a size: milliseconds and rows, the median."""

    milliseconds: float
    rows: float


@dataclass(frozen=True, slots=True)
class Checked:
    """Seconds that it takes to read and hash all entries, and to check the log; MiB that the command held at its peak."""

    reading: float
    checking: float
    peak: float


def run(stage: Stage) -> Section:
    """Measure all four, each in databases of their own."""
    is_full = stage.pace.sizes[2] >= 1_000_000  # noqa: PLR2004 - as the bars have it
    large, entries = (10_000_000, 1_000_000) if is_full else (300_000, 50_000)
    key = LogKey(stage.folder / outbound.LOG_KEY)
    rounds, rate = _evaluations(stage, key)
    small = stage.register(stage.pace.sizes[0])
    urls = {size: _copy(stage, f"log_of_{size}", small).url for size in (SMALL, large)}
    proved = {size: asyncio.run(_proofs(url, size)) for size, url in urls.items()}
    checked = _checks(stage, key, entries)
    return _section(rounds, rate, proved, (entries, checked))


def _copy(stage: Stage, name: str, of: Register) -> Register:
    return replace(of, url=stage.cluster.copy(name, f"register_{of.size}"))


def _evaluations(stage: Stage, key: LogKey) -> tuple[Rounds, float]:
    """Ask two servers the same, one of which keeps its log going; then let the log of the other take all in at once."""
    small = stage.register(stage.pace.sizes[0])
    registers = {ON: _copy(stage, "log_on", small), OFF: _copy(stage, "log_off", small)}
    with ExitStack() as stack:
        targets = {}
        for name, register in registers.items():
            folder = stage.folder / f"outbound-{name.replace(' ', '-')}"
            server = stack.enter_context(outbound.serve(register.url, folder, sequencer=name == ON))
            targets[name] = Target(outbound.evaluation(server.base, register.key, register.size), server)
        rounds = stage.interleave("log", targets)
    return rounds, asyncio.run(_sequence(registers[OFF].url, key))


async def _sequence(url: str, key: LogKey) -> float:
    """Take in all entries that wait, and return how many a second."""
    connection = await asyncpg.connect(url, server_settings=SETTINGS)
    try:
        writer = await Sequencer.load(connection, utc_now, key, "bench.example/log")
        before: int = await connection.fetchval("select size from log_state")
        began, is_more = time.monotonic(), True
        while is_more:
            _, is_more = await writer.run_pass()
        seconds = time.monotonic() - began
        taken: int = await connection.fetchval("select size from log_state") - before
    finally:
        await connection.close()
    say(f"  log: {taken:,} entries taken in, {taken / seconds:,.0f}/s")
    return taken / seconds


async def _proofs(url: str, size: int) -> Proofs:
    """Make the tiles of a log of a size, and prove leaves and beginnings at random."""
    connection = await asyncpg.connect(url)
    try:
        await _fill(connection, size)
    finally:
        await connection.close()
    database = Database(url, pool=1)
    try:
        taken = []
        for number in range(PROOFS):
            leaf, old = random.randrange(size), random.randrange(1, size)  # noqa: S311 - load, no secret
            began = time.perf_counter()
            if number % 2:
                await database.transaction(lambda tx, leaf=leaf: proofs.inclusion(tx, leaf, size))
            else:
                await database.transaction(lambda tx, old=old: proofs.consistency(tx, old, size))
            taken.append((1000 * (time.perf_counter() - began), _rows(leaf, old, size, is_inclusion=bool(number % 2))))
    finally:
        await database.close()
    return Proofs(statistics.median(each[0] for each in taken), max(each[1] for each in taken))


def _rows(leaf: int, old: int, size: int, *, is_inclusion: bool) -> int:
    """Return how many tiles a proof reads; besides, it reads one row for the size of the log."""
    steps = merkle.inclusion_nodes(leaf, size) if is_inclusion else merkle.consistency_nodes(old, size)
    ends = [(0, leaf)] if is_inclusion else merkle.peaks(old)
    return len(tiles.tiles_for([*ends, *merkle.peaks(size), *(each for step in steps for each in step)]))


async def _fill(connection: asyncpg.Connection, size: int) -> None:
    """Store the tiles of a tree whose leaves are random."""
    edge, columns = TreeEdge(), ["level", "number", "hashes"]
    await connection.execute(
        "set session_replication_role = replica; delete from log_tiles; reset session_replication_role"
    )
    for first in range(0, size, CHUNK_LEAVES):
        count = min(CHUNK_LEAVES, size - first)
        changed = edge.append(os.urandom(count * HASH_SIZE))
        full = [(*tile, held) for tile, held in changed.items() if len(held) == tiles.FULL]
        await connection.copy_records_to_table("log_tiles", records=full, columns=columns)
    rest = [(*tile, held) for tile, held in edge.tiles().items()]
    await connection.copy_records_to_table("log_tiles", records=rest, columns=columns)
    await connection.execute("update log_state set size = $1", size)
    await connection.execute("analyze log_tiles")


def _checks(stage: Stage, key: LogKey, entries: int) -> list[Checked]:
    """Read and hash, and check, round by round, a log of entries as long as those of decisions."""
    url = _copy(stage, "log_to_check", stage.register(stage.pace.sizes[0])).url

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(ENTRIES.replace("$1", str(entries)))
        await connection.execute("analyze")
        await connection.close()

    asyncio.run(fill())
    asyncio.run(_sequence(url, key))
    done = []
    for number in range(stage.pace.rounds):
        reading, checking = (asyncio.run(_timed(url, work)) for work in (_read, _check_with(url, key)))
        done.append(Checked(reading, checking, _peak(url, key, stage.folder)))
        say(f"  log, round {number + 1}: read in {reading:.1f} s, checked in {checking:.1f} s, {done[-1].peak:.0f} MiB")
    return done


async def _timed(url: str, work: Callable[[asyncpg.Connection], Awaitable[None]]) -> float:
    connection = await asyncpg.connect(url, server_settings=fsck.SETTINGS)
    try:
        began = time.monotonic()
        await work(connection)
        return time.monotonic() - began
    finally:
        await connection.close()


async def _read(connection: asyncpg.Connection) -> None:
    """Read and hash the entries, and nothing else."""
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor("select body from entries order by seq")
        while rows := await cursor.fetch(CHUNK_LEAVES):
            for row in rows:
                leaf_hash(row[0].encode())


def _check_with(url: str, key: LogKey) -> Callable[[asyncpg.Connection], Awaitable[None]]:
    async def work(connection: asyncpg.Connection) -> None:
        origin = await connection.fetchval("select origin from log_state")
        result = await fsck.check(connection, [key.signer(origin).verifier], hasher=WorkerPool(url, count_processors()))
        if result.findings:
            raise RuntimeError(f"The check of an untouched log finds {result.findings[:3]}")

    return work


def _peak(url: str, key: LogKey, folder: Path) -> float:
    """Run the command, and return the most memory that it held, in MiB."""
    settings = {"OUTBOUND_DATABASE_URL": url, "OUTBOUND_LOG_KEY_FILE": str(key.path), "OUTBOUND_DATA_DIR": str(folder)}
    return ended([sys.executable, "-m", "service.cli", "audit", "check"], **settings).peak


def _section(rounds: Rounds, rate: float, proved: dict[int, Proofs], done: tuple[int, list[Checked]]) -> Section:
    entries, checked = done
    (small, least), (large, most) = proved.items()
    evaluations = rounds.median(OFF)
    ratio = statistics.median(each.checking / each.reading for each in checked)
    peak = max(each.peak for each in checked)
    times = most.milliseconds / least.milliseconds
    return Section(
        "log",
        {
            "evaluations": table(
                ("", "requests/s", "p99, ms"),
                [[name, figure(rounds.median(name)), figure(rounds.p99(name), 1)] for name in (OFF, ON)],
            ),
            "rate": figure(rate),
            "proofs": table(
                ("entries", "ms a proof", "tiles read at most"),
                [[f"{size:,}", figure(each.milliseconds, 2), figure(each.rows)] for size, each in proved.items()],
            ),
            "entries": f"{entries:,}",
            "reading": figure(statistics.median(each.reading for each in checked), 1),
            "checking": figure(statistics.median(each.checking for each in checked), 1),
            "peak": figure(peak),
        },
        bars=[
            at_least("evaluation with the log going against without", 0.9, rounds.ratio(ON, OFF)),
            at_least("entries taken into the log against evaluations", 2.0, evaluations and rate / evaluations),
            Bar(
                f"a proof in a log of {large:,} against one of {small:,}",
                "at most 2 times the time",
                f"{ratio_told(times)} times, {most.rows:.0f} tiles against {least.rows:.0f}",
                times <= 2,  # noqa: PLR2004 - the bar
            ),
            Bar(
                f"a full check of {entries:,} entries against reading and hashing them",
                f"at most 3 times, and under {MOST_MEMORY} MiB",
                f"{ratio_told(ratio)} times, {peak:.0f} MiB at its peak",
                ratio <= 3 and peak < MOST_MEMORY,  # noqa: PLR2004 - the bar
            ),
        ],
    )
