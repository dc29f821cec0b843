"""Collects coverage of the domain cores while the suite runs, and fails it where a branch is missed: `pytest -p tests.core_coverage`.

The cores are those that `[tool.coverage.run]` includes. Only tests without a database count for them, so only these are measured: each
process of the run starts before `service` is imported, measures its imports, and then those tests alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

MEASURED = tuple(str(Path(__file__).parent / folder) for folder in ("law", "unit", "properties"))
RAN = pytest.StashKey[set[str]]()
REPORT = pytest.StashKey[str]()

_measured = coverage.Coverage(data_suffix=True)
_measured.start()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        coverage.Coverage(messages=False).erase()


def pytest_collection_finish() -> None:
    _measured.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if not str(item.path).startswith(MEASURED):
        return (yield)
    _measured.start()
    try:
        return (yield)
    finally:
        _measured.stop()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    _measured.stop()
    _measured.save()
    if hasattr(session.config, "workerinput"):
        return
    whole, told = coverage.Coverage(), io.StringIO()
    whole.combine()
    whole.save()
    total = whole.report(show_missing=True, skip_covered=True, file=told)
    session.config.stash[REPORT] = told.getvalue()
    if exitstatus == pytest.ExitCode.OK and total < 100:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("coverage of the domain cores: 100 % are demanded")
    terminalreporter.write(config.stash.get(REPORT, ""))
