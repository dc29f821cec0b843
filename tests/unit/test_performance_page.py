"""docs/performance.md is one page, follows the texts of `make bench`, and names the command of each figure."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import pytest

from bench.report import ON_PAGE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text("utf-8")
DETAILS = (ROOT / "bench" / "results.md").read_text("utf-8")
TEXTS = ROOT / "bench" / "texts"
MAX_LINES = 120
SCENARIOS = {file.stem for file in (ROOT / "bench" / "scenarios").glob("*.py")} - {"__init__"}


def pattern_of(name: str) -> re.Pattern[str]:
    """Return a pattern of a text of `make bench`, whatever its values; a name that comes twice may have two."""
    text = (TEXTS / f"{name}.md").read_text("utf-8").strip()
    literals = [re.escape(part) for part in re.split(r"\$\w+", text)]
    return re.compile(
        re.sub(r"(\\\s|\s)+", lambda _: r"\s+", r"[\s\S]*?".join(literals)).replace(r"\s+[\s\S]*?", r"\s*[\s\S]*?")
    )


def sections_of(page: str) -> dict[str, str]:
    return {part.partition("\n")[0]: part for part in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]}


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", ["page", "costs", "running", *ON_PAGE])
def test_the_page_follows_its_texts(name: str) -> None:
    assert pattern_of(name).search(re.sub(r"Printed by `.*?`\.\s+", "", PAGE))


def test_each_table_names_the_command_that_printed_it() -> None:
    headings = {
        Template((TEXTS / f"{name}.md").read_text("utf-8")).template.partition("\n")[0]: name for name in SCENARIOS
    }
    assert len(headings) == len(SCENARIOS)
    measured = {
        heading: text for heading, text in (sections_of(PAGE) | sections_of(DETAILS)).items() if heading in headings
    }
    assert measured.keys() >= {heading for heading, name in headings.items() if name in ON_PAGE}
    for heading, text in measured.items():
        assert text.startswith(f"{heading}\n\nPrinted by `.venv/bin/python -m bench --only {headings[heading]}`."), (
            heading
        )
    others = (sections_of(PAGE) | sections_of(DETAILS)).keys() - headings.keys()
    assert others == {"## Ratios", "## Costs", "## Reproduce", "## Machine and versions"}


def test_each_ratio_names_the_option_that_measures_it() -> None:
    rows = [line for line in sections_of(PAGE)["## Ratios"].splitlines() if line.startswith("| ")][2:]
    options = [re.search(r"\| `--only (\w+)` \|$", row) for row in rows]
    assert len(rows) > 10
    assert all(options)
    assert {option[1] for option in options if option} <= SCENARIOS
