"""The instruments that the report cites. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Column, Table, Text, plain
from service.packs.report_data import Json


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the instruments cited, with their articles."""
    words = reading.words
    cited: dict[str, dict[str, None]] = {}
    for transfer in reading.story.transfers:
        for revision in transfer.revisions:
            for citation in _cited(revision.determination):
                articles = cited.setdefault(str(citation["instrument"]), {})
                if citation["article"]:
                    articles[citation["article"]] = None
    if not cited:
        yield Text(words("law.none"))
        return
    titles = {str(one["code"]): one for one in reading.book.instruments}
    yield Text(words("law.told"))
    yield Table(
        words("law"),
        (
            Column(words("short"), 1.6),
            Column(words("instrument"), 6),
            Column(words("in_force"), 1.8),
            Column(words("articles"), 3),
        ),
        tuple(
            (
                plain(short),
                plain(reading.text(titles[short]["title"]) if short in titles else words("company_rules")),
                plain(str(titles[short]["in_force_from"]) if short in titles else ""),
                plain(words.listed([reading.article(one) for one in sorted(articles, key=_in_order)])),
            )
            for short, articles in sorted(cited.items())
        ),
        named=False,
    )


def _in_order(article: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", article)]


def _cited(determination: Json) -> Iterator[Mapping[str, Any]]:
    for key in ("requirements", "obligations", "evidence", "warnings"):
        for one in determination[key]:
            yield from one["citations"]
