"""Font files of documents, which come with the program. No font of the machine is used, so every machine prints the same.

Noto fonts under the SIL Open Font License 1.1; `deploy/vendored.toml` lists them with versions and hashes.

Example:
    missing = find_missing(text)
    face = subset_chinese(text)
    css = f"@font-face{{src:url(data:font/otf;base64,{base64.b64encode(face).decode()})}}"
"""

from functools import cache
from pathlib import Path
from typing import Final

import uharfbuzz

FAMILIES: Final = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Symbols",
    "Noto Emoji",
)
"""Families in the order in which a character is looked up."""

FOLDER: Final = Path(__file__).parent / "fonts"
"""Folder of the font files."""

_LATIN: Final = FOLDER / "NotoSans.ttf"
_CHINESE: Final = FOLDER / "NotoSansCJKsc.otf"

_LAST_LATIN: Final = 0x2E7F
"""Code point before the first block of Chinese characters. Noto Sans has what comes before it."""


def subset_latin(text: str) -> bytes:
    """Return Noto Sans with the characters of a text alone, as an OpenType font in all weights."""
    return _subset(_LATIN, text)


def subset_chinese(text: str) -> bytes:
    """Return Noto Sans CJK SC with the Chinese characters of a text alone, as an OpenType font in all weights."""
    return _subset(_CHINESE, "".join(character for character in text if ord(character) > _LAST_LATIN))


def _subset(file: Path, text: str) -> bytes:
    request = uharfbuzz.SubsetInput()
    request.sets(uharfbuzz.SubsetInputSets.UNICODE).update(map(ord, set(text)))
    face = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(file))
    return bytes(uharfbuzz.subset(face, request).blob.data)


@cache
def _faces() -> tuple[uharfbuzz.Font, ...]:
    files = sorted(file for file in FOLDER.iterdir() if file.suffix in {".ttf", ".otf"})
    return tuple(uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob.from_file_path(file))) for file in files)


_JOINERS: Final = frozenset("\n\u200c\u200d\ufe0e\ufe0f")
"""Characters without a glyph of their own: line break, joiners, variation selectors."""


def find_missing(text: str) -> frozenset[str]:
    """Return the characters of a text for which no font has a glyph."""
    return frozenset(
        character
        for character in set(text) - _JOINERS
        if not any(font.get_nominal_glyph(ord(character)) is not None for font in _faces())
    )
