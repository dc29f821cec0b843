"""Old months of entries move to files: nothing that rests on them changes, and each stays provable."""

from __future__ import annotations

import asyncio
import base64
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
from sqlalchemy import insert

from service.access.caller import OPERATOR
from service.audit import operations as audit
from service.audit.log import fsck, retention
from service.audit.log.log_key import LogKey
from service.audit.log.retention import ArchivedMonth
from service.audit.log.sequencer import Sequencer
from service.audit.log.tables import Cosignature
from service.audit.tlog import archive_file
from service.audit.tlog.merkle import consistency_proof, leaf_hash, root_of
from service.audit.tlog.signed_note import COSIGNATURE, Signer, cosign, cosigned_at, parts_of
from service.clock import utc_now
from service.database import migrate
from service.database.row_security import EVERYWHERE
from service.database.session import Database, Time
from service.key_files import read_or_create
from service.settings import Settings
from service.validation.problems import Conflict
from tests.commands import outbound
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.waiting import until
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
            clock = Time()
            clock.ahead = timedelta() if now is None else now - utc_now()
            database = Database(self.url, clock=clock, handlers=EVERYWHERE)
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
                database.clock.ahead = moment - utc_now()

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
                writer = await Sequencer.load(connection, utc_now, key, "outbound.test/log")
                await writer.run_pass()
                return key.signer(writer.origin).vkey
            finally:
                await connection.close()

        return asyncio.run(turn())

    def move(
        self, before: date, keep_months: int = retention.KEEP_MONTHS, now: datetime | None = None
    ) -> list[ArchivedMonth]:
        async def work(database: Database) -> list[ArchivedMonth]:
            return [moved async for moved in retention.archive_months(database, before, self.folder, keep_months)]

        moved: list[ArchivedMonth] = self.run(work, now)
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
    told = [f"{file}: 2 entries of 2023-0{n}, sha256 {archive_file.sha256_of(file)}" for n, file in enumerate(files, 1)]
    assert done.stdout.splitlines() == [*told, "2 month(s) were moved."]
    assert "2023-01" not in own.months()
    assert "2023-03" in own.months()
    checked = outbound("postgresql://nowhere/none", "archive", "check", str(files[0]), "--vkey", vkey)
    assert checked.returncode == 0, checked.stderr
    assert "2 entries of 2023-01, leaves 0 to 2 of outbound.test/log, as signed by outbound.test/log" in checked.stdout
    again = outbound(own.url, *words)
    assert (again.returncode, again.stdout) == (0, "There is nothing to move.\n")


