"""The font files that come with the program: complete, licensed, listed by hash, and enough for what people write."""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from pathlib import Path

import pytest
import uharfbuzz

from service.drawing.font_files import FAMILIES, FOLDER, find_missing, subset_chinese, subset_latin

FILES = sorted(file for file in FOLDER.iterdir() if file.suffix in {".ttf", ".otf"})
ROOT = Path(__file__).parents[2]
LISTED = {
    Path(file).name: (component, sha256)
    for component in tomllib.loads((ROOT / "deploy" / "vendored.toml").read_text("utf-8"))["component"]
    for file, sha256 in component["files"].items()
    if (ROOT / file).parent == FOLDER
}
"""The entry of each file in the list of vendored files, and its hash there."""


def face_of(file: Path) -> uharfbuzz.Face:
    return uharfbuzz.Face(uharfbuzz.Blob.from_file_path(file))


def names_of(face: uharfbuzz.Face) -> dict[int, str]:
    return {entry.name_id: face.get_name(entry.name_id) or "" for entry in face.list_names()}


def gb2312() -> str:
    pairs = (bytes([high, low]) for high in range(0xA1, 0xF8) for low in range(0xA1, 0xFF))
    return "".join(pair.decode("gb2312", errors="ignore") for pair in pairs)


def test_every_file_is_listed_with_its_hash() -> None:
    listed = [*FILES, *FOLDER.glob("LICENSE-*.txt")]
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in listed} == {
        name: sha256 for name, (_, sha256) in LISTED.items()
    }
    changed = {file.name for file in FILES if LISTED[file.name][0]["made_from"]["sha256"] != LISTED[file.name][1]}
    assert changed == {"NotoEmoji.ttf", "NotoSansCJKsc.otf"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_is_listed_with_its_name_version_and_licence(file: Path) -> None:
    names, component = names_of(face_of(file)), LISTED[file.name][0]
    assert names.get(16, names[1]).removesuffix(" Thin") == component["name"]
    assert names[5].split(";")[0] == f"Version {component['version']}"
    assert component["licence"] == "OFL-1.1"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_says_its_licence_and_uses_no_reserved_name(file: Path) -> None:
    names = names_of(face_of(file))
    copyright_, licence = names.pop(0), names[13]
    assert "SIL Open Font License" in licence
    reserved = re.findall(r"Reserved Font Name '([^']+)'", copyright_)
    assert reserved == (["Source"] if file.name == "NotoSansCJKsc.otf" else [])
    assert not any(name in names[place] for name in reserved for place in (1, 4, 6))
    notice = FOLDER / ("LICENSE-NotoSansCJK.txt" if reserved else "LICENSE-Noto.txt")
    text = notice.read_text("utf-8")
    assert "SIL OPEN FONT LICENSE Version 1.1 - 26 February 2007" in text
    assert all(f"Reserved Font Name '{name}'" in text for name in reserved)


def test_every_family_has_its_file() -> None:
    families = {names.get(16, names[1]) for names in map(names_of, map(face_of, FILES))}
    assert set(FAMILIES) <= {family.removesuffix(" Thin") for family in families}


def test_chinese_is_covered() -> None:
    assert len(gb2312()) == 7_445
    assert find_missing(gb2312()) == frozenset()
    # GB 18030's common level: U+4E00 to U+9FFF up to Unicode 13, punctuation and full-width forms
    assert find_missing("".join(map(chr, range(0x4E00, 0x9FF0)))) == frozenset()
    assert find_missing("".join(map(chr, [*range(0x3000, 0x3040), *range(0xFF01, 0xFF5F)]))) == frozenset()
    assert find_missing("".join(map(chr, range(0x3400, 0x4DB6)))) == frozenset()


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("Latin", 0x20, 0x24F),
        ("Greek", 0x370, 0x3E1),
        ("Cyrillic", 0x400, 0x52F),
        ("Armenian", 0x530, 0x58F),
        ("Hebrew", 0x5D0, 0x5EA),
        ("Arabic", 0x620, 0x6FF),
        ("Devanagari", 0x900, 0x97F),
        ("Bengali", 0x985, 0x9B9),
        ("Thai", 0xE01, 0xE3A),
        ("kana", 0x3041, 0x30FF),
        ("Hangul", 0xAC00, 0xD7A3),
        ("emoji", 0x1F600, 0x1F64F),
    ],
)
def test_other_scripts_are_covered(name: str, first: int, last: int) -> None:
    text = "".join(chr(code) for code in range(first, last + 1) if unicodedata.category(chr(code)) not in {"Cc", "Cn"})
    assert find_missing(text) == frozenset(), name


def test_what_no_font_has_is_reported() -> None:
    assert find_missing("Aa\n汉\u200d\U000f0000\ue000") == {"\U000f0000", "\ue000"}


def test_a_subset_holds_the_characters_of_its_text_alone() -> None:
    text = "Qiao Wen 乔文"
    assert set(uharfbuzz.Face(subset_latin(text)).unicodes) == set(map(ord, "Qiao Wen "))
    assert set(uharfbuzz.Face(subset_chinese(text)).unicodes) == set(map(ord, "乔文"))
