"""Answers eligible gate requests straight from the HTTP parser, without an ASGI scope or task.

Exists for throughput only: every request can also be served by plain ASGI, with the same answer. A request is eligible when it has come
complete and the application's `fast_path` accepts its head and body; all others go on to ASGI unchanged.

Each connection caches header templates. A client repeats the same head but for a few values, so a request that matches a cached template
byte for byte, those values apart, is not parsed again.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, Protocol, Self

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.middleware import header_lines
from service.http.rate_limits import is_answer_to_authenticated
from service.http.server_protocol import TimeoutProtocol

MAX_BUFFERED_BODY: Final = 64 * 1024
"""Maximum number of bytes of a body that are buffered until it is complete."""
MAX_TEMPLATES: Final = 16
"""Maximum number of header templates of a connection."""
MAX_TEMPLATE: Final = 2048
"""Maximum number of bytes of a template: bounds the memory of many connections."""
_LENGTH: Final = b"content-length"
_LINE: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_WORD: Final = rb"[\x21-\x7e]{1,255}"
_VALUE: Final = re.compile(_WORD)
_HEADER: Final = re.compile(rb"(?<=\r\n)([!#-'*+.^_`|~0-9A-Za-z-]+):[ \t]*(" + _WORD + rb")(?=\r\n)")
"""Matches a header line whose value is one word."""

SendAnswer = Callable[[int, bytes, bytes], None]
"""Sends the answer: status, header lines, body."""


VaryingHeaders = Mapping[bytes, bytes]
"""Values of the varying headers, by name in lower case."""


class FastPath(Protocol):
    """Answers eligible requests without ASGI."""

    @property
    def varying(self) -> Collection[bytes]:
        """Names of headers whose values differ between requests, in lower case."""

    def accepts(self, target: bytes) -> bool:
        """Return True if requests to a target can be eligible; a target with a query is not."""

    def parse_head(self, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> object | None:
        """Parse the head of a POST request, without the varying headers; None if it is not eligible.

        The result depends on the bytes alone.
        """

    def begin(
        self, head: Any, varying: VaryingHeaders, body: bytes, client: tuple[str, int] | None, send_answer: SendAnswer
    ) -> bool:
        """Begin a request, and send its answer now or later; False if it is not eligible, without any effect."""


@dataclass(slots=True)
class _HeaderTemplate:
    """Cached head of an earlier request: its bytes, with gaps for the values that vary."""

    head: object
    parts: Sequence[bytes]
    """Its bytes between the values that vary."""
    names: Sequence[bytes]
    """Names of the headers whose values lie between the parts: `content-length` and the varying ones."""
    latest: bytes
    """Bytes of its latest occurrence, with the values."""
    varying: VaryingHeaders
    """Varying values of its latest occurrence."""
    length: int
    """Length of the body of its latest occurrence."""

    @classmethod
    def of(cls, head: object, text: bytes, varying: VaryingHeaders, length: int) -> Self | None:
        """Build a template from the bytes of a head; None if the parsed values do not occur in them literally."""
        values = {**varying, _LENGTH: b"%d" % length}
        parts, names, place = list[bytes](), list[bytes](), 0
        for match in _HEADER.finditer(text):
            name = match[1].lower()
            if values.get(name) == match[2]:
                parts.append(text[place : match.start(2)])
                names.append(name)
                place = match.end(2)
        parts.append(text[place:])
        return cls(head, parts, names, text, varying, length) if sorted(names) == sorted(values) else None

    def match_request(self, data: bytes) -> tuple[VaryingHeaders, bytes] | None:
        """Return the varying values and the body of a request with this head; None if it has another."""
        if data.startswith(self.latest) and len(data) == len(self.latest) + self.length:
            return self.varying, data[len(self.latest) :]
        place, varying = 0, dict[bytes, bytes]()
        for part, name in zip(self.parts, self.names, strict=False):
            if not data.startswith(part, place):
                return None
            place += len(part)
            end = data.find(_LINE, place)
            varying[name] = data[place:end]
            place = end
        last = self.parts[-1]
        if not data.startswith(last, place):
            return None
        place += len(last)
        body = data[place:]
        is_whole = varying.pop(_LENGTH) == b"%d" % len(body)
        if not (is_whole and all(map(_VALUE.fullmatch, varying.values()))):
            return None
        self.latest, self.varying, self.length = data[:place], varying, len(body)
        return varying, body


_lines: Final = lru_cache(maxsize=4)(header_lines)
"""Memoised lines of the default headers, which are the same for all answers within a second."""


class _NoEvent:
    """Event without waiters."""

    def set(self) -> None:
        """Do nothing."""


class _Exchange:
    """Request on the fast path, in the place of uvicorn's request cycle."""

    message_event = _NoEvent()
    more_body = disconnected = response_started = response_complete = False

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive


