"""What is made of settings without a server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import FORMER_NAMES, GROUPS, Settings, describe_former_names

OPERATORS = (Path(__file__).parents[2] / "docs/operators.md").read_text("utf-8")
SETTINGS_SECTION = OPERATORS.split("\n## Settings\n")[1].split("\n## ")[0]
SETTING_ROW = re.compile(r"^\| `OUTBOUND_(\w+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),  # noqa: S104 - nothing is bound
        ({"host": "::", "port": 80}, "http://[::1]:80"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:8000"),
        ({"host": "gate.internal"}, "http://gate.internal:8000"),
        ({"public_url": "https://gate.example.com/"}, "https://gate.example.com"),
        ({"public_url": "https://example.com/gate", "host": "::"}, "https://example.com/gate"),
    ],
)
def test_the_service_says_its_address_as_its_operator_does(given: dict[str, object], expected: str) -> None:
    assert Settings.model_validate(given).base_url == expected


@pytest.mark.parametrize(
    ("name", "former", "value", "expected"),
    [
        ("client_timeout_seconds", "OUTBOUND_PATIENCE_SECONDS", "2.5", 2.5),
        ("max_connections", "OUTBOUND_CONNECTIONS", "40", 40),
        ("max_connections_per_address", "OUTBOUND_CONNECTIONS_PER_ADDRESS", "7", 7),
        ("egress_allow", "OUTBOUND_OUTGOING_ALLOW", "id.internal", "id.internal"),
        ("egress_allow", "outbound_outgoing_allow", "id.internal", "id.internal"),
    ],
)
def test_a_former_name_is_accepted_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, former: str, value: str, expected: object
) -> None:
    monkeypatch.setenv(former, value)
    assert getattr(Settings(), name) == expected
    assert list(describe_former_names()) == [
        f"{former.upper()} is now OUTBOUND_{name.upper()}; the old name is accepted for one release"
    ]


def test_the_new_name_is_used_where_both_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOUND_CONNECTIONS", "40")
    monkeypatch.setenv("OUTBOUND_MAX_CONNECTIONS", "50")
    assert Settings().max_connections == 50
    warning = "OUTBOUND_CONNECTIONS is now OUTBOUND_MAX_CONNECTIONS; the old name is accepted for one release"
    assert list(describe_former_names()) == [f"{warning}; both are set and differ: OUTBOUND_MAX_CONNECTIONS is used"]
    monkeypatch.setenv("OUTBOUND_CONNECTIONS", "50")
    assert list(describe_former_names()) == [warning], "they agree"


def test_new_names_alone_warn_of_nothing_and_an_empty_former_one_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOUND_MAX_CONNECTIONS", "50")
    monkeypatch.setenv("OUTBOUND_PATIENCE_SECONDS", "")
    assert (Settings().max_connections, Settings().client_timeout_seconds) == (50, 10.0)
    assert list(describe_former_names()) == []


def test_a_value_under_a_former_name_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOUND_PATIENCE_SECONDS", "0")
    with pytest.raises(ValidationError, match="client_timeout_seconds"):
        Settings()


def test_former_names_are_of_settings_that_are_no_secrets() -> None:
    """Secrets may be in files too (`OUTBOUND_<NAME>_FILE`), where former names are not read."""
    fields = Settings.model_fields
    assert {*FORMER_NAMES} <= {*fields}
    assert not {*FORMER_NAMES.values()} & {*fields}
    assert not any("SecretStr" in str(fields[name].annotation) for name in FORMER_NAMES)


def test_each_setting_is_in_one_group_in_the_order_of_the_class() -> None:
    assert [name for names in GROUPS.values() for name in names] == [*Settings.model_fields]


def test_each_group_has_its_heading_and_its_table_in_the_documentation() -> None:
    sections = [part.partition("\n") for part in SETTINGS_SECTION.split("\n### ")[1:]]
    documented = {heading: [row[0].lower() for row in SETTING_ROW.findall(text)] for heading, _, text in sections}
    assert documented == {heading: [*names] for heading, names in GROUPS.items()}
    assert [*documented] == [*GROUPS]


def test_each_setting_stands_in_one_table_of_the_documentation() -> None:
    rows = re.findall(r"^\| *`OUTBOUND_(\w+)`", OPERATORS, re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_documentation_has_the_default_of_each_setting(name: str) -> None:
    [(default, meaning)] = [row[1:] for row in SETTING_ROW.findall(SETTINGS_SECTION) if row[0] == name.upper()]
    assert default == _default_text(Settings.model_fields[name].default)
    assert meaning.strip()


def _default_text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return "unset" if default in (None, "", (), {}) else str(default)
