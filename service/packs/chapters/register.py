"""The register as it was: the handler, datasets, gradings and recipients. Pure."""

from collections.abc import Iterator, Sequence

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Column, Facts, Heading, Span, Table, Text, code, lines, plain
from service.packs.report_data import ReportDataset, ReportGrading, ReportRecipient
from service.words.formats import format_minute


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the register as it stood when the pack was made."""
    story, words = reading.story, reading.words
    yield Text(words("register.told"))
    yield Heading(words("handler"))
    uscc = story.handler.uscc
    rows = [
        (words("handler"), lines(story.handler.name, Span(story.handler.key, "quiet"), Span(story.handler.id, "code"))),
        *([] if uscc is None else [(words("uscc"), code(uscc))]),
        (words("facts"), plain(reading.facts(story.handler.facts))),
    ]
    yield Facts(tuple(rows))
    yield Heading(words("datasets"))
    yield _datasets(story.datasets, reading) if story.datasets else Text(words("datasets.none"))
    if story.gradings:
        yield _gradings(story.gradings, reading)
    yield Heading(words("recipients"))
    yield _recipients(story.recipients, reading) if story.recipients else Text(words("recipients.none"))


def _datasets(datasets: Sequence[ReportDataset], reading: ReportContext) -> Table:
    words = reading.words
    return Table(
        words("datasets"),
        (
            Column(words("dataset"), 4),
            Column(words("tags"), 2),
            Column(words("fields"), 2.4),
            Column(words("facts"), 3),
        ),
        tuple(
            (
                lines(one.title, Span(one.key, "quiet"), Span(one.id, "code")),
                lines(
                    reading.tags(one.tags),
                    None if one.grading is None else Span(words("grading.number", number=one.grading), "quiet"),
                ),
                plain(words.listed(one.fields)),
                plain(reading.facts(one.facts)),
            )
            for one in datasets
        ),
        named=False,
    )


def _gradings(gradings: Sequence[ReportGrading], reading: ReportContext) -> Table:
    words = reading.words
    return Table(
        words("gradings"),
        (
            Column(words("dataset"), 3),
            Column(words("tags"), 2),
            Column(words("basis"), 3),
            Column(words("graded_by"), 2.6),
            Column(words("state"), 1.6),
        ),
        tuple(
            (
                lines(reading.dataset(one.dataset), Span(words("grading.number", number=one.number), "quiet")),
                plain(reading.tags(one.tags)),
                plain(one.basis),
                lines(
                    reading.actor(one.graded_by),
                    Span(format_minute(one.graded_at), "quiet"),
                    reading.seen_by(one.graded_seen_by),
                    None if one.confirmed_by is None else words("confirmed_by", actor=reading.actor(one.confirmed_by)),
                    reading.seen_by(one.confirmed_seen_by),
                ),
                lines(
                    *reading.status(one.state),
                    None if one.ended_at is None else Span(words("until", day=format_minute(one.ended_at)), "quiet"),
                ),
            )
            for one in gradings
        ),
    )


def _recipients(recipients: Sequence[ReportRecipient], reading: ReportContext) -> Table:
    words = reading.words
    return Table(
        words("recipients"),
        (
            Column(words("recipient"), 4),
            Column(words("country"), 2),
            Column(words("type"), 2),
            Column(words("facts"), 3),
        ),
        tuple(
            (
                lines(one.name, Span(one.key, "quiet"), Span(one.id, "code")),
                plain(words.aside(reading.country(one.country), one.country)),
                plain(words.of("recipient", one.kind)),
                plain(reading.facts(one.facts)),
            )
            for one in recipients
        ),
        named=False,
    )
