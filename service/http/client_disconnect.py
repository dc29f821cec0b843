"""A caller that goes away ends the work that was for it: what it asked for is long, and nobody would be told."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from fastapi import Request, Response

GONE: Final = 499
"""For our own log; nobody is there to be answered."""


async def while_there(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return what the work returns; where the caller goes away before that, the work is cancelled, and its transaction rolled back.

    Args:
        request: whose body has been read.
        work: answers it.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return Response(status_code=GONE)
        return working.result()
    finally:
        for task in (leaving, working):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