def test_a_file_is_refused_with_the_key_of_another_log(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    stranger = LogKey(own.folder / "other.pem").signer("outbound.test/log").vkey
    refused = outbound("postgresql://nowhere/none", "archive", "check", str(moved.path), "--vkey", stranger)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "None of the known keys has signed the note.\n"


def test_a_file_can_be_held_against_a_checkpoint_that_was_kept_elsewhere(own: Own) -> None:
    own.write(JANUARY, JANUARY)
    own.sequence()
    ((kept,),) = own.fetch("select note from checkpoints")
    own.write(JANUARY, FEBRUARY, JANUARY)
    vkey = own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    note, proof = own.folder / "kept.txt", own.folder / "proof.json"
    note.write_text(kept, encoding="utf-8")
    words = ["archive", "check", str(moved.path), "--vkey", vkey, "--checkpoint", str(note)]
    refused = outbound("postgresql://nowhere/none", *words)
    assert refused.returncode == 1
    assert "/v1/audit/proofs/consistency?from=2&to=5" in refused.stderr
    bodies = [body for (body,) in own.fetch("select body from entries e join leaves l using (seq) order by leaf")]
    left = {3: bodies[0]} | {line.leaf: line.body for line in archive_file.read_lines(moved.path)}
    hashes = [leaf_hash(left[leaf].encode()) for leaf in range(5)]
    steps = consistency_proof(2, 5, lambda level, index: root_of(hashes[index << level : (index + 1) << level]))
    proof.write_text(json.dumps({"proof": [base64.b64encode(step).decode() for step in steps]}))
    done = outbound("postgresql://nowhere/none", *words, "--proof", str(proof))
    assert done.returncode == 0, done.stderr


def test_a_file_holds_the_newest_checkpoint_that_a_witness_has_cosigned(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    pem = read_or_create(own.folder / "witness.pem")
    witness = Signer(pem, "witness.test", COSIGNATURE)
    ((size, note),) = own.fetch("select size, note from checkpoints")
    line = cosign(parts_of(note)[0], witness, 1_700_000_000)

    async def keep(database: Database) -> None:
        row = {"size": size, "witness": witness.vkey, "line": line, "at": JANUARY}
        await database.transaction(lambda tx: tx.execute(insert(Cosignature).values(**row)))

    own.run(keep)
    own.write(FEBRUARY)
    own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    assert moved.head.note == note + line
    assert cosigned_at(moved.head.note, witness.verifier) == 1_700_000_000


def checked(own: Own, folder: Path | None = None) -> set[str]:
    """Return the kinds of what the full check finds."""

    async def run() -> set[str]:
        connection = await asyncpg.connect(own.url, server_settings=fsck.SETTINGS)
        try:
            trusted = [LogKey(own.folder / "log_key.pem").signer("outbound.test/log").verifier]
            return (await fsck.check(connection, trusted, archives=folder)).kinds
        finally:
            await connection.close()

    return asyncio.run(run())


def archived(own: Own) -> ArchivedMonth:
    """Write, archive a month, and go on."""
    own.write(JANUARY, FEBRUARY, JANUARY)
    own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    own.sequence()
    return moved


def test_the_full_check_of_a_log_holds_though_months_are_in_files(own: Own) -> None:
    own.write(JANUARY, FEBRUARY, JANUARY, MARCH)
    own.sequence()
    assert len(own.move(date(2023, 2, 1))) == 1
    own.sequence()
    assert checked(own) == set()
    assert checked(own, own.folder) == set()
    assert len(own.move(date(2023, 3, 1))) == 1
    own.sequence()
    assert checked(own, own.folder) == set()
    told = outbound(own.url, "audit", "check", "--archives", str(own.folder), "--vkey", vkey_of(own))
    assert told.returncode == 0, told.stderr
    assert "3 of them in archives" in told.stdout


def vkey_of(own: Own) -> str:
    return LogKey(own.folder / "log_key.pem").signer("outbound.test/log").vkey


@pytest.mark.parametrize(
    "statement",
    [
        "update archives set sha256 = '\\x00'",
        "update archives set file = 'other.gz'",
        "update archives set entries = 3",
        "update archives set month = '2023-02-01'",
        "insert into archives select '2023-02-01', file, sha256, 1, 1, 1, at from archives; delete from entries where at < '2023-03-01'",
        "delete from archives",
        "update archives set at = '2023-01-05Z'; update archives set entries = 5",
    ],
)
def test_the_check_names_archives_that_the_log_does_not_tell_of(own: Own, statement: str) -> None:
    archived(own)
    run_sql(own.url, f"set session_replication_role = replica; {statement}")
    assert checked(own) & {"archive", "deleted", "truncated"}


@pytest.mark.parametrize("spoil", ["change", "replace", "remove"])
def test_the_check_names_files_that_are_not_what_was_archived(own: Own, spoil: str) -> None:
    moved = archived(own)
    if spoil == "change":
        moved.path.write_bytes(moved.path.read_bytes() + b"\x00")
    elif spoil == "replace":
        with archive_file.open_for_entries(moved.path, moved.head) as file:
            file.writelines(archive_file.encode_line(archive_file.Line(leaf, leaf, "{}")) for leaf in (0, 2))
    else:
        moved.path.unlink()
    assert checked(own, own.folder) == {"archive"}
    assert checked(own) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "update openings set value = '\"x\"' where seq = 2",
        "update openings set value = 'no JSON' where seq = 2",
        "delete from openings where seq = 2",
    ],
)
def test_the_check_names_openings_that_were_changed_or_deleted_without_an_act(own: Own, statement: str) -> None:
    own.write(FEBRUARY, FEBRUARY, FEBRUARY)
    own.sequence()
    assert checked(own) == set()
    run_sql(own.url, f"set session_replication_role = replica; {statement}")
    assert checked(own) == {"opening"}


def test_what_was_erased_by_an_act_is_no_fault(own: Own) -> None:
    own.write(FEBRUARY)
    done = outbound(own.url, "audit", "erase-opening", "1", "/details/reason", "--reason", "Asked for")
    assert done.returncode == 0, done.stderr
    own.sequence()
    assert checked(own) == set()


