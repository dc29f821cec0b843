"""The pages that tell people what the product does say the same in English and in Simplified Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("auditors", "callers", "registrars", "reviewers", "security")
HEADING = re.compile(r"^(#+) ")
COMMENT = re.compile(r"\s*#.*$")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NAME = re.compile(r"^\| (A\d+) \|.*\| (`[^|]+`) \|$")


def shape(page: Path) -> dict[str, list[str]]:
    """Return what two pages that say the same have in common: levels of headings, rows of tables, code without its comments."""
    found: dict[str, list[str]] = {"headings": [], "rows": [], "code": [], "attacks": []}
    is_code = False
    for line in page.read_text("utf-8").splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            found["code"].append(COMMENT.sub("", line).rstrip())
        elif heading := HEADING.match(line):
            found["headings"].append(heading[1])
        elif line.startswith("|"):
            found["rows"].append(str(line.count("|")))
            if attack := NAME.match(line):
                found["attacks"].append(f"{attack[1]} {attack[2]}")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_same_parts_in_both_languages(name: str) -> None:
    english, chinese = (shape(DOCS / f"{name}{suffix}.md") for suffix in ("", ".zh"))
    assert chinese["headings"] == english["headings"]
    assert chinese["rows"] == english["rows"]
    assert chinese["attacks"] == english["attacks"]
    assert [line for line in chinese["code"] if not CHINESE.search(line)] == [
        line for line, other in zip(english["code"], chinese["code"], strict=True) if not CHINESE.search(other)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_leads_to_the_other_language(name: str) -> None:
    assert f"]({name}.zh.md)" in (DOCS / f"{name}.md").read_text("utf-8")
    chinese = (DOCS / f"{name}.zh.md").read_text("utf-8")
    assert f"]({name}.md)" in chinese
    text = re.sub(r"^```.*?^```$", "", chinese, flags=re.MULTILINE | re.DOTALL)
    sentences = [line for line in text.splitlines() if len(line) > 60 and not line.startswith("|")]
    assert all(CHINESE.search(line) for line in sentences)
