"""The baseline of the state: entries that say what the tables hold, where no entry says it, since a version before this one wrote it.

It says nothing of rows that an entry does say something of, save where a version before this one has written an entry on them since: so it
makes nothing true that somebody changed behind the log.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from service.audit import commitments, effects, recording, state
from service.audit.effects import WrittenRow
from service.audit.state import BASELINE_ACTION, Columns
from service.clock import rfc3339

ROWS_PER_ENTRY: Final = 1_000
"""Rows that are held at once, for as long as it takes to hash them."""

_ENTRY: Final = """
  insert into entries (at, actor, action, subject, handler, body, sha256) values ($1, $2, $3, $4, null, $5, $6) returning seq
"""
_OPENING: Final = "insert into openings (seq, at, pointer, salt, value) values ($1, $2, $3, $4, $5)"


async def write(connection: asyncpg.Connection) -> int:
    """Write what is missing, and return of how many rows.

    Args:
        connection: of the owner of the tables.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await state.check(connection)
    rows: dict[str, set[str]] = defaultdict(set)
    for table, key in found.unstated:
        rows[table].add(key)
    secret = await connection.fetchval("select key from column_key")
    if not found.is_begun:
        async with connection.transaction():
            await _add_entry(connection, secret, "", [])
    return sum([await write_rows(connection, secret, table, wanted) for table, wanted in rows.items()])


async def write_rows(connection: asyncpg.Connection, secret: bytes, table: str, wanted: AbstractSet[str]) -> int:
    """Say what some rows of a table hold, some at a time, in the order of their keys; return how many there were.

    Args:
        connection: of the owner of the tables.
        secret: of which the salts of columns are made.
        table: its name.
        wanted: keys of the rows.
    """
    columns = await Columns.load(connection, table)
    keys = ", ".join(columns.keys)
    places = ", ".join(f"${place}" for place in range(1, len(columns.keys) + 1))
    last: Sequence[Any] = ()
    count = 0
    while True:
        after = f" where ({keys}) > ({places})" if last else ""
        async with connection.transaction():
            read = await connection.fetch(
                f"{columns.query}{after} order by {keys} limit {ROWS_PER_ENTRY} for share", *last
            )
            if not read:
                return count
            written = [_written_row(columns, table, row) for row in read if columns.key_of(row) in wanted]
            if written:
                await _add_entry(connection, secret, table, written)
            count += len(written)
        last = read[-1][: len(columns.keys)]


def _written_row(columns: Columns, table: str, row: asyncpg.Record) -> WrittenRow:
    values = dict(zip(columns.names, row[len(columns.keys) :], strict=True))
    for place in columns.json:
        name = columns.names[place]
        values[name] = None if values[name] is None else json.loads(values[name])
    return WrittenRow(table, columns.key_of(row), True, values)


async def _add_entry(connection: asyncpg.Connection, secret: bytes, table: str, rows: Sequence[WrittenRow]) -> None:
    now = datetime.now(UTC)
    said = {
        "at": rfc3339(now),
        "actor": recording.OPERATOR,
        "action": BASELINE_ACTION,
        "subject": "state",
        "handler": None,
        "details": {"table": table, "rows": len(rows)},
    }
    made = recording.make_record(said, effects.opening_of(rows, secret, secrets.token_bytes(commitments.SALT_SIZE)))
    seq = await connection.fetchval(_ENTRY, now, made.actor, made.action, made.subject, made.body, made.sha256)
    for one in made.openings:
        await connection.execute(_OPENING, seq, now, one.pointer, one.salt, one.content)
