"""Chapter of evidence items. Pure."""

from collections.abc import Iterator

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Cell, Column, Heading, Span, Table, Text, lines, plain
from service.packs.report_data import ReportEvidence
from service.words.formats import format_count, format_day, format_minute


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the evidence items of each transfer."""
    words = context.words
    with_evidence = [transfer for transfer in context.data.transfers if transfer.evidence]
    yield Text(words("evidence.text" if with_evidence else "evidence.none"))
    for transfer in with_evidence:
        title = words("request", label=context.short[transfer.id], purpose=transfer.purpose)
        yield Heading(title)
        yield Table(
            words.pair(words("evidence"), title),
            (
                Column(words("paper"), 4),
                Column(words("issuer"), 2.4),
                Column(words("days"), 2.4),
                Column(words("file"), 5),
            ),
            tuple(_item(item, context) for item in transfer.evidence),
            named=False,
        )


def _item(item: ReportEvidence, context: ReportContext) -> tuple[Cell, ...]:
    words = context.words
    verified = (
        Span(words("unverified"), "quiet")
        if item.verified_by is None or item.verified_at is None
        else Span(words("verified", actor=context.actor(item.verified_by), at=format_minute(item.verified_at)), "good")
    )
    return (
        lines(
            f"{context.short[item.id]} · {context.evidence_names.get(item.kind, item.kind)}",
            Span(item.reference, "quiet"),
            None if item.ended_at is None else Span(words("ended", at=format_minute(item.ended_at)), "warn"),
            None if item.replaced_by is None else Span(words("replaced", by=context.named(item.replaced_by)), "quiet"),
        ),
        plain(item.issuer),
        lines(
            words("issued_on", day=format_day(item.issued_on)),
            words("no_end") if item.valid_until is None else words("until", day=format_day(item.valid_until)),
        ),
        lines(
            *(
                (Span(words("no_file"), "quiet"),)
                if item.sha256 is None
                else (
                    Span(item.sha256, "code"),
                    Span(f"{item.media_type} · {words('bytes', size=format_count(item.size or 0))}", "quiet"),
                )
            ),
            verified,
            context.seen_by(item.verified_seen_by),
        ),
    )
