"""Compares the installed read of the gate with its SQL file and with the columns that the service reads by name."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from inspect import signature
from pathlib import Path

import asyncpg
import pytest

import service
from service.gate import batch_read
from service.gate.batch_read import CALLER_COLUMNS, COLUMNS, DATASET_COLUMNS, PERMIT_COLUMNS, READ

SERVICE = Path(service.__file__).parent
INSTALLED = {
    "gate/sql/gate_read_2.sql": "6b0ce02569463b73929957cab4e60ae320682fe65ebda31f4205e0c758037d1b",
}
"""SHA-256 of each file whose statements a migration has installed. A line is added with a new file, and never changed."""
FILE = SERVICE / "gate/sql/gate_read_2.sql"


def test_a_file_that_a_migration_has_installed_is_never_edited() -> None:
    hashes = {
        path.relative_to(SERVICE).as_posix(): sha256(path.read_bytes()).hexdigest() for path in SERVICE.rglob("*.sql")
    }
    assert hashes == INSTALLED


def test_a_database_migrated_from_nothing_has_the_function_of_the_file(empty_database: str) -> None:
    statement = FILE.read_text("utf-8")
    source = statement.split("$read$")[1]

    async def run() -> tuple[str, str, str]:
        connection = await asyncpg.connect(empty_database)
        transaction = connection.transaction()
        await transaction.start()
        try:
            installed = await connection.fetchrow(
                "select prosrc, pg_get_functiondef(oid) as definition from pg_proc where proname = 'gate_read_2'"
            )
            await connection.execute(statement.replace("function gate_read_2", "function as_in_the_file"))
            anew = await connection.fetchval("select pg_get_functiondef('as_in_the_file'::regproc)")
        finally:
            await transaction.rollback()
            await connection.close()
        return installed["prosrc"], installed["definition"], anew.replace("as_in_the_file", "gate_read_2")

    stored, definition, anew = asyncio.run(run())
    assert stored == source
    assert definition == anew


def test_the_gate_reads_each_column_of_the_function_by_its_name(empty_database: str) -> None:
    async def run() -> tuple[list[str], list[str]]:
        connection = await asyncpg.connect(empty_database)
        try:
            of_function = await connection.fetchval("""
                select array_agg(name order by place)
                from pg_proc, unnest(proargnames, proargmodes) with ordinality as a(name, mode, place)
                where proname = 'gate_read_2' and mode = 't'
            """)
            return of_function, [column.name for column in (await connection.prepare(READ)).get_attributes()]
        finally:
            await connection.close()

    of_function, selected = asyncio.run(run())
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert sorted(of_function) == sorted(COLUMNS)
    assert selected == list(COLUMNS)


@pytest.mark.parametrize(
    ("parser", "columns"),
    [("_build_snapshot", DATASET_COLUMNS), ("_holder", CALLER_COLUMNS), ("_permit", PERMIT_COLUMNS)],
)
def test_each_group_of_columns_goes_to_parameters_of_the_same_names(parser: str, columns: tuple[str, ...]) -> None:
    parameters = list(signature(getattr(batch_read, parser)).parameters)
    assert parameters[-len(columns) :] == list(columns)
    assert parameters[: -len(columns)] in ([], ["holder", "permits", "today"])
