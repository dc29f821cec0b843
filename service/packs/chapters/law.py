"""Chapter of cited instruments. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Column, Table, Text, plain
from service.packs.report_data import Json


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the cited instruments with their articles."""
    words = context.words
    cited: dict[str, dict[str, None]] = {}
    for transfer in context.data.transfers:
        for revision in transfer.revisions:
            for citation in _citations(revision.determination):
                articles = cited.setdefault(str(citation["instrument"]), {})
                if citation["article"]:
                    articles[citation["article"]] = None
    if not cited:
        yield Text(words("law.none"))
        return
    titles = {str(instrument["code"]): instrument for instrument in context.book.instruments}
    yield Text(words("law.text"))
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
                plain(context.text(titles[short]["title"]) if short in titles else words("company_rules")),
                plain(str(titles[short]["in_force_from"]) if short in titles else ""),
                plain(words.listed([context.article(article) for article in sorted(articles, key=_article_order)])),
            )
            for short, articles in sorted(cited.items())
        ),
        named=False,
    )


def _article_order(article: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", article)]


def _citations(determination: Json) -> Iterator[Mapping[str, Any]]:
    for key in ("requirements", "obligations", "evidence", "warnings"):
        for item in determination[key]:
            yield from item["citations"]
