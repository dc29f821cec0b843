"""Bringing a database to the schema of this version, and telling whether it is there."""

import asyncio
import re
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.connections import Bounds
from service.database import watched_engine

_PARTITION = re.compile(r".+_(\d{4}_\d\d|default)")
ROWS = 500
"""Rows that one transaction fills in, at most."""
_BESIDE = Path(__file__).parent / "migrations"
_IN_CHECKOUT = Path(__file__).parent.parent / "migrations"
DIRECTORY = _BESIDE if _BESIDE.is_dir() else _IN_CHECKOUT


def config(database_url: str) -> Config:
    """Return Alembic's configuration for a database."""
    made = Config()
    made.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    made.attributes["url"] = database_url
    return made


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to a revision, alone: a second process that tries waits, and then finds it done."""
    command.upgrade(config(database_url), revision)
    asyncio.run(fill(database_url))


async def fill(database_url: str) -> None:
    """Fill in what gradings of before looked at, some rows a transaction; what was interrupted goes on at the next migration."""
    engine = watched_engine(database_url, "outbound", Bounds(statement=600.0), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            is_there = text("select to_regproc('fill_graded_fields') is not null")
            while await connection.scalar(is_there) and await connection.scalar(
                text(f"select fill_graded_fields({ROWS})")
            ):
                pass
    finally:
        await engine.dispose()


def downgrade(database_url: str, revision: str) -> None:
    """Take the database back to an earlier revision."""
    command.downgrade(config(database_url), revision)


def head() -> str | None:
    """Return the revision of this version of the service."""
    return ScriptDirectory(str(DIRECTORY)).get_current_head()


def is_no_partition(name: str | None, kind: str, _parents: object) -> bool:
    """Tell whether Alembic compares a thing with the models: the months of a partitioned table come and go."""
    return kind != "table" or name is None or _PARTITION.fullmatch(name) is None


def current(database_url: str) -> str | None:
    """Return the revision that the database is at; None: it has none of our tables."""

    def ask(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    async def connect() -> str | None:
        engine = watched_engine(database_url, "outbound", Bounds(statement=10.0))
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(ask)
        finally:
            await engine.dispose()

    return asyncio.run(connect())
