"""Chapter of the register in the snapshot: handler, datasets, gradings and recipients. Pure."""

from collections.abc import Iterator, Sequence

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Column, Facts, Heading, Span, Table, Text, code, lines, plain
from service.packs.report_data import ReportDataset, ReportGrading, ReportRecipient
from service.words.formats import format_minute


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the register as it was in the snapshot."""
    data, words = context.data, context.words
    yield Text(words("register.text"))
    yield Heading(words("handler"))
    uscc = data.handler.uscc
    rows = [
        (words("handler"), lines(data.handler.name, Span(data.handler.key, "quiet"), Span(data.handler.id, "code"))),
        *([] if uscc is None else [(words("uscc"), code(uscc))]),
        (words("facts"), plain(context.facts(data.handler.facts))),
    ]
    yield Facts(tuple(rows))
    yield Heading(words("datasets"))
    yield _datasets(data.datasets, context) if data.datasets else Text(words("datasets.none"))
    if data.gradings:
        yield _gradings(data.gradings, context)
    yield Heading(words("recipients"))
    yield _recipients(data.recipients, context) if data.recipients else Text(words("recipients.none"))


def _datasets(datasets: Sequence[ReportDataset], context: ReportContext) -> Table:
    words = context.words
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
                lines(dataset.title, Span(dataset.key, "quiet"), Span(dataset.id, "code")),
                lines(
                    context.tags(dataset.tags),
                    None if dataset.grading is None else Span(words("grading.number", number=dataset.grading), "quiet"),
                ),
                plain(words.listed(dataset.fields)),
                plain(context.facts(dataset.facts)),
            )
            for dataset in datasets
        ),
        named=False,
    )


def _gradings(gradings: Sequence[ReportGrading], context: ReportContext) -> Table:
    words = context.words
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
                lines(context.dataset(grading.dataset), Span(words("grading.number", number=grading.number), "quiet")),
                plain(context.tags(grading.tags)),
                plain(grading.basis),
                lines(
                    context.actor(grading.graded_by),
                    Span(format_minute(grading.graded_at), "quiet"),
                    context.seen_by(grading.graded_seen_by),
                    None
                    if grading.confirmed_by is None
                    else words("confirmed_by", actor=context.actor(grading.confirmed_by)),
                    context.seen_by(grading.confirmed_seen_by),
                ),
                lines(
                    *context.status(grading.state),
                    None
                    if grading.ended_at is None
                    else Span(words("until", day=format_minute(grading.ended_at)), "quiet"),
                ),
            )
            for grading in gradings
        ),
    )


def _recipients(recipients: Sequence[ReportRecipient], context: ReportContext) -> Table:
    words = context.words
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
                lines(recipient.name, Span(recipient.key, "quiet"), Span(recipient.id, "code")),
                plain(words.aside(context.country(recipient.country), recipient.country)),
                plain(words.of("recipient", recipient.kind)),
                plain(context.facts(recipient.facts)),
            )
            for recipient in recipients
        ),
        named=False,
    )
