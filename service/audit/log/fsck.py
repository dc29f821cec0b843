"""Integrity check (fsck) of the whole log: hashes every entry again and compares with the signed checkpoints.

1. Reads and hashes the entry of each leaf, in the order of the log, and compares it with the hash in its tile.
2. Appends the hashes to a tree. Each stored or remembered checkpoint must be signed by a trusted key and have the root of that size.
3. Appends the hashes of the tiles to a second tree from the first difference on: the signed root shows which of the two was changed.
4. Checks upper tiles, entries without a leaf, archived months and openings.

Runs in one snapshot of the database, in memory that does not grow with the log. Worker processes can hash ahead in the same snapshot. A
chunk in which a worker meets an irregularity is read a second time here: all findings come from this process.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import asyncpg

from service.audit import state
from service.audit.log import fsck_attachments
from service.audit.log.fsck_attachments import ArchivedRange
from service.audit.state import StateResult
from service.audit.tlog import archive_file, signed_note
from service.audit.tlog.merkle import HASH_SIZE
from service.audit.tlog.sequence_gaps import LAST
from service.audit.tlog.signed_note import Checkpoint, Verifier
from service.audit.tlog.tiles import FULL, WIDTH, Tile, TreeEdge
from service.clock import rfc3339
from service.connections import Bounds

CHUNK_LEAVES: Final = 8 * WIDTH
"""Leaves of a chunk, which is read with one statement; a multiple of the leaves of a tile."""
SCATTER_FACTOR: Final = 4
"""Ratio of sequence numbers to leaves of a chunk above which entries are not read as one range."""
MAX_FINDINGS: Final = 1_000
"""Findings that a result holds; the others are counted."""
BACKDATING_TOLERANCE: Final = timedelta(hours=1)
"""Age by which an entry can precede the checkpoint before it. No transaction takes as long: an older entry was inserted later."""

NAME: Final = "outbound audit"
BOUNDS: Final = Bounds(silence=600.0)
"""Bounds of the connection. The snapshot is read-only and blocks nobody: it may be silent while chunks are hashed."""
# Chunks are read through indexes, whatever the statistics of the tables are.
SETTINGS: Final = {
    "timezone": "UTC",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
}

LeafRange: TypeAlias = tuple[int, int]
"""First leaf of a chunk, and the leaf after its last."""
CleanChunk: TypeAlias = tuple[bytes, datetime]
"""Hashes of the leaves of a chunk without findings, and the time of its oldest entry."""
ChunkHasher: TypeAlias = Callable[[str, Sequence[LeafRange]], AsyncGenerator[CleanChunk | None, None]]
"""Yields the result of `hash_clean_chunk` for each chunk, given the id of an exported snapshot and the chunks."""

_Row: TypeAlias = tuple[Any, ...]
"""Leaf, seq, at, expected beginning and end of the body by the columns, body and sha256; the last four are None without an entry."""
_BODY_COLUMN: Final = 5

_COLUMNS: Final = """
  '{"action":"' || e.action || '","actor":"' || e.actor || '","at":"' as head,
  ',"handler":' || coalesce('"' || e.handler || '"', 'null') || ',"subject":"' || e.subject || '"}' as tail, e.body, e.sha256
"""
# `offset 0` keeps PostgreSQL from looking for the least number through all the log.
_SEQ_RANGE: Final = "select min(seq), max(seq) from (select seq from leaves where leaf >= $1 and leaf < $2 offset 0) l"
_LEAVES: Final = f"""
  select l.leaf, l.seq, l.at, {_COLUMNS}
  from (select leaf, seq, at from leaves where leaf >= $1 and leaf < $2) l
  left join (select * from entries where seq between $3 and $4) e on e.seq = l.seq and e.at = l.at
