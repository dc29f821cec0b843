"""The shortest way of a request: from the parser to whoever takes it, and the answer in one piece back to the socket.

An ASGI server makes a scope, an event, a task and two messages for every request. For one that is whole already, and whose answer comes
as a whole, a good part of the server's time goes there. So an application may have a `shortcut`: what it takes is answered without
any of these. All else, and whatever it does not take after a look at it, goes on as it came: the answers are the same.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.protocol import Bounded

HELD: Final = 64 * 1024
"""Bytes of a body that are kept back at most, until all of it is there."""

Tell = Callable[[int, bytes, bytes], None]
"""Takes the answer: status, header lines, body."""


class Shortcut(Protocol):
    """Answers some requests without ASGI."""

    def takes(self, target: bytes) -> bool:
        """Tell whether a path may have such requests; one with a query has none."""

    def begin(
        self,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        client: tuple[str, int] | None,
        tell: Tell,
    ) -> bool:
        """Take a POST request, and tell its answer now or later; False: not taken, and nothing has happened."""


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


class _Exchange:
    """A request that was taken, where uvicorn keeps the one that is under way."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "more_body", "response_complete", "response_started")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.message_event = _UNHEARD
        self.more_body = self.disconnected = self.response_started = self.response_complete = False


_UNHEARD: Final = _Unheard()


class Direct(Bounded):
    """One connection to an application that may have a shortcut.

    Behind a proxy that is trusted there is none: who came is known only once its headers have been read.
    """

    _held: list[bytes] | None = None
    """What has come of the body of a request that may be taken; None: it goes on as it comes."""
    _size = 0

    def __init__(self, config: Config, *others: Any, **named: Any) -> None:
        super().__init__(config, *others, **named)
        self._shortcut: Shortcut | None = getattr(config.loaded_app, "shortcut", None)

    def on_headers_complete(self) -> None:
        """Keep a request back that may be taken, until its body has come."""
        if self._may_be_taken():
            self.demand_head()
            self._held, self._size = [], 0
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body, or hand it on."""
        if self._held is None:
            super().on_body(body)
            return
        self._held.append(body)
        self._size += len(body)
        if self._size > HELD:
            self._hand_on()

    def on_message_complete(self) -> None:
        """Have a request taken, or hand it on."""
        if self._held is None:
            super().on_message_complete()
            return
        body = b"".join(self._held)
        before = self.cycle
        exchange: Any = _Exchange(keep_alive=self.parser.should_keep_alive())
        self.cycle = exchange
        if self._shortcut is not None and self._shortcut.begin(
            self.url, self.headers, body, self.client, partial(self._tell, exchange)
        ):
            self._held = None
        else:
            self.cycle = before
            self._hand_on()
        super().on_message_complete()

    def end_body(self) -> None:
        """End a body that does not arrive."""
        if self._held is None:
            super().end_body()
        else:
            self.refuse_body()

    def _may_be_taken(self) -> bool:
        """Tell whether a request is worth keeping back: nothing is under way, and its body comes unasked."""
        return (
            self._shortcut is not None
            and self._shortcut.takes(self.url)
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not (self.pipeline or self.flow.write_paused or self.expect_100_continue)
            and self.limit_concurrency is None
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        )

    def _hand_on(self) -> None:
        """Begin the ordinary way, with what has been kept back."""
        held, self._held = self._held or (), None
        super().on_headers_complete()
        if held:
            super().on_body(b"".join(held))

    def _tell(self, exchange: _Exchange, status: int, lines: bytes, body: bytes) -> None:
        """Write an answer, unless nobody is there any more."""
        exchange.response_started = exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        end = b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n"
        defaults = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        self.transport.write(b"".join([STATUS_LINE[status], *defaults, lines, end, body]))
        if not exchange.keep_alive:
            self.transport.close()
        if self.pipeline or self.flow.read_paused:
            self.on_response_complete()
        else:  # no timer for when it is idle: the connection looks after that by itself
            self.server_state.total_requests += 1
