"""The report's picture of the flow. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from service.drawing.flow_diagram import Captions, Gate, Source, Target, flow
from service.drawing.svg import Tone
from service.packs.chapters.context import BAD, ReportContext
from service.packs.document import Block, Picture, Text
from service.packs.report_data import ExportsOfDay, ReportTransfer
from service.words.formats import format_count, format_day


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return the picture, or that there is none."""
    story, words = reading.story, reading.words
    gates = [*(_gate(transfer, reading) for transfer in story.transfers), *_free_gates(reading)]
    if not gates:
        yield Text(words("flow.none"))
        return
    sources = [Source(one.id, one.title, one.key, reading.tags(one.tags), _tone(one.tags)) for one in story.datasets]
    targets = [Target(one.id, one.name, one.key, reading.country(one.country)) for one in story.recipients]
    countries = list(dict.fromkeys(target.country for target in targets))
    yield Picture(
        flow(
            sources,
            gates,
            targets,
            Captions(
                handler=story.handler.name,
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
            handler=story.handler.name,
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


def _gate(transfer: ReportTransfer, reading: ReportContext) -> Gate:
    words, permit = reading.words, transfer.permit
    if permit is None:
        return Gate(
            transfer.id,
            f"{reading.short[transfer.id]} · {words('flow.no_permit')}",
            (words.of("status", transfer.status), transfer.purpose),
            "red" if transfer.status in BAD else "amber",
            "pale_red" if transfer.status in BAD else "pale_amber",
            open=False,
            sources=transfer.datasets,
            target=transfer.recipient,
        )
    stands = permit.status == "active"
    return Gate(
        permit.id,
        f"{reading.short[permit.id]} · {words.of('status', permit.status)}",
        (
            f"{format_day(permit.valid_from)} – {format_day(permit.valid_until)}",
            words("flow.sent", sent=format_count(permit.sent_persons), allowed=format_count(permit.persons)),
        ),
        "blue" if stands else "amber",
        "pale_blue" if stands else "pale_amber",
        open=True,
        sources=permit.datasets,
        target=permit.recipient,
    )


def _free_gates(reading: ReportContext) -> Iterator[Gate]:
    """One gate for each recipient to whom something went that needed no permit."""
    free: dict[str, list[ExportsOfDay]] = defaultdict(list)
    for one in reading.story.exports:
        if one.permit is None and one.exports > one.refused:
            free[one.recipient].append(one)
    for recipient, exports in free.items():
        went = sum(one.exports - one.refused for one in exports)
        yield Gate(
            f"free:{recipient}",
            reading.words("flow.free"),
            (reading.words("flow.free_sent", exports=format_count(went)), ""),
            "green",
            "paper",
            open=True,
            sources=tuple(dict.fromkeys(one.dataset for one in exports)),
            target=recipient,
        )
