"""Load by k9: it sends each body anew, keeps its connections open, and looks at every answer, status and text."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.request import GRACE, LoadError, Request, Run, generators_spent

STATUSES: Final = (0, 200, 201, 400, 401, 403, 404, 409, 413, 415, 422, 428, 429, 500, 502, 503, 504)
"""What an answer may come with; 0: no answer."""

ONE_THREAD: Final = {"TOKIO_WORKER_THREADS": "1"}
"""As of wrk: with one for each processor a request takes a quarter more of them."""


def run(request: Request, connections: int, seconds: float, folder: Path) -> Run:
    """Send a request from some connections for some seconds, and return what was measured.

    Raises:
        LoadError: the generator could not do it.
    """
    plan, summary = folder / "plan.json", folder / "summary.json"
    plan.write_text(json.dumps(_plan(request, connections, seconds, folder)), "utf-8")
    summary.unlink(missing_ok=True)
    spent = generators_spent()
    command = [sys.executable, "-m", "k9", "run", "--quiet", "--no-color", "--summary-export", str(summary), str(plan)]
    ended = subprocess.run(
        command, env=os.environ | ONE_THREAD, capture_output=True, text=True, timeout=seconds + GRACE, check=False
    )
    if ended.returncode != 0 or not summary.exists():
        raise LoadError(f"The load generator ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return _told(json.loads(summary.read_text("utf-8")), request, (generators_spent() - spent) / seconds)


def _plan(request: Request, connections: int, seconds: float, folder: Path) -> dict[str, Any]:
    statuses = [request.status] + ([] if request.refused is None else [request.refused])
    checks: dict[str, Any] = {"status": {"status": statuses}}
    if request.refused is None:
        checks["text"] = {"bodyContains": request.expects}
    sent = {
        "method": "POST",
        "url": request.url,
        "headers": {"Content-Type": "application/json", **request.headers},
        "body": request.body,
        "checks": checks,
    }
    plan: dict[str, Any] = {
        "options": {
            "vus": connections,
            "duration": f"{round(seconds * 1000)}ms",
            "summaryTrendStats": ["med", "p(99)"],
            "systemTags": ["status", "check"],
            # A threshold makes the generator count the answers of that status by themselves; none of these can be crossed.
            "thresholds": {f"http_reqs{{status:{status}}}": ["count>=0"] for status in STATUSES},
        },
        "flows": {"default": [{"request": sent}]},
    }
    if request.bodies:
        file = folder / "bodies.json"
        file.write_text(json.dumps([{"body": body} for body in request.bodies]), "utf-8")
        plan["feeders"] = {"bodies": {"file": str(file), "mode": "random"}}
        sent["body"] = "{{ bodies.body }}"
    return plan


def _told(summary: Mapping[str, Any], request: Request, generator: float) -> Run:
    metrics = summary["metrics"]
    counted = {status: int(metrics.get(f"http_reqs{{status:{status}}}", {}).get("count", 0)) for status in STATUSES}
    statuses = {status: count for status, count in counted.items() if count}
    total = int(metrics["http_reqs"]["count"])
    if total > sum(statuses.values()):
        raise LoadError(f"{total - sum(statuses.values())} answers came with a status that is not foreseen.")
    duration = metrics["http_req_duration"]
    return Run(
        rate=float(metrics["http_reqs"]["rate"]),
        median=float(duration["med"]),
        p99=float(duration["p(99)"]),
        statuses=statuses,
        wrong=max((int(check["fails"]) for check in summary["root_group"]["checks"]), default=total),
        cores={"generator": generator},
        decisions=request.decisions,
    )
