"""The requests, their revisions, and what the law asked for each. Pure."""

from collections.abc import Iterator, Sequence

from service.packs.chapters.context import ReportContext, describe_persons, list_or_all
from service.packs.document import Block, Cell, Column, Facts, Heading, Notice, Table, Text, code, lines, plain
from service.packs.report_data import Json, ReportRevision, ReportTransfer
from service.words.formats import format_minute


def blocks(reading: ReportContext) -> Iterator[Block]:
    """Return each request with its revisions and their determinations."""
    if not reading.story.transfers:
        yield Text(reading.words("requests.none"))
    for transfer in reading.story.transfers:
        yield from _request(transfer, reading)


def _request(transfer: ReportTransfer, reading: ReportContext) -> Iterator[Block]:
    words = reading.words
    yield Heading(words("request", label=reading.short[transfer.id], purpose=transfer.purpose))
    yield Facts(
        (
            (words("id"), code(transfer.id)),
            (words("status"), reading.status(transfer.status)),
            (words("requester"), plain(reading.actor(transfer.requester))),
            (words("created"), plain(format_minute(transfer.created_at))),
            (words("datasets"), lines(*(reading.dataset(one) for one in transfer.datasets))),
            (words("recipient"), plain(reading.recipient(transfer.recipient))),
        )
    )
    if not transfer.revisions:
        yield Text(words("revisions.none"), "quiet")
    told: dict[str, int] = {}
    for revision in transfer.revisions:
        yield Heading(words("revision.of", label=reading.short[transfer.id], number=revision.number), 4)
        yield Facts(tuple(_submitted(revision, reading)))
        known = told.setdefault(repr(sorted(revision.determination.items())), revision.number)
        if known == revision.number:
            yield from _determination(revision.determination, reading)
        else:
            yield Text(words("same_as", number=known), "quiet")


def _submitted(revision: ReportRevision, reading: ReportContext) -> Iterator[tuple[str, Cell]]:
    words, request = reading.words, revision.request
    yield words("hash"), code(revision.hash)
    yield (
        words("submitted"),
        plain(words("by", at=format_minute(revision.submitted_at), actor=reading.actor(revision.submitted_by))),
    )
    yield words("purpose"), plain(str(request.get("purpose", "")))
    if request.get("description"):
        yield words("description"), plain(str(request["description"]))
    yield (
        words("persons"),
        plain(describe_persons(request.get("persons", 0), request.get("sensitive_persons", 0), words)),
    )
    yield words("fields"), plain(list_or_all(request.get("fields"), words("all"), words))
    yield words("systems"), plain(list_or_all(request.get("systems"), words("every_system"), words))
    for name, vocabulary in (
        ("method", "method"),
        ("legal_basis", "basis"),
        ("necessity", "basis"),
        ("route", "route"),
    ):
        if request.get(name):
            yield words(name), plain(words.of(vocabulary, request[name]))
    yield words("validity"), plain(f"{request.get('valid_from', '')} – {request.get('valid_until', '')}")
    yield (
        words("seen.datasets"),
        lines(*(words.aside(str(one["key"]), reading.tags(one["tags"])) for one in revision.datasets)),
    )
    yield words("before"), plain(describe_persons(revision.persons_before, revision.sensitive_persons_before, words))


def _determination(answer: Json, reading: ReportContext) -> Iterator[Block]:
    words = reading.words
    asked = reading.mechanism(str(answer["mechanism"]))
    exemption = answer.get("exemption")
    yield Notice(
        words.pair(words("asked"), words.aside(asked, words.of("exemption", exemption)) if exemption else asked),
        (reading.text(answer["explanation"]),),
    )
    if answer["requirements"]:
        yield Table(
            words("requirements"),
            (
                Column(words("rule"), 2),
                Column(words("mechanism"), 4),
                Column(words("routes"), 3),
                Column(words("citations"), 2.4),
            ),
            tuple(
                (
                    plain(str(one["rule"])),
                    plain(reading.mechanism(str(one["mechanism"]))),
                    plain(words.listed([words.of("route", route) for route in one["routes"]])),
                    plain(reading.citations(one["citations"])),
                )
                for one in answer["requirements"]
            ),
        )
    for name, key in (("obligations", "obligations"), ("papers_asked", "evidence"), ("warnings", "warnings")):
        if answer[key]:
            yield _asked(words(name), answer[key], reading)
    yield Text(words("rules_version", hash=answer["rules_version"]), "quiet")
    if answer.get("policy"):
        yield Text(words("policy_version", hash=answer["policy"]), "quiet")


def _asked(caption: str, items: Sequence[Json], reading: ReportContext) -> Table:
    return Table(
        caption,
        (Column(reading.words("text"), 6), Column(reading.words("citations"), 2)),
        tuple((plain(reading.text(one["text"])), plain(reading.citations(one["citations"]))) for one in items),
    )
