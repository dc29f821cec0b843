"""Feeder: submits checkpoints to witnesses and stores their cosignatures. Run by the leader.

1. The sequencer announces each signed checkpoint and does not wait.
2. A task for each witness submits the newest checkpoint with the proof from the size that the witness cosigned last.
3. A witness at another size replies with it, and gets the proof from there; one that has cosigned a larger log causes an alarm.
4. Cosignatures are verified and stored, and so are failures: `/v1/audit/health` reports them on any replica.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import structlog
from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on, insert

from service.audit.log.tables import Cosignature, LogTile, StoredCheckpoint, WitnessReport
from service.audit.tlog import merkle, signed_note, tiles, witness_protocol
from service.audit.tlog.signed_note import Checkpoint
from service.audit.tlog.witness_protocol import (
    ALARMS,
    Cosigned,
    Failed,
    NamedWitness,
    OtherSize,
    Submission,
    WitnessStatus,
)
from service.database.session import Database, Transaction

MIN_PAUSE: Final = 1.0
"""Least number of seconds between two cosignatures of a witness."""
REFRESH_INTERVAL: Final = timedelta(hours=1)
"""Interval of new cosignatures while the log does not grow, unless a shorter maximal age is configured."""
TIMEOUT: Final = 10.0
"""Time-out of a witness in seconds."""
MAX_PAUSE: Final = 15.0
"""Seconds at most between attempts with a witness that does not cosign."""

log = structlog.get_logger("outbound.log")


class Feeder:
    """Requests cosignatures for the log while it is open.

    Args:
        database: holds the log.
        witnesses: configured witnesses.
        max_age: greatest age of the youngest cosignature of a healthy log; None for no limit.
    """

    def __init__(
        self, database: Database, witnesses: Sequence[NamedWitness], *, max_age: timedelta | None = None
    ) -> None:
        self._database = database
        self._refresh = REFRESH_INTERVAL if max_age is None else min(REFRESH_INTERVAL, max_age / 3)
        self._witness_tasks = [_WitnessTask(each) for each in witnesses]
        self._tasks: list[asyncio.Task[None]] = []
        self._newest: str | None = None

    def open(self) -> None:
        """Start a task for each witness; called by the leader."""
        self._tasks = [asyncio.create_task(self._feed(each)) for each in self._witness_tasks]

    async def close(self) -> None:
        """Stop all tasks."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        self._newest = None

    def announce(self, note: str) -> None:
        """Announce a signed and committed checkpoint; returns at once."""
        self._newest = note
        for each in self._witness_tasks:
            each.announced.set()

    async def _feed(self, task: "_WitnessTask") -> None:
        """Submit checkpoints to one witness until cancelled; faults affect neither the log nor other witnesses."""
        task.cosigned = task.reported = None
        failures = 0
        async with httpx.AsyncClient(timeout=TIMEOUT) as client:
            while True:
                task.announced.clear()
                try:
                    is_well = await self._submit_newest(task, client)
                except Exception as error:  # noqa: BLE001 - logged, then retried
                    log.warning("cannot ask", witness=task.witness.name, error=type(error).__name__)
                    is_well = False
                if is_well:
                    failures = 0
                    await asyncio.sleep(min(MIN_PAUSE, self._refresh.total_seconds()))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(task.announced.wait(), self._refresh.total_seconds())
                else:
                    failures += 1
                    longest = min(MAX_PAUSE, MIN_PAUSE * 2.0 ** min(failures, 10))
                    await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - jitter, not a secret  # nosec B311

    async def _submit_newest(self, task: "_WitnessTask", client: httpx.AsyncClient) -> bool:
        """Request a cosignature for the newest checkpoint and store the result; return False on trouble."""
        note = self._newest or await self._database.transaction(newest_note)
        if note is None:
            return True
        reply = await self._request_cosignature(task, client, note)
        now = self._database.clock()
        if isinstance(reply, Cosigned):
            size = Checkpoint.of(signed_note.parts_of(note)[0]).size
            task.cosigned = size
            await self._database.transaction(lambda tx: store_cosignature(tx, task.witness, size, reply))
        trouble = reply if isinstance(reply, Failed) else None
        if task.reported != (trouble,):
            await self._database.transaction(lambda tx: store_report(tx, task.witness, trouble, now))
            task.reported = (trouble,)
            _log_trouble(task.witness, trouble)
        return trouble is None

    async def _request_cosignature(
        self, task: "_WitnessTask", client: httpx.AsyncClient, note: str
    ) -> Cosigned | Failed:
        """Request a cosignature, and once more from the size that the witness reports."""
        size = Checkpoint.of(signed_note.parts_of(note)[0]).size
        witness = task.witness
        old = task.cosigned
        if old is None:
            old = await self._database.transaction(lambda tx: cosigned_size(tx, witness))
        for _ in range(2):
            if old > size:
                return witness_protocol.smaller_than_cosigned(witness.verifier, old, size)
            reply = await self._post(witness, client, Submission(old, await self._proof(old, size), note))
            if not isinstance(reply, OtherSize):
                return reply
            old = reply.size
        return Failed("untrue", f"{witness.name} does not stand by the size that it tells.")

    async def _proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return tuple(await self._database.transaction(lambda tx: proof_between(tx, old, new)))

    async def _post(
        self, witness: NamedWitness, client: httpx.AsyncClient, submission: Submission
    ) -> witness_protocol.Reply:
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                client.stream("POST", f"{witness.url}/add-checkpoint", content=submission.body()) as response,
            ):
                body = await _read_body(response)
        except (httpx.HTTPError, TimeoutError) as error:
            return Failed("away", f"{witness.name} does not answer ({type(error).__name__}).")
        if len(body) > witness_protocol.MAX_BODY:
            return Failed("untrue", f"The answer of {witness.name} has no end.")
        now = int(self._database.clock().timestamp())
        content_type = response.headers.get("Content-Type", "")
        return witness_protocol.read_reply(
            response.status_code, content_type, body, submission.note, witness.verifier, now
        )


