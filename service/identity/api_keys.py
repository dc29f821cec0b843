"""Format of API keys: `ob_live_<12 characters to look it up by>_<52 characters of secret, 256 bits and more>`."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from service.database.ids import new_secret

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(ob_live_[0-9a-hjkmnp-tv-z]{12}_[0-9a-hjkmnp-tv-z]{52}) *")
_PREFIX: Final = len("ob_live_") + 12


@dataclass(slots=True, repr=False)
class Secret:
    """A key as its holder knows it."""

    text: str

    @classmethod
    def new(cls) -> "Secret":
        """Make a key: 12 characters of 5 bits to find it by, 52 (260 bits) that nobody can guess."""
        return cls(f"ob_live_{new_secret(12)}_{new_secret(52)}")

    @classmethod
    def in_header(cls, authorization: str | None) -> "Secret | None":
        """Return the key in an `Authorization: Bearer` header, or None where there is none of this form."""
        bearer = _BEARER.fullmatch(authorization or "")
        return None if bearer is None else cls(bearer[1])

    @property
    def prefix(self) -> str:
        """Prefix of the key, up to the secret part."""
        return self.text[:_PREFIX]

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the key, which is stored. A fast hash suffices: 260 random bits cannot be guessed."""
        return hashlib.sha256(self.text.encode()).digest()
