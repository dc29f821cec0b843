"""Tokens of search pages: what was sealed is opened for its own query, and nothing else is, nor ever a fault."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gate.page_tokens import Place, decode_cursor, encode_cursor
from service.validation.problems import Malformed

PLACES = st.builds(Place, st.integers(0, 1000), st.from_regex(r"(ds_[0-9a-z]{26}|)", fullmatch=True))


@given(PLACES, st.binary())
def test_a_token_tells_its_place_to_its_query(place: Place, query: bytes) -> None:
    token = encode_cursor(place, query)
    assert decode_cursor(token, query, None) == decode_cursor(token, query, place.limit) == place


@given(PLACES, st.binary(), st.binary(), st.integers(0, 1000))
def test_a_token_tells_nothing_to_another_query_or_limit(place: Place, query: bytes, other: bytes, limit: int) -> None:
    token = encode_cursor(place, query)
    if query != other:
        with pytest.raises(Malformed):
            decode_cursor(token, other, None)
    if limit != place.limit:
        with pytest.raises(Malformed):
            decode_cursor(token, query, limit)


@given(st.text(max_size=100), st.binary())
def test_a_text_that_is_no_token_is_refused(token: str, query: bytes) -> None:
    with pytest.raises(Malformed):
        decode_cursor(token, query, None)


@given(st.binary(max_size=60))
def test_whoever_makes_the_digest_themselves_is_held_to_the_form(told: bytes) -> None:
    digest = hashlib.sha256(hashlib.sha256(b"q").digest() + told).digest()[:16]
    token = base64.urlsafe_b64encode(digest + told).decode()
    try:
        place = decode_cursor(token, b"q", None)
    except Malformed:
        return
    assert (place.limit < 10_000, place.after.isascii(), len(place.after) <= 29) == (True, True, True)
