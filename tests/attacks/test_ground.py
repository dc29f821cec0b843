"""Whoever has the machine under the service: its database, its clock, its law files, its disk."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import asyncpg
import httpx
import pytest

from service.database.session import Database
from service.identity import operations as identity
from service.law import loader, rule_files
from service.settings import Settings
from tests.conftest import Clock, Served, database_named, run_sql
from tests.world import World, today

OTHERS_GO = """
  select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""
STANDBY = "standby_" + os.environ.get("PYTEST_XDIST_WORKER", "main")


def test_a_database_that_may_only_be_read_gives_no_answer(postgres: str, tmp_path: Path) -> None:
    """A stale standby: a decision that cannot be put on record is none."""
    run_sql(postgres, f"create database {STANDBY} template template_outbound")
    url = database_named(postgres, STANDBY)

    async def equipped() -> str:
        database = Database(url)
        made = await database.transaction(lambda tx: identity.issue_key(tx, "etl", "system", [identity.Role.EXPORTER]))
        await database.close()
        return str(made.secret)

    head = {"Authorization": f"Bearer {asyncio.run(equipped())}"}
    question = {
        "subject": {"type": "system", "id": "etl"},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": "a"},
    }
    settings = Settings(data_dir=tmp_path, sequencer=False, pack_worker=False, log_level="error")
    with (
        Served(settings, url, Clock()) as address,
        httpx.Client(base_url=address, timeout=30, headers=head) as http,
    ):
        assert http.post("/access/v1/evaluation", json=question).status_code == 200
        run_sql(postgres, f"alter database {STANDBY} set default_transaction_read_only = on")
        run_sql(url, OTHERS_GO)
        answer = http.post("/access/v1/evaluation", json=question)
        assert answer.status_code == 503
        assert "decision" not in answer.text
        export = {"dataset": "a", "recipient": "b", "purpose": "c", "persons": 1}
        assert http.post("/v1/exports", json=export).status_code == 503
    run_sql(postgres, f"drop database {STANDBY} with (force)")


def test_the_log_is_not_rewritten_through_the_database(world: World, database_url: str) -> None:
    assert world.handler()

    async def attempt(statement: str) -> str:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            return type(error).__name__
        finally:
            await connection.close()
        return "done"

    for statement in (
        "update entries set actor = 'nobody' where seq = (select max(seq) from entries)",
        "delete from entries where seq = (select max(seq) from entries)",
        "truncate entries",
        "update checkpoints set note = 'x'",
        "delete from leaves",
    ):
        assert asyncio.run(attempt(statement)) != "done", statement


@pytest.fixture
def edited_law(tmp_path: Path) -> Path:
    folder = tmp_path / "law"
    shutil.copytree(loader.DATA_DIRECTORY, folder)
    return folder


def test_an_edited_threshold_shows_in_every_determination(edited_law: Path) -> None:
    """Who changes a rule file changes the version that each determination, revision and pack names."""
    file = edited_law / "thresholds.toml"
    text = file.read_text(encoding="utf-8")
    assert "100000" in text.replace("_", "") or "100_000" in text
    changed = text.replace("100_000", "900_000").replace("100000", "900000")
    file.write_text(changed, encoding="utf-8")
    assert loader.load(edited_law).version != loader.load().version


@pytest.mark.parametrize("spoil", ["unreadable", "missing", "unknown word", "no citation"])
def test_nothing_starts_on_law_that_cannot_be_used(edited_law: Path, spoil: str) -> None:
    file = edited_law / "rules.toml"
    text = file.read_text(encoding="utf-8")
    match spoil:
        case "unreadable":
            file.write_bytes(b"\xff\xfe" + text.encode())
        case "missing":
            file.unlink()
        case "unknown word":
            file.write_text(text.replace('when = ["inside"]', 'when = ["whoever_asks"]'), encoding="utf-8")
        case _:
            file.write_text(text.replace('citations = [{ instrument = "PIPL", article = "42" }]', ""), encoding="utf-8")
    with pytest.raises(rule_files.RuleFileError):
        loader.load(edited_law)


def test_a_company_policy_that_frees_something_stops_the_start(tmp_path: Path, database_url: str) -> None:
    policy = tmp_path / "policy.toml"
    name, value = next(iter(loader.load().edition(today()).law.items()))
    settings = Settings(data_dir=tmp_path, policy_file=policy, log_level="error")
    for freed in (f"{name} = {value + 1}", "made_up = 9"):
        policy.write_text(f"[thresholds]\n{freed}\n", encoding="utf-8")
        with pytest.raises(Exception, match="policy"), Served(settings, database_url, Clock()):
            pass
    policy.write_text(f"[thresholds]\n{name} = {value}\n", encoding="utf-8")
    with Served(settings, database_url, Clock()) as address:
        assert httpx.get(f"{address}/readyz", timeout=60).status_code == 200
