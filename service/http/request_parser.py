"""Reads HTTP/1.1 requests from a stream of bytes, and decides where each of them ends (RFC 9112).

The callbacks are those of `httptools`, so that uvicorn's protocol class can use the parser. It accepts less than other parsers: one
transfer coding, one line ending, and no repeated header that frames a message or names its sender. `Upgrade` is ignored, as a server
may do that does not change the protocol (RFC 9110 section 7.8).
"""

import re
from http import HTTPStatus
from typing import Final, Protocol

from httptools import HttpParserError

MAX_FIELDS: Final = 100
MAX_TARGET: Final = 16 * 1024
"""Bytes of path and query."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of a head; of the trailers and extensions of a message in chunks as well."""
MAX_SIZE_LINE: Final = 4096
"""Bytes of the line before a chunk."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb"{1,40}) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://[^/?#]+/.*")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"+):(" + _TEXT + rb")\r\n")
_HOST: Final = re.compile(rb"(?:[0-9A-Za-z._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,20}")
_SIZE: Final = rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;" + _TEXT + rb")?)\r\n"
_FIRST_SIZE: Final = re.compile(_SIZE)
_NEXT_SIZE: Final = re.compile(rb"\r\n" + _SIZE)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
"""Bytes that no head holds; a line ends with both CR and LF."""
_BEGINNING: Final = re.compile(_TOKEN)

_HEX: Final = re.compile(rb"\r?\Z|[0-9A-Fa-f]")

_CR: Final = 13
_LINE: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_HOST_NAME, _LENGTH_NAME, _CODING_NAME = b"host", b"content-length", b"transfer-encoding"
_ONCE: Final = frozenset(
    {
        _HOST_NAME,
        _LENGTH_NAME,
        _CODING_NAME,
        b"authorization",
        b"content-encoding",
        b"content-type",
        b"expect",
        b"idempotency-key",
        b"origin",
        b"x-csrf-token",
    }
)
"""Headers that may not be repeated: a proxy might read the first, and this service the second."""
_HEAD, _BODY, _CHUNKS, _TRAILERS, _OVER = "head", "body", "chunks", "trailers", "over"
"""States of a parser: the part that it reads next."""


class UnreadableError(HttpParserError):
    """The bytes are no request that this service accepts; the message says why.

    Args:
        detail: the reason.
        status: status of the answer.
    """

    def __init__(self, detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(detail)
        self.status = status


class Callbacks(Protocol):
    """Functions that the parser calls as it reads a message."""

    def on_message_begin(self) -> None:
        """Begin a message."""

    def on_url(self, url: bytes) -> None:
        """Take the target of the request line."""

    def on_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Take all headers, with lower-case names."""

    def on_headers_complete(self) -> None:
        """End the head."""

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""

    def on_message_complete(self) -> None:
        """End the message."""


