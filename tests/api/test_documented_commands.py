"""The commands of README and documentation work as pasted, against a service that was started as README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.waiting import seen

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{reader}.md" for reader in ("tutorial", "registrars", "callers", "auditors")))
FENCE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TWO_COMMANDS = {"make run", "make test"}
"""Commands of README that start a service and a suite: the test starts the one by itself and is part of the other."""


def blocks(page: str, language: str) -> list[str]:
    found = FENCE.findall((ROOT / page).read_text("utf-8"))
    return [block for name, block in found if name == language and not commands(block) <= TWO_COMMANDS]


def commands(block: str) -> set[str]:
    return {line.partition("#")[0].strip() for line in block.splitlines()}


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Serve from a folder that looks like a clone, by the command of `make run` and on a free port."""
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    planned = subprocess.check_output(["make", "--dry-run", "--silent", "run"], cwd=ROOT, text=True)
    command = planned.splitlines()[-1]
    assert command == ".venv/bin/outbound serve --sample"
    variables = folder / ".outbound" / "sample.env"
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command.split(), "--port", "0"], cwd=folder, env=environment(), stdout=file, stderr=subprocess.STDOUT
        )

    def is_ready() -> bool:
        assert process.poll() is None, output.read_text()
        if variables.exists():
            url = re.search(r"^export URL=(\S+)$", variables.read_text(), re.MULTILINE)
            assert url is not None
            with suppress(httpx.HTTPError):
                return httpx.get(f"{url[1]}/readyz", timeout=5).is_success
        return False

    try:
        seen(is_ready, seconds=180)
        assert variables.stat().st_mode & 0o777 == 0o600
        yield
    finally:
        process.terminate()
        process.wait(60)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OUTBOUND_")}


def run_shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_the_commands_of_each_page_work_as_pasted(tmp_path: Path) -> None:
    with served(tmp_path):
        for page in PAGES:
            shell = blocks(page, "sh")
            assert shell, page
            (tmp_path / "page.py").write_text("\n".join(blocks(page, "python")))
            ended = run_shell(tmp_path, "\n".join([*shell, ".venv/bin/python page.py"]))
            assert ended.returncode == 0, f"{page}: {ended.stderr[-3000:]}{ended.stdout[-2000:]}"
            if page == "README.md":
                assert '{"decision":true,' in ended.stdout
                assert '"reason":"permitted"' in ended.stdout
                (question,) = shell
                denied = run_shell(tmp_path, question.replace('"loyalty-programme"', '"advertising"')).stdout
                assert '"reason":"purpose_not_covered"' in denied
