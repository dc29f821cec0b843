"""Judges which parts of a register of before are answered otherwise now. Pure, with the rules of the gate and of the law."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal

from service.gate.decide import contradicted
from service.law.facts import Count, DatasetFacts, Tag
from service.law.freeing import DEFAULTS, STRICTNESS, FactSubject, frees
from service.law.schemas import OriginFactsIn
from service.registry.fields import Fields, held_against, of_documents
from service.registry.key_normalization import folded_key
from service.registry.key_spellings import held_tags
from service.registry.tags import lacks_tag_of_minors

Json = dict[str, Any]
About = Literal["permit", "transfer", "dataset", "question"]

SHOWN: Final = 10
"""Names of fields that a sentence tells, at most."""


@dataclass(frozen=True)
class Dataset:
    """A dataset of the register; what of it was looked at is known by its fields of then."""

    id: str
    key: str
    handler: str
    tags: Sequence[str] | None
    """Those of its own grading; None: nobody has graded it."""
    fields: Sequence[Json]
    facts: Json
    graded_fields: Sequence[Json] | None = None
    """Its fields when it was graded; None: nobody knows."""
    twins: Sequence[str] = ()
    """The keys that are other spellings of its own."""
    held: Sequence[str] | None = None
    """The tags that will hold of it."""

    @cached_property
    def looked_at(self) -> Fields:
        """Its fields, held against those that its grading looked at."""
        return held_against(of_documents(self.fields) or [], of_documents(self.graded_fields), None)

    @cached_property
    def known(self) -> DatasetFacts:
        """Its facts, with the tags that will hold."""
        return OriginFactsIn.model_validate(self.facts).dataset(frozenset(Tag(tag) for tag in self.held or ()))

    @property
    def is_untagged(self) -> bool:
        """Whether it is about persons under 14 without the tag that all such data takes."""
        return self.held is not None and lacks_tag_of_minors(
            self.known.tags, contains_minors=self.known.contains_minors
        )

    def outdated(self, wanted: Sequence[str] | None) -> list[str]:
        """Return those of some fields, or of all, that its grading says nothing about."""
        if self.held is None:
            return []
        outdated = self.looked_at.outdated
        return [name for name in self.looked_at.names if name in outdated and (wanted is None or name in wanted)]


@dataclass(frozen=True)
class Covered:
    """A dataset as a permit covers it."""

    dataset: str
    tags: Sequence[str]
    """Its tags when that was approved."""
    fields: Sequence[str]
    """The fields that were registered then."""
    facts: Json | None = None
    """Its facts as they were approved; None: not recorded."""


@dataclass(frozen=True)
class Permit:
    """A permit that may still be used."""

    id: str
    sensitive_persons: int
    fields: Sequence[str] | None
    covers: Sequence[Covered]
    facts: Mapping[Literal["handler", "recipient"], tuple[Json | None, Json]] = field(default_factory=dict)
    """Those of its handler and its recipient, as they were approved and as they are."""


@dataclass(frozen=True)
class Transfer:
    """A transfer that nobody has decided on."""

    id: str
    status: str
    sensitive_persons: int
    fields: Sequence[str] | None
    datasets: Sequence[str]


@dataclass(frozen=True)
class Questions:
    """Questions and exports of one system that are alike in all that matters here."""

    system: str
    dataset: str
    fields: Sequence[str] | None
    count: Count | None
    """Persons, of whom it matters whether there are any; None: none were stated."""
    number: int
    allowed: int
    last_day: date


@dataclass(frozen=True)
class Register:
    """What there is, as one snapshot shows it."""

    datasets: Sequence[Dataset]
    permits: Sequence[Permit] = ()
    transfers: Sequence[Transfer] = ()
    questions: Sequence[Questions] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that is answered otherwise."""

    about: About
    reason: str
    id: str
    """Of the permit, the transfer or the dataset; of questions, that of the dataset that they ask about."""
    told: str
    """What of it, in a few words."""
    more: Json = field(default_factory=dict)
    """The same as values."""


