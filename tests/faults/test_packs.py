"""Packs in trouble: a killed process, two processes at once, a log that stands still, a pack that cannot be made."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from service.packs import log_entries
from service.settings import Settings
from service.verifier import pack as verify
from tests.bulk import export_many
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.faults.test_large_packs import sequenced
from tests.faults.test_process import serving
from tests.waiting import seen
from tests.world import Json, World

EXPORTS = 20_000
FRESH = httpx.Limits(max_keepalive_connections=0)
"""No connection is used twice: one that was idle while others had the machine may just be closing."""


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
        asked = self.world.auditor.post("/v1/evidence-packs", {"permit": self.permit})
        assert asked.status_code == 202, asked.text
        return str(asked.json()["id"])

    def state(self, pack: str) -> Json:
        shown: Json = self.world.auditor.get(f"/v1/evidence-packs/{pack}").json()
        return shown


@pytest.fixture
def queue(postgres: str, tmp_path: Path) -> Iterator[Queue]:
    name = f"packs_{uuid.uuid4().hex[:8]}"
    url = database_named(postgres, name)
    run_sql(postgres, f"create database {name} template template_outbound")
    settings = Settings(data_dir=tmp_path / "data", log_level="error", pack_worker=False)
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60, limits=FRESH) as http:
        yield Queue(url, settings.data_dir, World(http, admins(url)))


def worker(queue: Queue) -> AbstractContextManager[tuple[str, subprocess.Popen[str], Path]]:
    """A process of its own that makes packs."""
    return serving(queue.data, OUTBOUND_DATABASE_URL=queue.url, OUTBOUND_LOG_LEVEL="error")


def test_a_pack_whose_process_is_killed_is_made_by_the_next_one(queue: Queue) -> None:
    queue.fill()
    pack = queue.ask()
    with worker(queue) as (_, process, _):
        seen(lambda: 0 < queue.state(pack)["progress"] < 99)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert queue.state(pack)["state"] == "working"
    drafts = list((queue.data / "packs").glob("*.part"))
    assert len(drafts) == 1
    with worker(queue):
        seen(lambda: queue.state(pack)["state"] == "ready")
    assert [path.name for path in (queue.data / "packs").iterdir()] == [f"{pack}-2.zip"]
    found = verify.verify(queue.data / "packs" / f"{pack}-2.zip")
    # The exports, and the state of the permit that follows from them.
    assert (verify.code(found), found.claims["standing"].checked) == (0, EXPORTS + 1)


def test_two_processes_make_each_pack_once(queue: Queue) -> None:
    packs = [queue.ask() for _ in range(6)]
    with worker(queue), worker(queue):
        seen(lambda: all(queue.state(pack)["state"] == "ready" for pack in packs))
    made = queue.world.auditor.get("/v1/audit/entries", action="evidence_pack.made").json()["items"]
    assert sorted(entry["subject"] for entry in made) == packs
    assert all(verify.code(verify.verify(queue.data / "packs" / f"{pack}-1.zip")) == 0 for pack in packs)


def test_a_pack_is_given_up_where_the_log_stands_still(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_entries, "SEQUENCING_TIMEOUT", 0.4)
    url = database_named(postgres, "packs_still")
    run_sql(postgres, "create database packs_still template template_outbound")
    settings = Settings(data_dir=tmp_path / "data", log_level="error", sequencer=False)
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60, limits=FRESH) as http:
        queue = Queue(url, settings.data_dir, World(http, admins(url)))
        pack = queue.ask()
        seen(lambda: queue.state(pack)["state"] == "failed")
        assert "no place in the log" in queue.state(pack)["detail"]
        assert list((settings.data_dir / "packs").iterdir()) == []
        refused = queue.world.auditor.get(f"/v1/evidence-packs/{pack}/content")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/pack-not-ready")


def test_a_pack_that_kills_its_process_each_time_is_given_up(queue: Queue) -> None:
    pack = queue.ask()
    run_sql(queue.url, f"update evidence_packs set state = 'working', attempts = 3 where id = '{pack}'")  # noqa: S608
    with worker(queue):
        seen(lambda: queue.state(pack)["state"] == "failed")
    assert "begun 3 times" in queue.state(pack)["detail"]


def test_a_pack_shows_one_moment_while_exports_go_on(queue: Queue) -> None:
    world = queue.world
    permit = world.auditor.get(f"/v1/permits/{queue.permit}").json()
    dataset, recipient = permit["datasets"][0], {"id": permit["recipient"]}
    with worker(queue):
        packs = [queue.ask() for _ in range(3)]
        went = 0
        while not all(queue.state(pack)["state"] == "ready" for pack in packs):
            made = world.export(dataset, recipient, 1)
            assert made.status_code == 201, made.text
            body = {"persons": 1, "sensitive_persons": 0}
            assert world.exporter.post(f"/v1/exports/{made.json()['id']}/complete", body).status_code == 200
            went += 1
    for pack in packs:
        found = verify.verify(queue.data / "packs" / f"{pack}-1.zip")
        assert verify.code(found) == 0, list(verify.sentences(found))
    assert went > 0
