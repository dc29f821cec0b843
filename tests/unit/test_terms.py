"""docs/terms.md has a line with both languages for each concept that a table holds, and no term twice."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
TABLE = re.compile(r'__tablename__ = "(\w+)"')
PLURALS = {
    "entries": "entry",
    "cosignatures": "cosignature",
    "log_tiles": "tile",
    "ledger_years": "ledger",
    "break_glass": "break glass",
}
WITHOUT_A_TERM = {
    *("api_keys", "archived_acts", "archives", "column_key", "comments", "contradictions", "documents", "events"),
    *("fact_changes", "held_by_permits", "held_in_years", "leaves", "log_keys", "log_state", "login_links", "logins"),
    *("permit_datasets", "person_keys", "recusals", "session_tokens", "sessions", "signing_keys", "sketches"),
    *("stored_answers", "witness_reports"),
}
"""Tables that hold parts of a concept, or machinery that no page speaks of."""


def terms() -> list[tuple[str, str]]:
    rows = ROW.findall((ROOT / "docs" / "terms.md").read_text("utf-8"))
    return [(term, chinese) for term, chinese in rows if term != "term" and not term.startswith("-")]


def test_each_term_stands_once_with_one_chinese_term() -> None:
    english, chinese = zip(*terms(), strict=True)
    assert len(set(english)) == len(english) > 50
    assert len(set(chinese)) == len(chinese)
    assert all(re.fullmatch(r"[\u4e00-\u9fff]+", term) for term in chinese)


def test_each_table_holds_a_concept_that_is_a_term() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "service").rglob("*.py"))
    tables = set(TABLE.findall(source))
    assert tables >= WITHOUT_A_TERM
    concepts = {PLURALS.get(name, name.removesuffix("s").replace("_", " ")) for name in tables - WITHOUT_A_TERM}
    listed = {term.replace("-", " ") for term, _ in terms()}
    assert concepts - listed == set()
