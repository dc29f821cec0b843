"""`Idempotency-Key`: a repeated request is carried out once, and answered the same each time.

The answer is stored in the transaction of the change, so that no crash can separate the two.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request
from msgspec import Struct, field
from sqlalchemy import LargeBinary, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Timestamp
from service.database.session import Transaction
from service.validation.problems import Conflict, Invalid

HEADER: Final = "Idempotency-Key"
_FORM: Final = re.compile(r"[\x21-\x7e]{1,255}")


class StoredAnswer(Base):
    """Stored answer of a key, by principal, method, path and key."""

    __tablename__ = "stored_answers"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """SHA-256 over principal, method, path and key."""
    principal: Mapped[str] = mapped_column(Id)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the bytes of body and query that came with the key."""
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    """SHA-256 of their canonical content; null: stored by a version that compared bytes."""
    at: Mapped[Timestamp]
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Reply(Struct):
    """Response before it is sent: status, headers and body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kept: bytes | None = None
    """Body to store for a repeat, if it differs (a secret is shown once)."""


class Sent(Struct, frozen=True):
    """Body of a request, as bytes and as canonical content."""

    exact: bytes
    """Bytes, or a digest of them, which earlier versions compared."""
    content: bytes
    """Canonical content: the same for every encoding of a value."""

    @classmethod
    def json(cls, body: bytes) -> Self:
        """Return the content of a JSON body."""
        return cls(body, canonical(body))

    @classmethod
    def plain(cls, body: bytes) -> Self:
        """Return the content of a body whose bytes are its content."""
        return cls(body, body)


def canonical(body: bytes) -> bytes:
    """Return the same bytes for every JSON text of one value: by RFC 8785 in all that tells values apart.

    Order of members, white space, escapes and the notation of numbers make no difference. A member that is left out differs from one
    that states its default. Text that is no JSON is returned unchanged, since no route accepts it.
    """
    try:
        return _encode(_decode(body))
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return body


def _number(digits: str) -> float:
    number = float(digits)
    return int(number) if number.is_integer() else number


_decode: Final = msgspec.json.Decoder(float_hook=_number).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a key by one principal for one request."""

    digest: bytes
    """SHA-256 over principal, method, path and key."""
    request: bytes
    """SHA-256 of the bytes of body and query that came with the key."""
    content: bytes
    """SHA-256 of their canonical content."""

    @classmethod
    def of(cls, principal: str, method: str, path: str, query: str, key: str, sent: Sent) -> Self:
        """Return the use of a key by a request."""
        scope = f"{principal}\x00{method}\x00{path}\x00{key}"
        request = query.encode() + b"\x00" + sent.exact
        parameters = _encode(sorted(parse_qsl(query, keep_blank_values=True))) if query else b""
        content = parameters + b"\x00" + sent.content
        return cls(*(hashlib.sha256(part).digest() for part in (scope.encode(), request, content)))

    @property
    def lock(self) -> int:
        """Advisory lock that the request holds until its transaction ends."""
        return int.from_bytes(self.digest[:8], "big", signed=True)

    def repeated(
        self, request: bytes, content: bytes | None, status: int, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Return the stored answer.

        Raises:
            KeyReused: the key was used with another body (422).
        """
        if content != self.content and request != self.request:
            raise KeyReused(
                "Take a new key for a new request.", errors=[(f"/{HEADER}", "This key came before with another body.")]
            )
        return Reply(status, body, {**headers, "Idempotent-Replayed": "true"})


class KeyReused(Invalid):
    """The key was used with another body."""

    slug, title = "idempotency-key-reused", "This Idempotency-Key belongs to another request"


class KeyInFlight(Conflict):
    """The first request with this key has no answer yet."""

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
    """Return True if a text can be a key."""
    return _FORM.fullmatch(text) is not None


class Once:
    """A request with a key, in its transaction."""

    def __init__(self, request: Request, principal: str, key: str, sent: Sent) -> None:
        self._use = Use.of(principal, request.method, request.url.path, request.url.query, key, sent)
        self._principal = principal

    async def earlier(self, tx: Transaction) -> Reply | None:
        """Lock the key until the transaction ends, and return its stored answer, if any.

        Raises:
            KeyInFlight: another transaction holds the key (409).
            KeyReused: the key was used with another body (422).
        """
        if not await tx.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": self._use.lock}):
            raise in_flight()
        stored = await tx.get(StoredAnswer, self._use.digest)
        if stored is None:
            return None
        return self._use.repeated(stored.request, stored.content, stored.status, stored.headers, stored.body)

    def keep(self, tx: Transaction, answer: Reply) -> None:
        """Store the answer in the transaction of its change."""
        tx.add(
            StoredAnswer(
                digest=self._use.digest,
                principal=self._principal,
                request=self._use.request,
                content=self._use.content,
                at=tx.now,
                status=answer.status,
                headers=answer.headers,
                body=answer.kept or answer.body,
            )
        )


def in_flight() -> KeyInFlight:
    """Return the refusal of a request whose key another request holds."""
    return KeyInFlight("Wait for the answer of the first request, then ask again.")
