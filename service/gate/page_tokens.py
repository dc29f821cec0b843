"""Cursors of AuthZEN search pages: the start of the next page, bound to its query.

A cursor is plain base64: it contains nothing secret and grants nothing. A changed one is refused; a forged one starts the caller's own
search elsewhere. So there is no key, and every replica can decode every cursor.

Source: AuthZEN Authorization API 1.0, 8.2.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from service.validation.problems import Malformed

_DIGEST: Final = 16
"""Bytes of the digest of query and place, with which a token begins."""
_CONTENT: Final = re.compile(rb"([0-9]{1,4}) ([a-z0-9_]{0,29})")


@dataclass(frozen=True, slots=True)
class Place:
    """Start of a page: after this candidate, with a maximum number of results."""

    limit: int
    after: str


def encode_cursor(place: Place, query: bytes) -> str:
    """Return the token of a place in the results of a query."""
    content = f"{place.limit} {place.after}".encode()
    return base64.urlsafe_b64encode(_digest(query, content) + content).decode().rstrip("=")


def decode_cursor(token: str, query: bytes, limit: int | None) -> Place:
    """Return the place that a token names.

    Args:
        token: the token of the request.
        query: the query of the request.
        limit: the maximum number of results of the request; None: that of the page before.

    Raises:
        Malformed: the token is of another query, or the limit differs.
    """
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _unknown() from error
    content = _CONTENT.fullmatch(raw, _DIGEST)
    if content is None or raw[:_DIGEST] != _digest(query, content[0]):
        raise _unknown()
    page_limit = int(content[1])
    if limit is not None and limit != page_limit:
        raise Malformed(
            "The limit is not the one of the page before.",
            errors=[("/page/limit", f"Leave it out, or send {page_limit}.")],
        )
    return Place(page_limit, content[2].decode())


def _digest(query: bytes, content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(query).digest() + content).digest()[:_DIGEST]


def _unknown() -> Malformed:
    return Malformed(
        "The token is not one that a page of this query gave.",
        errors=[("/page/token", "Take `next_token` of the page before, and leave the rest of the query as it was.")],
    )
