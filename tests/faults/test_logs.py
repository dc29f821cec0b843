"""What a log line of a fault may hold: where it was, never what was at hand there."""

from __future__ import annotations

import json

import pytest
import structlog

from service import logs

PLANTED = "888830709910203301"
"""An invented number, backwards: a line of this file may stand in a log."""


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_fault_is_logged_without_the_values_that_were_at_hand(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    logs.configure("json" if style == "json" else "text", "error")
    try:
        _fail(PLANTED[::-1])
    except ValueError:
        structlog.get_logger(style).exception("unexpected fault")
    finally:
        structlog.configure(**before)
    told = capsys.readouterr().err
    assert "_fail" in told
    assert PLANTED[::-1] not in told
    if style == "json":
        assert json.loads(told)["event"] == "unexpected fault"


def _fail(person: str) -> None:
    known = {"person": person}
    raise ValueError(f"{len(known)} value at hand")