ADVICE: Final[Mapping[tuple[About, str], tuple[str, str]]] = {
    ("permit", "no_sensitive_persons"): (
        "Permits for no sensitive persons, of data tagged sensitive: sensitive fields, or all of them, are denied (tags_contradicted).",
        (
            "Have a transfer approved that states the sensitive persons; or, once upgraded, one with `sensitive_left_out` and the "
            "fields that go."
        ),
    ),
    ("permit", "minors_without_tag"): (
        "Permits for data about persons under 14 that is not tagged sensitive: every export is denied (tags_contradicted).",
        "Grade the data as sensitive and have it approved anew.",
    ),
    ("permit", "grading_outdated"): (
        "Permits for fields that no grading has looked at: exports of them, or of all fields, are denied (grading_outdated).",
        "Grade the dataset again; with the same tags the permit stands.",
    ),
    ("permit", "no_fields_approved"): (
        "Permits that were approved when no field was registered, of data that has fields now: exports are denied (fields_not_covered).",
        "Have a renewal approved, which names the fields of today.",
    ),
    ("permit", "grading_changed"): (
        "Permits for data of which the stricter grading of another spelling will hold: exports are denied (grading_changed).",
        "See to the spellings below; or have the data approved with the tags that will hold.",
    ),
    ("permit", "facts_freer"): (
        (
            "Permits whose facts are freer than those that were approved: the stricter value of each fact counts, and of a recipient the "
            "approved ones alone, so that an export may be denied (evidence_lapsed, ledger_threshold)."
        ),
        "Have a renewal approved on the facts of today.",
    ),
    ("transfer", "no_sensitive_persons"): (
        "Open transfers that state no sensitive persons, of data tagged sensitive: submission and approval are refused (422).",
        "State the sensitive persons; or, once upgraded, `sensitive_left_out` and the fields that go.",
    ),
    ("transfer", "minors_without_tag"): (
        "Open transfers of data about persons under 14 that is not tagged sensitive: submission and approval are refused (422).",
        "Grade the data as sensitive.",
    ),
    ("transfer", "grading_outdated"): (
        "Open transfers of fields that no grading has looked at: submission and approval are refused (422).",
        "Grade the dataset again.",
    ),
    ("dataset", "minors_without_tag"): (
        "Datasets about persons under 14 that are not tagged sensitive: every export is denied (tags_contradicted).",
        "Grade them as sensitive (PIPL 28), or correct `contains_minors`.",
    ),
    ("dataset", "grading_outdated"): (
        (
            "Datasets with fields that came, or changed type or category, after the grading: exports of them, or of all fields, are denied "
            "(grading_outdated)."
        ),
        "Grade them again.",
    ),
    ("dataset", "history_unknown"): (
        (
            "Datasets of which the log does not tell any more what fields they had when they were graded: all are taken for new, and "
            "exports are denied (grading_outdated)."
        ),
        "Grade them again.",
    ),
    ("dataset", "twin_keys"): (
        "Datasets of one handler whose keys are spellings of one key: the stricter grading holds for each.",
        "Use one key; or, once upgraded, say why they are distinct (`distinct_from`), which a second person confirms.",
    ),
    ("question", "persons_of_general_data"): (
        "Questions and exports that stated persons for data that is neither personal nor sensitive: denied (tags_contradicted).",
        "Have the system state no persons, or the dataset graded as what it is.",
    ),
    ("question", "sensitive_persons_without_tag"): (
        "Questions and exports that stated sensitive persons for data that is not tagged sensitive: denied (tags_contradicted).",
        "Have the system state them as `persons`, or the dataset graded as sensitive.",
    ),
    ("question", "no_sensitive_persons"): (
        (
            "Questions and exports that stated no sensitive persons while sensitive fields, or all fields, of sensitive data went: denied "
            "(tags_contradicted)."
        ),
        "Have the system state `sensitive_persons`, or name fields that are not sensitive.",
    ),
    ("question", "minors_without_tag"): (
        "Questions and exports of data about persons under 14 that is not tagged sensitive: denied (tags_contradicted).",
        "Grade the data as sensitive.",
    ),
    ("question", "grading_outdated"): (
        "Questions and exports of fields that no grading has looked at: denied (grading_outdated).",
        "Grade the dataset again.",
    ),
    ("question", "empty_fields"): (
        "Questions and exports with an empty list of fields: refused (400 or 422).",
        "Have the system leave `fields` out for all that was approved, or name them.",
    ),
}
"""What is answered, and what to do, in the order in which it is told."""

