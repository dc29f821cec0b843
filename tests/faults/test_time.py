"""The time of a whole request: what takes too long is told to come back, undone, and holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import UNHURRIED
from service.database.locks import GATE_LOCK
from service.http.middleware import RequestGuard
from service.http.rate_limits import RateLimiter
from service.http.token_bucket import TokenBucket
from service.settings import Settings
from service.validation.problems import Malformed
from tests.conftest import Clock, Served, run_sql
from tests.world import Json, Person, World

MOST = 2.0
"""Seconds that a request may take here."""
SLOW_COMMIT = (
    "create function slow_commit() returns trigger language plpgsql as $$ begin perform pg_sleep(20); return null; end $$",
    """create constraint trigger slow_commit after insert on recipients deferrable initially deferred
    for each row execute function slow_commit()""",
)
QUICK_COMMIT = ("drop trigger slow_commit on recipients", "drop function slow_commit")


@pytest.fixture(scope="module")
def hurried(database_url: str, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service in a hurry, whose statements alone would have much more time, with few connections."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("hurried"),
        log_level="error",
        sequencer=False,
        pack_worker=False,
        database_pool=2,
        database_timeout_seconds=60,
        request_timeout_seconds=MOST,
    )
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


def while_held(url: str, statement: str, act: Callable[[], Any]) -> Any:
    """Do something while somebody else's transaction holds what a statement takes."""

    async def held() -> Any:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute(statement)
                return await asyncio.to_thread(act)
        finally:
            await connection.close()

    return asyncio.run(held())


def through(client: httpx.Client, person: Person) -> Person:
    return Person(client, person.secret, person.id, person.name)


def require_told(answer: httpx.Response) -> None:
    told = (answer.status_code, answer.json()["type"], answer.headers["Retry-After"])
    assert told == (503, "/problems/took-too-long", "1"), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_change_that_waits_too_long_is_undone_and_lets_the_gate_go(
    world: World, hurried: httpx.Client, database_url: str
) -> None:
    handler = world.handler()
    dataset, other = (world.dataset(handler, "personal") for _ in range(2))
    recipient = world.recipient()
    registrar, exporter = through(hurried, world.registrar), through(hurried, world.exporter)
    grading = {"tags": ["core", "personal"], "reason": "Looked again", "basis": "Catalogue 2026, entry 7"}
    at = f"/v1/datasets/{dataset['id']}/gradings"

    def act() -> tuple[list[httpx.Response], httpx.Response]:
        # Each holds the gate while it waits; there are more of them than connections.
        answers = [registrar.post(at, grading, Idempotency_Key=f"slow-{dataset['id']}") for _ in range(4)]
        question = {
            "subject": {"type": "system", "id": exporter.name},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": other["id"]},
            "context": {"recipient": recipient["id"], "purpose": "analytics"},
        }
        return answers, exporter.post("/access/v1/evaluation", question)

    row = f"select 1 from datasets where id = '{dataset['id']}' for update"  # noqa: S608
    answers, asked = while_held(database_url, row, act)
    for answer in answers:
        require_told(answer)
    assert asked.status_code == 200
    assert len(world.auditor.get(at).json()["items"]) == 1
    history = world.auditor.get(f"/v1/datasets/{dataset['id']}/history").json()["items"]
    assert len([entry for entry in history if "graded" in entry["action"] or "grading" in entry["action"]]) == 1
    again = registrar.post(at, grading, Idempotency_Key=f"slow-{dataset['id']}")
    assert (again.status_code, again.json()["number"]) == (201, 2)


def test_reading_that_waits_too_long_costs_no_connection(
    world: World, hurried: httpx.Client, database_url: str
) -> None:
    auditor = through(hurried, world.auditor)
    paths = ["/v1/datasets", "/v1/permits", "/v1/datasets", "/v1/transfers"]
    locked = "lock table datasets, permits, transfers in access exclusive mode"

    def act() -> list[httpx.Response]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(auditor.get, paths * 2))

    for answer in while_held(database_url, locked, act):
        require_told(answer)
    assert [auditor.get(path).status_code for path in paths] == [200] * 4
    assert hurried.get("/readyz").status_code == 200


def test_a_change_that_is_given_up_while_it_commits_is_told_of_by_its_key(
    world: World, hurried: httpx.Client, database_url: str
) -> None:
    key = world.name("recipient")
    body: Json = {"key": key, "name": "Invented", "country": "SG", "kind": "company", "facts": {}}
    registrar = through(hurried, world.registrar)
    run_sql(database_url, *SLOW_COMMIT)
    try:
        require_told(registrar.post("/v1/recipients", body, Idempotency_Key=key))
    finally:
        run_sql(database_url, *QUICK_COMMIT)
    again = registrar.post("/v1/recipients", body, Idempotency_Key=key)
    assert (again.status_code, again.json()["key"]) == (201, key)
    history = world.auditor.get(f"/v1/recipients/{again.json()['id']}/history").json()["items"]
    assert len(history) == 1


