"""Ours, started as a user starts it, and the questions that are asked of it."""

import json
import sys
from pathlib import Path
from typing import Any

from bench.request import Request
from bench.servers import Server

LOG_KEY = "log_key.pem"
RECIPIENT, PURPOSE, SYSTEM = "bench-recipient", "analytics", "bench-exporter"


def serve(url: str, folder: Path, workers: int = 1, *, sequencer: bool = True) -> Server:
    """Return `outbound serve` on a database; all of one run keep their logs with one key."""
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "{port}", "--workers", str(workers)]
    settings = {
        "OUTBOUND_DATABASE_URL": url,
        "OUTBOUND_DATA_DIR": str(folder / "data"),
        "OUTBOUND_LOG_KEY_FILE": str(folder.parent / LOG_KEY),
        "OUTBOUND_SEQUENCER": str(sequencer),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return Server(command, folder, settings, probe="/livez")


def question(dataset: str) -> dict[str, Any]:
    """Return an evaluation request."""
    return {
        "subject": {"type": "system", "id": SYSTEM},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset},
        "context": {"recipient": RECIPIENT, "purpose": PURPOSE, "persons": 12, "sensitive_persons": 0},
    }


def evaluation(base: str, key: str, size: int) -> Request:
    """Ask about one of the register's datasets, another one each time."""
    return Request(
        url=f"{base}/access/v1/evaluation",
        body=json.dumps(question(f"bench/{{{{ randomInt(1, {size}) }}}}")),
        headers=bearer(key),
        expects='"reason":"permitted"',
    )


def bearer(key: str) -> dict[str, str]:
    """Return the header that says who asks."""
    return {"Authorization": f"Bearer {key}"}