"""  # noqa: S608 - written above  # nosec B608
"""Reads a chunk as one range of sequence numbers, which mostly rise with the leaves."""
_SCATTERED: Final = _LEAVES.replace(
    "seq between $3 and $4", "seq = any(array(select seq from leaves where leaf >= $1 and leaf < $2))"
)
"""Reads a chunk whose sequence numbers lie far apart, as a long transaction causes."""
_TILES: Final = "select number, hashes from log_tiles where level = $1 and number >= $2 and number < $3"
_CHECKPOINTS: Final = "select size, root, note from checkpoints where size > $1 order by size limit 1000"
_OTHER_TIMES: Final = f"select e.seq, e.at, {_COLUMNS} from entries e where e.seq = any($1)"  # noqa: S608 - the same  # nosec B608
_UNSEQUENCED: Final = """
  select e.seq, e.at, other.seq is not null as is_second
  from entries e left join lateral (select o.seq from entries o where o.seq = e.seq and o.at <> e.at limit 1) other on true
  where not exists (select from leaves l where l.seq = e.seq and l.at = e.at)
    and (e.seq <= $1 or other.seq is not null) and (other.seq is not null or not exists (select from leaves l where l.seq = e.seq))
  limit 1000
"""
_COUNTS: Final = """
  select (select count(*) from entries),
         (select count(*) from entries e where e.seq > $1 and not exists (select from leaves l where l.seq = e.seq))
"""

_leaf = itemgetter(0)

Kind = Literal[
    "changed",
    "deleted",
    "swapped",
    "truncated",
    "inserted",
    "backdated",
    "tile",
    "checkpoint",
    "signature",
    "rewritten",
    "restored",
    "opening",
    "archive",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """A deviation from the signed log: its kind and a sentence."""

    kind: Kind
    detail: str


@dataclass
class Result:
    """Result of a check."""

    findings: list[Finding] = field(default_factory=list)
    leaves: int = 0
    archived: int = 0
    """Leaves whose entries were archived to files: their hashes were taken from the tiles."""
    checkpoints: int = 0
    waiting: int = 0
    """Entries that have no leaf yet."""
    newest: Checkpoint | None = None
    """The largest checkpoint that a trusted key has signed."""
    left_out: int = 0
    """Findings beyond `MAX_FINDINGS`."""
    state: StateResult | None = None
    """Comparison of the tables with the log; None where it was not requested."""

    def add(self, kind: Kind, detail: str) -> None:
        """Add a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, detail))
        else:
            self.left_out += 1

    @property
    def kinds(self) -> set[str]:
        """Kinds of the findings."""
        return {each.kind for each in self.findings}


async def check(
    connection: asyncpg.Connection,
    trusted: Sequence[Verifier],
    remembered: Sequence[str] = (),
    archives: Path | None = None,
    hasher: ChunkHasher | None = None,
    *,
    with_state: bool = False,
) -> Result:
    """Check the whole log.

    Example:
        connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS, settings=fsck.SETTINGS)
        result = await fsck.check(connection, [Verifier.of(vkey)], [Path("checkpoint").read_text()])
        for finding in result.findings:
            print(finding.kind, finding.detail)

    Args:
        connection: made with `SETTINGS`, within `BOUNDS`.
        trusted: verifier keys of the log from a source outside the database. Another key of the log is trusted if it has signed a
            checkpoint together with a trusted one.
        remembered: notes of checkpoints that were kept outside the database.
        archives: folder of the files of archived months, to check them too.
        hasher: hashes chunks ahead in other processes; None: all is hashed here.
        with_state: True to compare the tables with the log too.

    Raises:
        ValueError: a remembered note is no checkpoint that a trusted key has signed.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        result = await _Check(connection, {each.vkey: each for each in trusted}).run(remembered, archives, hasher)
        if with_state:
            result.state = await state.check(connection)
        return result


async def hash_clean_chunk(connection: asyncpg.Connection, span: LeafRange) -> CleanChunk | None:
    """Read and hash a chunk for `check`; return None if it has a finding, a missing entry or an archived one.

    Args:
        connection: made with `SETTINGS`, in a transaction with the snapshot of the check.
        span: the chunk.
    """
    return await _Check(connection, {}).hash_clean_chunk(span)


@dataclass(slots=True)
class _ExpectedRoot:
    """Root that the tree must have at a size, by a stored or a remembered checkpoint."""

    size: int
    root: bytes
    time: datetime | None
    is_remembered: bool


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive leaves with their rows, the hashes in their tiles, and the expected roots of sizes within them."""

    first: int
    end: int
    rows: Sequence[_Row]
    tile_hashes: bytes
    marks: Sequence[_ExpectedRoot]

    def tile_hashes_of(self, first: int, end: int) -> list[bytes]:
        """Return the hashes of some leaves in the tiles."""
        return [self.tile_hashes[(leaf - self.first) * HASH_SIZE :][:HASH_SIZE] for leaf in range(first, end)]


