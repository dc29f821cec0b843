"""Integrity check (fsck) of the whole log: hashes every entry again and compares with the signed checkpoints.

1. Leaf by leaf, in the order of the log, the entry is read, hashed, and compared with the hash in its tile.
2. The tree grows from these hashes; each checkpoint must have its root at its size, signed by a trusted key.
3. Where an entry and its tile differ, a second tree grows from the tiles: the signature shows which of the two was changed.
4. At last: upper tiles, entries without a leaf, checkpoints known from elsewhere, archived months, openings.

All in one view of the database and in little memory, however large the log is. Worker processes may read and hash ahead in that view; a
chunk in which one finds anything is looked at again here, so that findings have one source.
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
"""Leaves that are read at once; whole tiles."""
SCATTER_FACTOR: Final = 4
"""Times so many numbers as leaves, from which on entries are not read as one range."""
MAX_FINDINGS: Final = 1_000
"""Faults of one kind that are kept one by one."""
BACKDATING_TOLERANCE: Final = timedelta(hours=1)
"""No transaction of the service takes as long: an entry that claims to be older than the checkpoint before it by more was put in later."""

NAME: Final = "outbound audit"
BOUNDS: Final = Bounds(silence=600.0)
"""Nobody waits for a view that is only read: it may be silent while chunks are hashed."""
# A chunk is found by its indexes, whatever the planner thinks of the tables.
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
"""The first leaf of a chunk, and the first one beyond it."""
CleanChunk: TypeAlias = tuple[bytes, datetime]
"""The hashes of the leaves of a chunk that is as it should be, and the time of its oldest entry."""
ChunkHasher: TypeAlias = Callable[[str, Sequence[LeafRange]], AsyncGenerator[CleanChunk | None, None]]
"""Given a view of the database, as PostgreSQL exports it, and the chunks of a log: yields what `hash_clean_chunk` returns of each."""

_Row: TypeAlias = tuple[Any, ...]
"""Leaf, seq, at, how the body begins and ends by what the columns say, body and sha256; the last four are None: there is no entry."""
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
"""Numbers mostly come in the order of leaves, so that the entries of a chunk stand side by side."""
_SCATTERED: Final = _LEAVES.replace(
    "seq between $3 and $4", "seq = any(array(select seq from leaves where leaf >= $1 and leaf < $2))"
)
"""The same, where a transaction that took long has put numbers far from each other into one chunk."""
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
    """One thing that is not as the log promised: what kind, and a sentence."""

    kind: Kind
    detail: str


@dataclass
class Result:
    """What the check has seen."""

    findings: list[Finding] = field(default_factory=list)
    leaves: int = 0
    archived: int = 0
    """Leaves whose entries have been moved to files: their hashes were taken from the tiles."""
    checkpoints: int = 0
    waiting: int = 0
    """Entries that have no leaf yet."""
    newest: Checkpoint | None = None
    """The largest checkpoint that a trusted key has signed."""
    left_out: int = 0
    """Findings that are not told one by one."""
    state: StateResult | None = None
    """How the tables compare with the log, where that was asked for."""

    def add(self, kind: Kind, detail: str) -> None:
        """Add a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, detail))
        else:
            self.left_out += 1

    @property
    def kinds(self) -> set[str]:
        """The kinds of what was found."""
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

    Args:
        connection: made with `SETTINGS`, within `BOUNDS`.
        trusted: keys of the log that are known from elsewhere; others are trusted where they have signed beside one of these.
        remembered: notes of checkpoints that were kept elsewhere.
        archives: where the files of archived months are, to check them too.
        hasher: hashes chunks ahead in other processes; None: all is hashed here.
        with_state: whether to compare the tables with it too.

    Raises:
        ValueError: what was remembered is no checkpoint that a trusted key has signed.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        result = await _Check(connection, {each.vkey: each for each in trusted}).run(remembered, archives, hasher)
        if with_state:
            result.state = await state.check(connection)
        return result


async def hash_clean_chunk(connection: asyncpg.Connection, span: LeafRange) -> CleanChunk | None:
    """Read and hash a chunk for `check`, and return what it comes to; None: it holds something that needs a second look.

    Args:
        connection: made with `SETTINGS`, in a transaction that has the view of the check.
        span: the chunk.
    """
    return await _Check(connection, {}).plain(span)


