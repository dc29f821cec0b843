"""The guide for requesters and reviewers leaves nothing of the workflow out: each of its calls is named there."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.attacks.companies import Company
from tests.world import World

ROOT = Path(__file__).parents[2]
ROOMS = {"transfers", "permits", "obligations", "findings", "gradings", "delegations", "plans", "queue", "events"}


def test_every_call_of_the_workflow_is_in_the_guide_and_described() -> None:
    guide = (ROOT / "docs" / "reviewers.md").read_text(encoding="utf-8")
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    missing: list[str] = []
    for path, calls in document["paths"].items():
        literal = [part for part in path.split("/") if part and not part.startswith("{")]
        if literal[:1] != ["v1"] or not ROOMS & set(literal):
            continue
        assert all(call["description"].endswith(".") for call in calls.values()), path
        if literal[-1] not in guide and not (literal[-1] == "token" or set(calls) == {"get"}):
            missing.append(path)
    assert missing == []


def commands_of(heading: str) -> str:
    """Return the shell commands that stand under a heading of the guide for callers."""
    guide = (ROOT / "docs" / "callers.md").read_text(encoding="utf-8")
    section = guide.partition(f"### {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_job_that_runs_again_by_the_guides_commands_does_what_the_guide_says(
    world: World, address: str, tmp_path: Path
) -> None:
    company = Company(world, persons=5000)
    wanted = {"dataset": company.dataset["id"], "recipient": company.recipient["id"], "purpose": "analytics"}
    (tmp_path / "export.json").write_text(json.dumps(wanted | {"persons": 1200, "sensitive_persons": 0}))

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": os.environ["PATH"], "OUTBOUND": address, "SECRET": world.exporter.secret}
        return subprocess.run(
            ["bash", "-c", commands], cwd=tmp_path, env=known, capture_output=True, text=True, check=False
        )

    commands = commands_of("Run it again")
    until_sent = commands.partition("# …")[0]
    assert run(until_sent).returncode == 0, "it breaks off before the data is sent"
    first = json.loads((tmp_path / "answer.json").read_text())
    assert run(commands).returncode == 0, "a restart goes on with the same export"
    assert json.loads((tmp_path / "answer.json").read_text()) == first
    assert world.auditor.get(f"/v1/exports/{first['id']}").json()["sent_persons"] == 1200
    assert not (tmp_path / "batch.key").exists()
    assert run(commands).returncode == 0, "a new run has a new key"
    assert world.auditor.get(f"/v1/permits/{company.permit}").json()["sent"]["persons"] == 2400
    assert run(until_sent).returncode == 0
    held = json.loads((tmp_path / "answer.json").read_text())
    world.exporter.made(f"/v1/exports/{held['id']}/cancel", None)
    ended = run(commands)
    assert (ended.returncode, json.loads(ended.stderr)["state"]) == (1, "cancelled")
