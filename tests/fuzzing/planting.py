"""Which texts of a request are sealed in the log, and how they are marked, to be known wherever they turn up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "planted-"
_MARKED: Final = re.compile(rf" ?{MARK}[0-9a-f]+")

_OF: Final[Mapping[str, str]] = {
    "POST /v1/break-glass": "reason",
    "POST /v1/datasets": "title owner description",
    "PATCH /v1/datasets/{dataset_id}": "title owner description",
    "POST /v1/datasets/{dataset_id}/gradings": "basis catalogue reason",
    "POST /v1/datasets/{dataset_id}/gradings/{number}/confirm": "catalogue reason",
    "POST /v1/delegations": "reason",
    "POST /v1/fact-changes/{change_id}/confirm": "reason",
    "POST /v1/fact-changes/{change_id}/refuse": "reason",
    "POST /v1/findings/{finding_id}/answer": "reason",
    "POST /v1/gradings": "basis catalogue reason",
    "POST /v1/handlers": "name group",
    "PATCH /v1/handlers/{handler_id}": "name group",
    "POST /v1/obligations/{obligation_id}/complete": "note",
    "POST /v1/obligations/{obligation_id}/reopen": "reason",
    "POST /v1/permits/{permit_id}/amend": "reason",
    "POST /v1/permits/{permit_id}/resume": "reason",
    "POST /v1/permits/{permit_id}/revoke": "reason",
    "POST /v1/permits/{permit_id}/suspend": "reason",
    "POST /v1/principals": "name",
    "POST /v1/recipients": "name group",
    "PATCH /v1/recipients/{recipient_id}": "name group",
    "POST /v1/transfers": "description",
    "PATCH /v1/transfers/{transfer_id}": "description",
    "POST /v1/transfers/{transfer_id}/assign": "reason",
    "POST /v1/transfers/{transfer_id}/comments": "text",
    "POST /v1/transfers/{transfer_id}/evidence": "issuer note reference",
    "POST /v1/transfers/{transfer_id}/evidence/{evidence_id}/withdraw": "reason",
    "POST /v1/transfers/{transfer_id}/recuse": "reason",
    "POST /v1/transfers/{transfer_id}/renew": "description",
    "POST /v1/transfers/{transfer_id}/reviews": "comment",
    "POST /v1/transfers/{transfer_id}/reviews/{review_id}/carry-over": "comment",
    "POST /v1/transfers/{transfer_id}/reviews/{review_id}/take-back": "reason",
    "POST /v1/transfers/{transfer_id}/withdraw": "reason",
}
SEALED: Final[Mapping[str, frozenset[str]]] = {route: frozenset(names.split()) for route, names in _OF.items()}
"""What people write, by operation: none of it may stand in the log in clear. The name of a system does."""


def planted(text: str, number: int) -> str:
    """Return a text with a mark in it that no other text has."""
    return f"{text[:60].strip()} {MARK}{number:x}".strip()


def unmarked(value: Any) -> Any:
    """Return a value without marks in any of its texts: what was read in an answer may be sent where it stands in clear."""
    if isinstance(value, str):
        return _MARKED.sub("", value)
    if isinstance(value, list):
        return [unmarked(one) for one in value]
    return {unmarked(name): unmarked(one) for name, one in value.items()} if isinstance(value, dict) else value
