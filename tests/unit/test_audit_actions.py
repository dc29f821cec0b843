"""The list of audit actions is closed and complete: each is used, none is written as a text, and a report has words for each."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.audit.actions import AuditAction
from service.words.catalogue import LANGUAGES, Words, load_catalogue

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "service").rglob("*.py"))
TEXTS = sorted((ROOT / "service").rglob("*.sql"))
LIST = ROOT / "service" / "audit" / "actions.py"
ALONE = ROOT / "service" / "verifier"
"""The verifier imports nothing of the service: it has texts of its own."""
THINGS = {action.split(".")[0] for action in AuditAction}
QUOTED = re.compile(r"\baction (?:=|<>|in|like) *\(?((?:'[^']+'(?:, *)?)+)")


def constants(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_names_follow_from_values() -> None:
    assert [action.name for action in AuditAction] == [action.upper().replace(".", "_") for action in AuditAction]


def test_each_action_is_used() -> None:
    used = {
        node.attr
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "AuditAction"
    }
    assert used == {action.name for action in AuditAction}


def test_no_action_is_written_as_a_text() -> None:
    literals = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in SOURCES
        if path != LIST and ALONE not in path.parents
        for text in constants(path)
        if text in set(AuditAction)
    }
    assert not literals


def test_actions_in_sql_and_in_the_verifier_are_of_the_list() -> None:
    found = []
    for path in [*SOURCES, *TEXTS]:
        for text in constants(path) if path.suffix == ".py" else [path.read_text("utf-8")]:
            found += [action for quoted in QUOTED.findall(text) for action in re.findall(r"'([^'%]+)(%?)'", quoted)]
            if ALONE in path.parents and re.fullmatch(r"[a-z_]+\.[a-z_]+", text) and text.split(".")[0] in THINGS:
                found.append((text, ""))
    assert len(found) > 20
    for action, wildcard in found:
        assert any(known == action or (wildcard and known.startswith(action)) for known in AuditAction), action


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_action_has_words(language: str) -> None:
    words = Words(load_catalogue("report"), LANGUAGES.index(language))
    assert {action: words.of("act", action) for action in AuditAction if words.of("act", action) == action} == {}
