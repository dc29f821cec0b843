"""Work on what a caller sent, for a request: in a helper process, with its bounds told as problems."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import Request

from service.validation.problems import Busy, Invalid, TookTooLong
from service.workers import Asks, CrowdedError, Here, SpentError, Workshop

log = structlog.get_logger("outbound")

SECONDS: Final = 300.0
"""How long may be worked for one request in all, the wait for a helper left aside."""
WAIT_SECONDS: Final = 60.0
"""How long a request waits for a helper."""


class TooMuchWork(Invalid):
    """What was sent takes more processor time or memory than the service spends on one request."""

    slug, title = "too-much-work", "This takes more work than one request may"


@asynccontextmanager
async def helping(
    request: Request, who: str, make: Callable[..., object], *arguments: Any, few: bool = False
) -> AsyncIterator[Asks]:
    """Give a helper process for the work of a request; it is ended with the block, and with whoever waits for it.

    Args:
        request: the request.
        who: whose work it is, as `Exchange.who` tells.
        make: makes the object whose methods are asked.
        arguments: what it takes.
        few: whether it is so little that it can be done here.

    Raises:
        Busy: others have all helpers, and more wait than are taken on.
        TooMuchWork: it was ended since it took too much.
        TookTooLong: all of it together.
    """
    if few:
        yield Here(make(*arguments))
        return
    workshop: Workshop = request.app.state.workshop
    try:
        async with asyncio.timeout(WAIT_SECONDS) as bound, workshop.helper(who, make, *arguments) as helper:
            bound.reschedule(asyncio.get_running_loop().time() + SECONDS)
            yield helper
    except CrowdedError as error:
        raise Busy from error
    except SpentError as error:
        log.warning("a helper was ended", why=str(error))
        raise TooMuchWork("Send less at a time.", errors=[("", "The work for it was given up.")]) from error
    except TimeoutError as error:
        raise TookTooLong from error


def hashing(content: bytes) -> bytes:
    """Return the SHA-256 of what was sent; to be run in a thread."""
    return hashlib.sha256(content).digest()
