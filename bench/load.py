"""Load on one address: what every connection sends over and over, and what came back.

The generator is k9 (a wheel with a native engine, locked with the other development dependencies), so that it is the same on every
machine. It sends each body anew, keeps its connections open, and looks at every answer: status and text. `wrk`, where it is on PATH,
is asked as a second witness of the same rate; it looks at the status alone.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

STATUSES: Final = (0, 200, 201, 400, 401, 403, 404, 409, 413, 415, 422, 428, 429, 500, 502, 503, 504)
"""What an answer may come with; 0: no answer."""

GRACE: Final = 60
"""Seconds after its time in which a generator must have ended."""

RANDOM: Final = re.compile(r"\{\{ randomInt\((\d+), (\d+)\) \}\}")


class LoadError(RuntimeError):
    """The generator itself did not run."""


@dataclass(frozen=True, slots=True)
class Request:
    """What each connection sends.

    Args:
        url: an address on 127.0.0.1.
        body: its text; `{{ randomInt(1, 9) }}` and `{{ uuid() }}` are filled in anew each time.
        expects: a text that every answer must hold.
        headers: sent with each; filled in likewise.
        status: what every answer must come with.
        refused: another status that is no failure.
        bodies: whole bodies of which each request takes one at random, instead of `body`.
        decisions: how many decisions one request asks for.
    """

    url: str
    body: str
    expects: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    refused: int | None = None
    bodies: Sequence[str] = ()
    decisions: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of load measured: requests a second, milliseconds, answers by status, cores kept busy."""

    rate: float
    median: float
    p99: float
    statuses: Mapping[int, int]
    wrong: int
    """Answers of another status, or without the expected text."""
    cores: Mapping[str, float] = field(default_factory=dict)
    decisions: int = 1

    @property
    def answers(self) -> int:
        """How many answers came."""
        return sum(self.statuses.values())

    @property
    def decision_rate(self) -> float:
        """Decisions a second."""
        return self.rate * self.decisions

    def fault(self) -> str | None:
        """Return in words why this run does not count, or None."""
        if self.answers == 0:
            return "no answer at all"
        if self.wrong:
            told = ", ".join(f"{count} with {status or 'no answer'}" for status, count in self.statuses.items())
            return f"{self.wrong} of {self.answers} answers were not what was expected ({told})"
        return None


def run(request: Request, connections: int, seconds: float, folder: Path) -> Run:
    """Send a request from some connections for some seconds, and return what was measured.

    Raises:
        LoadError: the generator could not do it.
    """
    plan, summary = folder / "plan.json", folder / "summary.json"
    plan.write_text(json.dumps(_plan(request, connections, seconds, folder)), "utf-8")
    summary.unlink(missing_ok=True)
    spent = _spent()
    command = [sys.executable, "-m", "k9", "run", "--quiet", "--no-color", "--summary-export", str(summary), str(plan)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE, check=False)
    if ended.returncode != 0 or not summary.exists():
        raise LoadError(f"The load generator ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return _told(json.loads(summary.read_text("utf-8")), request, (_spent() - spent) / seconds)


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


def _spent() -> float:
    """Return the processor seconds of all generators that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# The second witness

LUA: Final = """
local bodies, headers = {}, {%(headers)s}
function init()
  math.randomseed(os.time())
  for place = 1, 20000 do bodies[place] = wrk.format("POST", nil, headers, string.format(%(body)s, %(arguments)s)) end
end
function request() return bodies[math.random(#bodies)] end
"""


def witness(request: Request, connections: int, seconds: int, folder: Path) -> float | None:
    """Return the rate that wrk measures; None where it is not on PATH, or an answer was not 2xx.

    Of a body's variables it knows random numbers only.
    """
    command = shutil.which("wrk")
    if command is None:
        return None
    script = folder / "witness.lua"
    script.write_text(_lua(request), "utf-8")
    told = subprocess.run(
        [command, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), request.url],
        capture_output=True,
        text=True,
        timeout=seconds + GRACE,
        check=False,
    ).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    return None if found is None or "Non-2xx" in told or "Socket errors" in told else float(found[1])


def _lua(request: Request) -> str:
    headers = {"Content-Type": "application/json", **request.headers}
    bounds = RANDOM.findall(request.body)
    return LUA % {
        "headers": ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()),
        "body": json.dumps(RANDOM.sub("%d", request.body.replace("%", "%%"))),
        "arguments": ", ".join(f"math.random({low}, {high})" for low, high in bounds) or "nil",
    }
