"""The guide for requesters and reviewers leaves nothing of the workflow out: each of its calls is named there."""

import json
from pathlib import Path

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
