"""A report in one language: a story and the law, put in sections of plain text. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from service.drawing.svg import fitted
from service.law.rule_book import RuleBook
from service.packs.chapters import (
    evidence,
    exports,
    law,
    ledger,
    permits,
    picture,
    register,
    requests,
    reviews,
    summary,
    timeline,
    verify,
)
from service.packs.chapters.context import ReportContext, describe_instant
from service.packs.document import (
    Block,
    Cell,
    Document,
    Facts,
    Heading,
    Notice,
    Section,
    Span,
    Table,
    Text,
    code,
    lines,
    plain,
    trusted,
)
from service.packs.report_data import ReportData
from service.words.catalogue import LANGUAGE_TAGS, LANGUAGES, Words, load_catalogue
from service.words.formats import format_count, format_second

ROWS: Final = 300
"""The most rows of a table."""

PARTS: Final = 100
"""The most parts of a section: requests, permits and the like."""


def document(story: ReportData, language: str, book: RuleBook) -> Document:
    """Return the report of a story in one of `LANGUAGES`.

    Raises:
        ValueError: there is no such language.
    """
    words = Words(load_catalogue("report"), LANGUAGES.index(language))
    story = trusted(story)
    title = words.pair(words(f"kind.{story.kind}"), story.title)
    reading = ReportContext(story, book, words)
    chapters: Mapping[str, Callable[[ReportContext], Iterator[Block]]] = {
        "summary": summary.blocks,
        "flow": picture.blocks,
        "timeline": timeline.blocks,
        "register": register.blocks,
        "requests": requests.blocks,
        "reviews": reviews.blocks,
        "evidence": evidence.blocks,
        "permits": permits.blocks,
        "exports": exports.blocks,
        "ledger": ledger.blocks,
        "law": law.blocks,
        "verify": verify.blocks,
    }
    return Document(
        language=LANGUAGE_TAGS[words.language],
        kicker=words("kicker"),
        title=words("title"),
        subtitle=title,
        facts=Facts(tuple(_front(reading))),
        notices=tuple(_notices(reading)),
        sections=tuple(
            Section(name, words(name), tuple(_bounded(chapter(reading), words))) for name, chapter in chapters.items()
        ),
        contents=words("contents"),
        running=(f"{words('title')} · {story.pack}", fitted(title, 38, 1)),
        page_of=words("page", page="{page}", pages="{pages}"),
        keywords=(story.pack, story.subject, story.handler.id),
    )


def _bounded(blocks: Iterable[Block], words: Words) -> Iterator[Block]:
    """Cut long tables and long sections, and say so: whoever needs a thousand of them has the pack's records."""
    parts = 0
    for block in blocks:
        parts += isinstance(block, Heading) and block.level == 3  # noqa: PLR2004 - the highest within a section
        if parts > PARTS:
            continue
        if isinstance(block, Table) and len(block.rows) > ROWS:
            yield replace(block, rows=block.rows[:ROWS])
            yield Text(words("left_out.rows", all=format_count(len(block.rows)), shown=format_count(ROWS)), "quiet")
        else:
            yield block
    if parts > PARTS:
        yield Text(words("left_out.parts", count=format_count(parts - PARTS)), "quiet")


def _front(reading: ReportContext) -> Iterator[tuple[str, Cell]]:
    story, words = reading.story, reading.words
    yield words("about"), lines(words.pair(words(f"kind.{story.kind}"), story.title), Span(story.subject, "code"))
    uscc = None if story.handler.uscc is None else words.pair(words("uscc"), story.handler.uscc)
    yield words("handler"), lines(story.handler.name, uscc, Span(story.handler.id, "code"))
    yield words("period"), plain(_period(story, words))
    yield words("made"), plain(describe_instant(story.made_at, words))
    yield words("pack"), code(story.pack)
    yield words("version"), plain(f"Outbound {story.version}")
    if story.log is not None:
        yield (
            words("checkpoint"),
            plain(words("checkpoint.told", size=format_count(story.log.size), at=format_second(story.log.at))),
        )
        yield words("root"), code(story.log.root)
        yield words("witnesses"), plain(words.listed(story.log.witnesses))


def _period(story: ReportData, words: Words) -> str:
    ends = {name: value for name, value in (("since", story.since), ("until", story.until)) if value is not None}
    key = "all" if not ends else "both" if len(ends) > 1 else next(iter(ends))
    return words(f"period.{key}", **ends)


def _notices(reading: ReportContext) -> Iterator[Notice]:
    words = reading.words
    yield Notice(
        words("what.title"), tuple(words(f"what.{line}", title=reading.story.title) for line in range(1, 4)), "plain"
    )
    yield Notice(words("advice.title"), (words("advice.1"),), "warn")
    if reading.story.log is None:
        yield Notice(words("unproved.title"), (words("unproved.1"),), "bad")