def test_the_act_is_recorded_with_the_hash_of_the_file(own: Own) -> None:
    own.write(JANUARY, FEBRUARY, JANUARY)
    own.sequence()
    (moved,) = own.move(date(2023, 2, 1))
    ((body,),) = own.fetch("select body from entries where action = 'archive.made'")
    told = {"month": "2023-01", "file": moved.path.name, "sha256": archive_file.sha256_of(moved.path)}
    assert json.loads(body)["details"] == told | {"entries": 2, "first_leaf": 0, "last_leaf": 2, "size": 3}
    assert own.fetch("select month, file, encode(sha256, 'hex'), first_leaf, last_leaf, entries from archives") == [
        (date(2023, 1, 1), moved.path.name, archive_file.sha256_of(moved.path), 0, 2, 2)
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


async def moved_while(own: Own, statement: str) -> list[ArchivedMonth]:
    """Move January 2023 while another transaction has done something and does not end before it is waited for."""
    holder, watcher = await asyncpg.connect(own.url), await asyncpg.connect(own.url)
    database = Database(own.url, handlers=EVERYWHERE)

    async def move() -> list[ArchivedMonth]:
        return [moved async for moved in retention.archive_months(database, date(2023, 2, 1), own.folder)]

    try:
        await holder.execute(f"begin; {statement}")
        moving = asyncio.create_task(move())
        waits = (
            "select count(*) > 0 from pg_locks join pg_database d on d.oid = database"
            " where datname = current_database() and not granted and mode = 'AccessExclusiveLock'"
        )
        await until(lambda: watcher.fetchval(waits), pause=0.01)
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
    assert archive_file.check(moved.path)[0] == moved.head
    assert "2023-01" not in own.months()


def test_a_file_of_another_log_is_not_written_over(own: Own) -> None:
    own.write(JANUARY)
    own.sequence()
    theirs = own.folder / "entries-2023-01.ndjson.gz"
    note = "other.test/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— other.test/log AAAAAAAA\n"
    with archive_file.open_for_entries(theirs, archive_file.Head("2023-01", 0, 0, 0, note, {})):
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
    assert archive_file.check(moved.path)[0] == moved.head
    assert list(own.folder.glob("*.part")) == []


@contextmanager
def served(own: Own) -> Iterator[World]:
    """The service on the test's own database."""
    settings = Settings(data_dir=own.folder, log_level="error")
    with Served(settings, own.url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        yield World(http, admins(own.url))


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
        assert (told["file"], told["sha256"]) == (file.name, archive_file.sha256_of(file))
        assert file.name in told["detail"]
        # Whose it was is in the file alone: an auditor of some handlers is told what there is of an entry that never was.
        narrow = world.person("auditor", handler=world.handler()["id"])
        gone_one, none = (narrow.get(f"/v1/audit/entries/{seq}") for seq in (last, 2**40))
        assert gone_one.status_code == none.status_code == 404
        assert gone_one.json() | {"instance": ""} == none.json() | {"instance": ""}


def wait_until_all_is_sequenced(own: Own) -> None:
    async def wait() -> None:
        connection = await asyncpg.connect(own.url)
        missing = "select count(*) from entries e where not exists (select from leaves l where l.seq = e.seq)"
        await until(lambda: connection.fetchval(f"select ({missing}) = 0"), pause=0.05)
        await connection.close()

    asyncio.run(wait())


def gone(own: Own) -> list[ArchivedMonth]:
    """Move this month and all before, as if it were over."""
    then = datetime.now(UTC) + timedelta(days=32)
    return own.move(then.date().replace(day=1), 0, now=then)


def test_an_entry_that_never_was_is_still_not_found(own: Own) -> None:
    with served(own) as world:
        wait_until_all_is_sequenced(own)
        assert gone(own)
        assert world.auditor.get("/v1/audit/entries/9999999").status_code == 404


def test_migrations_go_down_and_up_again_over_an_archived_log(own: Own) -> None:
    archived(own)
    before = own.fetch("select seq, body from entries order by seq")
    migrate.downgrade(own.url, "0006")
    migrate.upgrade(own.url)
    assert own.fetch("select seq, body from entries order by seq") == before
    assert own.fetch("select count(*) from openings") == own.fetch("select count(*) from archives") == [(0,)]
