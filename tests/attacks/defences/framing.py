"""Where a message ends, and whose answer is whose."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

FRAMING: Final = "service/http/request_parser.py"
PROTOCOL: Final = "service/http/server_protocol.py"
READING: Final = "tests/faults/test_one_reading.py::"
REFUSED: Final = READING + "test_what_is_refused_is_answered_once_and_ends_the_connection"

DEFENCES: Final = (
    one(
        "A201",
        "a body belongs to its request, whatever is offered: here it does not where another protocol is",
        FRAMING,
        "RequestParser._frame",
        "0 if length is None else content_length(length)",
        "0 if length is None or b'upgrade' in values else content_length(length)",
        READING + "test_an_offer_that_is_declined_changes_nothing",
    ),
    one(
        "A202",
        "a header that may stand once does",
        FRAMING,
        "_join_connection_headers",
        "names.count(name) > 1",
        "False",
        REFUSED,
    ),
    one(
        "A203",
        "a coding is `chunked`, and nothing else",
        FRAMING,
        "RequestParser._frame",
        "coding.lower() != b'chunked'",
        "b'chunked' not in coding.lower()",
        REFUSED,
    ),
    one(
        "A204",
        "a request names its host",
        FRAMING,
        "RequestParser._frame",
        "host is None and self._version == '1.1' or not _HOST.fullmatch(host or b'')",
        "not _HOST.fullmatch(host or b'')",
        REFUSED,
    ),
    one(
        "A205",
        "the protocol is HTTP/1",
        FRAMING,
        "",
        "b'{1,40}) ([\\\\x21\\\\x22\\\\x24-\\\\x7e]+) HTTP/1\\\\.([01])'",
        "b'{1,40}) ([\\\\x21\\\\x22\\\\x24-\\\\x7e]+) (?:HTTP|RTSP|ICE)/[0-9]\\\\.([0-9])'",
        REFUSED,
    ),
    one(
        "A206",
        "a refusal waits for the answers before it",
        PROTOCOL,
        "TimeoutProtocol._refuse",
        "if self._open_exchanges",
        "False",
        READING + "test_a_refusal_waits_for_the_answers_before_it",
    ),
    one(
        "A207",
        "nothing is read behind an expectation that was not met",
        PROTOCOL,
        "TimeoutProtocol.on_response_complete",
        "self.expect_100_continue",
        "False",
        READING + "test_who_is_answered_before_being_told_to_go_on_has_no_next_request_there",
    ),
    one(
        "A208",
        "nobody gets a tunnel",
        FRAMING,
        "RequestParser._take_head",
        "method == b'CONNECT'",
        "",
        REFUSED,
    ),
    one(
        "A209",
        "what was answered is not answered again",
        PROTOCOL,
        "TimeoutProtocol._refuse",
        "content = b'' if exchange.response_complete else None",
        "pass",
        READING + "test_a_body_that_breaks_after_its_answer_is_not_answered_twice",
    ),
    Defence(
        "A210",
        "a header is one line, and a line ends with CRLF: all of a head is headers, and an unfinished one holds no other line ends",
        (
            Edit(
                FRAMING,
                "_parse_fields",
                "sum([len(name) + len(value) for name, value in fields]) + 3 * len(fields) != len(block)",
                "False",
            ),
        ),
        REFUSED,
    ),
    one(
        "A378",
        "an answer waits for the end of its request",
        "service/http/middleware.py",
        "_Request._answer",
        "self._drain_body(…)",
        "",
        READING + "test_an_answer_waits_for_the_end_of_its_request",
    ),
    one(
        "A379",
        "the head of an answer goes out with its body",
        PROTOCOL,
        "TimeoutProtocol.on_headers_complete",
        "self.scope['method'] != 'HEAD'",
        "False",
        READING + "test_an_answer_comes_in_one_piece",
    ),
)
