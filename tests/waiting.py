"""Waits for changes elsewhere: in another process, in PostgreSQL, in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
PAUSE = 0.02


async def until(
    condition: Callable[[], Awaitable[Any]],
    seconds: float = 120,
    *,
    pause: float = 0.002,
    state: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Wait for a condition.

    Args:
        condition: is tried until it returns something true.
        seconds: time-out.
        pause: seconds between two attempts.
        state: what to report with the failure.

    Raises:
        TimeoutError: the condition was not met in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - no event announces it
                await asyncio.sleep(pause)
    except TimeoutError:
        if state is None:
            raise
        raise TimeoutError(await state()) from None


def seen(look: Callable[[], Result | None], seconds: float = 120, *, pause: float = PAUSE) -> Result:
    """Wait for a result without asyncio, and return it.

    Args:
        look: is tried until it returns something true.
        seconds: time-out.
        pause: seconds between two attempts.

    Raises:
        AssertionError: there was no result in time.
    """
    end = time.monotonic() + seconds
    while not (result := look()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(pause)
    return result
