"""One run of the fuzz: a fresh database, the service with its answers counted, and the tool beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx

from service.settings import Settings
from tests.authz.things import Company
from tests.conftest import Clock, admins, database_named, run_sql
from tests.fuzzing.corpus import corpus, write
from tests.fuzzing.counting import Counted
from tests.invariants import demand_exact, demand_sealed
from tests.world import World

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
ROOT = Path(__file__).parents[2]


def fuzz(
    postgres: str, folder: Path, name: str, *words: str, seed: int, timeout: float, is_whole: bool = True
) -> Counter[tuple[str, int]]:
    """Run the tool against a service of its own, demand that it found nothing, and return the answers that it was given.

    Args:
        postgres: the address of the server, which has a migrated template.
        folder: where this run keeps its files.
        name: what its database is called.
        words: more words for the tool: phases, examples.
        seed: what the tool and the hooks choose by.
        timeout: seconds after which something hangs.
        is_whole: whether the company that it begins with has two handlers with everything.
    """
    run_sql(postgres, f"create database {name} template template_outbound")
    url = database_named(postgres, name)
    rates = {"rate_per_second": 0, "gate_rate_per_second": 0, "public_rate_per_second": 0, "failed_rate_per_second": 0}
    settings = Settings(data_dir=folder / "data", log_level="error", **rates)
    server = Counted(settings, url, Clock())
    with server as address, httpx.Client(base_url=address, timeout=30) as http:
        world = World(http, admins(url))
        write(folder / "corpus.json", corpus(world, Company(world, url, is_whole=is_whole), address), seed)
        server.counting.is_on = True
        code = _run(address, folder, seed, timeout, words)
        server.counting.is_on = False
    assert code == 0, (folder / "told.txt").read_text(encoding="utf-8")[-20_000:]
    demand_exact(url)
    demand_sealed(url)
    return server.counting.answers


def _run(address: str, folder: Path, seed: int, timeout: float, words: tuple[str, ...]) -> int:
    """Run the tool; what it tells stands in `told.txt`."""
    known = {
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.fuzzing.hooks",
        "OUTBOUND_FUZZ_CORPUS": str(folder / "corpus.json"),
    }
    asked = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        "run",
        f"{address}/openapi.json",
        *("--checks", ",".join(CHECKS)),
        *("--seed", str(seed)),
        *("--generation-database", "none"),
        *("--request-timeout", "120"),
        "--no-shrink",
        "--no-color",
        *words,
    ]
    with (folder / "told.txt").open("w", encoding="utf-8") as told:
        done = subprocess.run(
            asked, cwd=folder, env=os.environ | known, stdout=told, stderr=told, timeout=timeout, check=False
        )
    return done.returncode
