"""Compares the tables with the effects that the entries of the log commit to, column by column. Part of `outbound audit check`.

1. Reads the openings of effects once, compares each with its commitment, and keeps the statements on each row.
2. Reads each table, and recomputes the hash of each column with the salt of the document that set it last.
3. Reports differing columns, rows that no act inserted, and missing rows.
4. Compares reservations with the entries of their decisions, recounts held quotas, and hashes files.

The fsck checks the entries themselves, in the same snapshot of the database.
"""

import hashlib
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from zlib import crc32

import asyncpg
import msgspec

from service.audit import effects, reservations
from service.audit.actions import AuditAction
from service.audit.commitments import SALT_SIZE
from service.audit.effects import COVERED_TABLES, POINTER, Group
from service.audit.pack_columns import HASH_SIZE, hash_value
from service.clock import rfc3339

MAX_STATEMENTS: Final = 400_000
"""Statements of the log in memory at once; beyond this the log is read several times, each time for other rows."""
PREFETCH_ROWS: Final = 2_000
"""Rows of a cursor that are fetched at once."""
MAX_DIFFERENCES: Final = 1_000
"""Differences that a result lists for each kind and table: many of one kind hide none of another."""
BASELINE_ACTION: Final = AuditAction.STATE_BASELINE
"""Action of entries that describe rows that no earlier entry describes."""
LONGEST_TRANSACTION: Final = timedelta(minutes=1)
"""Longer than any transaction that writes entries."""
_ID_LENGTH: Final = 29
"""Characters of an id."""

SETTINGS: Final = ("enable_seqscan", "enable_bitmapscan", "enable_nestloop", "enable_mergejoin")
"""Settings of the planner that the fsck turns off and this check needs."""

_DOCUMENTS: Final = f"""
  select o.seq, o.salt, o.value, e.at is null as is_gone,
         strpos(e.body, '"effects":{{"sealed":"sha256:' || encode(sha256(o.salt || convert_to(o.value, 'UTF8')), 'hex') || '"}}') > 0
           as is_sealed, e.action = '{BASELINE_ACTION}' as is_baseline, o.at
  from openings o left join entries e on e.seq = o.seq and e.at = o.at where o.pointer = '{POINTER}'
"""  # noqa: S608 - nothing of it comes from elsewhere  # nosec B608
_COUNT: Final = f"select count(*), sum(length(value)) from openings where pointer = '{POINTER}'"  # noqa: S608 - nor here  # nosec B608
_KEY: Final = "select key from column_key"
_FIRST: Final = "select body from entries order by seq limit 1"
_FIRST_BASELINE: Final = f"select min(at) from entries where action = '{BASELINE_ACTION}'"  # noqa: S608 - nor here  # nosec B608
_WITHOUT_EFFECTS: Final = """
  select seq, at, action, subject, body from entries
  where action not like 'gate.%' and action not like 'export.re%' and strpos(body, '"effects":') = 0 and at >= $1
"""
_ARCHIVED: Final = "select to_char(month, 'YYYY-MM') from archives order by month"
_COLUMNS: Final = """
  select a.attname, t.typname, coalesce(a.attnum = any (i.indkey), false) as is_key
  from pg_attribute a join pg_type t on t.oid = a.atttypid
  left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
  where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""

Kind = Literal["changed", "inserted", "deleted", "unproved", "unsealed", "reservation", "held", "file", "settings"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between a row and the effects in the log.

    Attributes:
        kind: kind of the difference.
        table: name of the table.
        row: key of the row.
        columns: differing columns; none if the row as a whole differs.
        detail: a sentence.
    """

    kind: Kind
    table: str
    row: str
    columns: tuple[str, ...]
    detail: str


