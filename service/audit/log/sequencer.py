"""Sequences and integrates: gives new entries their leaf indexes, grows the tree and signs checkpoints. Run by the leader alone.

All statements use the connection that holds the advisory lock of the log: a process that loses the lock can write nothing more. A failed
pass leaves nothing in the database; the caller then discards the state in memory.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from service.audit.log import log_key
from service.audit.log.log_key import LogKey
from service.audit.tlog import signed_note
from service.audit.tlog.sequence_gaps import SequenceGaps
from service.audit.tlog.signed_note import Checkpoint, Signer
from service.audit.tlog.tiles import Tile, TreeEdge, edge_tiles
from service.clock import Clock

CHUNK_LEAVES: Final = 2_048
"""Leaves that are hashed at once, which blocks the process for about 2 milliseconds."""
MAX_CHUNKS: Final = 16
"""Chunks of one pass at most, so that checkpoints follow soon."""
MONTHS_AHEAD: Final = 3
"""Months with a table of their own: this one and the next two."""

_STATE: Final = "select origin, watermark, size from log_state"
_NEWEST: Final = "select size, root, note from checkpoints order by size desc limit 1"
_TILES: Final = """
  select level, number, hashes from log_tiles
  where (level, number) in (select * from unnest($1::smallint[], $2::bigint[]))
"""
_TAKEN: Final = "select seq from leaves where seq > $1 order by seq"
_LAST: Final = "select case when is_called then last_value else 0 end from entries_seq_seq"
_OLDEST: Final = "select pg_snapshot_xmin(pg_current_snapshot())::text"
_OWN: Final = "select pg_current_xact_id()::text"
_TAKE: Final = """
  with fresh as materialized (
    select e.* from unnest($1::bigint[], $2::bigint[]) as r(first, last) cross join lateral (
      select seq, at, sha256('\\x00'::bytea || convert_to(body, 'UTF8')) as hash
      from entries where seq between r.first and r.last order by seq limit $3
    ) e order by seq limit $3
  ), placed as (
    insert into leaves (leaf, seq, at) select $4 + row_number() over (order by seq) - 1, seq, at from fresh
  )
  select array_agg(seq order by seq) as numbers, string_agg(hash, ''::bytea order by seq) as hashes from fresh
"""
_PUT_TILES: Final = """
  insert into log_tiles (level, number, hashes) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
  on conflict (level, number) do update set hashes = excluded.hashes
"""
_MONTH: Final = """
  select make_month_of_entries((date_trunc('month', $1::timestamptz at time zone 'UTC') + n * interval '1 month')::date)
  from generate_series(0, $2 - 1) n
