"""The ledger: a million persons' hashes in one report, how long it takes and how far the count is off."""

import json
import secrets
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx

from bench.contestants import outbound
from bench.register import HANDLER, Register
from bench.report import Bar, Section, figure, table
from bench.stage import Stage, say

PERSONS: Final = 1_000_000
SIZE: Final = 16
MOST_SECONDS: Final = 2.0
MOST_ERROR: Final = 0.01
WHAT: Final = "person hashes counted"
WANTED: Final = "1,000,000 in a request in under 2 s, error below 1 %"
TELLS: Final = ("estimate", "estimated")


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a million hashes: how long it took, and how many persons the year has come to."""

    seconds: float
    truth: int
    told: float | None

    @property
    def error(self) -> float | None:
        """How far the count is off, as a share."""
        return None if self.told is None else abs(self.told - self.truth) / self.truth


def run(stage: Stage) -> Section:
    """Reserve and report, in the lane whose permits allow it; half of the persons of each are in all of them."""
    register = stage.register(stage.pace.sizes[1])
    lane = stage.pace.lanes - 1
    with ExitStack() as stack:
        server = stage.serve(stack, register)
        http = stack.enter_context(httpx.Client(base_url=server.base, timeout=60))
        reports: list[Report] = []
        # Half of the persons come again: a count can be capped at the hashes reported, which would hide that it is too high.
        again = secrets.token_bytes(PERSONS * SIZE // 2)
        for number in range(stage.pace.rounds + 1):
            try:
                report = _report(http, register, lane, number, again)
            except _RefusedError as refused:
                if refused.is_missing:
                    say(f"  hashes: skipped, this server does not take hashes yet ({refused})")
                    return _skipped(str(refused))
                stage.fail(f"hashes: {refused}")
                break
            say(f"  hashes, report {number}: {report.seconds:.2f} s, error {report.error}")
            reports.append(report)
    return _section(reports)


class _RefusedError(Exception):
    """A report was not taken; `is_missing`: since this server knows no reports of hashes."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
        self.is_missing = answer.status_code in {404, 413, 415, 422}


def _report(http: httpx.Client, register: Register, lane: int, number: int, again: bytes) -> Report:
    bearer = outbound.bearer(register.key)
    dataset = f"bench/{register.lane(lane)[number]}"
    wanted = {"dataset": dataset, "recipient": outbound.RECIPIENT, "purpose": outbound.PURPOSE, "persons": PERSONS}
    made = http.post("/v1/exports", json=wanted | {"sensitive_persons": 0}, headers=bearer)
    if made.status_code != 201:  # noqa: PLR2004 - created
        raise RuntimeError(f"The reservation for a million persons was refused: {made.text}")
    hashes = again + secrets.token_bytes(PERSONS * SIZE // 2)
    began = time.perf_counter()
    headers = bearer | {"Content-Type": "application/octet-stream"}
    done = http.post(f"/v1/exports/{made.json()['id']}/complete", content=hashes, headers=headers)
    taken = time.perf_counter() - began
    if done.is_error:
        raise _RefusedError(done)
    key = f"{HANDLER}-{lane}"
    year = http.get(f"/v1/handlers/{key}/ledger", headers=outbound.bearer(register.auditor))
    told = None if year.is_error else estimate(year.json())
    return Report(taken, PERSONS // 2 * (number + 2), told)


def estimate(ledger: Mapping[str, Any]) -> float | None:
    """Return the estimate of persons (not of sensitive ones) in a view of the ledger, wherever it stands there."""
    return next(_estimates(ledger), None)


def _estimates(value: object) -> Iterator[float]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            if "sensitive" in str(name) or (value.get("kind") == "sensitive_persons"):
                continue
            if name in TELLS and isinstance(member, int | float):
                yield float(member)
            else:
                yield from _estimates(member)
    elif isinstance(value, list):
        for member in value:
            yield from _estimates(member)


def _skipped(why: str) -> Section:
    told = f"Not measured: the server does not take hashes ({json.dumps(why, ensure_ascii=False)})."
    return Section("hashes", {"table": told}, bars=[Bar(WHAT, WANTED, "not measured", None)])


def _section(reports: list[Report]) -> Section:
    # The first report warms the server up; its persons count all the same.
    measured = reports[1:]
    rows = [[f"{report.truth:,}", figure(report.seconds, 2), _percent(report.error)] for report in measured]
    head = ("persons of the year after it", "seconds of the report", "error of the estimate")
    if not measured:
        return Section("hashes", {"table": "Not measured."}, bars=[Bar(WHAT, WANTED, "not measured", None)])
    seconds = statistics.median(report.seconds for report in measured)
    errors = [report.error for report in measured if report.error is not None]
    worst = max(errors, default=None)
    is_met = None if worst is None else seconds < MOST_SECONDS and worst < MOST_ERROR
    bar = Bar(WHAT, WANTED, f"{seconds:.2f} s, error {_percent(worst)}", is_met)
    return Section("hashes", {"table": table(head, rows)}, bars=[bar])


def _percent(share: float | None) -> str:
    return "not told" if share is None else f"{share * 100:.2f} %"
