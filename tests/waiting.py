"""Waits for what happens elsewhere: in another process, in PostgreSQL, in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Found = TypeVar("Found")
PAUSE = 0.02


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 120) -> None:
    """Wait for a condition, and fail if it does not come."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - nothing here is told when it comes
            await asyncio.sleep(0.002)


def seen(look: Callable[[], Found | None], seconds: float = 120) -> Found:
    """Look again and again until there is something to see, and return it; fail if there never is."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(PAUSE)
    return found
