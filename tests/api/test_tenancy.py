"""A caller's handlers, and nobody else's: in PostgreSQL by itself for every table, in the query layer by itself, and what roles may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.app import create_app
from service.audit import recording
from service.database.columns import Base
from service.database.logins import Logins, UnboundError
from service.database.row_security import EVERYWHERE, SET_VARIABLES, OfHandler, RowScope
from service.database.session import Database, Transaction, elevated
from service.permits.tables import Permit
from service.registry.tables import Dataset, Handler
from service.settings import Settings
from service.transfers.tables import Transfer
from service.validation.problems import NotFound
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.feed import digits, hashes
from tests.packing import add_file
from tests.world import Person, World

OF_TRANSFER = "(select handler from transfers where id = t.transfer)"
OF_PERMIT = "(select handler from permits where id = t.{})"
OWNER = {
    "handlers": "t.id",
    **dict.fromkeys(("datasets", "transfers", "permits", "obligations", "exports", "ledger_years"), "t.handler"),
    **dict.fromkeys(
        (
            *("held_in_years", "person_keys", "evidence_packs", "findings", "entries", "events", "fact_changes"),
            "contradictions",
        ),
        "t.handler",
    ),
    **dict.fromkeys(("revisions", "stages", "reviews", "evidence", "comments", "recusals"), OF_TRANSFER),
    "gradings": "(select handler from datasets where id = t.dataset)",
    "permit_datasets": OF_PERMIT.format("permit"),
    "held_by_permits": OF_PERMIT.format("permit"),
    "archived_acts": OF_PERMIT.format("subject"),
    "openings": "(select handler from entries where seq = t.seq)",
    "documents": "(select max(x.handler) from transfers x join evidence e on e.transfer = x.id where e.document = t.sha256)",
    "stored_answers": "(select max(handler) from grants where principal = t.principal)",
    "sketches": (
        "coalesce((select handler from exports where id = t.owner), (select handler from permits where id = t.owner),"
        " (select id from handlers where id = split_part(t.owner, '/', 1)))"
    ),
}
"""Of each table with rows of handlers, whose a row is."""

SHARED = {
    "recipients": "shared by all handlers: whoever may read the register reads them",
    "principals": "read before anybody is known; kept by admins",
    "api_keys": "read before anybody is known; kept by admins",
    "grants": "read before anybody is known, and whenever it is asked who may act; kept by admins",
    "delegations": "the same",
    "break_glass": "the same",
    "logins": "read before anybody is known; kept by admins",
    "sessions": "read before anybody is known",
    "session_tokens": "read before anybody is known",
    "login_links": "read before anybody is known",
    "signing_keys": "public",
    "leaves": "places of entries in the tree, and hashes: nothing of what they say",
    "log_tiles": "hashes",
    "checkpoints": "sizes and hashes",
    "cosignatures": "signatures of these",
    "witness_reports": "how witnesses answer",
    "log_keys": "public keys",
    "log_state": "sizes",
    "column_key": "a secret of the log, which no answer shows",
    "archives": "files of the operator, by month",
}
"""Tables without rows of handlers, and why they need no policy."""

GATE_SEES = {
    "api_keys": {"prefix", "sha256", "principal", "revoked_at", "expires_at"},
    "logins": {"id", "principal", "ended_at"},
    "principals": {"id", "name", "kind", "disabled_at"},
    "grants": {"principal", "role", "handler", "withdrawn_at", "effective_at", "valid_from", "valid_until"},
    "handlers": {"id", "facts"},
    "datasets": {
        *("id", "key", "handler", "tags", "facts", "fields"),
        *("grading", "graded_fields", "graded_number", "sensitive_fields"),
    },
    "recipients": {"id", "key", "name", "facts", "country", "kind"},
    "obligations": {"handler", "permit", "state", "blocks", "due_on", "ended_at"},
    "ledger_years": {"handler", "year", "persons", "sensitive_persons"},
    "held_in_years": {"handler", "year", "expires_at", "persons", "sensitive_persons"},
    "held_by_permits": {"permit", "expires_at", "persons", "sensitive_persons"},
    "permit_datasets": {"permit", "dataset", "recipient", "tags", "fields", "facts"},
    "permits": {
        *("id", "status", "valid_from", "valid_until", "purpose", "fields", "systems", "persons", "sensitive_persons"),
        *("sent_persons", "sent_sensitive_persons", "requirements", "route", "claims", "evidence"),
    },
    "evidence": {"id", "ended_at"},
    "sketches": {"owner", "kind", "content", "at_most"},
    "entries": {"seq", "at", "subject"},
    "exports": {
        *("id", "permit", "status", "expires_at", "year", "counts"),
        *("permit_persons", "permit_sensitive_persons", "year_persons", "year_sensitive_persons"),
    },
    "stored_answers": {"digest", "request", "content", "status", "headers", "body"},
}
"""All that decisions look at."""


@dataclass(frozen=True)
class House:
    """One of two handlers, each with a row in every table."""

    id: str
    exporter: Person
    view: RowScope


@dataclass(frozen=True)
class Street:
    """Two houses in a database of their own."""

    url: str
    logins: Logins
    here: House
    there: House
    connected: set[tuple[str, str]]
    """As whom the service was connected while it served."""

    @asynccontextmanager
    async def app(self, view: RowScope | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the application, in a transaction that is undone."""
        connection = await asyncpg.connect(self.logins.app.url)
        try:
            transaction = connection.transaction()
            await transaction.start()
            if view is not None:
                names = (
                    ("outbound.handlers", view.variables["handlers"]),
                    ("outbound.principal", view.variables["principal"]),
                )
                for name, value in names:
                    await connection.execute("select set_config($1, $2, true)", name, value)
            yield connection
            await transaction.rollback()
        finally:
            await connection.close()


