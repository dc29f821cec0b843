"""Old months of entries move to files: nothing that rests on them changes, and each stays provable."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.audit import archive, retention
from service.audit import operations as audit
from service.audit.log_key import LogKey
from service.audit.retention import Moved
from service.audit.sequencing import Writer
from service.database import Database, utc_now
from service.http.caller import OPERATOR, Role
from service.http.problems import Conflict
from service.identity import operations as identity
from service.settings import Settings
from tests.api.test_commands import outbound
from tests.conftest import Clock, Served, database_named, run_sql
from tests.world import Json, World

JANUARY = datetime(2023, 1, 31, 23, 59, 59, tzinfo=UTC)
FEBRUARY = datetime(2023, 2, 1, tzinfo=UTC)
MARCH = datetime(2023, 3, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Own:
    """A database of the test's own, and a folder."""

    url: str
    folder: Path

    def run(self, work: Any, now: datetime | None = None) -> Any:
        async def inside() -> Any:
            database = Database(self.url, clock=utc_now if now is None else lambda: now)
            try:
                return await work(database)
            finally:
                await database.close()

        return asyncio.run(inside())

    def fetch(self, query: str) -> list[Any]:
        async def read() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(query)]
            finally:
                await connection.close()

        return asyncio.run(read())

    def write(self, *moments: datetime) -> None:
        """Write an entry at each of these moments, in this order."""

        async def work(database: Database) -> None:
            for number, moment in enumerate(moments):
                database.clock = lambda moment=moment: moment  # type: ignore[misc]

                async def append(tx: Any, number: int = number) -> None:
                    audit.append(tx, OPERATOR, "permit.suspended", f"pm_{number}", details={"reason": "Heard of it"})

                await database.transaction(append)

        months = {moment.date().replace(day=1) for moment in moments}
        run_sql(self.url, *(f"select make_month_of_entries('{month}')" for month in sorted(months)))
        self.run(work)

    def sequence(self) -> str:
        """Take all entries into the log; return its verifier key."""
        key = LogKey(self.folder / "log_key.pem")

        async def turn() -> str:
            connection = await asyncpg.connect(self.url)
            try:
                writer = await Writer.load(connection, utc_now, key, "outbound.test/log")
                await writer.turn()
                return key.signer(writer.origin).vkey
            finally:
                await connection.close()

        return asyncio.run(turn())

    def move(self, before: date, keep_months: int = retention.KEEP_MONTHS, now: datetime | None = None) -> list[Moved]:
        async def work(database: Database) -> list[Moved]:
            return [moved async for moved in retention.move(database, before, self.folder, keep_months)]

        moved: list[Moved] = self.run(work, now)
        return moved

    def months(self) -> set[str]:
        return {str(row[0]) for row in self.fetch("select distinct to_char(at, 'YYYY-MM') from entries")}


@pytest.fixture
def own(postgres: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Own]:
    name = f"archive_{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
    run_sql(postgres, f"create database {name} template template_outbound")
    yield Own(database_named(postgres, name), tmp_path)
    run_sql(postgres, f"drop database {name} with (force)")


def test_the_command_moves_months_and_the_file_is_proved_offline(own: Own) -> None:
    # Transactions that meet at the turn of a month have their leaves in any order.
    own.write(JANUARY, FEBRUARY, JANUARY, MARCH, FEBRUARY)
    vkey = own.sequence()
    words = ["archive", "--before", "2023-03", "--to", str(own.folder)]
    done = outbound(own.url, *words)
    assert done.returncode == 0, done.stderr
    files = [own.folder / f"entries-2023-0{month}.ndjson.gz" for month in (1, 2)]
    told = [f"{file}: 2 entries of 2023-0{n}, sha256 {archive.sha256_of(file)}" for n, file in enumerate(files, 1)]
    assert done.stdout.splitlines() == [*told, "2 month(s) were moved."]
    assert "2023-01" not in own.months()
    assert "2023-03" in own.months()
    checked = outbound("postgresql://nowhere/none", "archive", "check", str(files[0]), "--vkey", vkey)
    assert checked.returncode == 0, checked.stderr
    assert "2 entries of 2023-01, leaves 0 to 2 of outbound.test/log, as signed by outbound.test/log" in checked.stdout
    again = outbound(own.url, *words)
    assert (again.returncode, again.stdout) == (0, "There is nothing to move.\n")


