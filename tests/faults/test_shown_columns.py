"""What a PostgreSQL superuser changes in any column that a pack shows is noticed by whoever verifies the pack."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.audit import pack_columns
from service.verifier import pack
from tests.faults.racing import times
from tests.packing import Used, packed
from tests.world import World

Place = tuple[str, str, str]

KEYS = {
    "handlers": "id",
    "datasets": "id",
    "gradings": "dataset || '/' || number",
    "recipients": "id",
    "transfers": "id",
    "revisions": "transfer || '/' || number",
    "stages": "transfer || '/' || revision || '/' || place",
    "reviews": "id",
    "evidence": "id",
    "documents": "encode(sha256, 'hex')",
    "permits": "id",
    "permit_datasets": "permit || '/' || dataset",
    "obligations": "id",
    "ledger_years": "handler || '/' || year",
    "principals": "id",
}
"""Of each table that a pack shows, its key as it stands in what entries seal."""

OTHERS = {
    ("permits", "status"): "'suspended'",
    ("transfers", "status"): "'withdrawn'",
    ("stages", "status"): "case when status = 'approved' then 'open' else 'approved' end",
    ("stages", "name"): "case when name = 'legal' then 'security' else 'legal' end",
    ("reviews", "stage"): "case when stage = 'legal' then 'security' else 'legal' end",
    ("reviews", "decision"): "case when decision = 'approve' then 'reject' else 'approve' end",
    ("gradings", "state"): "case when state = 'pending' then 'effective' else 'pending' end",
    ("gradings", "tags"): "array['core']",
    ("permit_datasets", "tags"): "array['core']",
    ("datasets", "tags"): "array['core']",
    ("recipients", "country"): "case when country = 'SG' then 'DE' else 'SG' end",
    ("recipients", "kind"): "case when kind = 'company' then 'foreign_authority' else 'company' end",
    ("obligations", "state"): "case when state = 'done' then 'open' else 'done' end",
    ("evidence", "kind"): "case when kind = 'pia' then 'other' else 'pia' end",
    ("documents", "media_type"): "'text/plain'",
    ("evidence", "document"): "decode(repeat('00', 32), 'hex')",
    ("principals", "kind"): "case when kind = 'person' then 'system' else 'person' end",
    ("permits", "mechanism"): "case when mechanism = 'exempt' then 'security_assessment' else 'exempt' end",
    ("permits", "route"): "case when route = 'certification' then 'standard_contract' else 'certification' end",
}
"""Other values of columns that have only some."""
LEFT = {("evidence", "document"), ("revisions", "content"), ("revisions", "determination")}
"""Columns without which no pack can be made: they are changed in the records, in `tests/api/test_verify.py`."""


def other(kind: str, name: str) -> str:
    """Return an expression for another value of a column, by its type."""
    quoted = f'"{name}"'
    if kind in {"int4", "int8", "int2"}:
        return f"coalesce({quoted}, 0) + 1"
    if kind == "bool":
        return f"not {quoted}"
    if kind == "date":
        return f"coalesce({quoted}, date '2026-01-02') + 1"
    if kind == "timestamptz":
        return f"coalesce({quoted}, now()) + interval '1 second'"
    if kind.startswith("_"):
        return f"array_append({quoted}, 'more')"
    if kind in {"json", "jsonb"}:
        return (
            f"case json_typeof({quoted}::json) when 'object' then ({quoted}::jsonb || '{{\"persons\": 987}}')::{kind} "
            f"when 'array' then ({quoted}::jsonb || '[]'::jsonb || coalesce({quoted}::jsonb -> 0, '\"more\"'))::{kind} "
            f"else '[\"more\"]'::{kind} end"
        )
    return f"translate(coalesce({quoted}, 'abc'), 'aeiou01234', 'eiouae9876')"


async def change(url: str, places: list[Place]) -> list[tuple[Place, Any]]:
    """Change cells as a superuser; return what they held."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set session_replication_role = replica")
        held = []
        for table, row, column in places:
            kind = await connection.fetchval(
                "select t.typname from pg_attribute a join pg_type t on t.oid = a.atttypid "
                "where a.attrelid = to_regclass($1) and a.attname = $2",
                table,
                column,
            )
            where = f"{KEYS[table]} = $1"
            before = await connection.fetchval(f'select "{column}"::text from {table} where {where}', row)  # noqa: S608
            made = OTHERS.get((table, column)) or other(kind, column)
            done = await connection.execute(f'update {table} set "{column}" = {made} where {where}', row)  # noqa: S608
            assert done == "UPDATE 1", (table, row, column)
            after = await connection.fetchval(f'select "{column}"::text from {table} where {where}', row)  # noqa: S608
            assert after != before, (table, row, column, before)
            held.append(((table, row, column), (kind, before)))
        return held
    finally:
        await connection.close()


async def restore(url: str, held: list[tuple[Place, Any]]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("set session_replication_role = replica")
        for (table, row, column), (kind, before) in reversed(held):
            cast = f"{kind.removeprefix('_')}[]" if kind.startswith("_") else kind
            await connection.execute(
                f'update {table} set "{column}" = $2::text::{cast} where {KEYS[table]} = $1',  # noqa: S608
                row,
                before,
            )
    finally:
        await connection.close()


@contextmanager
def changed(url: str, places: list[Place]) -> Iterator[None]:
    held = asyncio.run(change(url, places))
    try:
        yield
    finally:
        asyncio.run(restore(url, held))


@pytest.fixture(scope="module")
def used(world: World) -> Used:
    return Used(world)


@pytest.fixture(scope="module")
def places(world: World, used: Used, tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    """Every cell that a pack of the permit shows."""
    whole = pack.Verification(packed(world, tmp_path_factory.mktemp("whole"), permit=used.permit))
    whole.run()
    assert pack.code(whole) == 0, list(pack.sentences(whole))
    return [
        cell.place
        for kind in pack_columns.RECORD_KINDS
        for record in whole.pack.records(kind)
        for cell in pack_columns.cells_of(kind, record)
        if (cell.table, cell.column) not in LEFT
    ]


MOVING = {
    (table, column)
    for table, column in (
        *(("transfers", "handler"), ("permits", "handler"), ("permits", "transfer"), ("permits", "recipient")),
        *(("reviews", "transfer"), ("evidence", "transfer"), ("obligations", "transfer"), ("obligations", "handler")),
        *(("transfers", "datasets"), ("transfers", "recipient"), ("permits", "evidence")),
    )
}
"""Columns by which a pack finds what belongs to it: a row that moves away is missing, and that is what is noticed."""


def test_a_change_of_any_column_that_a_pack_shows_is_noticed(
    world: World, used: Used, places: list[Place], database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(23)  # noqa: S311
    columns = sorted({(table, column) for table, _, column in places} - MOVING)
    assert len(columns) > 80
    for _ in range(times(1, 20)):
        # One cell of every column, each in a row that is drawn.
        drawn = [chance.choice([one for one in places if (one[0], one[2]) == column]) for column in columns]
        with changed(database_url, drawn):
            found = pack.verify(packed(world, tmp_path, permit=used.permit))
        assert pack.code(found) == 1
        assert set(drawn) - found.differing == set()


def test_what_is_moved_out_of_a_pack_is_noticed(
    world: World, used: Used, places: list[Place], database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(29)  # noqa: S311
    moving = [one for one in places if (one[0], one[2]) in MOVING and (one[0], one[2]) != ("permits", "transfer")]
    for place in chance.sample(moving, times(2, len(moving))):
        with changed(database_url, [place]):
            assert pack.code(pack.verify(packed(world, tmp_path, permit=used.permit))) == 1, place
