"""An evidence pack of many decisions: made by the service, then verified as an auditor does, beside reading and hashing alone."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import httpx

from bench.contestants import outbound
from bench.register import FIRST, HANDLER, Register, sql
from bench.report import Bar, Section, figure, ratio_told
from bench.servers import ended
from bench.stage import Stage, say

MOST_MEMORY: Final = 300
MOST_TIMES: Final = 3
PATIENCE: Final = 600
"""Seconds until all entries have their places, and until the pack must be ready."""

MANY: Final = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select at, actor, action, id, handler, body, sha256(convert_to(body, 'UTF8')) from (
    select e.at, e.actor, e.action, e.handler, made.id, replace(e.body, e.subject, made.id) as body
    from (select * from entries where action = 'gate.evaluated' order by seq limit 1) e
    cross join (select 'ev_' || lpad(n::text, 26, '0') as id from generate_series(1, {number}) n) made
  ) copies
"""
"""Copies of one decision, each with an id of its own."""

READING: Final = """
import hashlib, sys, zipfile
count, rest = 0, b""
with zipfile.ZipFile(sys.argv[1]).open("entries.ndjson") as file:
    while chunk := file.read(1 << 18):
        *lines, rest = (rest + chunk).split(b"\\n")
        for line in lines:
            hashlib.sha256(b"\\0" + line[line.index(b'"body":') + 7 : -1]).digest()
            count += 1
assert count >= int(sys.argv[2])
"""
"""A program that reads the entries of a pack and hashes each, and nothing else."""


def run(stage: Stage) -> Section:
    """Make one pack, and verify it round by round."""
    is_full = stage.pace.sizes[2] >= 1_000_000  # noqa: PLR2004 - as the bars have it
    entries = 1_000_000 if is_full else 50_000
    register = _register(stage)
    folder = stage.folder / "outbound-packs"
    with (
        outbound.serve(register.url, folder) as server,
        httpx.Client(base_url=server.base, timeout=60, headers=outbound.bearer(register.auditor)) as auditor,
    ):
        asked = httpx.post(
            f"{server.base}/access/v1/evaluation",
            json=outbound.question("bench/0"),
            headers=outbound.bearer(register.key),
            timeout=60,
        )
        if not asked.json()["decision"]:
            raise RuntimeError(f"The measured permit allows nothing: {asked.text}")
        sql(register.url, MANY.format(number=entries))
        _wait(lambda: auditor.get("/v1/audit/health").raise_for_status().json()["waiting"] == 0)
        began = time.monotonic()
        pack = _made(auditor)
        taken = time.monotonic() - began
        held = server.memory()
        path = stage.folder / "pack.zip"
        with auditor.stream("GET", f"/v1/evidence-packs/{pack}/content") as answer, path.open("wb") as file:
            for chunk in answer.raise_for_status().iter_bytes():
                file.write(chunk)
        key = auditor.get("/tlog/vkey").text.splitlines()[0]
    say(f"  packs: {entries:,} entries in {taken:.1f} s, {path.stat().st_size / 2**20:.0f} MiB")
    verifying = [sys.executable, "-m", "service.verifier.pack", str(path), "--vkey", key]
    reading = [sys.executable, "-c", READING, str(path), str(entries)]
    rounds: list[tuple[float, float, float]] = []
    for number in range(stage.pace.rounds):
        least, whole = ended(reading), ended(verifying)
        rounds.append((least.seconds, whole.seconds, whole.peak))
        say(
            f"  packs, round {number + 1}: read in {least.seconds:.1f} s, verified in {whole.seconds:.1f} s, {whole.peak:.0f} MiB"
        )
    return _section(entries, taken, 0.0 if held is None else held.peak, rounds)


def _register(stage: Stage) -> Register:
    """Return a database with the first permit alone, which has all of its story."""
    small = stage.register(stage.pace.sizes[0])
    return replace(small, url=stage.cluster.copy("packs", FIRST))


def _made(auditor: httpx.Client) -> str:
    """Ask for a pack of the handler, and return its id once it is ready."""
    wanted: dict[str, Any] = {"handler": HANDLER}
    pack: str = auditor.post("/v1/evidence-packs", json=wanted).raise_for_status().json()["id"]

    def is_ready() -> bool:
        shown = auditor.get(f"/v1/evidence-packs/{pack}").raise_for_status().json()
        if shown["state"] == "failed":
            raise RuntimeError(f"The pack could not be made: {shown}")
        return bool(shown["state"] == "ready")

    _wait(is_ready)
    return pack


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError(f"Waited for {PATIENCE} s in vain")
        time.sleep(0.2)


def _section(entries: int, taken: float, held: float, rounds: list[tuple[float, float, float]]) -> Section:
    times = statistics.median(all_of_it / least for least, all_of_it, _ in rounds)
    peak = max(each[2] for each in rounds)
    return Section(
        "packs",
        {
            "entries": f"{entries:,}",
            "taken": figure(taken, 1),
            "held": figure(held),
            "reading": figure(statistics.median(each[0] for each in rounds), 1),
            "verifying": figure(statistics.median(each[1] for each in rounds), 1),
            "peak": figure(peak),
        },
        bars=[
            Bar(
                f"`outbound verify` of {entries:,} entries against reading and hashing them",
                f"at most {MOST_TIMES} times, and under {MOST_MEMORY} MiB",
                f"{ratio_told(times)} times, {peak:.0f} MiB at its peak",
                times <= MOST_TIMES and peak < MOST_MEMORY,
            )
        ],
    )
