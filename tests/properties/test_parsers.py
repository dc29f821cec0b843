"""Whatever a caller can send that is taken apart here: read as it stands, or refused in the way that is documented, and never a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from fastapi import Request
from hypothesis import example, given
from hypothesis import strategies as st

from service.http import conditional, idempotency, middleware, paging
from service.http.rate_limits import credential_of
from service.identity.api_keys import Secret
from service.transfers import evidence_upload
from service.transfers.evidence import Upload
from service.transfers.schemas import EvidenceIn
from service.validation import strict_json
from service.validation.problems import Invalid, Malformed, PreconditionFailed, Problem

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
NUMBERS = st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
TOKENS = st.sampled_from(
    [*"{}[]:,", '"a"', '"b"', "1", "-0", "1e5", "true", "null", "NaN", "Infinity", '"\\ud800"', '"\\u0000"', " ", "\n"]
)
HEADERS = st.text(st.characters(max_codepoint=255), max_size=60)


def request(method: str = "GET", **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "query_string": b"", "headers": named})


# JSON


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_strict_json_is_read_as_everybody_reads_it(value: Any, indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert strict_json.parse(body) == json.loads(body) == value


@given(st.binary(max_size=60) | st.lists(TOKENS, max_size=12).map(lambda parts: "".join(parts).encode()))
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": 1, "\\u0061": 2}')
@example(b"[" * 5000)
def test_any_bytes_are_read_as_another_reader_does_or_refused(body: bytes) -> None:
    try:
        value = strict_json.parse(body)
    except Malformed:
        return
    assert value == json.loads(body)
    assert value == msgspec.json.decode(body)


@given(VALUES, TEXTS, VALUES)
def test_a_name_given_twice_is_refused_wherever_it_stands(value: Any, name: str, other: Any) -> None:
    quoted = json.dumps(name)
    twice = f"{{{quoted}: {json.dumps(value)}, {quoted}: {json.dumps(other)}}}"
    for body in (twice, f"[{twice}]", f'{{"deep": {twice}}}'):
        with pytest.raises(Malformed):
            strict_json.parse(body.encode())


@given(st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e400", "9" * 65, "-" + "1" * 64]), TEXTS)
def test_numbers_that_are_none_or_that_others_read_differently_are_refused(number: str, name: str) -> None:
    for body in (number, f"[1, {number}]", f"{{{json.dumps(name)}: {number}}}"):
        with pytest.raises(Malformed):
            strict_json.parse(body.encode())


@given(st.integers(0xD800, 0xDFFF), TEXTS)
def test_half_a_character_is_refused_in_names_and_in_values(half: int, text: str) -> None:
    quoted = f'{json.dumps(text)[:-1]}\\u{half:04x}"'
    for body in (quoted, f"{{{quoted}: 1}}", f"[{quoted}]"):
        with pytest.raises(Malformed):
            strict_json.parse(body.encode())


@given(st.integers(0, 80), st.sampled_from([("[", "]"), ('{"a":', "}")]))
def test_just_so_deep_and_no_deeper(depth: int, brackets: tuple[str, str]) -> None:
    body = (brackets[0] * depth + "1" + brackets[1] * depth).encode()
    if depth <= strict_json.MAX_DEPTH:
        assert strict_json.parse(body) == json.loads(body)
    else:
        with pytest.raises(Malformed):
            strict_json.parse(body)


# Headers


def test_a_key_is_found_in_its_header() -> None:
    secret = Secret.new()
    for word in ("Bearer ", "bearer ", "BEARER   "):
        assert Secret.in_header(word + secret.text) == secret


@given(HEADERS | HEADERS.map(lambda text: f"Bearer {text}"))
def test_any_header_holds_no_key_and_none_is_a_fault(header: str) -> None:
    assert Secret.in_header(header) is None
    assert credential_of(header, header) is None or isinstance(credential_of(header, header), bytes)


@given(st.integers(0, 71), st.characters(max_codepoint=255))
def test_a_key_with_another_character_is_another_key_or_none(place: int, other: str) -> None:
    secret = Secret.new()
    changed = secret.text[:place] + other + secret.text[place + 1 :]
    found = Secret.in_header(f"Bearer {changed}")
    assert found is None or found.text == changed


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255))
def test_an_idempotency_key_of_visible_characters_is_taken(key: str) -> None:
    assert idempotency.is_key(key)


@given(HEADERS)
def test_an_idempotency_key_with_anything_else_is_not(key: str) -> None:
    visible = all(33 <= ord(character) <= 126 for character in key)
    assert idempotency.is_key(key) == (visible and 0 < len(key) <= 255)


@given(HEADERS)
def test_a_request_id_comes_back_as_it_was_or_is_a_new_one(given_id: str) -> None:
    told = middleware.request_id(given_id.encode("latin-1"))
    printable = all(32 <= ord(character) <= 126 for character in given_id)
    assert (told == given_id.encode("latin-1")) == (printable and given_id != "")
    assert all(32 <= byte <= 126 for byte in told)


@given(HEADERS, st.binary())
def test_a_condition_holds_for_the_tag_that_it_names_and_for_no_other(header: str, representation: bytes) -> None:
    current = conditional.etag_of(representation)
    for sent, holds in ((header, "*" in [tag.strip() for tag in header.split(",")]), (f"{header},{current}", True)):
        asked = request(if_match=sent, if_none_match=sent)
        try:
            conditional.require_match(asked, current, required=True)
        except PreconditionFailed:
            assert not holds
        else:
            assert holds
        assert conditional.is_unchanged(asked, current) or not holds


# Cursors


@given(st.integers(0, 2**63 - 1) | st.integers(0).map(lambda number: f"ds_{number:026x}"))
def test_a_cursor_is_opened_as_it_was_sealed(key: str | int) -> None:
    assert paging.decode_cursor(paging.encode_cursor(key)) == str(key)


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: paging.encode_cursor(raw.decode("latin-1"))))
def test_any_cursor_is_opened_to_plain_text_or_refused(cursor: str) -> None:
    try:
        told = paging.decode_cursor(cursor)
    except Invalid:
        return
    assert told.isascii()
    assert told.isprintable()


# Multipart

PARTS = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [
                b"--b\r\n",
                b"--b--\r\n",
                b"\r\n",
                b"\r\n\r\n",
                b'Content-Disposition: form-data; name="document"\r\n',
                b'Content-Disposition: form-data; name="file"; filename="a.pdf"\r\n',
                b"Content-Disposition: form-data; filename*=utf-8''%ff\r\n",
                b"Content-Disposition: attachment\r\n",
                b"Content-Type: application/json; charset=nothing\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b'{"kind": "other"}',
                b"%PDF-1.7\n",
            ]
        ),
    ),
    max_size=12,
).map(b"".join)
WHOLE = (
    b'--b\r\nContent-Disposition: form-data; name="document"\r\n\r\n'
    b'{"kind": "other", "reference": "1", "issuer": "Legal", "issued_on": "2026-01-02"}\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-1.7\n%%EOF\n\r\n--b--\r\n'
)


async def sent(body: bytes, parameters: str) -> tuple[EvidenceIn, Upload | None]:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return await evidence_upload.read(
        Request(request("POST", content_type=f"multipart/form-data{parameters}").scope, receive), "somebody"
    )


def told(reading: Coroutine[Any, Any, tuple[EvidenceIn, Upload | None]]) -> EvidenceIn | Problem:
    try:
        return asyncio.run(reading)[0]
    except Problem as refused:
        return refused


def test_whole_parts_are_read() -> None:
    record, upload = asyncio.run(sent(WHOLE, "; boundary=b"))
    assert upload is not None
    assert (record.kind, upload.name) == ("other", "a.pdf")


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_changed_parts_are_read_or_refused(place: int, other: bytes, lost: int) -> None:
    record = told(sent(WHOLE[:place] + other + WHOLE[place + lost :], "; boundary=b"))
    assert isinstance(record, EvidenceIn) or 400 <= record.status < 500


@given(
    PARTS,
    st.sampled_from(
        ["; boundary=b", "", "; boundary=", "; boundary=\xe9", "; boundary=b; charset=x", "; charset=utf-7"]
    )
    | HEADERS.map(lambda text: f"; {text}"),
)
def test_any_parts_are_read_or_refused(body: bytes, parameters: str) -> None:
    record = told(sent(body, parameters))
    assert isinstance(record, EvidenceIn) or 400 <= record.status < 500


@pytest.mark.parametrize("value", [b"0", b"{}", b"[]", b'""', b"null", b"1e5"])
def test_a_body_has_so_many_values_and_no_more(value: bytes) -> None:
    most = strict_json.MAX_VALUES // (1 + (value in {b"{}", b"[]"}))
    read, refused = (b"[" + b",".join([value] * (most - 1 + more)) + b"]" for more in (0, 2))
    assert strict_json.parse(read) == json.loads(read)
    for body in (refused, b'{"a":' * 5 + refused + b"}" * 5):
        with pytest.raises(Malformed, match="more than 100000 values"):
            strict_json.parse(body)
