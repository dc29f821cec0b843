"""An acknowledged answer is on the disk: whatever PostgreSQL is set to, a session waits for it, and `serve` refuses one that cannot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.connections import Bounds, connect
from service.database.row_security import EVERYWHERE
from service.database.session import Database
from tests.conftest import Clock, database_named, run_sql
from tests.faults.test_process import run, serving

NAME = "durability_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
REFUSED = {"OUTBOUND_DANGEROUSLY_ALLOW_FSYNC_OFF": "false"}


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    run_sql(postgres, f"create database {NAME} template template_outbound")
    yield database_named(postgres, NAME)
    run_sql(postgres, f"drop database {NAME} with (force)")


@pytest.mark.parametrize(
    ("server", "session"),
    [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ],
)
def test_a_session_waits_for_the_disk_whatever_the_server_is_set_to(
    postgres: str, url: str, server: str, session: str
) -> None:
    run_sql(postgres, f"alter database {NAME} set synchronous_commit = {server}")

    async def settings() -> list[str]:
        connection = await connect(url, name="durability", bounds=Bounds())
        database = Database(url, clock=Clock(), handlers=EVERYWHERE)
        try:
            alone = await connection.fetchval("show synchronous_commit")
            first = await database.transaction(lambda tx: tx.scalar(text("show synchronous_commit")))
            async with database.snapshot() as tx:
                pooled = await tx.scalar(text("show synchronous_commit"))
        finally:
            await connection.close()
            await database.close()
        return [alone, first, pooled]

    assert asyncio.run(settings()) == [session] * 3


def test_serve_refuses_a_server_that_loses_what_it_has_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, **REFUSED) as (_, _, output):
        assert "full_page_writes" not in output.read_text()
    settings = data / "postgres" / "outbound.conf"
    kept = settings.read_text("utf-8")
    settings.write_text(f"{kept}\nfull_page_writes = off\n", "utf-8")
    with serving(data, **REFUSED) as (_, _, output):
        assert "full_page_writes is off" in output.read_text()
    settings.write_text(f"{kept}\nfsync = off\n", "utf-8")
    refused = run(data, "serve", "--port", "0", env=REFUSED)
    assert refused.returncode != 0
    assert "PostgreSQL runs with fsync = off" in refused.stdout + refused.stderr
    with serving(data):
        pass
