"""What a report says, in one language: a story and the law, put in sections of plain text. Pure.

Requests, permits and papers have short names (T1, P1, E1), so that a sentence can name them; their ids stand beside them once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import groupby
from typing import Any, Final

from service.law.explanation import country, mechanism, tag
from service.law.facts import FIRST_DAY
from service.law.rules import RuleBook
from service.packs.document import (
    Block,
    Cell,
    Column,
    Day,
    Document,
    Facts,
    Figures,
    Heading,
    Listing,
    Look,
    Moment,
    Notice,
    Picture,
    Points,
    Section,
    Span,
    Table,
    Text,
    Timeline,
    code,
    lines,
    plain,
    trusted,
)
from service.packs.drawing import Tone
from service.packs.flow import Captions, Gate, Source, Target, bars, flow
from service.packs.story import (
    Actor,
    DatasetShown,
    EvidenceShown,
    ExportsOfDay,
    GradingShown,
    Happening,
    Json,
    LogShown,
    PermitShown,
    RecipientShown,
    ReviewShown,
    RevisionShown,
    Story,
    TransferShown,
)
from service.packs.wording import LANGUAGES, TAGS, Words, day, in_china, moment, second, whole

_LINES: Final = (
    ("assessment_persons", False),
    ("assessment_sensitive_persons", True),
    ("contract_persons", False),
    ("contract_sensitive_persons", True),
)
"""The lines of the law that a year's count is held against, strict ones first; whether they are of sensitive information."""

_MOMENTS: Final = 600
"""Lines of the timeline; a reader of more than that reads the log."""

_GOOD: Final = frozenset({"active", "approved", "effective"})
_BAD: Final = frozenset({"rejected", "revoked"})
_WARN: Final = frozenset({"suspended", "returned", "exhausted", "pending", "withdrawn", "expired"})


def look_of(status: str) -> Look:
    """Return how a status is shown."""
    if status in _GOOD:
        return "good"
    if status in _BAD:
        return "bad"
    return "warn" if status in _WARN else "plain"


@dataclass(frozen=True)
class Reading:
    """A story as it is read: with the words of a language, the law, and the short names of what is in it."""

    story: Story
    book: RuleBook
    words: Words

    @cached_property
    def short(self) -> Mapping[str, str]:
        """Short names of requests, permits and papers, by id."""
        names = {one.id: f"T{number}" for number, one in enumerate(self.story.transfers, 1)}
        names |= {one.id: f"P{number}" for number, one in enumerate(self.permits, 1)}
        papers = (paper for transfer in self.story.transfers for paper in transfer.evidence)
        return names | {paper.id: f"E{number}" for number, paper in enumerate(papers, 1)}

    @cached_property
    def permits(self) -> Sequence[PermitShown]:
        """All permits, in the order of their requests."""
        return [transfer.permit for transfer in self.story.transfers if transfer.permit is not None]

    @cached_property
    def datasets(self) -> Mapping[str, DatasetShown]:
        """Datasets by id."""
        return {one.id: one for one in self.story.datasets}

    @cached_property
    def recipients(self) -> Mapping[str, RecipientShown]:
        """Recipients by id."""
        return {one.id: one for one in self.story.recipients}

    @cached_property
    def paper_names(self) -> Mapping[str, str]:
        """Names of the kinds of evidence, as the law data has them, the latest wording last."""
        language = LANGUAGES[self.words.language]
        return {
            entry.code: dict(entry.text)[language]
            for begins in self.book.days
            for entry in self.book.edition(begins).evidence
        }

    @property
    def last_day(self) -> date:
        """The last day that the report is about: its law is the law of that day."""
        last = self.story.made_at.date() if self.story.until is None else self.story.until
        return max(last, FIRST_DAY)

    def named(self, id_: str) -> str:
        """Return the short name of something with its id; the id alone, if it has none."""
        return f"{self.short[id_]} · {id_}" if id_ in self.short else id_

    def dataset(self, id_: str) -> str:
        """Return the key of a dataset; its id, if it is not in the pack."""
        return self.datasets[id_].key if id_ in self.datasets else id_

    def recipient(self, id_: str) -> str:
        """Return the name and the country of a recipient; its id, if it is not in the pack."""
        if id_ not in self.recipients:
            return id_
        found = self.recipients[id_]
        return self.words.aside(found.name, self.country(found.country))

    def country(self, code_: str) -> str:
        """Return the name of a country."""
        return country(code_, self.words.language)

    def actor(self, actor: Actor) -> str:
        """Return who did something: the name of a reviewer or a system; nobody else is named."""
        if actor.kind == "system":
            return self.words("actor.system", name=actor.name or actor.id)
        if actor.id == "operator":
            return self.words("actor.operator")
        return actor.name or self.words("actor.person", id=actor.id)

    def tags(self, tags: Sequence[str] | None) -> str:
        """Return the tags of a dataset in words."""
        if tags is None:
            return self.words("ungraded")
        return self.words.listed([tag(one, self.words.language) for one in tags]) if tags else self.words("general")

    def mechanism(self, name: str) -> str:
        """Return what a mechanism asks for."""
        return mechanism(name, self.words.language)

    def facts(self, facts: Json) -> str:
        """Return facts of the register in words; those that are not known are left out."""
        told = [
            self.words.pair(self.words.of("fact", name), self.value(value))
            for name, value in sorted(facts.items())
            if value is not None
        ]
        return self.words.parts(told)

    def value(self, value: object) -> str:
        """Return a value of a fact or a condition in words."""
        if isinstance(value, bool):
            return self.words("yes" if value else "no")
        if isinstance(value, int):
            return whole(value)
        if isinstance(value, (list, tuple)):
            return self.words.listed([self.value(one) for one in value])
        return self.words.of("value", value)

    def citations(self, citations: Iterable[Mapping[str, str | None]]) -> str:
        """Return articles as a sentence cites them."""
        forms = (" art. {}", "第{}条")
        return self.words.parts(
            [
                f"{one['instrument']}{forms[self.words.language].format(one['article']) if one['article'] else ''}"
                for one in citations
            ]
        )

    def text(self, texts: Mapping[str, str]) -> str:
        """Return the text of the report's language."""
        return texts[LANGUAGES[self.words.language]]

    def status(self, status: str) -> Cell:
        """Return a status in words, with its look."""
        return (Span(self.words.of("status", status), look_of(status)),)


