"""Chapter of the summary: numbers, sentences and points to check. Pure."""

from collections import Counter
from collections.abc import Iterator

from service.packs.chapters.context import ReportContext
from service.packs.chapters.ledger import threshold_uses
from service.packs.document import Block, Figures, Heading, Points, Text
from service.packs.report_data import ReportTransfer
from service.words.formats import format_count


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the numbers, sentences about them, and points to check."""
    data, words, counts = context.data, context.words, context.data.counts
    yield Figures(
        (
            (words("count.transfers"), format_count(counts.transfers)),
            (words("count.permits"), format_count(counts.permits)),
            (words("count.reviews"), format_count(counts.reviews)),
            (words("count.evidence"), format_count(counts.evidence)),
            (words("count.completed"), format_count(sum(day.completed for day in data.exports))),
            (words("count.persons"), format_count(sum(day.persons for day in data.exports))),
            (words("count.refused"), format_count(counts.refused)),
            (words("count.entries"), format_count(counts.entries)),
        )
    )
    yield Text(
        words(
            "summary.handler",
            handler=data.handler.name,
            transfers=format_count(counts.transfers),
            revisions=format_count(counts.revisions),
            datasets=format_count(counts.datasets),
            recipients=format_count(len(data.recipients)),
        )
    )
    yield from _of_requests(context)
    yield _of_exports(context)
    yield Heading(words("summary.look"))
    points = tuple(_points_to_check(context))
    yield Points(points) if points else Text(words("summary.nothing"))


def _of_requests(context: ReportContext) -> Iterator[Block]:
    words, transfers = context.words, context.data.transfers
    if not transfers:
        return
    statuses = Counter(transfer.status for transfer in transfers)
    parts = [words.aside(words.of("status", status), format_count(count)) for status, count in statuses.items()]
    yield Text(words("summary.statuses", statuses=words.listed(parts)))
    mechanisms = Counter(
        str(transfer.revisions[-1].determination["mechanism"]) for transfer in transfers if transfer.revisions
    )
    if mechanisms:
        names = [words.aside(context.mechanism(name), format_count(count)) for name, count in mechanisms.items()]
        yield Text(words("summary.mechanisms", mechanisms=words.parts(names)))
    reviews = [review for transfer in transfers for revision in transfer.revisions for review in revision.reviews]
    reviewers = format_count(len({review.reviewer.id for review in reviews}))
    yield Text(words("summary.reviews", reviewers=reviewers, reviews=format_count(len(reviews))))
    approved = [transfer for transfer in transfers if transfer.permit is not None]
    mixed = [context.short[transfer.id] for transfer in approved if not _is_separate(transfer)]
    if mixed:
        yield Text(words("summary.not_separate", transfers=words.listed(mixed)), "bad")
    elif approved:
        yield Text(words("summary.separate"))


def _is_separate(transfer: ReportTransfer) -> bool:
    """Return True if each approval of the last revision is by another person, and none by the requester."""
    effective = [review for review in transfer.revisions[-1].reviews if review.taken_back_at is None]
    people = {review.reviewer.id for review in effective}
    submitter = transfer.revisions[-1].submitted_by.id
    return len(people) == len({review.stage for review in effective}) and not people & {
        transfer.requester.id,
        submitter,
    }


def _of_exports(context: ReportContext) -> Block:
    data, words = context.data, context.words
    if not data.counts.exports:
        return Text(words("summary.no_exports", refused=format_count(data.counts.refused)))
    return Text(
        words(
            "summary.exports",
            permits=format_count(data.counts.permits),
            exports=format_count(data.counts.exports),
            completed=format_count(sum(day.completed for day in data.exports)),
            persons=format_count(sum(day.persons for day in data.exports)),
            sensitive=format_count(sum(day.sensitive_persons for day in data.exports)),
            refused=format_count(data.counts.refused),
        )
    )


def _points_to_check(context: ReportContext) -> Iterator[str]:
    """Return the facts that a reader should check."""
    data, words = context.data, context.words
    if data.log is None:
        yield words("look.unproved")
    elif not data.log.witnesses:
        yield words("look.unwitnessed")
    for key, count in (
        ("look.waiting", data.counts.entries_waiting),
        ("look.withheld", data.counts.entries_withheld),
        ("look.refused", data.counts.refused),
    ):
        if count:
            yield words(key, count=format_count(count))
    for permit in context.permits:
        label = context.short[permit.id]
        if permit.status in {"suspended", "revoked", "exhausted"}:
            yield words("look.permit", permit=label, status=words.of("status", permit.status))
        if permit.sent_persons > permit.persons:
            yield words(
                "look.over", permit=label, sent=format_count(permit.sent_persons), allowed=format_count(permit.persons)
            )
    yield from _points_of_transfers(context)
    for use in threshold_uses(context):
        if use.is_reached and not use.line.startswith("contract"):
            yield words("look.threshold", year=use.year, line=words(f"line.{use.line}"), words=use.text)


def _points_of_transfers(context: ReportContext) -> Iterator[str]:
    transfers = context.data.transfers
    reviews = [
        (review, revision) for transfer in transfers for revision in transfer.revisions for review in revision.reviews
    ]
    items = [item for transfer in transfers for item in transfer.evidence]
    for key, count in (
        ("look.taken_back", sum(review.taken_back_at is not None for review, _ in reviews)),
        ("look.other_hash", sum(review.hash != revision.hash for review, revision in reviews)),
        ("look.ended", sum(item.ended_at is not None for item in items)),
        ("look.no_file", sum(item.member is None for item in items)),
    ):
        if count:
            yield context.words(key, count=format_count(count))
