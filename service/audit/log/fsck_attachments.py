"""Checks the openings of commitments and the files of archived months. Part of the fsck, in its snapshot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import asyncpg

from service.audit import commitments
from service.audit.tlog import archive_file
from service.audit.tlog.archive_file import ArchiveError
from service.audit.tlog.signed_note import Checkpoint

_OPENINGS: Final = "select seq, pointer, salt, value from openings where seq = any($1)"
_ERASED: Final = "select body from entries where subject = $1 and action = 'opening.erased'"
_ARCHIVES: Final = (
    "select month, file, encode(sha256, 'hex') as sha256, first_leaf, last_leaf, entries, at from archives"
)
_ARCHIVE_ACTS: Final = "select body from entries where subject = $1 and action = 'archive.made'"
_ACT_MEMBERS: Final = ("file", "sha256", "first_leaf", "last_leaf", "entries")


@dataclass(slots=True)
class ArchivedRange:
    """Leaves of an archived month that have no entry any more: their number, the first and the last."""

    entries: int
    first_leaf: int
    last_leaf: int


def has_commitments(body: str) -> bool:
    """Return True if a body may hold commitments; a cheap test that spares most bodies from parsing."""
    return '"sealed":' in body


async def check_openings(connection: asyncpg.Connection, bodies: Mapping[int, str]) -> list[str]:
    """Return a sentence for each commitment without a matching opening whose erasure the log does not record.

    Args:
        connection: in the snapshot of the check.
        bodies: bodies of entries by number.
    """
    if not bodies:
        return []
    openings: dict[int, list[commitments.Opening]] = {}
    for row in await connection.fetch(_OPENINGS, list(bodies)):
        opening = commitments.Opening(row["pointer"], row["salt"], row["value"])
        openings.setdefault(row["seq"], []).append(opening)
    details = []
    for seq, content in bodies.items():
        body = _object(content)
        left = commitments.commitments_of(commitments.open_commitments(body, openings.get(seq, [])))
        erased = await _erased(connection, seq, str(body.get("subject"))) if left else set()
        details += [
            f"Entry {seq}: the opening of {pointer} was changed, or was deleted without an act."
            for pointer in left
            if pointer not in erased
        ]
    return details


async def _erased(connection: asyncpg.Connection, seq: int, subject: str) -> set[str]:
    acts = [json.loads(row["body"])["details"] for row in await connection.fetch(_ERASED, subject)]
    return {act["pointer"] for act in acts if act["entry"] == seq}


async def check_archives(
    connection: asyncpg.Connection, missing: Mapping[date, ArchivedRange], folder: Path | None
) -> list[str]:
    """Return a sentence for each difference between archived months and the log.

    Args:
        connection: in the snapshot of the check.
        missing: leaves without an entry, by month.
        folder: folder of the files, to check each of them too; None skips the files.
    """
    rows = await connection.fetch(_ARCHIVES)
    months = {row["month"] for row in rows}
    details: list[str] = []
    for row in rows:
        month, archived = f"{row['month']:%Y-%m}", missing.get(row["month"], ArchivedRange(0, 0, 0))
        acts = [json.loads(act["body"])["details"] for act in await connection.fetch(_ARCHIVE_ACTS, f"entries {month}")]
        # The act itself may have been archived since: then it is in the file of its month.
        if not any(_is_recorded(act, month, row) for act in acts) and archive_file.month_at(row["at"]) not in months:
            details.append(f"No entry records the archive of {month} as it is stored.")
        if (archived.entries, archived.first_leaf, archived.last_leaf) != (
            row["entries"],
            row["first_leaf"],
            row["last_leaf"],
        ):
            details.append(
                f"Of {month} {archived.entries} entries are gone, from leaf {archived.first_leaf} to {archived.last_leaf}; "
                f"its archive holds {row['entries']}, from {row['first_leaf']} to {row['last_leaf']}."
            )
        if folder is not None:
            details += await _check_file(connection, folder / row["file"], month, row)
    return details


def _is_recorded(act: Mapping[str, Any], month: str, row: asyncpg.Record) -> bool:
    return act["month"] == month and all(act[name] == row[name] for name in _ACT_MEMBERS)


async def _check_file(connection: asyncpg.Connection, path: Path, month: str, row: asyncpg.Record) -> Sequence[str]:
    """Return sentences on the faults of a file; it is read line by line."""
    try:
        checkpoint = _verify_file(path, month, row)
    except ArchiveError as error:
        return [f"{path}: {error}"]
    root = await connection.fetchval("select root from checkpoints where size = $1", checkpoint.size)
    return [] if root == checkpoint.root else [f"{path}: Its checkpoint is not one of this log."]


def _verify_file(path: Path, month: str, row: asyncpg.Record) -> Checkpoint:
    """Return the checkpoint of a file after comparing the file with the row of its archive.

    Raises:
        ArchiveError: the file is missing, damaged or another one.
    """
    if not path.is_file():
        raise ArchiveError("The file is not there.")
    if archive_file.sha256_of(path) != row["sha256"]:
        raise ArchiveError("This is not the file that the log records: its SHA-256 differs.")
    head, checkpoint = archive_file.check(path)
    if (head.month, head.entries, head.first, head.last) != (
        month,
        row["entries"],
        row["first_leaf"],
        row["last_leaf"],
    ):
        raise ArchiveError("It holds other entries than the log records.")
    return checkpoint


def _object(content: str) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
