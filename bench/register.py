"""A register of any size: one permit made as people make it, through the API, then multiplied in PostgreSQL.

The rows are copies of those that the service wrote, column by column as the schema has them, with other ids, keys and quotas: so the
gate accepts each of them for the same reasons as the first. The log of audit entries is not multiplied; it starts with the first permit.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import asyncpg
import httpx

from bench.contestants import outbound
from service.access.caller import Role
from service.database import migrate
from service.database.embedded import EmbeddedServer
from service.database.session import Database
from service.identity import operations as identity

FIRST: Final = "first_permit"
"""The database with one permit, and all of its story; every register is made of it."""
HANDLER: Final = "bench-handler"
RECIPIENT: Final = "bench-recipient"
PURPOSE: Final = "analytics"
SYSTEM: Final = "bench-exporter"
QUOTA: Final = 900_000
"""Persons that each permit allows: below the number at which the law would ask for an assessment (CBDF art. 7)."""

LANE: Final = 1_000
"""Datasets of a lane: a handler of its own for one run of exports, so that no run finds another's reservations."""

PEOPLE: Final = {
    "registrar": Role.REGISTRAR,
    "requester": Role.REQUESTER,
    "data_owner": Role.DATA_OWNER,
    "privacy": Role.PRIVACY,
    "legal": Role.LEGAL,
    "security": Role.SECURITY,
    "executive": Role.EXECUTIVE,
    "auditor": Role.AUDITOR,
}


@dataclass(frozen=True, slots=True)
class Register:
    """A database with datasets `bench/1` to `bench/<size>`, a permit for each, and a system that may export them all."""

    url: str
    size: int
    key: str
    auditor: str
    registrar: str
    reviewer: str
    seconds: float
    """How long the multiplying took."""

    def lane(self, number: int) -> range:
        """Return the numbers of a lane's datasets, from lane 0 on."""
        first = self.size + 1 + number * LANE
        return range(first, first + LANE)


class Cluster:
    """The embedded PostgreSQL of one run, set as its folder was made, and the registers in it.

    Args:
        server: the running server.
        folder: of this run.
    """

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.folder = folder
        self._server = server
        self._keys: Mapping[str, str] = {}
        self._registers: dict[int, Register] = {}

    @property
    def process(self) -> int:
        """The server's first process."""
        return int((self.folder / "postgres" / "postmaster.pid").read_text("utf-8").split()[0])

    def address(self, name: str) -> str:
        """Return the address of a database."""
        return self._server.url.replace("/postgres?", f"/{name}?")

    def copy(self, name: str, of: str) -> str:
        """Copy a database that nobody is connected to, and return the address of the copy."""
        sql(self._server.url, f"create database {name} template {of}")
        return self.address(name)

    def register(self, size: int, lanes: int = 0) -> Register:
        """Return the register of a size, made on first use, with some lanes beside it."""
        if size not in self._registers:
            if not self._keys:
                sql(self._server.url, f"create database {FIRST}")
                self._keys = _first_permit(self.address(FIRST), self.folder / "first")
            name = f"register_{size}"
            url = self.copy(name, FIRST)
            began = time.monotonic()
            asyncio.run(_multiply(url, size, lanes))
            taken = time.monotonic() - began
            keys = self._keys
            people = (keys[name] for name in (SYSTEM, "auditor", "registrar", "legal"))
            self._registers[size] = Register(url, size, *people, taken)
        return self._registers[size]


