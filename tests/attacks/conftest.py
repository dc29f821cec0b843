"""What attacks are made on; made once for all of them, so that each costs little."""

from __future__ import annotations

import pytest

from tests.attacks.companies import EVERY_ROLE, Company
from tests.world import Person, World


@pytest.fixture(scope="session")
def victim(world: World) -> Company:
    """A company that nobody of these tests changes."""
    return Company(world)


@pytest.fixture(scope="session")
def thief(world: World) -> Person:
    """Somebody with every role but admin, in another company."""
    return Company(world).insider(*EVERY_ROLE)
