"""Texts of obligations, with the articles that they come from."""

from collections.abc import Mapping
from typing import Any, Final

from service.obligations.obligation_rules import Code
from service.words.catalogue import load_catalogue, texts_by_key

_CITATIONS: Final[Mapping[Code, list[dict[str, str]]]] = {
    Code.FILE_STANDARD_CONTRACT: [{"instrument": "SCM", "article": "7"}],
    Code.RENEW_ASSESSMENT: [{"instrument": "SAM", "article": "14"}, {"instrument": "CBDF", "article": "9"}],
    Code.RENEW_IMPACT_ASSESSMENT: [{"instrument": "PIPL", "article": "55"}, {"instrument": "PIPL", "article": "56"}],
    Code.ANNUAL_RISK_REPORT: [{"instrument": "DSL", "article": "30"}, {"instrument": "NDSMR", "article": "33"}],
    Code.CATALOGUE_REFILING: [{"instrument": "MIIT", "article": "12"}],
}

TEXTS: Final[Mapping[Code, Mapping[str, Any]]] = {
    code: {**texts, "citations": _CITATIONS[code]}
    for code, texts in texts_by_key(load_catalogue("obligations"), Code).items()
}
"""Texts by code: English, Chinese and citations."""
