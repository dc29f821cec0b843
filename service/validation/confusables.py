"""Flags confusable names (homoglyphs), pure. They are flagged and never refused, since some are legitimate.

Source: Unicode UTS 39, sections 4 and 5.2; the tables come with `confusable-homoglyphs`.
"""

import unicodedata
from functools import lru_cache
from typing import Final, Literal

from confusable_homoglyphs import categories, confusables

Flag = Literal["mixed_script", "looks_latin"]

_EVERYWHERE: Final = frozenset({"COMMON", "INHERITED"})
_TOGETHER: Final = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)
"""Sets of scripts that are commonly mixed in one name."""


@lru_cache(maxsize=4096)
def flags_of(name: str) -> tuple[Flag, ...]:
    """Return the flags of a name.

    `mixed_script`: it mixes scripts that are not mixed in practice, such as Latin and Cyrillic. `looks_latin`: it is of another script, and
    each of its letters is confusable with a letter from A to Z.
    """
    letters = [letter for letter in unicodedata.normalize("NFKC", name) if letter.isalpha()]
    scripts = {categories.alias(letter) for letter in letters} - _EVERYWHERE
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        return ("mixed_script",)
    if letters and "LATIN" not in scripts and all(map(_is_confusable_with_latin, letters)):
        return ("looks_latin",)
    return ()


def flags_of_all(*names: str) -> list[Flag]:
    """Return the flags of several names, each once."""
    return sorted({flag for name in names for flag in flags_of(name)})


@lru_cache(maxsize=4096)
def _is_confusable_with_latin(letter: str) -> bool:
    matches = confusables.is_confusable(letter, preferred_aliases=[])
    return any(same["c"].isascii() and same["c"].isalpha() for match in matches or () for same in match["homoglyphs"])
