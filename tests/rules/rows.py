"""Rows written to a real PostgreSQL for one comparison, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.connections import Bounds
from service.database.session import watched_engine

MIDNIGHT = datetime(2026, 3, 9, 16, tzinfo=UTC)
"""A day begins in Shanghai."""
TICK = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
INSTANTS = [MIDNIGHT - TICK, MIDNIGHT, MIDNIGHT + 9 * HOUR]
"""Instants at which SQL and Python are compared: the last and the first of a day, and one within it."""


@asynccontextmanager
async def written_and_taken_back(url: str) -> AsyncIterator[AsyncConnection]:
    """Give a connection whose rows need none of the rows that they refer to, and are gone afterwards."""
    engine = watched_engine(url, "outbound", Bounds(statement=60.0))
    try:
        async with engine.connect() as connection:
            await connection.execute(text("set local session_replication_role = replica"))
            yield connection
            await connection.rollback()
    finally:
        await engine.dispose()


_FILLERS: dict[type, Any] = {
    str: "x",
    int: 0,
    bool: False,
    bytes: b"",
    list: [],
    date: MIDNIGHT.date(),
    datetime: MIDNIGHT,
}


def filled(table: Any, **values: Any) -> dict[str, Any]:
    """Return a row with the values, and with something of the right type in each other column that must not be null."""
    for column in table.__table__.columns:
        if column.name not in values and not column.nullable and column.server_default is None:
            values[column.name] = {} if isinstance(column.type, JSON) else _FILLERS[column.type.python_type]
    return values
