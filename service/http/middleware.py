"""Guards every request, as ASGI middleware: request id, body limit, work deadline, security headers, one log line."""

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
from service.http.rate_limits import RateLimiter, credential_of, is_authenticated
from service.http.request_parser import content_length
from service.validation.problems import InternalError, Malformed, Problem, TookTooLong, TooLarge, response

log = structlog.get_logger("outbound.access")

_PROCESS: Final = new_id("rq").encode()
_REQUESTS: Final = itertools.count(1)
_REQUEST_ID: Final = re.compile(r"[\x20-\x7e]{1,1024}")
"""Printable ASCII. Callers get any such id back unchanged (AuthZEN 1.0, 10.1.3)."""
HSTS: Final = "max-age=63072000; includeSubDomains"
"""Value of `Strict-Transport-Security`: two years."""
SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer, unless a route sets its own; the gate's answers have these alone."""
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
"""Seconds for which an answer waits for the rest of its request body."""
MAX_UNREAD_EXPECTED: Final = 64 * 1024
"""Most bytes of an unread body that is requested by `100 Continue` only to drain it."""


def request_id(header: bytes | None) -> bytes:
    """Return the id of a request: its `X-Request-ID` if that is valid, or a new one."""
    if header is not None and _REQUEST_ID.fullmatch(header.decode("latin-1")):
        return header
    return b"%s-%x" % (_PROCESS, next(_REQUESTS))


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as lines of HTTP/1.1."""
    return b"".join([b"%s: %s\r\n" % header for header in headers])


class RequestGuard:
    """Outermost middleware of the application.

    Args:
        app: the application that it wraps.
        limit: most bytes of a body.
        limits: other limits, by patterns that match whole paths.
        rates: rate limits.
        seconds: limit of the work for a request, from the last piece of its body, or its head, until the answer begins.
        unhurried: patterns of paths whose work has limits of its own.
        is_https: True if callers come by https only; answers carry HSTS.

    Example:
        app.add_middleware(RequestGuard, limit=64 * 1024, limits={}, rates=RateLimiter(), seconds=30)
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: int,
        limits: Mapping[re.Pattern[str], int],
        rates: RateLimiter,
        seconds: float,
        unhurried: Collection[re.Pattern[str]] = (),
        is_https: bool = False,
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._unhurried = unhurried
        self._rates = rates
        more = {"Strict-Transport-Security": HSTS} if is_https else {}
        self._safe = _SafeHeaders(answer=ANSWER_HEADERS | more, page=PAGE_HEADERS | more)
        self._limit = limit
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; every answer, of a fault as well, has the request id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        seconds = None if any(paths.fullmatch(path) for paths in self._unhurried) else self._seconds
        request = _Request(scope, send, self._limit_of(path), self._rates, self._safe, _WorkDeadline(seconds))
        structlog.contextvars.bind_contextvars(request_id=logs.loggable_id(request.request_id))
        try:
            await request.serve(self._app, receive)
        finally:
            structlog.contextvars.clear_contextvars()

    def _limit_of(self, path: str) -> int:
        return next((limit for paths, limit in self._limits.items() if paths.fullmatch(path)), self._limit)


@dataclass(frozen=True, slots=True)
class _SafeHeaders:
    """Security headers of answers and of pages, unless a route sets its own."""

    answer: Mapping[str, str]
    page: Mapping[str, str]


