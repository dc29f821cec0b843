"""Shutting the gate for others: with files, many rows, many datasets, changes that change little, and by going away in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from service.database.locks import GATE_LOCK
from service.registry.import_rows import MAX_LISTED
from service.transfers.evidence import MAX_RECORDS
from tests.catalogues import rows, send
from tests.faults.racing import connected
from tests.waiting import until
from tests.world import Json, World, day

CLOSED = """
  select count(*) from pg_locks
  where locktype = 'advisory' and objid::bigint = $1 and mode = 'ExclusiveLock' and database = (
    select oid from pg_database where datname = current_database()
  )
"""
SHARED = f"select pg_advisory_xact_lock_shared({GATE_LOCK})"


def as_decided(url: str, act: Callable[[], Any]) -> Any:
    """Do something while a decision that does not end has the gate's lock: whatever closes the gate cannot be done."""

    async def held() -> Any:
        async with connected(url) as decision, decision.transaction():
            await decision.execute(SHARED)
            return await asyncio.to_thread(act)

    return asyncio.run(held())


def test_what_cannot_deny_does_not_come_to_the_gates_lock(world: World, database_url: str) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    recipient = world.recipient()
    prefix = world.name("open")
    assert send(world.registrar, rows(prefix, 3), handler=handler["id"]).json()["created"] == 3
    pending = f"/v1/datasets/{dataset['id']}/gradings"

    def act() -> list[httpx.Response]:
        return [
            world.registrar.patch(f"/v1/datasets/{dataset['id']}", {"title": "T", "owner": "O", "description": "D"}),
            world.registrar.patch(f"/v1/handlers/{handler['id']}", {"name": "Another name"}),
            world.registrar.patch(f"/v1/datasets/{dataset['id']}", {"fields": dataset["fields"]}),
            world.registrar.patch(f"/v1/recipients/{recipient['id']}", {"group": "A group"}),
            send(world.registrar, rows(prefix, 3, fields="id:text"), handler=handler["id"], dry_run=True),
            send(world.registrar, rows(prefix, 3), handler=handler["id"]),
            send(world.registrar, rows(prefix, 3, title="Renamed"), handler=handler["id"]),
            send(world.registrar, rows(world.name("new"), 3), handler=handler["id"]),
            world.registrar.post(pending, {"tags": [], "reason": "Lower", "basis": "Catalogue"}),
        ]

    answers = as_decided(database_url, act)
    assert [answer.status_code for answer in answers] == [200] * 8 + [201]
    assert [answer.json().get("updated") for answer in answers[4:7]] == [3, 0, 3]
    refused = as_decided(database_url, lambda: send(world.registrar, rows(prefix, 3), handler="nobody"))
    assert refused.status_code == 422


@pytest.mark.parametrize("change", ["fields", "facts", "import", "grading", "many"])
def test_what_can_deny_waits_for_the_decision_under_way_and_says_so(
    world: World, database_url: str, change: str
) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    path = f"/v1/datasets/{dataset['id']}"
    raised = {"tags": ["personal", "important"], "reason": "Raised", "basis": "Catalogue"}
    acts: dict[str, Callable[[], httpx.Response]] = {
        "fields": lambda: world.registrar.patch(path, {"fields": []}),
        "facts": lambda: world.registrar.patch(path, {"facts": {"ftz_list": "listed"}}),
        "import": lambda: send(
            world.registrar, f"key,title,owner,fields\n{dataset['key']},T,O,id:text\n", handler=handler["id"]
        ),
        "grading": lambda: world.registrar.post(f"{path}/gradings", raised),
        "many": lambda: world.registrar.post("/v1/gradings", raised | {"datasets": [dataset["id"]]}),
    }
    before = world.auditor.get(path).json()
    refused = as_decided(database_url, acts[change])
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/busy")
    assert world.auditor.get(path).json() == before
    assert acts[change]().status_code in {200, 201}
    assert world.auditor.get(path).json() != before


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[list[int]]:
    """Count how often the gate is looked at, and how often it is found closed."""
    seen = [0, 0]

    async def watch(connection: asyncpg.Connection) -> None:
        while True:
            seen[1] += await connection.fetchval(CLOSED, GATE_LOCK)
            seen[0] += 1

    async with connected(url) as connection:
        task = asyncio.create_task(watch(connection))
        try:
            yield seen
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def test_the_gate_is_closed_for_the_end_of_a_long_import_alone(world: World, database_url: str) -> None:
    handler = world.handler()
    prefix = world.name("many")
    assert send(world.registrar, rows(prefix, 2000), handler=handler["id"]).json()["created"] == 2000

    async def changed() -> tuple[Json, list[int]]:
        async with watching(database_url) as seen:
            answer = await asyncio.to_thread(
                send, world.registrar, rows(prefix, 2000, fields="id:text"), handler=handler["id"]
            )
        return answer.json(), seen

    told, (looks, closed) = asyncio.run(changed())
    assert told["updated"] == 2000
    assert closed * 5 <= looks, f"closed at {closed} of {looks} looks"


# Hostile files


@pytest.mark.parametrize(
    "content",
    [
        "dataset:\n- fides_key: &a x\n  description: *a\n  collections:\n  - {name: t, fields: [{name: a}]}\n",
        "- " * 100_000,
        "a: " + "1:" * 100_000 + "1",
        "a: 0x" + "f" * 200_000,
        "? " + "{a: " * 50,
        "a: " + '"' + "\\x41" * 100_000 + '"',
        "%TAG ! tag:x,2000:\n--- !y {}",
        "--- {dataset: []}\n--- {dataset: []}",
    ],
    ids=["aliases", "depth", "sexagesimal", "digits", "keys", "escapes", "tags", "documents"],
)
def test_a_hostile_file_is_refused(world: World, content: str) -> None:
    refused = send(world.registrar, content, "application/yaml", handler=world.handler()["id"], owner="x")
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/import-refused")


