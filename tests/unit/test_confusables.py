"""Names that look like something else are told; honest names of any script are not."""

from __future__ import annotations

import pytest

from service.validation.confusables import flags_of, flags_of_all

HONEST = [
    "Invented Partner",
    "上海 Invented 有限公司",
    "日本カナ Ltd",
    "欧阳贞贞",
    "Москва",
    "Αθήνα",
    "Ünïcode",
    "ＡＢＣ",
    "한국 Data",
    "123",
    "",
    "-",
]


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_has_no_flag(name: str) -> None:
    assert flags_of(name) == ()


@pytest.mark.parametrize("name", ["p\u0430ypal", "\u03a9mega", "Inv\u0435nted Partner", "Москвa", "日本 данные"])
def test_scripts_that_nobody_mixes_are_told(name: str) -> None:
    assert flags_of(name) == ("mixed_script",)


@pytest.mark.parametrize("name", ["\u0440\u0430\u0441\u0435", "\u0455\u0441\u043e\u0440\u0435 1", "\u0391\u0392\u0395"])
def test_a_name_of_another_script_that_looks_latin_is_told(name: str) -> None:
    assert flags_of(name) == ("looks_latin",)


def test_each_flag_is_told_once() -> None:
    assert flags_of_all("p\u0430y", "\u03a9mega", "\u0440\u0430\u0441\u0435", "plain") == [
        "looks_latin",
        "mixed_script",
    ]
