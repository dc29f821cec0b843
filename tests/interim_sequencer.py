"""Stands in for the sequencer until it is merged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from service.audit import keys, merkle, notes


async def sequence(url: str, key: Path, origin: str = "outbound.test/log") -> None:
    connection = await asyncpg.connect(url)
    try:
        await _run(connection, key, origin)
    finally:
        await connection.close()


async def _run(connection: asyncpg.Connection, key: Path, origin: str) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(77)")
        size = await connection.fetchval("select count(*) from leaves")
        rows = await connection.fetch(
            "select seq, at, body from entries e where not exists (select from leaves l where l.seq = e.seq) order by seq"
        )
        if not rows:
            return
        await connection.executemany(
            "insert into leaves values ($1, $2, $3)", [(size + n, r["seq"], r["at"]) for n, r in enumerate(rows)]
        )
        bodies = await connection.fetch("select body from leaves l join entries e on e.seq = l.seq order by leaf")
        hashes = [merkle.leaf_hash(r["body"].encode()) for r in bodies]
        level, row = 0, hashes
        while row:
            for number in range((len(row) + 255) // 256):
                part = b"".join(row[number * 256 : number * 256 + 256])
                await connection.execute(
                    "insert into log_tiles values ($1, $2, $3) on conflict (level, number) do update set hashes = excluded.hashes",
                    level,
                    number,
                    part,
                )
            row = [merkle.root_of(row[n : n + 256]) for n in range(0, len(row) - len(row) % 256, 256)]
            level += 1
        signer = notes.Signer(keys.read_or_make(key), origin)
        checkpoint = notes.Checkpoint.at(origin, len(hashes), merkle.root_of(hashes), datetime.now(UTC))
        await connection.execute(
            "insert into checkpoints values ($1, $2, $3, now())",
            len(hashes),
            checkpoint.root,
            notes.sign(checkpoint.text(), signer),
        )
        await connection.execute("insert into log_keys values ($1, now()) on conflict do nothing", signer.vkey)


def start(url: str, key: Path) -> None:
    import threading

    def run() -> None:
        async def forever() -> None:
            while True:
                await sequence(url, key)
                await asyncio.sleep(0.3)

        asyncio.run(forever())

    threading.Thread(target=run, daemon=True).start()
