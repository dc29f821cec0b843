"""Requests of every form, in every segmentation: read as they were written, and as another reader (`h11`) reads them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from service.http.request_parser import UnreadableError
from tests.unit.test_request_parser import Gathered

BODIES = st.sampled_from(
    [b"", b"a", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
) | st.binary(max_size=40)
OFFERS = st.sampled_from(
    [
        [],
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"],
        [b"Connection: Upgrade", b"Upgrade: websocket"],
        [b"Upgrade: foo"],
        [b"Connection: keep-alive, Upgrade", b"Upgrade: foo"],
    ]
)
EXTRAS = st.lists(
    st.sampled_from([b"A: b", b"Accept:\t*/*  ", b"B:", b"X-Request-ID: 1", b"Cookie: a=b; c=d", b"C: \xe4", b"Expect: 100-continue"]),
    max_size=3,
    unique=True,
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A request, and how it is written."""

    method: bytes
    lines: tuple[bytes, ...]
    body: bytes
    chunks: tuple[int, ...] | None
    """How long the chunks are; None: it comes with its length."""

    @property
    def data(self) -> bytes:
        lines = [self.method + b" /a?b=c HTTP/1.1", b"Host: x", *self.lines]
        if self.chunks is None:
            return b"\r\n".join([*lines, b"Content-Length: %d" % len(self.body), b"", self.body])
        parts, at = list[bytes](), 0
        for size in [*self.chunks, len(self.body)]:
            part = self.body[at : at + size]
            at += len(part)
            parts += [b"%X\r\n" % len(part), part, b"\r\n"] if part else []
        return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"".join(parts) + b"0\r\n\r\n"])


METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"FOO"])
SIZES = st.none() | st.lists(st.integers(1, 20), max_size=4).map(tuple)
REQUESTS = st.builds(
    lambda method, offer, extras, body, chunks: Written(method, (*offer, *extras), body, chunks),
    *(METHODS, OFFERS, EXTRAS, BODIES, SIZES),
)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, *(at % (len(data) + 1) for at in cuts), len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 5000), max_size=8)


@given(st.lists(REQUESTS, min_size=1, max_size=4), CUTS)
def test_requests_are_read_as_they_were_written(requests: list[Written], cuts: list[int]) -> None:
    data = b"".join(request.data for request in requests)
    for pieces in (cut(data, cuts), [data[at : at + 1] for at in range(len(data))]):
        found = Gathered().feed(pieces)
        assert [(one[0], one[4]) for one in found] == [(request.method, request.body) for request in requests]
        assert len(found[0][3]) == len({line.partition(b":")[0].lower() for line in requests[0].lines}) + 2


def by_h11(data: bytes) -> list[tuple[bytes, bytes, dict[bytes, bytes], bytes]]:
    """Read requests with another reader, which answers each of them without a change of protocol."""
    connection, found = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), []
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found.append((request.method, request.target, dict(request.headers), body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return found
            connection.start_next_cycle()
        else:
            return found


PUT = [b"", b" ", b"\r", b"\n", b"\r\n", b"\t", b":", b",", b";", b"0", b"1", b"A", b"\x00", b"Host: y\r\n"]
PUT += [b"Content-Length: 1\r\n", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n"]
MUTATIONS = st.lists(st.tuples(st.integers(0, 600), st.integers(0, 3), st.sampled_from(PUT)), max_size=3)


@given(st.lists(REQUESTS, min_size=1, max_size=3), MUTATIONS, CUTS)
@example([Written(b"POST", (), b"a" * 12, (3, 4))], [(90, 0, b" ")], [])
def test_what_is_read_another_reader_reads_in_the_same_way(
    requests: list[Written], mutations: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    """Less is read here than there; what is read means the same."""
    data = b"".join(request.data for request in requests)
    for place, size, put in mutations:
        at = place % len(data)
        data = data[:at] + put + data[at + size :]
    gathered = Gathered()
    with suppress(UnreadableError):
        gathered.feed(cut(data, cuts))
    told = [(one[0], one[1], one[3], one[4]) for one in gathered.messages]
    try:
        others = by_h11(data)
    except h11.RemoteProtocolError:
        others = by_h11_until_it_fails(data)
    assert told == others[: len(told)]


def by_h11_until_it_fails(data: bytes) -> list[tuple[bytes, bytes, dict[bytes, bytes], bytes]]:
    """Return what stands before the place where another reader fails."""
    found = list[tuple[bytes, bytes, dict[bytes, bytes], bytes]]()
    for end in range(len(data), 0, -1):
        try:
            return by_h11(data[:end])
        except h11.RemoteProtocolError:
            continue
    return found