class RequestParser:
    r"""Reads the requests of one connection.

    Example:
        parser = RequestParser(protocol)
        parser.feed_data(b"GET /livez HTTP/1.1\r\n")
        parser.feed_data(b"Host: x\r\n\r\n")  # calls on_message_begin, …, on_message_complete
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._rest = b""
        """Received bytes of an incomplete head, chunk size or trailer."""
        self._seen = 0
        """Number of bytes of `_rest` that were searched before."""
        self._read = _HEAD
        self._is_begun = False
        self._left = 0
        """Bytes of the body, or of the chunk, that have not been received."""
        self._size = _FIRST_SIZE
        self._spare = 0
        """Bytes left for trailers and chunk extensions."""
        self._method = b""
        self._version = "1.1"
        self._keeps_alive = True
        self.expects_continue = False
        """True if the client waits for `100 Continue` before it sends the body."""

    def get_method(self) -> bytes:
        """Return the method of the message."""
        return self._method

    def get_http_version(self) -> str:
        """Return `1.0` or `1.1`."""
        return self._version

    def should_keep_alive(self) -> bool:
        """Return True if another message may follow on the connection."""
        return self._keeps_alive

    def should_upgrade(self) -> bool:
        """Return False: the protocol stays."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Read received bytes.

        Raises:
            UnreadableError: the bytes are no valid request; nothing more may be read from the connection.
        """
        self._seen = len(self._rest)
        data = self._rest + data if self._rest else data
        at, end = -1, 0
        while at < end < len(data):
            at, end = end, self._read_on(data, end)
        self._rest = data[end:]

    def _read_on(self, data: bytes, at: int) -> int:
        """Read one element, and return where it ends; `at` if it is incomplete."""
        if self._read is _HEAD:
            return self._read_head(data, at)
        if self._read is _BODY:
            return self._read_body(data, at)
        if self._read is _CHUNKS:
            return self._read_chunks(data, at)
        if self._read is _TRAILERS:
            return self._read_trailer(data, at)
        return len(data)  # RFC 9112 section 9.6: nothing is read after a message that is the last one

    def _read_head(self, data: bytes, at: int) -> int:
        if data.startswith(_LINE, at) and not self._is_begun:
            return at + len(_LINE)  # RFC 9112 section 2.2: empty lines before a request are ignored
        if data[at] == _CR and len(data) - at == 1:
            return at
        if not self._is_begun:
            self._is_begun = True
            self._callbacks.on_message_begin()
        end = data.find(_END, max(at, self._seen - len(_END)))
        if (len(data) if end < 0 else end) - at > MAX_HEAD:
            raise UnreadableError(f"A head has at most {MAX_HEAD} bytes.", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            if not _BEGINNING.match(data, at) or _CONTROL.search(data, max(at, self._seen - 1)):
                raise UnreadableError("This is no head of HTTP/1.1.")
            return at
        self._take_head(data[at : end + len(_LINE)])
        return end + len(_END)

    def _take_head(self, head: bytes) -> None:
        line, _, block = head.partition(_LINE)
        first = _REQUEST_LINE.fullmatch(line)
        if first is None:
            raise UnreadableError("The first line is no request line of HTTP/1.0 or HTTP/1.1.")
        method, target, minor = first.groups()
        if len(target) > MAX_TARGET:
            raise UnreadableError(f"A target has at most {MAX_TARGET} bytes.", HTTPStatus.REQUEST_URI_TOO_LONG)
        if method == b"CONNECT" or not _is_of_this_service(method, target):
            raise UnreadableError("The target names nothing here.")
        self._method, self._version, self._keeps_alive = method, "1.1" if minor == b"1" else "1.0", minor == b"1"
        headers = _parse_fields(block)
        values = dict(headers)
        if len(values) < len(headers):
            values |= _join_connection_headers(headers)
        if b"close" in _split_list(values.get(b"connection", b"")):
            self._keeps_alive = False
        self.expects_continue = values.get(b"expect", b"").lower() == b"100-continue"
        self._frame(values)
        self._callbacks.on_url(target)
        self._callbacks.on_headers(headers)
        self._callbacks.on_headers_complete()
        if self._read is _BODY and not self._left:
            self._complete()

    def _frame(self, values: dict[bytes, bytes]) -> None:
        """Determine where the message ends."""
        host, length, coding = values.get(_HOST_NAME), values.get(_LENGTH_NAME), values.get(_CODING_NAME)
        if (host is None and self._version == "1.1") or not _HOST.fullmatch(host or b""):
            raise UnreadableError("HTTP/1.1 takes one Host header, with a host and perhaps a port.")
        if coding is not None:
            if coding.lower() != b"chunked" or length is not None or self._version == "1.0":
                detail = "Transfer-Encoding is taken as `chunked` alone, in HTTP/1.1, and without Content-Length."
                raise UnreadableError(detail)
            self._read, self._left, self._size, self._spare = _CHUNKS, 0, _FIRST_SIZE, MAX_HEAD
            return
        size = 0 if length is None else content_length(length)
        if size is None:
            raise UnreadableError("Content-Length is no number.")
        self._read, self._left = _BODY, size

    def _read_body(self, data: bytes, at: int) -> int:
        end = min(at + self._left, len(data))
        self._left -= end - at
        self._callbacks.on_body(data[at:end])
        if not self._left:
            self._complete()
        return end

    def _read_chunks(self, data: bytes, at: int) -> int:
        """Read all received chunks, and pass their content on in one piece: they may be many and very small."""
        pieces = list[bytes]()
        while at < len(data):
            if not self._left:
                size = self._size.match(data, at)
                if size is None:
                    self._require_size_to_come(data, at)
                    break
                at = self._take_size(size)
                if self._read is _TRAILERS:
                    break
            piece = data[at : at + self._left]
            pieces.append(piece)
            at += len(piece)
            self._left -= len(piece)
        if body := b"".join(pieces):
            self._callbacks.on_body(body)
        return at

    def _take_size(self, size: re.Match[bytes]) -> int:
        self._spend(len(size[2]))
        self._left, self._size = int(size[1], 16), _NEXT_SIZE
        if not self._left:
            self._read = _TRAILERS
        return size.end()

    def _require_size_to_come(self, data: bytes, at: int) -> None:
        """Refuse bytes that cannot become a chunk size."""
        begun = data[at : at + MAX_SIZE_LINE]
        digits = begun.removeprefix(_LINE) if self._size is _NEXT_SIZE else begun
        is_behind = self._size is _NEXT_SIZE and not _LINE.startswith(begun[:2])
        if is_behind or len(begun) == MAX_SIZE_LINE or b"\n" in digits or (digits and not _HEX.match(digits)):
            raise UnreadableError("A chunk does not begin with its size, or does not end where it said.")

    def _read_trailer(self, data: bytes, at: int) -> int:
        """Read one trailer line; its content is ignored."""
        end = data.find(_LINE, at)
        if end < 0:
            if len(data) - at > self._spare or _CONTROL.search(data, max(at, self._seen - 1)):
                raise UnreadableError("The trailers of a message cannot be read, or are too long.")
            return at
        if end > at:
            _parse_fields(data[at : end + len(_LINE)])
            self._spend(end - at)
        else:
            self._complete()
        return end + len(_LINE)

    def _spend(self, size: int) -> None:
        self._spare -= size
        if self._spare < 0:
            detail = f"Trailers and extensions of chunks have at most {MAX_HEAD} bytes."
            raise UnreadableError(detail, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _complete(self) -> None:
        self._read = _HEAD if self._keeps_alive else _OVER
        self._is_begun = False
        self._callbacks.on_message_complete()


def content_length(value: bytes) -> int | None:
    """Return the number of bytes that a Content-Length header states; None if it is no number of up to 20 digits."""
    return int(value) if _LENGTH.fullmatch(value) else None


def _is_of_this_service(method: bytes, target: bytes) -> bool:
    if target == b"*":
        return method == b"OPTIONS"
    return target.startswith(b"/") or _ABSOLUTE.fullmatch(target) is not None


def _parse_fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of some lines, each a name and a value."""
    fields = _FIELD.findall(block)
    if len(fields) > MAX_FIELDS:
        detail = f"A head has at most {MAX_FIELDS} headers."
        raise UnreadableError(detail, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    # Each header has a colon and CRLF besides: any other number of bytes means that something between them is no header.
    if sum([len(name) + len(value) for name, value in fields]) + 3 * len(fields) != len(block):
        raise UnreadableError("A header is not `name: value` in one line.")
    return [(name.lower(), value.strip(b" \t")) for name, value in fields]


def _join_connection_headers(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return all values of `Connection` as one; refuse a repeated header of `_ONCE`."""
    names = [name for name, _ in headers if name in _ONCE]
    for name in names:
        if names.count(name) > 1:
            raise UnreadableError(f"The header {name.decode()} stands twice.")
    return {b"connection": b",".join([value for name, value in headers if name == b"connection"])}


def _split_list(value: bytes) -> list[bytes]:
    return [item.strip(b" \t") for item in value.lower().split(b",")]
