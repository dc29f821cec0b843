"""The database: away, slow, torn away in mid-request; the log that nobody rewrites; migrations there and back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from service.app import create_app
from service.database import logins, migrate
from service.database.columns import Base
from service.database.embedded import EmbeddedServer
from service.database.faults import DatabaseUnavailableError
from service.database.session import Database, Transaction
from service.settings import Settings
from tests.commands import outbound
from tests.conftest import Clock, Served, apart, database_named, run_sql
from tests.world import Json, World


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that a test may break."""
    with EmbeddedServer(tmp_path / "own") as server:
        migrate.upgrade(server.url)
        yield server


def stop(server: EmbeddedServer) -> None:
    """Take the server away at once, as a crash does."""

    async def folder() -> str:
        connection = await asyncpg.connect(server.url)
        try:
            return str(await connection.fetchval("show data_directory"))
        finally:
            await connection.close()

    pid = int((Path(asyncio.run(folder())) / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    subprocess.run(["sh", "-c", f"while kill -0 {pid} 2>/dev/null; do :; done"], check=True, timeout=30)


def test_without_a_database_everything_is_503_and_nothing_allowed(own_server: EmbeddedServer, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_timeout_seconds=2)
    with Served(settings, own_server.url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        assert http.get("/readyz").status_code == 200
        stop(own_server)
        headers = {"Authorization": "Bearer ob_live_000000000000_" + "0" * 52}
        question = {
            "subject": {"type": "system", "id": "a"},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": "a"},
        }
        export = {"dataset": "a", "recipient": "b", "purpose": "c", "persons": 1}
        answers = [
            http.get("/readyz"),
            http.post("/access/v1/evaluation", json=question, headers=headers),
            http.post("/v1/exports", json=export, headers=headers),
            http.get("/v1/me", headers=headers),
        ]
        for answer in answers:
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert http.get("/livez").status_code == 200


def test_after_the_database_is_back_the_service_serves_again(own_server: EmbeddedServer, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_timeout_seconds=2)
    cluster = Path(own_server.url.partition("host=")[2]).parent
    with Served(settings, own_server.url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        assert http.get("/readyz").status_code == 200
        run_sql(
            own_server.url.replace("/postgres?", "/template1?"),
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'postgres'",
        )
        assert http.get("/readyz").status_code == 200
    assert cluster.exists()


def test_a_statement_that_takes_too_long_is_given_up(database_url: str) -> None:
    async def run() -> None:
        database = Database(database_url, timeout=0.3)
        with pytest.raises(DatabaseUnavailableError):
            await database.transaction(lambda tx: tx.execute(text("select pg_sleep(5)")))
        await database.close()

    asyncio.run(run())


def test_a_deadlock_is_tried_again_and_resolved(database_url: str) -> None:
    async def run() -> list[int]:
        database = Database(database_url)
        met = asyncio.Barrier(2)
        tries = [0, 0]

        async def work(tx: Transaction, first: int) -> int:
            tries[first - 1] += 1
            await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": 900 + first})
            if tries[first - 1] == 1:
                await met.wait()
            await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": 903 - first})
            return tries[first - 1]

        done = await asyncio.gather(
            database.transaction(lambda tx: work(tx, 1)), database.transaction(lambda tx: work(tx, 2))
        )
        await database.close()
        return sorted(done)

    assert asyncio.run(run()) == [1, 2]


@pytest.mark.parametrize(
    "statement",
    ["update entries set actor = 'x'", "delete from entries", "truncate entries", "update entries set body = body"],
)
def test_the_log_is_append_only_for_everybody(world: World, database_url: str, statement: str) -> None:
    world.handler()
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        run_sql(database_url, statement)


@pytest.mark.parametrize("table", ["handlers", "datasets", "recipients", "permits", "principals"])
@pytest.mark.parametrize(
    "statement",
    ["delete from {}", "update {} set id = reverse(id)", "truncate {} cascade"],
    ids=["gone", "other", "empty"],
)
def test_what_exports_tell_of_stays(world: World, database_url: str, table: str, statement: str) -> None:
    handler = world.handler()
    world.approved(handler, [world.dataset(handler)], world.recipient())
    with pytest.raises(asyncpg.PostgresError) as refused:
        run_sql(database_url, statement.format(table))
    assert str(refused.value).startswith(f"a row of {table} stays")


def test_migrations_go_up_and_down_with_rows_in_the_tables(postgres: str) -> None:
    run_sql(postgres, "drop database if exists updown", "create database updown template template_outbound")
    url = database_named(postgres, "updown")
    run_sql(url, "insert into principals values ('pr_1', 'A', 'person', now(), null, 'a')")
    assert migrate.current(url) == migrate.head()
    migrate.downgrade(url, "base")
    assert migrate.current(url) is None
    migrate.upgrade(url)
    assert migrate.current(url) == migrate.head()


def test_counts_of_before_persons_by_hash_are_plain_sums(postgres: str) -> None:
    run_sql(postgres, "drop database if exists sums", "create database sums template template_outbound")
    url = database_named(postgres, "sums")
    migrate.downgrade(url, "0002")
    year = "insert into ledger_years (handler, year, persons, sensitive_persons) values ('hd_1', 2026, 7, 2)"
    run_sql(url, "set session_replication_role = replica", year)
    migrate.upgrade(url)
    same = "plain_persons = persons and plain_sensitive_persons = sensitive_persons and persons = 7"
    run_sql(url, f"do $$ begin assert (select {same} from ledger_years); end $$")  # noqa: S608 - written above
    run_sql(url, "insert into sketches values ('hd_1/2026', 'persons', 17, '', 0, 0, 0, 0)")
    migrate.downgrade(url, "0002")
    assert migrate.current(url) == "0002"


def test_the_tables_are_what_the_migrations_make(postgres: str) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - needed here alone
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    from service.database.session import address  # noqa: PLC0415

    def differences(connection: Any) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"include_name": migrate.is_no_partition})
        return list(compare_metadata(context, Base.metadata))

    async def run() -> list[Any]:
        engine = create_async_engine(address(database_named(postgres, "template_outbound")))
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
        await engine.dispose()
        return found

    assert asyncio.run(run()) == []


def test_an_entry_that_cannot_be_written_undoes_its_change(world: World, database_url: str) -> None:
    handler = world.handler()
    block = "alter table entries add constraint no_more check (action <> 'handler.changed') not valid"
    run_sql(database_url, block)
    try:
        answer = world.registrar.patch(f"/v1/handlers/{handler['id']}", {"name": "Changed"})
    finally:
        run_sql(database_url, "alter table entries drop constraint no_more")
    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert world.auditor.get(f"/v1/handlers/{handler['id']}").json()["name"] == handler["name"]


def test_the_application_starts_with_no_rule_file_that_it_cannot_use() -> None:
    assert create_app(Settings(), "postgresql://nowhere/none").state.book.version.startswith("sha256:")


def test_an_owner_that_may_make_no_roles_is_told_what_to_have_run_and_then_migrates(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "bare") as server:
        run_sql(server.url, "create role keeper login", "create database kept owner keeper")
        url = database_named(server.url, "kept").replace("://postgres:", "://keeper:")
        refused = outbound(url, "migrate")
        told = " ".join(refused.stderr.split())
        wanted = [f"CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS" for role in (logins.APP, logins.GATE, logins.LOG)]
        assert refused.returncode != 0
        assert [one for one in wanted if one not in told] == [], told
        assert "Traceback" not in told
        run_sql(
            server.url, *(statement for statement in told.partition("again: ")[2].split(";") if "CREATE" in statement)
        )
        assert outbound(url, "migrate").returncode == 0
        assert migrate.current(url) == migrate.head()


@pytest.fixture(scope="module")
def before(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A service whose rows a test may have as they were before a migration."""
    with apart(postgres, "before", tmp_path_factory.mktemp("before")) as service:
        yield service


def test_gradings_of_before_get_the_fields_of_their_day_from_the_history(before: tuple[World, str]) -> None:
    world, database_url = before
    handler = world.handler()
    one, two = ({"name": name, "type": "text"} for name in ("one", "two"))
    wide = [{"name": f"column_{number}", "type": "text"} for number in range(3000)]

    def changed(dataset: Json, *changes: Json) -> Json:
        for change in changes:
            assert world.registrar.patch(f"/v1/datasets/{dataset['id']}", change).status_code == 200
        return dataset

    cases = [
        (changed(world.dataset(handler, fields=[one])), []),
        (changed(world.dataset(handler, fields=[one]), {"title": "Other"}), []),
        (changed(world.dataset(handler, fields=[one]), {"title": "Other"}, {"fields": [one, two]}), ["two"]),
        (changed(world.dataset(handler, fields=[one]), {"fields": [two]}, {"fields": [one]}), []),
        (changed(world.dataset(handler, fields=[]), {"fields": [one]}), ["one"]),
        (changed(world.dataset(handler, fields=wide), {"fields": [*wide, one]}), ["one"]),
        (changed(world.dataset(handler, fields=wide), {"fields": [one, wide[0]]}), ["one", "column_0"]),
    ]
    erased = cases[-1][0]["id"]
    ids = ", ".join(f"'{dataset['id']}'" for dataset, _ in cases)
    run_sql(
        database_url,
        f"update datasets set graded_fields = null, graded_number = null where id in ({ids})",  # noqa: S608
        f"update gradings set fields = null where dataset in ({ids})",  # noqa: S608
    )
    history = world.auditor.get("/v1/audit/entries", subject=erased, action="dataset.changed").json()["items"]
    outbound(
        database_url,
        "audit",
        "erase-opening",
        str(history[0]["seq"]),
        "/details/before/fields",
        "--reason",
        "Asked for",
    )
    shown = [world.registrar.get(f"/v1/datasets/{dataset['id']}").json() for dataset, _ in cases]
    assert all(one["outdated_fields"] == [field["name"] for field in one["fields"]] for one in shown)
    migrate.upgrade(database_url)
    after = [world.registrar.get(f"/v1/datasets/{dataset['id']}").json()["outdated_fields"] for dataset, _ in cases]
    assert after == [names for _, names in cases]


def test_what_the_version_before_writes_of_a_grading_gets_the_fields_of_that_moment(before: tuple[World, str]) -> None:
    world, database_url = before
    dataset = world.dataset(world.handler())
    path = f"/v1/datasets/{dataset['id']}"
    world.registrar.patch(path, {"fields": [{"name": "face", "type": "blob"}]})
    assert world.registrar.get(path).json()["outdated_fields"] == ["face"]
    run_sql(database_url, f"update datasets set grading = 2 where id = '{dataset['id']}'")  # noqa: S608
    assert world.registrar.get(path).json()["outdated_fields"] == []
