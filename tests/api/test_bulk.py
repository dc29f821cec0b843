"""Many rows and many gradings at once: they say the same as one by one, and lose nothing to whoever acts beside them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.catalogues import rows, send
from tests.world import Json, World


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


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
