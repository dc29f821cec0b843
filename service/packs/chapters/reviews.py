"""Chapter of reviews, by stage. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Cell, Column, Emphasis, Heading, Span, Table, Text, lines, plain
from service.packs.report_data import ReportReview, ReportRevision
from service.words.formats import format_minute


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the decisions on each revision."""
    words = context.words
    revisions = [
        (transfer, revision)
        for transfer in context.data.transfers
        for revision in transfer.revisions
        if revision.reviews or revision.stages
    ]
    if not revisions:
        yield Text(words("reviews.none"))
        return
    yield Text(words("reviews.text"))
    for transfer, revision in revisions:
        title = words("revision.of", label=context.short[transfer.id], number=revision.number)
        yield Heading(title)
        if revision.reviews:
            yield _reviews_of(revision, title, context)
        decided = {review.stage for review in revision.reviews if review.taken_back_at is None}
        waiting = [words.of("stage", name) for name, _ in revision.stages if name not in decided]
        if waiting:
            yield Text(words("open_stages", stages=words.listed(waiting)), "quiet")


def _reviews_of(revision: ReportRevision, title: str, context: ReportContext) -> Table:
    words = context.words
    return Table(
        words.pair(words("reviews"), title),
        (
            Column(words("stage"), 2),
            Column(words("decision"), 3),
            Column(words("reviewer"), 4),
            Column(words("when"), 2.2),
            Column(words("bound"), 2),
        ),
        tuple(
            (
                plain(words.of("stage", review.stage)),
                _decision(review, context),
                lines(
                    context.actor(review.reviewer),
                    None
                    if review.on_behalf_of is None
                    else words("on_behalf", actor=context.actor(review.on_behalf_of)),
                    context.seen_by(review.seen_by),
                    Span(review.reviewer.id, "code"),
                ),
                plain(format_minute(review.at)),
                (Span(words("bound.yes"), "good") if review.hash == revision.hash else Span(words("bound.no"), "bad"),),
            )
            for review in revision.reviews
        ),
        named=False,
    )


_DECISION_EMPHASIS: Final[Mapping[str, Emphasis]] = {"approve": "good", "return": "warn", "reject": "bad"}


def _decision(review: ReportReview, context: ReportContext) -> Cell:
    words = context.words
    conditions = [
        words.pair(words.of("condition", name), context.value(value))
        for name, value in sorted((review.conditions or {}).items())
        if value not in (None, [], ())
    ]
    return lines(
        Span(words.of("decision", review.decision), _DECISION_EMPHASIS.get(review.decision, "plain")),
        words("conditions", conditions=words.parts(conditions)) if conditions else None,
        None if review.carried_from is None else Span(words("carried"), "quiet"),
        None
        if review.taken_back_at is None
        else Span(words("taken_back", at=format_minute(review.taken_back_at)), "warn"),
    )