Spelling = tuple[str, str]
"""A handler, and a key as all spellings of it share it."""


def judge(register: Register) -> list[Finding]:
    """Return all that is answered otherwise now, in the order of the advice."""
    datasets = {dataset.id: dataset for dataset in _with_twins(register.datasets)}
    found = [
        *(one for dataset in datasets.values() for one in _of_dataset(dataset)),
        *(one for permit in register.permits for one in _of_permit(permit, datasets)),
        *(one for transfer in register.transfers for one in _of_transfer(transfer, datasets)),
        *_of_questions(register.questions, datasets),
    ]
    places = {what: place for place, what in enumerate(ADVICE)}
    return sorted(found, key=lambda one: (places[one.about, one.reason], one.told))


def fields_then(changes: Sequence[tuple[Json, str | None, str | None]], now: Sequence[Json]) -> Sequence[Json] | None:
    """Return the fields that a dataset had before some changes; None: that cannot be known any more.

    Args:
        changes: oldest first, of each what its entry says that was before it, and what opens all of that and the fields in it.
        now: the fields that it has.
    """
    for said, whole, part in changes:
        before: Json | None = said
        if "sealed" in said:
            before = opened(whole)
        if before is None:
            return None
        if "fields" in before:
            fields = before["fields"]
            return fields if isinstance(fields, list) else opened(part)
    return now


def opened(value: str | None) -> Any:
    """Return what was sealed, from the JSON of its opening; None where it was erased."""
    return None if value is None else json.loads(value)


def _with_twins(datasets: Sequence[Dataset]) -> Iterator[Dataset]:
    groups: defaultdict[Spelling, list[Dataset]] = defaultdict(list)
    for dataset in datasets:
        groups[dataset.handler, folded_key(dataset.key)].append(dataset)
    for group in groups.values():
        for dataset in group:
            others = [other for other in group if other is not dataset]
            held = held_tags(dataset.tags, [other.tags for other in others]) if others else dataset.tags
            yield replace(dataset, twins=[other.key for other in others], held=held)


def _of_dataset(dataset: Dataset) -> Iterator[Finding]:
    if dataset.is_untagged:
        yield Finding("dataset", "minors_without_tag", dataset.id, dataset.key, {"key": dataset.key})
    outdated = dataset.outdated(None)
    if outdated:
        reason = "history_unknown" if dataset.graded_fields is None else "grading_outdated"
        told = f"{dataset.key}: {_named(outdated)}"
        yield Finding("dataset", reason, dataset.id, told, {"key": dataset.key, "fields": outdated})
    if dataset.twins:
        tags = "not graded" if dataset.held is None else _tags(dataset.held)
        more = {"key": dataset.key, "twins": dataset.twins, "tags_now": dataset.tags, "tags": dataset.held}
        yield Finding("dataset", "twin_keys", dataset.id, f"{dataset.key} = {', '.join(dataset.twins)}: {tags}", more)


