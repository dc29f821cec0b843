"""The list of what is shipped: whole, the same each time, and silent about where it was made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def made(target: Path) -> str:
    subprocess.run(
        [sys.executable, ROOT / "deploy" / "sbom.py", target], check=True, capture_output=True, cwd=target.parent
    )
    return target.read_text("utf-8")


def test_every_locked_package_is_listed_with_its_hashes_and_no_address_of_an_index(tmp_path: Path) -> None:
    text = made(tmp_path / "a.json")
    assert text == made(tmp_path / "b.json")
    found = json.loads(text)
    locked = set(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {(one["name"], one["version"]) for one in found["components"]} == locked
    lock = (ROOT / "requirements.lock").read_text()
    for component in found["components"]:
        hashes = [one["content"] for told in component["externalReferences"] for one in told["hashes"]]
        assert hashes
        assert all(f"sha256:{one}" in lock for one in hashes)
    assert "://" not in json.dumps(found["components"])
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
    assert found["metadata"]["component"]["name"] == "outbound-gate"
