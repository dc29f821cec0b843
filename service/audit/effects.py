"""Effects of an act, in its own entry: a salted hash of each column that it set, of each row; and which columns are compared at all.

An entry holds, under `effects`, the seal of a document that is kept beside it as what opens it is (`openings`, at `/effects`): it names the
rows that the transaction of the act wrote, and has of each column that it set the hash of the value. So the state that the tables must
have follows from the log, column by column, and a change that no act did is found. The document holds no value, and it is never shown.
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
"""The member of a body, between `details` and `handler`; null: another entry of the transaction has them, or nothing was written."""
POINTER: Final = f"/{MEMBER}"


@dataclass(frozen=True, slots=True)
class Covered:
    """A table whose rows follow from the log.

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
"""Columns of exports that the entry of the reservation says: `service/audit/reservations.py` compares them."""
_RESERVATION_REASON: Final = "the entry of its reservation says it (`service/audit/reservations.py`)"
_USE_REASON: Final = "moves with use, and nothing is decided by it but when a session ends by itself"

_SPELLING_COLUMNS: Final = dict.fromkeys(
    ("folded_key", "twin_number"), "follows from the key, and from which spelling of it came first"
)

COVERED_TABLES: Final[Mapping[str, Covered]] = {
    "api_keys": Covered(),
    "break_glass": Covered(),
    "comments": Covered(),
    "datasets": Covered(_SPELLING_COLUMNS, {"pending_facts": {}, "twins": [], "distinct_from": []}),
    "delegations": Covered(),
    "documents": Covered({"content": "its key is its SHA-256, which is computed again", "size": "the same"}),
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
    "logins": Covered(
        {"told_at": "moves with each token that tells of groups; what these change is compared in the grants"}
    ),
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
"""The tables that follow from the log: every column of theirs is compared, save those that are named with a reason."""

IMPLIED_TABLES: Final = frozenset({"exports", "ledger_years"})
"""Tables whose rows no entry makes by itself: reservations have their own entries, and a year of nothing is nothing."""

EXCLUDED_TABLES: Final[Mapping[str, str]] = {
    "archived_acts": "repeats entries of months that were archived; only reports show it",
    "archives": "the full check compares it with the entries that tell of it",
    "contradictions": "a list for registrars: the entry of each decision says what was stated and what came of it",
    "checkpoints": "the log itself, which the full check hashes again",
    "cosignatures": "signed by witnesses",
    "entries": "the log itself",
    "evidence_packs": "a pack proves itself, and nothing is decided by it",
    "held_by_permits": "what reservations add up to: counted again from the exports",
    "held_in_years": "the same",
    "leaves": "the log itself",
    "log_keys": "the log itself: a key is trusted where it signs beside one that is",
    "log_state": "the log itself",
    "log_tiles": "the log itself",
    "column_key": "a secret: whoever changes it changes every hash",
    "openings": "each is compared with its seal",
    "stored_answers": "repeats what was answered to one key for a day, and decides nothing",
    "witness_reports": "how witnesses answered last; only the log's health shows it",
}
"""The tables that do not, and why."""

_encode_json: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


def _encode_other(value: Any) -> bytes:
    return _encode_json(value).encode()


def canonical(value: object) -> bytes:
    """Return what of a column's value is hashed: JSON without spaces, its members in order.

    Days are `2026-11-30`, moments as the log has them (RFC 3339 in UTC), bytes in base64.
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
"""By its type what a value becomes: each column of each row goes through here."""


def column_salt(key: bytes, salt: bytes, table: str, row: str, column: str) -> bytes:
    """Return the salt of one column of one row in one document: who is told it can check that column, and no other one.

    Args:
        key: the secret that never leaves the database.
        salt: that of the document.
        table: name of the table, which has no slash in it.
        row: key of the row.
        column: name of the column, which has none either.
    """
    return hashlib.sha256(key + salt + f"{table}/{column}/{row}".encode()).digest()[:SALT_SIZE]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one table of which the same columns were set.

    Attributes:
        table: its name.
        is_insert: True if the rows were inserted; otherwise columns that are not named kept their values.
        columns: names of the columns, in order.
        rows: of each row, by its key, the hashes of these columns side by side, in base64.
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
    """A row as a transaction leaves it.

    Attributes:
        table: its table.
        key: its key: the columns of the primary key, with a slash between them.
        is_insert: True if the transaction inserted it.
        values: the columns that the transaction set, without the primary key and what is not compared.
    """

    table: str
    key: str
    is_insert: bool
    values: Mapping[str, Any]


def key_of(parts: Iterable[object]) -> str:
    """Return the key of a row in these documents."""
    return "/".join(part.hex() if isinstance(part, bytes) else str(part) for part in parts)


def opening_of(rows: Iterable[WrittenRow], key: bytes, salt: bytes) -> Opening:
    """Return what an entry seals of the rows that its transaction wrote.

    Args:
        rows: what was written.
        key: the secret that never leaves the database.
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
    """Return what a document says.

    Raises:
        ValueError: it is none.
    """
    try:
        return [Group(group["table"], group["made"], group["columns"], group["rows"]) for group in json.loads(content)]
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error