def _of_permit(permit: Permit, datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    for covered in permit.covers:
        dataset = datasets[covered.dataset]
        for reason, said in (*_of_grading(permit, dataset), *_of_approval(permit, covered, dataset)):
            told = f"{permit.id}, {dataset.key}" + (f": {_named(said)}" if said else "")
            more = {"dataset": dataset.key, **({"what": said} if said else {})}
            yield Finding("permit", reason, permit.id, told, more)
    for thing, (then, now) in permit.facts.items():
        freer = _freer(thing, then, now)
        if freer:
            told = f"{permit.id}, {thing}: {', '.join(freer)}"
            yield Finding("permit", "facts_freer", permit.id, told, {"of": thing, "what": freer})


def _of_grading(permit: Permit, dataset: Dataset) -> Iterator[tuple[str, Sequence[str]]]:
    """Return what the gate asks before it looks at any permit."""
    is_plain = dataset.looked_at.are_plain(permit.fields) and not dataset.known.contains_minors
    if Tag.SENSITIVE in dataset.known.tags and permit.sensitive_persons == 0 and not is_plain:
        yield "no_sensitive_persons", ()
    if dataset.is_untagged:
        yield "minors_without_tag", ()


def _of_approval(permit: Permit, covered: Covered, dataset: Dataset) -> Iterator[tuple[str, Sequence[str]]]:
    """Return what is no more as it was approved; a field that was not registered then was never covered."""
    outdated = [name for name in dataset.outdated(permit.fields) if name in covered.fields]
    if outdated:
        yield "grading_outdated", outdated
    if dataset.fields and not covered.fields:
        yield "no_fields_approved", ()
    approved, held = set(covered.tags), dataset.held
    if held is not None and approved == set(dataset.tags or ()) and approved != set(held):
        yield "grading_changed", held
    freer = _freer("dataset", covered.facts, dataset.facts)
    if freer:
        yield "facts_freer", freer


def _freer(thing: FactSubject, then: Json | None, now: Json) -> list[str]:
    """Return the facts of a thing that protect less than those that were approved."""
    if then is None:
        return []
    approved, stands = {**DEFAULTS[thing], **then}, {**DEFAULTS[thing], **now}
    return [
        fact
        for fact in STRICTNESS[thing]
        if fact in approved and fact in stands and frees(thing, fact, approved[fact], stands[fact])
    ]


def _of_transfer(transfer: Transfer, datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    for place in transfer.datasets:
        dataset = datasets[place]
        said, more = f"{transfer.id} ({transfer.status}), {dataset.key}", {"dataset": dataset.key}
        if Tag.SENSITIVE in dataset.known.tags and transfer.sensitive_persons == 0:
            yield Finding("transfer", "no_sensitive_persons", transfer.id, said, more)
        if dataset.is_untagged:
            yield Finding("transfer", "minors_without_tag", transfer.id, said, more)
        outdated = dataset.outdated(transfer.fields)
        if outdated:
            told = f"{said}: {_named(outdated)}"
            yield Finding("transfer", "grading_outdated", transfer.id, told, {**more, "fields": outdated})


def _of_questions(questions: Sequence[Questions], datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    groups: defaultdict[tuple[str, str, str], list[Questions]] = defaultdict(list)
    for asked in questions:
        dataset = datasets.get(asked.dataset)
        reason = None if dataset is None else _answer(asked, dataset)
        if reason is not None:
            groups[asked.system, asked.dataset, reason].append(asked)
    for (system, place, reason), alike in groups.items():
        number, allowed = sum(one.number for one in alike), sum(one.allowed for one in alike)
        key, last = datasets[place].key, max(one.last_day for one in alike)
        told = f"{system}, {key}: {number} ({allowed} of them allowed), the last on {last}"
        more = {"system": system, "key": key, "count": number, "allowed": allowed, "last_day": last.isoformat()}
        yield Finding("question", reason, place, told, more)


def _answer(asked: Questions, dataset: Dataset) -> str | None:
    """Return why questions are answered otherwise, in the order of the gate; None: they are not, or nobody can say."""
    if asked.fields is not None and not asked.fields:
        return "empty_fields"
    if dataset.held is None:
        return None
    fields = dataset.looked_at
    contradiction = contradicted(dataset.known, fields, asked.fields, asked.count)
    if contradiction is not None:
        return str(contradiction)
    is_unseen = not dataset.held and not fields.are_graded(asked.fields)
    return "grading_outdated" if fields.are_outdated(asked.fields) or is_unseen else None


def _named(fields: Sequence[str]) -> str:
    more = len(fields) - SHOWN
    return ", ".join(fields[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _tags(tags: Sequence[str]) -> str:
    return ", ".join(tags) or "no tags"
