"""Alembic's environment: one connection through asyncpg, and one migration at a time."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text

from service.connections import LONG_SILENCE, Bounds
from service.database.migrate import is_no_partition
from service.database.session import watched_engine
from service.tables import METADATA

MIGRATION_LOCK = 0x0B0C


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, compare_type=True, include_name=is_no_partition)
    with context.begin_transaction():
        connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def _connect() -> None:
    engine = watched_engine(
        context.config.attributes["url"], "outbound migrate", Bounds(silence=LONG_SILENCE), poolclass=pool.NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_connect())
