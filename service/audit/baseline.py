"""Writes the baseline of the state: entries with the effects of rows that a version without effects has written.

Leaves out rows that an entry with effects describes, unless an entry of such a version followed it: a baseline must not legalise a change
that was made behind the log.
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
"""Rows that are locked and hashed at once, and described by one entry."""

_ENTRY: Final = """
  insert into entries (at, actor, action, subject, handler, body, sha256) values ($1, $2, $3, $4, null, $5, $6) returning seq
"""
_OPENING: Final = "insert into openings (seq, at, pointer, salt, value) values ($1, $2, $3, $4, $5)"


async def write(connection: asyncpg.Connection) -> int:
    """Write the missing effects, and return the number of rows.

    Args:
        connection: connection of the owner of the tables.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        result = await state.check(connection)
    rows: dict[str, set[str]] = defaultdict(set)
    for table, key in result.unstated:
        rows[table].add(key)
    secret = await connection.fetchval("select key from column_key")
    if not result.is_begun:
        async with connection.transaction():
            await _add_entry(connection, secret, "", [])
    return sum([await write_rows(connection, secret, table, keys) for table, keys in rows.items()])


async def write_rows(connection: asyncpg.Connection, secret: bytes, table: str, keys_to_write: AbstractSet[str]) -> int:
    """Write the effects of some rows of a table in the order of their keys, and return the number of rows.

    Args:
        connection: connection of the owner of the tables.
        secret: key that the salts of columns derive from.
        table: name of the table.
        keys_to_write: keys of the rows.
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
            written = [_written_row(columns, table, row) for row in read if columns.key_of(row) in keys_to_write]
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
    content = {
        "at": rfc3339(now),
        "actor": recording.OPERATOR,
        "action": BASELINE_ACTION,
        "subject": "state",
        "handler": None,
        "details": {"table": table, "rows": len(rows)},
    }
    record = recording.make_record(
        content, effects.opening_of(rows, secret, secrets.token_bytes(commitments.SALT_SIZE))
    )
    seq = await connection.fetchval(
        _ENTRY, now, record.actor, record.action, record.subject, record.body, record.sha256
    )
    for opening in record.openings:
        await connection.execute(_OPENING, seq, now, opening.pointer, opening.salt, opening.content)