BY_HAND = (
    (
        "insert into archived_acts select coalesce(max(seq), 0) + 1, now(), 'pr_x', 'permit.issued',"
        " (select max(id) from permits where handler = '{handler}') from archived_acts"
    ),
    (
        "insert into findings (id, transfer, handler, threshold, kind, value, total, shared, transfers, handlers, exported, found_at)"
        " select 'fi_{tail}', id, handler, 't', 'persons', 1, 2, 'purpose', array[id], array[handler], 0, now()"
        " from transfers where handler = '{handler}' limit 1"
    ),
    (
        "insert into obligations (id, code, handler, due_on, blocks, state, created_at)"
        " values ('ob_{tail}', 'file_standard_contract', '{handler}', now(), false, 'open', now())"
    ),
)
"""Rows that take long stories to come about."""


@pytest.fixture(scope="session")
def street(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Street:
    name = f"street_{tmp_path_factory.getbasetemp().name.replace('-', '_')}"
    url = database_named(postgres, name)
    settings = Settings(data_dir=tmp_path_factory.mktemp("street"), pack_worker=False)
    run_sql(postgres, f"create database {name} template template_outbound")
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60) as http:
        world = World(http, admins(url))
        here, there = _house(world), _house(world)
        connected = asyncio.run(_connected(url))
    for house in (here, there):
        run_sql(url, *(statement.format(handler=house.id, tail=house.id[3:]) for statement in BY_HAND))
    return Street(url, Logins.of(settings, url), here, there, connected)


