"""Commands are loaded one by one, and each finds all that it needs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer
from typer.testing import CliRunner

from service import cli
from service.tables import METADATA

TABLES = """
from sqlalchemy.orm import configure_mappers
import service.commands.database_access
from service.database.session import Base
configure_mappers()
print(*[table.name for table in Base.metadata.sorted_tables])
"""


def test_whatever_writes_to_the_database_knows_the_tables_that_are_referred_to() -> None:
    told = subprocess.run([sys.executable, "-c", TABLES], capture_output=True, text=True, check=True)
    assert sorted(told.stdout.split()) == sorted(table.name for table in METADATA.sorted_tables)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_where_the_list_says_and_has_help(name: str) -> None:
    module, member = cli.COMMANDS[name].split(":")
    found = getattr(import_module(f"service.commands.{module}"), member)
    assert isinstance(found, typer.Typer) or found.__doc__
    told = CliRunner().invoke(cli.app, [name, "--help"])
    assert (told.exit_code, f"{name} [OPTIONS]" in told.output) == (0, True), told.output


def test_what_is_asked_for_by_another_name_is_refused_and_an_inner_command_is_not_listed() -> None:
    assert CliRunner().invoke(cli.app, ["serv"]).exit_code == 2
    told = CliRunner().invoke(cli.app, ["--help"]).output
    assert [name for name in cli.COMMANDS if f" {name} " not in told] == ["openapi"]
