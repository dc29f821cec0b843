# ruff: noqa: S608 - names of tables and columns
"""What a PostgreSQL superuser can do to the tables: the check of the state names each row and column that no act wrote."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from hypothesis import given, strategies

from service.audit import effects, state
from service.audit.effects import COVERED_TABLES, EXCLUDED_TABLES
from service.audit.operations import canonical
from service.audit.pack_columns import hash_value
from service.audit.state import StateResult
from service.commands.database_access import bring_up, write_baseline
from service.database import migrate
from service.tables import METADATA
from tests.authz.things import Company
from tests.commands import outbound
from tests.conftest import apart, database_named, run_sql
from tests.faults.racing import times
from tests.feed import Feed, digits, hashes
from tests.world import World

SEEDS = range(times(1, 10))
OTHER: dict[str, Callable[[Any, random.Random], Any]] = {
    "text": lambda value, draw: (value or "") + draw.choice("xyz中"),
    "varchar": lambda _, draw: f"zz_{draw.getrandbits(125):026x}"[:29],
    "int2": lambda value, draw: (value or 0) + draw.choice([1, -1]),
    "int4": lambda value, draw: (value or 0) + draw.choice([1, -1, 1000]),
    "int8": lambda value, draw: (value or 0) + draw.choice([1, -1, 10**9]),
    "bool": lambda value, _: not value,
}
SQL: dict[str, tuple[str, ...]] = {
    "date": ("coalesce({0}, current_date) + 1", "coalesce({0}, current_date) - 400"),
    "timestamptz": ("coalesce({0}, now()) + interval '1 microsecond'", "coalesce({0}, now()) - interval '3 years'"),
    "bytea": ("coalesce({0}, '\\x00') || '\\x01'", "sha256(coalesce({0}, ''))"),
    "json": ("'{{\"tampered\": true}}'", "'[\"tampered\"]'"),
    "jsonb": ("'{{\"tampered\": true}}'", "'[\"tampered\"]'"),
    "_text": ("array_append(coalesce({0}, '{{}}'), 'core')", "'{{tampered}}'"),
    "_varchar": ("array_append(coalesce({0}, '{{}}'), 'zz')", "'{{tampered}}'"),
}
"""By the type of a column what makes another value of it."""
KEYS = """
  select attname from pg_attribute a join pg_index i on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
  where a.attrelid = to_regclass($1)
"""
TYPES = """
  select attname, typname, attnotnull from pg_attribute a join pg_type t on t.oid = atttypid
  where attrelid = to_regclass($1) and attnum > 0 and not attisdropped order by attname
"""


@pytest.fixture(scope="module")
def url(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the database of a company with at least one row in each table that is covered, and with little else."""
    with apart(postgres, "state", tmp_path_factory.mktemp("state"), pack_worker=True) as (world, made):
        fill(world, made)
        yield made


