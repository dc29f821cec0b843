"""Chapter of reviews: who decided on what, stage by stage. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Cell, Column, Heading, Look, Span, Table, Text, lines, plain
from service.packs.report_data import ReportReview, ReportRevision
from service.words.formats import format_minute


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the decisions on each revision."""
    words = reading.words
    revisions = [
        (transfer, revision)
        for transfer in reading.story.transfers
        for revision in transfer.revisions
        if revision.reviews or revision.stages
    ]
    if not revisions:
        yield Text(words("reviews.none"))
        return
    yield Text(words("reviews.told"))
    for transfer, revision in revisions:
        title = words("revision.of", label=reading.short[transfer.id], number=revision.number)
        yield Heading(title)
        if revision.reviews:
            yield _reviews_of(revision, title, reading)
        decided = {review.stage for review in revision.reviews if review.taken_back_at is None}
        waiting = [words.of("stage", name) for name, _ in revision.stages if name not in decided]
        if waiting:
            yield Text(words("open_stages", stages=words.listed(waiting)), "quiet")


def _reviews_of(revision: ReportRevision, title: str, reading: ReportContext) -> Table:
    words = reading.words
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
                plain(words.of("stage", one.stage)),
                _decision(one, reading),
                lines(
                    reading.actor(one.reviewer),
                    None if one.on_behalf_of is None else words("on_behalf", actor=reading.actor(one.on_behalf_of)),
                    reading.seen_by(one.seen_by),
                    Span(one.reviewer.id, "code"),
                ),
                plain(format_minute(one.at)),
                (Span(words("bound.yes"), "good") if one.hash == revision.hash else Span(words("bound.no"), "bad"),),
            )
            for one in revision.reviews
        ),
        named=False,
    )


_DECISION_LOOKS: Final[Mapping[str, Look]] = {"approve": "good", "return": "warn", "reject": "bad"}


def _decision(review: ReportReview, reading: ReportContext) -> Cell:
    words = reading.words
    conditions = [
        words.pair(words.of("condition", name), reading.value(value))
        for name, value in sorted((review.conditions or {}).items())
        if value not in (None, [], ())
    ]
    return lines(
        Span(words.of("decision", review.decision), _DECISION_LOOKS.get(review.decision, "plain")),
        words("conditions", conditions=words.parts(conditions)) if conditions else None,
        None if review.carried_from is None else Span(words("carried"), "quiet"),
        None
        if review.taken_back_at is None
        else Span(words("taken_back", at=format_minute(review.taken_back_at)), "warn"),
    )
