"""The entries of a pack in the order of the log, and what proves them: the subtrees between them, and a checkpoint above all.

An entry that was committed a moment ago may not have its place in the log yet. The snapshot tells which entries there are; their places,
the tree and the checkpoint are read later, when the log has come that far: nothing that it says once ever changes.
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
from service.audit.tlog import signed_note
from service.audit.tlog.merkle import covers, leaf_hash
from service.audit.tlog.tiles import Tile, reader, tiles_for
from service.database.session import Database, Transaction
from service.packs.scope import ENTRIES, Extent

Json = dict[str, Any]

ROWS: Final = 500
MOST_WAITING: Final = 10_000
"""Entries without a place that are held in memory until they have one."""
SEQUENCING_TIMEOUT: Final = 30.0
"""Seconds until which the log must have come as far as the snapshot."""
PAUSE: Final = 0.2
WITNESSED: Final = 5.0
"""Seconds that a cosignature is waited for, where witnesses cosign."""

_WANTED: Final = f"{ENTRIES} union select seq, at from entries where seq = any(:setting)"  # noqa: S608 - no caller's text is in it  # nosec B608
"""Also those whose acts set what the records show."""
_SEQUENCED: Final = f"""
  with wanted as materialized ({_WANTED})
  select l.leaf, w.seq, e.body from wanted w join leaves l on l.seq = w.seq join entries e on e.seq = w.seq and e.at = w.at
  order by l.leaf
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_WAITING: Final = f"""
  with wanted as materialized ({_WANTED})
  select w.seq, e.body from wanted w join entries e on e.seq = w.seq and e.at = w.at
  where not exists (select from leaves l where l.seq = w.seq) order by w.seq limit {MOST_WAITING + 1}
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_ACTORS: Final = f"select distinct e.actor from ({ENTRIES}) w join entries e on e.seq = w.seq and e.at = w.at"  # noqa: S608 - no caller's text is in it  # nosec B608
_COUNT: Final = f"select count(*) from ({ENTRIES}) wanted"  # noqa: S608 - no caller's text is in it  # nosec B608
_CHECKPOINTS: Final = """
  select c.size, c.note, (select array_agg(s.line order by s.at) from cosignatures s where s.size = c.size) as lines
  from checkpoints c where c.size >= :size order by c.size desc limit 50
"""


class LogBehindError(Exception):
    """The log does not come as far as the snapshot: nobody gives entries their places."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry and its place."""

    leaf: int
    seq: int
    body: str


@dataclass(frozen=True, slots=True)
class Proved:
    """A checkpoint that all entries of a pack are under."""

    size: int
    note: str
    """With the lines of those who cosigned it."""


