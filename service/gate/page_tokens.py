"""Cursors of AuthZEN search pages: where the next page begins, and for which query.

A cursor is plain base64: it holds nothing that its holder does not know, and grants nothing. A changed one is refused; a made-up one
begins the holder's own search elsewhere. So there is no key, and every replica reads every cursor.

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
"""Bytes of the digest over query and place that a token begins with."""
_CONTENT: Final = re.compile(rb"([0-9]{1,4}) ([a-z0-9_]{0,29})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after this candidate, with so many results at most."""

    limit: int
    after: str


def encode_cursor(place: Place, query: bytes) -> str:
    """Return the token of a place in the results of a query."""
    content = f"{place.limit} {place.after}".encode()
    return base64.urlsafe_b64encode(_digest(query, content) + content).decode().rstrip("=")


def decode_cursor(token: str, query: bytes, limit: int | None) -> Place:
    """Return the place that a token names.

    Args:
        token: as it was sent.
        query: what is asked now.
        limit: results at most, as asked now; None leaves it as it was on the page before.

    Raises:
        Malformed: no page of this query gave it, or the limit is another one.
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
