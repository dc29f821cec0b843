"""The fonts of the report, which come with the program: none of the machine's is used, and a machine without fonts prints the same.

Noto Sans and Noto Sans CJK, under the SIL Open Font License 1.1, from the packages `manimgx-fonts` and `manimgx-fonts-cjk`.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

import typst
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
"""Families in the order in which a letter is looked for."""

_PACKAGES: Final = ("manimgx_fonts", "manimgx_fonts_cjk")
_LATIN: Final = "NotoSans[wght].ttf"
_CHINESE: Final = "NotoSansCJK-VF.otf.ttc"
_SIMPLIFIED: Final = 2
"""The place of the simplified Chinese forms in the collection."""


@cache
def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(
            f"The package {package} with the report's fonts is not installed; install the locked requirements."
        )
    return Path(found.origin).parent


@cache
def book() -> typst.Fonts:
    """Return the fonts for typesetting: those of the packages and those inside the typesetter, none of the machine's."""
    folders = [str(_folder(package)) for package in _PACKAGES]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=folders)


def latin(text: str) -> bytes:
    """Return Noto Sans with the letters of a text alone, as an OpenType font in all its weights."""
    return _cut_down(_folder(_PACKAGES[0]) / _LATIN, 0, text)


def chinese(text: str) -> bytes:
    """Return Noto Sans CJK SC with the characters of a text alone, as an OpenType font in all its weights."""
    return _cut_down(
        _folder(_PACKAGES[1]) / _CHINESE, _SIMPLIFIED, "".join(sign for sign in text if ord(sign) > _LAST_LATIN)
    )


_LAST_LATIN: Final = 0x2E7F
"""Before the first block of Chinese characters; what comes before it Noto Sans has."""


def _cut_down(file: Path, place: int, text: str) -> bytes:
    wanted = uharfbuzz.SubsetInput()
    wanted.sets(uharfbuzz.SubsetInputSets.UNICODE).update(map(ord, set(text)))
    face = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(file), place)
    return bytes(uharfbuzz.subset(face, wanted).blob.data)


@cache
def _faces() -> tuple[uharfbuzz.Font, ...]:
    files = sorted(
        file for package in _PACKAGES for file in _folder(package).iterdir() if file.suffix in {".ttf", ".ttc"}
    )
    return tuple(uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob.from_file_path(file))) for file in files)


_JOINING: Final = frozenset("\n\u200c\u200d\ufe0e\ufe0f")
"""Signs without a shape of their own, which tell how their neighbours are set."""


def missing(text: str) -> frozenset[str]:
    """Return the signs of a text that no font has."""
    return frozenset(
        sign
        for sign in set(text) - _JOINING
        if not any(font.get_nominal_glyph(ord(sign)) is not None for font in _faces())
    )
