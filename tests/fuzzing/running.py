"""One run of the fuzz: a fresh database, the service with its answers counted, and the tool beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.settings import Settings
from tests.authz.things import Company
from tests.conftest import Clock, admins, database_named, run_sql
from tests.fuzzing.corpus import corpus, write
from tests.fuzzing.counting import Counted
from tests.fuzzing.planting import MARK
from tests.invariants import require_exact, require_sealed
from tests.world import World

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "missing_required_header",
    "ensure_resource_availability",
)
CONFIG = """\
warnings = false
continue-on-failure = true

[checks.missing_required_header]
expected-statuses = [400, 401, 403, 404, 409, 415, 422, 428]

[phases.stateful]
max-steps = 16

[phases.stateful.generation]
max-examples = {sequences}
"""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Extent:
    """How much one run does."""

    phases: tuple[str, ...]
    """What each tool does: one tool for each, all of them at once on one service, each with a seed of its own."""
    examples: int
    """Generated requests for each operation, by each tool."""
    sequences: int
    """Sequences along links, by each tool."""
    is_whole: bool = True
    """Whether the company that it begins with has two handlers with everything."""


def fuzz(
    postgres: str, folder: Path, name: str, extent: Extent, *, seed: int, timeout: float
) -> Counter[tuple[str, int]]:
    """Run the tool against a service of its own, demand that it found nothing, and return the answers that it was given.

    Args:
        postgres: the address of the server, which has a migrated template.
        folder: where this run keeps its files.
        name: what its database is called.
        extent: how much it does.
        seed: what the hooks choose by, and the first tool; the next tool has the next one.
        timeout: seconds after which something hangs.
    """
    run_sql(postgres, f"create database {name} template template_outbound")
    url = database_named(postgres, name)
    rates = {"rate_per_second": 0, "gate_rate_per_second": 0, "public_rate_per_second": 0, "failed_rate_per_second": 0}
    settings = Settings(data_dir=folder / "data", log_level="error", **rates)
    server = Counted(settings, url, Clock())
    with server as address, httpx.Client(base_url=address, timeout=30) as http:
        world = World(http, admins(url))
        write(folder / "corpus.json", corpus(world, Company(world, url, is_whole=extent.is_whole), address), seed)
        server.counting.is_on = True
        told = _run(address, folder, seed, timeout, extent)
        server.counting.is_on = False
    assert told == []
    require_exact(url)
    require_sealed(url, MARK)
    return server.counting.answers


def _run(address: str, folder: Path, seed: int, timeout: float, extent: Extent) -> list[str]:
    """Run the tools, and return what those told that found something; what each told stands in `told-<seed>.txt`."""
    (folder / "schemathesis.toml").write_text(CONFIG.format(sequences=extent.sequences), encoding="utf-8")
    known = {
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.fuzzing.hooks",
        "OUTBOUND_FUZZ_CORPUS": str(folder / "corpus.json"),
    }
    running: list[tuple[Path, subprocess.Popen[bytes]]] = []
    try:
        for number, phases in enumerate(extent.phases, seed):
            told = folder / f"told-{number}.txt"
            asked = _asked(address, folder, number, phases, extent)
            with told.open("wb") as file:
                running.append(
                    (told, subprocess.Popen(asked, cwd=folder, env=os.environ | known, stdout=file, stderr=file))
                )
        failed = [told for told, tool in running if tool.wait(timeout) != 0]
    finally:
        for _, tool in running:
            tool.kill()
    return [told.read_text(encoding="utf-8")[-20_000:] for told in failed]


def _asked(address: str, folder: Path, seed: int, phases: str, extent: Extent) -> list[str]:
    return [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(folder / "schemathesis.toml")),
        "run",
        f"{address}/openapi.json",
        *("--phases", phases),
        *("--max-examples", str(extent.examples)),
        *("--checks", ",".join(CHECKS)),
        *("--seed", str(seed)),
        *("--generation-database", "none"),
        *("--request-timeout", "120"),
        "--no-shrink",
        "--no-color",
    ]
