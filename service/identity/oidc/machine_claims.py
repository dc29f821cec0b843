"""Tells a machine's token from a person's, by the signs that identity providers leave in its claims. Pure.

A client that acts on its own account gets a token like a person's, with a subject that looks like one. No standard says how to tell
(RFC 9068 2.2 only that `sub` may be the client's id), so the signs of each provider are known by name, and more can be set. A token
without any sign, of either, is nobody's of whom anything is certain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

Kind = Literal["person", "system"]

PERSON_CLAIMS: Final = ("auth_time", "amr", "name", "given_name", "family_name")
"""Claims that are there where somebody has signed in: when, how, and what people are called. Source: OpenID Connect Core 2, 5.1."""

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
"""What a claim of a machine's token looks like: of Keycloak (`preferred_username`, `clientHost`, `clientAddress`), authentik
(`preferred_username`), Auth0 (`sub`, `gty`), Entra (`idtyp`), Google (`email`); and `act`: somebody else acts (RFC 8693 4.1)."""


@dataclass(frozen=True, slots=True)
class KindMarkers:
    """Configured claims of machines and of people, in addition to those of known providers."""

    machine: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By claim (a path with dots leads into objects) the texts that it has in a machine's token; `*` stands for anything."""
    person: Sequence[str] = PERSON_CLAIMS
    """Claims of which each makes it certain that a token is a person's."""


def kind_of(
    claims: Mapping[str, Any], client: str, markers: KindMarkers, *, has_signed_in: bool = False
) -> Kind | None:
    """Return whose token it is: where there is one sign of a machine it is that of one, whatever else it says.

    Args:
        claims: of a token whose signature is true.
        client: to whom it was issued.
        markers: what tells the two.
        has_signed_in: whether it came of signing in with a browser that this service has sent to the provider.

    Returns:
        None where nothing is certain.
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
    """Return the claim of this name or, step by step, the member that a path with dots leads to (`realm_access.roles`)."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _matches(value: Any, patterns: Sequence[str]) -> bool:
    """Tell whether a claim, or one of those it lists, is like one of some texts; case does not count."""
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
    """Entra: an application's own token has its object's id as subject, or says how the client proved itself and nothing of a user."""
    if claims.get("oid") is not None and claims.get("oid") == claims.get("sub"):
        return True
    is_entra = any(name in claims for name in ("appid", "appidacr", "azpacr"))
    return is_entra and not any(_has_content(claims.get(name)) for name in ("scp", "upn", "unique_name"))


def _is_okta_service(claims: Mapping[str, Any]) -> bool:
    """Okta: every token says to which client it was issued (`cid`), a user's also to whom (`uid`)."""
    return "cid" in claims and not _has_content(claims.get("uid"))
