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
"""Random bytes before each value: without them a name could be found out by trying."""

MAX_BODY_SIZE: Final = 60_000
"""Bytes of a body at most; an entry of a tlog-tiles bundle holds 65,535. Source: C2SP tlog-tiles."""

_MIN_VALUE_SIZE: Final = 128
"""Sealing something of fewer bytes than this makes it no shorter."""

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
"""The members whose texts stay in clear, with all that is in them, by the thing that the action is about (`permit` in `permit.revoked`).

They are ids, keys, days, hashes, codes and words of a closed list, names of fields and of systems, and purposes: what a decision rests
on, and what anybody needs to check it. A text in any other member is sealed, so one that is added later is sealed until it is put here.
Numbers, truth values and null are always in clear.
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens one sealed value: `pointer` (RFC 6901) into the body, the salt, and the value as canonical JSON (RFC 8785)."""

    pointer: str
    salt: bytes
    content: str

    @property
    def commitment(self) -> str:
        """`sha256:<hex>` over the salt and the UTF-8 bytes of the content."""
        return f"sha256:{hashlib.sha256(self.salt + self.content.encode()).hexdigest()}"

    @property
    def value(self) -> Any:
        """The value; only what was found to fit is sure to be JSON."""
        return json.loads(self.content)


def is_commitment(value: object) -> bool:
    """Tell whether a value of a body is a seal."""
    return isinstance(value, dict) and value.keys() == {"sealed"}


def commit_texts(body: dict[str, Any], new_salt: Callable[[], bytes]) -> tuple[dict[str, Any], list[Opening]]:
    """Return the body of an entry as it goes into the log, and what opens it.

    Args:
        body: at, actor, action, subject, handler and details, of plain JSON types.
        new_salt: returns `SALT_SIZE` fresh random bytes.
    """
    pointers = set(_text_pointers(body["details"], _public_members(body), "/details"))
    while True:
        openings: list[Opening] = []
        sealed = _commit_values(body, "", pointers, new_salt, openings)
        if len(rfc8785.dumps(sealed)) <= MAX_BODY_SIZE:
            return sealed, openings
        pointers.add(_longest_pointer(sealed["details"]))


def is_fully_committed(body: dict[str, Any]) -> bool:
    """Tell whether a body holds no text that would be sealed today: entries from before may."""
    return set(_text_pointers(body["details"], _public_members(body), "")) <= {
        f"{at}/sealed" for at in commitments_of(body["details"])
    }


def _public_members(body: dict[str, Any]) -> frozenset[str]:
    """Return the members that stay in clear in a body, by the thing that its action is about."""
    return PUBLIC_MEMBERS.get(str(body["action"]).partition(".")[0], _ALWAYS_PUBLIC)


def open_commitments(body: dict[str, Any], openings: Iterable[Opening]) -> dict[str, Any]:
    """Return a body with the values of these openings in their places.

    What has no opening stays sealed, and so does what has one that is not what was sealed there.
    """
    held = commitments_of(body)
    fitting = {one.pointer: one for one in openings if held.get(one.pointer) == one.commitment}
    shown: dict[str, Any] = _open_values(body, "", fitting)
    return shown


def commitments_of(body: dict[str, Any]) -> Mapping[str, str]:
    """Return the seals of a body: the hash by pointer, in the order of the body."""
    return dict(_iter_commitments(body, ""))


def _commit_values(
    value: Any, at: str, pointers: Collection[str], new_salt: Callable[[], bytes], openings: list[Opening]
) -> Any:
    """Return a value with seals at these pointers, and add what opens them."""
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
    """Yield the pointers of texts outside the members that stay in clear."""
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
    """Return what to seal next of details that are too long: the longest list or scalar or, if those are all short, the longest member.

    Raises:
        ValueError: everything is sealed, and still too long.
    """
    leaves = {at: len(rfc8785.dumps(value)) for at, value in _leaves(details, "/details")}
    at = max(leaves, key=lambda one: leaves[one], default="")
    if leaves.get(at, 0) > _MIN_VALUE_SIZE:
        return at
    left = [name for name, member in details.items() if not is_commitment(member)]
    return _below("/details", max(left, key=lambda name: len(rfc8785.dumps(details[name]))))


def _leaves(value: object, at: str) -> Iterator[tuple[str, Any]]:
    """Yield what is no object and not sealed; lists as they are."""
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
