"""The words of the report, in English and Chinese: `report.toml`, and how numbers, days and moments are written."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

LANGUAGES: Final = ("en", "zh")
TAGS: Final = ("en", "zh-CN")
"""The same as language tags of a page. Source: BCP 47."""

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    key: (english, chinese)
    for key, (english, chinese) in tomllib.loads(
        (resources.files(__package__) / "report.toml").read_text(encoding="utf-8")
    ).items()
}
"""All texts by key: English, Chinese."""

_STOPS: Final = {"list": (", ", "、"), "part": ("; ", "；"), "pair": (": ", "："), "round": (" ({})", "（{}）")}


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language, by its place in `LANGUAGES`."""

    language: int

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values set in.

        Raises:
            KeyError: there is no such text, or a value is missing.
        """
        return TEXTS[key][self.language].format(**values)

    def of(self, vocabulary: str, value: object) -> str:
        """Return the word for a value of a closed vocabulary; the value itself where it has no word."""
        told = TEXTS.get(f"{vocabulary}.{value}")
        return str(value) if told is None else told[self.language]

    def listed(self, items: Sequence[str]) -> str:
        """Return them as a list in a sentence; `none` where there is nothing."""
        return _STOPS["list"][self.language].join(items) if items else self("none")

    def parts(self, items: Sequence[str]) -> str:
        """Return them as parts of a sentence; `none` where there is nothing."""
        return _STOPS["part"][self.language].join(items) if items else self("none")

    def pair(self, name: str, value: str) -> str:
        """Return a name with its value."""
        return f"{name}{_STOPS['pair'][self.language]}{value}"

    def aside(self, text: str, more: str) -> str:
        """Return a text with more in brackets."""
        return text + _STOPS["round"][self.language].format(more)


def whole(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}"


def day(value: date) -> str:
    """Return a day."""
    return value.isoformat()


def moment(value: datetime) -> str:
    """Return a moment in UTC, to the minute."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def second(value: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def in_china(value: datetime) -> str:
    """Return a moment in China Standard Time, to the second."""
    return value.astimezone(_SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
