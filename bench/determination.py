"""How long a determination takes in-process, without and with its texts, over the scenarios of the specification."""

import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from service.law import loader
from service.law.determination import determine
from service.law.explanation import render_determination
from service.law.facts import Facts
from service.law.schemas import FactsIn

CASES = Path(__file__).parent.parent / "tests" / "law" / "cases.json"
ROUNDS = 200


def run() -> dict[str, float]:
    """Return microseconds: the median and the 99th percentile of one determination, without and with texts."""
    book = loader.load()
    today = date(2026, 11, 24)
    facts = [FactsIn.model_validate(case["facts"]).facts(today) for case in json.loads(CASES.read_text("utf-8"))]
    bare = _measure(facts, lambda one: determine(one, book))
    told = _measure(facts, lambda one: render_determination(one, determine(one, book), book))
    return {
        "determination, median": statistics.median(bare),
        "determination, p99": statistics.quantiles(bare, n=100)[98],
        "with texts, median": statistics.median(told),
        "with texts, p99": statistics.quantiles(told, n=100)[98],
    }


def _measure(facts: list[Facts], work: Callable[[Facts], object]) -> list[float]:
    taken: list[float] = []
    for _ in range(ROUNDS):
        for one in facts:
            start = time.perf_counter()
            work(one)
            taken.append((time.perf_counter() - start) * 1e6)
    return taken
