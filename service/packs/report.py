"""The report of an evidence pack, as one page for a browser and as a PDF. The same story gives the same bytes.

`chapters.document` says what is told; here it is only set: by `report.html` and by `report.typ`, which get every text as a value
and never as markup.
"""

import base64
import hashlib
import json
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import typst
from markupsafe import Markup

from service.drawing import font_files
from service.drawing.svg import COLOURS, Drawing, svg
from service.law import loader, rule_book
from service.packs.chapters.document import document
from service.packs.document import by_number
from service.packs.report_data import Story


def html(story: Story, language: str) -> str:
    """Return the report as one HTML file that loads nothing and runs nothing.

    Args:
        story: what the pack tells.
        language: `en` or `zh`.

    Raises:
        ValueError: there is no such language.
    """
    page = _value(document(story, language, _book()))
    style = _style("".join(sorted(set(json.dumps(page, ensure_ascii=False)))))
    return _template().render(page=page, style=Markup(style), style_hash=_hash_of(style))  # noqa: S704 - our own style  # nosec B704


def pdf(story: Story, language: str) -> bytes:
    """Return the report as PDF/A-2a with the letters that it uses embedded; its date is the story's.

    The typesetter keeps about 80 MB for its fonts and 1 MB a page, and gives them back only when the process ends.

    Args:
        story: what the pack tells.
        language: `en` or `zh`.

    Raises:
        ValueError: there is no such language.
    """
    page = json.dumps(_value(document(story, language, _book())), ensure_ascii=False)
    page = page.translate({ord(sign): by_number(sign) for sign in font_files.find_missing(page)})
    return bytes(
        typst.compile(
            _read("report.typ").encode(),
            font_paths=load_fonts(),
            ignore_system_fonts=True,
            sys_inputs={"page": page, "families": json.dumps(font_files.FAMILIES), "colours": json.dumps(COLOURS)},
            # To be kept for years (ISO 19005-2, level A) and read by everybody (ISO 14289-1).
            pdf_standards=["a-2a", "ua-1"],
            timestamp=int(story.made_at.timestamp()),
        )
    )


@cache
def load_fonts() -> typst.Fonts:
    """Return the fonts for typesetting: the files of `drawing` and those inside the typesetter, none of the machine's."""
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[str(font_files.FOLDER)])


@cache
def _book() -> rule_book.RuleBook:
    return loader.load()


@cache
def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("report.html"))


def _value(told: Any) -> Any:
    """Return a document, or a part of it, as JSON; of a drawing its SVG with the words and without, and the words by themselves."""
    if isinstance(told, Drawing):
        return {
            "width": told.width,
            "height": told.height,
            "svg": svg(told),
            "ground": svg(told, labels=False),
            "labels": _value(told.labels),
        }
    if is_dataclass(told):
        return {field.name: _value(getattr(told, field.name)) for field in fields(told)}
    if isinstance(told, tuple):
        return [_value(one) for one in told]
    return told


def _style(signs: str) -> str:
    """Return the page's style, with the fonts of the signs that it shows."""
    faces = (("Report", font_files.subset_latin(signs)), ("Report CJK", font_files.subset_chinese(signs)))
    return (
        "".join(
            f'@font-face{{font-family:"{name}";font-weight:100 900;font-display:block;'
            f"src:url(data:font/otf;base64,{base64.b64encode(face).decode()})}}\n"
            for name, face in faces
        )
        + ":root{"
        + ";".join(f"--{name.replace('_', '-')}:{colour}" for name, colour in COLOURS.items())
        + "}\n"
        + _read("report.css")
    )


def _hash_of(style: str) -> str:
    """Return a style as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
