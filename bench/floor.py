"""How fast PostgreSQL itself takes the rows of decisions: the floor of every design that keeps them."""

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import asyncpg

from bench.request import Run
from service.database.ids import new_id

DECISIONS: Final = 1_000
TEXTS: Final = ("character varying", "text")


def post(url: str, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Send JSON to a server of this run, and return its answer."""
    request = urllib.request.Request(  # noqa: S310 - http on 127.0.0.1
        url, data=body.encode(), headers={"Content-Type": "application/json", **headers}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
        told: dict[str, Any] = json.load(answer)
        return told


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that decisions are written to.

    Args:
        name: its name.
        statement: inserts rows into a table of the same columns and indexes.
        columns: the rows of a thousand decisions, column by column.
        fresh: places of the columns in which no value may come twice.
    """

    name: str
    statement: str
    columns: list[list[Any]]
    fresh: list[int]

    def arguments(self) -> list[list[Any]]:
        """Return the rows once more, as other rows."""
        return [
            [new_id(str(value)[:2]) for value in column] if place in self.fresh else column
            for place, column in enumerate(self.columns)
        ]


class Rows:
    """The rows that the gate writes for a thousand decisions, found by asking it for them, in tables of their own.

    Args:
        url: the database.
        decide: asks the gate for `DECISIONS` decisions.
    """

    def __init__(self, url: str, decide: Callable[[], None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._url = url
        self._decide = decide
        self._tables: list[_Table] = []

    def __enter__(self) -> Self:
        """Look at what the gate writes."""
        self._connection = self._loop.run_until_complete(asyncpg.connect(self._url, command_timeout=120))
        self._loop.run_until_complete(self._learn())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the database."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def told(self) -> str:
        """Return in words what is written."""
        return ", ".join(f"{len(table.columns[0]):,} rows of `{table.name}`" for table in self._tables)

    def insert(self, seconds: float) -> Run:
        """Insert them over and over for some seconds, each thousand decisions in a transaction of its own."""
        return self._loop.run_until_complete(self._insert(seconds))

    async def _counts(self) -> Mapping[str, int]:
        names = await self._connection.fetch(
            "select relname from pg_class where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace"
            " and relname not like 'floor\\_%' order by relname"
        )
        counted = {}
        for (name,) in names:
            counted[name] = await self._connection.fetchval(f'select count(*) from "{name}"')  # noqa: S608
        return counted

    async def _learn(self) -> None:
        before = await self._counts()
        await asyncio.to_thread(self._decide)
        after = await self._counts()
        for name, count in after.items():
            grown = count - before.get(name, 0)
            # What is written once a request, whatever it asks, is no row of a decision.
            if grown >= DECISIONS:
                self._tables.append(await self._table(name, grown))
        if not self._tables:
            raise RuntimeError("The gate answered a thousand questions and wrote no row for them.")

    async def _table(self, name: str, grown: int) -> _Table:
        await self._connection.execute(f'create table "floor_{name}" (like "{name}" including all)')
        columns = await self._connection.fetch(
            "select attname, format_type(atttypid, null), attnum = any(select unnest(indkey) from pg_index"
            " where indrelid = attrelid and indisunique and indnatts = 1) from pg_attribute where attrelid = $1::regclass"
            " and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = '' and not exists (select from pg_attrdef"
            " where adrelid = attrelid and adnum = attnum and pg_get_expr(adbin, adrelid) like '%nextval(%') order by attnum",
            name,
        )
        # An array of arrays would be unnested to its last member: such a column travels as text.
        kinds = [("text", f"::{kind}") if kind.endswith("[]") else (kind, "") for _, kind, _ in columns]
        read = ", ".join(
            f'"{column[0]}"{"::text" if cast else ""}' for column, (_, cast) in zip(columns, kinds, strict=True)
        )
        rows = await self._connection.fetch(f'select {read} from "{name}" order by ctid desc limit {grown}')  # noqa: S608
        named = ", ".join(f'"{column[0]}"' for column in columns)
        values = ", ".join(f"c{place}{cast}" for place, (_, cast) in enumerate(kinds))
        arrays = ", ".join(f"${place}::{kind}[]" for place, (kind, _) in enumerate(kinds, 1))
        aliases = ", ".join(f"c{place}" for place in range(len(kinds)))
        return _Table(
            name,
            f'insert into "floor_{name}" ({named}) select {values} from unnest({arrays}) as u({aliases})',  # noqa: S608
            [list(column) for column in zip(*rows, strict=True)],
            [place for place, (_, kind, is_unique) in enumerate(columns) if is_unique and kind in TEXTS],
        )

    async def _insert(self, seconds: float) -> Run:
        statements = [(table, await self._connection.prepare(table.statement)) for table in self._tables]
        taken: list[float] = []
        while sum(taken) < seconds:
            work = [(statement, table.arguments()) for table, statement in statements]
            began = time.perf_counter()
            async with self._connection.transaction():
                for statement, arguments in work:
                    await statement.fetch(*arguments)
            taken.append(time.perf_counter() - began)
        p99 = statistics.quantiles(taken, n=100)[98] if len(taken) > 1 else taken[0]
        return Run(
            rate=len(taken) / sum(taken),
            median=statistics.median(taken) * 1000,
            p99=p99 * 1000,
            statuses={200: len(taken)},
            wrong=0,
            decisions=DECISIONS,
        )
