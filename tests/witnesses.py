"""The witness as a process of its own, for tests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.audit.tlog.signed_note import Verifier
from service.commands.listen_address import free_port
from tests.faults.test_process import OUTBOUND, environment
from tests.waiting import seen


@dataclass
class Running:
    """A witness that runs: its key, its address, and where it writes."""

    verifier: Verifier
    url: str
    output: Path
    process: subprocess.Popen[str]

    @property
    def setting(self) -> str:
        return f"{self.verifier.vkey} {self.url}"

    def add(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/add-checkpoint", content=body, timeout=300)


def command(folder: Path, *vkeys: str, port: int = 0) -> list[str]:
    logs = [part for vkey in vkeys for part in ("--log", vkey)]
    state, key = str(folder / "state.json"), str(folder / "key.pem")
    return [OUTBOUND, "witness", *logs, "--state", state, "--key", key, "--port", str(port)]


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=60)
    except httpx.HTTPError:
        return False
    return True


@contextmanager
def witnessing(folder: Path, *vkeys: str, port: int | None = None) -> Iterator[Running]:
    """Run a witness of these logs; what it remembers stays in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    output = folder / f"output-{time.monotonic_ns()}"
    with output.open("w") as file:
        process = subprocess.Popen(
            command(folder, *vkeys, port=port), env=environment(folder), stdout=file, stderr=file, text=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            seen(lambda: process.poll() is not None or _answers(url), 300)
            told = output.read_text().split("OUTBOUND_WITNESSES=", 1)[1].split(" ", 1)[0]
            yield Running(Verifier.of(told), url, output, process)
        finally:
            process.terminate()
            process.wait(300)
