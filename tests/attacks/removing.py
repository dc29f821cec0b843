"""Take each defence of the list away in a copy of the tree, and demand that its test fails there: `python -m tests.attacks.removing`.

A test that passes without the defence that it is named for shows nothing. Words on the command line choose attacks (`A07`) or
files; none chooses all. It ends with 1 if any test passes, or fails for another reason than what it asserts.

Several copies stand side by side, each with a process that has the libraries imported and forks for every run. All of them share one
PostgreSQL and its migrated template, save those that take something out of a migration: they begin with nothing.
"""

from __future__ import annotations

import argparse
import compileall
import getpass
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Self

from service.database.embedded import EmbeddedServer
from tests.attacks.defences import DEFENCES
from tests.attacks.defences.model import ROOT, Defence, StaleEditError

PARTS = ("service", "tests", "migrations", "docs", "openapi", "deploy", "pyproject.toml", "README.md")
WARM = Path(__file__).with_name("warm.py")
SECONDS = 400
FAILED = re.compile(r"(\d+) failed")
REASON = re.compile(r"^E +(.*)$", re.MULTILINE)
ASSERTED = re.compile(
    r"^E +(?:assert |AssertionError|Failed: |TimeoutError)|^ +assert .*\n(?:.*\n)??E +\w+Error", re.MULTILINE
)
"""A failure that a test meant: what it asserts does not hold, or never came, or is not there to be looked at."""
MEANT = ("assert ", "AssertionError", "Failed: ", "TimeoutError")
RUNS = itertools.count(1)
WIDTH = 150


@dataclass(frozen=True)
class Outcome:
    """What a test said of a tree without its defence."""

    defence: Defence
    is_noticed: bool
    told: str
    seconds: float


class Copy:
    """A copy of the tree that may be spoilt, and the process that runs tests in it."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._tree = folder / f"tree-{number}"
        self._told = folder / f"told-{number}"
        self._tree.mkdir()
        for part in PARTS:
            source, target = ROOT / part, self._tree / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, target)
        compileall.compile_dir(self._tree, quiet=2)  # that is most of a start
        self._process = subprocess.Popen(
            [sys.executable, str(WARM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def without(self, defence: Defence) -> Outcome:
        """Run a defence's test in a tree that lacks it, and put it back."""
        kept = {edit.file: (self._tree / edit.file).read_text(encoding="utf-8") for edit in defence.edits}
        times = {name: (self._tree / name).stat().st_mtime for name in kept}
        began = time.monotonic()
        try:
            for edit in defence.edits:
                file = self._tree / edit.file
                text = file.read_text(encoding="utf-8")
                file.write_text(edit.apply(text), encoding="utf-8")
                _made_at(file, times[edit.file] + 10 * next(RUNS))  # what was compiled before is not taken for it
            is_noticed, told = self._run(defence)
            return Outcome(defence, is_noticed, told, time.monotonic() - began)
        except StaleEditError as stale:
            return Outcome(defence, is_noticed=False, told=str(stale), seconds=0)
        finally:
            for name, text in kept.items():
                (self._tree / name).write_text(text, encoding="utf-8")
                _made_at(self._tree / name, times[name])

    def _run(self, defence: Defence) -> tuple[bool, str]:
        number = next(RUNS)
        with self._room(defence, number) as temporary:
            env = {
                "PYTHONPATH": str(self._tree),
                "PYTEST_DEBUG_TEMPROOT": str(temporary),
                "PYTEST_XDIST_WORKER": f"without_{number}",  # runs that share a server have a database each
            }
            arguments = ["-x", "--tb=short", "--show-capture=no", "-p", "no:cacheprovider", defence.test]
            asked = {
                "tree": str(self._tree),
                "env": env,
                "arguments": ["-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments],
                "told": str(self._told),
                "seconds": SECONDS,
            }
            if self._process.stdin is None or self._process.stdout is None:
                raise AssertionError
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
        told = self._told.read_text(encoding="utf-8", errors="replace")
        reasons = REASON.findall(told)
        meant = [reason for reason in reasons if reason.startswith(MEANT)]
        reason = next(iter([*meant, *reasons, *told.strip().splitlines()[-1:]]), "nothing")
        has_failed = status == 1 and FAILED.search(told) is not None
        return has_failed and ASSERTED.search(told) is not None, reason[:WIDTH]

    @contextmanager
    def _room(self, defence: Defence, number: int) -> Iterator[Path]:
        """Give the folder whose server a run uses: that of all, or one of its own where another schema is migrated."""
        if not any(edit.file.startswith("migrations/") or edit.file.endswith(".sql") for edit in defence.edits):
            yield self._folder
            return
        own = self._folder / f"own-{number}"
        own.mkdir()
        yield own
        shutil.rmtree(own, ignore_errors=True)


def _made_at(file: Path, moment: float) -> None:
    os.utime(file, (moment, moment))


def chosen(words: list[str]) -> list[Defence]:
    """Return the defences that the command line names."""
    return [
        defence
        for defence in DEFENCES
        if not words or any(word == defence.attack or word in defence.edits[0].file for word in words)
    ]


def main() -> int:
    """Print a line for each defence, and return 1 if any is not missed."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("words", nargs="*", help="attacks, or parts of file names")
    wanted.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    given = wanted.parse_args()
    defences = chosen(given.words)
    began = time.monotonic()
    unnoticed = 0
    with tempfile.TemporaryDirectory() as named, ExitStack() as stack:
        folder = Path(named)
        stack.enter_context(EmbeddedServer(folder / f"pytest-of-{getpass.getuser()}" / "server"))
        copies: Queue[Copy] = Queue()
        for number in range(given.jobs):
            copies.put(stack.enter_context(Copy(folder, number)))
        pool = stack.enter_context(ThreadPoolExecutor(given.jobs))

        def run(defence: Defence) -> Outcome:
            copy = copies.get()
            try:
                return copy.without(defence)
            finally:
                copies.put(copy)

        for outcome in pool.map(run, defences):
            unnoticed += not outcome.is_noticed
            verdict = "fails" if outcome.is_noticed else "PASSES"
            defence = outcome.defence
            sys.stdout.write(f"{defence.attack}  {verdict:6} {outcome.seconds:5.1f} s  without: {defence.what}\n")
            sys.stdout.write(f"      {defence.test}\n      {outcome.told}\n")
            sys.stdout.flush()
    minutes = (time.monotonic() - began) / 60
    noticed = len(defences) - unnoticed
    sys.stdout.write(f"{len(defences)} defences taken away, {noticed} missed by their test, in {minutes:.1f} minutes\n")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
