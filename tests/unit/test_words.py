"""The catalogue of texts: a text without its twin cannot load, and the error says which."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from importlib import resources

import pytest

from service.words.catalogue import CatalogueError, Words, load_catalogue, parse_catalogue, texts_by_key
from service.words.formats import format_count, format_day, format_in_china, format_minute, format_second

PLANTED = '"greeting" = ["Good day, {name}.", "{name}，您好。"]\n"none" = ["none", "无"]\n'


class Signal(StrEnum):
    GREETING = "greeting"
    NONE = "none"


@pytest.mark.parametrize(
    "name", sorted(file.name for file in resources.files("service.words").iterdir() if file.name.endswith(".toml"))
)
def test_every_catalogue_loads(name: str) -> None:
    catalogue = load_catalogue(name.removesuffix(".toml"))
    assert catalogue
    assert all(len(twins) == 2 for twins in catalogue.values())


@pytest.mark.parametrize(
    "value",
    [
        '["Good day."]',
        '["Good day.", ""]',
        '["Good day.", "  "]',
        '["", "您好。"]',
        '"Good day."',
        '["Good day.", "您好。", "Bonjour."]',
        '["Good day.", 1]',
    ],
)
def test_a_text_without_its_twin_cannot_load(value: str) -> None:
    with pytest.raises(CatalogueError, match=r"^planted\.toml, key 'farewell'.*English and its Chinese"):
        parse_catalogue(f'{PLANTED}"farewell" = {value}\n', "planted.toml")


def test_twins_take_the_same_values() -> None:
    with pytest.raises(CatalogueError, match=r"^planted\.toml, key 'count'.*placeholders"):
        parse_catalogue('"count" = ["{count} of {all}", "{count}项"]', "planted.toml")


def test_texts_of_a_closed_vocabulary_come_by_key_and_language() -> None:
    catalogue = parse_catalogue(PLANTED, "planted.toml")
    assert texts_by_key(catalogue, Signal) == {
        Signal.GREETING: {"en": "Good day, {name}.", "zh": "{name}，您好。"},
        Signal.NONE: {"en": "none", "zh": "无"},
    }


def test_a_closed_vocabulary_has_a_text_for_each_key_and_no_more() -> None:
    catalogue = parse_catalogue(PLANTED, "planted.toml")
    with pytest.raises(CatalogueError, match="none"):
        texts_by_key(catalogue, [Signal.GREETING])
    with pytest.raises(CatalogueError, match="farewell"):
        texts_by_key(catalogue, [*Signal, "farewell"])


def test_words_speak_one_language() -> None:
    catalogue = parse_catalogue(PLANTED, "planted.toml")
    english, chinese = Words(catalogue, 0), Words(catalogue, 1)
    assert english("greeting", name="Li") == "Good day, Li."
    assert chinese("greeting", name="李") == "李，您好。"
    assert (english.listed(["a", "b"]), chinese.listed(["a", "b"]), chinese.listed([])) == ("a, b", "a、b", "无")
    assert (english.parts(["a", "b"]), chinese.parts(["a", "b"]), english.parts([])) == ("a; b", "a；b", "none")
    assert (english.pair("a", "b"), chinese.pair("a", "b")) == ("a: b", "a：b")
    assert (english.aside("a", "b"), chinese.aside("a", "b")) == ("a (b)", "a（b）")


def test_numbers_and_times_are_written_alike_in_both() -> None:
    instant = datetime(2026, 9, 30, 16, 5, 7, tzinfo=UTC)
    assert format_count(1_234_567) == "1,234,567"
    assert format_day(date(2026, 9, 30)) == "2026-09-30"
    assert (format_minute(instant), format_second(instant)) == ("2026-09-30 16:05", "2026-09-30 16:05:07")
    assert format_in_china(instant) == "2026-10-01 00:05:07"
