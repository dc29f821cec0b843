"""uvicorn's HTTP protocol with timeouts for slow clients and limits of connections; requests are read by `request_parser`.

A connection checks itself every few seconds, so that a request in time costs nothing: what has not moved on between two checks has taken
too long. A limit of `patience` seconds therefore ends after one to two of them.

| slow at | result |
|---|---|
| a head that is not complete, or nothing at all | the connection is closed |
| a body that brings less than `least_rate` bytes a second, or takes longer than `longest` | 408 and the connection is closed |
| an answer of which nothing is taken | the connection is closed |
| idle between requests | uvicorn's own limit closes it |

A request that cannot be read is refused in its turn: requests before it on the connection are answered first.
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

from service.http.connection_limits import Address, Crowd, Room
from service.http.rate_limits import LET_IN, Network, counted_address, spared_networks
from service.http.request_parser import RequestParser, UnreadableError

log = structlog.get_logger("outbound.access")

_CROWDS: Final[WeakKeyDictionary[ServerState, Crowd["TimeoutProtocol"]]] = WeakKeyDictionary()
"""The connections of each server of the process."""


class _Joined:
    """Where an exchange writes: the head of its answer goes out together with the first piece of the body.

    It saves a call to the system. And HAProxy up to 3.0 takes a head that comes alone for an answer without a body, now and then, if the
    caller was told to go on before (its issue 2587).
    """

    def __init__(self, exchange: RequestResponseCycle, transport: asyncio.Transport) -> None:
        self._exchange = exchange
        self._transport = transport
        self._is_begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or keep for the next time what is the head."""
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
        """Tell whether nothing more is written."""
        return self._transport.is_closing()


class TimeoutProtocol(HttpToolsProtocol):
    """One connection."""

    patience: ClassVar[float] = 10.0
    """Seconds without progress."""
    longest: ClassVar[float] = 300.0
    """Seconds that a body may take, however steadily it comes."""
    least_rate: ClassVar[int] = 500
    """Bytes a second that a body must bring."""
    room: ClassVar[Room] = Room(900, 100)
    """Connections of one process."""
    spared: ClassVar[Sequence[Network]] = spared_networks("")
    """From where connections are not counted one by one."""
    lingers: ClassVar[float] = 1.0
    """Seconds for which what a refused caller still sends is thrown away: closed at once, it might not hear why."""

    _looking: asyncio.TimerHandle | None = None
    _number = 0
    """Of the message that is being received."""
    _is_whole = True
    """Whether the message has come to its end."""
    _has_head = True
    _received = 0
    _own: RequestResponseCycle | None = None
    """The exchange of the message that is being received, once its head has come and it is under way."""
    _unanswered = 0
    """Messages that are under way."""
    _last_words: bytes | None = None
    """A refusal that waits until they have been answered."""
    _resumed = 0
    """How often enough of an answer has been taken for more of it to be written."""
    _seen: tuple[int, bool, int, tuple[int, int]] = (-1, False, 0, (0, 0))
    _looks = 0
    _is_refused = False
    _address: Address = None

    def __init__(self, config: Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self.parser = RequestParser(self)  # type: ignore[assignment]
        self._crowd = _CROWDS.setdefault(self.server_state, Crowd())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after the connection, or close it where there are too many."""
        super().connection_made(transport)
        self._address = counted_address(self.client, self.spared)
        if not self._finds_room():
            log.warning("too many connections", most=self.room.most)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open: come back later.")
            self.transport.close()
            return
        self._crowd.enter(self, self._address)
        self._looking = self.loop.call_later(self.patience, self._look)

    def _finds_room(self) -> bool:
        """Tell whether there is room, or another one gives way that nothing is done for."""
        in_the_way = self._crowd.in_the_way(self._address, self.room)
        if in_the_way is None:
            return True
        other = next((one for one in in_the_way if one.is_waited_for), None)
        if other is not None:
            other.give_way()
        return other is not None

    @property
    def is_waited_for(self) -> bool:
        """Whether nothing is done here for the caller: a request does not come, or an answer is not taken."""
        is_in_body = self._unanswered == 1 and self._own is not None and not self._is_whole
        return self._unanswered == 0 or is_in_body or self.transport.get_write_buffer_size() > 0

    def give_way(self) -> None:
        """End the connection: another one takes its place."""
        self._is_refused = True
        self._crowd.leave(self, self._address)
        self.transport.abort()

    def let_in(self) -> None:
        """Note that the caller is known."""
        if not self._is_refused:
            self._crowd.let_in(self, self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop."""
        self._crowd.leave(self, self._address)
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
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
        """Note that a head begins."""
        self._number += 1
        self._has_head = self._is_whole = False
        self._own = None
        super().on_message_begin()
        self.scope["state"][LET_IN] = self.let_in

    def on_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Keep the headers of a request."""
        self.headers.extend(headers)  # the scope has this very list
        self.expect_100_continue = self.parser.expects_continue  # type: ignore[attr-defined]

    def on_headers_complete(self) -> None:
        """Begin a request whose head has come."""
        self._has_head = True
        super().on_headers_complete()
        self._own = self.cycle
        if self.scope["method"] != "HEAD":  # its answer is all head
            self.cycle.transport = _Joined(self.cycle, self.transport)  # type: ignore[assignment]
        self._unanswered += 1

    def on_message_complete(self) -> None:
        """Note that a message has come."""
        self._is_whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request, or say what waited until this one was answered."""
        self._unanswered -= 1
        super().on_response_complete()
        if self._unanswered or self.transport.is_closing():
            return
        if self._last_words is not None:
            self._say(self._last_words)
        elif self.expect_100_continue and self._has_head and not self._is_whole:
            # Nobody knows whether what comes next is the body, or a request of a caller who was answered without it.
            self._is_refused = True
            self._say(b"")

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
            if not self._unanswered:
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
        """Tell of a body that did not arrive."""
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time: send it again.")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer the message that is being received outside of the application, in its turn, and read nothing more.

        The connection is closed when the caller does it, or soon after.
        """
        self._is_refused = True
        own = self._own
        words: bytes | None = _words(status, detail)
        if own is not None and own.response_started:  # what was said already is not taken back
            words = b"" if own.response_complete else None
        elif own is not None:
            own.disconnected = True
            own.message_event.set()
            self._unanswered -= 1
            waiting = [one for one in self.pipeline if one[0] is not own]
            self.pipeline.clear()
            self.pipeline.extend(waiting)
        if words is None:
            self.transport.close()
        elif self._unanswered:
            self._last_words = words
        else:
            self._say(words)

    def _say(self, words: bytes) -> None:
        """Say the last thing on the connection."""
        if words:
            self.transport.write(words)
        self.transport.write_eof()
        self.loop.call_later(self.lingers, self.transport.close)


def _words(status: HTTPStatus, detail: str) -> bytes:
    """Return a problem document as it is written, with its head."""
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