def document(story: Story, language: str, book: RuleBook) -> Document:
    """Return the report of a story in one of `LANGUAGES`.

    Raises:
        ValueError: there is no such language.
    """
    words = Words(LANGUAGES.index(language))
    story = trusted(story)
    reading = Reading(story, book, words)
    chapters: Mapping[str, Callable[[Reading], Iterator[Block]]] = {
        "summary": _summary,
        "flow": _flow,
        "timeline": _timeline,
        "register": _register,
        "requests": _requests,
        "reviews": _reviews,
        "evidence": _evidence,
        "permits": _permits,
        "exports": _exports,
        "ledger": _ledger,
        "law": _law,
        "verify": _verify,
    }
    return Document(
        language=TAGS[words.language],
        kicker=words("kicker"),
        title=words("title"),
        subtitle=words.pair(words(f"kind.{story.kind}"), story.title),
        facts=Facts(tuple(_front(reading))),
        notices=tuple(_notices(reading)),
        sections=tuple(Section(name, words(name), tuple(chapter(reading))) for name, chapter in chapters.items()),
        contents=words("contents"),
        running=f"{words('title')} · {story.pack}",
        page_of=words("page", page="{page}", pages="{pages}"),
        keywords=(story.pack, story.subject, story.handler.id),
    )


def _front(reading: Reading) -> Iterator[tuple[str, Cell]]:
    story, words = reading.story, reading.words
    yield words("about"), lines(words.pair(words(f"kind.{story.kind}"), story.title), Span(story.subject, "code"))
    uscc = None if story.handler.uscc is None else words.pair(words("uscc"), story.handler.uscc)
    yield words("handler"), lines(story.handler.name, uscc, Span(story.handler.id, "code"))
    yield words("period"), plain(_period(story, words))
    yield words("made"), plain(_both(story.made_at, words))
    yield words("pack"), code(story.pack)
    yield words("version"), plain(f"Outbound {story.version}")
    if story.log is not None:
        yield (
            words("checkpoint"),
            plain(words("checkpoint.told", size=whole(story.log.size), at=second(story.log.at))),
        )
        yield words("root"), code(story.log.root)
        yield words("witnesses"), plain(words.listed(story.log.witnesses))


def _both(at: datetime, words: Words) -> str:
    return words("moment.both", utc=second(at), china=in_china(at))


def _period(story: Story, words: Words) -> str:
    match story.since, story.until:
        case None, None:
            return words("period.all")
        case since, None:
            return words("period.since", since=since)
        case None, until:
            return words("period.until", until=until)
        case since, until:
            return words("period.both", since=since, until=until)


def _notices(reading: Reading) -> Iterator[Notice]:
    words = reading.words
    yield Notice(
        words("what.title"), tuple(words(f"what.{line}", title=reading.story.title) for line in range(1, 4)), "plain"
    )
    yield Notice(words("advice.title"), (words("advice.1"),), "warn")
    if reading.story.log is None:
        yield Notice(words("unproved.title"), (words("unproved.1"),), "bad")


