"""Effects of an act: salted hashes of the columns that its transaction set, committed in its audit entry; and the list of compared columns.

The member `effects` of an entry is the commitment to a document, which is stored as an opening (`openings`, at `/effects`). The document
lists the rows that the transaction wrote and the hash of each column that it set. So the log determines the state of the tables column by
column, and a change without an act is detected. The document holds no values, and is never returned.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from json.encoder import encode_basestring
from typing import Any, Final

from service.audit.commitments import SALT_SIZE, Opening
from service.audit.pack_columns import HASH_WIDTH, hash_value
from service.clock import rfc3339

MEMBER: Final = "effects"
"""Member of a body, between `details` and `handler`; null if nothing was written or another entry of the transaction has the effects."""
POINTER: Final = f"/{MEMBER}"


@dataclass(frozen=True, slots=True)
class Covered:
    """Table whose rows follow from the log.

    Attributes:
        excluded: columns that are not compared, each with the reason.
        defaults: the value of a column that no entry sets, where it is not null.
    """

    excluded: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


RESERVATION_COLUMNS: Final = (
    "evaluation",
    "handler",
    "dataset",
    "recipient",
    "permit",
    "system",
    "purpose",
    "fields",
    "year",
    "counts",
    "persons",
    "sensitive_persons",
    "permit_persons",
    "permit_sensitive_persons",
    "year_persons",
    "year_sensitive_persons",
    "reserved_at",
    "expires_at",
)
"""Columns of exports that the entry of the reservation contains: `service/audit/reservations.py` compares them."""
_RESERVATION_REASON: Final = "in the entry of its reservation (`service/audit/reservations.py`)"
_USE_REASON: Final = "changes with use, and decides only when a session expires"

_SPELLING_COLUMNS: Final = dict.fromkeys(
    ("folded_key", "twin_number"), "follows from the key and the order of its spellings"
)

COVERED_TABLES: Final[Mapping[str, Covered]] = {
    "api_keys": Covered(),
    "break_glass": Covered(),
    "comments": Covered(),
    "datasets": Covered(_SPELLING_COLUMNS, {"pending_facts": {}, "twins": [], "distinct_from": []}),
    "delegations": Covered(),
    "documents": Covered({"content": "its key is its SHA-256, which is recomputed", "size": "the same"}),
    "events": Covered(),
    "evidence": Covered(),
    "exports": Covered(
        dict.fromkeys(RESERVATION_COLUMNS, _RESERVATION_REASON),
        {"status": "reserved", "late": False},
    ),
    "findings": Covered(defaults={"about": "structuring"}),
    "gradings": Covered(),
    "grants": Covered(),
    "fact_changes": Covered(),
    "handlers": Covered(_SPELLING_COLUMNS, {"pending_facts": {}}),
    "ledger_years": Covered(
        defaults=dict.fromkeys(("persons", "sensitive_persons", "plain_persons", "plain_sensitive_persons"), 0)
    ),
    "login_links": Covered(),
    "logins": Covered({"told_at": "changes with each token that lists groups; their effect is compared in the grants"}),
    "obligations": Covered(),
    "permit_datasets": Covered(),
    "permits": Covered(),
    "person_keys": Covered(),
    "principals": Covered(),
    "recipients": Covered(_SPELLING_COLUMNS, {"pending_facts": {}}),
    "recusals": Covered(),
    "reviews": Covered(),
    "revisions": Covered(),
    "session_tokens": Covered({"used_at": _USE_REASON, "replaced_at": _USE_REASON}),
    "sessions": Covered({"seen_at": _USE_REASON, "ends_at": _USE_REASON}),
    "signing_keys": Covered(),
    "sketches": Covered(),
    "stages": Covered(),
    "transfers": Covered(defaults={"sensitive_left_out": False}),
}
"""Tables that follow from the log: each column is compared unless it is excluded with a reason."""

IMPLIED_TABLES: Final = frozenset({"exports", "ledger_years"})
"""Tables whose rows need no entry of their own: a reservation is an entry, and an empty year holds zeroes."""

EXCLUDED_TABLES: Final[Mapping[str, str]] = {
    "archived_acts": "repeats entries of archived months; only reports use it",
    "archives": "the fsck compares it with the entries that record it",
    "contradictions": "a list for registrars: the entry of each decision contains the statement and its result",
    "checkpoints": "the log itself, which the fsck hashes",
    "cosignatures": "signed by witnesses",
    "entries": "the log itself",
    "evidence_packs": "a pack is verified by itself, and decides nothing",
    "held_by_permits": "the sum of reservations: recounted from the exports",
    "held_in_years": "the same",
    "leaves": "the log itself",
    "log_keys": "the log itself: a key is trusted if it signs together with a trusted one",
    "log_state": "the log itself",
    "log_tiles": "the log itself",
    "column_key": "a secret: a change of it changes every hash",
    "openings": "each is compared with its commitment",
    "stored_answers": "repeats the response to an idempotency key for a day, and decides nothing",
    "witness_reports": "the last results of witnesses; only the health of the log reports them",
}
"""Tables that are not compared, each with the reason."""

_encode_json: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


def _encode_other(value: Any) -> bytes:
    return _encode_json(value).encode()


def canonical(value: object) -> bytes:
    """Return the canonical bytes of the value of a column: JSON without spaces, with sorted members.

    Days are `2026-11-30`, times RFC 3339 in UTC, bytes base64.
    """
    return ENCODERS.get(type(value), _encode_other)(value)


ENCODERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    str: lambda value: encode_basestring(value).encode(),
    int: lambda value: b"%d" % value,
    bool: lambda value: b"true" if value else b"false",
    type(None): lambda _: b"null",
    datetime: lambda value: f'"{rfc3339(value.astimezone(UTC))}"'.encode(),
    date: lambda value: f'"{value.isoformat()}"'.encode(),
    bytes: lambda value: b'"' + base64.b64encode(value) + b'"',
}
"""Encoders by type: each column of each row passes through one."""


def column_salt(key: bytes, salt: bytes, table: str, row: str, column: str) -> bytes:
    """Return the salt of one column of one row in one document; its holder can check that column and no other.

    Args:
        key: secret that never leaves the database.
        salt: salt of the document.
        table: name of the table, without a slash.
        row: key of the row.
        column: name of the column, without a slash.
    """
    return hashlib.sha256(key + salt + f"{table}/{column}/{row}".encode()).digest()[:SALT_SIZE]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one table with the same set columns.

    Attributes:
        table: its name.
        is_insert: True if the rows were inserted; otherwise columns that are not named kept their values.
        columns: names of the columns, in order.
        rows: by key of the row, the concatenated hashes of these columns in base64.
    """

    table: str
    is_insert: bool
    columns: list[str]
    rows: dict[str, str]

    def hash_of(self, row: str, column: str) -> bytes:
        """Return the hash of a column of a row."""
        place = self.columns.index(column) * HASH_WIDTH
        return base64.b64decode(self.rows[row][place : place + HASH_WIDTH])


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """Row as a transaction leaves it.

    Attributes:
        table: name of the table.
        key: columns of the primary key, joined by slashes.
        is_insert: True if the transaction inserted it.
        values: columns that the transaction set, without the primary key and excluded columns.
    """

    table: str
    key: str
    is_insert: bool
    values: Mapping[str, Any]


