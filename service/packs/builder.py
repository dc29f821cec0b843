"""Making a pack: one snapshot is read from end to end, and streamed into the file. Memory does not grow with the number of exports.

1. The snapshot (repeatable read) tells what belongs to the pack; records and entries are written as they are read.
2. What set each column that they show is found, and goes into the pack as its entry sealed it.
3. Entries that had no place in the log yet get theirs; a checkpoint above all of them, and the subtrees between them, are the proof.
4. Evidence files, the law data, both reports and the instructions follow.
5. The manifest names every file with its hash, and is signed with the log's key, under a name of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text

from service.audit.operations import plain
from service.audit.tlog import signed_note
from service.database.session import Database, Transaction
from service.law import loader
from service.packs.archive import CHUNK, Archive
from service.packs.columns import Columns
from service.packs.log_entries import Entries
from service.packs.records import Json, Records
from service.packs.render_process import reports
from service.packs.report_collector import Telling
from service.packs.scope import EXPORTS, Extent, extent_of
from service.packs.tables import EvidencePack
from service.permits.tokens import Signer
from service.transfers.tables import Document
from service.verifier import single_file

FORMAT: Final = 2
INSTRUCTIONS: Final = Path(__file__).with_name("instructions.txt")

_ARCHIVED: Final = """
  select to_char(month, 'YYYY-MM') as month, file, encode(sha256, 'hex') as sha256 from archives order by month
"""

_COUNT: Final = f"select count(*) from ({EXPORTS}) x"  # noqa: S608 - no caller's text is in it  # nosec B608

Progress = Callable[[int, int], Awaitable[None]]
"""Takes how many records and entries are written, and how many there are."""


@dataclass(frozen=True)
class Tools:
    """What a pack is made with."""

    reader: Database
    """Gives the snapshot: its statements may take long."""
    signer: Signer
    """Signs the records of permits."""
    log_key: Callable[[str], signed_note.Signer]
    """Returns the log's signer, given its origin."""
    policy_file: Path | None
    """The company's own rules."""
    version: str
    """Of the service."""


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is ready."""

    made_at: datetime
    size: int
    sha256: bytes


class Making:
    """The making of one pack into a file that is not there yet."""

    def __init__(self, pack: EvidencePack, tools: Tools, path: Path, progress: Progress) -> None:
        self._pack, self._tools, self._path, self._progress = pack, tools, path, progress
        self._done = self._total = 0

    async def make(self) -> Made:
        """Make the file.

        Raises:
            LogBehindError: the log does not come as far as the snapshot.
        """
        async with self._tools.reader.snapshot() as tx:
            archive = Archive(self._path, tx.now)
            try:
                await self._write(tx, archive)
                size, sha256 = await asyncio.to_thread(archive.close)
            except BaseException:
                archive.abandon()
                raise
            return Made(tx.now, size, sha256)

    async def _write(self, tx: Transaction, archive: Archive) -> None:
        extent = await extent_of(tx, self._pack)
        systems = frozenset(await tx.scalars(text("select name from principals where kind = 'system'")))
        records = Records(tx, extent, self._tools.signer)
        entries = Entries(tx, self._tools.reader, extent, systems)
        telling = Telling(self._pack, extent, self._tools.version, tx.now)
        self._total = await entries.count() + await _exports(tx, extent)
        columns = Columns(tx, extent)
        for kind, read in records.kinds().items():
            await self._lines(archive, f"records/{kind}.ndjson", _told(telling, columns, kind, read()))
        records.actors |= await entries.actors()
        await self._lines(archive, "records/actors.ndjson", _told(telling, columns, "actors", records.actors_shown()))
        entries.add(await columns.find({*records.actors, *records.named}))
        await self._lines(archive, "effects.ndjson", _lines_of(columns.sealed()))
        await self._lines(archive, "columns.ndjson", _lines_of(columns.salts()))
        await self._lines(archive, "entries.ndjson", _placed(telling, entries))
        telling.count_entries(len(entries.leaves), entries.withheld)
        origin = await self._prove(archive, entries, telling)
        await self._files(tx, archive, records)
        await self._law(archive)
        await self._reports(archive, telling)
        archive.add("README.txt", instructions())
        archived = [dict(row) for row in (await tx.execute(text(_ARCHIVED))).mappings()]
        self._sign(archive, telling, origin, tx.now, archived)

    async def _lines(self, archive: Archive, name: str, lines: AsyncIterator[tuple[bytes, int]]) -> None:
        """Write a member line by line, in pieces that are compressed beside the event loop."""
        with archive.member(name) as member:
            piece: list[bytes] = []
            length = 0
            async for line, counted in lines:
                piece.append(line)
                length += len(line)
                self._done += counted
                if length >= CHUNK:
                    await asyncio.to_thread(member.write, b"".join(piece))
                    await self._progress(self._done, self._total)
                    piece, length = [], 0
            member.write(b"".join(piece))

    async def _prove(self, archive: Archive, entries: Entries, telling: Telling) -> str:
        """Write the checkpoint, the proof and the keys; return the log's origin."""
        proved = await entries.proved()
        archive.add("checkpoint", proved.note.encode())
        await self._lines(archive, "proof.ndjson", _uncounted(entries.proof(proved.size)))
        keys = await self._tools.reader.transaction(_keys)
        archive.add("keys.json", line(keys))
        telling.prove(proved.note, keys["log"])
        return signed_note.Checkpoint.of(signed_note.parts_of(proved.note)[0]).origin

    async def _files(self, tx: Transaction, archive: Archive, records: Records) -> None:
        for sha256, member in sorted(records.files.items()):
            query = select(Document.content).where(Document.sha256 == bytes.fromhex(sha256))
            content = (await tx.scalars(query)).one()
            await asyncio.to_thread(archive.add, member, content)

    async def _law(self, archive: Archive) -> None:
        for path in sorted(loader.DATA.glob("*.toml")):
            archive.add(f"law/{path.name}", path.read_bytes())
        if self._tools.policy_file is not None:
            archive.add("law/policy.toml", self._tools.policy_file.read_bytes())

    async def _reports(self, archive: Archive, telling: Telling) -> None:
        for name, content in (await reports(telling.story())).items():
            await asyncio.to_thread(archive.add, name, content)

    def _sign(self, archive: Archive, telling: Telling, origin: str, moment: datetime, archived: list[Json]) -> None:
        pack = self._pack
        manifest = line(
            {
                "format": FORMAT,
                "pack": pack.id,
                "kind": pack.kind,
                "subject": pack.subject,
                "handler": pack.handler,
                "since": pack.since,
                "until": pack.until,
                "made_at": moment,
                **single_file.verifier_document(),
                "origin": origin,
                "archived": archived,
                "counts": telling.counts(),
                "members": archive.members,
            }
        ).rstrip(b"\n")
        with archive.member("manifest.json") as member:
            member.write(manifest)
        signed = f"{origin}/packs\n{pack.id}\n{member.sha256}\n"
        archive.add("manifest.note", signed_note.sign(signed, self._tools.log_key(origin)).encode())


