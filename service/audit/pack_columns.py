"""Lists the columns of tables that an evidence pack contains, and their places in its records. Pure data for builder and verifier.

The verifier compares each cell (a column of a row) with the effects of the last act that set it: see `effects`. `OTHER_CLAIMS` lists the
claims that cover computed members.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

HASH_SIZE: Final = 12
"""Bytes of the hash of a value in effects: a second value with the same hash takes 2^96 attempts."""
HASH_WIDTH: Final = 16
"""Characters of a hash in base64."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Column of a row with its value in a record."""

    table: str
    row: str
    column: str
    content: bytes
    """Canonical bytes of the value (`effects.canonical`)."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Table, row and column."""
        return self.table, self.row, self.column

    @property
    def name(self) -> str:
        """Readable name."""
        return f"{self.table}.{self.column} of {self.row}"


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Mapping of the members of one kind of records to the columns of a table.

    Attributes:
        table: name of the table.
        key: members of a record that form the key of its row.
        columns: members that are columns of the same name.
        renamed: members that are columns of another name.
        hexadecimal: members with bytes in hexadecimal, with the names of their columns.
        optional: members that are left out where they are null.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    hexadecimal: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    def cells(self, record: Json) -> Iterator[Cell]:
        """Yield the cells of a record."""
        row = "/".join(str(record[name]) for name in self.key)
        for member, column in self.members.items():
            value = record[member]
            if value is None and member in self.optional:
                continue
            if member in self.hexadecimal and value is not None:
                value = base64.b64encode(bytes.fromhex(value)).decode()
            yield Cell(self.table, row, column, canonical(value))

    @property
    def members(self) -> dict[str, str]:
        """Members that are columns, with the name of the column."""
        return {name: name for name in self.columns} | dict(self.renamed) | dict(self.hexadecimal)


RECORD_KINDS: Final[Mapping[str, RecordColumns]] = {
    "handlers": RecordColumns("handlers", ("id",), ("key", "name", "uscc", "group", "facts")),
    "datasets": RecordColumns("datasets", ("id",), ("key", "handler", "title", "fields", "facts", "tags", "grading")),
    "gradings": RecordColumns(
        "gradings",
        ("dataset", "number"),
        (
            *("tags", "basis", "catalogue", "review_by", "state", "graded_by", "graded_persons", "graded_at"),
            *("confirmed_by", "confirmed_persons", "effective_at", "ended_at"),
        ),
    ),
    "recipients": RecordColumns("recipients", ("id",), ("key", "name", "country", "kind", "group", "facts")),
    "transfers": RecordColumns(
        "transfers",
        ("id",),
        (
            *("handler", "datasets", "recipient", "purpose", "status", "requester", "authors", "renews", "revision"),
            "created_at",
        ),
    ),
    "revisions": RecordColumns(
        "revisions",
        ("transfer", "number"),
        ("hash", "content", "determination", "gradings", "ledger", "submitted_by", "submitted_at"),
    ),
    "reviews": RecordColumns(
        "reviews",
        ("id",),
        (
            *("transfer", "revision", "hash", "stage", "decision", "reviewer", "persons", "on_behalf_of"),
            *("carried_from", "at", "terms_accepted_at", "taken_back_at"),
        ),
    ),
    "evidence": RecordColumns(
        "evidence",
        ("id",),
        (
            *("transfer", "kind", "reference", "issuer", "issued_on", "valid_until", "added_by", "added_persons"),
            *("added_at", "verified_by", "verified_persons", "verified_at", "replaced_by", "ended_at", "reused_from"),
        ),
        hexadecimal={"sha256": "document"},
    ),
    "permits": RecordColumns(
        "permits",
        ("id",),
        (
            *("transfer", "revision", "handler", "recipient", "purpose", "fields", "systems", "persons"),
            *("sensitive_persons", "valid_from", "valid_until", "mechanism", "route", "evidence", "receipt_due_on"),
            *("supersedes", "superseded_by", "issued_at"),
        ),
        renamed={"stored_status": "status"},
    ),
    "obligations": RecordColumns(
        "obligations",
        ("id",),
        ("code", "handler", "transfer", "permit", "dataset", "due_on", "blocks", "state", "evidence", "ended_at"),
    ),
    "ledger": RecordColumns("ledger_years", ("handler", "year"), ("persons", "sensitive_persons")),
    "actors": RecordColumns("principals", ("id",), ("kind", "name"), optional=("name",)),
}
"""Kinds of records and their tables; exports are compared with the entries of their reservations and completions."""

