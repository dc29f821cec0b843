"""Makes the content of a report in one language: sections of plain text. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from service.drawing.svg import fit_text
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

MAX_ROWS: Final = 300
"""Most rows of a table."""

MAX_PARTS: Final = 100
"""Most parts of a section, such as transfers or permits."""


def document(data: ReportData, language: str, book: RuleBook) -> Document:
    """Return the report in one of `LANGUAGES`.

    Raises:
        ValueError: there is no such language.
    """
    words = Words(load_catalogue("report"), LANGUAGES.index(language))
    data = trusted(data)
    title = words.pair(words(f"kind.{data.kind}"), data.title)
    context = ReportContext(data, book, words)
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
        facts=Facts(tuple(_front(context))),
        notices=tuple(_notices(context)),
        sections=tuple(
            Section(name, words(name), tuple(_shorten(chapter(context), words))) for name, chapter in chapters.items()
        ),
        contents=words("contents"),
        running=(f"{words('title')} · {data.pack}", fit_text(title, 38, 1)),
        page_of=words("page", page="{page}", pages="{pages}"),
        keywords=(data.pack, data.subject, data.handler.id),
    )


def _shorten(blocks: Iterable[Block], words: Words) -> Iterator[Block]:
    """Shorten long tables and sections, with a note; the records of the pack hold all rows."""
    parts = 0
    for block in blocks:
        parts += isinstance(block, Heading) and block.level == 3  # noqa: PLR2004 - the highest within a section
        if parts > MAX_PARTS:
            continue
        if isinstance(block, Table) and len(block.rows) > MAX_ROWS:
            yield replace(block, rows=block.rows[:MAX_ROWS])
            yield Text(words("left_out.rows", all=format_count(len(block.rows)), shown=format_count(MAX_ROWS)), "quiet")
        else:
            yield block
    if parts > MAX_PARTS:
        yield Text(words("left_out.parts", count=format_count(parts - MAX_PARTS)), "quiet")


def _front(context: ReportContext) -> Iterator[tuple[str, Cell]]:
    data, words = context.data, context.words
    yield words("about"), lines(words.pair(words(f"kind.{data.kind}"), data.title), Span(data.subject, "code"))
    uscc = None if data.handler.uscc is None else words.pair(words("uscc"), data.handler.uscc)
    yield words("handler"), lines(data.handler.name, uscc, Span(data.handler.id, "code"))
    yield words("period"), plain(_period(data, words))
    yield words("made"), plain(describe_instant(data.made_at, words))
    yield words("pack"), code(data.pack)
    yield words("version"), plain(f"Outbound {data.version}")
    if data.log is not None:
        yield (
            words("checkpoint"),
            plain(words("checkpoint.text", size=format_count(data.log.size), at=format_second(data.log.at))),
        )
        yield words("root"), code(data.log.root)
        yield words("witnesses"), plain(words.listed(data.log.witnesses))


def _period(data: ReportData, words: Words) -> str:
    ends = {name: value for name, value in (("since", data.since), ("until", data.until)) if value is not None}
    key = "all" if not ends else "both" if len(ends) > 1 else next(iter(ends))
    return words(f"period.{key}", **ends)


def _notices(context: ReportContext) -> Iterator[Notice]:
    words = context.words
    yield Notice(
        words("what.title"), tuple(words(f"what.{line}", title=context.data.title) for line in range(1, 4)), "plain"
    )
    yield Notice(words("advice.title"), (words("advice.1"),), "warn")
    if context.data.log is None:
        yield Notice(words("unproved.title"), (words("unproved.1"),), "bad")
