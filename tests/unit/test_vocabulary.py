"""Names say what they are by the field's terms: what was renamed does not come back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[2] / "service"
FILES = sorted(SERVICE.rglob("*.py"))

OLD_MODULES = frozenset(
    [
        "again",
        "beside",
        "breaking",
        "browsing",
        "direct",
        "door",
        "duties",
        "express",
        "granting",
        "growth",
        "helpers",
        "jose",
        "looks",
        "making",
        "moments",
        "numbering",
        "outgoing",
        "people",
        "reading",
        "rendering",
        "roles",
        "seats",
        "sealing",
        "signing_in",
        "sitting",
        "story",
        "telling",
        "tenancy",
        "told",
        "uploads",
        "wire",
        "witnessing",
    ]
)
"""Names of modules that say nothing to whoever does not know them."""
OLD_CLASSES = frozenset(
    [
        "Announced",
        "Approach",
        "BarredError",
        "Bounded",
        "DatabaseAwayError",
        "Edge",
        "Fallen",
        "Gone",
        "HeldError",
        "Paper",
        "Proof",
        "Seat",
        "Seated",
        "Sitting",
        "Turn",
        "View",
        "Vouched",
        "Writer",
        "_Attended",
        "_Known",
        "_Lane",
        "_Mark",
        "_Passage",
        "_Patience",
    ]
)
OLD_FUNCTIONS = frozenset(
    [
        "beyond",
        "is_away",
        "is_held",
        "is_lost",
        "keep_step",
        "kin_of",
        "misfiled",
        "offered",
        "outgrown",
        "papers_of",
        "recall",
        "room",
        "shown_many",
        "unopened",
    ]
)
OLD_BEGINNINGS = ("demand_", "_demand_", "bar_to_", "_bar_to_")
"""What requires something raises: `require_…`. What returns why something is denied: `…_denial`."""
SETTLED = {("service/upgrade", "reading")}
"""Modules that have such a name and are not yet renamed."""


def defined(tree: ast.AST) -> Iterator[tuple[type[ast.AST], str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield type(node), node.name


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SERVICE.parent)))
def test_no_name_of_before_comes_back(file: Path) -> None:
    where = str(file.parent.relative_to(SERVICE.parent))
    assert file.stem not in OLD_MODULES or (where, file.stem) in SETTLED
    found = {
        name
        for kind, name in defined(ast.parse(file.read_text("utf-8")))
        if name in (OLD_CLASSES if kind is ast.ClassDef else OLD_FUNCTIONS)
        or (kind is not ast.ClassDef and name.startswith(OLD_BEGINNINGS))
    }
    assert not found


def test_the_lists_name_what_they_are_for() -> None:
    """A planted name of before is found."""
    planted = ast.parse("class Sitting: ...\n\ndef demand_more(): ...\n")
    assert [name for _, name in defined(planted)] == ["Sitting", "demand_more"]
    assert "Sitting" in OLD_CLASSES
    assert "demand_more".startswith(OLD_BEGINNINGS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SERVICE.parent)))
def test_a_module_says_what_it_does_in_its_first_words(file: Path) -> None:
    """A verb or a standard noun: no clause that has to be read to its end."""
    first = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition(" ")[0]
    assert first not in {"", "What", "Who", "Whoever", "Of", "Whether", "How"}
