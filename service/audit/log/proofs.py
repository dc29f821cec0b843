"""Serves checkpoints and proofs of inclusion and consistency: read from few tiles, however large the log is."""

import base64
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, tuple_

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.log import feeder
from service.audit.log.schemas import CheckpointOut, ConsistencyOut, EntryInLogOut, HealthOut, InclusionOut, WitnessOut
from service.audit.log.tables import LogState, LogTile, StoredCheckpoint
from service.audit.tables import Entry, Leaf
from service.audit.tlog import merkle, signed_note, tiles, witness_protocol
from service.audit.tlog.merkle import Node, NodeReader
from service.audit.tlog.signed_note import Checkpoint
from service.audit.tlog.witness_protocol import NamedWitness
from service.database.session import Transaction
from service.http.paging import page_of
from service.validation.problems import Invalid, NotFound

MAX_WAIT: Final = timedelta(seconds=10)
"""Longest time that an entry waits for its leaf while a leader runs."""
MAX_WAITING: Final = 10_000
"""Waiting entries that are counted at most."""


async def load_nodes(tx: Transaction, coordinates: Iterable[Node]) -> NodeReader:
    """Read the tiles of some nodes with one statement."""
    tile_ids = tiles.tiles_for(coordinates)
    rows = await tx.execute(
        select(LogTile.level, LogTile.number, LogTile.hashes).where(tuple_(LogTile.level, LogTile.number).in_(tile_ids))
    )
    return tiles.reader({(row.level, row.number): row.hashes for row in rows})


async def size_of(tx: Transaction) -> int:
    """Return the number of leaves of the log."""
    return await tx.scalar(select(LogState.size)) or 0


async def checkpoint(tx: Transaction) -> CheckpointOut:
    """Return the newest checkpoint, with the signatures of its witnesses.

    Raises:
        NotFound: nothing has been signed yet.
    """
    row = await tx.scalar(select(StoredCheckpoint).order_by(StoredCheckpoint.size.desc()).limit(1))
    if row is None:
        raise NotFound("The log has no checkpoint yet: the first is signed within a second of the first entry.")
    return (await _present_checkpoints(tx, [row]))[0]


async def checkpoints(tx: Transaction, cursor: str | None, limit: int) -> tuple[Sequence[CheckpointOut], str | None]:
    """Return checkpoints, the smallest first."""
    rows, following = await page_of(tx, select(StoredCheckpoint), StoredCheckpoint.size, cursor, limit)
    return await _present_checkpoints(tx, rows), following


async def _present_checkpoints(tx: Transaction, rows: Sequence[StoredCheckpoint]) -> list[CheckpointOut]:
    lines = await feeder.lines_under(tx, [row.size for row in rows])
    return [
        CheckpointOut(
            origin=Checkpoint.of(signed_note.parts_of(row.note)[0]).origin,
            size=row.size,
            root=_text(row.root),
            at=row.at,
            note=signed_note.with_lines(row.note, lines.get(row.size, [])),
        )
        for row in rows
    ]


async def entry(tx: Transaction, caller: Caller, seq: int) -> EntryInLogOut:
    """Return one entry, its leaf, and the proof that the newest checkpoint holds it.

    Raises:
        NotFound: no such entry, or not within the auditor's handlers.
        Archived: its month has been moved to a file.
    """
    entry = await audit.entry(tx, caller, seq)
    leaf = await tx.scalar(select(Leaf.leaf).where(Leaf.seq == seq))
    proof = None if leaf is None else await inclusion(tx, leaf, await size_of(tx))
    note = None if leaf is None else (await checkpoint(tx)).note
    return EntryInLogOut(**dict(entry), leaf=leaf, inclusion=proof, checkpoint=note)


async def inclusion(tx: Transaction, leaf: int, size: int) -> InclusionOut:
    """Return the proof that a leaf is in the log of a size.

    Raises:
        Invalid: the log is not that large, or had no such leaf at that size.
    """
    await _require_size(tx, size, "/size")
    if leaf >= size:
        raise Invalid(f"A log of {size} entries has no leaf {leaf}.", errors=[("/leaf", "Ask for a smaller leaf.")])
    steps = merkle.inclusion_nodes(leaf, size)
    node = await load_nodes(tx, [(0, leaf), *merkle.peaks(size), *(each for step in steps for each in step)])
    proof = merkle.inclusion_proof(leaf, size, node)
    return InclusionOut(
        leaf=leaf, size=size, hash=_text(node(0, leaf)), root=_text(merkle.root(size, node)), proof=_texts(proof)
    )


async def consistency(tx: Transaction, old: int, new: int) -> ConsistencyOut:
    """Return the proof that the log of a size begins with the log of an earlier size.

    Raises:
        Invalid: the log is not that large, or the sizes are the wrong way round.
    """
    await _require_size(tx, new, "/to")
    if old > new:
        raise Invalid(f"A log of {new} entries does not begin with one of {old}.", errors=[("/from", "Swap them.")])
    steps = merkle.consistency_nodes(old, new)
    coordinates = [*merkle.peaks(old), *merkle.peaks(new), *(each for step in steps for each in step)]
    node = await load_nodes(tx, coordinates)
    proof = merkle.consistency_proof(old, new, node)
    return ConsistencyOut(
        from_=old,
        to=new,
        from_root=_text(merkle.root(old, node)),
        to_root=_text(merkle.root(new, node)),
        proof=_texts(proof),
    )


async def _require_size(tx: Transaction, size: int, pointer: str) -> None:
    current = await size_of(tx)
    if size > current:
        raise Invalid(f"The log holds {current} entries by now.", errors=[(pointer, f"At most {current}.")])


async def health(tx: Transaction, witnesses: Sequence[NamedWitness], max_age: timedelta | None) -> HealthOut:
    """Return the health of the log: waiting entries, age of the newest checkpoint, status of the witnesses."""
    watermark = func.coalesce(select(LogState.watermark).scalar_subquery(), 0)
    waits = select(Entry.at).where(Entry.seq > watermark, ~select(Leaf).where(Leaf.seq == Entry.seq).exists())
    waiting = waits.limit(MAX_WAITING).subquery()
    count, since = (await tx.execute(select(func.count(), func.min(waiting.c.at)))).one()
    signed_at = await tx.scalar(select(StoredCheckpoint.at).order_by(StoredCheckpoint.size.desc()).limit(1))
    standings = await feeder.load_statuses(tx, witnesses)
    complaints = witness_protocol.list_complaints(standings, tx.now, max_age)
    if since is not None and tx.now - since > MAX_WAIT:
        complaints.insert(0, "Entries wait for their leaves: no server process keeps the log going.")
    return HealthOut(
        healthy=not complaints,
        complaints=complaints,
        size=await size_of(tx),
        waiting=count,
        waiting_since=since,
        checkpoint_at=signed_at,
        checkpoint_age_seconds=None if signed_at is None else max((tx.now - signed_at).total_seconds(), 0),
        witnesses=[
            WitnessOut(
                name=each.name,
                vkey=each.vkey,
                size=each.size,
                cosigned_at=each.cosigned_at,
                age_seconds=None if (age := each.age(tx.now)) is None else age.total_seconds(),
                trouble=each.trouble,
                detail=each.detail,
                since=each.since,
            )
            for each in standings
        ],
    )


def _text(hash_: bytes) -> str:
    return base64.b64encode(hash_).decode()


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [_text(each) for each in hashes]
