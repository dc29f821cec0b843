"""Chapter of exports, summed up by month. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from service.packs.chapters.context import ReportContext
from service.packs.document import Block, Cell, Column, Heading, Span, Table, Text, lines, plain
from service.packs.report_data import ExportsOfDay
from service.words.formats import format_count, format_day


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the exports of each permit by month, and those without a permit."""
    words = context.words
    if not context.data.exports:
        yield Text(words("exports.none"))
        return
    yield Text(words("exports.text"))
    by_permit: dict[str | None, list[ExportsOfDay]] = defaultdict(list)
    for exports in context.data.exports:
        by_permit[exports.permit].append(exports)
    order = [permit.id for permit in context.permits]
    listed = [id_ for id_ in order if id_ in by_permit]
    others = [id_ for id_ in by_permit if id_ not in order]
    for permit in (*listed, *others):
        title = (
            words("exports.free") if permit is None else words("exports.of", label=context.short.get(permit, permit))
        )
        yield Heading(title)
        only = {(exports.dataset, exports.recipient) for exports in by_permit[permit]}
        if len(only) == 1:
            [(dataset, recipient)] = only
            yield Text(f"{context.dataset(dataset)} → {context.recipient(recipient)}")
        yield _by_month(title, by_permit[permit], context)


def _by_month(title: str, exports: Sequence[ExportsOfDay], context: ReportContext) -> Table:
    words = context.words
    flows = {(day.dataset, day.recipient) for day in exports}
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 5)
    for day in exports:
        month_sums = sums[day.dataset, day.recipient, format_day(day.day)[:7]]
        for place, number in enumerate((day.exports, day.completed, day.refused, day.persons, day.sensitive_persons)):
            month_sums[place] += number
    total = [sum(column) for column in zip(*sums.values(), strict=True)]

    def row(month: str, flow_: Cell, numbers: Sequence[int]) -> tuple[Cell, ...]:
        return (
            plain(month),
            *((flow_,) if len(flows) > 1 else ()),
            *(plain(format_count(number)) for number in numbers),
        )

    return Table(
        title,
        (
            Column(words("month"), 1.6),
            *((Column(words("from_to"), 4.6),) if len(flows) > 1 else ()),
            Column(words("number"), 1.3, number=True),
            Column(words("completed"), 1.6, number=True),
            Column(words("refused"), 1.3, number=True),
            Column(words("persons"), 1.7, number=True),
            Column(words("sensitive"), 1.7, number=True),
        ),
        tuple(
            row(month, lines(context.dataset(dataset), Span(f"→ {context.recipient(recipient)}", "quiet")), numbers)
            for (dataset, recipient, month), numbers in sorted(sums.items())
        ),
        named=False,
        foot=row(words("sum"), plain(""), total),
    )
