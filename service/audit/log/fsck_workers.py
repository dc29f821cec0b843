"""Worker processes of the fsck: read and hash chunks of the log ahead of the check, one process for each processor.

A single processor takes longer to hash than PostgreSQL takes to read.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from service.audit.log import fsck
from service.audit.log.fsck import CHUNK_LEAVES, CleanChunk, LeafRange
from service.connections import connect

MIN_LEAVES: Final = 100 * CHUNK_LEAVES
"""Leaves from which on starting processes pays."""
MAX_WORKERS: Final = 8
"""WorkerPool at most."""
PREFETCH_CHUNKS: Final = 4
"""Chunks that are requested from each process before they are needed."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TIME_SIZE: Final = 8
"""Bytes of the time of the oldest entry, in microseconds. A reply is this time and the hashes; an empty reply stands for None."""
_LENGTH_SIZE: Final = 4
"""Bytes of the length in front of each reply."""


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@asynccontextmanager
async def open_snapshot(url: str, snapshot: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the database with the snapshot that a check has exported."""
    connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS, settings=fsck.SETTINGS)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(f"set transaction snapshot '{snapshot}'")
            yield connection
    finally:
        await connection.close()


class WorkerPool:
    """Pool of worker processes of the fsck.

    Args:
        url: address of the database.
        count: number of processes, at most `MAX_WORKERS`.
        worthwhile: leaves from which on any are started.
    """

    def __init__(self, url: str, count: int, worthwhile: int = MIN_LEAVES) -> None:
        self._url = url
        self._count = min(count, MAX_WORKERS)
        self._worthwhile = worthwhile

    async def __call__(self, snapshot: str, spans: Sequence[LeafRange]) -> AsyncGenerator[CleanChunk | None, None]:
        """Yield the result of each chunk in order; None where the check must read it, or where a process failed."""
        count = self._count if self._count > 1 and spans and spans[-1][1] >= self._worthwhile else 0
        workers = [await _Worker.begin(self._url, snapshot) for _ in range(count)]
        try:
            for place in range(-PREFETCH_CHUNKS * count, len(spans)):
                if workers and place + PREFETCH_CHUNKS * count < len(spans):
                    workers[place % count].ask(spans[place + PREFETCH_CHUNKS * count])
                if place >= 0:
                    yield await workers[place % count].answer() if workers else None
        finally:
            for worker in workers:
                await worker.end()


class _Worker:
    """A worker process: reads one chunk a line from its input and replies in order. It ends with its input."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - both are pipes  # nosec B101
        self._to, self._from = process.stdin, process.stdout

    @classmethod
    async def begin(cls, url: str, snapshot: str) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        worker = cls(process)
        worker._to.write(
            f"{url}\n{snapshot}\n".encode()
        )  # arguments of a process are visible to other users, and the URL holds a password
        return worker

    def ask(self, span: LeafRange) -> None:
        if not self._to.is_closing():
            self._to.write(f"{span[0]} {span[1]}\n".encode())

    async def answer(self) -> CleanChunk | None:
        try:
            content = await self._from.readexactly(int.from_bytes(await self._from.readexactly(_LENGTH_SIZE)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return (
            (content[_TIME_SIZE:], _START + int.from_bytes(content[:_TIME_SIZE], signed=True) * _MICROSECOND)
            if content
            else None
        )

    async def end(self) -> None:
        self._to.close()
        await self._from.read()  # drain: the process could block on a full pipe
        await self._process.wait()


# In the worker process


async def _serve(lines: Iterable[bytes]) -> None:
    """Reply to each line, in the snapshot of the check; end early if PostgreSQL fails, since the check meets the same fault."""
    requests = iter(lines)
    url, snapshot = next(requests).decode().strip(), next(requests).decode().strip()
    async with open_snapshot(url, snapshot) as connection:
        for line in requests:
            first, end = map(int, line.split())
            _send_result(await fsck.hash_clean_chunk(connection, (first, end)))


def _send_result(result: CleanChunk | None) -> None:
    content = (
        b"" if result is None else ((result[1] - _START) // _MICROSECOND).to_bytes(_TIME_SIZE, signed=True) + result[0]
    )
    sys.stdout.buffer.write(len(content).to_bytes(_LENGTH_SIZE) + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        asyncio.run(_serve(sys.stdin.buffer))
