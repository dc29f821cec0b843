"""Processes that read and hash the chunks of a log ahead of its full check: one processor takes longer to hash than PostgreSQL to read."""

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
"""Leaves from which on a log is worth the start of processes."""
MAX_WORKERS: Final = 8
"""WorkerPool at most."""
PREFETCH_CHUNKS: Final = 4
"""Chunks that each of them is told of before they are needed."""

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TIME_SIZE: Final = 8
"""Bytes of the time of the oldest entry, in microseconds: an answer begins with it, and goes on with the hashes; an empty one is none."""
_LENGTH_SIZE: Final = 4
"""Bytes that tell how long an answer is."""


def count_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@asynccontextmanager
async def open_snapshot(url: str, view: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the database, and see what a check sees that has exported its view."""
    connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS, settings=fsck.SETTINGS)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(f"set transaction snapshot '{view}'")
            yield connection
    finally:
        await connection.close()


class WorkerPool:
    """Helpers of the full check, one for each processor.

    Args:
        url: address of the database.
        count: how many of them, at most `MAX_WORKERS`.
        worthwhile: leaves from which on any are started.
    """

    def __init__(self, url: str, count: int, worthwhile: int = MIN_LEAVES) -> None:
        self._url = url
        self._count = min(count, MAX_WORKERS)
        self._worthwhile = worthwhile

    async def __call__(self, view: str, spans: Sequence[LeafRange]) -> AsyncGenerator[CleanChunk | None, None]:
        """Yield what each chunk comes to, in order; None where there is more to it, or where a process came to grief."""
        count = self._count if self._count > 1 and spans and spans[-1][1] >= self._worthwhile else 0
        helpers = [await _Worker.begin(self._url, view) for _ in range(count)]
        try:
            for place in range(-PREFETCH_CHUNKS * count, len(spans)):
                if helpers and place + PREFETCH_CHUNKS * count < len(spans):
                    helpers[place % count].ask(spans[place + PREFETCH_CHUNKS * count])
                if place >= 0:
                    yield await helpers[place % count].answer() if helpers else None
        finally:
            for helper in helpers:
                await helper.end()


class _Worker:
    """One process: it is told a chunk a line, and answers in their order. It ends when nobody tells it anything any more."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - both are pipes  # nosec B101
        self._to, self._from = process.stdin, process.stdout

    @classmethod
    async def begin(cls, url: str, view: str) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        made = cls(process)
        made._to.write(
            f"{url}\n{view}\n".encode()
        )  # not as an argument: those can be seen, and addresses hold passwords
        return made

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
        await self._from.read()  # what nobody waits for any more
        await self._process.wait()


# In the process


async def _serve(lines: Iterable[bytes]) -> None:
    """Answer for each line, in the view of the check; with nothing where PostgreSQL gives no answer, for the check will meet the reason."""
    told = iter(lines)
    url, view = next(told).decode().strip(), next(told).decode().strip()
    async with open_snapshot(url, view) as connection:
        for line in told:
            first, beyond = map(int, line.split())
            _send_result(await fsck.hash_clean_chunk(connection, (first, beyond)))


def _send_result(found: CleanChunk | None) -> None:
    content = (
        b"" if found is None else ((found[1] - _START) // _MICROSECOND).to_bytes(_TIME_SIZE, signed=True) + found[0]
    )
    sys.stdout.buffer.write(len(content).to_bytes(_LENGTH_SIZE) + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        asyncio.run(_serve(sys.stdin.buffer))
