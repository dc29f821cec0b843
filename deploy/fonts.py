"""Makes the font files of `service/drawing/fonts/` from the fonts that the Noto project publishes.

    python -m pip download --no-deps --dest build/fonts manimgx-fonts==2026.9.26.post1 manimgx-fonts-cjk==2026.9.26.post1
    python deploy/fonts.py build/fonts

The two wheels are only a source of unmodified font files; nothing of them is installed. The same wheels and the same version of
`uharfbuzz` give the same bytes. The script lists each file with its version and hashes in `deploy/vendored.toml`.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import uharfbuzz
from uharfbuzz import SubsetInputSets

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "service/drawing/fonts"
LIST: Final = ROOT / "deploy/vendored.toml"
MARK: Final = "# Fonts, written by deploy/fonts.py.\n"
NOTICES: Final = {"Noto Sans": "LICENSE-Noto.txt", "Noto Sans CJK SC": "LICENSE-NotoSansCJK.txt"}
"""Files with the licence and the notices of copyright, by the family that they are listed with."""

WHEELS: Final = {
    "manimgx_fonts-2026.9.26.post1-py3-none-any.whl": "e5e21178263ddec3eef9414d2b52a1c90ac01062d3e9067460f3359f854c3e17",
    "manimgx_fonts_cjk-2026.9.26.post1-py3-none-any.whl": "05d5584c73877f37427cf0ca8067f5bacea2b596c7be79e8aedd634bb9f2b666",
}
"""SHA-256 of each wheel."""

CHINESE: Final = "NotoSansCJK-VF.otf.ttc"
"""The collection of upstream's release Sans2.004. Source: https://github.com/notofonts/noto-cjk, Sans/Variable/OTC, Git blob 42745a18."""
SIMPLIFIED: Final = 2
"""Index of the Simplified Chinese face in the collection."""
FEATURES: Final = ("ccmp", "calt", "kern", "liga", "mark", "mkmk", "ljmo", "vjmo", "tjmo")
"""Layout features that typesetting applies by itself. All others choose forms of other regions, widths or vertical text."""
VERTICAL: Final = ("BASE", "VORG", "VVAR", "vhea", "vmtx", "DSIG")
"""Tables for vertical text, and a signature that a subset invalidates."""
WEIGHTS: Final = (400, 700)
"""Lightest and heaviest weight of the report: 400 for text, 600 and 700 for titles. The other files have no further weights."""
EMOJI: Final = "NotoEmoji[wght].ttf"
LEFT_OUT: Final = "Italic"
"""Part of the names of files that the report does not use."""


def main(wheels: Path) -> None:
    """Write the font files, and list them."""
    components = []
    with tempfile.TemporaryDirectory() as folder:
        for source in _unpack(wheels, Path(folder)):
            data = _derive(source)
            name = source.name.split("[")[0].split(".")[0].replace("NotoSansCJK-VF", "NotoSansCJKsc")
            target = TARGET / f"{name}{'.otf' if data[:4] == b'OTTO' else '.ttf'}"
            target.write_bytes(data)
            components.append(_component(target, source))
    kept, _, _ = LIST.read_text("utf-8").partition(MARK)
    LIST.write_text(kept + MARK + "".join(sorted(components)), "utf-8")


def _component(target: Path, source: Path) -> str:
    """Return the entry of a font file in the list: name, version, licence, the file of upstream, and the files of the repository."""
    face = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(target))
    version = (face.get_name(uharfbuzz.OTNameIdPredefined.VERSION_STRING) or "").split(";")[0].removeprefix("Version ")
    family = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", target.stem).replace("CJKsc", "CJK SC")
    files = [target, *(TARGET / notice for name, notice in NOTICES.items() if name == family)]
    listed = "".join(f'"{file.relative_to(ROOT)}" = "{_sha256(file.read_bytes())}"\n' for file in files)
    return f"""
[[component]]
type = "data"
name = "{family}"
version = "{version}"
purl = "pkg:generic/{family.lower().replace(" ", "-")}@{version}"
licence = "OFL-1.1"
made_from = {{ name = "{source.name}", sha256 = "{_sha256(source.read_bytes())}" }}

[component.files]
{listed}"""


def _unpack(wheels: Path, folder: Path) -> list[Path]:
    """Return the font files of the wheels, unpacked to a folder.

    Raises:
        SystemExit: a wheel is not the expected one.
    """
    for name, expected in WHEELS.items():
        file = wheels / name
        if not file.exists() or _sha256(file.read_bytes()) != expected:
            raise SystemExit(
                f"{file} is missing or has another hash; get it with the command in this script's docstring."
            )
        with zipfile.ZipFile(file) as archive:
            for member in archive.namelist():
                if member.endswith((".ttf", ".ttc")) and LEFT_OUT not in member:
                    (folder / Path(member).name).write_bytes(archive.read(member))
    return sorted(folder.iterdir())


def _derive(source: Path) -> bytes:
    """Return the font file made from a source: a subset of Noto Sans CJK, fewer weights of Noto Emoji, all others as they are."""
    if source.name not in (CHINESE, EMOJI):
        return source.read_bytes()
    face = uharfbuzz.Face(uharfbuzz.Blob.from_file_path(source), SIMPLIFIED if source.name == CHINESE else 0)
    request = uharfbuzz.SubsetInput()
    if source.name == EMOJI:
        request.keep_everything()
        request.set_axis_range(face, "wght", *WEIGHTS, WEIGHTS[0])
    else:
        request.sets(SubsetInputSets.UNICODE).update(face.unicodes)
        features = request.sets(SubsetInputSets.LAYOUT_FEATURE_TAG)
        features.clear()
        features.update(map(_tag, FEATURES))
        request.sets(SubsetInputSets.DROP_TABLE_TAG).update(map(_tag, VERTICAL))
        request.sets(SubsetInputSets.NAME_ID).update(range(26))  # notices of copyright and licence stay
    return bytes(uharfbuzz.subset(face, request).blob.data)


def _tag(name: str) -> int:
    return int.from_bytes(name.encode(), "big")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
