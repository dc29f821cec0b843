"""Reads the entries of a pack in the order of the log, and their proof: the subtrees between them, and a checkpoint above all.

A recently committed entry may not be sequenced yet. So the snapshot determines the entries, while their leaves, the tree and the
checkpoint are read later, from an append-only log that never changes what it has published.
"""

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import text

from service.audit import commitments
from service.audit.actions import AuditAction
from service.audit.tlog import signed_note
from service.audit.tlog.merkle import covers, leaf_hash
from service.audit.tlog.tiles import Tile, reader, tiles_for
from service.database.session import Database, Transaction
from service.packs.scope import ENTRIES, Scope

Json = dict[str, Any]

ROWS_PER_BATCH: Final = 500
MAX_UNSEQUENCED: Final = 10_000
"""Most entries that wait in memory until they are sequenced."""
SEQUENCING_TIMEOUT: Final = 30.0
"""Seconds within which all entries of the snapshot must be sequenced."""
POLL_SECONDS: Final = 0.2
WITNESS_TIMEOUT: Final = 5.0
"""Seconds of the wait for a cosignature, if the log has witnesses."""

_ENTRIES: Final = f"{ENTRIES} union select seq, at from entries where seq = any(:setting)"  # noqa: S608 - no caller's text is in it  # nosec B608
"""Entries of the scope, and those whose acts set shown columns."""
_SEQUENCED: Final = f"""
  with wanted as materialized ({_ENTRIES})
  select l.leaf, w.seq, e.body from wanted w join leaves l on l.seq = w.seq join entries e on e.seq = w.seq and e.at = w.at
  order by l.leaf
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_UNSEQUENCED: Final = f"""
  with wanted as materialized ({_ENTRIES})
  select w.seq, e.body from wanted w join entries e on e.seq = w.seq and e.at = w.at
  where not exists (select from leaves l where l.seq = w.seq) order by w.seq limit {MAX_UNSEQUENCED + 1}
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_ACTORS: Final = f"select distinct e.actor from ({ENTRIES}) w join entries e on e.seq = w.seq and e.at = w.at"  # noqa: S608 - no caller's text is in it  # nosec B608
_COUNT: Final = f"select count(*) from ({ENTRIES}) wanted"  # noqa: S608 - no caller's text is in it  # nosec B608
_CHECKPOINTS: Final = """
  select c.size, c.note, (select array_agg(s.line order by s.at) from cosignatures s where s.size = c.size) as lines
  from checkpoints c where c.size >= :size order by c.size desc limit 50
"""


class LogBehindError(Exception):
    """Entries of the snapshot are not sequenced, or have no checkpoint, in time."""


@dataclass(frozen=True, slots=True)
class SequencedEntry:
    """An entry with its leaf."""

    leaf: int
    seq: int
    body: str


@dataclass(frozen=True, slots=True)
class ProvingCheckpoint:
    """Checkpoint above all entries of a pack."""

    size: int
    note: str
    """Signed note with its cosignatures."""


