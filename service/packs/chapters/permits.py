"""The permits and what they allow. Pure."""

from collections.abc import Iterator

from service.packs.chapters.context import ReportContext, describe_persons, list_or_all
from service.packs.document import Block, Cell, Facts, Heading, Span, Text, code, lines, plain
from service.packs.report_data import ReportPermit
from service.words.formats import format_count, format_day, format_minute


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return each permit."""
    words = reading.words
    if not reading.permits:
        yield Text(words("permits.none"))
    for permit in reading.permits:
        yield Heading(words("permit", label=reading.short[permit.id]))
        yield Facts(tuple(_permit(permit, reading)))


def _permit(permit: ReportPermit, reading: ReportContext) -> Iterator[tuple[str, Cell]]:
    words = reading.words
    yield words("id"), code(permit.id)
    yield words("status"), reading.status(permit.status)
    yield words("approved_revision"), lines(reading.named(permit.transfer), Span(permit.revision, "code"))
    yield words("issued"), plain(format_minute(permit.issued_at))
    yield words("validity"), plain(f"{format_day(permit.valid_from)} – {format_day(permit.valid_until)}")
    yield words("datasets"), lines(*(reading.dataset(one) for one in permit.datasets))
    yield words("recipient"), plain(reading.recipient(permit.recipient))
    yield words("purpose"), plain(permit.purpose)
    yield words("fields"), plain(list_or_all(permit.fields, words("all"), words))
    yield words("systems"), plain(list_or_all(permit.systems, words("every_system"), words))
    yield words("mechanism"), plain(reading.mechanism(permit.mechanism))
    if permit.route is not None:
        yield words("route"), plain(words.of("route", permit.route))
    yield words("allowed"), plain(describe_persons(permit.persons, permit.sensitive_persons, words))
    yield words("sent"), plain(describe_persons(permit.sent_persons, permit.sent_sensitive_persons, words))
    yield words("exports_in_period"), plain(format_count(permit.exports))
    yield words("rests_on"), lines(*map(reading.named, permit.evidence)) or plain(words("none"))
    for key, other in (("supersedes", permit.supersedes), ("superseded_by", permit.superseded_by)):
        if other is not None:
            yield words(key), plain(reading.named(other))
