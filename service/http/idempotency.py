"""`Idempotency-Key`: the same request sent twice happens once, and is answered twice.

The answer is stored in the transaction of the change itself: either both are there or neither, and a crash between them cannot be.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from fastapi import Request
from msgspec import Struct, field
from sqlalchemy import LargeBinary, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, Id, Moment, Transaction
from service.http.problems import Conflict, Invalid

HEADER: Final = "Idempotency-Key"
_FORM: Final = re.compile(r"[\x21-\x7e]{1,255}")


class StoredAnswer(Base):
    """The answer that a key has been given, kept per principal, method, path and key."""

    __tablename__ = "stored_answers"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """SHA-256 over principal, method, path and key."""
    principal: Mapped[str] = mapped_column(Id)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the body and query that came with the key."""
    at: Mapped[Moment]
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Reply(Struct):
    """What goes out: status, headers and the bytes of the body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kept: bytes | None = None
    """The body to store for a repeat, where it must differ (a secret that is shown once)."""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a key by one principal for one request."""

    digest: bytes
    """SHA-256 over principal, method, path and key."""
    request: bytes
    """SHA-256 of the body and query that came with the key."""

    @classmethod
    def of(cls, principal: str, method: str, path: str, query: str, key: str, body: bytes) -> Self:
        """Return the use that a request is."""
        scope = f"{principal}\x00{method}\x00{path}\x00{key}"
        request = query.encode() + b"\x00" + body
        return cls(hashlib.sha256(scope.encode()).digest(), hashlib.sha256(request).digest())

    @property
    def lock(self) -> int:
        """The advisory lock that the request holds while it is under way."""
        return int.from_bytes(self.digest[:8], "big", signed=True)

    def repeated(self, request: bytes, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return what was answered before.

        Raises:
            KeyReused: the key was used with another body (422).
        """
        if request != self.request:
            raise KeyReused(
                "Take a new key for a new request.", errors=[(f"/{HEADER}", "This key came before with another body.")]
            )
        return Reply(status, body, {**headers, "Idempotent-Replayed": "true"})


class KeyReused(Invalid):
    """The key came before with another body."""

    slug, title = "idempotency-key-reused", "This Idempotency-Key belongs to another request"


class KeyInFlight(Conflict):
    """The first request with this key has not been answered yet."""

    slug, title = "idempotency-key-in-flight", "A request with this Idempotency-Key is under way"


def key_of(request: Request) -> str | None:
    """Return the key of a request, or None.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is not None and not is_key(key):
        raise Invalid(
            "The Idempotency-Key is not usable.",
            errors=[(f"/{HEADER}", "Send 1 to 255 visible ASCII characters, for instance a UUID.")],
        )
    return key


def is_key(text: str) -> bool:
    """Tell whether a text can be a key."""
    return _FORM.fullmatch(text) is not None


class Once:
    """A request with a key, in the transaction that carries it out."""

    def __init__(self, request: Request, principal: str, key: str, body: bytes) -> None:
        self._use = Use.of(principal, request.method, request.url.path, request.url.query, key, body)
        self._principal = principal

    async def earlier(self, tx: Transaction) -> Reply | None:
        """Hold the key until the transaction ends, and return the answer it was given before, if any.

        Raises:
            KeyInFlight: another transaction holds the key (409).
            KeyReused: the key was used with another body (422).
        """
        if not await tx.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": self._use.lock}):
            raise in_flight()
        stored = await tx.get(StoredAnswer, self._use.digest)
        if stored is None:
            return None
        return self._use.repeated(stored.request, stored.status, stored.headers, stored.body)

    def keep(self, tx: Transaction, answer: Reply) -> None:
        """Store the answer with the change that it tells of."""
        tx.add(
            StoredAnswer(
                digest=self._use.digest,
                principal=self._principal,
                request=self._use.request,
                at=tx.now,
                status=answer.status,
                headers=answer.headers,
                body=answer.kept or answer.body,
            )
        )


def in_flight() -> KeyInFlight:
    """Return the refusal of a request whose key another one holds."""
    return KeyInFlight("Wait for the answer of the first request, then ask again.")
