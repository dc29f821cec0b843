"""Asks a small thing over and over, and suspends a permit now and then, from one connection and in a process of its own.

What waits for the small thing is the event loop of the server. `python -m bench.probe http://127.0.0.1:8000 KEY` goes on until its
standard input ends, and then prints the longest wait for the one and the other in milliseconds.
"""

import itertools
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from subprocess import PIPE, Popen
from typing import Final
from urllib.parse import urlsplit

PAUSE: Final = 0.01
"""Seconds between an answer and the next question."""
EACH: Final = 50
"""Questions from one suspension to the next."""
WAIT: Final = 900.0


@dataclass(slots=True)
class Waited:
    """The longest waits in milliseconds, once it has ended: for a small thing, and for a permit to be suspended."""

    small: float = 0.0
    suspended: float = 0.0


@contextmanager
def probed(base: str, key: str, first: int) -> Iterator[Waited]:
    """Probe a server while the block runs.

    Args:
        base: its address.
        key: of a reviewer.
        first: number of the first permit that is suspended.
    """
    waited = Waited()
    command = [sys.executable, "-m", "bench.probe", base, key, str(first)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        process.stdout.readline()  # it has begun
        yield waited
        waited.small, waited.suspended = map(float, process.communicate()[0].split())


def main(base: str, key: str, first: str) -> None:
    """Probe until standard input ends."""
    connection = HTTPConnection(urlsplit(base).netloc, timeout=WAIT)
    head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def asked(method: str, path: str, body: str | None = None) -> float:
        began = time.perf_counter()
        connection.request(method, path, body, head)
        answer = connection.getresponse()
        answer.read()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return 1000 * (time.perf_counter() - began)

    small = suspended = 0.0
    print("begun", flush=True)
    for number in itertools.count():
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            break
        small = max(small, asked("GET", "/livez"))
        if number % EACH == 0:
            permit = f"pm_{int(first) + number // EACH:026d}"
            suspended = max(suspended, asked("POST", f"/v1/permits/{permit}/suspend", '{"reason": "Measured"}'))
    print(small, suspended)


if __name__ == "__main__":
    main(*sys.argv[1:])
