"""Load by wrk, where it is on PATH: it sends each body anew, keeps its connections open, and looks at the status of every answer."""

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.request import GRACE, RANDOM, UUID, LoadError, Request, Run, generators_spent

PREPARED: Final = 20_000
"""Requests with random numbers that are made before the load begins, and taken at random; one with a UUID is made when it is sent."""
MARK: Final = "measured: "
"""Begins the line on which the script tells what was measured."""

SCRIPT: Final = """
local random, prepared = math.random, {}
local texts, headers = {%(texts)s}, {%(headers)s}
local bounds, header = {%(bounds)s}, %(header)s
local function uuid()
  local made = string.gsub("xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx", "x", function() return string.format("%%x", random(0, 15)) end)
  return made
end
local function made(text)
  local numbers = {}
  for place, pair in ipairs(bounds) do numbers[place] = random(pair[1], pair[2]) end
  return wrk.format("POST", nil, headers, #bounds > 0 and string.format(text, unpack(numbers)) or text)
end
function init()
  math.randomseed(%(seed)d)
  if header then return end
  local count = #bounds > 0 and %(prepared)d or #texts
  for place = 1, count do prepared[place] = made(texts[(place - 1) %% #texts + 1]) end
end
function request()
  if not header then return prepared[random(#prepared)] end
  headers[header] = uuid()
  return made(texts[random(#texts)])
end
function done(summary, latency, _)
  local failed = summary.errors
  print(string.format(
    "%(mark)s{\\"answers\\": %%d, \\"microseconds\\": %%d, \\"median\\": %%d, \\"p99\\": %%d, \\"refused\\": %%d, \\"lost\\": %%d}",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed.status,
    failed.connect + failed.read + failed.write + failed.timeout
  ))
end
"""


def run(request: Request, connections: int, seconds: float, folder: Path) -> Run:
    """Send a request from some connections for some seconds, rounded to whole ones, and return what was measured.

    Raises:
        LoadError: the generator could not do it.
    """
    script = folder / "load.lua"
    script.write_text(_script(request), "utf-8")
    whole = max(1, round(seconds))
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{whole}s", "--timeout", f"{GRACE}s"]
    before = generators_spent()
    ended = subprocess.run(
        [shutil.which("wrk") or "wrk", *options, "--script", str(script), request.url],
        capture_output=True,
        text=True,
        timeout=whole + GRACE,
        check=False,
    )
    found = re.search(f"^{MARK}(.*)$", ended.stdout, re.MULTILINE)
    if ended.returncode != 0 or found is None:
        raise LoadError(f"wrk ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-500:]}")
    return _told(json.loads(found[1]), request, generators_spent() - before)


def _script(request: Request) -> str:
    """Return the script; numbers and UUIDs are filled in as k9 fills them in."""
    bounds = RANDOM.findall(request.body)
    body = RANDOM.sub("%d", request.body.replace("%", "%%")) if bounds else request.body
    headers = {"Content-Type": "application/json", **request.headers}
    unique = [name for name, value in headers.items() if value == UUID]
    return SCRIPT % {
        "texts": ", ".join(_quoted(text) for text in request.bodies or [body]),
        "headers": ", ".join(f"[{_quoted(name)}] = {_quoted(value)}" for name, value in headers.items()),
        "bounds": ", ".join(f"{{{low}, {high}}}" for low, high in bounds),
        "header": _quoted(unique[0]) if unique else "nil",
        "seed": secrets.randbits(31),
        "prepared": PREPARED,
        "mark": MARK,
    }


def _quoted(text: str) -> str:
    """Return a text as Lua reads it."""
    return '"' + re.sub(r'[\\"\n\r\0]', lambda found: f"\\{ord(found[0]):03}", text) + '"'


def _told(measured: dict[str, Any], request: Request, generator: float) -> Run:
    seconds = measured["microseconds"] / 1e6
    refused, lost = measured["refused"], measured["lost"]
    statuses = {request.status: measured["answers"] - refused, 0: refused + lost}
    return Run(
        rate=measured["answers"] / seconds,
        median=measured["median"] / 1000,
        p99=measured["p99"] / 1000,
        statuses={status: count for status, count in statuses.items() if count},
        wrong=refused + lost,
        cores={"generator": generator / seconds},
        decisions=request.decisions,
    )
