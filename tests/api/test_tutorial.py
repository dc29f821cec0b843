"""The tutorial is true: each of its commands runs, in order, against a service that has just been started."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.faults.test_process import environment, serving

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    with serving(tmp_path / "data") as (address, _, _):
        script = "set -euxo pipefail\n" + "\n".join(blocks).replace("http://127.0.0.1:8000", address)
        env = environment(tmp_path / "data")
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        told = subprocess.run(
            ["bash", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
        )
    assert told.returncode == 0, told.stderr[-3000:] + told.stdout[-2000:]
