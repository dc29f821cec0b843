"""uvicorn's HTTP protocol with timeouts for slow clients and limits of connections; requests are read by `request_parser`.

A connection checks its progress every `stall_seconds`, so that a request in time costs nothing. A connection without progress between two
checks is closed. The limit therefore takes effect after one to two times `stall_seconds`.

| slow part | result |
|---|---|
| the head, or no data at all | the connection is closed |
| a body that brings less than `min_body_rate` bytes a second, or takes longer than `max_body_seconds` | 408 and the connection is closed |
| the client does not read the answer | the connection is closed |
| idle between requests | uvicorn's own limit closes it |

A request that cannot be parsed is refused in its turn: earlier requests of the connection are answered first.
"""

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import structlog
from httptools import HttpParserError
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.http.connection_limits import Address, ConnectionLimit, ConnectionSet
from service.http.rate_limits import AUTHENTICATED_CALLBACK, Network, connection_address, exempt_networks
from service.http.request_parser import RequestParser, UnreadableError

log = structlog.get_logger("outbound.access")

_CONNECTIONS: Final[WeakKeyDictionary[ServerState, ConnectionSet["TimeoutProtocol"]]] = WeakKeyDictionary()
"""Connections of each server of the process."""


class _JoiningTransport:
    """Transport of an exchange that writes the head of an answer together with the first piece of the body.

    This saves a system call. It also avoids a fault of HAProxy up to 3.0: after `100 Continue` it may take a head that comes alone for
    an answer without a body (HAProxy issue 2587).
    """

    def __init__(self, exchange: RequestResponseCycle, transport: asyncio.Transport) -> None:
        self._exchange = exchange
        self._transport = transport
        self._is_begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write data; the head is kept until the next call."""
        if self._exchange.response_started and not self._is_begun:
            self._is_begun, self._head = True, data
            return
        self._transport.write(self._head + data)
        self._head = b""

    def close(self) -> None:
        """Close the connection when all has been written."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """Return True if the connection is closing."""
        return self._transport.is_closing()


class TimeoutProtocol(HttpToolsProtocol):
    """One connection, with timeouts and a place in the set of connections."""

    stall_seconds: ClassVar[float] = 10.0
    """Seconds without progress after which a connection is closed."""
    max_body_seconds: ClassVar[float] = 300.0
    """Seconds that a body may take in all."""
    min_body_rate: ClassVar[int] = 500
    """Least bytes of a body per second."""
    limit: ClassVar[ConnectionLimit] = ConnectionLimit(900, 100)
    """Limit of the connections of one process."""
    exempt: ClassVar[Sequence[Network]] = exempt_networks("")
    """Networks whose connections are not counted by address."""
    linger_seconds: ClassVar[float] = 1.0
    """Seconds for which data of a refused caller is discarded. An immediate close could lose the refusal."""

    _check_timer: asyncio.TimerHandle | None = None
    _number = 0
    """Number of the message that is being received."""
    _is_whole = True
    """True if the message has been received as a whole."""
    _has_head = True
    _received = 0
    _exchange: RequestResponseCycle | None = None
    """Exchange of the message that is being received, after its head."""
    _open_exchanges = 0
    """Number of exchanges that are not complete."""
    _pending_refusal: bytes | None = None
    """Refusal to send after all unanswered exchanges."""
    _resumed = 0
    """Number of times that writing has been resumed."""
    _seen: tuple[int, bool, int, tuple[int, int]] = (-1, False, 0, (0, 0))
    _idle_checks = 0
    _is_refused = False
    _address: Address = None

    def __init__(self, config: Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self.parser = RequestParser(self)  # type: ignore[assignment]
        self._connections = _CONNECTIONS.setdefault(self.server_state, ConnectionSet())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the checks of the connection, or close it where there are too many."""
        super().connection_made(transport)
        self._address = connection_address(self.client, self.exempt)
        if not self._can_be_added():
            log.warning("too many connections", most=self.limit.most)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open: come back later.")
            self.transport.close()
            return
        self._connections.add(self, self._address)
        self._check_timer = self.loop.call_later(self.stall_seconds, self._check_progress)

    def _can_be_added(self) -> bool:
        """Return True if there is a place, or an idle connection has been closed to make one."""
        replaceable = self._connections.find_replaceable(self._address, self.limit)
        if replaceable is None:
            return True
        candidate = next((connection for connection in replaceable if connection.is_waiting_for_client), None)
        if candidate is not None:
            candidate.give_way()
        return candidate is not None

    @property
    def is_waiting_for_client(self) -> bool:
        """True if the service waits for the client: for a request, or until it reads an answer."""
        is_in_body = self._open_exchanges == 1 and self._exchange is not None and not self._is_whole
        return self._open_exchanges == 0 or is_in_body or self.transport.get_write_buffer_size() > 0

    def give_way(self) -> None:
        """Close the connection, so that another one takes its place."""
        self._is_refused = True
        self._connections.remove(self, self._address)
        self.transport.abort()

    def mark_authenticated(self) -> None:
        """Record that the caller is authenticated."""
        if not self._is_refused:
            self._connections.mark_authenticated(self, self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the checks."""
        self._connections.remove(self, self._address)
        if self._check_timer is not None:
            self._check_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        if self._is_refused:
            return
        self._received += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except UnreadableError as error:
            self._refuse(error.status, str(error))
        except HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST, "The target of the request is no address.")

    def on_message_begin(self) -> None:
        """Record the begin of a message."""
        self._number += 1
        self._has_head = self._is_whole = False
        self._exchange = None
        super().on_message_begin()
        self.scope["state"][AUTHENTICATED_CALLBACK] = self.mark_authenticated

    def on_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Add the headers of a request."""
        self.headers.extend(headers)  # the scope has this very list
        self.expect_100_continue = self.parser.expects_continue  # type: ignore[attr-defined]

    def on_headers_complete(self) -> None:
        """Start the exchange of a request whose head is complete."""
        self._has_head = True
        super().on_headers_complete()
        self._exchange = self.cycle
        if self.scope["method"] != "HEAD":  # its answer is all head
            self.cycle.transport = _JoiningTransport(self.cycle, self.transport)  # type: ignore[assignment]
        self._open_exchanges += 1

    def on_message_complete(self) -> None:
        """Record the end of a message."""
        self._is_whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next exchange, or send the refusal that waited for this one."""
        self._open_exchanges -= 1
        super().on_response_complete()
        if self._open_exchanges or self.transport.is_closing():
            return
        if self._pending_refusal is not None:
            self._write_last(self._pending_refusal)
        elif self.expect_100_continue and self._has_head and not self._is_whole:
            # The next bytes could be the body, or a new request of a caller who was answered without it: read neither.
            self._is_refused = True
            self._write_last(b"")

    def _check_progress(self) -> None:
        """Close a connection that has made no progress since the last check."""
        self._check_timer = self.loop.call_later(self.stall_seconds, self._check_progress)
        waits = (self.transport.get_write_buffer_size(), self._resumed)
        before, self._seen = self._seen, (self._number, self._has_head, self._received, waits)
        is_same = before[0] == self._number
        self._idle_checks = self._idle_checks + 1 if is_same else 0
        if not is_same:
            return
        is_all_written = self.transport.is_closing() or self.cycle is None or self.cycle.response_complete
        if waits[0] and (waits == before[3] if is_all_written else self._is_full and waits[1] == before[3][1]):
            self.transport.abort()
        elif not self.transport.is_closing():
            self._close_slow(before)

    def _close_slow(self, before: tuple[int, bool, int, tuple[int, int]]) -> None:
        """Close a connection whose request is slow at the same part as at the last check."""
        if not self._has_head and not before[1]:
            if not self._open_exchanges:
                self.transport.close()
        elif self._has_head and not self._is_whole and before[1]:
            if self._is_dripping(self._received - before[2]):
                self.end_body()
        elif self._is_whole and self._is_idle():
            self.transport.close()

    @property
    def _is_full(self) -> bool:
        """True if writing is paused until the client reads."""
        return self.flow.write_paused and self._seen[3][0] > 0

    def resume_writing(self) -> None:
        """Record that the client has read."""
        self._resumed += 1
        super().resume_writing()

    def _is_dripping(self, received: int) -> bool:
        """Return True if a body comes too slowly. While reading is paused the application causes the delay."""
        if self._idle_checks * self.stall_seconds > self.max_body_seconds:
            return True
        return not self.flow.read_paused and received < self.min_body_rate * self.stall_seconds

    def _is_idle(self) -> bool:
        """Return True if no exchange is open and uvicorn's own keep-alive timer is not running."""
        return (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None

    def end_body(self) -> None:
        """Refuse a body that did not arrive in time."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time: send it again.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer the current message without the application, in its turn, and read nothing more.

        The connection is closed by the caller, or after `linger_seconds`.
        """
        self._is_refused = True
        exchange = self._exchange
        content: bytes | None = _problem_bytes(status, detail)
        if exchange is not None and exchange.response_started:  # an answer that has begun cannot be replaced
            content = b"" if exchange.response_complete else None
        elif exchange is not None:
            exchange.disconnected = True
            exchange.message_event.set()
            self._open_exchanges -= 1
            waiting = [entry for entry in self.pipeline if entry[0] is not exchange]
            self.pipeline.clear()
            self.pipeline.extend(waiting)
        if content is None:
            self.transport.close()
        elif self._open_exchanges:
            self._pending_refusal = content
        else:
            self._write_last(content)

    def _write_last(self, content: bytes) -> None:
        """Write the last bytes of the connection, and close it."""
        if content:
            self.transport.write(content)
        self.transport.write_eof()
        self.loop.call_later(self.linger_seconds, self.transport.close)


def _problem_bytes(status: HTTPStatus, detail: str) -> bytes:
    """Return a complete HTTP answer with a problem document."""
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
    return head.encode() + body