@dataclass(slots=True)
class _ExpectedRoot:
    """A size at which the tree must have a root: that of a checkpoint that is stored, or of one that was remembered."""

    size: int
    root: bytes
    time: datetime | None
    is_remembered: bool


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some leaves as they were read, the hashes that their tiles tell, and what was signed of sizes up to their end."""

    first: int
    beyond: int
    rows: Sequence[_Row]
    told: bytes
    marks: Sequence[_ExpectedRoot]

    def told_of(self, first: int, beyond: int) -> list[bytes]:
        """Return the hashes that the tiles tell of some leaves."""
        return [self.told[(leaf - self.first) * HASH_SIZE :][:HASH_SIZE] for leaf in range(first, beyond)]


class _RootStream:
    """Marks in rising order, taken from a stream as far as they are needed."""

    def __init__(self, stream: AsyncIterator[_ExpectedRoot]) -> None:
        self._stream = stream
        self._waiting: _ExpectedRoot | None = None

    async def upto(self, size: int) -> list[_ExpectedRoot]:
        """Return the next marks, up to a size."""
        taken: list[_ExpectedRoot] = []
        while True:
            self._waiting = self._waiting or await anext(self._stream, None)
            if self._waiting is None or self._waiting.size > size:
                return taken
            taken.append(self._waiting)
            self._waiting = None


@dataclass(slots=True)
class _DifferingLeaf:
    """A leaf whose entry does not have the hash that its tile tells."""

    leaf: int
    seq: int
    found: bytes
    told: bytes


class _Check:
    def __init__(self, connection: asyncpg.Connection, trusted: dict[str, Verifier]) -> None:
        self._connection = connection
        self._trusted = trusted
        self._result = Result()
        self._entries = TreeEdge()
        """The tree of the entries; where one is missing, of its tile."""
        self._tiles: TreeEdge | None = None
        """The tree of the tiles, from the first leaf on at which it is another."""
        self._blamed: Literal["entries", "tiles"] | None = None
        """Which of the two was changed, by what was signed."""
        self._differing: list[_DifferingLeaf] = []
        self._missing: list[tuple[int, int]] = []
        self._archived: set[date] = set()
        self._gone: dict[date, ArchivedRange] = {}
        self._latest = datetime.min.replace(tzinfo=UTC)
        """No entry from here on is older, by the last checkpoint that was signed without it."""

    async def run(self, remembered: Sequence[str], archives: Path | None, hasher: ChunkHasher | None) -> Result:
        """Check everything."""
        state = await self._connection.fetchrow("select origin, watermark, size from log_state")
        last = await self._connection.fetchval("select max(leaf) from leaves")
        self._result.leaves = size = 0 if last is None else last + 1
        self._archived = {row[0] for row in await self._connection.fetch("select month from archives")}
        await self._trust()
        kept = sorted((self._kept(note) for note in remembered), key=lambda mark: mark.size)
        stored = _RootStream(self._checkpoints())
        spans = [(first, min(first + CHUNK_LEAVES, size)) for first in range(0, size, CHUNK_LEAVES)]
        view = "" if hasher is None else await self._connection.fetchval("select pg_export_snapshot()")
        async with aclosing(_no_results(spans) if hasher is None else hasher(view, spans)) as ahead:
            for span in spans:
                marks = sorted([*await stored.upto(span[1]), *_take_up_to(kept, span[1])], key=lambda mark: mark.size)
                await self._look(span, marks, await anext(ahead))
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
        self._tell_missing()
        self._tell_differing()
        await self._strangers(0 if state is None else state["watermark"])
        self._ends(None if state is None else state["size"])
        for told in await fsck_attachments.check_archives(self._connection, self._gone, archives):
            self._result.add("archive", told)
        return self._result

    # What was signed

    async def _trust(self) -> None:
        """Trust each key of the log that has signed a checkpoint beside a trusted one: that is how keys follow each other."""
        rows = await self._connection.fetch("select vkey from log_keys")
        known = [key for row in rows if (key := _parse_verifier(row["vkey"])) is not None]
        if all(key.vkey in self._trusted for key in known):
            return
        rows = await self._connection.fetch("select note from checkpoints where note ~ '\n— [^\n]+\n— '")
        together = [by for row in rows if (by := _signers(row["note"], known))]
        while True:
            more = {key.vkey: key for by in together if any(key.vkey in self._trusted for key in by) for key in by}
            if more.keys() <= self._trusted.keys():
                return
            self._trusted |= more

    def _opened(self, note: str) -> Checkpoint:
        return Checkpoint.of(signed_note.open(note, self._trusted.values()).text)

    def _kept(self, note: str) -> _ExpectedRoot:
        checkpoint = self._opened(note)
        return _ExpectedRoot(checkpoint.size, checkpoint.root, checkpoint.time, is_remembered=True)

    async def _checkpoints(self) -> AsyncIterator[_ExpectedRoot]:
        """Yield the checkpoints that a trusted key has signed, the smallest first; tell of the others."""
        size = -1
        while rows := await self._connection.fetch(_CHECKPOINTS, size):
            for row in rows:
                size = row["size"]
                self._result.checkpoints += 1
                try:
                    checkpoint = self._opened(row["note"])
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

    async def plain(self, span: LeafRange) -> CleanChunk | None:
        """Return what a chunk comes to where nothing in it needs a second look."""
        chunk, found = await self._read(span, ())
        if self._result.findings or self._result.archived or self._missing or self._differing:
            return None
        return found, min(row[2] for row in chunk.rows)

    async def _look(self, span: LeafRange, marks: Sequence[_ExpectedRoot], known: CleanChunk | None) -> None:
        """Let the trees grow by a chunk, which is read and hashed here unless that was done, and nothing in it needs a second look."""
        times = [self._latest, *(latest for _, latest in _oldest_times(marks))]
        if known is not None and known[1] >= max(times):
            self._latest = times[-1]
            await self._walk(_Chunk(*span, (), known[0], marks), known[0])
            return
        await self._walk(*await self._read(span, marks))

    async def _read(self, span: LeafRange, marks: Sequence[_ExpectedRoot]) -> tuple[_Chunk, bytes]:
        """Return a chunk and the hashes of its leaves; look for what opens its seals."""
        chunk = _Chunk(*span, await self._rows(*span), await self._told(*span), marks)
        found = self._hashed(chunk)
        bodies = {
            row[1]: body
            for row in chunk.rows
            if (body := row[_BODY_COLUMN]) is not None and fsck_attachments.has_commitments(body)
        }
        for told in await fsck_attachments.check_openings(self._connection, bodies):
            self._result.add("opening", told)
        return chunk, found

    async def _walk(self, chunk: _Chunk, found: bytes) -> None:
        """Let the trees grow from mark to mark."""
        at = chunk.first
        for mark in chunk.marks:
            await self._grow(chunk, found, at, mark.size)
            at = max(at, mark.size)
            self._compare(mark)
        await self._grow(chunk, found, at, chunk.beyond)

    def _hashed(self, chunk: _Chunk) -> bytes:
        """Return the hashes of leaves as their entries have them; of those without an entry, as their tiles have them.

        Whatever is done here is done for each entry of the log: it is kept short.
        """
        hashes: list[bytes] = []
        sha256, place, moment, told_at = hashlib.sha256, chunk.first, "", None
        steps = iter(_oldest_times(chunk.marks))
        step, latest = next(steps, None), self._latest
        for leaf, seq, at, head, tail, body, stored in chunk.rows:
            if leaf != place:
                self._note_missing(place, leaf)
                hashes += chunk.told_of(place, leaf)
            place = leaf + 1
            if body is None:
                self._note_bare(leaf, at)
                hashes += chunk.told_of(leaf, place)
                continue
            while step is not None and step[0] <= leaf:
                latest, step = step[1], next(steps, None)
            content = body.encode()
            hashes.append(sha256(b"\x00" + content).digest())
            if at != told_at:
                moment, told_at = f'{rfc3339(at)}","details":', at
            if sha256(content).digest() != stored or not (body.startswith(head + moment) and body.endswith(tail)):
                self._compare_columns(leaf, seq, content, stored, (head + moment, tail))
            if at < latest:
                self._result.add("backdated", f"Entry {seq} (leaf {leaf}) says {at}, and came more than an hour later.")
        self._note_missing(place, chunk.beyond)
        hashes += chunk.told_of(place, chunk.beyond)
        while step is not None:
            latest, step = step[1], next(steps, None)
        self._latest = latest
        found = b"".join(hashes)
        if found != chunk.told:
            self._note_differing(chunk, found)
        return found

    def _compare_columns(self, leaf: int, seq: int, content: bytes, stored: bytes, ends: tuple[str, str]) -> None:
        """Compare an entry's columns with what its body says, where they are not plainly the same."""
        if hashlib.sha256(content).digest() != stored or _body_ends(content) != ends:
            self._result.add("changed", f"Entry {seq} (leaf {leaf}): its columns do not say what its body says.")

    def _note_differing(self, chunk: _Chunk, found: bytes) -> None:
        """Note the leaves whose entries do not have the hashes that their tiles tell."""
        for row in chunk.rows:
            part = slice((row[0] - chunk.first) * HASH_SIZE, (row[0] - chunk.first + 1) * HASH_SIZE)
            if found[part] != chunk.told[part] and len(self._differing) < MAX_FINDINGS:
                self._differing.append(_DifferingLeaf(row[0], row[1], found[part], chunk.told[part]))

    def _note_bare(self, leaf: int, at: datetime) -> None:
        """Note a leaf without entry: its month has been moved to a file, or it is missing."""
        month = archive_file.month_at(at)
        if month in self._archived:
            self._result.archived += 1
            seen = self._gone.setdefault(month, ArchivedRange(0, leaf, leaf))
            seen.entries, seen.last_leaf = seen.entries + 1, leaf
        else:
            self._note_missing(leaf, leaf + 1)

    async def _rows(self, first: int, beyond: int) -> list[_Row]:
        """Return leaves with their entries; where none has the time that the leaf tells, one of the same number at another."""
        least, most = await self._connection.fetchrow(_SEQ_RANGE, first, beyond)
        if most is None:
            return []
        query, span = (_LEAVES, (least, most)) if most - least < SCATTER_FACTOR * CHUNK_LEAVES else (_SCATTERED, ())
        rows: list[_Row] = await self._connection.fetch(query, first, beyond, *span)
        rows.sort(key=_leaf)
        lost = [
            row[1] for row in rows if row[_BODY_COLUMN] is None and archive_file.month_at(row[2]) not in self._archived
        ]
        if not lost:
            return rows
        others = {row["seq"]: tuple(row) for row in await self._connection.fetch(_OTHER_TIMES, lost)}
        return [(row[0], *others[row[1]]) if row[_BODY_COLUMN] is None and row[1] in others else row for row in rows]

    async def _told(self, first: int, beyond: int) -> bytes:
        """Return the hashes of leaves as their tiles have them; zeroes where a tile does not reach."""
        numbers = range(first // WIDTH, -(-beyond // WIDTH))
        rows = await self._connection.fetch(_TILES, 0, numbers.start, numbers.stop)
        stored: dict[int, bytes] = {row["number"]: row["hashes"] for row in rows}
        parts = []
        for number in numbers:
            width = min(WIDTH, beyond - number * WIDTH)
            held = stored.get(number, b"")
            if len(held) != width * HASH_SIZE:
                self._result.add("tile", f"Tile 0/{number} holds {len(held) // HASH_SIZE} hashes, not {width}.")
            parts.append(held[: width * HASH_SIZE].ljust(width * HASH_SIZE, b"\0"))
        return b"".join(parts)

    def _note_missing(self, first: int, beyond: int) -> None:
        if first >= beyond:
            return
        if self._missing and self._missing[-1][1] == first:
            first = self._missing.pop()[0]
        self._missing.append((first, beyond))

    async def _grow(self, chunk: _Chunk, found: bytes, first: int, beyond: int) -> None:
        if first >= beyond:
            return
        told, part = chunk.told, slice((first - chunk.first) * HASH_SIZE, (beyond - chunk.first) * HASH_SIZE)
        if self._tiles is None and found[part] != told[part]:
            self._tiles = self._entries.copy()
        if self._tiles is not None:
            self._tiles.append(told[part])
        for tile, content in self._entries.append(found[part]).items():
            if tile[0] > 0 and len(content) == FULL:
                await self._compare_tile(tile, content)

    async def _compare_tile(self, tile: Tile, content: bytes) -> None:
        """Compare a tile with what it should hold; above the leaves nothing is told where entries and tiles differ below."""
        if tile[0] == 0 or self._tiles is not None:
            return
        rows = await self._connection.fetch(_TILES, tile[0], tile[1], tile[1] + 1)
        if not rows or rows[0]["hashes"] != content:
            self._result.add("tile", f"Tile {tile[0]}/{tile[1]} is not what the tiles below it amount to.")

    def _compare(self, mark: _ExpectedRoot) -> None:
        """Compare a root that was promised with the trees."""
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

    def _tell_missing(self) -> None:
        size = self._result.leaves
        for first, beyond in self._missing:
            is_end = beyond == size and beyond - first > 1
            which = f"leaf {first}" if beyond - first == 1 else f"leaves {first} to {beyond - 1}"
            kind: Kind = "truncated" if is_end else "deleted"
            self._result.add(kind, f"The log promises {which}, of which there is no entry any more.")

    def _tell_differing(self) -> None:
        """Tell which entries have changed places, which were changed, and which tiles were."""
        by_told = {each.told: each for each in self._differing}
        for each in self._differing:
            other = by_told.get(each.found)
            if self._blamed == "tiles":
                self._result.add(
                    "tile", f"Tile 0/{each.leaf // WIDTH} has another hash for leaf {each.leaf} than was signed."
                )
            elif other is None:
                self._result.add("changed", f"Entry {each.seq} (leaf {each.leaf}) is not what it was.")
            elif by_told.get(other.found) is not each or each.leaf < other.leaf:
                self._result.add(
                    "swapped", f"In the place of leaf {each.leaf} stands what belongs in that of leaf {other.leaf}."
                )

    async def _strangers(self, watermark: int) -> None:
        """Tell of entries that are in no leaf, and can come into none."""
        entries, self._result.waiting = await self._connection.fetchrow(_COUNTS, watermark)
        matched = self._result.leaves - self._result.archived - sum(beyond - first for first, beyond in self._missing)
        if entries == matched + self._result.waiting:
            return
        for seq, at, is_second in await self._connection.fetch(_UNSEQUENCED, watermark):
            if is_second:
                self._result.add("inserted", f"There are two entries {seq}; the one of {at} is not in the log.")
            else:
                self._result.add("inserted", f"Entry {seq} was put in after the log had passed its number.")

    def _ends(self, told: int | None) -> None:
        """Demand that what was signed last is all that there is."""
        size, newest = self._result.leaves, self._result.newest
        if newest is None:
            if size or self._result.checkpoints:
                self._result.add("rewritten", "No checkpoint of the log is signed by a key that is trusted.")
        elif newest.size < size:
            self._result.add("inserted", f"Leaves from {newest.size} on are in no signed checkpoint.")
        if told is not None and told != size:
            self._result.add(
                "truncated" if told > size else "inserted", f"The log had {told} entries and has {size} leaves."
            )


async def _no_results(spans: Sequence[LeafRange]) -> AsyncGenerator[None, None]:
    """Know nothing of any chunk."""
    for _ in spans:
        yield None


def _oldest_times(marks: Sequence[_ExpectedRoot]) -> list[tuple[int, datetime]]:
    """Return the sizes from which on no entry is older than some time."""
    return [(mark.size, mark.time - BACKDATING_TOLERANCE) for mark in marks if mark.time and not mark.is_remembered]


def _take_up_to(kept: list[_ExpectedRoot], beyond: int) -> list[_ExpectedRoot]:
    """Take the remembered checkpoints up to a size out of a list that rises."""
    count = sum(mark.size <= beyond for mark in kept)
    taken = kept[:count]
    del kept[:count]
    return taken


def _parse_verifier(vkey: str) -> Verifier | None:
    try:
        return Verifier.of(vkey)
    except ValueError:
        return None


def _signers(note: str, known: Sequence[Verifier]) -> frozenset[Verifier]:
    try:
        return signed_note.open(note, known).keys
    except ValueError:
        return frozenset()


def _body_ends(content: bytes) -> tuple[str, str] | None:
    """Return how a canonical body begins, up to its details, and how it ends, if its columns repeat it; None: it is none.

    A canonical body begins with action, actor and at, and ends with handler and subject.
    """
    try:
        told: dict[str, Any] = json.loads(content)
        owner = "null" if told["handler"] is None else f'"{told["handler"]}"'
        begins = f'{{"action":"{told["action"]}","actor":"{told["actor"]}","at":"{told["at"]}","details":'
        return begins, f',"handler":{owner},"subject":"{told["subject"]}"}}'
    except (ValueError, TypeError, KeyError):
        return None
