"""The table of layers in CONTRIBUTING is the contract that `make check` demands, and names each domain core that coverage looks at."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
ROW = re.compile(r"^\| (`[^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_lists_the_layers_in_their_order() -> None:
    contract = next(one for one in PROJECT["importlinter"]["contracts"] if one["name"].startswith("Layers"))
    assert [names(row[0]) for row in ROWS] == [layer.split(" | ") for layer in contract["layers"]]
    assert contract["exhaustive"] is True


def test_the_table_names_each_domain_core() -> None:
    listed = set()
    for layers, _, cores in ROWS:
        if cores == "all but `schemas.py`":
            listed |= {f"service/law/{file.name}" for file in (ROOT / "service/law").glob("*.py")}
            listed -= {"service/law/schemas.py", "service/law/__init__.py"}
            continue
        for part, layer in zip(cores.split("; "), names(layers), strict=False):
            listed |= {f"service/{layer}/{name}" for name in names(part)}
    covered = {re.sub(r"/\*\.py$", "/", name) for name in PROJECT["coverage"]["run"]["include"]}
    assert listed == covered
    assert all((ROOT / name).exists() for name in listed)
