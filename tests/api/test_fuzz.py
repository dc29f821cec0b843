"""Requests that nobody thought of, made from the OpenAPI document: no 5xx, and every answer as documented."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from tests.fuzzing.counting import Tally
from tests.fuzzing.running import fuzz

WANTED = int(os.environ.get("OUTBOUND_SOAK_REQUESTS", "0"))


@pytest.fixture(scope="module")
def tally(http: httpx.Client) -> Tally:
    return Tally(http.get("/openapi.json").json())


def test_no_generated_request_is_a_fault(postgres: str, tally: Tally, tmp_path: Path) -> None:
    words = ("--phases", "fuzzing,stateful", "--max-examples", "1")
    tally.answers = fuzz(postgres, tmp_path, "fuzz_small", *words, seed=1, timeout=1200, is_whole=False)
    assert tally.faults == []
    assert tally.requests >= len(tally.operations)
    assert len(tally.reached) >= len(tally.operations) / 2, tally.told()


@pytest.mark.skipif(WANTED == 0, reason="only with OUTBOUND_SOAK_REQUESTS set, as `make soak` does")
def test_a_hundred_thousand_generated_requests_find_no_fault(
    postgres: str, tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("OUTBOUND_SOAK_SEED", "1"))
    while tally.requests < WANTED:
        folder = tmp_path / str(seed)
        folder.mkdir()
        phases = "examples,coverage,fuzzing,stateful" if seed % 4 == 1 else "fuzzing,stateful"
        words = ("--phases", phases, "--max-examples", "30")
        tally.answers += fuzz(postgres, folder, f"fuzz_{seed}", *words, seed=seed, timeout=4 * 3600)
        seed += 1
        with capsys.disabled():
            print(f"seed {seed - 1}: {tally.told()}", flush=True)  # noqa: T201 - for whoever runs `make soak`
        assert tally.faults == []
    assert len(tally.reached) >= len(tally.operations) * 0.9, tally.told()