class Entries:
    """Reads the entries of one pack.

    Args:
        tx: the snapshot.
        log: gives transactions that see what the log has come to since.
        extent: what belongs to the pack.
        systems: names of systems that may ask the gate.
    """

    def __init__(self, tx: Transaction, log: Database, extent: Extent, systems: frozenset[str]) -> None:
        self._tx, self._log, self._systems = tx, log, systems
        self._parameters = extent.parameters | {"subjects": extent.subjects, "setting": list[int]()}
        self.leaves = array("q")
        """Places of all that have been read, rising."""
        self.withheld = 0

    async def actors(self) -> set[str]:
        """Return who did what they tell of."""
        return {str(row[0]) for row in await self._tx.execute(text(_ACTORS), self._parameters)}

    def add(self, setting: Sequence[int]) -> None:
        """Have entries of these numbers as well."""
        self._parameters["setting"] = list(setting)

    async def count(self) -> int:
        """Return how many there are."""
        return int((await self._tx.execute(text(_COUNT), self._parameters)).scalar_one())

    async def read(self) -> AsyncIterator[Placed]:
        """Return them in the order of the log.

        Raises:
            LogBehindError: some have no place, and get none.
        """
        waiting = [(int(row[0]), str(row[1])) for row in await self._tx.execute(text(_WAITING), self._parameters)]
        if len(waiting) > MOST_WAITING:
            raise LogBehindError(f"More than {MOST_WAITING} entries wait for their places in the log.")
        found = await self._tx.stream(text(_SEQUENCED), self._parameters, execution_options={"yield_per": ROWS})
        async for leaf, seq, body in found:
            self.leaves.append(leaf)
            yield Placed(leaf, seq, body)
        places = await self._places([seq for seq, _ in waiting])
        for leaf, seq, body in sorted((places[seq], seq, body) for seq, body in waiting):
            self.leaves.append(leaf)
            yield Placed(leaf, seq, body)

    def line(self, entry: Placed) -> tuple[bytes, Json | None]:
        """Return the line of an entry, and what it says; None and only its hash, where it holds a text that is not for a pack."""
        body: Json = json.loads(entry.body)
        start = f'{{"leaf":{entry.leaf},"seq":{entry.seq},'
        if self._is_clear(body):
            return f'{start}"body":{entry.body}}}\n'.encode(), body
        self.withheld += 1
        hash_ = base64.b64encode(leaf_hash(entry.body.encode())).decode()
        return f'{start}"hash":"{hash_}"}}\n'.encode(), None

    def _is_clear(self, body: Json) -> bool:
        if body["action"] == "gate.evaluated":
            # AuthZEN lets a caller name anybody as the subject: a person as well.
            subject = body["details"]["question"]["subject"]
            return subject["type"] == "system" and subject["id"] in self._systems
        if body["action"] in {"export.reserved", "export.repeated", "export.refused"}:
            return True
        return commitments.is_clear(body)

    async def _places(self, waiting: Sequence[int]) -> dict[int, int]:
        """Return the places of entries by their numbers, once all have one."""
        query = text("select seq, leaf from leaves where seq = any(:waiting)")

        async def look(tx: Transaction) -> dict[int, int]:
            return {row[0]: row[1] for row in await tx.execute(query, {"waiting": list(waiting)})}

        for _ in range(round(SEQUENCING_TIMEOUT / PAUSE)):
            places = await self._log.transaction(look)
            if len(places) == len(waiting):
                return places
            await asyncio.sleep(PAUSE)
        raise LogBehindError(
            f"{len(waiting) - len(places)} entries have no place in the log after {SEQUENCING_TIMEOUT:.0f} seconds."
        )

    async def proved(self) -> Proved:
        """Return the newest checkpoint that is above all of them; a cosigned one, where witnesses cosign and it is not long in coming.

        Raises:
            LogBehindError: there is none.
        """
        size = self.leaves[-1] + 1 if self.leaves else 1

        async def look(tx: Transaction) -> tuple[list[Any], bool]:
            rows = (await tx.execute(text(_CHECKPOINTS), {"size": size})).all()
            return list(rows), bool(await tx.scalar(text("select exists (select from cosignatures)")))

        newest: Proved | None = None
        for turn in range(round(SEQUENCING_TIMEOUT / PAUSE)):
            rows, are_witnesses = await self._log.transaction(look)
            cosigned = next((row for row in rows if row[2]), None)
            if cosigned is not None:
                return Proved(cosigned[0], signed_note.with_lines(cosigned[1], cosigned[2]))
            if rows:
                newest = newest or Proved(rows[0][0], rows[0][1])
                if not are_witnesses or turn > WITNESSED / PAUSE:
                    return newest
            await asyncio.sleep(PAUSE)
        raise LogBehindError(f"The log has no checkpoint above leaf {size - 1} after {SEQUENCING_TIMEOUT:.0f} seconds.")

    async def proof(self, size: int) -> AsyncIterator[bytes]:
        """Return the lines of the proof: level, index and hash of each subtree between the entries, left to right."""
        nodes = covers(self.leaves, size)
        while some := list(islice(nodes, ROWS)):
            node = reader(await self._tiles(tiles_for(some)))
            yield b"".join(_line(level, index, node(level, index)) for level, index in some)

    async def _tiles(self, wanted: set[Tile]) -> dict[Tile, bytes]:
        query = text(
            "select t.level, t.number, t.hashes from unnest(cast(:levels as smallint[]), cast(:numbers as bigint[])) w (level, number) "
            "join log_tiles t using (level, number)"
        )
        asked = {"levels": [level for level, _ in wanted], "numbers": [number for _, number in wanted]}

        async def look(tx: Transaction) -> dict[Tile, bytes]:
            return {(row[0], row[1]): row[2] for row in await tx.execute(query, asked)}

        return await self._log.transaction(look)


def _line(level: int, index: int, hash_: bytes) -> bytes:
    return f'[{level},{index},"{base64.b64encode(hash_).decode()}"]\n'.encode()
