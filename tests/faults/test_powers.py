"""The settings of power are in the log: those that a service starts with, and those that it is started with later."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import pytest

from service.audit import powers
from service.database.row_security import EVERYWHERE
from service.database.session import Database
from service.law import loader
from service.settings import Settings
from tests.conftest import database_named, run_sql

NAME = f"powers_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


def test_each_setting_is_one_of_power_or_is_none() -> None:
    assert {*powers.POWER_SETTINGS} | powers.OTHER_SETTINGS == {*Settings.model_fields}
    assert not {*powers.POWER_SETTINGS} & powers.OTHER_SETTINGS


def test_no_secret_is_stated() -> None:
    assert not any("SecretStr" in str(Settings.model_fields[name].annotation) for name in powers.POWER_SETTINGS)


@pytest.mark.parametrize(
    "other", [{"keys_by_command": False}, {"oidc_issuer": "https://id.example"}, {"export_lease_seconds": 60}]
)
def test_another_setting_differs_by_name(other: dict[str, object]) -> None:
    book = loader.load()
    body = json.dumps({"details": {"settings": powers.powers_of(Settings(), book)}})
    told = powers.powers_of(Settings(**other), book)  # type: ignore[arg-type]
    assert powers.differing_names(body, told) == list(other)


def test_a_renamed_setting_is_stated_under_its_name_in_the_log() -> None:
    book = loader.load()
    before = {name: value for name, value in powers.powers_of(Settings(), book).items() if name != "outgoing_allow"}
    entry = json.dumps({"details": {"settings": before | {"outgoing_allow": "id.internal"}}})
    assert powers.differing_names(entry, powers.powers_of(Settings(egress_allow="id.internal"), book)) == []
    assert powers.differing_names(entry, powers.powers_of(Settings(), book)) == ["egress_allow"]
    assert "egress_allow" not in powers.powers_of(Settings(), book), "a version before this one reads the entry too"


def test_what_a_service_starts_with_is_stated_once_and_compared(postgres: str, tmp_path: Path) -> None:
    asyncio.run(_stated_and_compared(postgres, tmp_path))


async def _stated_and_compared(postgres: str, tmp_path: Path) -> None:
    await asyncio.to_thread(
        run_sql, postgres, f"drop database if exists {NAME}", f"create database {NAME} template template_outbound"
    )
    url = database_named(postgres, NAME)
    database = Database(url, handlers=EVERYWHERE)
    book, first, second = (
        loader.load(),
        Settings(data_dir=tmp_path),
        Settings(data_dir=tmp_path, keys_by_command=False),
    )
    try:
        for settings in (first, first, second, second, first):
            await database.transaction(lambda tx, told=settings: powers.record_powers(tx, told, book))  # type: ignore[misc]
    finally:
        await database.close()
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("select body from entries where action = $1 order by seq", powers.ACTION)
        stated = [json.loads(row["body"])["details"]["settings"]["keys_by_command"] for row in rows]
        assert stated == [True, False, True]
        assert await powers.find_changed_settings(connection, first, book) == []
        assert await powers.find_changed_settings(connection, second, book) == ["keys_by_command"]
    finally:
        await connection.close()
