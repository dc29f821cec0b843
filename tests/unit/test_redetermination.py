"""Which law data decide again: the verifier's own where they are the same, else those of the pack, else none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.law import loader, policy
from service.law.rule_book import RuleBook
from service.verifier import redetermination

POLICY = "[thresholds]\ncontract_persons = 1000\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The law data of a pack that was made with another version."""
    shutil.copytree(loader.DATA_DIRECTORY, tmp_path / "law", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with (tmp_path / "law" / "rules.toml").open("a") as file:
        file.write("\n# another version\n")
    return tmp_path / "law"


def test_the_verifiers_own_law_data_are_taken_where_they_are_the_same(folder: Path, tmp_path: Path) -> None:
    for where in (folder, tmp_path / "nothing"):
        book = redetermination.book_of(where, loader.load().version, None)
        assert isinstance(book, RuleBook)
        assert book.version == loader.load().version


def test_those_of_the_pack_are_taken_for_another_version(folder: Path) -> None:
    version = loader.load(folder).version
    assert version != loader.load().version
    book = redetermination.book_of(folder, version, None)
    assert isinstance(book, RuleBook)
    assert book.version == version


def test_law_data_that_nobody_has_decide_nothing(folder: Path) -> None:
    assert "neither here nor in the pack" in str(redetermination.book_of(folder, "sha256:0", None))


def test_the_companys_own_rules_must_be_those_of_then(folder: Path) -> None:
    version = loader.load().version
    assert "not in the pack" in str(redetermination.book_of(folder, version, "sha256:0"))
    (folder / "policy.toml").write_text(POLICY)
    assert "not in the pack" in str(redetermination.book_of(folder, version, "sha256:0"))
    assert isinstance(redetermination.book_of(folder, version, policy.load(folder / "policy.toml").hash), RuleBook)