class FastPathProtocol(TimeoutProtocol):
    """Connection to an application that may have a fast path.

    Behind a trusted proxy there is none: the client's address is known only after its headers are parsed.
    """

    _buffered: list[bytes] | None = None
    """Received pieces of the body of a request that may be eligible; None if the body goes to ASGI as it arrives."""
    _buffered_size = 0
    _is_authenticated = False
    """True once an authenticated caller has been answered."""
    _unfinished: bytes = b""
    """Latest data, if a request began with it and is not complete."""

    def __init__(self, config: Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self._fast_path: FastPath | None = getattr(config.loaded_app, "fast_path", None)
        self._templates: list[_HeaderTemplate] = []

    def data_received(self, data: bytes) -> None:
        """Receive data; a request that matches a template is not parsed."""
        is_between = self._is_whole and self._has_head and not self._is_refused
        if is_between and self._templates and self._is_free() and self._begin_from_template(data):
            return
        self._unfinished = data if is_between else b""
        super().data_received(data)

    def _begin_from_template(self, data: bytes) -> bool:
        """Begin a complete request that matches a template; False if it does not, or is not eligible."""
        for template in self._templates:
            match = template.match_request(data)
            if match is not None:
                break
        else:
            return False
        varying, body = match
        if not self._begin(template.head, varying, body, keep_alive=True):
            return False
        self._number += 1
        self._received += len(data)
        self._unset_keepalive_if_required()
        return True

    def _begin(self, head: object, varying: VaryingHeaders, body: bytes, *, keep_alive: bool) -> bool:
        before = self.cycle
        exchange: Any = _Exchange(keep_alive=keep_alive)
        self.cycle = exchange
        self._open_exchanges += 1
        if self._fast_path is not None and self._fast_path.begin(
            head, varying, body, self.client, partial(self._write_answer, exchange)
        ):
            return True
        self.cycle = before
        self._open_exchanges -= 1
        return False

    def on_headers_complete(self) -> None:
        """Buffer a request that may be eligible until its body is complete."""
        if self._may_be_eligible():
            self._has_head = True
            self._buffered, self._buffered_size = [], 0
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Buffer a piece of a body, or pass it on."""
        if self._buffered is None:
            super().on_body(body)
            return
        self._buffered.append(body)
        self._buffered_size += len(body)
        if self._buffered_size > MAX_BUFFERED_BODY:
            self._hand_to_asgi()

    def on_message_complete(self) -> None:
        """Begin a buffered request, or pass it on."""
        if self._buffered is not None:
            self._end_buffered(b"".join(self._buffered))
        self._unfinished = b""
        super().on_message_complete()

    def _end_buffered(self, body: bytes) -> None:
        """Begin a buffered request on the fast path, or pass it on to ASGI."""
        fast_path, keep_alive = self._fast_path, self.parser.should_keep_alive()
        head = None if fast_path is None else fast_path.parse_head(self.url, self.headers)
        varying = (
            {} if fast_path is None else {name: value for name, value in self.headers if name in fast_path.varying}
        )
        if head is None or not self._begin(head, varying, body, keep_alive=keep_alive):
            self._hand_to_asgi()
            return
        self._buffered = None
        if keep_alive:
            self._store_template(head, varying, body)

    def _store_template(self, head: object, varying: VaryingHeaders, body: bytes) -> None:
        """Store a template of a head, if it arrived in one piece with its whole body and nothing else."""
        text = self._unfinished.removesuffix(body)
        lengths = [value for name, value in self.headers if name in {_LENGTH, b"transfer-encoding"}]
        is_all_of_it = text.startswith(b"POST ") and text.find(_END) == len(text) - len(_END)
        if not is_all_of_it or len(text) > MAX_TEMPLATE or lengths != [b"%d" % len(body)]:
            return
        template = _HeaderTemplate.of(head, text, varying, len(body))
        if template is not None:
            self._templates = [template, *self._templates[: MAX_TEMPLATES - 1]]

    def _may_be_eligible(self) -> bool:
        """Return True if a request may be eligible: no other is under way, and it does not wait for 100 Continue."""
        return (
            self._fast_path is not None
            and self._fast_path.accepts(self.url)
            and self.parser.get_method() == b"POST"
            and self._is_free()
            and not self.expect_100_continue
            and self.parser.get_http_version() == "1.1"
        )

    def _is_free(self) -> bool:
        """SendAnswer whether nothing is under way, and answers are taken."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not (self.pipeline or self.flow.write_paused)
            and self.limit_concurrency is None
        )

    def _hand_to_asgi(self) -> None:
        """Pass a buffered request on to ASGI."""
        buffered, self._buffered = self._buffered or (), None
        super().on_headers_complete()
        if buffered:
            super().on_body(b"".join(buffered))

    def _write_answer(self, exchange: _Exchange, status: int, lines: bytes, body: bytes) -> None:
        """Write an answer, unless the client has disconnected."""
        exchange.response_started = exchange.response_complete = True
        if not self._is_authenticated and is_answer_to_authenticated(status):
            self._is_authenticated = True
            self.mark_authenticated()
        if exchange.disconnected or self.transport.is_closing():
            return
        end = b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        defaults = _lines(tuple(self.server_state.default_headers))
        self.transport.write(b"".join([STATUS_LINE[status], defaults, lines, end, body]))
        if not exchange.keep_alive:
            self.transport.close()
        if self.pipeline or self.flow.read_paused or self._is_refused:
            self.on_response_complete()
        else:  # no timer for idleness: the connection has its own
            self._open_exchanges -= 1
            self.server_state.total_requests += 1