def fill(world: World, url: str) -> None:
    """Let there be at least one row in each table that is covered."""
    Company(world, url, is_whole=False)
    feed = Feed(world)
    feed.send({"person_hashes": digits(hashes(40))}, 50)
    assert world.exporter.get(f"/v1/handlers/{feed.handler['key']}/person-key").status_code == 200
    shown = world.submitted(feed.handler, [feed.dataset], feed.recipient, persons=10)
    world.requester.made(f"/v1/transfers/{shown['id']}/comments", {"text": "Is this fine?", "mentions": []})
    world.person("reviewer:privacy").made(f"/v1/transfers/{shown['id']}/recuse", {"reason": "My brother works there"})
    done = outbound(url, "login-link", "--principal", world.person("registrar").id)
    token = parse_qs(urlsplit(done.stdout.strip()).query)["token"][0]
    answer = world.http.post(
        "/login/link",
        data={"token": token},
        headers={"Origin": str(world.http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status_code == 303, answer.text


def as_superuser(url: str, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    """Do something that nothing in the database prevents, and take it back."""

    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            transaction = connection.transaction(isolation="repeatable_read")
            await transaction.start()
            await connection.execute("set local session_replication_role = replica")
            found = await work(connection)
            await transaction.rollback()
            return found
        finally:
            await connection.close()

    return asyncio.run(run())


async def drop_checks(connection: asyncpg.Connection, table: str) -> None:
    for row in await connection.fetch(
        "select conname from pg_constraint where conrelid = to_regclass($1) and contype = 'c'", table
    ):
        await connection.execute(f"alter table {table} drop constraint {row[0]}")


def named(found: StateResult) -> set[tuple[str, str, tuple[str, ...]]]:
    return {(one.table, one.row, one.columns) for one in found.differences}


def test_every_table_and_column_is_compared_or_has_a_reason() -> None:
    assert {*METADATA.tables} == {*COVERED_TABLES, *EXCLUDED_TABLES}
    assert not {*COVERED_TABLES} & {*EXCLUDED_TABLES}
    for name, covered in COVERED_TABLES.items():
        columns = {column.name for column in METADATA.tables[name].columns}
        assert {*covered.excluded} <= columns, name
        assert all(covered.excluded.values())
    assert all(EXCLUDED_TABLES.values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("table", sorted(COVERED_TABLES))
def test_each_column_that_somebody_changed_is_named(url: str, table: str, seed: int) -> None:
    draw = random.Random(f"{table} {seed}")  # noqa: S311

    async def tamper(connection: asyncpg.Connection) -> list[str]:
        keys = [row[0] for row in await connection.fetch(KEYS, table)]
        rows = await connection.fetch(f"select * from {table} order by {', '.join(keys)}")
        assert rows, f"nothing is in {table}"
        types = await connection.fetch(TYPES, table)
        await drop_checks(connection, table)
        missed = []
        for column, kind, is_needed in types:
            if column in keys or (column in COVERED_TABLES[table].excluded and table not in {"exports", "documents"}):
                continue
            row = draw.choice(rows)
            which = " and ".join(f"{key} = ${place}" for place, key in enumerate(keys, start=1))
            values = [row[key] for key in keys]
            await connection.execute("savepoint tampering")
            if not is_needed and row[column] not in (None, "null") and draw.random() < 0.3:
                await connection.execute(f'update {table} set "{column}" = null where {which}', *values)
            elif kind in OTHER:
                new = OTHER[kind](row[column], draw)
                await connection.execute(
                    f'update {table} set "{column}" = ${len(keys) + 1} where {which}', *values, new
                )
            else:
                new = draw.choice(SQL[kind]).format(f'"{column}"')
                await connection.execute(f'update {table} set "{column}" = {new} where {which}', *values)
            found = named(await state.check(connection, [table]))
            key = effects.key_of(values)
            if not any(one[:2] == (table, key) and (column in one[2] or one[2] == ("content",)) for one in found):
                missed.append(f"{table} {key}: {column} {row[column]!r}")
            await connection.execute("rollback to savepoint tampering")
        return missed

    assert as_superuser(url, tamper) == []


@pytest.mark.parametrize("table", sorted(COVERED_TABLES))
def test_a_row_that_somebody_put_in_or_took_out_is_named(url: str, table: str) -> None:
    async def tamper(connection: asyncpg.Connection) -> tuple[set[Any], set[Any], str, str]:
        keys = [row[0] for row in await connection.fetch(KEYS, table)]
        types = {row[0]: row[1] for row in await connection.fetch(TYPES, table)}
        order = "persons" if table == "ledger_years" else ", ".join(keys)
        row = await connection.fetchrow(f"select * from {table} order by {order} desc limit 1")
        which = " and ".join(f"{key} = ${place}" for place, key in enumerate(keys, start=1))
        values = [row[key] for key in keys]
        await connection.execute("savepoint tampering")
        await connection.execute(f"delete from {table} where {which}", *values)
        gone = named(await state.check(connection, [table]))
        await connection.execute("rollback to savepoint tampering")
        for index in await connection.fetch(
            "select indexrelid::regclass::text, conname from pg_index left join pg_constraint on conindid = indexrelid"
            " where indrelid = to_regclass($1) and indisunique and not indisprimary",
            table,
        ):
            await connection.execute(
                f"alter table {table} drop constraint {index[1]}" if index[1] else f"drop index {index[0]}"
            )
        last = keys[-1]
        draw = random.Random(table)  # noqa: S311
        new = hashlib.sha256(b"new").digest() if types[last] == "bytea" else OTHER[types[last]](row[last], draw)
        columns = ", ".join(f'"{name}"' for name in types)
        copied = ", ".join("$1" if name == last else f'"{name}"' for name in types)
        where = " and ".join(f"{key} = ${place}" for place, key in enumerate(keys, start=2))
        override = " overriding system value" if table == "events" else ""
        await connection.execute(
            f"insert into {table} ({columns}){override} select {copied} from {table} where {where}", new, *values
        )
        put = named(await state.check(connection, [table]))
        changed = [new if key == last else row[key] for key in keys]
        return gone, put, effects.key_of(values), effects.key_of(changed)

    gone, put, old, new = as_superuser(url, tamper)
    assert any(one[:2] == (table, old) for one in gone)
    assert any(one[:2] == (table, new) for one in put)


def test_many_differences_hide_none_of_another_kind_or_in_another_table(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_DIFFERENCES", 3)

    async def tamper(connection: asyncpg.Connection) -> tuple[StateResult, int, str]:
        count = await connection.fetchval("select count(*) from events")
        await connection.execute("delete from events")
        await connection.execute("update grants set valid_from = valid_from - 1")
        put = await connection.fetchval(
            "insert into grants select (json_populate_record(g, json_build_object('id', 'gr_00000000000000000000000009', 'principal', "
            "'pr_00000000000000000000000009'))).* from grants g limit 1 returning id"
        )
        return await state.check(connection), count, put

    found, count, put = as_superuser(url, tamper)
    told = Counter((one.kind, one.table) for one in found.differences)
    assert told["deleted", "events"] == told["changed", "grants"] == 3
    assert [one.row for one in found.differences if one.kind == "inserted"] == [put]
    assert found.left_out()["deleted", "events"] == count - 3
    assert found.counts.total() == len(found.differences) + sum(found.left_out().values())


def test_what_nobody_changed_is_named_nowhere(url: str) -> None:
    found: StateResult = as_superuser(url, state.check)
    assert [one.detail for one in found.differences] == []
    assert found.incomparable == []
    assert found.rows > 100


# The version before


def old_entry(subject: str, action: str, ago: timedelta) -> tuple[object, ...]:
    """Return an entry as a version before this one wrote them: it says nothing of rows."""
    at = datetime.now(UTC) - ago
    said = {"at": at, "actor": "operator", "action": action, "subject": subject, "handler": None, "details": {}}
    body = canonical(said)
    return at, "operator", action, subject, body.decode(), hashlib.sha256(body).digest()


def write_old(url: str, statement: str, subject: str, action: str, ago: timedelta = timedelta()) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.execute(
            "insert into entries (at, actor, action, subject, body, sha256) values ($1, $2, $3, $4, $5, $6)",
            *old_entry(subject, action, ago),
        )
        await connection.close()

    asyncio.run(run())


def checked(url: str) -> StateResult:
    found: StateResult = as_superuser(url, lambda connection: state.check(connection, late=timedelta()))
    return found


def told(found: StateResult) -> list[tuple[str, str]]:
    return [(one.kind, one.row) for one in found.differences]


FIRST, SECOND = ("pr_00000000000000000000000001", "pr_00000000000000000000000002")


@pytest.fixture
def before(postgres: str) -> Iterator[str]:
    """A database that the version before has made and filled."""
    name = f"before_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    run_sql(postgres, f"drop database if exists {name}", f"create database {name} template template_outbound")
    url = database_named(postgres, name)
    migrate.downgrade(url, "0015")
    for place, one in enumerate((FIRST, SECOND)):
        made = f"insert into principals values ('{one}', 'Yu {place}', 'person', now(), null, 'yu {place}')"
        write_old(url, made, one, "principal.created", timedelta(hours=1))
    yield url
    run_sql(postgres, f"drop database {name}")


def test_a_database_of_before_is_compared_from_its_migration_on(before: str) -> None:
    migrate.upgrade(before)
    found = checked(before)
    assert told(found) == []
    assert found.incomparable == [
        "The log began with a version that did not say what it wrote, and no baseline has been written: run `outbound audit baseline`."
    ]
    assert write_baseline(before) == 2
    assert (told(checked(before)), checked(before).incomparable) == ([], [])
    run_sql(before, f"update principals set kind = 'system' where id = '{FIRST}'")
    assert told(checked(before)) == [("changed", FIRST)]
    assert write_baseline(before) == 0
    assert told(checked(before)) == [("changed", FIRST)]


def test_what_the_version_before_writes_beside_this_one_is_not_compared_until_the_next_baseline(before: str) -> None:
    assert bring_up(before) == 2
    assert bring_up(before) is None
    write_old(before, f"update principals set disabled_at = now() where id = '{FIRST}'", FIRST, "principal.disabled")
    found = checked(before)
    assert told(found) == []
    assert [one.partition(":")[0] for one in found.incomparable] == [f"principals {FIRST} cannot be compared"]
    assert write_baseline(before) == 1
    assert (told(checked(before)), checked(before).incomparable) == ([], [])
    run_sql(before, f"update principals set disabled_at = null where id in ('{FIRST}', '{SECOND}')")
    assert told(checked(before)) == [("changed", FIRST)]


def test_migrating_back_and_again_keeps_what_entries_say(before: str) -> None:
    assert bring_up(before) == 2
    migrate.downgrade(before, "0015")
    write_old(before, f"update principals set disabled_at = now() where id = '{SECOND}'", SECOND, "principal.disabled")
    assert bring_up(before) == 1
    assert (told(checked(before)), checked(before).incomparable) == ([], [])


# The hashes


@given(
    strategies.recursive(
        strategies.none()
        | strategies.booleans()
        | strategies.integers(-(2**53), 2**53)
        | strategies.text(strategies.characters(exclude_categories=["Cs"])),
        lambda inner: (
            strategies.lists(inner)
            | strategies.dictionaries(strategies.text(strategies.characters(exclude_categories=["Cs"])), inner)
        ),
        max_leaves=8,
    )
)
def test_the_hash_of_a_value_takes_nothing_but_the_standard_library(value: Any) -> None:
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert effects.canonical(value) == plain
    assert state.encode_json_text(plain.decode()) == plain


def test_a_column_is_checked_by_its_own_salt_alone() -> None:
    rows = [effects.WrittenRow("permits", "pm_1", True, {"persons": 500, "purpose": "analytics"})]
    opening = effects.opening_of(rows, b"k" * 32, b"s" * 16)
    (group,) = effects.parse_groups(opening.content)
    salts = [effects.column_salt(b"k" * 32, b"s" * 16, "permits", "pm_1", name) for name in group.columns]
    assert group.columns == ["persons", "purpose"]
    assert group.hash_of("pm_1", "persons") == hash_value(salts[0], b"500")
    assert group.hash_of("pm_1", "purpose") == hash_value(salts[1], b'"analytics"')
    assert len({*salts, effects.column_salt(b"k" * 32, b"s" * 16, "permits", "pm_2", "persons")}) == 3
    with pytest.raises(ValueError, match="table"):
        effects.parse_groups('[{"rows":{}}]')
