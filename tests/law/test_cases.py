"""The scenarios of the specification."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from service.law.determination import determine
from service.law.facts import find_faults
from service.law.schemas import FactsIn
from tests.law.strategies import BOOK

CASES = json.loads((Path(__file__).parent / "cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=[f"{case['id']} {case['title']}" for case in CASES])
def test_scenario(case: dict[str, Any]) -> None:
    facts = FactsIn.model_validate(case["facts"]).facts(date(2026, 11, 24))
    assert find_faults(facts) == ()
    found, expected = determine(facts, BOOK), case["expect"]
    assert {
        "mechanism": found.mechanism,
        "exemption": found.exemption,
        "routes": list(found.routes),
        "requirements": sorted((r.rule, r.mechanism) for r in found.requirements),
        "obligations": sorted(item.code for item in found.obligations),
        "counts_toward_ledger": found.counts_toward_ledger,
    } == expected | {
        "requirements": sorted((r["rule"], r["mechanism"]) for r in expected["requirements"]),
        "obligations": sorted(expected["obligations"]),
    }