class _RootStream:
    """Expected roots in rising order, taken from a stream as far as they are needed."""

    def __init__(self, stream: AsyncIterator[_ExpectedRoot]) -> None:
        self._stream = stream
        self._waiting: _ExpectedRoot | None = None

    async def upto(self, size: int) -> list[_ExpectedRoot]:
        """Return the next expected roots, up to a size."""
        taken: list[_ExpectedRoot] = []
        while True:
            self._waiting = self._waiting or await anext(self._stream, None)
            if self._waiting is None or self._waiting.size > size:
                return taken
            taken.append(self._waiting)
            self._waiting = None


@dataclass(slots=True)
class _DifferingLeaf:
    """Leaf whose entry has another hash than its tile."""

    leaf: int
    seq: int
    entry_hash: bytes
    tile_hash: bytes


class _Check:
    def __init__(self, connection: asyncpg.Connection, trusted: dict[str, Verifier]) -> None:
        self._connection = connection
        self._trusted = trusted
        self._result = Result()
        self._entries = TreeEdge()
        """Tree of the hashes of entries; of a missing entry the hash in its tile."""
        self._tiles: TreeEdge | None = None
        """Tree of the hashes in tiles, from the first difference on; None while there is none."""
        self._blamed: Literal["entries", "tiles"] | None = None
        """The one of the two that was changed, by a signed root."""
        self._differing: list[_DifferingLeaf] = []
        self._missing: list[tuple[int, int]] = []
        self._archived: set[date] = set()
        self._archived_ranges: dict[date, ArchivedRange] = {}
        self._latest = datetime.min.replace(tzinfo=UTC)
        """Earliest time of the entries to come, by the last checkpoint before them."""

    async def run(self, remembered: Sequence[str], archives: Path | None, hasher: ChunkHasher | None) -> Result:
        """Run all checks and return the result."""
        state = await self._connection.fetchrow("select origin, watermark, size from log_state")
        last = await self._connection.fetchval("select max(leaf) from leaves")
        self._result.leaves = size = 0 if last is None else last + 1
        self._archived = {row[0] for row in await self._connection.fetch("select month from archives")}
        await self._trust()
        kept = sorted((self._parse_remembered(note) for note in remembered), key=lambda mark: mark.size)
        stored = _RootStream(self._checkpoints())
        spans = [(first, min(first + CHUNK_LEAVES, size)) for first in range(0, size, CHUNK_LEAVES)]
        view = "" if hasher is None else await self._connection.fetchval("select pg_export_snapshot()")
        async with aclosing(_no_results(spans) if hasher is None else hasher(view, spans)) as ahead:
            for span in spans:
                marks = sorted([*await stored.upto(span[1]), *_take_up_to(kept, span[1])], key=lambda mark: mark.size)
                await self._add_chunk(span, marks, await anext(ahead))
        for mark in await stored.upto(LAST):
            self._result.add("truncated", f"The log ends at {size} entries; one of {mark.size} was signed.")
        for mark in kept:
            self._result.add(
                "restored" if mark.size else "rewritten",
                f"The log holds {size} entries; the checkpoint that was kept elsewhere has {mark.size}: "
                "it was cut, or an old backup was restored.",
            )
        for tile, content in self._entries.tiles().items():
            await self._compare_tile(tile, content)
        self._report_missing()
        self._report_differing()
        await self._report_unsequenced(0 if state is None else state["watermark"])
        self._check_end(None if state is None else state["size"])
        for detail in await fsck_attachments.check_archives(self._connection, self._archived_ranges, archives):
            self._result.add("archive", detail)
        return self._result

    # Signatures

    async def _trust(self) -> None:
        """Trust each key of the log that has signed a checkpoint together with a trusted one, as a rotation of keys does."""
        rows = await self._connection.fetch("select vkey from log_keys")
        keys = [key for row in rows if (key := _parse_verifier(row["vkey"])) is not None]
        if all(key.vkey in self._trusted for key in keys):
            return
        rows = await self._connection.fetch("select note from checkpoints where note ~ '\n— [^\n]+\n— '")
        together = [by for row in rows if (by := _signers(row["note"], keys))]
        while True:
            more = {key.vkey: key for by in together if any(key.vkey in self._trusted for key in by) for key in by}
            if more.keys() <= self._trusted.keys():
                return
            self._trusted |= more

    def _verify_note(self, note: str) -> Checkpoint:
        return Checkpoint.of(signed_note.open(note, self._trusted.values()).text)

    def _parse_remembered(self, note: str) -> _ExpectedRoot:
        checkpoint = self._verify_note(note)
        return _ExpectedRoot(checkpoint.size, checkpoint.root, checkpoint.time, is_remembered=True)

    async def _checkpoints(self) -> AsyncIterator[_ExpectedRoot]:
        """Yield the checkpoints that a trusted key has signed, the smallest first; report the others."""
        size = -1
        while rows := await self._connection.fetch(_CHECKPOINTS, size):
            for row in rows:
                size = row["size"]
                self._result.checkpoints += 1
                try:
                    checkpoint = self._verify_note(row["note"])
                except signed_note.SignatureError as error:
                    self._result.add(
                        "signature", f"The checkpoint of {size} entries is not signed by the log's key. {error}"
                    )
                    continue
                except ValueError as error:
                    self._result.add("checkpoint", f"The checkpoint of {size} entries cannot be read. {error}")
                    continue
                if (checkpoint.size, checkpoint.root) != (size, row["root"]):
                    self._result.add(
                        "checkpoint", f"The checkpoint of {size} entries is stored with another size or root."
                    )
                    continue
                self._result.newest = checkpoint
                yield _ExpectedRoot(size, checkpoint.root, checkpoint.time, is_remembered=False)

    # Leaf by leaf

    async def hash_clean_chunk(self, span: LeafRange) -> CleanChunk | None:
        """Return the hashes of a chunk and its oldest time, or None if it has an irregularity."""
        chunk, hashes = await self._read(span, ())
        if self._result.findings or self._result.archived or self._missing or self._differing:
            return None
        return hashes, min(row[2] for row in chunk.rows)

    async def _add_chunk(self, span: LeafRange, marks: Sequence[_ExpectedRoot], hashed: CleanChunk | None) -> None:
        """Append a chunk to the trees; read and hash it here unless a worker has."""
        times = [self._latest, *(latest for _, latest in _oldest_times(marks))]
        if hashed is not None and hashed[1] >= max(times):
            self._latest = times[-1]
            await self._add_leaves(_Chunk(*span, (), hashed[0], marks), hashed[0])
            return
        await self._add_leaves(*await self._read(span, marks))

    async def _read(self, span: LeafRange, marks: Sequence[_ExpectedRoot]) -> tuple[_Chunk, bytes]:
        """Read a chunk, hash its leaves and check the openings of its commitments."""
        chunk = _Chunk(*span, await self._rows(*span), await self._read_tile_hashes(*span), marks)
        hashes = self._hash_leaves(chunk)
        bodies = {
            row[1]: body
            for row in chunk.rows
            if (body := row[_BODY_COLUMN]) is not None and fsck_attachments.has_commitments(body)
        }
        for detail in await fsck_attachments.check_openings(self._connection, bodies):
            self._result.add("opening", detail)
        return chunk, hashes

    async def _add_leaves(self, chunk: _Chunk, hashes: bytes) -> None:
        """Append the leaves of a chunk, and compare each expected root on the way."""
        at = chunk.first
        for mark in chunk.marks:
            await self._grow(chunk, hashes, at, mark.size)
            at = max(at, mark.size)
            self._compare_root(mark)
        await self._grow(chunk, hashes, at, chunk.end)

    def _hash_leaves(self, chunk: _Chunk) -> bytes:
        """Return the hashes of the entries of a chunk; for a leaf without an entry, the hash in its tile."""
        # Runs for each entry of the log: the loop is kept short.
        hashes: list[bytes] = []
        sha256, place, time_and_details, formatted_at = hashlib.sha256, chunk.first, "", None
        steps = iter(_oldest_times(chunk.marks))
        step, latest = next(steps, None), self._latest
        for leaf, seq, at, head, tail, body, stored in chunk.rows:
            if leaf != place:
                self._note_missing(place, leaf)
                hashes += chunk.tile_hashes_of(place, leaf)
            place = leaf + 1
            if body is None:
                self._note_bare(leaf, at)
                hashes += chunk.tile_hashes_of(leaf, place)
                continue
            while step is not None and step[0] <= leaf:
                latest, step = step[1], next(steps, None)
            content = body.encode()
            hashes.append(sha256(b"\x00" + content).digest())
            if at != formatted_at:
                time_and_details, formatted_at = f'{rfc3339(at)}","details":', at
            if sha256(content).digest() != stored or not (
                body.startswith(head + time_and_details) and body.endswith(tail)
            ):
                self._compare_columns(leaf, seq, content, stored, (head + time_and_details, tail))
            if at < latest:
                self._result.add(
                    "backdated", f"Entry {seq} (leaf {leaf}) says {at}, but was added more than an hour later."
                )
        self._note_missing(place, chunk.end)
        hashes += chunk.tile_hashes_of(place, chunk.end)
        while step is not None:
            latest, step = step[1], next(steps, None)
        self._latest = latest
        joined = b"".join(hashes)
        if joined != chunk.tile_hashes:
            self._note_differing(chunk, joined)
        return joined

    def _compare_columns(self, leaf: int, seq: int, content: bytes, stored: bytes, ends: tuple[str, str]) -> None:
        """Compare the columns of an entry with its body by parsing it: escapes in the body defeat the cheap comparison."""
        if hashlib.sha256(content).digest() != stored or _body_ends(content) != ends:
            self._result.add("changed", f"Entry {seq} (leaf {leaf}): its columns do not say what its body says.")

    def _note_differing(self, chunk: _Chunk, hashes: bytes) -> None:
        """Note the leaves whose entries have other hashes than their tiles."""
        for row in chunk.rows:
            part = slice((row[0] - chunk.first) * HASH_SIZE, (row[0] - chunk.first + 1) * HASH_SIZE)
            if hashes[part] != chunk.tile_hashes[part] and len(self._differing) < MAX_FINDINGS:
                self._differing.append(_DifferingLeaf(row[0], row[1], hashes[part], chunk.tile_hashes[part]))

    def _note_bare(self, leaf: int, at: datetime) -> None:
        """Note a leaf without an entry as archived or as missing."""
        month = archive_file.month_at(at)
        if month in self._archived:
            self._result.archived += 1
            archived = self._archived_ranges.setdefault(month, ArchivedRange(0, leaf, leaf))
            archived.entries, archived.last_leaf = archived.entries + 1, leaf
        else:
            self._note_missing(leaf, leaf + 1)

    async def _rows(self, first: int, end: int) -> list[_Row]:
        """Return leaves with their entries; if no entry has the time of the leaf, with one of the same number at another time."""
        least, most = await self._connection.fetchrow(_SEQ_RANGE, first, end)
        if most is None:
            return []
        query, span = (_LEAVES, (least, most)) if most - least < SCATTER_FACTOR * CHUNK_LEAVES else (_SCATTERED, ())
        rows: list[_Row] = await self._connection.fetch(query, first, end, *span)
        rows.sort(key=_leaf)
        missing = [
            row[1] for row in rows if row[_BODY_COLUMN] is None and archive_file.month_at(row[2]) not in self._archived
        ]
        if not missing:
            return rows
        others = {row["seq"]: tuple(row) for row in await self._connection.fetch(_OTHER_TIMES, missing)}
        return [(row[0], *others[row[1]]) if row[_BODY_COLUMN] is None and row[1] in others else row for row in rows]

    async def _read_tile_hashes(self, first: int, end: int) -> bytes:
        """Return the hashes of leaves in their tiles, padded with zeroes where a tile is too short."""
        numbers = range(first // WIDTH, -(-end // WIDTH))
        rows = await self._connection.fetch(_TILES, 0, numbers.start, numbers.stop)
        stored: dict[int, bytes] = {row["number"]: row["hashes"] for row in rows}
        parts = []
        for number in numbers:
            width = min(WIDTH, end - number * WIDTH)
            content = stored.get(number, b"")
            if len(content) != width * HASH_SIZE:
                self._result.add("tile", f"Tile 0/{number} holds {len(content) // HASH_SIZE} hashes, not {width}.")
            parts.append(content[: width * HASH_SIZE].ljust(width * HASH_SIZE, b"\0"))
        return b"".join(parts)

    def _note_missing(self, first: int, end: int) -> None:
        if first >= end:
            return
        if self._missing and self._missing[-1][1] == first:
            first = self._missing.pop()[0]
        self._missing.append((first, end))

    async def _grow(self, chunk: _Chunk, entry_hashes: bytes, first: int, end: int) -> None:
        if first >= end:
            return
        tile_hashes, part = chunk.tile_hashes, slice((first - chunk.first) * HASH_SIZE, (end - chunk.first) * HASH_SIZE)
        if self._tiles is None and entry_hashes[part] != tile_hashes[part]:
            self._tiles = self._entries.copy()
        if self._tiles is not None:
            self._tiles.append(tile_hashes[part])
        for tile, content in self._entries.append(entry_hashes[part]).items():
            if tile[0] > 0 and len(content) == FULL:
                await self._compare_tile(tile, content)

    async def _compare_tile(self, tile: Tile, content: bytes) -> None:
        """Compare a tile above the leaves with its computed content, unless entries and tiles differ below."""
        if tile[0] == 0 or self._tiles is not None:
            return
        rows = await self._connection.fetch(_TILES, tile[0], tile[1], tile[1] + 1)
        if not rows or rows[0]["hashes"] != content:
            self._result.add("tile", f"Tile {tile[0]}/{tile[1]} is not the hash of the tiles below it.")

    def _compare_root(self, mark: _ExpectedRoot) -> None:
        """Compare an expected root with the roots of both trees."""
        by_entries = mark.size == 0 or self._entries.root() == mark.root
        by_tiles = by_entries if self._tiles is None else self._tiles.root() == mark.root
        if by_entries or by_tiles:
            if by_entries != by_tiles:
                self._blamed = "tiles" if by_entries else "entries"
            return
        where = "that was kept elsewhere " if mark.is_remembered else ""
        self._result.add(
            "rewritten", f"The first {mark.size} entries are not those of the checkpoint {where}of {mark.size} entries."
        )

    # The end

    def _report_missing(self) -> None:
        size = self._result.leaves
        for first, end in self._missing:
            is_end = end == size and end - first > 1
            which = f"leaf {first}" if end - first == 1 else f"leaves {first} to {end - 1}"
            kind: Kind = "truncated" if is_end else "deleted"
            self._result.add(kind, f"The log promises {which}, of which there is no entry any more.")

    def _report_differing(self) -> None:
        """Report entries that were swapped, entries that were changed, and tiles that were changed."""
        by_tile_hash = {each.tile_hash: each for each in self._differing}
        for each in self._differing:
            other = by_tile_hash.get(each.entry_hash)
            if self._blamed == "tiles":
                self._result.add(
                    "tile", f"Tile 0/{each.leaf // WIDTH} has another hash for leaf {each.leaf} than was signed."
                )
            elif other is None:
                self._result.add("changed", f"Entry {each.seq} (leaf {each.leaf}) is not what it was.")
            elif by_tile_hash.get(other.entry_hash) is not each or each.leaf < other.leaf:
                self._result.add(
                    "swapped", f"In the place of leaf {each.leaf} stands what belongs in that of leaf {other.leaf}."
                )

    async def _report_unsequenced(self, watermark: int) -> None:
        """Report entries that have no leaf and can get none any more."""
        entries, self._result.waiting = await self._connection.fetchrow(_COUNTS, watermark)
        matched = self._result.leaves - self._result.archived - sum(end - first for first, end in self._missing)
        if entries == matched + self._result.waiting:
            return
        for seq, at, is_second in await self._connection.fetch(_UNSEQUENCED, watermark):
            if is_second:
                self._result.add("inserted", f"There are two entries {seq}; the one of {at} is not in the log.")
            else:
                self._result.add("inserted", f"Entry {seq} was put in after the log had passed its number.")

    def _check_end(self, recorded_size: int | None) -> None:
        """Compare the number of leaves with the newest checkpoint and with the recorded size."""
        size, newest = self._result.leaves, self._result.newest
        if newest is None:
            if size or self._result.checkpoints:
                self._result.add("rewritten", "No checkpoint of the log is signed by a key that is trusted.")
        elif newest.size < size:
            self._result.add("inserted", f"Leaves from {newest.size} on are in no signed checkpoint.")
        if recorded_size is not None and recorded_size != size:
            self._result.add(
                "truncated" if recorded_size > size else "inserted",
                f"The log had {recorded_size} entries and has {size} leaves.",
            )


async def _no_results(spans: Sequence[LeafRange]) -> AsyncGenerator[None, None]:
    """Yield None for each chunk: none is hashed ahead."""
    for _ in spans:
        yield None


def _oldest_times(marks: Sequence[_ExpectedRoot]) -> list[tuple[int, datetime]]:
    """Return pairs of a size and the earliest time of entries from that leaf on."""
    return [(mark.size, mark.time - BACKDATING_TOLERANCE) for mark in marks if mark.time and not mark.is_remembered]


def _take_up_to(kept: list[_ExpectedRoot], size: int) -> list[_ExpectedRoot]:
    """Remove the remembered checkpoints up to a size from a rising list and return them."""
    count = sum(mark.size <= size for mark in kept)
    taken = kept[:count]
    del kept[:count]
    return taken


def _parse_verifier(vkey: str) -> Verifier | None:
    try:
        return Verifier.of(vkey)
    except ValueError:
        return None


def _signers(note: str, keys: Sequence[Verifier]) -> frozenset[Verifier]:
    try:
        return signed_note.open(note, keys).keys
    except ValueError:
        return frozenset()


def _body_ends(content: bytes) -> tuple[str, str] | None:
    """Return the expected beginning of a canonical body, up to its details, and its expected end; None if it is no entry.

    A canonical body begins with action, actor and at, and ends with handler and subject.
    """
    try:
        body: dict[str, Any] = json.loads(content)
        owner = "null" if body["handler"] is None else f'"{body["handler"]}"'
        begins = f'{{"action":"{body["action"]}","actor":"{body["actor"]}","at":"{body["at"]}","details":'
        return begins, f',"handler":{owner},"subject":"{body["subject"]}"}}'
    except (ValueError, TypeError, KeyError):
        return None
