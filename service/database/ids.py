"""Identifiers (UUIDv7 in Crockford base32 behind a prefix) and secrets."""

import re
import secrets
from collections.abc import Iterator
from typing import Final

import uuid_utils

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TRIPLES: Final = tuple(high + mid + low for high in _ALPHABET for mid in _ALPHABET for low in _ALPHABET)
_COUNTED: Final = (1 << 30) - 1
_ID: Final = re.compile(r"[a-z]{2}_[0-7][0-9a-hjkmnp-tv-z]{25}")


def new_id(prefix: str) -> str:
    """Return a fresh identifier of 29 characters: two-letter prefix, underscore, UUIDv7 in Crockford base32."""
    return next(new_ids(prefix))


def new_ids(prefix: str) -> Iterator[str]:
    """Yield fresh identifiers for what is made at one moment: the first is drawn, and each other follows the one before.

    An id opens nothing, so that one may be told from its neighbour. Source: RFC 9562 section 6.2, method 2: of several UUIDv7 that are made
    at once the random part is counted on; here its last 30 bits are.
    """
    three = _TRIPLES
    while True:
        number = uuid_utils.uuid7().int
        head = (
            f"{prefix}_{_ALPHABET[number >> 125]}{_ALPHABET[number >> 120 & 31]}"
            f"{three[number >> 105 & 32767]}{three[number >> 90 & 32767]}{three[number >> 75 & 32767]}{three[number >> 60 & 32767]}"
            f"{three[number >> 45 & 32767]}{three[number >> 30 & 32767]}"
        )
        for last in range(number & _COUNTED, _COUNTED + 1):
            yield f"{head}{three[last >> 15]}{three[last & 32767]}"


def is_id(candidate: str, prefix: str) -> bool:
    """Return True if a reference is an identifier with this prefix, and not a key."""
    return candidate.startswith(prefix + "_") and _ID.fullmatch(candidate) is not None


def is_any_id(candidate: str) -> bool:
    """Return True if a text has the form of an identifier, whatever its prefix."""
    return _ID.fullmatch(candidate) is not None


def new_secret(length: int) -> str:
    """Return `length` random characters of Crockford base32, five bits each, from the system's source of secrets."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