# 1. Summary


def _summary(reading: Reading) -> Iterator[Block]:
    story, words, counts = reading.story, reading.words, reading.story.counts
    yield Figures(
        (
            (words("count.transfers"), whole(counts.transfers)),
            (words("count.permits"), whole(counts.permits)),
            (words("count.reviews"), whole(counts.reviews)),
            (words("count.evidence"), whole(counts.evidence)),
            (words("count.completed"), whole(sum(one.completed for one in story.exports))),
            (words("count.persons"), whole(sum(one.persons for one in story.exports))),
            (words("count.refused"), whole(counts.refused)),
            (words("count.entries"), whole(counts.entries)),
        )
    )
    yield Text(
        words(
            "summary.handler",
            handler=story.handler.name,
            transfers=whole(counts.transfers),
            revisions=whole(counts.revisions),
            datasets=whole(counts.datasets),
            recipients=whole(len(story.recipients)),
        )
    )
    yield from _of_requests(reading)
    yield _of_exports(reading)
    yield Heading(words("summary.look"))
    looks = tuple(_looks(reading))
    yield Points(looks) if looks else Text(words("summary.nothing"))


def _of_requests(reading: Reading) -> Iterator[Block]:
    words, transfers = reading.words, reading.story.transfers
    if not transfers:
        return
    statuses = Counter(transfer.status for transfer in transfers)
    told = [f"{words.of('status', status)} {whole(count)}" for status, count in statuses.items()]
    yield Text(words("summary.statuses", statuses=words.listed(told)))
    asked = Counter(str(one.revisions[-1].determination["mechanism"]) for one in transfers if one.revisions)
    if asked:
        names = [f"{reading.mechanism(name)} {whole(count)}" for name, count in asked.items()]
        yield Text(words("summary.mechanisms", mechanisms=words.parts(names)))
    reviews = [review for transfer in transfers for revision in transfer.revisions for review in revision.reviews]
    reviewers = whole(len({review.reviewer.id for review in reviews}))
    yield Text(words("summary.reviews", reviewers=reviewers, reviews=whole(len(reviews))))
    approved = [transfer for transfer in transfers if transfer.permit is not None]
    mixed = [reading.short[transfer.id] for transfer in approved if not _separate(transfer)]
    if mixed:
        yield Text(words("summary.not_separate", transfers=words.listed(mixed)), "bad")
    elif approved:
        yield Text(words("summary.separate"))


def _separate(transfer: TransferShown) -> bool:
    """Tell whether the standing approvals of the last revision came from as many people, none of them the requester."""
    standing = [review for review in transfer.revisions[-1].reviews if review.taken_back_at is None]
    people = {review.reviewer.id for review in standing}
    submitter = transfer.revisions[-1].submitted_by.id
    return len(people) == len({review.stage for review in standing}) and not people & {transfer.requester.id, submitter}


def _of_exports(reading: Reading) -> Block:
    story, words = reading.story, reading.words
    if not story.counts.exports:
        return Text(words("summary.no_exports", refused=whole(story.counts.refused)))
    return Text(
        words(
            "summary.exports",
            permits=whole(story.counts.permits),
            exports=whole(story.counts.exports),
            completed=whole(sum(one.completed for one in story.exports)),
            persons=whole(sum(one.persons for one in story.exports)),
            sensitive=whole(sum(one.sensitive_persons for one in story.exports)),
            refused=whole(story.counts.refused),
        )
    )


def _looks(reading: Reading) -> Iterator[str]:
    """Return what a reader should look at, by facts alone."""
    story, words = reading.story, reading.words
    if story.log is None:
        yield words("look.unproved")
    elif not story.log.witnesses:
        yield words("look.unwitnessed")
    for key, count in (
        ("look.waiting", story.counts.entries_waiting),
        ("look.withheld", story.counts.entries_withheld),
        ("look.refused", story.counts.refused),
    ):
        if count:
            yield words(key, count=whole(count))
    for permit in reading.permits:
        label = reading.short[permit.id]
        if permit.status in {"suspended", "revoked", "exhausted"}:
            yield words("look.permit", permit=label, status=words.of("status", permit.status))
        if permit.sent_persons > permit.persons:
            yield words("look.over", permit=label, sent=whole(permit.sent_persons), allowed=whole(permit.persons))
    yield from _looks_at_requests(reading)
    for held in _held(reading):
        if held.reached and not held.line.startswith("contract"):
            yield words("look.threshold", year=held.year, line=words(f"line.{held.line}"), words=held.told)


