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
        "        self._read, self._left = _BODY, int(length or 0)\n",
        """        self._read, self._left = _BODY, int(0 if b"upgrade" in found else length or 0)\n""",
        READING + "test_an_offer_that_is_declined_changes_nothing",
    ),
    one(
        "A202",
        "a header that may stand once does",
        FRAMING,
        "        if names.count(name) > 1:\n",
        "        if False:\n",
        REFUSED,
    ),
    one(
        "A203",
        "a coding is `chunked`, and nothing else",
        FRAMING,
        """coding.lower() != b"chunked" or""",
        """b"chunked" not in coding.lower() or""",
        REFUSED,
    ),
    one(
        "A204",
        "a request names its host",
        FRAMING,
        """(host is None and self._version == "1.1") or """,
        "",
        REFUSED,
    ),
    one(
        "A205",
        "the protocol is HTTP/1",
        FRAMING,
        r"HTTP/1\.([01])",
        r"(?:HTTP|RTSP|ICE)/[0-9]\.([0-9])",
        REFUSED,
    ),
    one(
        "A206",
        "a refusal waits for the answers before it",
        PROTOCOL,
        "        elif self._unanswered:\n            self._last_words = words\n",
        "",
        READING + "test_a_refusal_waits_for_the_answers_before_it",
    ),
    one(
        "A207",
        "nothing is read behind an expectation that was not met",
        PROTOCOL,
        "        elif self.expect_100_continue and",
        "        elif False and",
        READING + "test_who_is_answered_before_being_told_to_go_on_has_no_next_request_there",
    ),
    one(
        "A208",
        "nobody gets a tunnel",
        FRAMING,
        """method == b"CONNECT" or """,
        "",
        REFUSED,
    ),
    one(
        "A209",
        "what was answered is not answered again",
        PROTOCOL,
        """            words = b"" if own.response_complete else None\n""",
        "            pass\n",
        READING + "test_a_body_that_breaks_after_its_answer_is_not_answered_twice",
    ),
    Defence(
        "A210",
        "a header is one line, and a line ends with CRLF: all of a head is headers, and an unfinished one holds no other line ends",
        (
            Edit(
                FRAMING,
                "    if sum([len(name) + len(value) for name, value in found]) + 3 * len(found) != len(block):\n",
                "    if False:\n",
            ),
        ),
        REFUSED,
    ),
    one(
        "A378",
        "an answer waits for the end of its request",
        "service/http/middleware.py",
        "                await self._take_in_the_rest()\n",
        "                pass\n",
        READING + "test_an_answer_waits_for_the_end_of_its_request",
    ),
    one(
        "A379",
        "the head of an answer goes out with its body",
        PROTOCOL,
        """        if self.scope["method"] != "HEAD":  # its answer is all head\n""",
        "        if False:\n",
        READING + "test_an_answer_comes_in_one_piece",
    ),
)
