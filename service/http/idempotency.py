"""`Idempotency-Key`: the same request sent twice happens once, and is answered twice.

The answer is stored in the transaction of the change itself: either both are there or neither, and a crash between them cannot be.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out: status, headers and the bytes of the body."""

    status: int
    body: bytes
    headers: dict[str, str]
    kept: bytes | None = None
    """The body to store for a repeat, where it must differ (a secret that is shown once)."""


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
    if key is not None and not _FORM.fullmatch(key):
        raise Invalid(
            "The Idempotency-Key is not usable.",
            errors=[(f"/{HEADER}", "Send 1 to 255 visible ASCII characters, for instance a UUID.")],
        )
    return key


class Once:
    """One use of a key by one principal for one request."""

    def __init__(self, request: Request, principal: str, key: str, body: bytes) -> None:
        scope = f"{principal}\x00{request.method}\x00{request.url.path}\x00{key}"
        self._digest = hashlib.sha256(scope.encode()).digest()
        self._request = hashlib.sha256(request.url.query.encode() + b"\x00" + body).digest()
        self._principal = principal

    async def earlier(self, tx: Transaction) -> Answer | None:
        """Hold the key until the transaction ends, and return the answer it was given before, if any.

        Raises:
            KeyInFlight: another transaction holds the key (409).
            KeyReused: the key was used with another body (422).
        """
        lock = int.from_bytes(self._digest[:8], "big", signed=True)
        if not await tx.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": lock}):
            raise KeyInFlight("Wait for the answer of the first request, then ask again.")
        stored = await tx.get(StoredAnswer, self._digest)
        if stored is None:
            return None
        if stored.request != self._request:
            raise KeyReused(
                "Take a new key for a new request.", errors=[(f"/{HEADER}", "This key came before with another body.")]
            )
        return Answer(stored.status, stored.body, {**stored.headers, "Idempotent-Replayed": "true"})

    def keep(self, tx: Transaction, answer: Answer) -> None:
        """Store the answer with the change that it tells of."""
        fields: dict[str, Any] = {
            "status": answer.status,
            "headers": answer.headers,
            "body": answer.kept or answer.body,
        }
        tx.add(StoredAnswer(digest=self._digest, principal=self._principal, request=self._request, at=tx.now, **fields))