def _looks_at_requests(reading: Reading) -> Iterator[str]:
    transfers = reading.story.transfers
    reviews = [(one, revision) for each in transfers for revision in each.revisions for one in revision.reviews]
    papers = [paper for transfer in transfers for paper in transfer.evidence]
    for key, count in (
        ("look.taken_back", sum(review.taken_back_at is not None for review, _ in reviews)),
        ("look.other_hash", sum(review.hash != revision.hash for review, revision in reviews)),
        ("look.ended", sum(paper.ended_at is not None for paper in papers)),
        ("look.no_file", sum(paper.member is None for paper in papers)),
    ):
        if count:
            yield reading.words(key, count=whole(count))


# 2. The picture


def _flow(reading: Reading) -> Iterator[Block]:
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
                more_datasets=lambda count: words("flow.more_datasets", count=whole(count)),
                more_permits=lambda count: words("flow.more_permits", count=whole(count)),
                more_recipients=lambda count: words("flow.more_recipients", count=whole(count)),
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


def _gate(transfer: TransferShown, reading: Reading) -> Gate:
    words, permit = reading.words, transfer.permit
    if permit is None:
        return Gate(
            transfer.id,
            f"{reading.short[transfer.id]} · {words('flow.no_permit')}",
            (words.of("status", transfer.status), transfer.purpose),
            "red" if transfer.status in _BAD else "amber",
            "pale_red" if transfer.status in _BAD else "pale_amber",
            open=False,
            sources=transfer.datasets,
            target=transfer.recipient,
        )
    stands = permit.status == "active"
    return Gate(
        permit.id,
        f"{reading.short[permit.id]} · {words.of('status', permit.status)}",
        (
            f"{day(permit.valid_from)} – {day(permit.valid_until)}",
            words("flow.sent", sent=whole(permit.sent_persons), allowed=whole(permit.persons)),
        ),
        "blue" if stands else "amber",
        "pale_blue" if stands else "pale_amber",
        open=True,
        sources=permit.datasets,
        target=permit.recipient,
    )


def _free_gates(reading: Reading) -> Iterator[Gate]:
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
            (reading.words("flow.free_sent", exports=whole(went)), ""),
            "green",
            "paper",
            open=True,
            sources=tuple(dict.fromkeys(one.dataset for one in exports)),
            target=recipient,
        )


# 3. The timeline


def _timeline(reading: Reading) -> Iterator[Block]:
    story, words = reading.story, reading.words
    if not story.timeline:
        yield Text(words("timeline.none"))
        return
    yield Text(words("timeline.told"))
    runs = [list(run) for _, run in groupby(story.timeline, key=_alike)][-_MOMENTS:]
    shown = sum(map(len, runs))
    if shown < story.happenings:
        yield Text(words("timeline.left_out", all=whole(story.happenings), shown=whole(shown)), "quiet")
    yield Timeline(
        tuple(
            Day(day_, tuple(_moment(run, reading) for run in of_day))
            for day_, of_day in groupby(runs, key=lambda run: moment(run[0].at)[:10])
        ),
        words("leaf"),
    )


def _alike(one: Happening) -> tuple[object, ...]:
    """What makes acts one line: the same day, act and actor, as imports and gradings in bulk have them by the hundred."""
    return (moment(one.at)[:10], one.action, one.actor.id, one.stage, one.decision, one.revision)


def _moment(run: Sequence[Happening], reading: Reading) -> Moment:
    words, first, last = reading.words, run[0], run[-1]
    leaves = [one.leaf for one in run if one.leaf is not None]
    return Moment(
        time=moment(first.at)[11:],
        what=_act(first, words),
        subject=reading.named(first.subject) if len(run) == 1 else words("times", count=whole(len(run))),
        by=reading.actor(first.actor),
        leaf=words("not_sequenced")
        if not leaves
        else whole(leaves[0])
        if len(leaves) == 1
        else f"{whole(leaves[0])} – {whole(leaves[-1])}",
        look=_look_of_act(last),
    )


def _act(one: Happening, words: Words) -> str:
    told = words.of("act", one.action)
    if one.decision is not None:
        told = words("stage.with", act=told, stage=words.of("decision", one.decision))
    if one.stage is not None:
        told = words.aside(told, words.of("stage", one.stage))
    if one.revision is not None:
        told = words("revision.with", act=told, number=one.revision)
    return told