class _WitnessTask:
    """State of one witness while this process leads."""

    def __init__(self, witness: NamedWitness) -> None:
        self.witness = witness
        self.announced = asyncio.Event()
        self.cosigned: int | None = None
        """Size that it has cosigned last; None for unknown."""
        self.reported: tuple[Failed | None] | None = None
        """Trouble that was stored last; None for unknown."""


async def _read_body(answer: httpx.Response) -> bytes:
    """Read a response up to a little more than the largest permitted size."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > witness_protocol.MAX_BODY:
            break
    return bytes(body)


def _log_trouble(witness: NamedWitness, trouble: Failed | None) -> None:
    if trouble is None:
        log.info("the witness cosigns", witness=witness.name)
    elif trouble.trouble in ALARMS:
        log.critical(trouble.detail, witness=witness.name)
    else:
        log.warning(trouble.detail, witness=witness.name)


async def newest_note(tx: Transaction) -> str | None:
    """Return the note of the newest checkpoint, if there is one."""
    return await tx.scalar(select(StoredCheckpoint.note).order_by(StoredCheckpoint.size.desc()).limit(1))


async def proof_between(tx: Transaction, old: int, new: int) -> list[bytes]:
    """Return the proof that the log of the first `new` entries begins with that of the first `old`."""
    nodes = [node for step in merkle.consistency_nodes(old, new) for node in step]
    coordinates = tiles.tiles_for(nodes)
    rows = await tx.execute(
        select(LogTile.level, LogTile.number, LogTile.hashes).where(
            tuple_(LogTile.level, LogTile.number).in_(coordinates)
        )
    )
    read = tiles.reader({(row.level, row.number): row.hashes for row in rows})
    return merkle.consistency_proof(old, new, read)


async def cosigned_size(tx: Transaction, witness: NamedWitness) -> int:
    """Return the largest size with a stored cosignature of a witness; 0 for none."""
    query = select(func.max(Cosignature.size)).where(Cosignature.witness == witness.verifier.vkey)
    return await tx.scalar(query) or 0


async def store_cosignature(tx: Transaction, witness: NamedWitness, size: int, cosigned: Cosigned) -> None:
    """Store a cosignature unless it is stored already."""
    at = datetime.fromtimestamp(cosigned.time, UTC)
    row = {"size": size, "witness": witness.verifier.vkey, "line": cosigned.line, "at": at}
    await tx.execute(insert(Cosignature).values(row).on_conflict_do_nothing())


async def store_report(tx: Transaction, witness: NamedWitness, trouble: Failed | None, at: datetime) -> None:
    """Store the result of the last request to a witness in place of the one before."""
    values = {"trouble": trouble and trouble.trouble, "detail": trouble and trouble.detail, "since": at}
    statement = insert(WitnessReport).values(values | {"witness": witness.verifier.vkey})
    # The witness of a row stays: the role of the application may not change that column.
    await tx.execute(statement.on_conflict_do_update(index_elements=["witness"], set_=values))


async def lines_under(tx: Transaction, sizes: Sequence[int]) -> dict[int, list[str]]:
    """Return the signature lines of witnesses under checkpoints, by size: the newest of each witness, in the order of their names."""
    query = (
        select(Cosignature.size, Cosignature.line)
        .where(Cosignature.size.in_(sizes))
        .ext(distinct_on(Cosignature.size, Cosignature.witness))
        .order_by(Cosignature.size, Cosignature.witness, Cosignature.at.desc())
    )
    lines: dict[int, list[str]] = {}
    for row in await tx.execute(query):
        lines.setdefault(row.size, []).append(row.line)
    return lines


async def with_cosignatures(tx: Transaction, size: int, note: str) -> str:
    """Return a checkpoint with the cosignatures of its size."""
    return signed_note.with_lines(note, (await lines_under(tx, [size])).get(size, []))


async def newest_cosigned(tx: Transaction) -> int | None:
    """Return the size of the largest checkpoint that any witness has cosigned, None for none."""
    return await tx.scalar(select(func.max(Cosignature.size)))


async def load_statuses(tx: Transaction, witnesses: Sequence[NamedWitness]) -> list[WitnessStatus]:
    """Return the status of each witness, in the order of the configuration."""
    keys = [each.verifier.vkey for each in witnesses]
    reports = {
        row.witness: row for row in await tx.scalars(select(WitnessReport).where(WitnessReport.witness.in_(keys)))
    }
    statuses = []
    for each in witnesses:
        vkey = each.verifier.vkey
        query = select(Cosignature.at).where(Cosignature.witness == vkey).order_by(Cosignature.at.desc()).limit(1)
        last_report = reports.get(vkey)
        statuses.append(
            WitnessStatus(
                name=each.name,
                vkey=vkey,
                size=await cosigned_size(tx, each) or None,
                cosigned_at=await tx.scalar(query),
                trouble=last_report.trouble if last_report else None,
                detail=last_report.detail if last_report else None,
                since=last_report.since if last_report and last_report.trouble else None,
            )
        )
    return statuses
