"""Builds a pack: reads one snapshot from end to end, and streams it into a file. Memory does not grow with the number of exports.

1. Determine the scope in a snapshot (repeatable read); write records and entries as they are read.
2. Find the entry that set each shown column, and write the effects that it commits to.
3. Wait until all entries are sequenced; write a checkpoint above them, and the hashes of the subtrees between them as proof.
4. Add evidence files, the law data, both reports and the instructions.
5. Write the manifest, which names every file with its hash, signed with the log's key under a name of its own.

Example:
    built = await PackBuilder(pack, tools, directory / "draft.part", progress).build()
    print(built.size, built.sha256.hex())
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text

from service.audit.operations import to_json_types
from service.audit.tlog import signed_note
from service.database.session import Database, Transaction
from service.law import loader
from service.packs.archive import CHUNK, Archive
from service.packs.columns import ColumnSources
from service.packs.log_entries import LogEntries
from service.packs.records import Json, Records
from service.packs.render_process import render_reports
from service.packs.report_collector import ReportCollector
from service.packs.scope import EXPORTS, Scope, determine_scope
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
"""Reports the number of records and entries that are written, and of all."""


@dataclass(frozen=True)
class Tools:
    """Connections, keys and files that the builder needs."""

    reader: Database
    """Database connections without a short statement timeout, for the snapshot."""
    signer: Signer
    """Signs the records of permits."""
    log_key: Callable[[str], signed_note.Signer]
    """Returns the log's signer for an origin."""
    policy_file: Path | None
    """File of the company's own rules."""
    version: str
    """Version of the service."""


@dataclass(frozen=True, slots=True)
class BuiltPack:
    """Result of a build: time of the snapshot, size and hash of the file."""

    made_at: datetime
    size: int
    sha256: bytes


