"""Checks what the log commits to and does not hold: openings of commitments, and files of archived months.

Part of the fsck, in its view of the database.
"""

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
    """What the check has seen of an archived month: how many leaves have no entry any more, the first and the last of them."""

    entries: int
    first_leaf: int
    last_leaf: int


def has_commitments(body: str) -> bool:
    """Tell whether a body may hold something sealed: a look that is enough for most."""
    return '"sealed":' in body


async def check_openings(connection: asyncpg.Connection, bodies: Mapping[int, str]) -> list[str]:
    """Return sentences on the seals, in entries by number, that nothing opens and that nobody has erased by an act.

    A body that is no JSON object any more was changed, and that is told of already.
    """
    if not bodies:
        return []
    openings: dict[int, list[commitments.Opening]] = {}
    for row in await connection.fetch(_OPENINGS, list(bodies)):
        opening = commitments.Opening(row["pointer"], row["salt"], row["value"])
        openings.setdefault(row["seq"], []).append(opening)
    found = []
    for seq, content in bodies.items():
        body = _object(content)
        left = commitments.commitments_of(commitments.open_commitments(body, openings.get(seq, [])))
        erased = await _erased(connection, seq, str(body.get("subject"))) if left else set()
        found += [
            f"Entry {seq}: what opened {pointer} was changed, or was deleted without an act."
            for pointer in left
            if pointer not in erased
        ]
    return found


async def _erased(connection: asyncpg.Connection, seq: int, subject: str) -> set[str]:
    acts = [json.loads(row["body"])["details"] for row in await connection.fetch(_ERASED, subject)]
    return {act["pointer"] for act in acts if act["entry"] == seq}


async def check_archives(
    connection: asyncpg.Connection, gone: Mapping[date, ArchivedRange], folder: Path | None
) -> list[str]:
    """Return sentences on archived months that are not what the log tells of them.

    Args:
        connection: in the view of the check.
        gone: what is missing of each month, as the check has seen it.
        folder: where the files are, to check each of them too; None: they are not looked at.
    """
    rows = await connection.fetch(_ARCHIVES)
    months = {row["month"] for row in rows}
    found: list[str] = []
    for row in rows:
        month, seen = f"{row['month']:%Y-%m}", gone.get(row["month"], ArchivedRange(0, 0, 0))
        made = [json.loads(act["body"])["details"] for act in await connection.fetch(_ARCHIVE_ACTS, f"entries {month}")]
        # The act itself may have been archived since: then its own file tells of it.
        if not any(_is_recorded(act, month, row) for act in made) and archive_file.month_at(row["at"]) not in months:
            found.append(f"Of the archive of {month} no entry tells that it was made as it is stored.")
        if (seen.entries, seen.first_leaf, seen.last_leaf) != (row["entries"], row["first_leaf"], row["last_leaf"]):
            found.append(
                f"Of {month} {seen.entries} entries are gone, from leaf {seen.first_leaf} to {seen.last_leaf}; its archive holds "
                f"{row['entries']}, from {row['first_leaf']} to {row['last_leaf']}."
            )
        if folder is not None:
            found += await _check_file(connection, folder / row["file"], month, row)
    return found


def _is_recorded(act: Mapping[str, Any], month: str, row: asyncpg.Record) -> bool:
    return act["month"] == month and all(act[name] == row[name] for name in _ACT_MEMBERS)


async def _check_file(connection: asyncpg.Connection, path: Path, month: str, row: asyncpg.Record) -> Sequence[str]:
    """Return what is wrong with a file; it is read line by line."""
    try:
        checkpoint = _verify_file(path, month, row)
    except ArchiveError as error:
        return [f"{path}: {error}"]
    root = await connection.fetchval("select root from checkpoints where size = $1", checkpoint.size)
    return [] if root == checkpoint.root else [f"{path}: Its checkpoint is not one of this log."]


def _verify_file(path: Path, month: str, row: asyncpg.Record) -> Checkpoint:
    """Return the checkpoint of a file that is the one that the log tells of.

    Raises:
        ArchiveError: it is not, or not there.
    """
    if not path.is_file():
        raise ArchiveError("The file is not there.")
    if archive_file.sha256_of(path) != row["sha256"]:
        raise ArchiveError("This is not the file that the log tells of: its SHA-256 is another.")
    head, checkpoint = archive_file.check(path)
    if (head.month, head.entries, head.first, head.last) != (
        month,
        row["entries"],
        row["first_leaf"],
        row["last_leaf"],
    ):
        raise ArchiveError("It holds other entries than the log tells of.")
    return checkpoint


def _object(content: str) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
