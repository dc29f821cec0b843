"""Guards every request, as plain ASGI: request ids, the body's limit, the time, safe headers, one log line."""

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.database.ids import new_id
from service.http.rate_limits import Limits, credential_of, is_let_in
from service.validation.problems import InternalError, Malformed, Problem, TookTooLong, TooLarge, response

log = structlog.get_logger("outbound.access")

_PROCESS: Final = new_id("rq").encode()
_REQUESTS: Final = itertools.count(1)
_REQUEST_ID: Final = re.compile(r"[\x20-\x7e]{1,1024}")
"""Whatever a reader of the log can see: to callers it is an arbitrary text, which they want back as it was (AuthZEN 1.0, 10.1.3)."""
HSTS: Final = "max-age=63072000; includeSubDomains"
"""Two years of https."""
SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer, unless a route sets its own; an answer of the gate has no more than these."""
ANSWER_HEADERS: Final = {**SAFE_HEADERS, "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY"}
"""Headers of every other answer."""
PAGE_HEADERS: Final = {
    **ANSWER_HEADERS,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}
"""Headers of every page."""
DRAIN_SECONDS: Final = 1.0
"""Seconds for which an answer waits for the rest of its request."""
MAX_UNREAD_EXPECTED: Final = 64 * 1024
"""Bytes of a body at most that is asked for although nobody reads it, where its caller waits to be told to go on."""


def request_id(given: bytes | None) -> bytes:
    """Return the id of a request: the one that it came with, if it can be used, or a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given.decode("latin-1")):
        return given
    return b"%s-%x" % (_PROCESS, next(_REQUESTS))


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as they are written."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


class RequestGuard:
    """The outermost layer of the application.

    Args:
        app: what it wraps.
        limit: bytes of a body at most.
        limits: other limits, for the paths that a pattern fits as a whole.
        rates: how much one caller may ask.
        seconds: how long the work for a request may take: from the last piece of its body, or its head, until the answer begins.
        unhurried: paths, as patterns, whose work has bounds of its own.
        is_https: whether callers come by https only, and are told to stay there.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: int,
        limits: Mapping[re.Pattern[str], int],
        rates: Limits,
        seconds: float,
        unhurried: Collection[re.Pattern[str]] = (),
        is_https: bool = False,
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._unhurried = unhurried
        self._rates = rates
        more = {"Strict-Transport-Security": HSTS} if is_https else {}
        self._safe = _Safe(answer=ANSWER_HEADERS | more, page=PAGE_HEADERS | more)
        self._limit = limit
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever happens, the caller gets an answer with the request's id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        seconds = None if any(paths.fullmatch(path) for paths in self._unhurried) else self._seconds
        exchange = _Request(scope, send, self._limit_of(path), self._rates, self._safe, _WorkDeadline(seconds))
        structlog.contextvars.bind_contextvars(request_id=logs.told_id(exchange.request_id))
        try:
            await exchange.serve(self._app, receive)
        finally:
            structlog.contextvars.clear_contextvars()

    def _limit_of(self, path: str) -> int:
        return next((limit for paths, limit in self._limits.items() if paths.fullmatch(path)), self._limit)


@dataclass(frozen=True, slots=True)
class _Safe:
    """Headers of every answer, unless a route sets its own."""

    answer: Mapping[str, str]
    page: Mapping[str, str]


class _WorkDeadline:
    """How long may be worked on a request: the time begins anew with each piece of its body, and ends when the answer begins."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._is_whole = False
        self._bound = asyncio.timeout(seconds)
        self._is_running = False

    async def __aenter__(self) -> None:
        await self._bound.__aenter__()
        self._is_running = True

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise what ended the work, or that it took too long.

        Raises:
            TookTooLong: nothing more is done, and what was not committed is rolled back.
        """
        self._is_running = False
        try:
            await self._bound.__aexit__(exc_type, exc, trace)
        except TimeoutError as error:
            raise TookTooLong from error

    async def next(self, receive: Receive) -> Message:
        """Return the next piece of the body; the time that it takes to come is the caller's."""
        if self._is_whole:
            return await receive()
        self._set(None)
        message = await receive()
        self._is_whole = not message.get("more_body", False)
        self._set(self._seconds)
        return message

    def end(self) -> None:
        """Stop: the answer begins."""
        self._is_whole = True
        self._set(None)

    def _set(self, seconds: float | None) -> None:
        # Refusals are told before it begins or after it has ended; once it has struck, only what is torn down still asks.
        if self._is_running and not self._bound.expired():
            self._bound.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def _is_followed_by_a_body(headers: Headers) -> bool:
    """Tell whether a body comes that can be taken in: behind the head, or when the caller is told to go on, unless it is long."""
    length = headers.get("content-length", "0")
    if headers.get("expect") and length.isdigit() and int(length) > MAX_UNREAD_EXPECTED:
        return False
    return length != "0" or "transfer-encoding" in headers