def _look_of_act(one: Happening) -> Look:
    if one.action in {"permit.issued", "permit.resumed"} or one.decision == "approve":
        return "good"
    if one.action in {"permit.revoked", "export.refused"} or one.decision == "reject":
        return "bad"
    if one.action in {"permit.suspended", "transfer.withdrawn", "stage.overdue"} or one.decision == "return":
        return "warn"
    return "plain"


# 4. The register


def _register(reading: Reading) -> Iterator[Block]:
    story, words = reading.story, reading.words
    yield Text(words("register.told"))
    yield Heading(words("handler"))
    uscc = story.handler.uscc
    rows = [
        (words("handler"), lines(story.handler.name, Span(story.handler.key, "quiet"), Span(story.handler.id, "code"))),
        *([] if uscc is None else [(words("uscc"), code(uscc))]),
        (words("facts"), plain(reading.facts(story.handler.facts))),
    ]
    yield Facts(tuple(rows))
    yield Heading(words("datasets"))
    yield _datasets(story.datasets, reading) if story.datasets else Text(words("datasets.none"))
    if story.gradings:
        yield _gradings(story.gradings, reading)
    yield Heading(words("recipients"))
    yield _recipients(story.recipients, reading) if story.recipients else Text(words("recipients.none"))


def _datasets(datasets: Sequence[DatasetShown], reading: Reading) -> Table:
    words = reading.words
    return Table(
        words("datasets"),
        (
            Column(words("dataset"), 4),
            Column(words("tags"), 2),
            Column(words("fields"), 2.4),
            Column(words("facts"), 3),
        ),
        tuple(
            (
                lines(one.title, Span(one.key, "quiet"), Span(one.id, "code")),
                lines(
                    reading.tags(one.tags),
                    None if one.grading is None else Span(words("grading.number", number=one.grading), "quiet"),
                ),
                plain(words.listed(one.fields)),
                plain(reading.facts(one.facts)),
            )
            for one in datasets
        ),
    )


def _gradings(gradings: Sequence[GradingShown], reading: Reading) -> Table:
    words = reading.words
    return Table(
        words("gradings"),
        (
            Column(words("dataset"), 3),
            Column(words("tags"), 2),
            Column(words("basis"), 3),
            Column(words("graded_by"), 2.6),
            Column(words("state"), 1.6),
        ),
        tuple(
            (
                lines(reading.dataset(one.dataset), Span(words("grading.number", number=one.number), "quiet")),
                plain(reading.tags(one.tags)),
                plain(one.basis),
                lines(
                    reading.actor(one.graded_by),
                    Span(moment(one.graded_at), "quiet"),
                    None if one.confirmed_by is None else words("confirmed_by", actor=reading.actor(one.confirmed_by)),
                ),
                lines(
                    *reading.status(one.state),
                    None if one.ended_at is None else Span(words("until", day=moment(one.ended_at)), "quiet"),
                ),
            )
            for one in gradings
        ),
    )


def _recipients(recipients: Sequence[RecipientShown], reading: Reading) -> Table:
    words = reading.words
    return Table(
        words("recipients"),
        (
            Column(words("recipient"), 4),
            Column(words("country"), 2),
            Column(words("type"), 2),
            Column(words("facts"), 3),
        ),
        tuple(
            (
                lines(one.name, Span(one.key, "quiet"), Span(one.id, "code")),
                plain(words.aside(reading.country(one.country), one.country)),
                plain(words.of("recipient", one.kind)),
                plain(reading.facts(one.facts)),
            )
            for one in recipients
        ),
    )


# 5. Requests and determinations


def _requests(reading: Reading) -> Iterator[Block]:
    if not reading.story.transfers:
        yield Text(reading.words("requests.none"))
    for transfer in reading.story.transfers:
        yield from _request(transfer, reading)


