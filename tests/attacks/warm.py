"""A process that has every library imported and nothing of the tree, and forks itself for each run of pytest in a copy of it.

Its own program, by path: `removing.py` writes it one line of JSON for each run, and reads the status with which that ended. To import the
libraries takes longer than most attacks do.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

OURS = {"service", "tests"}
TIMED_OUT = 124


def warmed(root: str) -> None:
    """Import what the tests import, and forget what of it is ours: that is looked for in each copy anew."""
    sys.path[0] = root
    for module in ("pytest", "tests.conftest", "tests.issuers"):
        importlib.import_module(module)
    for module in [module for module in sys.modules if module.partition(".")[0] in OURS]:
        del sys.modules[module]
    sys.path.remove(root)
    gc.collect()
    gc.freeze()


def run(asked: dict[str, Any]) -> None:
    """Run pytest as asked; never returns."""
    os.setsid()
    os.chdir(asked["tree"])
    os.environ.update(asked["env"])
    sys.path.insert(0, asked["tree"])
    sys.dont_write_bytecode = (
        False  # pytest compiles tests in its own way, and each time anew where it may not keep that
    )
    told = os.open(asked["told"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(told, stream)
    status = 3
    try:
        status = int(sys.modules["pytest"].main(asked["arguments"]))
    finally:
        sys.stdout.flush()
        os._exit(status)


def waited(child: int, seconds: float) -> int:
    """Return the status with which a child ended, or end it with all that it has started."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)  # os.waitpid has no time-out
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMED_OUT


def main() -> None:
    """Run what is asked for, one after the other, until nobody asks any more."""
    warmed(str(Path(__file__).parents[2]))
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            run(asked)
        sys.stdout.write(f"{waited(child, asked['seconds'])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