def key_of(parts: Iterable[object]) -> str:
    """Return the key of a row as documents contain it."""
    return "/".join(part.hex() if isinstance(part, bytes) else str(part) for part in parts)


def opening_of(rows: Iterable[WrittenRow], key: bytes, salt: bytes) -> Opening:
    """Return the opening of the effects of a transaction.

    Args:
        rows: written rows.
        key: secret that never leaves the database.
        salt: `SALT_SIZE` fresh random bytes.
    """
    groups: dict[tuple[str, bool, tuple[str, ...]], dict[str, str]] = {}
    for row in rows:
        columns = tuple(sorted(row.values))
        hashes = [
            hash_value(column_salt(key, salt, row.table, row.key, name), canonical(row.values[name]))
            for name in columns
        ]
        groups.setdefault((row.table, row.is_insert, columns), {})[row.key] = base64.b64encode(
            b"".join(hashes)
        ).decode()
    document = [
        {"table": table, "made": is_insert, "columns": columns, "rows": hashes_by_key}
        for (table, is_insert, columns), hashes_by_key in sorted(groups.items())
    ]
    return Opening(POINTER, salt, _encode_json(document))


def parse_groups(content: str) -> Sequence[Group]:
    """Parse a document of effects.

    Raises:
        ValueError: it is no such document.
    """
    try:
        return [Group(group["table"], group["made"], group["columns"], group["rows"]) for group in json.loads(content)]
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error