@dataclass
class StateResult:
    """Result of the comparison of the tables with the log."""

    differences: list[Difference] = field(default_factory=list)
    counts: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """Number of differences by kind and table, unlisted ones included."""
    rows: int = 0
    documents: int = 0
    incomparable: list[str] = field(default_factory=list)
    """Sentences on rows that cannot be compared, which is no fault."""
    is_begun: bool = True
    """True if the log describes every row: it began with effects, or has a baseline."""
    unstated: list[tuple[str, str]] = field(default_factory=list)
    """Rows for the next baseline: a version without effects wrote them last."""

    def add(self, kind: Kind, table: str, row: str, columns: Sequence[str], detail: str) -> None:
        """Add a difference."""
        self.counts[kind, table] += 1
        if self.counts[kind, table] <= MAX_DIFFERENCES:
            self.differences.append(Difference(kind, table, row, tuple(columns), detail))

    def left_out(self) -> dict[tuple[Kind, str], int]:
        """Return the number of unlisted differences, by kind and table."""
        return {place: count - MAX_DIFFERENCES for place, count in self.counts.items() if count > MAX_DIFFERENCES}

    def add_incomparable(self, reason: str) -> None:
        """Add a sentence on something that cannot be compared."""
        if len(self.incomparable) < MAX_DIFFERENCES:
            self.incomparable.append(reason)


@dataclass(slots=True)
class _Statement:
    """Statement of a document on one row: the columns that were set, and their hashes."""

    seq: int
    salt: bytes
    columns: list[str]
    hashes: bytes
    is_insert: bool


async def check(
    connection: asyncpg.Connection, tables: Collection[str] = COVERED_TABLES, late: timedelta = LONGEST_TRANSACTION
) -> StateResult:
    """Compare the tables with the log.

    Args:
        connection: in a transaction with one snapshot of the database.
        tables: names of covered tables.
        late: longest transaction of a version without effects; a baseline does not cover what it commits later.
    """
    for name in SETTINGS:
        await connection.execute(f"set local {name} = on")
    return await _Comparison(connection, tables, late).run()