_STAGES: Final = RecordColumns("stages", ("transfer", "revision", "place"), ("name", "status"))
_PERMIT_DATASETS: Final = RecordColumns(
    "permit_datasets", ("permit", "dataset"), ("tags", "grading", "fields", "facts")
)
_FILES: Final = RecordColumns("documents", ("sha256",), ("media_type",))

OTHER_CLAIMS: Final[Mapping[str, Mapping[str, str]]] = {
    "reviews": {"conditions": "records"},
    "evidence": {"size": "evidence", "member": "evidence", "repeats": "evidence"},
    "permits": {
        **dict.fromkeys(("status", "overdue", "lost_evidence"), "standing"),
        "sent": "quota",
        "conditions": "records",
        "signed": "permits",
    },
    "exports": dict.fromkeys(
        (
            *(
                "id",
                "evaluation",
                "dataset",
                "recipient",
                "permit",
                "system",
                "purpose",
                "persons",
                "sensitive_persons",
            ),
            *("counts", "status", "reserved_at", "expires_at", "ended_at", "sent"),
        ),
        "records",
    ),
}
"""Claims of the members of records that are no columns."""

UNSET_VALUES: Final[Mapping[tuple[str, str], bytes]] = dict.fromkeys(
    (("ledger_years", "persons"), ("ledger_years", "sensitive_persons")), b"0"
)
"""Values of columns that no act has set: a year without reports starts by itself."""

OPERATOR: Final = "operator"
"""Actor of commands on the machine, which is no principal."""


def cells_of(kind: str, record: Json) -> Iterator[Cell]:
    """Yield the cells of a record, those of nested rows included."""
    columns = RECORD_KINDS.get(kind)
    if columns is None or (kind == "actors" and record["kind"] == OPERATOR):
        return
    yield from columns.cells(record)
    if kind == "revisions":
        for stage in record["stages"]:
            yield from _STAGES.cells({"transfer": record["transfer"], "revision": record["number"], **stage})
    elif kind == "permits":
        for dataset in record["datasets"]:
            yield from _PERMIT_DATASETS.cells({"permit": record["id"], "dataset": dataset["id"], **dataset})
    elif kind == "evidence" and record["sha256"] is not None:
        yield from _FILES.cells(record)


def claimed_members() -> dict[str, list[str]]:
    """Return the members that each claim covers: `<records>.<member>`, by the name of the claim."""
    claims: dict[str, list[str]] = {"columns": []}
    for kind, columns in RECORD_KINDS.items():
        claims["columns"] += [f"{kind}.{name}" for name in (*columns.key, *columns.members)]
    claims["columns"] += [f"revisions.stages.{name}" for name in ("place", *_STAGES.members)]
    claims["columns"] += [f"permits.datasets.{name}" for name in ("id", *_PERMIT_DATASETS.members)]
    claims["columns"].append("evidence.media_type")
    for kind, members in OTHER_CLAIMS.items():
        for member, claim in members.items():
            claims.setdefault(claim, []).append(f"{kind}.{member}")
    return {claim: list(dict.fromkeys(names)) for claim, names in claims.items()}


def canonical(value: object) -> bytes:
    """Return the canonical bytes of a value of a record, equal to `effects.canonical` of its column."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def hash_value(salt: bytes, content: bytes) -> bytes:
    """Return the truncated hash of the salt of a column and the canonical bytes of its value."""
    return hashlib.sha256(salt + content).digest()[:HASH_SIZE]


@dataclass(frozen=True, slots=True)
class CellWrite:
    """Last write of a cell by an act."""

    leaf: int
    """Its place in the log."""
    seq: int
    hash: bytes


class CellWrites:
    """Last writes of cells, collected from the effects of acts in the order of the log."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str], CellWrite] = {}

    def take(self, leaf: int, seq: int, document: list[Json]) -> None:
        """Add the effects of one entry.

        Raises:
            ValueError, LookupError, TypeError: it is no document of effects.
        """
        for group in document:
            table, columns = group["table"], group["columns"]
            for row, hashes in group["rows"].items():
                if len(hashes) != len(columns) * HASH_WIDTH:
                    raise ValueError(f"The effects on {table} {row} cannot be read.")
                for place, column in enumerate(columns):
                    at = place * HASH_WIDTH
                    self.cells[table, row, column] = CellWrite(
                        leaf, seq, base64.b64decode(hashes[at : at + HASH_WIDTH])
                    )
