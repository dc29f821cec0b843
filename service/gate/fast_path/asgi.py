"""Serves the three deciding routes as plain ASGI, for fast-path eligible requests: decode, join a batch, answer.

Exists for throughput only. A request that is not eligible (see `eligible_json`) goes to the routes, which decode it strictly, report its
errors, and join the same batches. The fast path writes no access log: each answer is an audit entry before it is sent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.caller import KeyCredential, KeyParser
from service.gate.fast_path import eligible_json
from service.gate.group_commit import Gate, Outcome
from service.gate.jobs import EVALUATION_PATH, EVALUATIONS_PATH, EXPORTS_PATH, Evaluation, Evaluations, Job, Reservation
from service.gate.questions import Options, questions_of
from service.http import idempotency
from service.http.idempotency import Reply, Sent
from service.http.middleware import SAFE_HEADERS, header_lines, request_id
from service.http.rate_limits import RateLimiter, is_answer_to_authenticated, note_authenticated
from service.validation import problems
from service.validation.problems import InternalError, Problem, Unauthenticated

Headers = Sequence[tuple[bytes, bytes]]
VaryingHeaders = Mapping[bytes, bytes]
"""Values of the varying headers, by name."""
SendAnswer = Callable[[int, bytes, bytes], None]
"""Sends an answer: status, header lines, body."""
Reader = Callable[[KeyCredential, bytes, str | None], Job | None]
"""Turns credentials, a body and an `Idempotency-Key` into a job; None if the body is not eligible."""

_SAFE: Final = [(name.lower().encode(), value.encode()) for name, value in SAFE_HEADERS.items()]
_KEY: Final = b"idempotency-key"
_REQUEST: Final = b"x-request-id"
_VARYING: Final = frozenset({_KEY, _REQUEST})
_RELEVANT: Final = _VARYING | {b"authorization", b"content-type"}
_JSON: Final = (b"content-type", b"application/json")
"""Media type of answers, and the only one of eligible requests."""
_SAFE_JSON: Final = [*_SAFE, _JSON]


def _evaluation(credentials: KeyCredential, body: bytes, _: str | None) -> Job | None:
    request = eligible_json.decode_question(body)
    return None if request is None else Evaluation(credentials, request)


def _evaluations(credentials: KeyCredential, body: bytes, _: str | None) -> Job | None:
    request = eligible_json.decode_questions(body)
    questions = None if request is None else questions_of(request)
    if request is None or questions is None:
        return None
    if not request.evaluations:
        return Evaluation(credentials, questions[0])
    options = request.options or Options()
    return Evaluations(credentials, questions, options.evaluations_semantic or "execute_all")


def _export(credentials: KeyCredential, body: bytes, key: str | None) -> Job | None:
    request = eligible_json.decode_export(body)
    return None if request is None else Reservation(credentials, request, key, None if key is None else Sent.json(body))


@dataclass(slots=True, repr=False)
class ParsedHead:
    """Parsed head of an eligible request, without its varying headers. It follows from the bytes alone, so that it can be cached."""

    path: str
    reader: Reader
    credentials: KeyCredential

    def job(self, varying: VaryingHeaders, body: bytes) -> Job | None:
        """Return the job of a request with these varying headers and body; None if it is not eligible."""
        key = varying.get(_KEY)
        text = None if key is None else key.decode("latin-1")
        return self.reader(self.credentials, body, text) if text is None or idempotency.is_key(text) else None


_READERS: Final[dict[str, Reader]] = {
    EVALUATION_PATH: _evaluation,
    EVALUATIONS_PATH: _evaluations,
    EXPORTS_PATH: _export,
}
_PATHS_BY_TARGET: Final = {path.encode(): path for path in _READERS}
"""Request targets, whole and without a query, to paths."""


class FastPathApp:
    """Serves eligible requests to the deciding routes, and passes all others on to the application.

    Args:
        app: the application.
        gate: decides.
        recognize: reads credentials from the `Authorization` header.
        limit: maximum number of bytes of a body.
        rates: the rate limits of callers.

    Example:
        app.fast_path = FastPathApp(app.by_routes, gate=gate, recognize=recognize, limit=1_000_000, rates=rates)
        await app.fast_path(scope, receive, send)
    """

    varying = _VARYING

    def __init__(self, app: ASGIApp, *, gate: Gate, recognize: KeyParser, limit: int, rates: RateLimiter) -> None:
        self._app = app
        self._rates = rates
        self._gate = gate
        self._recognize = recognize
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path not in _READERS or scope["method"] != "POST" or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        received: list[Message] = []
        body = await _body(receive, self._limit, received)
        head = None if body is None else self._parse_head(path, scope["headers"])
        varying = {name: value for name, value in scope["headers"] if name in _VARYING}
        job = None if body is None or head is None else head.job(varying, body)
        if job is None:
            await self._app(scope, _replay(received, receive), send)
            return
        ident = request_id(varying.get(_REQUEST))
        limit_key = job.credentials.rate_limit_key
        try:
            if self._rates.has_failures:
                self._rates.require_attempt(scope, limit_key)
            reply = await self._gate.decide(job)
        except Exception as error:  # noqa: BLE001 - every error becomes a problem document
            reply = _problem_reply(error, path)
        self._rates.record_answer(scope, limit_key, reply.status)
        if is_answer_to_authenticated(reply.status):
            note_authenticated(scope)
        await _send(send, reply, ident)

    def accepts(self, target: bytes) -> bool:
        """SendAnswer whether a path, as it came on the wire, is one of the three."""
        return target in _PATHS_BY_TARGET

    def parse_head(self, target: bytes, headers: Headers) -> ParsedHead | None:
        """Parse the head of a request to one of them, without the varying headers; None if it is not eligible."""
        return self._parse_head(_PATHS_BY_TARGET[target], headers)

    def begin(
        self,
        head: ParsedHead,
        varying: VaryingHeaders,
        body: bytes,
        client: tuple[str, int] | None,
        send_answer: SendAnswer,
    ) -> bool:
        """Answer a fast-path eligible request without ASGI (see `http_protocol`)."""
        job = head.job(varying, body) if len(body) <= self._limit else None
        if job is None:
            return False
        path, ident = head.path, request_id(varying.get(_REQUEST))
        scope = {"path": path, "client": client}
        limit_key = job.credentials.rate_limit_key

        def answer(outcome: Outcome) -> None:
            reply = outcome if isinstance(outcome, Reply) else _problem_reply(outcome, path)
            self._rates.record_answer(scope, limit_key, reply.status)
            send_answer(reply.status, _lines_of(reply, ident), reply.body)

        try:
            if self._rates.has_failures:
                self._rates.require_attempt(scope, limit_key)
            self._gate.submit(job, answer)
        except Exception as error:  # noqa: BLE001 - every error becomes a problem document
            answer(error)
        return True

    def _parse_head(self, path: str, headers: Headers) -> ParsedHead | None:
        """Parse the headers of a request; None if they are not eligible."""
        relevant = [header for header in headers if header[0] in _RELEVANT]
        varying = dict(relevant)
        if len(varying) < len(relevant) or varying.get(b"content-type") != _JSON[1]:
            return None
        try:
            credentials = self._recognize(varying.get(b"authorization", b"").decode("latin-1"))
        except Unauthenticated:
            return None
        return ParsedHead(path, _READERS[path], credentials)


async def _body(receive: Receive, limit: int, received: list[Message]) -> bytes | None:
    """Read the body of a request; None if it is too large or incomplete."""
    message = await receive()
    received.append(message)
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body if len(body) <= limit else None
    size = len(message.get("body", b""))
    while message["type"] == "http.request" and message.get("more_body") and size <= limit:
        message = await receive()
        received.append(message)
        size += len(message.get("body", b""))
    if message["type"] != "http.request" or size > limit:
        return None
    return b"".join([message.get("body", b"") for message in received])


def _replay(received: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that replays the received messages, and then continues with the original."""
    waiting = iter(received)

    async def next_message() -> Message:
        return next(waiting, None) or await receive()

    return next_message


def _problem_reply(error: Exception, path: str) -> Reply:
    """Return the problem document of a refusal or a fault."""
    if not isinstance(error, Problem):
        problems.log.error("unexpected fault", error=type(error).__name__, exc_info=error)
        error = InternalError("The fault is ours and has been logged. Nothing was allowed.")
    response = problems.response(error, path)
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Reply(response.status_code, bytes(response.body), headers)


def _headers_of(reply: Reply) -> Headers:
    """Return the headers of an answer, except its length and request id."""
    if not reply.headers:
        return _SAFE_JSON
    named = {"content-type": "application/json"} | {name.lower(): value for name, value in reply.headers.items()}
    return [*_SAFE, *((name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items())]


def _lines_of(reply: Reply, ident: bytes) -> bytes:
    """Return the header lines of an answer."""
    more = header_lines(_headers_of(reply)) if reply.headers else _SAFE_JSON_LINES
    return b"content-length: %d\r\nx-request-id: %s\r\n%s" % (len(reply.body), ident, more)


_SAFE_JSON_LINES: Final = header_lines(_SAFE_JSON)


async def _send(send: Send, reply: Reply, ident: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(reply.body)), (b"x-request-id", ident), *_headers_of(reply)]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
