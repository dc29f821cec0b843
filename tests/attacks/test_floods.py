"""Shutting the gate for others: with files, many rows, many datasets, changes that change little, and by going away in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from service.database import GATE_LOCK
from service.transfers.evidence import MAX_RECORDS
from tests.faults.racing import connected, until
from tests.world import Json, Person, World, day

CLOSED = """
  select count(*) from pg_locks
  where locktype = 'advisory' and objid::bigint = $1 and mode = 'ExclusiveLock' and database = (
    select oid from pg_database where datname = current_database()
  )
"""
SHARED = f"select pg_advisory_xact_lock_shared({GATE_LOCK})"


def send(person: Person, content: str | bytes, kind: str = "text/csv", **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.secret}", "Content-Type": kind}
    body = content if isinstance(content, bytes) else content.encode()
    return person.http.post("/v1/datasets/import", content=body, headers=headers, params=params, timeout=120)


def rows(prefix: str, count: int, title: str = "Orders", fields: str = "id:bigint") -> str:
    return "key,title,owner,fields\n" + "".join(f"{prefix}/{n},{title},Team,{fields}\n" for n in range(count))


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
        "facts": lambda: world.registrar.patch(path, {"facts": {"contains_minors": True}}),
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


def test_a_narrow_registrar_imports_with_entries_and_openings(world: World) -> None:
    handler = world.handler()
    narrow = world.person("registrar", handler=handler["id"])
    prefix = world.name("narrow")
    assert send(narrow, rows(prefix, 3), handler=handler["id"]).json()["created"] == 3
    assert send(narrow, rows(prefix, 3, title="Renamed"), handler=handler["id"]).json()["updated"] == 3
    (dataset,) = world.auditor.get("/v1/datasets", key=f"{prefix}/1").json()["items"]
    created, changed = world.auditor.get(f"/v1/datasets/{dataset['id']}/history").json()["items"]
    assert (created["action"], changed["action"]) == ("dataset.created", "dataset.changed")
    assert created["details"]["title"] == "Orders"
    assert created["details"]["handler"] == handler["id"]
    assert (changed["details"]["before"], changed["details"]["after"]) == ({"title": "Orders"}, {"title": "Renamed"})
    one = world.registrar.made(
        "/v1/datasets",
        {name: dataset[name] for name in ("handler", "title", "owner", "fields")} | {"key": f"{prefix}/x"},
    )
    (by_hand,) = world.auditor.get(f"/v1/datasets/{one['id']}/history").json()["items"]
    assert by_hand["details"].keys() == created["details"].keys()
    told = [event["kind"] for event in world.auditor.get("/v1/events", subject=dataset["id"]).json()["items"]]
    assert told == ["dataset.created", "dataset.changed"]


def test_many_gradings_are_told_as_each_alone_is(world: World) -> None:
    handler = world.handler()
    narrow = world.person("registrar", handler=handler["id"])
    datasets = [world.dataset(handler, "important") for _ in range(25)]
    body = {"tags": ["personal"], "reason": "Looked again", "basis": "Catalogue 2026"}
    made = narrow.made("/v1/gradings", body | {"datasets": [one["id"] for one in datasets]})["items"]
    alone = narrow.made(f"/v1/datasets/{world.dataset(handler, 'important')['id']}/gradings", body)
    assert {one["state"] for one in made} == {"pending"}
    passing = {"id", "dataset", "graded_at"}
    for one in made:
        assert {n: v for n, v in one.items() if n not in passing} == {
            n: v for n, v in alone.items() if n not in passing
        }
    first = datasets[0]["id"]
    assert world.auditor.get(f"/v1/datasets/{first}").json()["tags"] == ["important", "personal"]
    states = [one["state"] for one in world.auditor.get(f"/v1/datasets/{first}/gradings").json()["items"]]
    assert states == ["superseded", "effective", "pending"]
    entries = world.auditor.get(f"/v1/datasets/{first}/history").json()["items"]
    by_one = world.auditor.get(f"/v1/datasets/{alone['dataset']}/history").json()["items"]
    assert [entry["details"] for entry in entries[2:]] == [entry["details"] for entry in by_one[2:]]
    assert len(entries) == 4


# Hostile files


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x]\nb: [*a, *a]",
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


# Races


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def test_two_imports_of_the_same_keys_are_both_taken_once(world: World, pool: ThreadPoolExecutor) -> None:
    handler = world.handler()
    other = world.person("registrar", handler=handler["id"])
    for number in range(3):
        prefix = world.name(f"twice{number}")
        lines = rows(prefix, 600).splitlines(keepends=True)
        backwards = lines[0] + "".join(reversed(lines[1:]))
        first = pool.submit(send, world.registrar, "".join(lines), handler=handler["id"])
        second = pool.submit(send, other, backwards, handler=handler["id"])
        told = [first.result(), second.result()]
        assert [answer.status_code for answer in told] == [200, 200]
        assert sorted(answer.json()["created"] for answer in told) == [0, 600]
        (dataset,) = world.auditor.get("/v1/datasets", key=f"{prefix}/599").json()["items"]
        assert len(world.auditor.get(f"/v1/datasets/{dataset['id']}/history").json()["items"]) == 1


def test_an_import_that_races_changes_and_gradings_loses_none_of_them(world: World, pool: ThreadPoolExecutor) -> None:
    handler = world.handler()
    prefix = world.name("raced")
    assert send(world.registrar, rows(prefix, 40), handler=handler["id"]).json()["created"] == 40
    dataset = world.auditor.get("/v1/datasets", key=f"{prefix}/7").json()["items"][0]
    path = f"/v1/datasets/{dataset['id']}"
    for number in range(4):
        etag = world.registrar.get(path).headers["ETag"]
        raised = {"tags": ["personal"], "reason": f"Round {number}", "basis": "Catalogue"}
        file = pool.submit(
            send, world.registrar, rows(prefix, 40, title=f"T{number}", fields=f"f{number}:text"), handler=handler["id"]
        )
        graded = pool.submit(world.registrar.post, "/v1/gradings", raised | {"datasets": [dataset["id"]]})
        patched = pool.submit(world.registrar.send, "PATCH", path, {"scale": number + 1}, If_Match=etag)
        assert (file.result().status_code, graded.result().status_code) == (200, 201)
        assert patched.result().status_code in {200, 412}
        now = world.auditor.get(path).json()
        assert (now["title"], now["fields"][0]["name"]) == (f"T{number}", f"f{number}")
        assert now["tags"] == ["personal"]
        if patched.result().status_code == 200:
            assert now["scale"] == number + 1
    history = world.auditor.get(f"{path}/history", limit=200).json()["items"]
    state: Json = {}
    for entry in history:
        state |= entry["details"].get("after", {}) if entry["action"] == "dataset.changed" else {}
    assert {name: now[name] for name in state} == state


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


def test_a_permit_is_stopped_within_a_moment_beside_changes_of_the_register(
    world: World, pool: ThreadPoolExecutor
) -> None:
    """As a ratio: beside changes of titles and an import nobody waits for much longer than alone."""
    handler = world.handler()
    datasets = [world.dataset(handler, "personal") for _ in range(4)]
    shown = world.submitted(handler, [datasets[0]], world.recipient(), persons=500)
    permit = world.approve(shown)["permit"]
    done = threading.Event()

    def change(dataset: Json) -> set[int]:
        codes = set()
        while not done.is_set():
            codes.add(world.registrar.patch(f"/v1/datasets/{dataset['id']}", {"title": world.name("t")}).status_code)
        return codes

    changing = [pool.submit(change, dataset) for dataset in datasets]
    file = pool.submit(send, world.registrar, rows(world.name("beside"), 1000), handler=handler["id"])
    legal = world.reviewers["legal"]
    for act in ("suspend", "resume", "revoke"):
        assert legal.post(f"/v1/permits/{permit}/{act}", {"reason": "Now"}).status_code == 200
    done.set()
    assert all(future.result() <= {200, 412} for future in changing)
    assert file.result().status_code == 200
