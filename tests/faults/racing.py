"""Many clients at once against one or more replicas, and where PostgreSQL holds them until all are there."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg
import httpx

from service.database.locks import GATE_LOCK
from tests.waiting import until
from tests.world import Json, Person

IS_SOAK = "OUTBOUND_SOAK_GATE" in os.environ
THE_GATE = f"select pg_advisory_xact_lock({GATE_LOCK})"


def times(short: int, soak: int) -> int:
    """How often something is tried in `make test`, and in `make soak`."""
    return soak if IS_SOAK else short


def question(person: Person, dataset: Json, recipient: Json, subject: str = "", **more: Any) -> Json:
    return {
        "subject": {"type": "system", "id": subject or person.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics", **more},
    }


def export(dataset: Json, recipient: Json, persons: int, **more: Any) -> Json:
    wanted = {"dataset": dataset["id"], "recipient": recipient["id"], "purpose": "analytics"}
    return {**wanted, "persons": persons, "sensitive_persons": 0, **more}


class Clients:
    """Clients of some replicas, each request in its turn at the next one."""

    def __init__(self, addresses: Sequence[str], secret: str) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2)
        headers = {"Authorization": f"Bearer {secret}"}
        self._clients = [
            httpx.AsyncClient(base_url=address, headers=headers, timeout=60, limits=limits) for address in addresses
        ]
        self._turn = itertools.cycle(self._clients)

    async def post(self, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await next(self._turn).post(path, json=body, headers=headers)

    async def ask(self, body: Json) -> httpx.Response:
        return await self.post("/access/v1/evaluation", body)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()


def allows(answer: httpx.Response) -> bool:
    """Tell whether an answer lets anything out."""
    return answer.status_code == 201 or (answer.status_code == 200 and answer.json().get("decision") is True)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


WAITING = """
  select count(*) from pg_stat_activity
  where datname = current_database() and application_name = 'outbound gate' and wait_event_type = 'Lock'
"""


@asynccontextmanager
async def held(url: str, statement: str, tasks: list[asyncio.Task[Any]]) -> AsyncIterator[asyncpg.Connection]:
    """Hold what a statement takes until whatever is put into `tasks` has been sent and the gate waits for it, then let go."""
    async with connected(url) as holder, connected(url) as watcher, holder.transaction():
        await holder.execute(statement)
        yield watcher
        await queued(watcher)
        assert not any(task.done() for task in tasks)


async def queued(watcher: asyncpg.Connection) -> None:
    """Wait until a lane of the gate waits for a lock, and a moment more for requests to stand in the queue behind it."""
    await until(lambda: watcher.fetchval(WAITING))
    await watcher.execute("select pg_sleep(0.3)")  # from outside nobody sees a queue
