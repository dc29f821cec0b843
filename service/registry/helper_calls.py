"""Asks a helper process in the middle of a transaction."""

import asyncio
from typing import Any, Final

from sqlalchemy import text

from service.database.session import Transaction
from service.workers import Asks

_KEEPALIVE: Final = text("select 1")
_KEEPALIVE_SECONDS: Final = 1.5
"""Between two words to PostgreSQL: it ends a session that is silent in a transaction for some seconds."""


async def ask_helper(tx: Transaction, work: Asks, method: str, *arguments: Any) -> Any:
    """Return what a method of the work returns; however long that takes, PostgreSQL hears of the transaction."""
    answering = asyncio.ensure_future(work.ask(method, *arguments))
    try:
        while not (await asyncio.wait({answering}, timeout=_KEEPALIVE_SECONDS))[0]:
            await tx.execute(_KEEPALIVE)
        return answering.result()
    finally:
        answering.cancel()