def sql(url: str, *statements: str) -> None:
    """Run statements, each by itself."""

    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def rows(url: str, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Return what a query finds."""

    async def work() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(work())


# The first permit


def _first_permit(url: str, folder: Path) -> Mapping[str, str]:
    """Migrate a database, let people bring one transfer to its permit, and return everybody's key."""
    migrate.upgrade(url)
    keys = asyncio.run(_equip(url))
    with outbound.serve(url, folder) as server, httpx.Client(base_url=server.base, timeout=30) as http:
        people = {name: _Person(http, key) for name, key in keys.items()}
        _tell(people)
    return keys


async def _equip(url: str) -> Mapping[str, str]:
    database = Database(url, pool=1, timeout=30)
    made: dict[str, str] = {}
    try:
        for name, role in PEOPLE.items():
            key = await database.transaction(
                partial(identity.issue_key, name=f"bench {name}", kind="person", roles=[role])
            )
            made[name] = key.secret or ""
        key = await database.transaction(lambda tx: identity.issue_key(tx, SYSTEM, "system", [Role.EXPORTER]))
        made[SYSTEM] = key.secret or ""
    finally:
        await database.close()
    return made


class _Person:
    def __init__(self, http: httpx.Client, key: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {key}"}

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.post(path, json=body, headers=self._headers)
        if answer.is_error:
            raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text}")
        told: dict[str, Any] = answer.json()
        return told


def _tell(people: Mapping[str, _Person]) -> None:
    """Tell the story of the first permit: registered, graded, asked for, documented, approved stage by stage."""
    registrar, requester = people["registrar"], people["requester"]
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    registrar.post("/v1/handlers", {"key": HANDLER, "name": "Measured handler", "facts": {"ciio": False}})
    fields = [{"name": "city", "type": "text"}, {"name": "amount", "type": "numeric"}]
    dataset = {"key": "bench/0", "handler": HANDLER, "title": "Orders", "owner": "Order team", "fields": fields}
    made = registrar.post("/v1/datasets", dataset)
    grading = {"tags": ["personal"], "reason": "Tells of persons", "basis": "PIPL art. 4"}
    registrar.post(f"/v1/datasets/{made['id']}/gradings", grading)
    partner = {"key": RECIPIENT, "name": "Measured partner", "country": "SG", "kind": "company", "facts": {}}
    registrar.post("/v1/recipients", partner)
    asked = {
        "handler": HANDLER,
        "datasets": [made["id"]],
        "recipient": RECIPIENT,
        "purpose": PURPOSE,
        "description": "Weekly figures for the regional team",
        "fields": None,
        "persons": QUOTA,
        "sensitive_persons": 0,
        "valid_from": today.isoformat(),
        "valid_until": (today + timedelta(days=200)).isoformat(),
    }
    draft = requester.post("/v1/transfers", asked)
    shown = requester.post(f"/v1/transfers/{draft['id']}/submit")
    for kind in shown["missing_evidence"]:
        paper = {"kind": kind, "reference": "No. 1", "issuer": "Legal", "issued_on": today.isoformat()}
        requester.post(f"/v1/transfers/{draft['id']}/evidence", paper)
    for stage in shown["stages"]:
        review = {"stage": stage["name"], "decision": "approve", "revision": shown["revision"]["hash"]}
        done = people[stage["name"]].post(f"/v1/transfers/{draft['id']}/reviews", review | {"comment": "Seen"})
    if done["status"] != "approved":
        raise RuntimeError(f"The first transfer was not approved: {done}")


# Multiplying it


async def _multiply(url: str, size: int, lanes: int) -> None:
    connection = await asyncpg.connect(url, command_timeout=900)
    try:
        # Every reference of a copy is right by construction; checking six million of them one by one would take minutes.
        await connection.execute("set session_replication_role = replica; set synchronous_commit = off; set jit = off")
        await connection.execute(_plan_of(size, lanes))
        last_lane = f"hd_{lanes - 1:026d}"
        for table, copied in _copies().items():
            await _copy(connection, table, copied)
        # The last lane is for reports of a million persons: its permits stand under the strictest mechanism.
        if lanes:
            await connection.execute(
                "update permits set persons = $2, requirements = array['security_assessment'] where handler = $1",
                last_lane,
                10**12,
            )
        await connection.execute("drop table multiplied; drop table multiplied_handlers")
        for statement in ("vacuum (analyze)", "checkpoint"):
            await connection.execute(statement)
        # Read by their places they come into the memory of PostgreSQL, where a service that has run for a day has them.
        for table in ("datasets", "permit_datasets", "permits"):
            await connection.execute(f"select count(*) from {table} where ctid >= '(0,0)'")  # noqa: S608
    finally:
        await connection.close()


def _plan_of(size: int, lanes: int) -> str:
    """Return the statement that lists the copies: number of the dataset, and its handler."""
    return f"""
        create table multiplied_handlers as
            select lane, 'hd_' || lpad(lane::text, 26, '0') as id from generate_series(0, {max(lanes - 1, 0)}) as lane
            where {lanes} > 0;
        create table multiplied as
            select n, case when n <= {size} then (select id from handlers where key = '{HANDLER}')
                else 'hd_' || lpad(((n - {size} - 1) / {LANE})::text, 26, '0') end as handler
            from generate_series(1, {size + lanes * LANE}) as n
    """  # noqa: S608 - numbers and names of this file


def _id(prefix: str, number: str = "m.n") -> str:
    return f"'{prefix}_' || lpad({number}::text, 26, '0')"


@dataclass(frozen=True, slots=True)
class _Copied:
    """How the rows of a table are copied: what differs, as SQL over `m` (the copy) and `t` (the row of the first permit)."""

    columns: Mapping[str, str]
    source: str = "multiplied"
    where: str = "true"


def _copies() -> Mapping[str, _Copied]:
    dataset, transfer, permit = _id("ds"), _id("tr"), _id("pm")
    key = f"'{HANDLER}-' || m.lane"
    handlers = {"id": "m.id", "key": key, "folded_key": key, "uscc": "null"}
    table = {"key": "'bench/' || m.n", "folded_key": "'bench/' || m.n"}
    return {
        "handlers": _Copied(handlers, "multiplied_handlers", f"t.key = '{HANDLER}'"),
        "datasets": _Copied(
            table | {"id": dataset, "handler": "m.handler", "title": "'Orders ' || m.n"},
            where="t.key = 'bench/0'",
        ),
        "gradings": _Copied({"id": "left(t.id, 3) || lpad(m.n::text, 26, '0')", "dataset": dataset}),
        "transfers": _Copied({"id": transfer, "handler": "m.handler", "datasets": f"array[{dataset}]"}),
        # The texts of a revision would be six kilobytes a row; no gate reads them.
        "revisions": _Copied({"transfer": transfer, "content": "'{}'", "determination": "'{}'"}),
        "permits": _Copied({"id": permit, "transfer": transfer, "handler": "m.handler"}),
        "permit_datasets": _Copied({"permit": permit, "dataset": dataset}),
    }


async def _copy(connection: asyncpg.Connection, table: str, copied: _Copied) -> None:
    """Copy the rows of a table that the first permit has, all of its columns, whatever the schema has come to be."""
    columns: Sequence[str] = [
        row[0]
        for row in await connection.fetch(
            "select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped"
            " and attgenerated = '' and attidentity = '' order by attnum",
            table,
        )
    ]
    named = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(copied.columns.get(column, f't."{column}"') for column in columns)
    # The rows are taken aside first: a hash index cannot grow while a scan holds one of its buckets.
    await connection.execute(f"create temp table first_rows as select * from {table} as t where {copied.where}")  # noqa: S608
    await connection.execute(
        f"insert into {table} ({named}) select {values} from first_rows as t cross join {copied.source} as m"  # noqa: S608
    )
    await connection.execute("drop table first_rows")
