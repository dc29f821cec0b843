"""Archives old months of entries from the database to files that remain provable.

1. A month can be archived after its retention period, once each of its entries has a leaf below the newest checkpoint.
2. Its file is written under a temporary name, synced to disk, read back and verified.
3. One transaction records the act, stores the hash of the file, checks that no entry was added meanwhile, and drops the table.

Leaves, tiles, checkpoints and openings stay. No count and no permit depends on archived entries.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute

from service.access.caller import OPERATOR
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.log.tables import Cosignature, LogTile, StoredCheckpoint
from service.audit.tables import Archive, ArchivedAct, Entry, Leaf
from service.audit.tlog import archive_file, signed_note, tiles
from service.audit.tlog.archive_file import Head, Line, months_after
from service.audit.tlog.merkle import Node
from service.audit.tlog.signed_note import Checkpoint
from service.database.faults import DatabaseUnavailableError, LockTimeoutError
from service.database.session import Database, Transaction
from service.validation.problems import Conflict

KEEP_MONTHS: Final = 36
"""Source: PIPL art. 56: reports and records of handling are kept for three years at least."""

CHUNK_ENTRIES: Final = 5000
"""Entries that are read with one statement."""

MAX_ATTEMPTS: Final = 10

LeafRun = tuple[int, int]
"""First and last of consecutive leaves."""


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """Archived month.

    Attributes:
        path: its file.
        sha256: of the file, in hexadecimal.
        head: first line of the file.
    """

    path: Path
    sha256: str
    head: Head


async def archive_months(
    database: Database, before: date, folder: Path, keep_months: int = KEEP_MONTHS
) -> AsyncIterator[ArchivedMonth]:
    """Archive the months before a month, oldest first, and yield each when it is gone from the database.

    Args:
        database: where the entries are.
        before: first day of a month, in UTC.
        folder: where the files go; it must be there.
        keep_months: whole months that have to be over since a month's end.

    Raises:
        Conflict: a month that must stay, that is not in a signed checkpoint as a whole, or of which there is a file that is not ours.
    """
    limit = archive_file.first_month_to_keep(database.clock().astimezone(UTC).date(), keep_months)
    if before > limit:
        raise Conflict(
            f"Months from {limit:%Y-%m} on must stay: entries are kept for {keep_months} months. "
            "Name that month, or an earlier one, as `--before`; `--keep-months` says how long entries are kept."
        )
    for month in await database.transaction(lambda tx: _months_before(tx, before)):
        yield await _archive_month(database, month, folder)


async def _archive_month(database: Database, month: date, folder: Path) -> ArchivedMonth:
    """Move one month.

    Raises:
        Conflict: it cannot go now.
    """
    name = archive_file.name_of(f"{month:%Y-%m}")
    path, half = folder / name, folder / f"{name}.part"
    head, runs, seqs = await database.transaction(lambda tx: _plan_file(tx, month))
    _require_ours(path, head)
    with archive_file.open_for_entries(half, head) as file:
        for run in runs:
            async for line in _lines(database, month, run):
                file.write(archive_file.encode_line(line))
    _sync_to_disk(half)
    proved, _ = archive_file.check(half)
    if proved != head:
        raise Conflict(f"{half} does not read back as what was written; the month has not been moved.")
    half.rename(path)
    _sync_to_disk(folder)
    moved = ArchivedMonth(path, archive_file.sha256_of(path), head)
    await _drop_when_free(database, month, moved, seqs)
    return moved


async def _months_before(tx: Transaction, before: date) -> Sequence[date]:
    """Return the months that have a table of their own with entries in it, oldest first."""
    tables = await tx.execute(
        text("select inhrelid::regclass::text from pg_inherits where inhparent = 'entries'::regclass")
    )
    named = (name.removeprefix("entries_").replace("_", "-") for name in tables.scalars() if name != "entries_default")
    months = sorted(month for month in map(archive_file.parse_month, named) if month < before)
    return [month for month in months if await tx.scalar(select(select(Entry).where(*_within_month(month)).exists()))]


async def _plan_file(tx: Transaction, month: date) -> tuple[Head, Sequence[LeafRun], tuple[int, int]]:
    """Return the head of a month's file, the leaves of its entries, and the smallest and largest of their numbers.

    Raises:
        Conflict: an entry is not in the newest checkpoint.
    """
    seen = select(func.count(), func.min(Entry.seq), func.max(Entry.seq)).where(*_within_month(month))
    entries, first_seq, last_seq = (await tx.execute(seen)).one()
    runs = await _runs(tx, month, (first_seq, last_seq))
    checkpoint = await tx.scalar(select(StoredCheckpoint).order_by(StoredCheckpoint.size.desc()).limit(1))
    leaves = sum(last - first + 1 for first, last in runs)
    if checkpoint is None or leaves != entries or runs[-1][1] >= checkpoint.size:
        raise Conflict(
            f"Not every entry of {month:%Y-%m} is in a signed checkpoint: let the service run until its log is healthy, and try again."
        )
    checkpoint = await _cosigned(tx, runs[-1][1]) or checkpoint
    lines = await tx.scalars(
        select(Cosignature.line).where(Cosignature.size == checkpoint.size).order_by(Cosignature.at)
    )
    note = signed_note.with_lines(checkpoint.note, lines)
    covers = await _hashes(tx, archive_file.covers_for(runs, checkpoint.size))
    return Head(f"{month:%Y-%m}", entries, runs[0][0], runs[-1][1], note, covers), runs, (first_seq, last_seq)


async def _runs(tx: Transaction, month: date, seqs: tuple[int, int]) -> Sequence[LeafRun]:
    """Return the leaves of a month's entries as runs, rising: others stand between them where months meet."""
    place = func.row_number().over(order_by=Leaf.leaf)
    within = and_(Leaf.seq.between(*seqs), *_within_month(month, Leaf.at))
    numbered = select(Leaf.leaf, (Leaf.leaf - place).label("island")).where(within).subquery()
    runs = select(func.min(numbered.c.leaf), func.max(numbered.c.leaf)).group_by(numbered.c.island).order_by(text("1"))
    return [(first, last) for first, last in await tx.execute(runs)]