def test_the_act_is_recorded_with_the_hash_of_the_file(own: Own) -> None:
    own.write(JANUARY, FEBRUARY, JANUARY)
    own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    ((body,),) = own.fetch("select body from entries where action = 'archive.made'")
    told = {"month": "2023-01", "file": moved.path.name, "sha256": archive.sha256_of(moved.path)}
    assert json.loads(body)["details"] == told | {"entries": 2, "first_leaf": 0, "last_leaf": 2, "size": 3}
    assert own.fetch("select month, file, encode(sha256, 'hex'), first_leaf, last_leaf, entries from archives") == [
        (date(2023, 1, 1), moved.path.name, archive.sha256_of(moved.path), 0, 2, 2)
    ]


def test_leaves_tiles_checkpoints_and_openings_stay(own: Own) -> None:
    own.write(JANUARY, FEBRUARY, JANUARY)
    own.sequence()
    tables = ("leaves", "log_tiles", "checkpoints", "openings")
    before = [own.fetch(f"select * from {table} order by 1, 2") for table in tables]  # noqa: S608 - names from above
    own.move(date(2023, 2, 1))
    after = [own.fetch(f"select * from {table} order by 1, 2") for table in tables]  # noqa: S608 - names from above
    assert [set(rows) <= set(now) for rows, now in zip(before, after, strict=True)] == [True] * 4
    assert after[:3] == before[:3]


