"""HTTP as uvicorn speaks it, with an end to everything that a caller may be slow at, and to what a head may hold.

A connection looks after itself every few seconds, so that a request that is in time costs nothing: what has not moved on from one
look to the next has taken too long. So a limit of `patience` seconds ends after one to two of them.

| what is slow | what happens |
|---|---|
| a head that is not complete, or nothing at all | the connection is closed |
| a body that brings less than `least_rate` bytes a second, or takes longer than `longest` | 408 and the connection is closed |
| an answer of which nothing is taken | the connection is closed |
| idle between requests | uvicorn's own limit closes it |
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any, ClassVar, Final

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger("outbound.access")

MAX_FIELDS: Final = 100
MAX_TARGET: Final = 16 * 1024
"""Bytes of path and query."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of a head that comes in several parts."""


class Bounded(HttpToolsProtocol):
    """One connection."""

    patience: ClassVar[float] = 10.0
    """Seconds without progress."""
    longest: ClassVar[float] = 300.0
    """Seconds that a body may take, however steadily it comes."""
    least_rate: ClassVar[int] = 500
    """Bytes a second that a body must bring."""
    most: ClassVar[int] = 900
    """Connections of one process."""
    lingers: ClassVar[float] = 1.0
    """Seconds for which what a refused caller still sends is thrown away: closed at once, it might not hear why."""

    _looking: asyncio.TimerHandle | None = None
    _number = 0
    """Of the message that is being received."""
    _is_whole = True
    """Whether the message has come to its end."""
    _has_head = True
    _received = 0
    _head = 0
    _resumed = 0
    """How often enough of an answer has been taken for more of it to be written."""
    _seen: tuple[int, bool, int, tuple[int, int]] = (-1, False, 0, (0, 0))
    _looks = 0
    _status = HTTPStatus.BAD_REQUEST
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after the connection, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            log.warning("too many connections", most=self.most)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open: come back later.")
            self.transport.close()
            return
        self._looking = self.loop.call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._is_refused:
            return
        self._received += len(data)
        super().data_received(data)
        if not self._has_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not (self._is_refused or self.transport.is_closing()):
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A head has at most {MAX_HEAD} bytes.")

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._number += 1
        self._has_head = self._is_whole = False
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request whose head has come."""
        self.demand_head()
        super().on_headers_complete()

    def demand_head(self) -> None:
        """Note that a head has come, and refuse one that holds too much.

        Raises:
            ValueError: it does.
        """
        self._has_head = True
        if len(self.headers) > MAX_FIELDS:
            self._status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError(self._status.phrase)
        if len(self.url) > MAX_TARGET:
            self._status = HTTPStatus.REQUEST_URI_TOO_LONG
            raise ValueError(self._status.phrase)

    def on_message_complete(self) -> None:
        """Note that a message has come."""
        self._is_whole = True
        super().on_message_complete()

    def send_400_response(self, _: str) -> None:
        """Tell of a request that cannot be read."""
        self._refuse(self._status, "The request is not HTTP as this service reads it.")

    def _look(self) -> None:
        """Close what has not moved on since the last look."""
        self._looking = self.loop.call_later(self.patience, self._look)
        waits = (self.transport.get_write_buffer_size(), self._resumed)
        before, self._seen = self._seen, (self._number, self._has_head, self._received, waits)
        is_same = before[0] == self._number
        self._looks = self._looks + 1 if is_same else 0
        if not is_same:
            return
        is_all_written = self.transport.is_closing() or self.cycle is None or self.cycle.response_complete
        if waits[0] and (waits == before[3] if is_all_written else self._is_full and waits[1] == before[3][1]):
            self.transport.abort()
        elif not self.transport.is_closing():
            self._end_what_is_slow(before)

    def _end_what_is_slow(self, before: tuple[int, bool, int, tuple[int, int]]) -> None:
        """End a connection whose request is slow at what it was slow at before."""
        if not self._has_head and not before[1]:
            self.transport.close()
        elif self._has_head and not self._is_whole and before[1]:
            if self._is_dripping(self._received - before[2]):
                self.end_body()
        elif self._is_whole and self._is_idle():
            self.transport.close()

    @property
    def _is_full(self) -> bool:
        """Whether an answer waits for what was written of it to be taken."""
        return self.flow.write_paused and self._seen[3][0] > 0

    def resume_writing(self) -> None:
        """Note that something was taken."""
        self._resumed += 1
        super().resume_writing()

    def _is_dripping(self, received: int) -> bool:
        """Tell whether a body comes too slowly; while nobody reads, that is our own doing."""
        if self._looks * self.patience > self.longest:
            return True
        return not self.flow.read_paused and received < self.least_rate * self.patience

    def _is_idle(self) -> bool:
        """Tell whether nothing is under way, and uvicorn does not count the seconds by itself."""
        return (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None

    def end_body(self) -> None:
        """End a body that does not arrive."""
        if self.cycle is not None and self.cycle.response_started:
            self.transport.close()
        else:
            self.refuse_body()

    def refuse_body(self) -> None:
        """Tell of a body that did not arrive."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time: send it again.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer outside of the application, and close when the caller does or soon after."""
        self._is_refused = True
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "instance": "",
        }
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n"
            f"retry-after: 1\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.loop.call_later(self.lingers, self.transport.close)