class _Comparison:
    def __init__(self, connection: asyncpg.Connection, tables: Collection[str], late: timedelta) -> None:
        self._connection = connection
        self._late = late
        self._tables = sorted(tables)
        self._state = StateResult()
        self._key = b""
        self._gone = 0
        self._silent: dict[str, tuple[int, datetime, str]] = {}
        """Last entry without effects by the id of its subject: number, time, and a description."""
        self._baselines: dict[int, datetime] = {}
        self._is_begun = True
        """True if the log describes every row: it began with effects, or has a baseline."""

    async def run(self) -> StateResult:
        """Compare all tables and return the result."""
        await self._learn()
        count, size = await self._connection.fetchrow(_COUNT)
        parts = max(1, -(-max(count, (size or 0) // 600) // MAX_STATEMENTS))
        for part in range(parts):
            statements = await self._read(part, parts)
            for table in self._tables:
                await self._compare(table, statements.pop(table, {}), part, parts)
        self._state.documents = count
        if self._gone:
            months = ", ".join(row[0] for row in await self._connection.fetch(_ARCHIVED))
            self._state.add_incomparable(
                f"{self._gone} entries that say what was written are in archived months ({months}): the tables are compared with their "
                "openings, whose commitments only the files hold."
            )
        for row, columns, detail in await reservations.find_differing_exports(self._connection):
            self._state.add("reservation", "exports", row, columns, detail)
        for table, row, detail in await reservations.find_wrong_quotas(self._connection):
            self._state.add("held", table, row, (), detail)
        for row, detail in await reservations.find_damaged_files(self._connection):
            self._state.add("file", "documents", row, ("content",), detail)
        return self._state

    async def _learn(self) -> None:
        """Load the key, the first baseline, and the later entries without effects."""
        self._key = await self._connection.fetchval(_KEY) or b""
        first = await self._connection.fetchval(_FIRST)
        begun = await self._connection.fetchval(_FIRST_BASELINE)
        self._is_begun = first is None or '"effects":' in first or begun is not None
        self._state.is_begun = self._is_begun
        for row in [] if begun is None else await self._connection.fetch(_WITHOUT_EFFECTS, begun - self._late):
            description = f"entry {row['seq']}, {row['action']} of {row['at']:%Y-%m-%d %H:%M}"
            for name in {row["subject"], *_find_ids(row["body"])}:
                self._silent[name] = row["seq"], row["at"], description
        if not self._is_begun:
            self._state.add_incomparable(
                "The log began with a version that did not say what it wrote, and no baseline has been written: "
                "run `outbound audit baseline`."
            )

    async def _read(self, part: int, parts: int) -> dict[str, dict[str, list[_Statement]]]:
        """Return the statements of the log on rows, by table and key, in the order of the log."""
        statements: dict[str, dict[str, list[_Statement]]] = {table: {} for table in self._tables}
        async for row in self._documents():
            if row["is_gone"]:
                self._gone += part == 0
            elif not row["is_sealed"]:
                if part == 0:
                    self._state.add(
                        "unsealed",
                        "openings",
                        str(row["seq"]),
                        (),
                        f"The stored effects of entry {row['seq']} do not match its commitment.",
                    )
                continue
            if row["is_baseline"]:
                self._baselines[row["seq"]] = row["at"]
            for group in _parse_groups(row["value"]):
                self._file(statements, group, row["seq"], row["salt"], part, parts)
        return statements

    def _file(
        self,
        statements: dict[str, dict[str, list[_Statement]]],
        group: Group,
        seq: int,
        salt: bytes,
        part: int,
        parts: int,
    ) -> None:
        rows = statements.get(group.table)
        if rows is None:
            return
        for key, hashes in group.rows.items():
            if parts == 1 or crc32(key.encode()) % parts == part:
                statement = _Statement(seq, salt, group.columns, b64decode(hashes), group.is_insert)
                rows.setdefault(key, []).append(statement)

    async def _documents(self) -> AsyncIterator[asyncpg.Record]:
        async for row in self._connection.cursor(_DOCUMENTS, prefetch=PREFETCH_ROWS):
            yield row

    async def _compare(self, table: str, statements: dict[str, list[_Statement]], part: int, parts: int) -> None:
        """Compare the rows of a table with the statements of the log."""
        columns = await Columns.load(self._connection, table)
        defaults = COVERED_TABLES[table].defaults
        async for row in self._connection.cursor(columns.query, prefetch=PREFETCH_ROWS):
            key = columns.key_of(row)
            if parts > 1 and crc32(key.encode()) % parts != part:
                continue
            self._state.rows += 1
            row_statements = statements.pop(key, None)
            if (
                row_statements is not None
                and len(row_statements) == 1
                and row_statements[0].columns == columns.names
                and self._hashed(key, columns, row, row_statements[0].salt) == row_statements[0].hashes
            ):
                continue
            self._compare_row(table, key, columns, row, row_statements, defaults)
        for key, row_statements in statements.items():
            if table in effects.IMPLIED_TABLES or any(statement.is_insert for statement in row_statements):
                self._state.add(
                    "deleted",
                    table,
                    key,
                    (),
                    f"{table} {key} is gone; entry {max(statement.seq for statement in row_statements)} wrote it.",
                )

    def _hashed(self, key: str, columns: "Columns", row: asyncpg.Record, salt: bytes) -> bytes:
        """Return the concatenated hashes of all columns of a row."""
        # Runs for each row of each table.
        sha256, begin, end = hashlib.sha256, self._key + salt, f"/{key}".encode()
        return b"".join(
            [
                sha256(sha256(begin + name + end).digest()[:SALT_SIZE] + content).digest()[:HASH_SIZE]
                for name, content in zip(columns.prefixes, columns.contents(row), strict=True)
            ]
        )

    def _compare_row(
        self,
        table: str,
        key: str,
        columns: "Columns",
        row: asyncpg.Record,
        statements: list[_Statement] | None,
        defaults: Mapping[str, Any],
    ) -> None:
        """Compare a row column by column, and report what differs."""
        if not any(statement.is_insert for statement in statements or ()) and table not in effects.IMPLIED_TABLES:
            if not self._excuse(table, key, statements):
                self._state.add(
                    "inserted", table, key, (), f"{table} {key} is in the table, and no entry says who put it there."
                )
            return
        last: dict[str, tuple[_Statement, int]] = {}
        for statement in sorted(statements or (), key=lambda each: each.seq):
            for place, name in enumerate(statement.columns):
                last[name] = statement, place
        wrong = []
        for name, content in zip(columns.names, columns.contents(row), strict=True):
            if name not in last:
                is_same = content == effects.canonical(defaults.get(name))
            else:
                statement, at = last[name]
                salt = effects.column_salt(self._key, statement.salt, table, key, name)
                is_same = hash_value(salt, content) == statement.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]
            if not is_same:
                wrong.append(name)
        if wrong and not self._excuse(table, key, statements):
            by = sorted({last[name][0].seq for name in wrong if name in last})
            detail = f"{table} {key}: {', '.join(wrong)} are not as written" + (
                f" by entry {', '.join(map(str, by))}." if by else ": by no entry."
            )
            self._state.add("changed", table, key, wrong, detail)

    def _excuse(self, table: str, key: str, statements: list[_Statement] | None) -> bool:
        """Return True if a version without effects may have written a row last, and note the row for the next baseline."""
        if not self._is_begun:
            self._state.unstated.append((table, key))
            return True
        by = next((self._silent[name] for name in (key, *key.split("/")) if name in self._silent), None)
        last = max((statement.seq for statement in statements or ()), default=0)
        if by is None or not (by[0] > last or (last in self._baselines and by[1] > self._baselines[last] - self._late)):
            return False
        self._state.unstated.append((table, key))
        self._state.add_incomparable(f"{table} {key} cannot be compared: written by the version before ({by[2]}).")
        return True


_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def encode_json_text(text: str) -> bytes:
    """Return the result of `effects.canonical` for a text of JSON, in a third of the time."""
    return _encode(_decode(text))


_ENCODERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    **dict.fromkeys(("json", "jsonb"), encode_json_text),
    **dict.fromkeys(("_text", "_varchar"), _encode),
    **dict.fromkeys(("text", "varchar"), effects.ENCODERS[str]),
    **dict.fromkeys(("int2", "int4", "int8"), effects.ENCODERS[int]),
    "timestamptz": lambda value: f'"{rfc3339(value)}"'.encode(),  # asyncpg returns UTC
}
"""Faster equivalents of `effects.canonical` by the type of a column."""
_NULL: Final = effects.canonical(None)


@dataclass(frozen=True, slots=True)
class Columns:
    """Compared columns of a table, by the catalog of the database."""

    keys: list[str]
    names: list[str]
    json: frozenset[int]
    """Places of the columns that hold JSON, which arrives as text."""
    encoders: list[Callable[[Any], bytes]]
    """Encoder of each column to canonical bytes."""
    query: str
    prefixes: list[bytes]
    """Table and name of each column, as its salt contains them."""

    @classmethod
    async def load(cls, connection: asyncpg.Connection, table: str) -> "Columns":
        """Load the columns of a table."""
        rows = await connection.fetch(_COLUMNS, table)
        keys = [row["attname"] for row in rows if row["is_key"]]
        kinds = {row["attname"]: row["typname"] for row in rows}
        names = sorted(set(kinds) - {*keys, *COVERED_TABLES[table].excluded})
        named = ", ".join(f'"{name}"' for name in (*keys, *names))
        json = frozenset(place for place, name in enumerate(names) if kinds[name] in ("json", "jsonb"))
        prefixes = [f"{table}/{name}".encode() for name in names]
        encoders = [_ENCODERS.get(kinds[name], effects.canonical) for name in names]
        return cls(keys, names, json, encoders, f"select {named} from {table}", prefixes)  # noqa: S608 - names of columns  # nosec B608

    def key_of(self, row: asyncpg.Record) -> str:
        """Return the key of a row."""
        return row[0] if len(self.keys) == 1 and isinstance(row[0], str) else effects.key_of(row[: len(self.keys)])

    def contents(self, row: asyncpg.Record) -> list[bytes]:
        """Return the canonical bytes of the columns that are compared."""
        values = row[len(self.keys) :]
        return [_NULL if value is None else of(value) for of, value in zip(self.encoders, values, strict=True)]


def _parse_groups(content: str) -> Sequence[Group]:
    try:
        return effects.parse_groups(content)
    except ValueError:
        return ()


def _find_ids(body: str) -> Iterator[str]:
    """Yield texts of a body that have the form of an id."""
    for text in body.split('"')[1::2]:
        if len(text) == _ID_LENGTH and text[2] == "_":
            yield text