def _house(world: World) -> House:
    """Do something with every table on behalf of a new handler."""
    handler, recipient = world.handler(), world.recipient()
    system = world.person("exporter", kind="system", handler=handler["id"])
    dataset = world.dataset(handler, "personal")
    freed = {"facts": {"ftz_list": "unlisted"}}
    assert world.registrar.patch(f"/v1/datasets/{dataset['id']}", freed).json()["pending_facts"]
    content = f"%PDF-1.7 of {handler['id']}".encode()
    assert add_file(world, world.draft(handler, [dataset], recipient), "other", content).status_code == 201
    transfer = world.approved(handler, [dataset], recipient, persons=100)
    asked = {"dataset": dataset["id"], "recipient": recipient["id"], "purpose": "analytics", "sensitive_persons": 0}
    done = system.post("/v1/exports", {**asked, "persons": 10}, Idempotency_Key=handler["id"]).json()["id"]
    assert system.post(f"/v1/exports/{done}/complete", {"person_hashes": digits(hashes(10))}).status_code == 200
    assert system.post("/v1/exports", {**asked, "persons": 5}).status_code == 201
    contradicted = system.post("/v1/exports", {**asked, "persons": 5, "sensitive_persons": 1})
    assert contradicted.json()["reason"] == "tags_contradicted"
    assert system.get(f"/v1/handlers/{handler['id']}/person-key").status_code == 200
    waiting = world.submitted(handler, [dataset], recipient, persons=10)["id"]
    said = world.requester.post(f"/v1/transfers/{waiting}/comments", {"text": "Is route A fine?", "mentions": []})
    stood = world.reviewers["executive"].post(f"/v1/transfers/{waiting}/recuse", {"reason": "My brother works there"})
    pack = world.auditor.post("/v1/evidence-packs", {"permit": transfer["permit"]})
    assert [answer.status_code for answer in (said, stood, pack)] == [201, 200, 202]
    return House(handler["id"], system, RowScope(frozenset({handler["id"]}), system.id))