async def _cosigned(tx: Transaction, leaf: int) -> StoredCheckpoint | None:
    """Return the newest checkpoint above a leaf that a witness has cosigned, if there is one."""
    query = select(StoredCheckpoint).where(
        StoredCheckpoint.size > leaf, select(Cosignature).where(Cosignature.size == StoredCheckpoint.size).exists()
    )
    return await tx.scalar(query.order_by(StoredCheckpoint.size.desc()).limit(1))


async def _hashes(tx: Transaction, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Return the hashes of nodes of the tree."""
    conditions = [
        and_(LogTile.level == level, LogTile.number == number) for level, number in sorted(tiles.tiles_for(nodes))
    ]
    read = (await tx.scalars(select(LogTile).where(or_(*conditions)))).all() if conditions else ()
    node = tiles.reader({(tile.level, tile.number): tile.hashes for tile in read})
    return {coordinates: node(*coordinates) for coordinates in nodes}


async def _lines(database: Database, month: date, run: LeafRun) -> AsyncIterator[Line]:
    """Yield the entries of a run by rising leaf."""
    for first in range(run[0], run[1] + 1, CHUNK_ENTRIES):
        last = min(first + CHUNK_ENTRIES - 1, run[1])

        async def read(tx: Transaction, first: int = first, last: int = last) -> Iterable[Line]:
            query = (
                select(Leaf.leaf, Entry.seq, Entry.body)
                .join(Entry, and_(Entry.seq == Leaf.seq, Entry.at == Leaf.at))
                .where(Leaf.leaf.between(first, last), *_within_month(month))
                .order_by(Leaf.leaf)
            )
            return [Line(*row) for row in await tx.execute(query)]

        for line in await database.transaction(read):
            yield line


async def _drop_when_free(database: Database, month: date, moved: ArchivedMonth, seqs: tuple[int, int]) -> None:
    """Record the archive of a month and drop its table; retry while the table is locked.

    Raises:
        Conflict: entries have come meanwhile.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            await database.transaction(lambda tx: _drop(tx, month, moved, seqs), waits=False)
        except (DatabaseUnavailableError, LockTimeoutError):
            if attempt == MAX_ATTEMPTS:
                raise
            await asyncio.sleep(1)
        else:
            return


async def _drop(tx: Transaction, month: date, moved: ArchivedMonth, seqs: tuple[int, int]) -> None:
    head, table = moved.head, f"entries_{month:%Y_%m}"
    details = {
        "month": head.month,
        "file": moved.path.name,
        "sha256": moved.sha256,
        "first_leaf": head.first,
        "last_leaf": head.last,
        "entries": head.entries,
        "size": Checkpoint.of(signed_note.parts_of(head.note)[0]).size,
    }
    audit.append(tx, OPERATOR, AuditAction.ARCHIVE_MADE, f"entries {head.month}", details=details)
    tx.add(
        Archive(
            month=month,
            file=moved.path.name,
            sha256=bytes.fromhex(moved.sha256),
            first_leaf=head.first,
            last_leaf=head.last,
            entries=head.entries,
            at=tx.now,
        )
    )
    await tx.flush()
    kept = select(Entry.seq, Entry.at, Entry.actor, Entry.action, Entry.subject).where(
        *_within_month(month), ~Entry.action.startswith("gate."), ~Entry.action.startswith("export.")
    )
    await tx.execute(insert(ArchivedAct).from_select(["seq", "at", "actor", "action", "subject"], kept))
    # Writers of entries wait for this lock: give up soon and retry instead.
    await tx.execute(text("set local lock_timeout = '1s'"))
    await tx.execute(text("lock table entries in access exclusive mode"))
    seen = select(func.count(), func.min(Entry.seq), func.max(Entry.seq)).where(*_within_month(month))
    if tuple((await tx.execute(seen)).one()) != (head.entries, *seqs):
        raise Conflict(
            f"Entries of {head.month} have come meanwhile; try again. {moved.path.name} holds not all of them."
        )
    await tx.execute(text(f"alter table entries detach partition {table}"))
    await tx.execute(text(f"drop table {table}"))


def _within_month(month: date, column: InstrumentedAttribute[datetime] = Entry.at) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a time is in a month."""
    first, end = (datetime.combine(day, time(), UTC) for day in (month, months_after(month, 1)))
    return column >= first, column < end


def _require_ours(path: Path, head: Head) -> None:
    """Require that an existing file of this name belongs to the same log, so that it can be overwritten."""
    if not path.exists():
        return
    ours, theirs = (
        Checkpoint.of(signed_note.parts_of(each.note)[0]).origin for each in (head, archive_file.read_head(path))
    )
    if ours != theirs:
        raise Conflict(f"{path} is of another log ({theirs}); choose another folder.")


def _sync_to_disk(path: Path) -> None:
    """Sync a file or a folder to disk, so that it survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
