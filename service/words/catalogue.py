"""Catalogues of texts in English and Simplified Chinese: TOML files of this package, `key = [English, Chinese]`.

A text without its twin cannot load: the error names the file and the key.

Example:
    words = Words(load_catalogue("report"), LANGUAGES.index("zh"))
    words("flow.more_permits", count=3)  # 另有3项
    words.of("status", "draft")  # 草稿
"""

import string
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, TypeVar

LANGUAGES: Final = ("en", "zh")
LANGUAGE_TAGS: Final = ("en", "zh-CN")
"""Language tags of pages, in the order of `LANGUAGES`. Source: BCP 47."""

Twins = tuple[str, str]
"""A text in English and in Chinese."""
Catalogue = Mapping[str, Twins]

Key = TypeVar("Key", bound=str)


class CatalogueError(ValueError):
    """A catalogue that is not complete in both languages."""


@cache
def load_catalogue(name: str) -> Catalogue:
    """Return the catalogue of a name, `report` for `report.toml`.

    Raises:
        CatalogueError: a text lacks its twin, or the two name other values.
    """
    file = f"{name}.toml"
    return parse_catalogue((resources.files(__package__) / file).read_text(encoding="utf-8"), file)


def parse_catalogue(text: str, file: str) -> Catalogue:
    """Return the catalogue that a TOML document holds; `file` is its name in errors.

    Raises:
        CatalogueError: a text lacks its twin, or the two name other values.
    """
    return MappingProxyType({key: _twins(value, f"{file}, key {key!r}") for key, value in tomllib.loads(text).items()})


def _twins(value: object, where: str) -> Twins:
    match value:
        case [str(english), str(chinese)] if english.strip() and chinese.strip():
            pass
        case _:
            raise CatalogueError(f"{where}: a text needs its English and its Chinese form, as [English, Chinese].")
    if _placeholders(english) != _placeholders(chinese):
        raise CatalogueError(f"{where}: the English and the Chinese text must have the same placeholders.")
    return english, chinese


def _placeholders(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def texts_by_key(catalogue: Catalogue, keys: Iterable[Key]) -> Mapping[Key, Mapping[str, str]]:
    """Return the texts of a closed vocabulary, by key and then by language.

    Raises:
        CatalogueError: a key has no text, or a text belongs to no key.
    """
    keys = list(keys)
    if set(catalogue) != set(keys):
        raise CatalogueError(f"Keys without a text, or texts without a key: {sorted(set(catalogue) ^ set(keys))}.")
    return {key: dict(zip(LANGUAGES, catalogue[key], strict=True)) for key in keys}


_SEPARATORS: Final = {"list": (", ", "、"), "part": ("; ", "；"), "pair": (": ", "："), "round": (" ({})", "（{}）")}


@dataclass(frozen=True, slots=True)
class Words:
    """Texts of one language."""

    catalogue: Catalogue
    language: int
    """Index in `LANGUAGES`."""

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text with its values set in.

        Raises:
            KeyError: there is no such text, or a value is missing.
        """
        return self.catalogue[key][self.language].format(**values)

    def of(self, vocabulary: str, value: object) -> str:
        """Return the word for a value of a closed vocabulary; the value itself where it has no word."""
        twins = self.catalogue.get(f"{vocabulary}.{value}")
        return str(value) if twins is None else twins[self.language]

    def listed(self, items: Sequence[str]) -> str:
        """Return items as a list in a sentence; `none` where there is nothing."""
        return _SEPARATORS["list"][self.language].join(items) if items else self("none")

    def parts(self, items: Sequence[str]) -> str:
        """Return items as parts of a sentence; `none` where there is nothing."""
        return _SEPARATORS["part"][self.language].join(items) if items else self("none")

    def pair(self, name: str, value: str) -> str:
        """Return a name with its value."""
        return f"{name}{_SEPARATORS['pair'][self.language]}{value}"

    def aside(self, text: str, more: str) -> str:
        """Return a text with more in brackets."""
        return text + _SEPARATORS["round"][self.language].format(more)
