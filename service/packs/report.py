"""Renders the report of an evidence pack as an HTML page and as a PDF. The same data give the same bytes.

`chapters.document` makes the content. The templates `report.html` and `report.typ` lay it out; they get every text as a value, never as
markup.

Example:
    page = report.html(data, "zh")
    pdf = report.pdf(data, "en")
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
from service.packs.report_data import ReportData


def html(data: ReportData, language: str) -> str:
    """Return the report as one HTML file without scripts and external resources.

    Args:
        data: data of the report.
        language: `en` or `zh`.

    Raises:
        ValueError: there is no such language.
    """
    page = _value(document(data, language, _load_book()))
    style = _style("".join(sorted(set(json.dumps(page, ensure_ascii=False)))))
    return _template().render(page=page, style=Markup(style), style_hash=_hash_of(style))  # noqa: S704 - our own style  # nosec B704


def pdf(data: ReportData, language: str) -> bytes:
    """Return the report as PDF/A-2a with embedded font subsets; its date is that of the data.

    The typesetter keeps about 80 MB for fonts and 1 MB a page until the process ends.

    Args:
        data: data of the report.
        language: `en` or `zh`.

    Raises:
        ValueError: there is no such language.
    """
    page = json.dumps(_value(document(data, language, _load_book())), ensure_ascii=False)
    page = page.translate({ord(character): by_number(character) for character in font_files.find_missing(page)})
    return bytes(
        typst.compile(
            _read("report.typ").encode(),
            font_paths=load_fonts(),
            ignore_system_fonts=True,
            sys_inputs={"page": page, "families": json.dumps(font_files.FAMILIES), "colours": json.dumps(COLOURS)},
            # For long-term archiving (ISO 19005-2, level A) and accessibility (ISO 14289-1).
            pdf_standards=["a-2a", "ua-1"],
            timestamp=int(data.made_at.timestamp()),
        )
    )


@cache
def load_fonts() -> typst.Fonts:
    """Return the fonts for typesetting: the files of `drawing` and the typesetter's own, none of the machine's."""
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=[str(font_files.FOLDER)])


@cache
def _load_book() -> rule_book.RuleBook:
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


def _value(node: Any) -> Any:
    """Return a document, or a part of it, as JSON; a drawing as SVG with labels, SVG without labels, and the labels."""
    if isinstance(node, Drawing):
        return {
            "width": node.width,
            "height": node.height,
            "svg": svg(node),
            "ground": svg(node, labels=False),
            "labels": _value(node.labels),
        }
    if is_dataclass(node):
        return {field.name: _value(getattr(node, field.name)) for field in fields(node)}
    if isinstance(node, tuple):
        return [_value(item) for item in node]
    return node


def _style(characters: str) -> str:
    """Return the style of the page, with font subsets for its characters."""
    faces = (("Report", font_files.subset_latin(characters)), ("Report CJK", font_files.subset_chinese(characters)))
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
    """Return the hash source of a style for the content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