class _WorkDeadline:
    """Deadline of the work for a request. It restarts with each piece of the body, and ends when the answer begins."""

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
        """End the deadline.

        Raises:
            TookTooLong: the deadline has passed; uncommitted work is rolled back.
        """
        self._is_running = False
        try:
            await self._bound.__aexit__(exc_type, exc, trace)
        except TimeoutError as error:
            raise TookTooLong from error

    async def receive(self, receive: Receive) -> Message:
        """Return the next message of the body; the wait for it does not count."""
        if self._is_whole:
            return await receive()
        self._set(None)
        message = await receive()
        self._is_whole = not message.get("more_body", False)
        self._set(self._seconds)
        return message

    def end(self) -> None:
        """Stop the deadline: the answer begins."""
        self._is_whole = True
        self._set(None)

    def _set(self, seconds: float | None) -> None:
        # Refusals come before it starts or after it has ended. Once it has expired, only code that is being cancelled calls this.
        if self._is_running and not self._bound.expired():
            self._bound.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def _has_body_to_drain(headers: Headers) -> bool:
    """Return True if a body follows that can be drained: any body, but only a short one where the client waits for `100 Continue`."""
    length = _declared_length(headers)
    if headers.get("expect") and (length or 0) > MAX_UNREAD_EXPECTED:
        return False
    return length != 0 or "transfer-encoding" in headers


def _declared_length(headers: Headers) -> int | None:
    """Return the Content-Length, 0 without one; None if it is no number."""
    return content_length(headers.get("content-length", "0").encode("latin-1"))


class _Request:
    """One request on its way through the guard."""

    def __init__(
        self, scope: Scope, send: Send, limit: int, rates: RateLimiter, safe: _SafeHeaders, deadline: _WorkDeadline
    ) -> None:
        self._deadline = deadline
        headers = Headers(scope=scope)
        id_header = headers.get("x-request-id")
        self._rates = rates
        self._safe = safe
        self._credential = credential_of(headers.get("authorization"), headers.get("cookie"))
        self.request_id = request_id(None if id_header is None else id_header.encode("latin-1")).decode()
        self._scope = scope
        self._send = send
        self._limit = limit
        self._received = 0
        self._is_unread = _has_body_to_drain(headers)
        self._status = 0
        self._began = time.perf_counter()

    async def serve(self, app: ASGIApp, receive: Receive) -> None:
        self._receive = receive

        async def receive_counted() -> Message:
            message = await self._deadline.receive(receive)
            self._received += len(message.get("body", b""))
            self._is_unread = message.get("more_body", False)
            if self._received > self._limit:
                raise TooLarge(f"A body of this route may have {self._limit} bytes at most.")
            return message

        try:
            self._refuse_by_head()
            async with self._deadline:
                await app(self._scope, receive_counted, self._answer)
        except Problem as problem:
            await self._send_problem(problem)
        except ClientDisconnect:  # within its body: no work was done, and no client reads an answer
            log.debug("the client went away")
        except Exception as error:  # the last line of defence: a stack trace goes to the log, never to the caller
            log.exception("unexpected fault", error=type(error).__name__)  # logged by type and place, see `logs`
            await self._send_problem(InternalError("The fault is ours and has been logged. Nothing was allowed."))
        finally:
            self._rates.record_answer(
                self._scope, self._credential, self._status, is_authenticated=is_authenticated(self._scope)
            )
            self._log()

    def _refuse_by_head(self) -> None:
        self._rates.require_request(self._scope, self._credential)
        if (_declared_length(Headers(scope=self._scope)) or 0) > self._limit:
            raise TooLarge(f"A body of this route may have {self._limit} bytes at most.")
        if "\x00" in self._scope["path"] or b"%00" in self._scope.get("query_string", b""):
            raise Malformed("The address holds a NUL.")

    async def _answer(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._deadline.end()
            if self._is_unread:
                await self._drain_body()
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for cookie in self._scope.get("state", {}).get("cookies", ()):
                headers.append("Set-Cookie", cookie)
            is_page = headers.get("Content-Type", "").startswith("text/html")
            for name, value in (self._safe.page if is_page else self._safe.answer).items():
                headers.setdefault(name, value)
        await self._send(message)

    async def _drain_body(self) -> None:
        """Read and discard the rest of the body, for up to `DRAIN_SECONDS`."""
        # A proxy that streams bodies may close its client's connection where the answer comes before the end of the request. The
        # client's next request would get no answer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._is_unread:
                    message = await self._receive()
                    self._is_unread = message.get("more_body", False)

    async def _send_problem(self, problem: Problem) -> None:
        if self._status:  # the answer has begun and cannot be replaced
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
