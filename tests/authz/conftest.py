"""What the matrix is asked about; made once for all of its tests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.authz.things import Company
from tests.world import World


@pytest.fixture(scope="session")
def document(http: httpx.Client) -> Any:
    return http.get("/openapi.json").json()


@pytest.fixture(scope="session")
def company(world: World, database_url: str) -> Company:
    return Company(world, database_url)
