"""The words: deciding facts, numbers and articles, in English and Chinese."""

from datetime import date
from typing import Any

import pytest

from service.law.determination import determine
from service.law.explanation import format_citations, render_determination
from service.law.rule_book import Citation
from tests.law.builders import a_case
from tests.law.strategies import BOOK


def explained(**parts: Any) -> tuple[str, str]:
    facts = a_case(**parts)
    told = render_determination(facts, determine(facts, BOOK), BOOK)["explanation"]
    return told["en"], told["zh"]


def test_it_names_day_place_numbers_and_articles() -> None:
    english, chinese = explained(transfer={"persons": 120_000}, ledger={"this_year": {"persons": 5}})
    for part in ("2026-11-24", "Singapore (SG)", "120,005", "100,000", "CBDF art. 8", "not legal advice"):
        assert part in english
    for part in ("2026-11-24", "新加坡（SG）", "120005", "100000", "CBDF第8条", "不构成法律意见"):
        assert part in chinese


@pytest.mark.parametrize(
    ("parts", "english", "chinese"),
    [
        ({"recipient": {"country": "CN"}}, "does not cross the border", "数据未出境"),
        ({"transfer": {"persons": 1, "method": "remote_access"}}, "accessed from", "远程访问"),
        ({"transfer": {"persons": 1, "method": "overseas_collection"}}, "counts as an export", "视为数据出境"),
        ({"dataset": {"tags": []}, "transfer": {"persons": 0}}, "general data", "一般数据"),
        ({"recipient": {"restricted": True}}, "prohibited", "禁止出境"),
        ({"transfer": {"persons": 1, "necessity": "hr"}}, "manage staff", "人力资源管理"),
        ({"as_of": date(2022, 12, 1)}, "PIPL art. 38", "PIPL第38条"),
        ({"as_of": date(2021, 9, 30)}, "not yet in force", "尚未施行"),
    ],
)
def test_it_tells_what_decided(parts: dict[str, Any], english: str, chinese: str) -> None:
    told = explained(**parts)
    assert english in told[0]
    assert chinese in told[1]


def test_it_says_whether_the_persons_count() -> None:
    assert "count toward the handler's total" in explained()[0]
    assert "count toward the handler's total" not in explained(transfer={"persons": 1, "necessity": "hr"})[0]


def test_every_item_has_a_text_in_both_languages() -> None:
    facts = a_case(
        handler={"in_gba": True, "listing_abroad": True, "platform_users": 2_000_000},
        dataset={"tags": ["core", "important", "sensitive"], "contains_minors": True, "ftz_list": "unlisted"},
        recipient={"country": "HK", "in_gba": True, "kind": "judicial_or_enforcement"},
        transfer={"persons": 1, "sensitive_persons": 1},
    )
    told = render_determination(facts, determine(facts, BOOK), BOOK)
    for part in ("obligations", "evidence", "warnings", "exposure"):
        assert told[part]
        for item in told[part]:
            assert item["text"]["en"]
            assert item["text"]["zh"]
            assert item["text"]["en"] != item["text"]["zh"]


def test_an_instrument_without_an_article_is_cited_as_a_whole() -> None:
    cited = (Citation("SCM", "4"), Citation("CERT-2025", None))
    assert format_citations(cited, 0) == "SCM art. 4; CERT-2025"
    assert format_citations(cited, 1) == "SCM第4条；CERT-2025"
