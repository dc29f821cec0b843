"""Helper processes for the work of a request: CPU time, memory and waiting are bounded, and excess is answered with a problem.

Example:
    async with helper_for(request, exchange.client_key, import_plan.ImportPlan, content) as reading:
        faults = await reading.ask("faults")
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import Request

from service.validation.problems import Busy, Invalid, TookTooLong
from service.workers import Executor, HelperEndedError, HelperPool, InProcess, QueueFullError

log = structlog.get_logger("outbound")

SECONDS: Final = 300.0
"""Limit of the work for one request, without the wait for a helper."""
WAIT_SECONDS: Final = 60.0
"""Limit of the wait for a helper."""


class TooMuchWork(Invalid):
    """The request takes more processor time or memory than the service spends on one request."""

    slug, title = "too-much-work", "This takes more work than one request may"


@asynccontextmanager
async def helper_for(
    request: Request, client: str, make: Callable[..., object], *arguments: Any, few: bool = False
) -> AsyncIterator[Executor]:
    """Provide a helper process for the work of a request; it ends with the block.

    Args:
        request: the request.
        client: `Exchange.client_key`; helpers are shared out among clients.
        make: creates the object whose methods are called.
        arguments: its arguments.
        few: True if the work is small enough for this process.

    Raises:
        Busy: all helpers are taken, and the queue is full.
        TooMuchWork: the helper was stopped at its limit.
        TookTooLong: the wait or the work reached its time limit.
    """
    if few:
        yield InProcess(make(*arguments))
        return
    workshop: HelperPool = request.app.state.workshop
    try:
        async with asyncio.timeout(WAIT_SECONDS) as bound, workshop.helper(client, make, *arguments) as helper:
            bound.reschedule(asyncio.get_running_loop().time() + SECONDS)
            yield helper
    except QueueFullError as error:
        raise Busy from error
    except HelperEndedError as error:
        log.warning("a helper was ended", why=str(error))
        raise TooMuchWork("Send less at a time.", errors=[("", "The work for it was given up.")]) from error
    except TimeoutError as error:
        raise TookTooLong from error


def hash_content(content: bytes) -> bytes:
    """Return the SHA-256 of content; for a thread."""
    return hashlib.sha256(content).digest()
