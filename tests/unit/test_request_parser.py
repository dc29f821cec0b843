"""Where a request ends: one reading of it, whatever the head says of other protocols and however the bytes come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus

import pytest

from service.http.request_parser import MAX_FIELDS, MAX_HEAD, MAX_SIZE_LINE, MAX_TARGET, RequestParser, UnreadableError

Message = tuple[bytes, bytes, str, dict[bytes, bytes], bytes, bool]
"""Method, target, version, headers, body, and whether another one may follow."""

BODY = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
"""A body that looks like a request."""
SIZED = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\n" + BODY[:5] + b"\r\n%x;a=b\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n"


class Gathered:
    """Keeps the messages that it is called back with."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.begun = 0
        self.parser = RequestParser(self)

    def feed(self, pieces: Iterable[bytes]) -> list[Message]:
        for piece in pieces:
            self.parser.feed_data(piece)
        return self.messages

    def on_message_begin(self) -> None:
        self.begun += 1
        self.target, self.headers, self.body = b"", dict[bytes, bytes](), b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = dict(headers)

    def on_headers_complete(self) -> None:
        assert not self.parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        assert body
        self.body += body

    def on_message_complete(self) -> None:
        said = self.parser.get_method(), self.target, self.parser.get_http_version(), self.headers
        self.messages.append((*said, self.body, self.parser.should_keep_alive()))


def read(*pieces: bytes) -> list[Message]:
    return Gathered().feed(pieces)


def in_pieces(data: bytes, cuts: Iterator[int] | None = None) -> list[list[bytes]]:
    """All at once, byte by byte, and cut once at each place."""
    return [
        [data],
        [data[at : at + 1] for at in range(len(data))],
        *([data[:at], data[at:]] for at in cuts or range(1, len(data))),
    ]


def request(
    *lines: bytes, body: bytes = b"", first: bytes = b"POST /a?b=c HTTP/1.1", host: bytes = b"Host: x"
) -> bytes:
    return b"\r\n".join([first, *([host] if host else []), *lines, b"", b""]) + body