class PackBuilder:
    """Builds one pack into a new file."""

    def __init__(self, pack: EvidencePack, tools: Tools, path: Path, progress: Progress) -> None:
        self._pack, self._tools, self._path, self._progress = pack, tools, path, progress
        self._done = self._total = 0

    async def build(self) -> BuiltPack:
        """Write the file.

        Raises:
            LogBehindError: entries of the snapshot have not been sequenced in time.
        """
        async with self._tools.reader.snapshot() as tx:
            archive = Archive(self._path, tx.now)
            try:
                await self._write(tx, archive)
                size, sha256 = await asyncio.to_thread(archive.close)
            except BaseException:
                archive.abandon()
                raise
            return BuiltPack(tx.now, size, sha256)

    async def _write(self, tx: Transaction, archive: Archive) -> None:
        scope = await determine_scope(tx, self._pack)
        systems = frozenset(await tx.scalars(text("select name from principals where kind = 'system'")))
        records = Records(tx, scope, self._tools.signer)
        entries = LogEntries(tx, self._tools.reader, scope, systems)
        collector = ReportCollector(self._pack, scope, self._tools.version, tx.now)
        self._total = await entries.count() + await _count_exports(tx, scope)
        columns = ColumnSources(tx, scope)
        for kind, read in records.kinds().items():
            await self._lines(archive, f"records/{kind}.ndjson", _record_lines(collector, columns, kind, read()))
        records.actors |= await entries.actors()
        await self._lines(
            archive, "records/actors.ndjson", _record_lines(collector, columns, "actors", records.list_actors())
        )
        entries.add_numbers(await columns.find({*records.actors, *records.named}))
        await self._lines(archive, "effects.ndjson", _lines_of(columns.effects()))
        await self._lines(archive, "columns.ndjson", _lines_of(columns.salts()))
        await self._lines(archive, "entries.ndjson", _entry_lines(collector, entries))
        collector.set_entry_counts(len(entries.leaves), entries.withheld)
        origin = await self._prove(archive, entries, collector)
        await self._files(tx, archive, records)
        await self._law(archive)
        await self._reports(archive, collector)
        archive.add("README.txt", render_instructions())
        archived = [dict(row) for row in (await tx.execute(text(_ARCHIVED))).mappings()]
        self._sign(archive, collector, origin, tx.now, archived)

    async def _lines(self, archive: Archive, name: str, lines: AsyncIterator[tuple[bytes, int]]) -> None:
        """Write a member line by line; pieces are compressed in a thread."""
        with archive.member(name) as member:
            piece: list[bytes] = []
            length = 0
            async for line, progress in lines:
                piece.append(line)
                length += len(line)
                self._done += progress
                if length >= CHUNK:
                    await asyncio.to_thread(member.write, b"".join(piece))
                    await self._progress(self._done, self._total)
                    piece, length = [], 0
            member.write(b"".join(piece))

    async def _prove(self, archive: Archive, entries: LogEntries, collector: ReportCollector) -> str:
        """Write the checkpoint, the proof and the keys; return the log's origin."""
        checkpoint = await entries.find_checkpoint()
        archive.add("checkpoint", checkpoint.note.encode())
        await self._lines(archive, "proof.ndjson", _without_progress(entries.proof(checkpoint.size)))
        keys = await self._tools.reader.transaction(_read_keys)
        archive.add("keys.json", encode_line(keys))
        collector.set_checkpoint(checkpoint.note, keys["log"])
        return signed_note.Checkpoint.of(signed_note.parts_of(checkpoint.note)[0]).origin

    async def _files(self, tx: Transaction, archive: Archive, records: Records) -> None:
        for sha256, member in sorted(records.files.items()):
            query = select(Document.content).where(Document.sha256 == bytes.fromhex(sha256))
            content = (await tx.scalars(query)).one()
            await asyncio.to_thread(archive.add, member, content)

    async def _law(self, archive: Archive) -> None:
        for path in sorted(loader.DATA_DIRECTORY.glob("*.toml")):
            archive.add(f"law/{path.name}", path.read_bytes())
        if self._tools.policy_file is not None:
            archive.add("law/policy.toml", self._tools.policy_file.read_bytes())

    async def _reports(self, archive: Archive, collector: ReportCollector) -> None:
        for name, content in (await render_reports(collector.report_data())).items():
            await asyncio.to_thread(archive.add, name, content)

    def _sign(
        self, archive: Archive, collector: ReportCollector, origin: str, made_at: datetime, archived: list[Json]
    ) -> None:
        pack = self._pack
        manifest = encode_line(
            {
                "format": FORMAT,
                "pack": pack.id,
                "kind": pack.kind,
                "subject": pack.subject,
                "handler": pack.handler,
                "since": pack.since,
                "until": pack.until,
                "made_at": made_at,
                **single_file.verifier_document(),
                "origin": origin,
                "archived": archived,
                "counts": collector.counts(),
                "members": archive.members,
            }
        ).rstrip(b"\n")
        with archive.member("manifest.json") as member:
            member.write(manifest)
        signed = f"{origin}/packs\n{pack.id}\n{member.sha256}\n"
        archive.add("manifest.note", signed_note.sign(signed, self._tools.log_key(origin)).encode())


def render_instructions() -> bytes:
    """Return the instructions to verify a pack, with the hashes of the verifier."""
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


def encode_line(value: Any) -> bytes:
    """Return a value as one line of canonical JSON (RFC 8785; all names are ASCII, and no number has a fraction)."""
    return json.dumps(to_json_types(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


async def _count_exports(tx: Transaction, scope: Scope) -> int:
    return int((await tx.execute(text(_COUNT), scope.parameters)).scalar_one())


async def _record_lines(
    collector: ReportCollector, columns: ColumnSources, kind: str, records: AsyncIterator[Json]
) -> AsyncIterator[tuple[bytes, int]]:
    async for record in records:
        collector.add_record(kind, record)
        columns.add_record(kind, record)
        yield encode_line(record), kind == "exports"


async def _lines_of(records: AsyncIterator[Json]) -> AsyncIterator[tuple[bytes, int]]:
    async for record in records:
        yield encode_line(record), 0


async def _entry_lines(collector: ReportCollector, entries: LogEntries) -> AsyncIterator[tuple[bytes, int]]:
    async for entry in entries.read():
        line, body = entries.encode(entry)
        if body is not None:
            collector.add_entry(entry.leaf, body)
        yield line, 1


async def _without_progress(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, int]]:
    async for piece in pieces:
        yield piece, 0


async def _read_keys(tx: Transaction) -> Json:
    log = list(await tx.scalars(text("select vkey from log_keys order by since, vkey")))
    witnesses = list(await tx.scalars(text("select distinct witness from cosignatures order by 1")))
    permits = list(await tx.scalars(text("select jwk from signing_keys order by kid")))
    return {"log": log, "witnesses": witnesses, "permits": {"keys": permits}}
