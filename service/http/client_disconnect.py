"""Cancels long work when its client disconnects; nothing of it is committed."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from fastapi import Request, Response

GONE: Final = 499
"""Status for the access log; no client reads it."""


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return the response of some work. If the client disconnects first, the work is cancelled and its transaction rolled back.

    Args:
        request: the request; its body has been read.
        work: makes the response.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(request))
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


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
