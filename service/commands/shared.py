"""What several commands need: the database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import service.tables  # noqa: F401 - a table that is written to refers to those of other rooms
from service import migrate
from service.commands.failing import fail
from service.database import Database, DatabaseAwayError, Transaction
from service.embedded import EmbeddedServer
from service.settings import Settings
from service.tenancy import EVERYWHERE

Result = TypeVar("Result")


@contextmanager
def database_url(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """Give the address of the database: the external one, or the embedded one for as long as it is needed."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if migrated:
            _demand_current(url)
        yield url
        return
    with EmbeddedServer(settings.data_dir) as server:
        if migrated:
            migrate.upgrade(server.url)
        yield server.url


def _demand_current(url: str) -> None:
    try:
        current = migrate.current(url)
    except Exception as error:
        raise DatabaseAwayError(type(error).__name__) from error
    if current != migrate.head():
        fail(
            f"The database is at revision {current or 'none'}, this version needs {migrate.head()}. Run `outbound migrate` first."
        )


def in_transaction(work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    """Do some work in one transaction that sees all handlers."""
    return with_database(lambda database: database.transaction(work))


def with_database(work: Callable[[Database], Awaitable[Result]], timeout: float | None = None) -> Result:
    """Do some work on the database, with one connection; `timeout`: seconds for a statement, where not as it is set."""
    settings = Settings()

    async def run(url: str) -> Result:
        database = Database(url, pool=1, timeout=timeout or settings.database_timeout_seconds, reach=EVERYWHERE)
        try:
            return await work(database)
        finally:
            await database.close()

    with database_url(settings) as url:
        return asyncio.run(run(url))
