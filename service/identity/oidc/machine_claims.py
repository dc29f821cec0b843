"""Distinguishes tokens of machines from tokens of persons by the claims of identity providers. Pure.

A client that acts on its own account gets a token with a subject like a person's. No standard distinguishes the two (RFC 9068 2.2 says
only that `sub` may be the client's id). So the claims that mark machines are listed for the known providers, and settings can add others.
A token without any mark proves neither kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

Kind = Literal["person", "system"]

PERSON_CLAIMS: Final = ("auth_time", "amr", "name", "given_name", "family_name")
"""Claims of a person's sign-in: its time, its methods and the person's names. Source: OpenID Connect Core 2, 5.1."""

ANY: Final = "*"
MACHINE_CLAIMS: Final[Mapping[str, Sequence[str]]] = {
    "preferred_username": ("service-account-*", "ak-*-client_credentials"),
    "sub": ("*@clients", "service-account-*"),
    "gty": ("client-credentials", "client_credentials"),
    "grant_type": ("client-credentials", "client_credentials"),
    "idtyp": ("app",),
    "email": ("*.gserviceaccount.com",),
    "clientHost": (ANY,),
    "clientAddress": (ANY,),
    "act": (ANY,),
}
"""Patterns of claims in machines' tokens, by claim: Keycloak (`preferred_username`, `clientHost`, `clientAddress`), authentik
(`preferred_username`), Auth0 (`sub`, `gty`), Entra (`idtyp`), Google (`email`); and `act` of a delegated token (RFC 8693 4.1)."""


@dataclass(frozen=True, slots=True)
class KindMarkers:
    """Configured claims of machines and of people, in addition to those of known providers."""

    machine: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Patterns by claim: a claim that matches marks a machine. A dotted path leads into objects; `*` matches anything."""
    person: Sequence[str] = PERSON_CLAIMS
    """Claims of which any one marks a person."""


def kind_of(
    claims: Mapping[str, Any], client: str, markers: KindMarkers, *, has_signed_in: bool = False
) -> Kind | None:
    """Return the kind of a token's subject. One mark of a machine outweighs all marks of a person.

    Args:
        claims: claims of a token with a valid signature.
        client: the client that the token was issued to.
        markers: the configured marks.
        has_signed_in: True if the token comes from a browser sign-in that this service began.

    Returns:
        None if the claims prove neither kind.

    Example:
        A token of the client credentials grant at Auth0::

            kind_of({"sub": "Kd93hs@clients", "gty": "client-credentials"}, "Kd93hs", KindMarkers())  # "system"
    """
    clients = [client, *(claims.get(name) for name in ("client_id", "azp", "cid", "appid"))]
    if claims.get("sub") in clients:
        return "system"
    machine_claims = [*MACHINE_CLAIMS.items(), *markers.machine.items()]
    if any(_matches(member(claims, name), patterns) for name, patterns in machine_claims):
        return "system"
    if has_signed_in:
        return "person"
    if _is_entra_app(claims) or _is_okta_service(claims):
        return "system"
    return "person" if any(_has_content(member(claims, name)) for name in markers.person) else None


def member(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim of this name or, if there is none, the member at a dotted path (`realm_access.roles`)."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _matches(value: Any, patterns: Sequence[str]) -> bool:
    """True if a claim, or one of its items, matches a pattern; case does not count."""
    if value is None:
        return False
    if ANY in patterns:
        return True
    listed = value if isinstance(value, list) else [value]
    return any(fnmatchcase(_text(item).lower(), text.lower()) for item in listed for text in patterns)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_content(value: Any) -> bool:
    return value not in (None, "", [], {}, False)


def _is_entra_app(claims: Mapping[str, Any]) -> bool:
    """True for an application's token of Entra: its subject is its object id, or it names the client and no user."""
    if claims.get("oid") is not None and claims.get("oid") == claims.get("sub"):
        return True
    is_entra = any(name in claims for name in ("appid", "appidacr", "azpacr"))
    return is_entra and not any(_has_content(claims.get(name)) for name in ("scp", "upn", "unique_name"))


def _is_okta_service(claims: Mapping[str, Any]) -> bool:
    """True for a service's token of Okta, which has the client's `cid` but no user's `uid`."""
    return "cid" in claims and not _has_content(claims.get("uid"))
