"""A migrated database without a service, in which each test writes rows that it takes back."""

from __future__ import annotations

import os

import pytest

from tests.conftest import database_named, run_sql


@pytest.fixture(scope="session")
def empty_database(postgres: str) -> str:
    name = "rules_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(postgres, f"create database {name} template template_outbound")
    return database_named(postgres, name)
