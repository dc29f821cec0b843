"""Writes a CycloneDX document: each locked package and each vendored component by name, version and the hashes of its files.

A package that the container image leaves out, because the extra `embedded` alone needs it, is optional. The document is the same for the
same lock, says nothing of the machine or the index that it was made with, and is checked against the schema.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[1]
COMMAND = (
    "requirements",
    "requirements.lock",
    "--pyproject",
    "pyproject.toml",
    "--short-PURLs",
    "--output-reproducible",
    "--no-validate",  # the whole document is checked below
)


def document() -> dict[str, Any]:
    """Return the document."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    made = subprocess.run(  # noqa: S603 - our own words
        [program, *COMMAND, "--of", "JSON", "-o", "-"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(made.stdout)
    image = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "deploy" / "image.lock").read_text("utf-8"), re.MULTILINE))
    for component in found["components"]:
        component["scope"] = "required" if component["name"] in image else "optional"
        component["bom-ref"] = component["purl"]
        component.pop("description", None)
        for reference in component["externalReferences"]:
            reference |= {"url": component["purl"], "comment": "the files that the lock takes, by hash"}
    found["components"] += vendored()
    references = [component["purl"] for component in found["components"]]
    root = found["metadata"]["component"]["bom-ref"]
    found["dependencies"] = [{"ref": root, "dependsOn": references}, *({"ref": one} for one in references)]
    return found


def vendored() -> list[dict[str, Any]]:
    """Return the components whose files stand in the repository, from `deploy/vendored.toml`."""
    return [
        {
            "type": component.get("type", "library"),
            "bom-ref": component["purl"],
            "name": component["name"],
            "version": component["version"],
            "purl": component["purl"],
            "licenses": [{"license": {"id": component["licence"]}}],
            **_pedigree(component),
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"{component['purl']}#{file}",
                    "name": file,
                    "hashes": [{"alg": "SHA-256", "content": sha256}],
                }
                for file, sha256 in component["files"].items()
            ],
        }
        for component in tomllib.loads((ROOT / "deploy" / "vendored.toml").read_text("utf-8"))["component"]
    ]


def _pedigree(component: dict[str, Any]) -> dict[str, Any]:
    """Return the file of upstream that a component is made from, if its list names one."""
    if "made_from" not in component:
        return {}
    source = component["made_from"]
    hashes = [{"alg": "SHA-256", "content": source["sha256"]}]
    return {"pedigree": {"ancestors": [{"type": "file", "name": source["name"], "hashes": hashes}]}}


def main(target: Path) -> None:
    """Write it."""
    text = json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    faults = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if faults is not None:
        raise SystemExit(f"The document is not CycloneDX: {faults}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
