"""The check of the state: the tables are compared with what the entries of the log say was written, column by column.

1. What opens the effects of entries is read once, and compared with its seal; of each row is kept which documents say what of it.
2. Table by table the rows are read in the order of their keys, and each column's hash is computed again with the salt of the document
   that set it last.
3. What differs is named by table, row and column; so is a row that no act made, and one that is gone.
4. Reservations are compared with the entries of their decisions, what they hold is added up again, files are hashed again.

The entries themselves are checked by the full check of the log, in the same view of the database.
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
"""Statements of the log that are kept in memory at once: of more of them the log is read several times, each time for other rows."""
PREFETCH_ROWS: Final = 2_000
"""Rows of a table that are read at once."""
MAX_DIFFERENCES: Final = 1_000
"""Differences of one kind in one table that are told one by one: many of them hide none of another kind, or in another table."""
BASELINE_ACTION: Final = AuditAction.STATE_BASELINE
"""The action of entries that say what the tables held, where no entry from before says it."""
LONGEST_TRANSACTION: Final = timedelta(minutes=1)
"""No transaction that writes entries takes as long."""
_ID_LENGTH: Final = 29
"""Characters of an id."""

SETTINGS: Final = ("enable_seqscan", "enable_bitmapscan", "enable_nestloop", "enable_mergejoin")
"""What the full check of the log turns off, and this one needs."""

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
    """One thing that the tables hold and no act wrote, or the other way round.

    Attributes:
        kind: what of.
        table: where.
        row: key of the row.
        columns: the columns that differ; none where it is about the row as a whole.
        detail: a sentence.
    """

    kind: Kind
    table: str
    row: str
    columns: tuple[str, ...]
    detail: str


@dataclass
class StateResult:
    """What the check of the state has seen."""

    differences: list[Difference] = field(default_factory=list)
    counts: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    """How many there are by kind and table, those that are not told one by one included."""
    rows: int = 0
    documents: int = 0
    incomparable: list[str] = field(default_factory=list)
    """What cannot be compared, and why: no fault."""
    is_begun: bool = True
    """Whether the log says of every row what it holds: it began so, or a baseline has been written."""
    unstated: list[tuple[str, str]] = field(default_factory=list)
    """Rows that a version wrote which said nothing of them: what the next baseline says."""

    def add(self, kind: Kind, table: str, row: str, columns: Sequence[str], detail: str) -> None:
        """Add a difference."""
        self.counts[kind, table] += 1
        if self.counts[kind, table] <= MAX_DIFFERENCES:
            self.differences.append(Difference(kind, table, row, tuple(columns), detail))

    def left_out(self) -> dict[tuple[Kind, str], int]:
        """Return how many are not told one by one, by kind and table."""
        return {place: count - MAX_DIFFERENCES for place, count in self.counts.items() if count > MAX_DIFFERENCES}

    def add_incomparable(self, reason: str) -> None:
        """Add a sentence on something that cannot be compared."""
        if len(self.incomparable) < MAX_DIFFERENCES:
            self.incomparable.append(reason)


@dataclass(slots=True)
class _Statement:
    """What a document says of one row: the columns that it set, and their hashes."""

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
        connection: in a transaction that sees one moment of the database from its beginning.
        tables: which of those that are covered.
        late: how long before a baseline a version from before may have begun what it wrote after it.
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
        """Of each thing the last entry of a version that said nothing of what it wrote: number, moment, and words for people."""
        self._baselines: dict[int, datetime] = {}
        self._is_begun = True
        """Whether the log says of every row what it holds: it began so, or a baseline has been written."""

    async def run(self) -> StateResult:
        """Compare everything."""
        await self._learn()
        statements, size = await self._connection.fetchrow(_COUNT)
        parts = max(1, -(-max(statements, (size or 0) // 600) // MAX_STATEMENTS))
        for part in range(parts):
            said = await self._read(part, parts)
            for table in self._tables:
                await self._compare(table, said.pop(table, {}), part, parts)
        self._state.documents = statements
        if self._gone:
            months = ", ".join(row[0] for row in await self._connection.fetch(_ARCHIVED))
            self._state.add_incomparable(
                f"{self._gone} entries that say what was written are in archived months ({months}): the tables are compared with what is "
                "kept of them, whose seals only the files hold."
            )
        for row, columns, told in await reservations.find_differing_exports(self._connection):
            self._state.add("reservation", "exports", row, columns, told)
        for table, row, told in await reservations.find_wrong_quotas(self._connection):
            self._state.add("held", table, row, (), told)
        for row, told in await reservations.find_damaged_files(self._connection):
            self._state.add("file", "documents", row, ("content",), told)
        return self._state

    async def _learn(self) -> None:
        """Find out since when entries say what was written, and which of them, by a version from before, do not."""
        self._key = await self._connection.fetchval(_KEY) or b""
        first = await self._connection.fetchval(_FIRST)
        begun = await self._connection.fetchval(_FIRST_BASELINE)
        self._is_begun = first is None or '"effects":' in first or begun is not None
        self._state.is_begun = self._is_begun
        for row in [] if begun is None else await self._connection.fetch(_WITHOUT_EFFECTS, begun - self._late):
            told = f"entry {row['seq']}, {row['action']} of {row['at']:%Y-%m-%d %H:%M}"
            for name in {row["subject"], *_find_ids(row["body"])}:
                self._silent[name] = row["seq"], row["at"], told
        if not self._is_begun:
            self._state.add_incomparable(
                "The log began with a version that did not say what it wrote, and no baseline has been written: "
                "run `outbound audit baseline`."
            )

    async def _read(self, part: int, parts: int) -> dict[str, dict[str, list[_Statement]]]:
        """Return what the log says of rows: by table and key, in the order of the log."""
        found: dict[str, dict[str, list[_Statement]]] = {table: {} for table in self._tables}
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
                        f"What entry {row['seq']} is said to have written is not what it sealed.",
                    )
                continue
            if row["is_baseline"]:
                self._baselines[row["seq"]] = row["at"]
            for group in _parse_groups(row["value"]):
                self._file(found, group, row["seq"], row["salt"], part, parts)
        return found

    def _file(
        self, found: dict[str, dict[str, list[_Statement]]], group: Group, seq: int, salt: bytes, part: int, parts: int
    ) -> None:
        rows = found.get(group.table)
        if rows is None:
            return
        for key, hashes in group.rows.items():
            if parts == 1 or crc32(key.encode()) % parts == part:
                said = _Statement(seq, salt, group.columns, b64decode(hashes), group.is_insert)
                rows.setdefault(key, []).append(said)

    async def _documents(self) -> AsyncIterator[asyncpg.Record]:
        async for row in self._connection.cursor(_DOCUMENTS, prefetch=PREFETCH_ROWS):
            yield row

    async def _compare(self, table: str, said: dict[str, list[_Statement]], part: int, parts: int) -> None:
        """Compare the rows of a table with what the log says of them."""
        columns = await Columns.load(self._connection, table)
        unsaid = COVERED_TABLES[table].defaults
        async for row in self._connection.cursor(columns.query, prefetch=PREFETCH_ROWS):
            key = columns.key_of(row)
            if parts > 1 and crc32(key.encode()) % parts != part:
                continue
            self._state.rows += 1
            found = said.pop(key, None)
            if (
                found is not None
                and len(found) == 1
                and found[0].columns == columns.names
                and self._hashed(key, columns, row, found[0].salt) == found[0].hashes
            ):
                continue
            self._compare_row(table, key, columns, row, found, unsaid)
        for key, found in said.items():
            if table in effects.IMPLIED_TABLES or any(one.is_insert for one in found):
                self._state.add(
                    "deleted", table, key, (), f"{table} {key} is gone; entry {max(one.seq for one in found)} wrote it."
                )

    def _hashed(self, key: str, columns: "Columns", row: asyncpg.Record, salt: bytes) -> bytes:
        """Return the hashes of all columns of a row side by side; it is done for each row, and kept short."""
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
        said: list[_Statement] | None,
        unsaid: Mapping[str, Any],
    ) -> None:
        """Look at a row column by column."""
        if not any(one.is_insert for one in said or ()) and table not in effects.IMPLIED_TABLES:
            if not self._excuse(table, key, said):
                self._state.add(
                    "inserted", table, key, (), f"{table} {key} is in the table, and no entry says who put it there."
                )
            return
        last: dict[str, tuple[_Statement, int]] = {}
        for one in sorted(said or (), key=lambda each: each.seq):
            for place, name in enumerate(one.columns):
                last[name] = one, place
        wrong = []
        for name, content in zip(columns.names, columns.contents(row), strict=True):
            if name not in last:
                is_same = content == effects.canonical(unsaid.get(name))
            else:
                one, at = last[name]
                salt = effects.column_salt(self._key, one.salt, table, key, name)
                is_same = hash_value(salt, content) == one.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]
            if not is_same:
                wrong.append(name)
        if wrong and not self._excuse(table, key, said):
            by = sorted({last[name][0].seq for name in wrong if name in last})
            told = f"{table} {key}: {', '.join(wrong)} are not as written" + (
                f" by entry {', '.join(map(str, by))}." if by else ": by no entry."
            )
            self._state.add("changed", table, key, wrong, told)

    def _excuse(self, table: str, key: str, said: list[_Statement] | None) -> bool:
        """Tell whether a row may have been written by a version that did not say what it wrote; it is then for the next baseline."""
        if not self._is_begun:
            self._state.unstated.append((table, key))
            return True
        by = next((self._silent[name] for name in (key, *key.split("/")) if name in self._silent), None)
        last = max((one.seq for one in said or ()), default=0)
        if by is None or not (by[0] > last or (last in self._baselines and by[1] > self._baselines[last] - self._late)):
            return False
        self._state.unstated.append((table, key))
        self._state.add_incomparable(f"{table} {key} cannot be compared: written by the version before ({by[2]}).")
        return True


_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def encode_json_text(text: str) -> bytes:
    """Return what `effects.canonical` makes of a text of JSON, in a third of the time."""
    return _encode(_decode(text))


_ENCODERS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    **dict.fromkeys(("json", "jsonb"), encode_json_text),
    **dict.fromkeys(("_text", "_varchar"), _encode),
    **dict.fromkeys(("text", "varchar"), effects.ENCODERS[str]),
    **dict.fromkeys(("int2", "int4", "int8"), effects.ENCODERS[int]),
    "timestamptz": lambda value: f'"{rfc3339(value)}"'.encode(),  # it comes in UTC
}
"""By the type of a column what `effects.canonical` makes of its values: these are most, and each goes through here."""
_NULL: Final = effects.canonical(None)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that are compared, as the database has them."""

    keys: list[str]
    names: list[str]
    json: frozenset[int]
    """Places of those that hold JSON, which comes as text."""
    makers: list[Callable[[Any], bytes]]
    """What makes the canonical bytes of each."""
    query: str
    prefixes: list[bytes]
    """What the name of a column begins with where its salt is made."""

    @classmethod
    async def load(cls, connection: asyncpg.Connection, table: str) -> "Columns":
        """Return those of a table."""
        rows = await connection.fetch(_COLUMNS, table)
        keys = [row["attname"] for row in rows if row["is_key"]]
        kinds = {row["attname"]: row["typname"] for row in rows}
        names = sorted(set(kinds) - {*keys, *COVERED_TABLES[table].excluded})
        named = ", ".join(f'"{name}"' for name in (*keys, *names))
        json = frozenset(place for place, name in enumerate(names) if kinds[name] in ("json", "jsonb"))
        prefixes = [f"{table}/{name}".encode() for name in names]
        made = [_ENCODERS.get(kinds[name], effects.canonical) for name in names]
        return cls(keys, names, json, made, f"select {named} from {table}", prefixes)  # noqa: S608 - names of columns  # nosec B608

    def key_of(self, row: asyncpg.Record) -> str:
        """Return the key of a row."""
        return row[0] if len(self.keys) == 1 and isinstance(row[0], str) else effects.key_of(row[: len(self.keys)])

    def contents(self, row: asyncpg.Record) -> list[bytes]:
        """Return the canonical bytes of the columns that are compared."""
        values = row[len(self.keys) :]
        return [_NULL if value is None else of(value) for of, value in zip(self.makers, values, strict=True)]


def _parse_groups(content: str) -> Sequence[Group]:
    try:
        return effects.parse_groups(content)
    except ValueError:
        return ()


def _find_ids(body: str) -> Iterator[str]:
    """Yield what looks like an id in a body."""
    for text in body.split('"')[1::2]:
        if len(text) == _ID_LENGTH and text[2] == "_":
            yield text