@pytest.mark.parametrize(
    "content",
    [
        "dataset: [" + "a," * 262_144 + "]",
        "dataset:\n- fides_key: x\n  collections:\n" + "  - name: f\n    fields:\n    - name: a\n" * 12_000,
    ],
    ids=["flow", "collections"],
)
def test_a_file_that_takes_long_to_read_holds_up_nobody(world: World, content: str) -> None:
    """As a ratio: whoever asks meanwhile is not held up for as long as it takes to read the file."""
    done = threading.Event()
    waits: list[float] = []
    handler = world.handler()

    def ask() -> set[int]:
        statuses = set()
        while not done.is_set():
            began = time.monotonic()
            statuses.add(world.http.get("/livez").status_code)
            waits.append(time.monotonic() - began)
        return statuses

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        began = time.monotonic()
        refused = send(world.registrar, content, "application/yaml", handler=handler["id"], owner="x")
        took = time.monotonic() - began
        done.set()
        assert asking.result() == {200}
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/import-refused")
    assert len(refused.json()["errors"]) <= MAX_LISTED
    assert max(waits) < took / 2


def hollow(members: int) -> bytes:
    """Return a package that is all table of contents."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, 0, 0, 0, 0)
    central = entry * members
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, members, members, len(central), len(local))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(central), 1)
    return local + central + wide + locator + end


def test_a_package_that_is_all_table_of_contents_is_not_read(world: World) -> None:
    handler = world.handler()
    transfer = world.draft(handler, [world.dataset(handler, "personal")], world.recipient())
    record = f'{{"kind": "other", "reference": "x", "issuer": "x", "issued_on": "{day(0)}"}}'
    refused = world.http.post(
        f"/v1/transfers/{transfer['id']}/evidence",
        headers={"Authorization": f"Bearer {world.requester.secret}"},
        files={"document": (None, record, "application/json"), "file": ("a.docx", hollow(100_000))},
        timeout=60,
    )
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"pointer": "/file", "detail": "The file lists far more parts than an office document has."}
    ]


def test_evidence_of_a_request_has_an_end_and_lists_do_not_repeat_it(world: World) -> None:
    handler = world.handler()
    shown = world.submitted(handler, [world.dataset(handler, "personal")], world.recipient(), persons=500)
    path = f"/v1/transfers/{shown['id']}/evidence"
    record = {"kind": "other", "reference": "x", "issuer": "x", "issued_on": day(0), "note": "n"}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.requester.post(path, record), range(MAX_RECORDS + 3)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (MAX_RECORDS, 3)
    assert {a.json()["type"] for a in answers if a.status_code == 409} == {"/problems/too-many-records"}
    (listed,) = world.auditor.get("/v1/transfers", handler=handler["id"]).json()["items"]
    assert (len(listed["evidence"]), listed["evidence_count"]) == (10, MAX_RECORDS)
    assert len(world.auditor.get(f"/v1/transfers/{shown['id']}").json()["evidence"]) == MAX_RECORDS


# Whoever goes away


def test_a_client_that_goes_away_ends_its_work(world: World, database_url: str) -> None:
    handler = world.handler()
    prefix = world.name("gone")
    body = rows(prefix, 4000).encode()

    async def go_away() -> None:
        async with connected(database_url) as holder, connected(database_url) as watcher, holder.transaction():
            await holder.execute("lock table datasets in share mode")  # it reads, and cannot write
            head = (
                f"POST /v1/datasets/import?handler={handler['id']} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {world.registrar.secret}\r\nContent-Type: text/csv\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            _, writer = await asyncio.open_connection("127.0.0.1", world.http.base_url.port)
            writer.write(head.encode() + body)
            await writer.drain()
            await until(lambda: watcher.fetchval(WRITING))
            writer.close()
            await writer.wait_closed()

    asyncio.run(go_away())
    # One caller's work is done one after the other: when this is answered, that has come to its end, whichever it was.
    assert send(world.registrar, rows(world.name("after"), 3), handler=handler["id"]).json()["created"] == 3
    assert world.auditor.get("/v1/datasets", key=f"{prefix}/1").json()["items"] == []


WRITING = """
  select true from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and query like '%insert into datasets%'
"""


# Whoever loses the right


def test_an_import_whose_registrar_loses_the_role_meanwhile_is_not_made(world: World, database_url: str) -> None:
    """The role is looked at again with the gate closed, before the commit: a long file is no way to act after it is gone."""
    handler = world.handler()
    narrow = world.person("registrar", handler=handler["id"])
    prefix = world.name("late")
    assert send(narrow, rows(prefix, 2), handler=handler["id"]).json()["created"] == 2
    grant = world.admin.get("/v1/grants", principal=narrow.id).json()["items"][0]["id"]

    async def race() -> tuple[httpx.Response, httpx.Response]:
        async with connected(database_url) as holder, connected(database_url) as watcher:
            async with holder.transaction():
                await holder.execute(f"select from datasets where key = '{prefix}/1' for update")
                file = asyncio.create_task(
                    asyncio.to_thread(send, narrow, rows(prefix, 2, fields="x:text"), handler=handler["id"])
                )
                await until(lambda: watcher.fetchval(LOCKING))
                gone = await asyncio.to_thread(world.admin.post, f"/v1/grants/{grant}/withdraw")
            return await file, gone

    file, gone = asyncio.run(race())
    assert gone.status_code == 200
    assert file.status_code == 403
    (dataset,) = world.auditor.get("/v1/datasets", key=f"{prefix}/1").json()["items"]
    assert dataset["fields"][0]["name"] == "id"


LOCKING = """
  select true from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and query like '%for no key update%'
"""