OFFERS = [
    (),
    (b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    (b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAA"),
    (b"Connection: keep-alive, Upgrade", b"Upgrade: TLS/1.0, foo"),
    (b"Upgrade: foo",),
    (b"Connection: Upgrade",),
    (b"Upgrade: websocket", b"Upgrade: h2c", b"Connection: Upgrade", b"Connection: Upgrade"),
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"PROPFIND"])
@pytest.mark.parametrize("framing", ["length", "chunks", "none"])
def test_a_body_belongs_to_its_request_whatever_is_offered(
    offer: tuple[bytes, ...], method: bytes, framing: str
) -> None:
    first = method + b" /a?b=c HTTP/1.1"
    whole = {
        "length": request(*offer, SIZED, body=BODY, first=first),
        "chunks": request(CHUNKED, *offer, body=CHUNKS, first=first),
        "none": request(*offer, first=first),
    }[framing]
    body = b"" if framing == "none" else BODY
    cuts = iter([1, 30, len(whole) - len(BODY), len(whole) - 1])
    for pieces in in_pieces(whole + whole, cuts):
        found = read(*pieces)
        assert [one[:3] + one[4:] for one in found] == 2 * [(method, b"/a?b=c", "1.1", body, True)]
        assert (b"upgrade" in found[0][3]) is any(line.startswith(b"Upgrade") for line in offer)


@pytest.mark.parametrize("data", [request(SIZED, body=BODY), request(CHUNKED, body=CHUNKS), request()])
def test_it_does_not_matter_how_the_bytes_come(data: bytes) -> None:
    both = b"\r\n\r\n" + data + b"\r\n" + request(first=b"GET /b HTTP/1.1")
    (once, *others) = [read(*pieces) for pieces in in_pieces(both)]
    assert [message[1] for message in once] == [b"/a?b=c", b"/b"]
    assert all(found == once for found in others)


@pytest.mark.parametrize(
    ("lines", "first", "is_kept"),
    [
        ((), b"GET / HTTP/1.1", True),
        ((b"Connection: keep-alive",), b"GET / HTTP/1.1", True),
        ((b"Connection: close",), b"GET / HTTP/1.1", False),
        ((b"connection: Upgrade ,\tClose", b"Upgrade: h2c"), b"GET / HTTP/1.1", False),
        ((b"Connection: upgrade", b"Connection: close"), b"GET / HTTP/1.1", False),
        ((b"Connection: closed",), b"GET / HTTP/1.1", True),
        ((), b"GET / HTTP/1.0", False),
        ((b"Connection: keep-alive",), b"GET / HTTP/1.0", False),
    ],
)
def test_nothing_is_read_after_the_last_message(lines: tuple[bytes, ...], first: bytes, *, is_kept: bool) -> None:
    data = request(*lines, SIZED, body=BODY, first=first)
    for pieces in in_pieces(data + data + b"\x00"[is_kept:], iter([len(data), len(data) + 1])):
        found = read(*pieces)
        assert [message[-1] for message in found] == (2 * [True] if is_kept else [False])
        assert found[0][4] == BODY


@pytest.mark.parametrize(
    ("target", "is_read"),
    [
        (b"/", True),
        (b'/"<>\\^`{|}', True),
        (b"http://x.example/a", True),
        (b"HTTPS://x.example:80/", True),
        (b"*", False),
        (b"x.example:443", False),
        (b"http://x.example", False),
        (b"ftp://x.example/", False),
        (b"/a#b", False),
        (b"/a\xe9", False),
        (b"/a b", False),
        (b"", False),
    ],
)
def test_a_target_is_a_path_of_this_service(target: bytes, *, is_read: bool) -> None:
    data = request(first=b"GET " + target + b" HTTP/1.1")
    if is_read:
        assert read(data)[0][1] == target
    else:
        with pytest.raises(UnreadableError):
            read(data)
    assert read(request(first=b"OPTIONS * HTTP/1.1"))[0][1] == b"*"


REFUSED = {
    "connect": request(first=b"CONNECT x:443 HTTP/1.1"),
    "connect to a path": request(first=b"CONNECT /a HTTP/1.1"),
    "two authorizations": request(b"Authorization: a", b"authorization: a"),
    "two hosts": request(b"host: x"),
    "no host": request(host=b""),
    "two hosts in one": request(host=b"Host: a, b"),
    "a host with a user": request(host=b"Host: a@b"),
    "a host with a path": request(host=b"Host: a/b"),
    "a host with a space": request(host=b"Host: a b"),
    "a host with two ports": request(host=b"Host: a:1:2"),
    "two hosts in 1.0": request(b"Host: y", first=b"GET / HTTP/1.0"),
    "a wrong host in 1.0": request(host=b"Host: a/b", first=b"GET / HTTP/1.0"),
    "gzip, chunked": request(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "chunked, chunked": request(b"Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "chunked twice": request(CHUNKED, CHUNKED, body=CHUNKS),
    "chunked, nothing": request(b"Transfer-Encoding: chunked,", body=CHUNKS),
    "identity": request(b"Transfer-Encoding: identity"),
    "no coding": request(b"Transfer-Encoding:"),
    "xchunked": request(b"Transfer-Encoding: xchunked", body=CHUNKS),
    "a coding with a parameter": request(b"Transfer-Encoding: chunked;a=b", body=CHUNKS),
    "chunked in 1.0": request(CHUNKED, body=CHUNKS, first=b"POST / HTTP/1.0"),
    "length and chunks": request(b"Content-Length: 1", CHUNKED, body=CHUNKS),
    "chunks and length": request(CHUNKED, b"Content-Length: 0", body=CHUNKS),
    "two lengths": request(b"Content-Length: 1", b"Content-Length: 1", body=b"a"),
    "two lengths in one": request(b"Content-Length: 1, 1", body=b"a"),
    "a length with a sign": request(b"Content-Length: +1", body=b"a"),
    "a length in hexadecimal": request(b"Content-Length: 0x1", body=b"a"),
    "a length below zero": request(b"Content-Length: -1", body=b"a"),
    "a length with a space": request(b"Content-Length: 1 0", body=b"a"),
    "no length": request(b"Content-Length:"),
    "a length without an end": request(b"Content-Length: " + b"1" * 21),
    "two types": request(b"Content-Type: application/json", b"Content-Type: text/plain"),
    "two keys": request(b"Idempotency-Key: a", b"Idempotency-Key: b"),
    "two expectations": request(b"Expect: 100-continue", b"Expect: 100-continue"),
    "1.2": request(first=b"GET / HTTP/1.2"),
    "2.0": request(first=b"GET / HTTP/2.0"),
    "0.9": b"GET /\r\n\r\n",
    "0.9 by name": request(first=b"GET / HTTP/0.9"),
    "1.10": request(first=b"GET / HTTP/1.10"),
    "small letters": request(first=b"GET / http/1.1"),
    "rtsp": request(first=b"GET / RTSP/1.0"),
    "ice": request(first=b"SOURCE / ICE/1.0"),
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01",
    "no request": b"nonsense\r\n\r\n",
    "two spaces": request(first=b"GET  / HTTP/1.1"),
    "a space behind": request(first=b"GET / HTTP/1.1 "),
    "a tab": request(first=b"GET\t/ HTTP/1.1"),
    "a space before the colon": request(b"Content-Length : 1", body=b"a"),
    "a space before the name": request(b" Content-Length: 1", body=b"a"),
    "a folded value": request(b"A: b\r\n c"),
    "a folded host": request(host=b"Host: x\r\n y"),
    "no colon": request(b"A"),
    "no name": request(b": a"),
    "a name in other letters": request(b"\xc3\xa4: a"),
    "NUL": request(b"A: \x00"),
    "a bell": request(b"A: \x07"),
    "CR alone": request(b"A: b\rContent-Length: 1", body=b"a"),
    "LF alone": request(b"A: b\nContent-Length: 1", body=b"a"),
    "LF for all": b"GET / HTTP/1.1\nHost: x\n\n",
    "LF before it": b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunk without a size": request(CHUNKED, body=b"\r\n"),
    "a size that is none": request(CHUNKED, body=b"g\r\n"),
    "a size with a sign": request(CHUNKED, body=b"+1\r\n"),
    "a size in C": request(CHUNKED, body=b"0x1\r\n"),
    "a size with a space": request(CHUNKED, body=b"1 \r\na\r\n"),
    "a size with LF": request(CHUNKED, body=b"1\na\r\n0\r\n\r\n"),
    "a size without an end": request(CHUNKED, body=b"f" * 17 + b"\r\n"),
    "a chunk that is longer": request(CHUNKED, body=b"1\r\nab\r\n0\r\n\r\n"),
    "a chunk that ends with LF": request(CHUNKED, body=b"1\r\na\n0\r\n\r\n"),
    "an extension without an end": request(CHUNKED, body=b"1;" + b"a" * MAX_SIZE_LINE),
    "an extension with LF": request(CHUNKED, body=b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "a folded trailer": request(CHUNKED, body=b"0\r\nA: b\r\n c\r\n\r\n"),
    "a trailer that is none": request(CHUNKED, body=b"0\r\nA\r\n\r\n"),
    "LF in a trailer": request(CHUNKED, body=b"0\r\nA: b\n"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_two_readers_could_read_in_two_ways_is_refused_however_it_comes(case: str) -> None:
    data = REFUSED[case]
    for pieces in in_pieces(data + BODY, iter([max(1, len(data) - 1)])):
        gathered = Gathered()
        with pytest.raises(UnreadableError) as refused:
            gathered.feed(pieces)
        assert refused.value.status == HTTPStatus.BAD_REQUEST
        assert str(refused.value)
        assert gathered.messages == []
        assert gathered.begun == 1


@pytest.mark.parametrize(
    "host", [b"Host:", b"Host: x.example:8443", b"Host: [2001:db8::1]:80", b"Host: a_b.example", b"Host: 127.0.0.1:"]
)
def test_a_host_is_a_host_and_perhaps_a_port(host: bytes) -> None:
    assert len(read(request(host=host))) == 1
    assert len(read(request(host=host, first=b"GET / HTTP/1.0"))) == 1
    assert len(read(request(host=b"", first=b"GET / HTTP/1.0"))) == 1


def test_values_are_what_stands_between_the_spaces() -> None:
    (found,) = read(request(b"A:b", b"C: \t d\te \t", b"F:", b"G: \xe4", b"a-b.c!#$%&'*+^_`|~9: 1"))
    assert found[3] == {
        b"host": b"x", b"a": b"b", b"c": b"d\te", b"f": b"", b"g": b"\xe4", b"a-b.c!#$%&'*+^_`|~9": b"1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(*[b"A: b"] * MAX_FIELDS), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (request(first=b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1"), HTTPStatus.REQUEST_URI_TOO_LONG),
        (request(b"A: " + b"a" * MAX_HEAD), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (request(b"A: " + b"a" * MAX_HEAD)[:-4], HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (
            request(CHUNKED, body=b"0\r\n" + b"A: " + b"a" * (MAX_HEAD // 2) + b"\r\n" + b"A: " + b"a" * MAX_HEAD),
            HTTPStatus.BAD_REQUEST,
        ),
        (
            request(CHUNKED, body=b"0\r\n" + (b"A: " + b"a" * (MAX_HEAD // 2) + b"\r\n") * 2),
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        (
            request(CHUNKED, body=(b"1;" + b"a" * 4000 + b"\r\na\r\n") * 17),
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
    ],
)
def test_what_is_too_large_is_refused(data: bytes, status: HTTPStatus) -> None:
    for pieces in ([data], [data[at : at + 9999] for at in range(0, len(data), 9999)]):
        with pytest.raises(UnreadableError) as refused:
            read(*pieces)
        assert refused.value.status == status


def test_a_coding_may_be_written_in_any_case() -> None:
    assert read(request(b"transfer-encoding: Chunked", body=CHUNKS))[0][4] == BODY


def test_an_unfinished_message_is_waited_for() -> None:
    for data in (request(SIZED, body=BODY), request(CHUNKED, body=CHUNKS)):
        for end in range(len(data)):
            assert read(data[:end]) == []


def test_many_small_chunks_are_handed_on_in_one_piece() -> None:
    class Counted(Gathered):
        bodies = 0

        def on_body(self, body: bytes) -> None:
            self.bodies += 1
            super().on_body(body)

    counted = Counted()
    counted.parser.feed_data(request(CHUNKED, body=b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"))
    assert counted.messages[0][4] == b"a" * 10_000
    assert counted.bodies == 1
