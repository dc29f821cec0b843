"""Decisions are short: a title, context, choice and consequence in at most forty lines of 120 characters, tables apart."""

from __future__ import annotations

from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("file", DECISIONS, ids=lambda file: file.name)
def test_a_decision_is_short(file: Path) -> None:
    lines = file.read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 40
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
    if file.name != "0004-libraries.md":
        parts = [line.partition("**")[2].partition(".**")[0] for line in lines if line.startswith("**")]
        assert [part for part in parts if part in {"Context", "Choice", "Consequence"}] == [
            "Context",
            "Choice",
            "Consequence",
        ]


def test_numbers_are_given_once() -> None:
    assert [file.name[:4] for file in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]