def instructions() -> bytes:
    """Return how a pack is verified, with the hashes by which the program that does it can be known."""
    program = single_file.verifier_document()
    wheel = program["wheel_sha256"]
    return (
        INSTRUCTIONS.read_text("utf-8")
        .format(
            version=program["version"],
            file=single_file.FILE_NAME,
            sha256=program["verifier_sha256"],
            wheel_en="its hash is not on record" if wheel is None else f"SHA-256 {wheel}",
            wheel_zh="无记录" if wheel is None else f"SHA-256 {wheel}",
        )
        .encode()
    )


def line(value: Any) -> bytes:
    """Return a value as one line of canonical JSON (RFC 8785; all names are ASCII, and no number has a fraction)."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


async def _exports(tx: Transaction, extent: Extent) -> int:
    return int((await tx.execute(text(_COUNT), extent.parameters)).scalar_one())


async def _told(
    telling: Telling, columns: Columns, kind: str, records: AsyncIterator[Json]
) -> AsyncIterator[tuple[bytes, int]]:
    async for record in records:
        telling.take(kind, record)
        columns.take(kind, record)
        yield line(record), kind == "exports"


async def _lines_of(records: AsyncIterator[Json]) -> AsyncIterator[tuple[bytes, int]]:
    async for record in records:
        yield line(record), 0


async def _placed(telling: Telling, entries: Entries) -> AsyncIterator[tuple[bytes, int]]:
    async for entry in entries.read():
        written, body = entries.line(entry)
        if body is not None:
            telling.take_entry(entry.leaf, body)
        yield written, 1


async def _uncounted(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, int]]:
    async for piece in pieces:
        yield piece, 0


async def _keys(tx: Transaction) -> Json:
    log = list(await tx.scalars(text("select vkey from log_keys order by since, vkey")))
    witnesses = list(await tx.scalars(text("select distinct witness from cosignatures order by 1")))
    permits = list(await tx.scalars(text("select jwk from signing_keys order by kid")))
    return {"log": log, "witnesses": witnesses, "permits": {"keys": permits}}
