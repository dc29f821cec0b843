"""Salted-hash commitments: which values of an audit entry are public, and how all other text is replaced.

A text is replaced by its commitment, the hash of a random salt and the value. The opening (salt and value) is stored apart and can be
erased; a log cannot forget, so no name and no text that people wrote stands in it.
Source: PIPL art. 47 (erasure), art. 19 (no longer than necessary).
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

SALT_SIZE: Final = 16
"""Bytes of the salt of a commitment: without it, guesses of a short text could be verified."""

MAX_BODY_SIZE: Final = 60_000
"""Largest body in bytes; an entry of a tlog-tiles bundle holds 65,535. Source: C2SP tlog-tiles."""

_MIN_VALUE_SIZE: Final = 128
"""Size in bytes below which a commitment is no shorter than its value."""

_ALWAYS_PUBLIC: Final = frozenset({"on_behalf_of", "break_glass", "credential"})
_TRANSFER: Final = (
    "handler datasets recipient purpose fields systems method necessity legal_basis route valid_from valid_until "
    "revision hash mechanism rules_version policy requirements stages status stage decision review carried_from recipients "
    "evidence kind issued_on document replaces by repeats reused renews mentions"
)
_PERMIT: Final = (
    "id status transfer revision handler datasets recipient purpose fields systems valid_from valid_until mechanism route "
    "evidence receipt_due_on overdue lost_evidence supersedes superseded_by issued_at updated_at by replaced recipients stage "
    "cause export"
)
_FACTS: Final = "changes overtaken askers settled_persons pending_facts twins distinct_from"
_DECISION: Final = "question dataset recipient permit mechanism reason evaluation export expires_at"

PUBLIC_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    thing: _ALWAYS_PUBLIC | frozenset(names.split())
    for thing, names in {
        "handler": f"key {_FACTS}",
        "dataset": f"key handler facts fields tags state review_by sensitive_fields outdated code evaluation {_FACTS}",
        "recipient": f"key country kind {_FACTS}",
        "transfer": _TRANSFER,
        "stage": "stage from to opened_at",
        "finding": "finding answer kind threshold transfers shared",
        "permit": _PERMIT,
        "obligation": "code transfer permit dataset owner due_on evidence settles_on",
        "gate": f"{_DECISION} search after results",
        "export": f"{_DECISION} expired_at told_by was",
        "ledger": "of",
        "principal": "kind",
        "api_key": "principal prefix expires_at seen_by",
        "break_glass": "principal role ends_at",
        "grant": "principal role state valid_from valid_until source granted_by login",
        "login": "principal issuer why seen_by",
        "login_link": "principal expires_at",
        "session": "principal by how",
        "delegation": "delegator delegate roles handler valid_from valid_until",
        "opening": "pointer seal",
        "archive": "month file sha256",
        "evidence_pack": "kind subject since until sha256",
        "log": "vkey previous",
        "settings": "settings",
        "signing_key": "jwk",
        "state": "table",
    }.items()
}
"""Public members by the subject of an action (`permit` in `permit.revoked`), with all that they contain.

They are ids, keys, days, hashes, codes of closed lists, names of fields and systems, and purposes: the values that a decision rests on. A
text in any other member is replaced by a commitment, so a new member is private until it is listed here. Numbers, booleans and null are
always public.
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """Opening of a commitment: `pointer` (RFC 6901) into the body, the salt, and the value as canonical JSON (RFC 8785)."""

    pointer: str
    salt: bytes
    content: str

    @property
    def commitment(self) -> str:
        """`sha256:<hex>` over the salt and the UTF-8 bytes of the content."""
        return f"sha256:{hashlib.sha256(self.salt + self.content.encode()).hexdigest()}"

    @property
    def value(self) -> Any:
        """The value; certainly JSON only if the opening matches its commitment."""
        return json.loads(self.content)


def is_commitment(value: object) -> bool:
    """Return True if a value of a body is a commitment."""
    return isinstance(value, dict) and value.keys() == {"sealed"}