def _request(transfer: TransferShown, reading: Reading) -> Iterator[Block]:
    words = reading.words
    yield Heading(words("request", label=reading.short[transfer.id], purpose=transfer.purpose))
    yield Facts(
        (
            (words("id"), code(transfer.id)),
            (words("status"), reading.status(transfer.status)),
            (words("requester"), plain(reading.actor(transfer.requester))),
            (words("created"), plain(moment(transfer.created_at))),
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


def _submitted(revision: RevisionShown, reading: Reading) -> Iterator[tuple[str, Cell]]:
    words, request = reading.words, revision.request
    yield words("hash"), code(revision.hash)
    yield (
        words("submitted"),
        plain(words("by", at=moment(revision.submitted_at), actor=reading.actor(revision.submitted_by))),
    )
    yield words("purpose"), plain(str(request.get("purpose", "")))
    if request.get("description"):
        yield words("description"), plain(str(request["description"]))
    yield words("persons"), plain(_persons(request.get("persons", 0), request.get("sensitive_persons", 0), words))
    yield words("fields"), plain(_or_all(request.get("fields"), words("all"), words))
    yield words("systems"), plain(_or_all(request.get("systems"), words("every_system"), words))
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
    yield words("before"), plain(_persons(revision.persons_before, revision.sensitive_persons_before, words))


def _persons(persons: int, sensitive: int, words: Words) -> str:
    return words("persons.told", persons=whole(persons), sensitive=whole(sensitive))


def _or_all(names: Sequence[str] | None, all_: str, words: Words) -> str:
    return all_ if names is None else words.listed(list(names))


def _determination(answer: Json, reading: Reading) -> Iterator[Block]:
    words = reading.words
    yield Notice(
        words.pair(words("asked"), reading.mechanism(str(answer["mechanism"]))),
        (words("asked.as_of", day=answer["as_of"]), reading.text(answer["explanation"])),
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


def _asked(caption: str, items: Sequence[Json], reading: Reading) -> Table:
    return Table(
        caption,
        (Column(caption, 6), Column(reading.words("citations"), 2)),
        tuple((plain(reading.text(one["text"])), plain(reading.citations(one["citations"]))) for one in items),
    )


# 6. Reviews


def _reviews(reading: Reading) -> Iterator[Block]:
    words = reading.words
    revisions = [
        (transfer, revision)
        for transfer in reading.story.transfers
        for revision in transfer.revisions
        if revision.reviews or revision.stages
    ]
    if not revisions:
        yield Text(words("reviews.none"))
        return
    yield Text(words("reviews.told"))
    for transfer, revision in revisions:
        title = words("revision.of", label=reading.short[transfer.id], number=revision.number)
        yield Heading(title)
        if revision.reviews:
            yield _reviews_of(revision, title, reading)
        decided = {review.stage for review in revision.reviews if review.taken_back_at is None}
        waiting = [words.of("stage", name) for name, _ in revision.stages if name not in decided]
        if waiting:
            yield Text(words("open_stages", stages=words.listed(waiting)), "quiet")


def _reviews_of(revision: RevisionShown, title: str, reading: Reading) -> Table:
    words = reading.words
    return Table(
        words.pair(words("reviews"), title),
        (
            Column(words("stage"), 2),
            Column(words("decision"), 3),
            Column(words("reviewer"), 4),
            Column(words("when"), 2.2),
            Column(words("bound"), 2),
        ),
        tuple(
            (
                plain(words.of("stage", one.stage)),
                _decision(one, reading),
                lines(
                    reading.actor(one.reviewer),
                    None if one.on_behalf_of is None else words("on_behalf", actor=reading.actor(one.on_behalf_of)),
                    Span(one.reviewer.id, "code"),
                ),
                plain(moment(one.at)),
                (Span(words("bound.yes"), "good") if one.hash == revision.hash else Span(words("bound.no"), "bad"),),
            )
            for one in revision.reviews
        ),
    )


_DECISION_LOOKS: Final[Mapping[str, Look]] = {"approve": "good", "return": "warn", "reject": "bad"}


def _decision(review: ReviewShown, reading: Reading) -> Cell:
    words = reading.words
    conditions = [
        words.pair(words.of("condition", name), reading.value(value))
        for name, value in sorted((review.conditions or {}).items())
        if value not in (None, [], ())
    ]
    return lines(
        Span(words.of("decision", review.decision), _DECISION_LOOKS.get(review.decision, "plain")),
        words("conditions", conditions=words.parts(conditions)) if conditions else None,
        None if review.carried_from is None else Span(words("carried"), "quiet"),
        None if review.taken_back_at is None else Span(words("taken_back", at=moment(review.taken_back_at)), "warn"),
    )


# 7. Evidence


def _evidence(reading: Reading) -> Iterator[Block]:
    words = reading.words
    if not any(transfer.evidence for transfer in reading.story.transfers):
        yield Text(words("evidence.none"))
        return
    yield Text(words("evidence.told"))
    for transfer in reading.story.transfers:
        if transfer.evidence:
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
            )


def _paper(paper: EvidenceShown, reading: Reading) -> tuple[Cell, ...]:
    words = reading.words
    verified = (
        Span(words("unverified"), "quiet")
        if paper.verified_by is None or paper.verified_at is None
        else Span(words("verified", actor=reading.actor(paper.verified_by), at=moment(paper.verified_at)), "good")
    )
    return (
        lines(
            f"{reading.short[paper.id]} · {reading.paper_names.get(paper.kind, paper.kind)}",
            Span(paper.reference, "quiet"),
            None if paper.ended_at is None else Span(words("ended", at=moment(paper.ended_at)), "warn"),
            None
            if paper.replaced_by is None
            else Span(words("replaced", by=reading.named(paper.replaced_by)), "quiet"),
        ),
        plain(paper.issuer),
        lines(
            words("issued_on", day=day(paper.issued_on)),
            words("no_end") if paper.valid_until is None else words("until", day=day(paper.valid_until)),
        ),
        lines(
            *(
                (Span(words("no_file"), "quiet"),)
                if paper.sha256 is None
                else (
                    Span(paper.sha256, "code"),
                    Span(f"{paper.media_type} · {words('bytes', size=whole(paper.size or 0))}", "quiet"),
                )
            ),
            verified,
        ),
    )


# 8. Permits


def _permits(reading: Reading) -> Iterator[Block]:
    words = reading.words
    if not reading.permits:
        yield Text(words("permits.none"))
    for permit in reading.permits:
        yield Heading(words("permit", label=reading.short[permit.id]))
        yield Facts(tuple(_permit(permit, reading)))


def _permit(permit: PermitShown, reading: Reading) -> Iterator[tuple[str, Cell]]:
    words = reading.words
    yield words("id"), code(permit.id)
    yield words("status"), reading.status(permit.status)
    yield words("approved_revision"), lines(reading.named(permit.transfer), Span(permit.revision, "code"))
    yield words("issued"), plain(moment(permit.issued_at))
    yield words("validity"), plain(f"{day(permit.valid_from)} – {day(permit.valid_until)}")
    yield words("datasets"), lines(*(reading.dataset(one) for one in permit.datasets))
    yield words("recipient"), plain(reading.recipient(permit.recipient))
    yield words("purpose"), plain(permit.purpose)
    yield words("fields"), plain(_or_all(permit.fields, words("all"), words))
    yield words("systems"), plain(_or_all(permit.systems, words("every_system"), words))
    yield words("mechanism"), plain(reading.mechanism(permit.mechanism))
    if permit.route is not None:
        yield words("route"), plain(words.of("route", permit.route))
    yield words("allowed"), plain(_persons(permit.persons, permit.sensitive_persons, words))
    yield words("sent"), plain(_persons(permit.sent_persons, permit.sent_sensitive_persons, words))
    yield words("exports_in_period"), plain(whole(permit.exports))
    yield words("rests_on"), lines(*map(reading.named, permit.evidence)) or plain(words("none"))
    for key, other in (("supersedes", permit.supersedes), ("superseded_by", permit.superseded_by)):
        if other is not None:
            yield words(key), plain(reading.named(other))


# 9. Exports


def _exports(reading: Reading) -> Iterator[Block]:
    words = reading.words
    if not reading.story.exports:
        yield Text(words("exports.none"))
        return
    yield Text(words("exports.told"))
    by_permit: dict[str | None, list[ExportsOfDay]] = defaultdict(list)
    for one in reading.story.exports:
        by_permit[one.permit].append(one)
    order = [permit.id for permit in reading.permits]
    known = [id_ for id_ in order if id_ in by_permit]
    others = [id_ for id_ in by_permit if id_ not in order]
    for permit in (*known, *others):
        title = (
            words("exports.free") if permit is None else words("exports.of", label=reading.short.get(permit, permit))
        )
        yield Heading(title)
        yield _by_month(title, by_permit[permit], reading)


def _by_month(title: str, exports: Sequence[ExportsOfDay], reading: Reading) -> Table:
    words = reading.words
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 5)
    total = [0] * 5
    for one in exports:
        numbers = (one.exports, one.completed, one.refused, one.persons, one.sensitive_persons)
        for held in (sums[day(one.day)[:7], one.dataset, one.recipient], total):
            for place, number in enumerate(numbers):
                held[place] += number
    return Table(
        title,
        (
            Column(words("month"), 1.4),
            Column(words("from_to"), 5),
            Column(words("number"), 1.3, number=True),
            Column(words("completed"), 1.5, number=True),
            Column(words("refused"), 1.3, number=True),
            Column(words("persons"), 1.7, number=True),
            Column(words("sensitive"), 1.7, number=True),
        ),
        (
            *(
                (
                    plain(month),
                    lines(reading.dataset(dataset), Span(f"→ {reading.recipient(recipient)}", "quiet")),
                    *(plain(whole(number)) for number in numbers),
                )
                for (month, dataset, recipient), numbers in sorted(sums.items())
            ),
            (plain(words("sum")), plain(""), *(plain(whole(number)) for number in total)),
        ),
    )


# 10. The ledger


@dataclass(frozen=True, slots=True)
class _Held:
    """A year's count beside one line of the law."""

    year: int
    line: str
    count: int
    limit: int

    @property
    def reached(self) -> bool:
        return self.count >= self.limit

    @property
    def told(self) -> str:
        return f"{whole(self.count)} / {whole(self.limit)}"


def _held(reading: Reading) -> list[_Held]:
    """Every year beside every line of the law of the last day; a line of one person (CBDF art. 8) is in the table as well."""
    law = reading.book.edition(reading.last_day).law
    return [
        _Held(one.year, line, one.sensitive_persons if sensitive else one.persons, law[line])
        for one in reading.story.ledger
        for line, sensitive in _LINES
        if line in law
    ]


def _ledger(reading: Reading) -> Iterator[Block]:
    words, held = reading.words, _held(reading)
    if not held:
        yield Text(words("ledger.none"))
        return
    yield Text(words("ledger.told", day=reading.last_day))
    drawn = [one for one in held if one.line.startswith("assessment")]
    if drawn:
        yield Picture(
            bars(
                [
                    (f"{one.year} · {words(f'line.{one.line}')}", one.told, one.count / one.limit, _ink(one))
                    for one in drawn
                ]
            ),
            words("ledger"),
            words("ledger.alt", years=words.listed(list(dict.fromkeys(str(one.year) for one in drawn)))),
        )
    yield Table(
        words("ledger"),
        (
            Column(words("year"), 1),
            Column(words("line"), 4),
            Column(words("count"), 2, number=True),
            Column(words("line"), 2, number=True),
            Column(words("share"), 1.4, number=True),
            Column(words("state"), 1.6),
        ),
        tuple(
            (
                plain(str(one.year)),
                plain(words(f"line.{one.line}")),
                plain(whole(one.count)),
                plain(whole(one.limit)),
                plain(f"{one.count / one.limit:.1%}"),
                (Span(words("reached"), "warn") if one.reached else Span(words("below"), "plain"),),
            )
            for one in held
        ),
    )


def _ink(held: _Held) -> Tone:
    return "red" if held.reached else "blue"


# 11. The law


def _law(reading: Reading) -> Iterator[Block]:
    words = reading.words
    cited: dict[str, dict[str, None]] = {}
    for transfer in reading.story.transfers:
        for revision in transfer.revisions:
            for citation in _cited(revision.determination):
                articles = cited.setdefault(str(citation["instrument"]), {})
                if citation["article"]:
                    articles[citation["article"]] = None
    if not cited:
        yield Text(words("law.none"))
        return
    titles = {str(one["code"]): one for one in reading.book.instruments}
    yield Text(words("law.told"))
    yield Table(
        words("law"),
        (
            Column(words("short"), 1.6),
            Column(words("instrument"), 6),
            Column(words("in_force"), 1.8),
            Column(words("articles"), 3),
        ),
        tuple(
            (
                plain(short),
                plain(reading.text(titles[short]["title"]) if short in titles else words("company_rules")),
                plain(str(titles[short]["in_force_from"]) if short in titles else ""),
                plain(words.listed(list(articles))),
            )
            for short, articles in sorted(cited.items())
        ),
    )


def _cited(determination: Json) -> Iterator[Mapping[str, Any]]:
    for key in ("requirements", "obligations", "evidence", "warnings"):
        for one in determination[key]:
            yield from one["citations"]


# 12. How to verify


def _verify(reading: Reading) -> Iterator[Block]:
    story, words = reading.story, reading.words
    yield Text(words("verify.told"))
    yield Points(tuple(words(f"verify.{step}") for step in range(1, 6)), numbered=True)
    yield Listing("outbound verify PACK.zip\npython -m service.audit.verify PACK.zip")
    yield Heading(words("log"))
    if story.log is None:
        yield Text(words("unproved.1"), "bad")
    else:
        yield from _log(story.log, words)
    yield Heading(words("held"))
    yield Table(
        words("held"),
        (Column(words("held.thing"), 4), Column(words("held.count"), 1, number=True)),
        tuple(
            (plain(words(f"held.{name}")), plain(whole(getattr(story.counts, name))))
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
    )


def _log(log: LogShown, words: Words) -> Iterator[Block]:
    yield Facts(
        (
            (words("origin"), code(log.origin)),
            (words("size"), plain(whole(log.size))),
            (words("root"), code(log.root)),
            (words("signed"), plain(_both(log.at, words))),
            (words("vkeys"), lines(*(Span(vkey, "code") for vkey in log.vkeys))),
            (words("witnesses"), plain(words.listed(log.witnesses))),
        )
    )
    yield Heading(words("note"))
    yield Listing(log.note)
