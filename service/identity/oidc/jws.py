"""Verifies JSON Web Signatures (RFC 7515, RFC 7519): form, header, key, signature. Pure; every fault raises `TokenRefusedError`.

1. Length and form are checked before anything is decoded.
2. The header's members `alg`, `typ` and `kid` are used. Members that carry a key or its address are ignored; members that change the
   meaning of others (`crit`, `b64`, `enc`, `zip`) are refused.
3. The type of a key determines its algorithms, not the token's header. So no public key is used as a shared secret (key confusion).
4. The payload is parsed only after the signature is verified.

Source: RFC 8725 (best current practices for JWT).
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import to_bytes, urlsafe_b64decode

from service.validation import strict_json
from service.validation.problems import Malformed

# RFC 9864 prefers the name Ed25519, while providers still use EdDSA. Both are accepted, for that curve alone.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

MAX_TOKEN_CHARACTERS: Final = 16_384
"""Maximal length of a token, in characters."""
MAX_KEYS: Final = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""Accepted sizes of RSA keys: shorter keys can be broken, longer ones are slow. Source: RFC 7518 section 3.3."""

Key = RSAKey | ECKey | OKPKey

_TOKEN_FORM: Final = re.compile(r"[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}")
_CURVE_ALGORITHMS: Final = {"P-256": frozenset({"ES256"}), "Ed25519": frozenset({"EdDSA", "Ed25519"})}
ALGORITHMS: Final = frozenset({"RS256", "ES256", "EdDSA", "Ed25519"})
_REFUSED_MEMBERS: Final = frozenset({"crit", "b64", "enc", "zip"})
_KEY_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_KEY_TYPES: Final[Mapping[str, type[Key]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_MAX_CHARACTERS: Final = 255


class TokenRefusedError(Exception):
    """Refusal of a token. The message gives the reason and nothing of the token."""


class UnknownKeyError(TokenRefusedError):
    """Refusal of a token whose key is not in the cached key set, which may be outdated."""


@dataclass(frozen=True, slots=True)
class Header:
    """Members of a token's header that are used."""

    alg: str
    typ: str | None
    kid: str | None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of an issuer, and the algorithms that it may be used with."""

    kid: str | None
    algorithms: frozenset[str]
    key: Key


def is_token(text: str) -> bool:
    """True if a text has the form of a signed token: three parts of base64url of limited length."""
    return len(text) <= MAX_TOKEN_CHARACTERS and _TOKEN_FORM.fullmatch(text) is not None


def header_of(token: str) -> Header:
    """Return the header of a token that is not verified yet.

    Raises:
        TokenRefusedError: the text is no signed token, or its header is not supported.
    """
    if not is_token(token):
        raise TokenRefusedError("This is no signed token.")
    members = _object(token.partition(".")[0], "header")
    if not _REFUSED_MEMBERS.isdisjoint(members):
        raise TokenRefusedError("The token's header asks for something that is not done here.")
    alg = members.get("alg")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise TokenRefusedError(f"The token must be signed with one of {', '.join(sorted(ALGORITHMS))}.")
    return Header(alg, _text(members, "typ"), _text(members, "kid"))


def keys_in(document: bytes) -> tuple[PublicKey, ...]:
    """Return the keys of a JWK set that can verify signatures, without the others.

    Raises:
        TokenRefusedError: the document is no JWK set, or has no such key.
    """
    try:
        members = strict_json.parse(document)["keys"]
    except (Malformed, KeyError, TypeError) as error:
        raise TokenRefusedError("The issuer's keys cannot be read.") from error
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise TokenRefusedError("The issuer's keys cannot be read.")
    keys = tuple(key for key in map(_public_key, members) if key is not None)
    if not keys:
        raise TokenRefusedError("The issuer has no key that signatures can be checked with.")
    return keys


def key_for(header: Header, keys: Sequence[PublicKey]) -> PublicKey:
    """Return the key that a header names.

    Raises:
        UnknownKeyError: there is none.
        TokenRefusedError: several keys match.
    """
    if header.kid is None and len(keys) > 1:
        raise TokenRefusedError("The token does not say by `kid` which key signed it.")
    named = [key for key in keys if header.kid is None or key.kid == header.kid]
    fitting = [key for key in named if header.alg in key.algorithms]
    if not fitting:
        raise UnknownKeyError("The token is signed with no key that the issuer has for this algorithm.")
    if len(fitting) > 1:
        raise TokenRefusedError("The issuer has several keys of this `kid`.")
    return fitting[0]


def claims_in(token: str, header: Header, key: PublicKey) -> Mapping[str, Any]:
    """Verify the signature of a token and return its claims.

    Raises:
        TokenRefusedError: the signature is invalid, or the claims are no JSON object.

    Example:
        A token and the key set of its issuer::

            header = header_of(token)
            claims = claims_in(token, header, key_for(header, keys_in(document)))
    """
    registry = jws.JWSRegistry(algorithms=[header.alg], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = registry.max_signature_length = MAX_TOKEN_CHARACTERS
    try:
        jws.deserialize_compact(token, key.key, registry=registry)
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefusedError("The token's signature is not true.") from error
    return _object(token.split(".")[1], "payload")


def _object(part: str, name: str) -> Mapping[str, Any]:
    """Return the JSON object of a part. Strict parsing prevents that another parser reads another value."""
    try:
        value = strict_json.parse(urlsafe_b64decode(to_bytes(part)))
    except (Malformed, ValueError) as error:
        raise TokenRefusedError(f"The token's {name} is no proper JSON.") from error
    if not isinstance(value, dict):
        raise TokenRefusedError(f"The token's {name} is no JSON object.")
    return value


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_CHARACTERS:
        raise TokenRefusedError(f"The token's `{name}` is no text of up to {_MAX_CHARACTERS} characters.")
    return value


def _public_key(member: object) -> PublicKey | None:
    """Return one key of a set; None if it is not for signatures or is unsafe."""
    if not isinstance(member, dict) or "d" in member:
        return None
    kind, use, operations = str(member.get("kty")), member.get("use", "sig"), member.get("key_ops", ["verify"])
    if kind not in _KEY_TYPES or use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    kid = member.get("kid")
    try:
        key = _KEY_TYPES[kind].import_key(
            cast("Any", {"kty": kind} | {name: member[name] for name in _KEY_MEMBERS[kind]})
        )
        algorithms = _algorithms(key)
    except (JoseError, KeyError, ValueError, TypeError, AttributeError):
        return None
    if "alg" in member:
        algorithms &= {member["alg"]} if isinstance(member["alg"], str) else frozenset()
    if not algorithms or not (kid is None or isinstance(kid, str)):
        return None
    return PublicKey(kid, algorithms, key)


def _algorithms(key: Key) -> frozenset[str]:
    if isinstance(key, RSAKey):
        return frozenset({"RS256"}) if MIN_RSA_BITS <= key.raw_value.key_size <= MAX_RSA_BITS else frozenset()
    return _CURVE_ALGORITHMS.get(key.curve_name, frozenset())
