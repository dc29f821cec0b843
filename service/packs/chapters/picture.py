"""Chapter with the flow diagram. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from service.drawing.flow_diagram import Captions, Gate, Source, Target, draw_flow
from service.drawing.svg import Tone
from service.packs.chapters.context import BAD, ReportContext
from service.packs.document import Block, Picture, Text
from service.packs.report_data import ExportsOfDay, ReportTransfer
from service.words.formats import format_count, format_day


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return the flow diagram, or a sentence if there is no flow."""
    data, words = context.data, context.words
    gates = [*(_gate(transfer, context) for transfer in data.transfers), *_free_gates(context)]
    if not gates:
        yield Text(words("flow.none"))
        return
    sources = [
        Source(dataset.id, dataset.title, dataset.key, context.tags(dataset.tags), _tone(dataset.tags))
        for dataset in data.datasets
    ]
    targets = [
        Target(recipient.id, recipient.name, recipient.key, context.country(recipient.country))
        for recipient in data.recipients
    ]
    countries = list(dict.fromkeys(target.country for target in targets))
    yield Picture(
        draw_flow(
            sources,
            gates,
            targets,
            Captions(
                handler=data.handler.name,
                datasets=words("flow.datasets"),
                permits=words("flow.permits"),
                recipients=words("flow.recipients"),
                border=words("flow.border"),
                more_datasets=lambda count: words("flow.more_datasets", count=format_count(count)),
                more_permits=lambda count: words("flow.more_permits", count=format_count(count)),
                more_recipients=lambda count: words("flow.more_recipients", count=format_count(count)),
            ),
        ),
        words("flow.caption"),
        words(
            "flow.alt",
            datasets=len(sources),
            handler=data.handler.name,
            gates=len(gates),
            recipients=len(targets),
            countries=words.listed(countries),
        ),
    )


def _tone(tags: Sequence[str] | None) -> Tone:
    if tags is None:
        return "quiet"
    if {"core", "important"} & set(tags):
        return "red"
    return "amber" if "sensitive" in tags else ("blue" if tags else "green")


def _gate(transfer: ReportTransfer, context: ReportContext) -> Gate:
    words, permit = context.words, transfer.permit
    if permit is None:
        return Gate(
            transfer.id,
            f"{context.short[transfer.id]} · {words('flow.no_permit')}",
            (words.of("status", transfer.status), transfer.purpose),
            "red" if transfer.status in BAD else "amber",
            "pale_red" if transfer.status in BAD else "pale_amber",
            open=False,
            sources=transfer.datasets,
            target=transfer.recipient,
        )
    is_active = permit.status == "active"
    return Gate(
        permit.id,
        f"{context.short[permit.id]} · {words.of('status', permit.status)}",
        (
            f"{format_day(permit.valid_from)} – {format_day(permit.valid_until)}",
            words("flow.sent", sent=format_count(permit.sent_persons), allowed=format_count(permit.persons)),
        ),
        "blue" if is_active else "amber",
        "pale_blue" if is_active else "pale_amber",
        open=True,
        sources=permit.datasets,
        target=permit.recipient,
    )


def _free_gates(context: ReportContext) -> Iterator[Gate]:
    """Return one gate for each recipient of exports that needed no permit."""
    free: dict[str, list[ExportsOfDay]] = defaultdict(list)
    for day in context.data.exports:
        if day.permit is None and day.exports > day.refused:
            free[day.recipient].append(day)
    for recipient, exports in free.items():
        went = sum(day.exports - day.refused for day in exports)
        yield Gate(
            f"free:{recipient}",
            context.words("flow.free"),
            (context.words("flow.free_sent", exports=format_count(went)), ""),
            "green",
            "paper",
            open=True,
            sources=tuple(dict.fromkeys(day.dataset for day in exports)),
            target=recipient,
        )
