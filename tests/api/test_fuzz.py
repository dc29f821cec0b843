"""Requests that nobody thought of, made from the OpenAPI document: no 5xx, and every answer as documented."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from tests.fuzzing.counting import Tally
from tests.fuzzing.planting import SEALED
from tests.fuzzing.running import Extent, fuzz

WANTED = int(os.environ.get("OUTBOUND_SOAK_REQUESTS", "0"))


@pytest.fixture(scope="module")
def tally(http: httpx.Client) -> Tally:
    return Tally(http.get("/openapi.json").json())


def test_no_generated_request_is_a_fault(postgres: str, tally: Tally, tmp_path: Path) -> None:
    assert SEALED.keys() <= tally.operations, "what is written there would not be marked"
    extent = Extent(("fuzzing,stateful",), examples=1, sequences=2, is_whole=False)
    tally.answers = fuzz(postgres, tmp_path, "fuzz_small", extent, seed=1, timeout=1200)
    assert tally.faults == []
    assert tally.requests >= len(tally.operations)
    assert len(tally.reached) >= len(tally.operations) / 2, tally.told()


if WANTED:  # `make soak` sets it

    def test_a_hundred_thousand_generated_requests_find_no_fault(
        postgres: str, tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seed = int(os.environ.get("OUTBOUND_SOAK_SEED", "1"))
        usual = "fuzzing,stateful"
        phases = ("examples,coverage", usual)
        while tally.requests < WANTED:
            folder = tmp_path / str(seed)
            folder.mkdir()
            extent = Extent(phases, examples=40, sequences=100)
            tally.answers += fuzz(postgres, folder, f"fuzz_{seed}", extent, seed=seed, timeout=4 * 3600)
            with capsys.disabled():
                print(f"from seed {seed}: {tally.told()}", flush=True)  # noqa: T201 - for whoever runs `make soak`
            assert tally.faults == []
            seed += len(phases)
            phases = (usual, usual)
        assert len(tally.reached) >= len(tally.operations) * 0.9, tally.told()