"""


class LogDamagedError(Exception):
    """The stored tree and the signed checkpoint differ: signing stops. Run `outbound audit check`."""


@dataclass(frozen=True, slots=True)
class AllocationMark:
    """Pair of a sequence number and a transaction: older transactions have allocated all numbers up to it."""

    number: int
    transaction: int


class Sequencer:
    """Sequencer with the end of the log in memory."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        clock: Clock,
        origin: str,
        gaps: SequenceGaps,
        edge: TreeEdge,
        signers: tuple[Signer, ...],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._gaps = gaps
        self._edge = edge
        self._signers = signers
        self._seen: AllocationMark | None = None
        self.origin = origin

    @classmethod
    async def load(
        cls, connection: asyncpg.Connection, clock: Clock, key: LogKey, origin: str | None = None
    ) -> "Sequencer":
        """Read where the log ends; begin it, if there is none.

        Args:
            connection: holds the lock of the log.
            clock: tells the time of checkpoints.
            key: signs them.
            origin: the name of a log that is begun; made up, if None.

        Raises:
            LogKeyError: the key is not the log's.
            LogDamagedError: what is stored is not what was signed last.
        """
        state = await ensure_log_state(connection, origin)
        size: int = state["size"]
        await log_key.require_current_key(connection, key.signer(state["origin"]))
        newest = await connection.fetchrow(_NEWEST)
        coordinates = edge_tiles(size)
        rows = await connection.fetch(_TILES, [tile[0] for tile in coordinates], [tile[1] for tile in coordinates])
        try:
            edge = TreeEdge(size, {(row["level"], row["number"]): row["hashes"] for row in rows})
        except ValueError as error:
            raise LogDamagedError(str(error)) from error
        if (newest["size"], newest["root"]) != (size, edge.root()) if newest is not None else size:
            raise LogDamagedError("The tree that is stored is not the one that was signed last.")
        taken = [row["seq"] for row in await connection.fetch(_TAKEN, state["watermark"])]
        signers = key.signers(state["origin"], None if newest is None else newest["note"])
        return cls(connection, clock, state["origin"], SequenceGaps(state["watermark"], taken), edge, signers)

    async def run_pass(self) -> tuple[str | None, bool]:
        """Integrate new entries into the log and sign a checkpoint.

        Returns:
            The note of the new checkpoint, or None without new entries; and True if more entries may be waiting.
        """
        # Read before the transaction below gets its id: transactions that allocated a number up to this one have older ids.
        last: int = await self._connection.fetchval(_LAST)
        if last <= self._gaps.watermark:
            return None, False
        async with self._connection.transaction(isolation="repeatable_read"):
            oldest = int(await self._connection.fetchval(_OLDEST))
            before = self._edge.size
            is_drained = await self._integrate()
            is_risen = is_drained and self._advance_watermark(oldest)
            note = await self._sign() if self._edge.size > before else None
            if note is not None or is_risen:
                state = "update log_state set watermark = $1, size = $2"
                await self._connection.execute(state, self._gaps.watermark, self._edge.size)
            if self._seen is None:
                self._seen = AllocationMark(last, int(await self._connection.fetchval(_OWN)))
        return note, not is_drained

    async def _integrate(self) -> bool:
        """Assign leaves to visible entries, up to the limit of a pass; return True if none is left."""
        changed: dict[Tile, bytes] = {}
        is_drained = False
        for _ in range(MAX_CHUNKS):
            ranges = self._gaps.ranges
            row = await self._connection.fetchrow(
                _TAKE, [first for first, _ in ranges], [last for _, last in ranges], CHUNK_LEAVES, self._edge.size
            )
            numbers = row["numbers"] or []
            changed |= self._edge.append(row["hashes"] or b"")
            self._gaps.mark_integrated(numbers)
            if len(numbers) < CHUNK_LEAVES:
                is_drained = True
                break
        if changed:
            levels, places = [tile[0] for tile in changed], [tile[1] for tile in changed]
            await self._connection.execute(_PUT_TILES, levels, places, list(changed.values()))
        return is_drained

    def _advance_watermark(self, oldest: int) -> bool:
        """Advance the watermark once all transactions that could still commit a number up to it have ended; return True if it rose."""
        if self._seen is None or oldest < self._seen.transaction:
            return False
        is_risen = self._seen.number > self._gaps.watermark
        self._gaps.advance_watermark(self._seen.number)
        self._seen = None
        return is_risen

    async def _sign(self) -> str:
        now = self._clock()
        checkpoint = Checkpoint.at(self.origin, self._edge.size, self._edge.root(), now)
        note = signed_note.sign(checkpoint.text(), *self._signers)
        await self._connection.execute(
            "insert into checkpoints (size, root, note, at) values ($1, $2, $3, $4)",
            checkpoint.size,
            checkpoint.root,
            note,
            now,
        )
        self._signers = self._signers[-1:]
        return note


async def ensure_log_state(connection: asyncpg.Connection, origin: str | None) -> asyncpg.Record:
    """Return the state of the log; create it under the given origin, or a random one, if there is none."""
    insert = "insert into log_state (origin, watermark, size) values ($1, 0, 0) on conflict do nothing"
    state = await connection.fetchrow(_STATE)
    if state is None:
        await connection.execute(insert, origin or f"outbound.local/{secrets.token_hex(4)}")
        state = await connection.fetchrow(_STATE)
    return state


async def create_month_tables(connection: asyncpg.Connection, now: datetime) -> bool:
    """Create the tables of this month and the next two; return True if each exists.

    Raises:
        LockNotAvailableError: a long reader of the log holds a lock; the caller retries later.
    """
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '1s'")
        return all(row[0] for row in await connection.fetch(_MONTH, now, MONTHS_AHEAD))
