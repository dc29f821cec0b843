"""Take each defence of the list away in a copy of the tree, and demand that its test fails there: `python -m tests.attacks.removing`.

A test that passes without the defence that it is named for shows nothing. Words on the command line choose attacks (`A07`) or
files; none chooses all. It ends with 1 if any test passes, or fails for another reason than a failed assertion.
"""

from __future__ import annotations

import argparse
import getpass
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from service.embedded import EmbeddedServer
from tests.attacks.defences import DEFENCES, ROOT, Defence

PARTS = ("service", "tests", "migrations", "docs", "openapi", "deploy", "pyproject.toml", "README.md")
FAILED = re.compile(r"(\d+) failed")
RUNS = itertools.count(1)
REASON = re.compile(r"^E +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What a test said of a tree without its defence."""

    defence: Defence
    is_noticed: bool
    told: str
    seconds: float


def copied(folder: Path) -> Path:
    """Return a copy of the tree that may be spoilt."""
    folder.mkdir()
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, target)
    return folder


def without(defence: Defence, tree: Path, temporary: Path) -> Outcome:
    """Run a defence's test in a tree that lacks it, and put it back."""
    kept = {edit.file: (tree / edit.file).read_text(encoding="utf-8") for edit in defence.edits}
    began = time.monotonic()
    try:
        for edit in defence.edits:
            file = tree / edit.file
            text = file.read_text(encoding="utf-8")
            if text.count(edit.original) != 1:
                return Outcome(defence, is_noticed=False, told=f"{edit.file} no longer holds it once", seconds=0)
            file.write_text(text.replace(edit.original, edit.replacement), encoding="utf-8")
        return _run(defence, tree, temporary, began)
    finally:
        for name, text in kept.items():
            (tree / name).write_text(text, encoding="utf-8")


def _run(defence: Defence, tree: Path, temporary: Path, began: float) -> Outcome:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "--tb=short",
        "--show-capture=no",
        "-p",
        "no:cacheprovider",
        defence.test,
    ]
    env = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DEBUG_TEMPROOT": str(temporary),
        "PYTEST_XDIST_WORKER": f"without_{next(RUNS)}",  # all runs share one server, each with a database of its own
    }
    ran = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=600)
    found = FAILED.search(ran.stdout)
    reasons = REASON.findall(ran.stdout)
    told = reasons[0] if reasons else (ran.stdout.strip().splitlines() or ["nothing"])[-1]
    return Outcome(defence, ran.returncode == 1 and found is not None, told[:110], time.monotonic() - began)


def main() -> int:
    """Print a line for each defence, and return 1 if any is not missed."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("words", nargs="*", help="attacks, or parts of file names")
    wanted.add_argument("--jobs", type=int, default=2)
    given = wanted.parse_args()
    chosen = [
        defence
        for defence in DEFENCES
        if not given.words or any(word == defence.attack or word in defence.edits[0].file for word in given.words)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / f"pytest-of-{getpass.getuser()}" / "server"),
        ThreadPoolExecutor(given.jobs) as pool,
    ):
        trees: Queue[Path] = Queue()
        for number in range(given.jobs):
            trees.put(copied(Path(folder) / f"tree-{number}"))

        def run(defence: Defence) -> Outcome:
            tree = trees.get()
            try:
                return without(defence, tree, Path(folder))
            finally:
                trees.put(tree)

        unnoticed = 0
        for outcome in pool.map(run, chosen):
            unnoticed += not outcome.is_noticed
            verdict = "fails" if outcome.is_noticed else "PASSES"
            defence = outcome.defence
            sys.stdout.write(f"{defence.attack}  {verdict:6} {outcome.seconds:5.1f} s  without: {defence.what}\n")
            sys.stdout.write(f"      {defence.test}\n      {outcome.told}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} defences taken away, {len(chosen) - unnoticed} of them missed by their test\n")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
