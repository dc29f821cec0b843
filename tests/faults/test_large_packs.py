"""A pack of very many exports: how much memory it takes to make and to verify one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.settings import Settings
from tests.bulk import export_many
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.faults.racing import times
from tests.waiting import until
from tests.world import Json, World

EXPORTS = times(20_000, 100_000)
MIB = 1024 * 1024

MAKE = """
import asyncio, json, resource, sys
from datetime import timedelta
from pathlib import Path
from service.audit.log.log_key import LogKey
from service.database.session import Database
from service.packs.builder import Tools
from service.packs.worker import Worker
from service.permits.tokens import Signer
from service.database.row_security import EVERYWHERE

url, data = sys.argv[1], Path(sys.argv[2])

def peak():
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["VmHWM"].split()[0]) * 1024

async def make():
    tools = Tools(Database(url, pool=3, timeout=600, handlers=EVERYWHERE), Signer.from_file(data / "signing_key.pem"),
                  LogKey(data / "log_key.pem").signer, None, "test")
    database = Database(url, pool=2, handlers=EVERYWHERE)
    (data / "packs").mkdir(exist_ok=True)
    worker = Worker(database, tools, data / "packs", timedelta(days=1))
    assert await worker.work()
    reports = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"peak": peak(), "reports": reports}))
    await worker.stop()

asyncio.run(make())
"""

VERIFY = """
import json, sys
from pathlib import Path
from service.verifier import pack as verify

def peak():
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(told["VmHWM"].split()[0]) * 1024
found = verify.verify(Path(sys.argv[1]))
print(json.dumps(verify.document(found) | {"peak": peak()}))
"""


def run(program: str, *arguments: str) -> Json:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=600
    )
    told: Json = json.loads(done.stdout)
    return told


async def sequenced(url: str) -> None:
    """Wait until every entry has its place in the log."""
    connection = await asyncpg.connect(url)
    try:
        is_sequenced = "select (select count(*) from entries) <= (select count(*) from leaves)"
        await until(lambda: connection.fetchval(is_sequenced), 600, pause=0.1)
    finally:
        await connection.close()


@pytest.fixture
def asked(postgres: str, tmp_path: Path) -> Iterator[tuple[str, Path, str]]:
    """A permit that was used very many times: the database, the data directory, and the pack that was asked for."""
    url = database_named(postgres, "large_packs")
    run_sql(postgres, "create database large_packs template template_outbound")
    settings = Settings(data_dir=tmp_path / "data", log_level="error", pack_worker=False)
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60) as http:
        world = World(http, admins(url))
        handler, recipient = world.handler(), world.recipient()
        approved = world.approved(handler, [world.dataset(handler, "personal")], recipient, persons=EXPORTS)
        permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
        asyncio.run(export_many(url, permit, world.exporter.id, EXPORTS))
        pack = world.auditor.post("/v1/evidence-packs", {"permit": permit["id"]}).json()["id"]
        asyncio.run(sequenced(url))
        yield url, settings.data_dir, pack


def test_a_pack_of_very_many_exports_is_made_and_verified_in_little_memory(
    asked: tuple[str, Path, str],
) -> None:
    url, data, pack = asked
    made = run(MAKE, url, str(data))
    assert max(made.values()) < 180 * MIB, made
    found = run(VERIFY, str(data / "packs" / f"{pack}-1.zip"))
    assert (found["verdict"], found["claims"][12]["checked"]) == ("held", EXPORTS + 1)  # and the permit itself
    assert found["peak"] < 100 * MIB, found["peak"]
