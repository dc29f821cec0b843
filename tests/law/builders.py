"""Facts with defaults."""

from collections.abc import Iterable
from datetime import date
from typing import Any

from service.law.determination import Item
from service.law.facts import Facts
from service.law.schemas import FactsIn

TODAY = date(2026, 11, 24)


def a_case(as_of: date = TODAY, **parts: Any) -> Facts:
    """Return facts: personal data of one person to Singapore, save for what is said."""
    body = {
        "as_of": as_of.isoformat(),
        "handler": {"ciio": False, "pi_subjects": 50_000} | parts.get("handler", {}),
        "dataset": {"tags": ["personal"]} | parts.get("dataset", {}),
        "recipient": {"country": "SG"} | parts.get("recipient", {}),
        "transfer": {"persons": 1} | parts.get("transfer", {}),
        "ledger": parts.get("ledger", {}),
    }
    return FactsIn.model_validate(body).facts(TODAY)


def codes(items: Iterable[Item]) -> set[str]:
    return {item.code for item in items}
