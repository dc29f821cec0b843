"""Validates the claims of access tokens (RFC 9068) and ID tokens (OpenID Connect Core 2) with a valid signature. Pure.

Issuer and audience must match exactly; times have a tolerance for clock skew. An ID token proves a sign-in to the console, an access
token authenticates a call of the API. Neither is accepted in place of the other.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.identity.oidc.jws import Header, TokenRefusedError
from service.identity.oidc.machine_claims import Kind, KindMarkers, kind_of, member

ACCESS_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
ID_TYPES: Final = frozenset({None, "jwt", "application/jwt"})
MAX_CHARACTERS: Final = 255
"""Maximal length of a subject, in characters. Source: OpenID Connect Core 1.0, section 2."""
_MAX_TIMESTAMP: Final = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_SHA512_ALGORITHMS: Final = frozenset({"EdDSA", "Ed25519"})
"""Algorithms that hash with SHA-512, which `at_hash` then uses too."""


@dataclass(frozen=True, slots=True)
class ExpectedClaims:
    """ExpectedClaims issuer, audience and age of tokens."""

    issuer: str
    audience: str
    skew: timedelta
    max_age: timedelta
    """Maximal age of a token since it was issued, whatever its `exp`."""
    name_claim: str = "name"
    groups_claim: str = "groups"
    markers: KindMarkers = field(default_factory=KindMarkers)
    """Claims that distinguish a machine's token from a person's."""


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """Claims of a valid token."""

    issuer: str
    subject: str
    client: str
    issued_at: datetime
    expires_at: datetime
    name: str | None
    groups: frozenset[str] | None
    """None if the token does not list groups."""
    kind: Kind | None = None
    """Kind of the principal; None if the claims prove neither."""
    has_more_groups: bool = False
    """True if the token refers to a list of groups elsewhere since it has too many; this does not mean that there are none."""

    @property
    def is_system(self) -> bool:
        """True if a client acts on its own account."""
        return self.kind == "system"


def access_token(header: Header, claims: Mapping[str, Any], expected: ExpectedClaims, now: datetime) -> TokenClaims:
    """Return the claims of an access token.

    Raises:
        TokenRefusedError: the token is of another type, issuer or audience, or not valid now.
    """
    if _kind(header) not in ACCESS_TYPES:
        raise TokenRefusedError("This is no access token: its `typ` is not at+jwt (RFC 9068).")
    _text(claims, "jti")
    # RFC 9068 requires `client_id`; several providers send `azp` instead.
    client = "azp" if "client_id" not in claims and "azp" in claims else "client_id"
    return _token_claims(claims, expected, now, _text(claims, client))


def id_token(
    header: Header,
    claims: Mapping[str, Any],
    expected: ExpectedClaims,
    now: datetime,
    *,
    nonce: str,
    access: str | None,
) -> TokenClaims:
    """Return the claims of an ID token, which prove that a person has just signed in.

    Args:
        header: header of the token.
        claims: payload of the token.
        expected: the expected values; the audience is the console's client.
        now: the current time.
        nonce: the nonce of the sign-in.
        access: the access token issued with it, checked against `at_hash`; None if there is none.

    Raises:
        TokenRefusedError: the token is of another type, issuer, client or sign-in, or not valid now.
    """
    if _kind(header) not in ID_TYPES:
        raise TokenRefusedError("This is no ID token, by its `typ`.")
    token_claims = _token_claims(claims, expected, now, expected.audience)
    party = claims.get("azp")
    if (party is None and _audience(claims) != {expected.audience}) or party not in {None, expected.audience}:
        raise TokenRefusedError("The ID token was issued for another client (`azp`).")
    if not hmac.compare_digest(_text(claims, "nonce").encode(), nonce.encode()):
        raise TokenRefusedError("The ID token belongs to another sign-in (`nonce`).")
    if access is not None and "at_hash" in claims:
        bound = _text(claims, "at_hash")
        if not hmac.compare_digest(bound.encode(), half_hash(header.alg, access).encode()):
            raise TokenRefusedError("The access token is not the one that came with this ID token (`at_hash`).")
    return replace(token_claims, kind=kind_of(claims, token_claims.client, expected.markers, has_signed_in=True))


def half_hash(alg: str, access: str) -> str:
    """Return the `at_hash` of an access token: the left half of its hash in base64url (OpenID Connect Core 3.1.3.6)."""
    digest = (hashlib.sha512 if alg in _SHA512_ALGORITHMS else hashlib.sha256)(access.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _token_claims(claims: Mapping[str, Any], expected: ExpectedClaims, now: datetime, client: str) -> TokenClaims:
    if _text(claims, "iss", max_characters=2048) != expected.issuer:
        raise TokenRefusedError("The token is of another issuer.")
    if expected.audience not in _audience(claims):
        raise TokenRefusedError("The token is for another audience.")
    issued, expires = _instant(claims, "iat"), _instant(claims, "exp")
    begins = _instant(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + expected.skew:
        raise TokenRefusedError("The token does not hold yet.")
    if expires + expected.skew <= now:
        raise TokenRefusedError("The token has expired.")
    if issued + expected.max_age + expected.skew <= now:
        raise TokenRefusedError("The token was issued too long ago.")
    name = member(claims, expected.name_claim)
    return TokenClaims(
        issuer=expected.issuer,
        subject=_text(claims, "sub"),
        client=client,
        issued_at=issued,
        expires_at=expires,
        name=name if isinstance(name, str) else None,
        groups=_groups(claims, expected.groups_claim),
        kind=kind_of(claims, client, expected.markers),
        has_more_groups=_has_more_groups(claims, expected.groups_claim),
    )


def _kind(header: Header) -> str | None:
    return None if header.typ is None else header.typ.lower()


def _text(claims: Mapping[str, Any], name: str, *, max_characters: int = MAX_CHARACTERS) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= max_characters or not value.isprintable():
        raise TokenRefusedError(
            f"The token's claim `{name}` is missing, or no text of up to {max_characters} characters."
        )
    return value


def _audience(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get("aud")
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in listed):
        raise TokenRefusedError("The token's claim `aud` is missing, or no text and no list of texts.")
    return frozenset(listed)


def _instant(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIMESTAMP:
        raise TokenRefusedError(f"The token's claim `{name}` is missing, or no time (seconds since 1970).")
    return datetime.fromtimestamp(value, UTC)


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str] | None:
    value = member(claims, name)
    if value is None or _has_more_groups(claims, name):
        return None
    if isinstance(value, str):
        return frozenset({value})
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TokenRefusedError("The token's groups are no list of texts.")
    return frozenset(value)


def _has_more_groups(claims: Mapping[str, Any], name: str) -> bool:
    """True if the groups are listed elsewhere: as a distributed claim (OpenID Connect Core 5.6.2) or by Entra's overage claim."""
    elsewhere = claims.get("_claim_names")
    is_named = isinstance(elsewhere, Mapping) and (name in elsewhere or name.split(".", maxsplit=1)[0] in elsewhere)
    return is_named or claims.get("hasgroups") in (True, "true")