class LogEntries:
    """Reads the entries of one pack.

    Args:
        tx: the snapshot.
        log: database connections outside of the snapshot, which see the newest state of the log.
        scope: scope of the pack.
        systems: names of systems that may ask the gate.
    """

    def __init__(self, tx: Transaction, log: Database, scope: Scope, systems: frozenset[str]) -> None:
        self._tx, self._log, self._systems = tx, log, systems
        self._parameters = scope.parameters | {"subjects": scope.subjects, "setting": list[int]()}
        self.leaves = array("q")
        """Leaves of the entries that have been read, ascending."""
        self.withheld = 0
        """Number of entries by hash alone."""

    async def actors(self) -> set[str]:
        """Return the actors of the entries."""
        return {str(row[0]) for row in await self._tx.execute(text(_ACTORS), self._parameters)}

    def add_numbers(self, numbers: Sequence[int]) -> None:
        """Add the entries of some numbers."""
        self._parameters["setting"] = list(numbers)

    async def count(self) -> int:
        """Return the number of entries."""
        return int((await self._tx.execute(text(_COUNT), self._parameters)).scalar_one())

    async def read(self) -> AsyncIterator[SequencedEntry]:
        """Return the entries in the order of the log.

        Raises:
            LogBehindError: entries are not sequenced in time.
        """
        unsequenced = [
            (int(row[0]), str(row[1])) for row in await self._tx.execute(text(_UNSEQUENCED), self._parameters)
        ]
        if len(unsequenced) > MAX_UNSEQUENCED:
            raise LogBehindError(f"More than {MAX_UNSEQUENCED} entries wait for their places in the log.")
        rows = await self._tx.stream(
            text(_SEQUENCED), self._parameters, execution_options={"yield_per": ROWS_PER_BATCH}
        )
        async for leaf, seq, body in rows:
            self.leaves.append(leaf)
            yield SequencedEntry(leaf, seq, body)
        leaves = await self._await_leaves([seq for seq, _ in unsequenced])
        for leaf, seq, body in sorted((leaves[seq], seq, body) for seq, body in unsequenced):
            self.leaves.append(leaf)
            yield SequencedEntry(leaf, seq, body)

    def encode(self, entry: SequencedEntry) -> tuple[bytes, Json | None]:
        """Return the line of an entry and its body; if it holds text that no pack may show, a line with its hash, and None."""
        body: Json = json.loads(entry.body)
        start = f'{{"leaf":{entry.leaf},"seq":{entry.seq},'
        if self._is_clear(body):
            return f'{start}"body":{entry.body}}}\n'.encode(), body
        self.withheld += 1
        hash_ = base64.b64encode(leaf_hash(entry.body.encode())).decode()
        return f'{start}"hash":"{hash_}"}}\n'.encode(), None

    def _is_clear(self, body: Json) -> bool:
        if body["action"] == AuditAction.GATE_EVALUATED:
            # AuthZEN lets a caller name any subject, a person as well.
            subject = body["details"]["question"]["subject"]
            return subject["type"] == "system" and subject["id"] in self._systems
        if body["action"] in {AuditAction.EXPORT_RESERVED, AuditAction.EXPORT_REPEATED, AuditAction.EXPORT_REFUSED}:
            return True
        return commitments.is_fully_committed(body)

    async def _await_leaves(self, numbers: Sequence[int]) -> dict[int, int]:
        """Return the leaves of entries by their numbers, as soon as all are sequenced."""
        query = text("select seq, leaf from leaves where seq = any(:numbers)")

        async def read_leaves(tx: Transaction) -> dict[int, int]:
            return {row[0]: row[1] for row in await tx.execute(query, {"numbers": list(numbers)})}

        for _ in range(round(SEQUENCING_TIMEOUT / POLL_SECONDS)):
            leaves = await self._log.transaction(read_leaves)
            if len(leaves) == len(numbers):
                return leaves
            await asyncio.sleep(POLL_SECONDS)
        raise LogBehindError(
            f"{len(numbers) - len(leaves)} entries have no place in the log after {SEQUENCING_TIMEOUT:.0f} seconds."
        )

    async def find_checkpoint(self) -> ProvingCheckpoint:
        """Return the newest checkpoint above all entries: a cosigned one, if it comes within `WITNESS_TIMEOUT`.

        Raises:
            LogBehindError: there is no checkpoint in time.
        """
        size = self.leaves[-1] + 1 if self.leaves else 1

        async def read_checkpoints(tx: Transaction) -> tuple[list[Any], bool]:
            rows = (await tx.execute(text(_CHECKPOINTS), {"size": size})).all()
            return list(rows), bool(await tx.scalar(text("select exists (select from cosignatures)")))

        newest: ProvingCheckpoint | None = None
        for attempt in range(round(SEQUENCING_TIMEOUT / POLL_SECONDS)):
            rows, has_witnesses = await self._log.transaction(read_checkpoints)
            cosigned = next((row for row in rows if row[2]), None)
            if cosigned is not None:
                return ProvingCheckpoint(cosigned[0], signed_note.with_lines(cosigned[1], cosigned[2]))
            if rows:
                newest = newest or ProvingCheckpoint(rows[0][0], rows[0][1])
                if not has_witnesses or attempt > WITNESS_TIMEOUT / POLL_SECONDS:
                    return newest
            await asyncio.sleep(POLL_SECONDS)
        raise LogBehindError(f"The log has no checkpoint above leaf {size - 1} after {SEQUENCING_TIMEOUT:.0f} seconds.")

    async def proof(self, size: int) -> AsyncIterator[bytes]:
        """Return the lines of the proof: level, index and hash of each subtree between the entries, left to right."""
        nodes = covers(self.leaves, size)
        while some := list(islice(nodes, ROWS_PER_BATCH)):
            node = reader(await self._tiles(tiles_for(some)))
            yield b"".join(_line(level, index, node(level, index)) for level, index in some)

    async def _tiles(self, tiles: set[Tile]) -> dict[Tile, bytes]:
        query = text(
            "select t.level, t.number, t.hashes from unnest(cast(:levels as smallint[]), cast(:numbers as bigint[])) w (level, number) "
            "join log_tiles t using (level, number)"
        )
        parameters = {"levels": [level for level, _ in tiles], "numbers": [number for _, number in tiles]}

        async def read_tiles(tx: Transaction) -> dict[Tile, bytes]:
            return {(row[0], row[1]): row[2] for row in await tx.execute(query, parameters)}

        return await self._log.transaction(read_tiles)


def _line(level: int, index: int, hash_: bytes) -> bytes:
    return f'[{level},{index},"{base64.b64encode(hash_).decode()}"]\n'.encode()
