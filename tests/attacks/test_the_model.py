"""The page on security is true: what it lists is tried, and what is tried is listed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from tests.attacks.defences import DEFENCES, ELSEWHERE
from tests.attacks.defences.model import ROOT, Defence, Edit, StaleEditError

PAGE = ROOT / "docs" / "security.md"
ROW = re.compile(r"^\| (A\d+) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MARKS = {"skip", "skipif", "xfail"}
OURS = {"test_the_model.py"}
"""Files of this folder that make no attack."""


@dataclass(frozen=True)
class Attack:
    number: str
    cells: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


@cache
def attacks() -> tuple[Attack, ...]:
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return tuple(
        Attack(number, tuple(cell.strip() for cell in rest.split("|")), tuple(TEST.findall(rest)))
        for number, rest in found
    )


@cache
def functions_of(file: str) -> dict[str, bool]:
    """Return the tests of a file, each with whether it is always run."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        node.name: not MARKS
        & {name.attr for mark in node.decorator_list for name in ast.walk(mark) if isinstance(name, ast.Attribute)}
        for node in functions
        if node.name.startswith("test_")
    }


def test_there_are_many_attacks_each_with_a_number_of_its_own() -> None:
    numbers = [attack.number for attack in attacks()]
    assert len(numbers) >= 45
    assert len(set(numbers)) == len(numbers), "a number names one attack for good; gaps are no fault"


def test_each_attack_says_who_what_and_what_must_happen() -> None:
    assert [attack.number for attack in attacks() if len(attack.cells) != 5 or not all(attack.cells)] == []


def test_each_attack_names_a_test_that_is_there_and_run() -> None:
    for attack in attacks():
        assert attack.tests, attack.number
        for file, name in attack.tests:
            assert functions_of(file).get(name), f"{attack.number}: {file}::{name}"


def test_each_attack_that_is_made_is_on_the_page() -> None:
    listed = {test for attack in attacks() for test in attack.tests}
    files = [file for file in Path(__file__).parent.glob("test_*.py") if file.name not in OURS]
    made = {
        (f"tests/attacks/{file.name}", name) for file in files for name in functions_of(f"tests/attacks/{file.name}")
    }
    assert sorted(made - listed) == []


def test_each_attack_has_a_defence_that_can_be_taken_away_or_a_reason_why_none_can() -> None:
    numbers = {attack.number for attack in attacks()}
    removable = {defence.attack for defence in DEFENCES}
    assert numbers - removable == set(ELSEWHERE)
    assert removable <= numbers
    assert len(ELSEWHERE) <= 3, "these are to stay few"


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.attack + " " + defence.what)
def test_each_defence_can_be_taken_away_where_the_list_says(defence: Defence) -> None:
    attack = next(attack for attack in attacks() if attack.number == defence.attack)
    assert tuple(defence.test.split("::")) in attack.tests
    for edit in defence.edits:
        text = (ROOT / edit.file).read_text(encoding="utf-8")
        without = edit.apply(text)
        assert without != text
        if edit.file.endswith(".py"):
            ast.parse(without)


def test_no_edit_uses_a_name_that_is_not_there(tmp_path: Path) -> None:
    """An edit that only breaks the file would be noticed by any test."""
    for place, defence in enumerate(DEFENCES):
        edited: dict[str, str] = {}
        for edit in defence.edits:
            if edit.file.endswith(".py"):
                text = edited.get(edit.file) or (ROOT / edit.file).read_text(encoding="utf-8")
                edited[edit.file] = edit.apply(text)
        for file, text in edited.items():
            copy = tmp_path / f"{defence.attack}_{place}" / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")
    ruff = Path(sys.executable).with_name("ruff")
    found = subprocess.run(
        [ruff, "check", "--isolated", "--quiet", "--select", "F821", "--output-format", "concise", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)


def test_an_edit_names_a_function_and_what_goes_there_by_syntax() -> None:
    text = dedent("""
        def other() -> bool:
            return is_open and is_known

        def gate(
            row: Row) -> bool:
            require_role(row)
            if (row.closed_at is None
                and row.owner):
                for part in row.parts:
                    add(part, size=1, kind="x")
            return {"a": 1, "b": 2} and [row.first, row.last]
    """)

    def edited(target: str, replacement: str = "") -> str:
        return Edit("a.py", "gate", target, replacement).apply(text)

    assert edited("require_role(…)") == text.replace("require_role(row)", "pass")
    assert edited("if row.closed_at is None and row.owner", "False") == text.replace(
        "(row.closed_at is None\n        and row.owner)", "(False)"
    )
    assert edited("row.closed_at is None") == text.replace("row.closed_at is None\n        and ", "")
    assert edited("for part in row.parts", "()") == text.replace("in row.parts", "in ()")
    assert edited("size=") == text.replace("size=1, ", "")
    assert edited("kind=") == text.replace(', kind="x"', "")
    assert edited("'b'") == text.replace(', "b": 2', "")
    assert edited("row.first") == text.replace("row.first, ", "")
    for function, target in (("gate", "row.middle"), ("gate", "row"), ("other", "row.first"), ("others", "is_open")):
        with pytest.raises(StaleEditError):
            Edit("a.py", function, target, "None").apply(text)
