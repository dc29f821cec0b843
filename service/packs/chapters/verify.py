"""Chapter on verification: how to verify the pack, with the checkpoint that everything is proved against. Pure."""

from collections.abc import Iterator

from service.packs.chapters.context import ReportContext, describe_instant
from service.packs.document import Block, Column, Facts, Heading, Listing, Points, Span, Table, Text, code, lines, plain
from service.packs.report_data import ReportLog
from service.words.catalogue import Words
from service.words.formats import format_count


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the steps, the log and what the pack holds."""
    data, words = context.data, context.words
    yield Text(words("verify.text"))
    yield Points(tuple(words(f"verify.{step}") for step in range(1, 6)), numbered=True)
    yield Listing("outbound verify PACK.zip --vkey 'VKEY'\npython3 outbound-verifier.pyz PACK.zip --vkey 'VKEY'")
    yield Heading(words("log"))
    if data.log is None:
        yield Text(words("unproved.1"), "bad")
    else:
        yield from _log(data.log, words)
    yield Heading(words("held"))
    yield Table(
        words("held"),
        (Column(words("held.thing"), 4), Column(words("held.count"), 1, number=True)),
        tuple(
            (plain(words(f"held.{name}")), plain(format_count(getattr(data.counts, name))))
            for name in (
                "datasets",
                "transfers",
                "revisions",
                "reviews",
                "evidence",
                "permits",
                "exports",
                "refused",
                "entries",
                "entries_withheld",
                "entries_waiting",
            )
        ),
        named=False,
    )


def _log(log: ReportLog, words: Words) -> Iterator[Block]:
    yield Facts(
        (
            (words("origin"), code(log.origin)),
            (words("size"), plain(format_count(log.size))),
            (words("root"), code(log.root)),
            (words("signed"), plain(describe_instant(log.at, words))),
            (words("vkeys"), lines(*(Span(vkey, "code") for vkey in log.vkeys))),
            (words("witnesses"), plain(words.listed(log.witnesses))),
        )
    )
    yield Heading(words("note"))
    yield Listing(log.note)
