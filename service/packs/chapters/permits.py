"""Chapter of permits, with scope and use. Pure."""

from collections.abc import Iterator

from service.packs.chapters.context import ReportContext, describe_persons, list_or_all
from service.packs.document import Block, Cell, Facts, Heading, Span, Text, code, lines, plain
from service.packs.report_data import ReportPermit
from service.words.formats import format_count, format_day, format_minute


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return each permit."""
    words = context.words
    if not context.permits:
        yield Text(words("permits.none"))
    for permit in context.permits:
        yield Heading(words("permit", label=context.short[permit.id]))
        yield Facts(tuple(_permit(permit, context)))


def _permit(permit: ReportPermit, context: ReportContext) -> Iterator[tuple[str, Cell]]:
    words = context.words
    yield words("id"), code(permit.id)
    yield words("status"), context.status(permit.status)
    yield words("approved_revision"), lines(context.named(permit.transfer), Span(permit.revision, "code"))
    yield words("issued"), plain(format_minute(permit.issued_at))
    yield words("validity"), plain(f"{format_day(permit.valid_from)} – {format_day(permit.valid_until)}")
    yield words("datasets"), lines(*(context.dataset(dataset) for dataset in permit.datasets))
    yield words("recipient"), plain(context.recipient(permit.recipient))
    yield words("purpose"), plain(permit.purpose)
    yield words("fields"), plain(list_or_all(permit.fields, words("all"), words))
    yield words("systems"), plain(list_or_all(permit.systems, words("every_system"), words))
    yield words("mechanism"), plain(context.mechanism(permit.mechanism))
    if permit.route is not None:
        yield words("route"), plain(words.of("route", permit.route))
    yield words("allowed"), plain(describe_persons(permit.persons, permit.sensitive_persons, words))
    yield words("sent"), plain(describe_persons(permit.sent_persons, permit.sent_sensitive_persons, words))
    yield words("exports_in_period"), plain(format_count(permit.exports))
    yield words("rests_on"), lines(*map(context.named, permit.evidence)) or plain(words("none"))
    for key, other in (("supersedes", permit.supersedes), ("superseded_by", permit.superseded_by)):
        if other is not None:
            yield words(key), plain(context.named(other))