def test_what_was_archived_can_still_be_erased(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    ((seq,),) = own.fetch("select seq from entries")
    own.move(date(2023, 2, 1))
    done = outbound(own.url, "audit", "erase-opening", str(seq), "/details/reason", "--reason", "Asked for")
    assert done.returncode == 0, done.stderr
    assert own.fetch(f"select * from openings where seq = {int(seq)}") == []  # noqa: S608 - a number


def test_entries_of_the_last_three_years_stay_unless_told_otherwise(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    now = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
    with pytest.raises(Conflict, match="Months from 2023-01 on must stay"):
        own.move(date(2023, 2, 1), now=now)
    assert own.move(date(2023, 1, 1), now=now) == []
    assert len(own.move(date(2023, 2, 1), now=now + timedelta(hours=1))) == 1


def test_the_month_that_is_not_over_stays_always(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    with pytest.raises(Conflict, match="must stay"):
        own.move(date(2023, 2, 1), 0, now=JANUARY)
    assert len(own.move(date(2023, 2, 1), 0, now=FEBRUARY)) == 1


def test_a_month_that_is_not_in_a_checkpoint_as_a_whole_stays(own: Own) -> None:
    own.write(JANUARY)
    with pytest.raises(Conflict, match="signed checkpoint"):
        own.move(date(2023, 2, 1))
    own.sequence()
    own.write(JANUARY)
    with pytest.raises(Conflict, match="signed checkpoint"):
        own.move(date(2023, 2, 1))
    assert own.fetch("select count(*) from entries") == [(2,)]
    assert list(own.folder.glob("entries*")) == []


async def moved_while(own: Own, statement: str) -> list[Moved]:
    """Move January 2023 while another transaction has done something and does not end before it is waited for."""
    holder, watcher = await asyncpg.connect(own.url), await asyncpg.connect(own.url)
    database = Database(own.url)

    async def move() -> list[Moved]:
        return [moved async for moved in retention.move(database, date(2023, 2, 1), own.folder)]

    try:
        await holder.execute(f"begin; {statement}")
        moving = asyncio.create_task(move())
        waits = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'"
        while not await watcher.fetchval(waits):  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
            await asyncio.sleep(0.01)
        await holder.execute("commit")
        return await moving
    finally:
        await database.close()
        await holder.close()
        await watcher.close()


def test_an_entry_that_comes_while_a_month_is_moved_keeps_it(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    late = """
      insert into entries (at, actor, action, subject, body, sha256)
      values ('2023-01-31 23:00Z', 'x', 'thing.done', 'x', '{}', '')
    """
    with pytest.raises(Conflict, match="have come meanwhile"):
        asyncio.run(moved_while(own, late))
    assert own.fetch("select count(*) from entries where at < '2023-02-01'") == [(2,)]
    assert own.fetch("select * from archives") == []


def test_somebody_who_reads_the_log_is_waited_for(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    (moved,) = asyncio.run(moved_while(own, "select count(*) from entries"))
    assert archive.check(moved.path)[0] == moved.head
    assert "2023-01" not in own.months()


def test_a_file_of_another_log_is_not_written_over(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    theirs = own.folder / "entries-2023-01.ndjson.gz"
    note = "other.test/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— other.test/log AAAAAAAA\n"
    with archive.written(theirs, archive.Head("2023-01", 0, 0, 0, note, {})):
        pass
    before = theirs.read_bytes()
    with pytest.raises(Conflict, match=r"other\.test/log"):
        own.move(date(2023, 2, 1))
    assert theirs.read_bytes() == before


def test_what_an_earlier_run_left_is_written_over(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    (own.folder / "entries-2023-01.ndjson.gz.part").write_bytes(b"half")
    (moved,) = own.move(date(2023, 2, 1))
    assert archive.check(moved.path)[0] == moved.head
    assert list(own.folder.glob("*.part")) == []


@contextmanager
def served(own: Own) -> Iterator[World]:
    """The service on the test's own database."""

    async def admin(database: Database) -> str:
        made = await database.transaction(lambda tx: identity.equip(tx, "root", "person", [Role.ADMIN]))
        return str(made.secret)

    key = own.run(admin)
    settings = Settings(data_dir=own.folder, log_level="error")
    with Served(settings, own.url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        yield World(http, key)


def test_the_ledger_permits_and_exports_do_not_change_when_all_their_entries_go(own: Own) -> None:
    with served(own) as world:
        handler = world.handler()
        dataset, recipient = world.dataset(handler, "personal"), world.recipient()
        transfer = world.approved(handler, [dataset], recipient, persons=100)
        export = world.export(dataset, recipient, 7).json()
        world.exporter.made(f"/v1/exports/{export['id']}/complete", {"persons": 5, "sensitive_persons": 0})
        seen = [
            f"/v1/handlers/{handler['id']}/ledger?year={datetime.now(UTC).year}",
            f"/v1/permits/{transfer['permit']}",
            f"/v1/permits/{transfer['permit']}/report",
            f"/v1/transfers/{transfer['id']}",
            f"/v1/exports/{export['id']}",
            f"/v1/datasets/{dataset['id']}",
        ]
        before = [world.auditor.get(path).json() for path in seen]
        last = max(entry["seq"] for entry in world.auditor.get("/v1/audit/entries", limit=200).json()["items"])
        wait_until_all_is_sequenced(own)
        assert gone(own)
        assert [world.auditor.get(path).json() for path in seen] == before
        assert world.ask(dataset, recipient, persons=3)["decision"] is True
        answer = world.auditor.get(f"/v1/audit/entries/{last}")
        told: Json = answer.json()
        assert (answer.status_code, told["type"]) == (410, "/problems/archived")
        (file,) = own.folder.glob("entries-*")
        assert (told["file"], told["sha256"]) == (file.name, archive.sha256_of(file))
        assert file.name in told["detail"]


def wait_until_all_is_sequenced(own: Own) -> None:
    async def wait() -> None:
        connection = await asyncpg.connect(own.url)
        missing = "select count(*) from entries e where not exists (select from leaves l where l.seq = e.seq)"
        while await connection.fetchval(missing):  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
            await asyncio.sleep(0.05)
        await connection.close()

    asyncio.run(wait())


def gone(own: Own) -> list[Moved]:
    """Move this month and all before, as if it were over."""
    then = datetime.now(UTC) + timedelta(days=32)
    return own.move(then.date().replace(day=1), 0, now=then)


def test_an_entry_that_never_was_is_still_not_found(own: Own) -> None:
    with served(own) as world:
        wait_until_all_is_sequenced(own)
        assert gone(own)
        assert world.auditor.get("/v1/audit/entries/9999999").status_code == 404
