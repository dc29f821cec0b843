"""Requests that nobody thought of, made from the OpenAPI document: no 5xx, and every answer as documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.world import STAGES, World

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ENDS_THE_CALLER = "principals/.*/disable|api-keys/.*/revoke|grants/.*/withdraw"


def test_no_generated_request_is_a_fault(world: World, address: str, tmp_path: Path) -> None:
    roles = ("registrar", "requester", "exporter", "auditor", "admin", *(f"reviewer:{stage}" for stage in STAGES))
    everyone = world.person(*roles)
    told = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{address}/openapi.json",
            *("--header", f"Authorization: Bearer {everyone.secret}"),
            *("--checks", CHECKS),
            *("--exclude-path-regex", ENDS_THE_CALLER),
            *("--phases", "fuzzing"),
            *("--max-examples", "1"),
            *("--seed", "1"),
            *("--generation-database", "none"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-6000:]