async def _connected(url: str) -> set[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    query = "select distinct usename::text, application_name from pg_stat_activity where datname = current_database()"
    found: set[tuple[str, str]] = set()
    while len(found) < 3:  # the log's connection may still be on its way
        found = {(row[0], row[1]) for row in await connection.fetch(query) if row[1].startswith("outbound")}
    await connection.close()
    return found


async def rows_of(street: Street, table: str, house: House) -> list[str]:
    """The rows of a house as its owner, and not its policies, tells them."""
    connection = await asyncpg.connect(street.url)
    try:
        query = f"select to_jsonb(t)::text from {table} t where {OWNER[table]} = $1"  # noqa: S608
        return sorted(row[0] for row in await connection.fetch(query, house.id))
    finally:
        await connection.close()


def run(work: Awaitable[Any]) -> Any:
    async def awaited() -> Any:
        return await work

    return asyncio.run(awaited())


async def columns(street: Street, table: str, right: str, role: str = "outbound_app") -> list[str]:
    """The columns of a table on which a role has a right."""
    connection = await asyncpg.connect(street.url)
    try:
        query = (
            "select quote_ident(attname) from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped"
            " and has_column_privilege($3, attrelid, attnum, $2) and ($2 <> 'insert' or attidentity = '')"
        )
        return [row[0] for row in await connection.fetch(query, table, right, role)]
    finally:
        await connection.close()


# Every table


def test_every_table_is_under_a_policy_or_on_the_list_of_those_that_need_none(street: Street) -> None:
    async def guarded() -> set[str]:
        connection = await asyncpg.connect(street.url)
        found = await connection.fetch("select relname from pg_class where relrowsecurity and relkind in ('r', 'p')")
        await connection.close()
        return {row[0] for row in found}

    tables = set(Base.metadata.tables)
    assert run(guarded()) == set(OWNER)
    assert set(OWNER) | set(SHARED) == tables
    assert not set(OWNER) & set(SHARED)


@pytest.mark.parametrize("table", sorted(OWNER))
def test_a_transaction_sees_the_rows_of_its_handlers_and_no_others(street: Street, table: str) -> None:
    async def seen(view: RowScope | None) -> set[str]:
        async with street.app(view) as connection:
            return {row[0] for row in await connection.fetch(f"select to_jsonb(t)::text from {table} t")}  # noqa: S608

    here, there = run(rows_of(street, table, street.here)), run(rows_of(street, table, street.there))
    assert here, f"the houses must have rows in {table}"
    assert there
    found = run(seen(street.here.view))
    assert set(here) <= found
    assert not found & set(there)
    assert run(seen(None)) == set()
    assert run(seen(RowScope(frozenset(), street.here.exporter.id))) & {*here, *there} <= (
        {*here} if table in {"stored_answers", "events"} else set()
    )
    assert run(seen(RowScope(EVERYWHERE))) >= {*here, *there}


@pytest.mark.parametrize("table", sorted(set(OWNER) - {"documents"}))
def test_a_transaction_adds_no_row_to_another_handler(street: Street, table: str) -> None:
    """Files are kept once for all: to bring one that is there already tells nothing, and reads nothing."""

    async def add(row: str) -> None:
        named = ", ".join(await columns(street, table, "insert"))
        if not named:
            raise asyncpg.InsufficientPrivilegeError
        async with street.app(street.here.view) as connection:
            into = f"insert into {table} ({named}) select {named} from jsonb_populate_record(null::{table}, $1::jsonb)"  # noqa: S608
            await connection.execute(into, row)

    with pytest.raises(asyncpg.PostgresError) as refused:
        run(add(run(rows_of(street, table, street.there))[0]))
    assert isinstance(refused.value, asyncpg.InsufficientPrivilegeError), "what kept it out is no policy"


@pytest.mark.parametrize("table", sorted(OWNER))
def test_a_transaction_changes_no_row_of_another_handler_and_removes_none_at_all(street: Street, table: str) -> None:
    async def changed(column: str) -> int:
        async with street.app(street.here.view) as connection:
            return int((await connection.execute(f"update {table} set {column} = {column}")).split()[1])  # noqa: S608

    async def removed() -> None:
        async with street.app(street.here.view) as connection:
            await connection.execute(f"delete from {table}")  # noqa: S608

    mine = len(run(rows_of(street, table, street.here)))
    names = run(columns(street, table, "update"))
    assert not {"id", "handler", "transfer", "permit", "dataset", "document", "subject"} & set(names)
    assert {run(changed(name)) for name in names} <= {mine}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(removed())


# What roles may do

WAYS_OUT = (
    "set role outbound_gate",
    "set role postgres",
    "set session authorization postgres",
    "reset role; alter table datasets disable row level security",
    "alter table datasets no force row level security",
    "create policy wide on datasets using (true)",
    "drop policy app on datasets",
    "alter role outbound_app bypassrls",
    "alter role outbound_app superuser",
    "grant outbound_gate to outbound_app",
    "create role other",
    "create table beside (id int)",
    "create view beside as select * from datasets",
    "create function beside() returns int language sql security definer as 'select 1'",
    "set row_security = off; select * from datasets",
    "copy datasets to '/tmp/datasets'",
    "copy (select 1) to program 'true'",
    "truncate datasets",
    "select * from entries_default",
    "select * from alembic_version",
    "select * from pg_authid",
    "select make_month_of_entries('2030-01-01')",
    "drop table datasets",
    "insert into leaves (leaf, seq, at) values (0, 0, now())",
    "insert into checkpoints (size, root, note, at) values (1, '', '', now())",
    "update log_state set size = 0",
    "update entries set body = ''",
    "update reviews set decision = 'approve'",
    "update revisions set hash = ''",
    "update grants set role = 'admin'",
    "update api_keys set principal = ''",
    "select pg_read_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
)


@pytest.mark.parametrize("statement", WAYS_OUT)
def test_no_way_leads_out_of_the_application_s_role(street: Street, statement: str) -> None:
    async def attempt() -> None:
        async with street.app(street.here.view) as connection:
            await connection.execute(statement)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(attempt())


def test_the_service_is_connected_as_its_roles_alone(street: Street) -> None:
    assert street.connected == {
        ("outbound_app", "outbound"),
        ("outbound_gate", "outbound gate"),
        ("outbound_log", "outbound log"),
    }


def test_the_gate_reads_what_it_decides_by_and_nothing_else(street: Street) -> None:
    async def all_columns() -> dict[str, set[str]]:
        found = {table: set(await columns(street, table, "select", "outbound_gate")) for table in Base.metadata.tables}
        return {table: names for table, names in found.items() if names}

    assert run(all_columns()) == GATE_SEES


def test_the_gate_changes_nothing_but_what_reservations_hold(street: Street) -> None:
    async def changeable() -> set[tuple[str, str]]:
        found = {table: await columns(street, table, "update", "outbound_gate") for table in Base.metadata.tables}
        return {(table, column) for table, names in found.items() for column in names}

    async def attempt(statement: str) -> None:
        connection = await asyncpg.connect(street.logins.gate.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    held = {
        (table, column) for table in ("held_by_permits", "held_in_years") for column in ("persons", "sensitive_persons")
    }
    assert run(changeable()) == held | {("permits", "updated_at"), ("ledger_years", "year")}
    # These two can be held, and not changed: a policy refuses what the column would allow.
    run(attempt("begin; select id from permits for update; select year from ledger_years for update; rollback"))
    for statement in (
        "update permits set updated_at = now()",
        "update ledger_years set year = 2020",
        "update permits set status = 'active'",
        "delete from permits",
        "delete from held_by_permits",
        "select body from entries",
        "select name from handlers",
        "select content from documents",
        "select * from reviews",
        "update entries set at = now()",
        "set role outbound_app",
        "insert into permits (id) values ('pm_x')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            run(attempt(statement))


def test_the_log_s_role_reads_entries_and_writes_nothing_but_the_tree(street: Street) -> None:
    async def rights(right: str) -> set[str]:
        return {table for table in Base.metadata.tables if await columns(street, table, right, "outbound_log")}

    tree = {"leaves", "log_tiles", "checkpoints", "log_keys", "log_state"}
    assert run(rights("select")) == tree | {"entries"}
    assert run(rights("insert")) == tree
    assert run(rights("update")) == {"log_tiles", "log_state"}


def test_a_service_with_more_rights_than_it_may_have_does_not_start(street: Street, tmp_path: Path) -> None:
    async def start(settings: Settings) -> None:
        app = create_app(settings, street.url)
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(UnboundError, match="superuser"):
        run(start(Settings(data_dir=tmp_path, database_app_url=SecretStr(street.url))))


def test_without_logins_of_its_own_a_server_process_acts_as_the_roles_all_the_same(
    street: Street, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(street.url))
    assert run(Logins.of(settings, street.url).require_bound()) == ["outbound_app", "outbound_gate", "outbound_log"]

    async def attempt() -> list[str]:
        login = Logins.of(settings, street.url).app
        database = Database(login.url, role=login.role, pool=1)
        try:
            view = street.here.view
            work = lambda tx: _handlers(tx, view)  # noqa: E731
            return await database.transaction(work)
        finally:
            await database.close()

    assert run(attempt()) == [street.here.id]


async def _handlers(tx: Transaction, view: RowScope) -> list[str]:
    await tx.set_scope(view)
    return [row[0] for row in await tx.execute(text("select id from handlers"))]


# The query layer and the policies, each without the other


@pytest.fixture
def owner(street: Street) -> Iterator[Callable[[Callable[[Transaction], Awaitable[Any]]], Any]]:
    """Run work as the owner of the tables, for whom there are no policies."""

    def perform(work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        async def within() -> Any:
            database = Database(street.url, pool=1)
            try:
                return await database.transaction(work)
            finally:
                await database.close()

        return asyncio.run(within())

    return perform


OWNED = sorted((m.class_ for m in Base.registry.mappers if issubclass(m.class_, OfHandler)), key=lambda c: c.__name__)


def test_every_table_with_a_handler_of_its_own_is_kept_by_the_query_layer() -> None:
    with_handler = {name for name, table in Base.metadata.tables.items() if "handler" in table.columns}
    assert {table.__tablename__ for table in OWNED} == (with_handler | {"handlers"}) - {
        "grants",
        "delegations",
        "break_glass",
    }


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.__name__)
def test_without_policies_the_query_layer_still_shows_no_other_handler(street: Street, owner: Any, table: Any) -> None:
    async def look(tx: Transaction) -> tuple[set[Any], set[Any], list[Any]]:
        key = inspect(table).primary_key
        async with elevated(tx, "all of them"):
            rows = list(await tx.scalars(select(table)))
        all_of = {tuple(getattr(row, column.name) for column in key): row for row in rows}
        foreign = {
            ident
            for ident, row in all_of.items()
            if getattr(row, "handler", row.id if table is Handler else "") == street.there.id
        }
        assert foreign
        await tx.set_scope(street.here.view)
        seen = {tuple(row) for row in await tx.execute(select(*(getattr(table, column.name) for column in key)))}
        return seen, foreign, [await tx.get(table, ident) for ident in foreign]

    seen, foreign, got = owner(look)
    assert seen
    assert not seen & foreign
    assert got == [None] * len(got)


def test_whoever_was_given_no_reach_sees_nothing_in_the_query_layer(owner: Any) -> None:
    async def look(tx: Transaction) -> list[Any]:
        return [(await tx.scalars(select(table))).all() for table in OWNED]

    assert owner(look) == [[] for _ in OWNED]


def test_changes_and_parts_of_queries_are_kept_within_the_view_as_well(street: Street, owner: Any) -> None:
    async def look(tx: Transaction) -> tuple[int, list[str], list[str]]:
        await tx.set_scope(street.here.view)
        # Nothing is another one afterwards, so there is nothing to report to the log.
        changed = await tx.execute(update(Dataset).values(title=Dataset.title), execution_options=recording.REPORTED)
        within = select(Handler.id).where(Handler.id.in_(select(Permit.handler)))
        joined = select(Transfer.handler).join(Permit, Permit.transfer == Transfer.id).distinct()
        return changed.rowcount, list(await tx.scalars(within)), list(await tx.scalars(joined))  # type: ignore[attr-defined]

    assert owner(look) == (1, [street.here.id], [street.here.id])


def test_without_the_query_layer_the_policies_still_show_no_other_handler(street: Street) -> None:
    async def look() -> list[set[str]]:
        database = Database(street.logins.app.url, pool=1)
        try:
            async with AsyncSession(database.engine) as plain:
                await plain.execute(SET_VARIABLES, street.here.view.variables)
                return [set(await plain.scalars(select(table.handler))) for table in (Dataset, Permit, Transfer)]
        finally:
            await database.close()

    assert asyncio.run(look()) == [{street.here.id}] * 3


def test_who_looks_further_for_a_moment_sees_as_little_as_before_afterwards_whatever_happens(street: Street) -> None:
    async def look(tx: Transaction) -> list[list[str]]:
        await tx.set_scope(street.here.view)
        async with elevated(tx, "a test"):
            found = [await _ids(tx)]
        found.append(await _ids(tx))
        for fault in (NotFound("There is none."), RuntimeError()):
            with pytest.raises(type(fault)):
                async with elevated(tx, "a test"):
                    raise fault
            found.append(await _ids(tx))
        async with tx.begin_nested() as attempt:
            async with elevated(tx, "a test"):
                pass
            await attempt.rollback()
        return [*found, await _ids(tx)]

    async def perform() -> list[list[str]]:
        database = Database(street.logins.app.url, pool=1)
        try:
            return await database.transaction(look)
        finally:
            await database.close()

    both, mine = sorted([street.here.id, street.there.id]), [street.here.id]
    assert asyncio.run(perform()) == [both, mine, mine, mine, mine]


async def _ids(tx: Transaction) -> list[str]:
    """The handlers that are seen by any way."""
    plain = sorted(row[0] for row in await tx.execute(text("select id from handlers")))
    assert plain == sorted(await tx.scalars(select(Handler.id)))
    return plain
