"""Each page says the same in English and in Simplified Chinese."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import pytest

from tests.translations import CHINESE, PAGES, ROOT, Section, differences, read, sections

FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OTHER_TERMS = ("审批人员", "出境关口", "出境闸的", "回答", "封存", "不予放行", "应急访问", "用途")
"""Chinese words for which docs/terms.md has another one."""


@pytest.mark.parametrize("page", PAGES)
def test_each_section_is_translated_from_the_english_of_today(page: str) -> None:
    assert list(differences(read(page), read(PAGES[page]))) == []


@pytest.mark.parametrize(("page", "twin"), PAGES.items())
def test_a_page_leads_to_the_other_language(page: str, twin: str) -> None:
    for one, other in ((page, twin), (twin, page)):
        link = os.path.relpath(ROOT / other, (ROOT / one).parent)
        assert f"]({link})" in (ROOT / one).read_text("utf-8")


@pytest.mark.parametrize("twin", PAGES.values())
def test_a_chinese_page_is_in_chinese_and_keeps_to_the_terms(twin: str) -> None:
    text = FENCES.sub("", (ROOT / twin).read_text("utf-8"))
    sentences = [line for line in text.splitlines() if len(line) > 60 and not line.startswith(("|", "!["))]
    assert all(CHINESE.search(line) for line in sentences)
    assert [term for term in OTHER_TERMS if term in text] == []


def translated(english: list[Section]) -> list[Section]:
    return [replace(section, body=f"<!-- en {section.digest} -->\n{section.body}") for section in english]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Ask it twice.", "Ask it once.", "translate it again"),
        ("Ask it twice.", "Ask it\ntwice.", None),
        ("run --now", "run --later", "the code blocks differ"),
        ("`once`", "`twice`", "the translation lacks twice"),
        ("# at once", "# soon", None),
        ("| a | b |", "| a |", "the tables differ"),
        ("## Ask", "### Ask", "the headings differ"),
    ],
)
def test_a_change_of_the_english_page_is_named(old: str, new: str, complaint: str | None) -> None:
    text = "# Page\n\n## Ask\n\nAsk it twice. Set `once`.\n\n```sh\nrun --now  # at once\n```\n\n| a | b |\n"
    chinese = translated(sections(text))
    assert list(differences(sections(text), chinese)) == []
    found = " ".join(differences(sections(text.replace(old, new)), chinese))
    assert (complaint in found) if complaint else not found