def commit_texts(body: dict[str, Any], new_salt: Callable[[], bytes]) -> tuple[dict[str, Any], list[Opening]]:
    """Replace the private texts of an entry by commitments; return the public body and the openings.

    Replaces the longest values too while the body exceeds `MAX_BODY_SIZE`.

    Example:
        body, openings = commit_texts(content, lambda: secrets.token_bytes(SALT_SIZE))
        assert open_commitments(body, openings) == content

    Args:
        body: at, actor, action, subject, handler and details, of plain JSON types.
        new_salt: returns `SALT_SIZE` fresh random bytes.
    """
    pointers = set(_text_pointers(body["details"], _public_members(body), "/details"))
    while True:
        openings: list[Opening] = []
        committed = _commit_values(body, "", pointers, new_salt, openings)
        if len(rfc8785.dumps(committed)) <= MAX_BODY_SIZE:
            return committed, openings
        pointers.add(_longest_pointer(committed["details"]))


def is_fully_committed(body: dict[str, Any]) -> bool:
    """Return True if a body holds no private text; entries of older versions may."""
    return set(_text_pointers(body["details"], _public_members(body), "")) <= {
        f"{at}/sealed" for at in commitments_of(body["details"])
    }


def _public_members(body: dict[str, Any]) -> frozenset[str]:
    """Return the public members of a body by the subject of its action."""
    return PUBLIC_MEMBERS.get(str(body["action"]).partition(".")[0], _ALWAYS_PUBLIC)


def open_commitments(body: dict[str, Any], openings: Iterable[Opening]) -> dict[str, Any]:
    """Return a body with the values of these openings in place of their commitments.

    A commitment without a matching opening stays.
    """
    commitments = commitments_of(body)
    fitting = {
        opening.pointer: opening for opening in openings if commitments.get(opening.pointer) == opening.commitment
    }
    body_with_values: dict[str, Any] = _open_values(body, "", fitting)
    return body_with_values


def commitments_of(body: dict[str, Any]) -> Mapping[str, str]:
    """Return the commitments of a body: the hash by pointer, in the order of the body."""
    return dict(_iter_commitments(body, ""))


def _commit_values(
    value: Any, at: str, pointers: Collection[str], new_salt: Callable[[], bytes], openings: list[Opening]
) -> Any:
    """Return a value with commitments at these pointers, and append their openings."""
    if at in pointers:
        opening = Opening(at, new_salt(), rfc8785.dumps(value).decode())
        openings.append(opening)
        return {"sealed": opening.commitment}
    return _map_members(value, at, lambda member, below: _commit_values(member, below, pointers, new_salt, openings))


def _open_values(value: Any, at: str, openings: Mapping[str, Opening]) -> Any:
    if at in openings:
        return openings[at].value
    return _map_members(value, at, lambda member, below: _open_values(member, below, openings))


def _map_members(value: Any, at: str, change: Callable[[Any, str], Any]) -> Any:
    """Return a value with each of its members changed."""
    if isinstance(value, dict):
        return {name: change(member, _below(at, name)) for name, member in value.items()}
    if isinstance(value, list):
        return [change(member, _below(at, place)) for place, member in enumerate(value)]
    return value


def _text_pointers(value: object, clear: frozenset[str], at: str) -> Iterator[str]:
    """Yield the pointers of texts outside the public members."""
    if isinstance(value, str):
        yield at
        return
    for name, member in _members(value):
        if name not in clear:
            yield from _text_pointers(member, clear, _below(at, name))


def _iter_commitments(value: object, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and is_commitment(value):
        yield at, str(value["sealed"])
        return
    for name, member in _members(value):
        yield from _iter_commitments(member, _below(at, name))


def _longest_pointer(details: dict[str, Any]) -> str:
    """Return the pointer of the longest list or scalar of details or, if all are short, of the longest member.

    Raises:
        ValueError: all members are commitments already.
    """
    leaves = {at: len(rfc8785.dumps(value)) for at, value in _leaves(details, "/details")}
    at = max(leaves, key=lambda pointer: leaves[pointer], default="")
    if leaves.get(at, 0) > _MIN_VALUE_SIZE:
        return at
    left = [name for name, member in details.items() if not is_commitment(member)]
    return _below("/details", max(left, key=lambda name: len(rfc8785.dumps(details[name]))))


def _leaves(value: object, at: str) -> Iterator[tuple[str, Any]]:
    """Yield pointers and values that are neither objects nor commitments; a list is one value."""
    if not isinstance(value, dict):
        yield at, value
    elif not is_commitment(value):
        for name, member in value.items():
            yield from _leaves(member, _below(at, name))


def _members(value: object) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _below(at: str, name: str | int) -> str:
    return f"{at}/{str(name).replace('~', '~0').replace('/', '~1')}"
