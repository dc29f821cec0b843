"""The check of the state: what it takes to hold every row against the log, against reading the same rows and documents."""

import asyncio
import statistics
import time
from base64 import b64decode
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from bench.register import Register
from bench.report import Bar, Section, figure, ratio_told, table
from bench.stage import Stage, say
from service.audit import baseline, effects, state
from service.audit.effects import COVERED_TABLES, POINTER

MOST: Final = 5.0
"""Times the reading at most."""
ROWS: Final = 2_000
DOCUMENTS: Final = f"select seq, salt, value from openings where pointer = '{POINTER}'"  # noqa: S608 - no caller's text is in it


@dataclass(frozen=True, slots=True)
class Checked:
    """Seconds that it takes to read the rows and documents, and to check them; how many rows there are."""

    reading: float
    checking: float
    rows: int


def run(stage: Stage) -> Section:
    """Measure on a copy of the middle register, of which a baseline says what it holds."""
    middle = stage.register(stage.pace.sizes[1])
    register = replace(middle, url=stage.cluster.copy("state", f"register_{middle.size}"))
    rounds = asyncio.run(_measured(stage, register))
    return _section(rounds)


async def _measured(stage: Stage, register: Register) -> list[Checked]:
    connection = await asyncpg.connect(register.url)
    try:
        await _state_all(connection)
        rounds = []
        for number in range(stage.pace.rounds):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                began = time.monotonic()
                await _read(connection)
                read = time.monotonic()
                found = await state.check(connection)
                done = time.monotonic()
            if found.differences or found.incomparable:
                stage.fail(f"state: {len(found.differences)} differences that nobody made")
            rounds.append(Checked(read - began, done - read, found.rows))
            say(
                f"  state, round {number + 1}: read in {rounds[-1].reading:.1f} s, checked in {rounds[-1].checking:.1f} s"
            )
        return rounds
    finally:
        await connection.close()


async def _state_all(connection: asyncpg.Connection) -> None:
    """Have entries say what the tables hold: the register was multiplied behind the log."""
    secret = await connection.fetchval("select key from column_key")
    for name in COVERED_TABLES:
        columns = await state.Columns.load(connection, name)
        keys = {columns.key_of(row) for row in await connection.fetch(columns.query)}
        await baseline.write_rows(connection, secret, name, keys)
    await connection.execute("analyze")


async def _read(connection: asyncpg.Connection) -> None:
    """Read what the check reads: each row, and each document with what it says of rows."""
    cursor = await connection.cursor(DOCUMENTS)
    while rows := await cursor.fetch(ROWS):
        for row in rows:
            for group in effects.parse_groups(row["value"]):
                for hashes in group.rows.values():
                    b64decode(hashes)
    for name in COVERED_TABLES:
        cursor = await connection.cursor((await state.Columns.load(connection, name)).query)
        while await cursor.fetch(ROWS):
            pass


def _section(rounds: list[Checked]) -> Section:
    ratio = statistics.median(one.checking / one.reading for one in rounds)
    reading, checking = (statistics.median(getattr(one, name) for one in rounds) for name in ("reading", "checking"))
    head = ("rows", "read, s", "checked, s", "times")
    rows = [[f"{rounds[0].rows:,}", figure(reading, 1), figure(checking, 1), figure(ratio, 2)]]
    bar = Bar(
        "the check of the state against reading the same rows and documents",
        f"at most {MOST:.0f} times",
        f"{ratio_told(ratio)} times",
        ratio <= MOST,
    )
    return Section("state", {"table": table(head, rows)}, bars=[bar])
