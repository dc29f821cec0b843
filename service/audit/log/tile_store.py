"""Serves tiles, entry bundles and verifier keys of the log in the format of C2SP tlog-tiles, independent of HTTP.

Source: C2SP tlog-tiles: tiles of 256 hashes, and bundles of 256 entries, each with its length in two bytes before it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from sqlalchemy import select
from sqlalchemy.orm import aliased

from service.audit.log import proofs
from service.audit.log.tables import LogKey, LogTile
from service.audit.tables import Archive, Entry, Leaf
from service.audit.tlog import tiles
from service.audit.tlog.archive_file import month_at
from service.audit.tlog.merkle import HASH_SIZE
from service.database.session import Transaction
from service.validation.problems import Archived, Conflict, NotFound

MAX_ENTRY: Final = 2**16 - 1

_PATH: Final = re.compile(r"(?P<level>\d|entries)/(?P<number>[x\d/]+?)(?:\.p/(?P<width>[1-9]\d{0,2}))?")


@dataclass(frozen=True, slots=True)
class TileRequest:
    """Request for a tile or an entry bundle, or for the beginning of one.

    Args:
        level: of the tile; None for a bundle of entries.
        number: at its level.
        width: hashes or entries from its beginning, 256 for all of it.
    """

    level: int | None
    number: int
    width: int

    @classmethod
    def of(cls, path: str) -> Self:
        """Read the path of a tile below `/tlog/tile/`.

        Raises:
            NotFound: the path has another form.
        """
        match = _PATH.fullmatch(path)
        number = None if match is None else tiles.number_of(match["number"])
        if match is None or number is None or int(match["width"] or 1) >= tiles.WIDTH:
            raise NotFound(
                "There is no such tile: ask for tile/<level>/<number>, a number being written like x001/x234/067."
            )
        level = None if match["level"] == "entries" else int(match["level"])
        return cls(level, number, int(match["width"] or tiles.WIDTH))

    @property
    def is_full(self) -> bool:
        """True if its content never changes."""
        return self.width == tiles.WIDTH


async def load_content(tx: Transaction, request: TileRequest) -> bytes:
    """Return the bytes of a tile, or of a bundle of entries.

    Raises:
        NotFound: the log does not reach so far.
        Archived: an entry of the bundle has been moved to a file.
    """
    if request.level is None:
        return await _bundle(tx, request)
    hashes = await tx.scalar(
        select(LogTile.hashes).where(LogTile.level == request.level, LogTile.number == request.number)
    )
    if hashes is None or len(hashes) < request.width * HASH_SIZE:
        raise _size_exceeded()
    return hashes[: request.width * HASH_SIZE]


async def _bundle(tx: Transaction, request: TileRequest) -> bytes:
    first = request.number * tiles.WIDTH
    end = first + request.width
    if end > await proofs.size_of(tx):
        raise _size_exceeded()
    places = aliased(Leaf, select(Leaf).where(Leaf.leaf >= first, Leaf.leaf < end).subquery())
    rows = await tx.execute(
        select(places.at, Entry.body)
        .outerjoin(Entry, (Entry.seq == places.seq) & (Entry.at == places.at))
        .order_by(places.leaf)
    )
    parts = []
    for row in rows:
        if row.body is None:
            raise await _missing_entry(tx, row.at)
        body = row.body.encode()
        if len(body) > MAX_ENTRY:
            raise Conflict("An entry of this bundle is longer than tlog-tiles allows: read it by its number.")
        parts.append(len(body).to_bytes(2) + body)
    return b"".join(parts)


async def _missing_entry(tx: Transaction, at: datetime) -> Archived | NotFound:
    month = month_at(at)
    archive = await tx.scalar(select(Archive).where(Archive.month == month))
    if archive is None:
        return NotFound(
            "An entry of this bundle is not there any more: `outbound audit check` tells what has happened."
        )
    return Archived(
        f"Entries of this bundle have been moved to {archive.file}: ask the operator for it.",
        file=archive.file,
        sha256=archive.sha256.hex(),
    )


async def vkeys(tx: Transaction) -> list[str]:
    """Return the verifier keys of the log: the one in force first, then the older ones, the newest first.

    Raises:
        NotFound: the log has not begun.
    """
    keys = (
        await tx.scalars(select(LogKey.vkey).order_by(LogKey.until.desc().nulls_first(), LogKey.since.desc()))
    ).all()
    if not keys:
        raise NotFound("The log has not begun yet.")
    return list(keys)


def _size_exceeded() -> NotFound:
    return NotFound("The log does not reach so far yet: /tlog/checkpoint tells its size.")
