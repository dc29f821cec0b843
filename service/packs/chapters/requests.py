"""Chapter of transfers, their revisions and determinations. Pure."""

from collections.abc import Iterator, Sequence

from service.packs.chapters.context import ReportContext, describe_persons, list_or_all
from service.packs.document import Block, Cell, Column, Facts, Heading, Notice, Table, Text, code, lines, plain
from service.packs.report_data import Json, ReportRevision, ReportTransfer
from service.words.formats import format_minute


def blocks(context: ReportContext) -> Iterator[Block]:
    """Return each transfer with its revisions and their determinations."""
    if not context.data.transfers:
        yield Text(context.words("requests.none"))
    for transfer in context.data.transfers:
        yield from _request(transfer, context)


def _request(transfer: ReportTransfer, context: ReportContext) -> Iterator[Block]:
    words = context.words
    yield Heading(words("request", label=context.short[transfer.id], purpose=transfer.purpose))
    yield Facts(
        (
            (words("id"), code(transfer.id)),
            (words("status"), context.status(transfer.status)),
            (words("requester"), plain(context.actor(transfer.requester))),
            (words("created"), plain(format_minute(transfer.created_at))),
            (words("datasets"), lines(*(context.dataset(dataset) for dataset in transfer.datasets))),
            (words("recipient"), plain(context.recipient(transfer.recipient))),
        )
    )
    if not transfer.revisions:
        yield Text(words("revisions.none"), "quiet")
    first_with: dict[str, int] = {}
    for revision in transfer.revisions:
        yield Heading(words("revision.of", label=context.short[transfer.id], number=revision.number), 4)
        yield Facts(tuple(_submitted(revision, context)))
        first = first_with.setdefault(repr(sorted(revision.determination.items())), revision.number)
        if first == revision.number:
            yield from _determination(revision.determination, context)
        else:
            yield Text(words("same_as", number=first), "quiet")


def _submitted(revision: ReportRevision, context: ReportContext) -> Iterator[tuple[str, Cell]]:
    words, request = context.words, revision.request
    yield words("hash"), code(revision.hash)
    yield (
        words("submitted"),
        plain(words("by", at=format_minute(revision.submitted_at), actor=context.actor(revision.submitted_by))),
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
        lines(*(words.aside(str(dataset["key"]), context.tags(dataset["tags"])) for dataset in revision.datasets)),
    )
    yield words("before"), plain(describe_persons(revision.persons_before, revision.sensitive_persons_before, words))


def _determination(answer: Json, context: ReportContext) -> Iterator[Block]:
    words = context.words
    mechanism = context.mechanism(str(answer["mechanism"]))
    exemption = answer.get("exemption")
    yield Notice(
        words.pair(
            words("asked"), words.aside(mechanism, words.of("exemption", exemption)) if exemption else mechanism
        ),
        (context.text(answer["explanation"]),),
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
                    plain(str(requirement["rule"])),
                    plain(context.mechanism(str(requirement["mechanism"]))),
                    plain(words.listed([words.of("route", route) for route in requirement["routes"]])),
                    plain(context.citations(requirement["citations"])),
                )
                for requirement in answer["requirements"]
            ),
        )
    for name, key in (("obligations", "obligations"), ("papers_asked", "evidence"), ("warnings", "warnings")):
        if answer[key]:
            yield _requirements(words(name), answer[key], context)
    yield Text(words("rules_version", hash=answer["rules_version"]), "quiet")
    if answer.get("policy"):
        yield Text(words("policy_version", hash=answer["policy"]), "quiet")


def _requirements(caption: str, items: Sequence[Json], context: ReportContext) -> Table:
    return Table(
        caption,
        (Column(context.words("text"), 6), Column(context.words("citations"), 2)),
        tuple((plain(context.text(item["text"])), plain(context.citations(item["citations"]))) for item in items),
    )
