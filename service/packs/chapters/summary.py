"""The report's summary: numbers, plain sentences, and what deserves a look. Pure."""

from collections import Counter
from collections.abc import Iterator

from service.packs.chapters.context import ReportContext
from service.packs.chapters.ledger import held_of
from service.packs.document import Block, Figures, Heading, Points, Text
from service.packs.report_data import ReportTransfer
from service.words.formats import format_count


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the numbers, what they mean in sentences, and what deserves a look."""
    story, words, counts = reading.story, reading.words, reading.story.counts
    yield Figures(
        (
            (words("count.transfers"), format_count(counts.transfers)),
            (words("count.permits"), format_count(counts.permits)),
            (words("count.reviews"), format_count(counts.reviews)),
            (words("count.evidence"), format_count(counts.evidence)),
            (words("count.completed"), format_count(sum(one.completed for one in story.exports))),
            (words("count.persons"), format_count(sum(one.persons for one in story.exports))),
            (words("count.refused"), format_count(counts.refused)),
            (words("count.entries"), format_count(counts.entries)),
        )
    )
    yield Text(
        words(
            "summary.handler",
            handler=story.handler.name,
            transfers=format_count(counts.transfers),
            revisions=format_count(counts.revisions),
            datasets=format_count(counts.datasets),
            recipients=format_count(len(story.recipients)),
        )
    )
    yield from _of_requests(reading)
    yield _of_exports(reading)
    yield Heading(words("summary.look"))
    looks = tuple(_looks(reading))
    yield Points(looks) if looks else Text(words("summary.nothing"))


def _of_requests(reading: ReportContext) -> Iterator[Block]:
    words, transfers = reading.words, reading.story.transfers
    if not transfers:
        return
    statuses = Counter(transfer.status for transfer in transfers)
    told = [words.aside(words.of("status", status), format_count(count)) for status, count in statuses.items()]
    yield Text(words("summary.statuses", statuses=words.listed(told)))
    asked = Counter(str(one.revisions[-1].determination["mechanism"]) for one in transfers if one.revisions)
    if asked:
        names = [words.aside(reading.mechanism(name), format_count(count)) for name, count in asked.items()]
        yield Text(words("summary.mechanisms", mechanisms=words.parts(names)))
    reviews = [review for transfer in transfers for revision in transfer.revisions for review in revision.reviews]
    reviewers = format_count(len({review.reviewer.id for review in reviews}))
    yield Text(words("summary.reviews", reviewers=reviewers, reviews=format_count(len(reviews))))
    approved = [transfer for transfer in transfers if transfer.permit is not None]
    mixed = [reading.short[transfer.id] for transfer in approved if not _separate(transfer)]
    if mixed:
        yield Text(words("summary.not_separate", transfers=words.listed(mixed)), "bad")
    elif approved:
        yield Text(words("summary.separate"))


def _separate(transfer: ReportTransfer) -> bool:
    """Tell whether the standing approvals of the last revision came from as many people, none of them the requester."""
    standing = [review for review in transfer.revisions[-1].reviews if review.taken_back_at is None]
    people = {review.reviewer.id for review in standing}
    submitter = transfer.revisions[-1].submitted_by.id
    return len(people) == len({review.stage for review in standing}) and not people & {transfer.requester.id, submitter}


def _of_exports(reading: ReportContext) -> Block:
    story, words = reading.story, reading.words
    if not story.counts.exports:
        return Text(words("summary.no_exports", refused=format_count(story.counts.refused)))
    return Text(
        words(
            "summary.exports",
            permits=format_count(story.counts.permits),
            exports=format_count(story.counts.exports),
            completed=format_count(sum(one.completed for one in story.exports)),
            persons=format_count(sum(one.persons for one in story.exports)),
            sensitive=format_count(sum(one.sensitive_persons for one in story.exports)),
            refused=format_count(story.counts.refused),
        )
    )


def _looks(reading: ReportContext) -> Iterator[str]:
    """Return what a reader should look at, by facts alone."""
    story, words = reading.story, reading.words
    if story.log is None:
        yield words("look.unproved")
    elif not story.log.witnesses:
        yield words("look.unwitnessed")
    for key, count in (
        ("look.waiting", story.counts.entries_waiting),
        ("look.withheld", story.counts.entries_withheld),
        ("look.refused", story.counts.refused),
    ):
        if count:
            yield words(key, count=format_count(count))
    for permit in reading.permits:
        label = reading.short[permit.id]
        if permit.status in {"suspended", "revoked", "exhausted"}:
            yield words("look.permit", permit=label, status=words.of("status", permit.status))
        if permit.sent_persons > permit.persons:
            yield words(
                "look.over", permit=label, sent=format_count(permit.sent_persons), allowed=format_count(permit.persons)
            )
    yield from _looks_at_requests(reading)
    for held in held_of(reading):
        if held.reached and not held.line.startswith("contract"):
            yield words("look.threshold", year=held.year, line=words(f"line.{held.line}"), words=held.told)


def _looks_at_requests(reading: ReportContext) -> Iterator[str]:
    transfers = reading.story.transfers
    reviews = [(one, revision) for each in transfers for revision in each.revisions for one in revision.reviews]
    papers = [paper for transfer in transfers for paper in transfer.evidence]
    for key, count in (
        ("look.taken_back", sum(review.taken_back_at is not None for review, _ in reviews)),
        ("look.other_hash", sum(review.hash != revision.hash for review, revision in reviews)),
        ("look.ended", sum(paper.ended_at is not None for paper in papers)),
        ("look.no_file", sum(paper.member is None for paper in papers)),
    ):
        if count:
            yield reading.words(key, count=format_count(count))
