"""The papers on record. Pure."""

from collections.abc import Iterator

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Cell, Column, Heading, Span, Table, Text, lines, plain
from service.packs.report_data import ReportEvidence
from service.words.formats import format_count, format_day, format_minute


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the papers of each request."""
    words = reading.words
    with_papers = [transfer for transfer in reading.story.transfers if transfer.evidence]
    yield Text(words("evidence.told" if with_papers else "evidence.none"))
    for transfer in with_papers:
        title = words("request", label=reading.short[transfer.id], purpose=transfer.purpose)
        yield Heading(title)
        yield Table(
            words.pair(words("evidence"), title),
            (
                Column(words("paper"), 4),
                Column(words("issuer"), 2.4),
                Column(words("days"), 2.4),
                Column(words("file"), 5),
            ),
            tuple(_paper(one, reading) for one in transfer.evidence),
            named=False,
        )


def _paper(paper: ReportEvidence, reading: ReportContext) -> tuple[Cell, ...]:
    words = reading.words
    verified = (
        Span(words("unverified"), "quiet")
        if paper.verified_by is None or paper.verified_at is None
        else Span(
            words("verified", actor=reading.actor(paper.verified_by), at=format_minute(paper.verified_at)), "good"
        )
    )
    return (
        lines(
            f"{reading.short[paper.id]} · {reading.paper_names.get(paper.kind, paper.kind)}",
            Span(paper.reference, "quiet"),
            None if paper.ended_at is None else Span(words("ended", at=format_minute(paper.ended_at)), "warn"),
            None
            if paper.replaced_by is None
            else Span(words("replaced", by=reading.named(paper.replaced_by)), "quiet"),
        ),
        plain(paper.issuer),
        lines(
            words("issued_on", day=format_day(paper.issued_on)),
            words("no_end") if paper.valid_until is None else words("until", day=format_day(paper.valid_until)),
        ),
        lines(
            *(
                (Span(words("no_file"), "quiet"),)
                if paper.sha256 is None
                else (
                    Span(paper.sha256, "code"),
                    Span(f"{paper.media_type} · {words('bytes', size=format_count(paper.size or 0))}", "quiet"),
                )
            ),
            verified,
            reading.seen_by(paper.verified_seen_by),
        ),
    )