class _Request:
    def __init__(
        self, scope: Scope, send: Send, limit: int, rates: Limits, safe: "_Safe", patience: _WorkDeadline
    ) -> None:
        self._patience = patience
        headers = Headers(scope=scope)
        given = headers.get("x-request-id")
        self._rates = rates
        self._safe = safe
        self._credential = credential_of(headers.get("authorization"), headers.get("cookie"))
        self.request_id = request_id(None if given is None else given.encode("latin-1")).decode()
        self._scope = scope
        self._send = send
        self._limit = limit
        self._received = 0
        self._is_unread = _is_followed_by_a_body(headers)
        self._status = 0
        self._began = time.perf_counter()

    async def serve(self, app: ASGIApp, receive: Receive) -> None:
        self._receive = receive

        async def counted() -> Message:
            message = await self._patience.next(receive)
            self._received += len(message.get("body", b""))
            self._is_unread = message.get("more_body", False)
            if self._received > self._limit:
                raise TooLarge(f"A body of this route may have {self._limit} bytes at most.")
            return message

        try:
            self._refuse_at_once()
            async with self._patience:
                await app(self._scope, counted, self._answer)
        except Problem as problem:
            await self._tell(problem)
        except ClientDisconnect:  # in the middle of its body: nothing was done, and nobody is there to be told
            log.debug("the client went away")
        except Exception as error:  # the last line of defence: a stack trace goes to the log, never to the caller
            log.exception("unexpected fault", error=type(error).__name__)  # told by type and place, see `logs`
            await self._tell(InternalError("The fault is ours and has been logged. Nothing was allowed."))
        finally:
            self._rates.told(self._scope, self._credential, self._status, is_let_in=is_let_in(self._scope))
            self._log()

    def _refuse_at_once(self) -> None:
        self._rates.demand(self._scope, self._credential)
        declared = Headers(scope=self._scope).get("content-length", "")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._limit):  # noqa: PLR2004 - digits of 2^60
            raise TooLarge(f"A body of this route may have {self._limit} bytes at most.")
        if "\x00" in self._scope["path"] or b"%00" in self._scope.get("query_string", b""):
            raise Malformed("The address holds a NUL.")

    async def _answer(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._patience.end()
            if self._is_unread:
                await self._take_in_the_rest()
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for cookie in self._scope.get("state", {}).get("cookies", ()):
                headers.append("Set-Cookie", cookie)
            is_page = headers.get("Content-Type", "").startswith("text/html")
            for name, value in (self._safe.page if is_page else self._safe.answer).items():
                headers.setdefault(name, value)
        await self._send(message)

    async def _take_in_the_rest(self) -> None:
        """Wait a moment for the rest of the body, and throw it away.

        A proxy that hands on bodies as they come, and has the answer before all of the request, closes its caller's connection behind
        it: what the caller sends next would get no answer.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._is_unread:
                    message = await self._receive()
                    self._is_unread = message.get("more_body", False)

    async def _tell(self, problem: Problem) -> None:
        if self._status:  # the answer has begun: nothing more can be said
            return

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await response(problem, self._scope["path"])(self._scope, nothing, self._answer)

    def _log(self) -> None:
        route = self._scope.get("route")
        log.info(
            "request",
            method=self._scope["method"],
            route=getattr(route, "path", None),
            status=self._status,
            milliseconds=round((time.perf_counter() - self._began) * 1000, 1),
        )
