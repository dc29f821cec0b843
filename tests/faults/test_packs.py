"""Packs in trouble: a killed process, two processes at once, a log that stands still, a pack that cannot be made."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.audit import verify
from service.settings import Settings
from tests.bulk import export_many
from tests.conftest import Clock, Served, database_named, run_sql
from tests.faults.test_large_packs import admin, sequenced
from tests.faults.test_process import serving
from tests.packing import ready
from tests.world import Json, World

EXPORTS = 20_000


class Queue:
    """A database with a permit that was used often, and a service that makes no packs itself."""

    def __init__(self, url: str, data: Path, world: World) -> None:
        self.url, self.data, self.world = url, data, world
        self.handler, recipient = world.handler(), world.recipient()
        approved = world.approved(self.handler, [world.dataset(self.handler, "personal")], recipient, persons=EXPORTS)
        self.permit: str = approved["permit"]

    def fill(self) -> None:
        permit = self.world.auditor.get(f"/v1/permits/{self.permit}").json()
        asyncio.run(export_many(self.url, permit, self.world.exporter.id, EXPORTS))
        asyncio.run(sequenced(self.url))

    def ask(self) -> str:
        pack: str = self.world.auditor.made_later("/v1/evidence-packs", {"permit": self.permit})["id"]
        return pack

    def state(self, pack: str) -> Json:
        shown: Json = self.world.auditor.get(f"/v1/evidence-packs/{pack}").json()
        return shown


@pytest.fixture
def queue(postgres: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Queue]:
    name = f"packs_{abs(hash(request.node.name))}"
    url = database_named(postgres, name)
    run_sql(postgres, f"create database {name} template template_outbound")
    settings = Settings(data_dir=tmp_path / "data", log_level="error", pack_worker=False)
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60) as http:
        yield Queue(url, settings.data_dir, World(http, asyncio.run(admin(url))))


def wait(condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def worker(queue: Queue):  # type: ignore[no-untyped-def]
    """A process of its own that makes packs."""
    return serving(queue.data, OUTBOUND_DATABASE_URL=queue.url, OUTBOUND_SEQUENCER="false", OUTBOUND_LOG_LEVEL="error")


def test_a_pack_whose_process_is_killed_is_made_by_the_next_one(queue: Queue) -> None:
    queue.fill()
    pack = queue.ask()
    with worker(queue) as (_, process, _):
        wait(lambda: 0 < queue.state(pack)["progress"] < 99)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert queue.state(pack)["state"] == "working"
    drafts = list((queue.data / "packs").glob("*.part"))
    assert len(drafts) == 1
    with worker(queue):
        wait(lambda: queue.state(pack)["state"] == "ready")
    assert [path.name for path in (queue.data / "packs").iterdir()] == [f"{pack}.zip"]
    found = verify.verify(queue.data / "packs" / f"{pack}.zip")
    assert (verify.code(found), found.claims["standing"].checked) == (0, EXPORTS)
