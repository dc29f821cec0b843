"""Migrates a database to the schema of this version, and checks its revision."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.connections import Bounds
from service.database.faults import is_conflict, is_lock_timeout, pause
from service.database.session import ATTEMPTS, watched_engine

_PARTITION = re.compile(r".+_(\d{4}_\d\d|default)")
_IN_PACKAGE = Path(__file__).parents[1] / "migrations"
_IN_CHECKOUT = Path(__file__).parents[2] / "migrations"
DIRECTORY = _IN_PACKAGE if _IN_PACKAGE.is_dir() else _IN_CHECKOUT


def config(database_url: str) -> Config:
    """Return Alembic's configuration for a database."""
    configuration = Config()
    configuration.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    configuration.attributes["url"] = database_url
    return configuration


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to a revision, alone: a second process that tries waits, and then finds it done."""
    command.upgrade(config(database_url), revision)
    asyncio.run(fill(database_url))


async def fill(database_url: str) -> None:
    """Fill in what rows of before have in new columns, some rows a transaction; what was interrupted goes on at the next migration.

    A migration names what fills rows in as `FILLS`: functions of a connection and of what they returned last, at first "". None ends it.
    """
    engine = watched_engine(database_url, "outbound migrate", Bounds(statement=600.0))
    try:
        async with engine.connect() as connection:
            at = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
        scripts = list(ScriptDirectory(str(DIRECTORY)).iterate_revisions(at, "base"))
        for step in [step for script in reversed(scripts) for step in getattr(script.module, "FILLS", ())]:
            after: str | None = ""
            while after is not None:
                after = await _filled(engine, step, after)
    finally:
        await engine.dispose()


async def _filled(engine: AsyncEngine, step: Callable[[Connection, str], str | None], after: str) -> str | None:
    """Take one step in its own transaction: again where the service was in the way."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(step, after)
        except DBAPIError as error:
            is_taken = isinstance(error, IntegrityError)
            if attempt == ATTEMPTS or not (is_taken or is_conflict(error) or is_lock_timeout(error)):
                raise
            await pause(attempt)
    raise AssertionError("unreachable")  # pragma: no cover


def downgrade(database_url: str, revision: str) -> None:
    """Take the database back to an earlier revision."""
    command.downgrade(config(database_url), revision)


def head() -> str | None:
    """Return the revision of this version of the service."""
    return ScriptDirectory(str(DIRECTORY)).get_current_head()


def is_no_partition(name: str | None, kind: str, _parents: object) -> bool:
    """Return True if Alembic compares a thing with the models: the months of a partitioned table come and go."""
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