def test_nobody_waits_for_ever_to_be_decided(world: World, hurried: httpx.Client, database_url: str) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    question = {
        "subject": {"type": "system", "id": world.exporter.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    exporter = through(hurried, world.exporter)

    def ask(_: int = 0) -> httpx.Response:
        return exporter.post("/access/v1/evaluation", question)

    def act() -> list[httpx.Response]:
        with ThreadPoolExecutor(12) as pool:
            return list(pool.map(ask, range(24)))

    answers = while_held(database_url, "lock table datasets in access exclusive mode", act)
    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["type"] for answer in answers} <= {"/problems/database-away", "/problems/busy"}
    assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
    assert ask().status_code == 200


def test_a_question_that_waits_for_the_gate_is_not_told_that_the_database_is_away(
    world: World, hurried: httpx.Client, database_url: str
) -> None:
    dataset, recipient = world.dataset(world.handler(), "personal"), world.recipient()
    question = {
        "subject": {"type": "system", "id": world.exporter.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    exporter = through(hurried, world.exporter)
    closed = f"select pg_advisory_xact_lock({GATE_LOCK})"
    told = while_held(database_url, closed, lambda: exporter.post("/access/v1/evaluation", question))
    assert (told.status_code, told.json()["type"]) == (503, "/problems/busy")
    assert exporter.post("/access/v1/evaluation", question).status_code == 200


def test_no_route_but_those_that_take_much_has_more_time(
    world: World, database_url: str, clock: Clock, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path, log_level="error", sequencer=False, pack_worker=False, request_timeout_seconds=1e-6
    )
    rows = f"key,title,owner,fields\npostgres://sample:5432/{world.name('imported')},Orders,Order team,city:text\n"
    handler = world.handler()
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        registrar = through(client, world.registrar)
        for path in ("/v1/me", "/v1/datasets", "/readyz", "/v1/permits", "/tlog/checkpoint"):
            require_told(registrar.get(path))
        require_told(registrar.post("/v1/handlers", {"key": "never", "name": "Never", "facts": {}}))
        head = {"Authorization": f"Bearer {registrar.secret}", "Content-Type": "text/csv"}
        at = f"/v1/datasets/import?handler={handler['id']}&owner=Orders"
        assert client.post(at, content=rows, headers=head).status_code in {200, 201}
    assert len(UNHURRIED) == 3


# At the edge alone


def edge(app: ASGIApp) -> RequestGuard:
    unlimited = TokenBucket.of(0)
    rates = RateLimiter(keyed=unlimited, gate=unlimited, public=unlimited, failed=unlimited, gate_paths=frozenset())
    return RequestGuard(app, limit=10_000, limits={}, rates=rates, seconds=0.2)


def served(
    app: ASGIApp, *pieces: Message, pause: float = 0.0, headers: Sequence[tuple[bytes, bytes]] = ()
) -> list[Message]:
    """Serve one request whose body comes in pieces, each after a pause, and return what was sent."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [*headers],
        "query_string": b"",
        "client": ("a", 1),
    }
    sent: list[Message] = []
    coming = iter(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause)  # the caller's time
        return next(coming, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(edge(app)(scope, receive, send))
    return sent


async def answer(send: Send, *, after: float = 0.0) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(after)  # the time of the work
    await send({"type": "http.response.body", "body": b"done"})


def piece(*, more: bool) -> Message:
    return {"type": "http.request", "body": b"x", "more_body": more}


def test_the_time_that_a_body_takes_is_the_callers() -> None:
    async def reads(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await answer(send)

    sent = served(reads, piece(more=True), piece(more=True), piece(more=False), pause=0.15)
    assert sent[0]["status"] == 200


def test_an_answer_that_has_begun_is_not_cut_off() -> None:
    async def streams(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send, after=0.4)
        await receive()

    sent = served(streams, piece(more=False))
    assert (sent[0]["status"], sent[-1]["body"]) == (200, b"done")


def test_work_that_takes_too_long_is_given_up_even_if_it_looks_for_its_caller() -> None:
    async def works(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.gather(receive(), asyncio.sleep(5))
        await answer(send)

    sent = served(works, piece(more=False))
    assert sent[0]["status"] == 503


def test_whatever_is_said_after_the_time_is_the_whole_answer_all_the_same() -> None:
    async def clings(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            await answer(send)

    sent = served(clings, piece(more=False))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_a_refusal_before_the_work_and_one_in_its_midst_are_told_as_they_are() -> None:
    async def refuses(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        raise Malformed("Not like that.")

    assert served(refuses, piece(more=False))[0]["status"] == 400
    large: Message = {"type": "http.request", "body": b"x" * 10_001, "more_body": False}
    assert served(refuses, large)[0]["status"] == 413
    declared = [(b"content-length", b"10001")]
    assert served(refuses, piece(more=False), headers=declared)[0]["status"] == 413
