"""Calls helper processes within a transaction, and keeps its connection alive meanwhile."""

import asyncio
from typing import Any, Final

from sqlalchemy import text

from service.database.session import Transaction
from service.workers import Executor

_KEEPALIVE: Final = text("select 1")
_KEEPALIVE_SECONDS: Final = 1.5
"""Seconds between two keep-alive statements: PostgreSQL ends a session that is idle in a transaction for some seconds."""


async def ask_helper(tx: Transaction, work: Executor, method: str, *arguments: Any) -> Any:
    """Return the result of a method of the helper; send PostgreSQL a statement at intervals until then.

    Example:
        count: int = await ask_helper(tx, plan, "count_chunks")
    """
    answer = asyncio.ensure_future(work.ask(method, *arguments))
    try:
        while not (await asyncio.wait({answer}, timeout=_KEEPALIVE_SECONDS))[0]:
            await tx.execute(_KEEPALIVE)
        return answer.result()
    finally:
        answer.cancel()
