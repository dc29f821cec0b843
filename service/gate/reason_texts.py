"""Texts of the gate's reasons, and next steps after a denial."""

from collections.abc import Mapping
from typing import Final

from service.gate.decide import Reason
from service.words.catalogue import load_catalogue, texts_by_key

REASONS: Final[Mapping[Reason, Mapping[str, str]]] = texts_by_key(load_catalogue("gate_reasons"), Reason)

_REQUEST: Final = {"href": "/v1/transfers", "method": "POST"}
NEXT: Final[Mapping[Reason, Mapping[str, str]]] = {
    Reason.DATASET_UNKNOWN: {"href": "/v1/datasets", "method": "POST"},
    Reason.RECIPIENT_UNKNOWN: {"href": "/v1/recipients", "method": "POST"},
    Reason.TAGS_CONTRADICTED: {"href": "/v1/gradings", "method": "POST"},
    Reason.GRADING_OUTDATED: {"href": "/v1/gradings", "method": "POST"},
} | dict.fromkeys(
    (
        Reason.NO_PERMIT,
        Reason.PERMIT_REVOKED,
        Reason.PERMIT_EXPIRED,
        Reason.GRADING_CHANGED,
        Reason.PURPOSE_NOT_COVERED,
        Reason.FIELDS_NOT_COVERED,
        Reason.SYSTEM_NOT_COVERED,
        Reason.QUOTA_EXCEEDED,
        Reason.LEDGER_THRESHOLD,
    ),
    _REQUEST,
)
"""Next step after a denial, by reason."""
