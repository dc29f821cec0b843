"""README, documentation and decisions use the field's terms: words of before do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "bench").rglob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
OLD_WORDS = re.compile(
    r"\b(whoever|told|telling|sealed|paper|papers|lanes?|seats?|hearts?|nobody|the shortest way)\b", re.IGNORECASE
)
OLD_BEGINNINGS = re.compile(r"^(?:#+ )?(What|Who|Whoever|Whose|Whether) ", re.MULTILINE)
EXCEPTIONS = {"auditors.md": {"paper"}}
"""A key on paper is a key on paper."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_uses_no_word_of_before(page: Path) -> None:
    text = CODE.sub("", page.read_text("utf-8"))
    words = {word.lower() for word in OLD_WORDS.findall(text)} - EXCEPTIONS.get(page.name, set())
    assert words == set()
    assert OLD_BEGINNINGS.findall(text) == []
