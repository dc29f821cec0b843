"""Assesses which permits, transfers, datasets and questions of an earlier version get another answer now. Pure.

Uses the rules of the gate and of the law.
"""

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
from service.registry.fields import Fields, compare_fields, parse_fields
from service.registry.key_normalization import folded_key
from service.registry.key_spellings import effective_tags
from service.registry.tags import lacks_tag_of_minors

Json = dict[str, Any]
About = Literal["permit", "transfer", "dataset", "question"]

MAX_NAMES: Final = 10
"""Maximal number of field names in a sentence."""


@dataclass(frozen=True)
class Dataset:
    """A dataset of the register, with its fields of now and of the day of its grading."""

    id: str
    key: str
    handler: str
    tags: Sequence[str] | None
    """Tags of its own grading; None: it was never graded."""
    fields: Sequence[Json]
    facts: Json
    graded_fields: Sequence[Json] | None = None
    """Its fields when it was graded; None: unknown."""
    twins: Sequence[str] = ()
    """Keys of the same handler that are other spellings of its own."""
    effective_tags: Sequence[str] | None = None
    """Tags after the upgrade: its own and those of its twins; None: it was never graded."""

    @cached_property
    def compared_fields(self) -> Fields:
        """Its fields, compared with those that its grading examined."""
        return compare_fields(parse_fields(self.fields) or [], parse_fields(self.graded_fields), None)

    @cached_property
    def effective_facts(self) -> DatasetFacts:
        """Its facts, with its effective tags."""
        return OriginFactsIn.model_validate(self.facts).dataset(
            frozenset(Tag(tag) for tag in self.effective_tags or ())
        )

    @property
    def lacks_tag_of_minors(self) -> bool:
        """True if it is about persons under 14 and lacks the tag `sensitive`. Source: PIPL art. 28."""
        return self.effective_tags is not None and lacks_tag_of_minors(
            self.effective_facts.tags, contains_minors=self.effective_facts.contains_minors
        )

    def outdated(self, fields: Sequence[str] | None) -> list[str]:
        """Return the fields that its grading did not examine: of those named, or of all where `fields` is None."""
        if self.effective_tags is None:
            return []
        outdated = self.compared_fields.outdated
        return [name for name in self.compared_fields.names if name in outdated and (fields is None or name in fields)]


@dataclass(frozen=True)
class Covered:
    """A dataset under a permit, as it was approved."""

    dataset: str
    tags: Sequence[str]
    """Its tags at the approval."""
    fields: Sequence[str]
    """Its registered fields at the approval."""
    facts: Json | None = None
    """Its facts at the approval; None: not recorded."""


@dataclass(frozen=True)
class Permit:
    """A permit that is neither revoked nor expired."""

    id: str
    sensitive_persons: int
    fields: Sequence[str] | None
    covers: Sequence[Covered]
    facts: Mapping[Literal["handler", "recipient"], tuple[Json | None, Json]] = field(default_factory=dict)
    """Facts of its handler and of its recipient: at the approval (None: not recorded), and now."""


@dataclass(frozen=True)
class Transfer:
    """An open transfer: a draft, returned, or in review."""

    id: str
    status: str
    sensitive_persons: int
    fields: Sequence[str] | None
    datasets: Sequence[str]


@dataclass(frozen=True)
class Questions:
    """Questions and exports of one system with the same dataset, fields and kinds of persons."""

    system: str
    dataset: str
    fields: Sequence[str] | None
    count: Count | None
    """Persons of each kind: 1 stands for any number; None: none were stated."""
    number: int
    allowed: int
    last_day: date


@dataclass(frozen=True)
class Register:
    """Datasets, permits, open transfers and recent questions, all of one snapshot."""

    datasets: Sequence[Dataset]
    permits: Sequence[Permit] = ()
    transfers: Sequence[Transfer] = ()
    questions: Sequence[Questions] = ()


@dataclass(frozen=True)
class Finding:
    """A permit, transfer, dataset or group of questions that gets another answer, with the reason."""

    about: About
    reason: str
    id: str
    """Id of the permit, the transfer or the dataset; for questions, of their dataset."""
    summary: str
    """The affected part, in a few words."""
    more: Json = field(default_factory=dict)
    """The same as members of the JSON output."""


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
        "Permits for fields that no grading has examined: exports of them, or of all fields, are denied (grading_outdated).",
        "Grade the dataset again; with the same tags the permit stands.",
    ),
    ("permit", "no_fields_approved"): (
        "Permits that were approved when no field was registered, of data that has fields now: exports are denied (fields_not_covered).",
        "Have a renewal approved, which names the fields of today.",
    ),
    ("permit", "grading_changed"): (
        "Permits for data that takes the stricter grading of another spelling of its key: exports are denied (grading_changed).",
        "Resolve the spellings below; or have the data approved with the stricter tags.",
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
        "Open transfers of fields that no grading has examined: submission and approval are refused (422).",
        "Grade the dataset again.",
    ),
    ("dataset", "minors_without_tag"): (
        "Datasets about persons under 14 that are not tagged sensitive: every export is denied (tags_contradicted).",
        "Grade them as sensitive (PIPL 28), or correct `contains_minors`.",
    ),
    ("dataset", "grading_outdated"): (
        (
            "Datasets with fields that were added, or changed type or category, after the grading: exports of them, or of all fields, are "
            "denied (grading_outdated)."
        ),
        "Grade them again.",
    ),
    ("dataset", "history_unknown"): (
        (
            "Datasets whose fields at their grading are no longer in the log (archived or erased): all fields count as new, and exports "
            "are denied (grading_outdated)."
        ),
        "Grade them again.",
    ),
    ("dataset", "twin_keys"): (
        "Datasets of one handler whose keys are spellings of one key: the stricter grading applies to each.",
        "Use one key; or, once upgraded, state why they are distinct (`distinct_from`), which a second person confirms.",
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
        "Questions and exports of fields that no grading has examined: denied (grading_outdated).",
        "Grade the dataset again.",
    ),
    ("question", "empty_fields"): (
        "Questions and exports with an empty list of fields: refused (400 or 422).",
        "Have the system leave `fields` out for all that was approved, or name them.",
    ),
}
"""The new answer and the remedy for each kind of finding, in the order of the output."""

Spelling = tuple[str, str]
"""A handler, and the folded form that all spellings of a key share."""


def assess(register: Register) -> list[Finding]:
    """Return everything that gets another answer now, in the order of `ADVICE`.

    Example:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            register = await snapshot.read(connection, days=30)
        for finding in assess(register):
            print(ADVICE[finding.about, finding.reason][0], finding.summary)
    """
    datasets = {dataset.id: dataset for dataset in _add_twins(register.datasets)}
    findings = [
        *(finding for dataset in datasets.values() for finding in _assess_dataset(dataset)),
        *(finding for permit in register.permits for finding in _assess_permit(permit, datasets)),
        *(finding for transfer in register.transfers for finding in _assess_transfer(transfer, datasets)),
        *_assess_questions(register.questions, datasets),
    ]
    places = {kind: place for place, kind in enumerate(ADVICE)}
    return sorted(findings, key=lambda finding: (places[finding.about, finding.reason], finding.summary))


def fields_then(changes: Sequence[tuple[Json, str | None, str | None]], now: Sequence[Json]) -> Sequence[Json] | None:
    """Return the fields that a dataset had before some changes; None: an erased opening hides them.

    Args:
        changes: oldest first: the earlier values as the entry states them, the opening of all of them, and that of their fields.
        now: the current fields.
    """
    for stated, whole, part in changes:
        before: Json | None = stated
        if "sealed" in stated:
            before = parse_json(whole)
        if before is None:
            return None
        if "fields" in before:
            fields = before["fields"]
            return fields if isinstance(fields, list) else parse_json(part)
    return now


def parse_json(value: str | None) -> Any:
    """Return the value of a JSON text; None for a column that is null, such as an erased opening."""
    return None if value is None else json.loads(value)


def _add_twins(datasets: Sequence[Dataset]) -> Iterator[Dataset]:
    groups: defaultdict[Spelling, list[Dataset]] = defaultdict(list)
    for dataset in datasets:
        groups[dataset.handler, folded_key(dataset.key)].append(dataset)
    for group in groups.values():
        for dataset in group:
            others = [other for other in group if other is not dataset]
            tags = effective_tags(dataset.tags, [other.tags for other in others]) if others else dataset.tags
            yield replace(dataset, twins=[other.key for other in others], effective_tags=tags)


def _assess_dataset(dataset: Dataset) -> Iterator[Finding]:
    if dataset.lacks_tag_of_minors:
        yield Finding("dataset", "minors_without_tag", dataset.id, dataset.key, {"key": dataset.key})
    outdated = dataset.outdated(None)
    if outdated:
        reason = "history_unknown" if dataset.graded_fields is None else "grading_outdated"
        summary = f"{dataset.key}: {_join_names(outdated)}"
        yield Finding("dataset", reason, dataset.id, summary, {"key": dataset.key, "fields": outdated})
    if dataset.twins:
        tags = "not graded" if dataset.effective_tags is None else _join_tags(dataset.effective_tags)
        more = {"key": dataset.key, "twins": dataset.twins, "tags_now": dataset.tags, "tags": dataset.effective_tags}
        yield Finding("dataset", "twin_keys", dataset.id, f"{dataset.key} = {', '.join(dataset.twins)}: {tags}", more)


def _assess_permit(permit: Permit, datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    for covered in permit.covers:
        dataset = datasets[covered.dataset]
        changes = _find_changes_since_approval(permit, covered, dataset)
        for reason, names in (*_find_contradictions(permit, dataset), *changes):
            summary = f"{permit.id}, {dataset.key}" + (f": {_join_names(names)}" if names else "")
            more = {"dataset": dataset.key, **({"what": names} if names else {})}
            yield Finding("permit", reason, permit.id, summary, more)
    for thing, (then, now) in permit.facts.items():
        freer = _freer_facts(thing, then, now)
        if freer:
            summary = f"{permit.id}, {thing}: {', '.join(freer)}"
            yield Finding("permit", "facts_freer", permit.id, summary, {"of": thing, "what": freer})


def _find_contradictions(permit: Permit, dataset: Dataset) -> Iterator[tuple[str, Sequence[str]]]:
    """Return the denials that follow from the dataset's tags and facts alone."""
    is_plain = dataset.compared_fields.are_plain(permit.fields) and not dataset.effective_facts.contains_minors
    if Tag.SENSITIVE in dataset.effective_facts.tags and permit.sensitive_persons == 0 and not is_plain:
        yield "no_sensitive_persons", ()
    if dataset.lacks_tag_of_minors:
        yield "minors_without_tag", ()


def _find_changes_since_approval(
    permit: Permit, covered: Covered, dataset: Dataset
) -> Iterator[tuple[str, Sequence[str]]]:
    """Return the denials that follow from changes since the approval, each with names of fields, tags or facts."""
    # A field that was not registered at the approval was never covered.
    outdated = [name for name in dataset.outdated(permit.fields) if name in covered.fields]
    if outdated:
        yield "grading_outdated", outdated
    if dataset.fields and not covered.fields:
        yield "no_fields_approved", ()
    approved, effective = set(covered.tags), dataset.effective_tags
    if effective is not None and approved == set(dataset.tags or ()) and approved != set(effective):
        yield "grading_changed", effective
    freer = _freer_facts("dataset", covered.facts, dataset.facts)
    if freer:
        yield "facts_freer", freer


def _freer_facts(thing: FactSubject, then: Json | None, now: Json) -> list[str]:
    """Return the names of the facts of a handler, dataset or recipient that protect less than the approved ones."""
    if then is None:
        return []
    approved, current = {**DEFAULTS[thing], **then}, {**DEFAULTS[thing], **now}
    return [
        fact
        for fact in STRICTNESS[thing]
        if fact in approved and fact in current and frees(thing, fact, approved[fact], current[fact])
    ]


def _assess_transfer(transfer: Transfer, datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    for ident in transfer.datasets:
        dataset = datasets[ident]
        summary, more = f"{transfer.id} ({transfer.status}), {dataset.key}", {"dataset": dataset.key}
        if Tag.SENSITIVE in dataset.effective_facts.tags and transfer.sensitive_persons == 0:
            yield Finding("transfer", "no_sensitive_persons", transfer.id, summary, more)
        if dataset.lacks_tag_of_minors:
            yield Finding("transfer", "minors_without_tag", transfer.id, summary, more)
        outdated = dataset.outdated(transfer.fields)
        if outdated:
            summary = f"{summary}: {_join_names(outdated)}"
            yield Finding("transfer", "grading_outdated", transfer.id, summary, {**more, "fields": outdated})


def _assess_questions(questions: Sequence[Questions], datasets: Mapping[str, Dataset]) -> Iterator[Finding]:
    groups: defaultdict[tuple[str, str, str], list[Questions]] = defaultdict(list)
    for group in questions:
        dataset = datasets.get(group.dataset)
        reason = None if dataset is None else _reason_of(group, dataset)
        if reason is not None:
            groups[group.system, group.dataset, reason].append(group)
    for (system, ident, reason), alike in groups.items():
        number, allowed = sum(group.number for group in alike), sum(group.allowed for group in alike)
        key, last = datasets[ident].key, max(group.last_day for group in alike)
        summary = f"{system}, {key}: {number} ({allowed} of them allowed), the last on {last}"
        more = {"system": system, "key": key, "count": number, "allowed": allowed, "last_day": last.isoformat()}
        yield Finding("question", reason, ident, summary, more)


def _reason_of(questions: Questions, dataset: Dataset) -> str | None:
    """Return the reason for another answer, by the gate's order of checks; None: the same answer, or an unknown one."""
    if questions.fields is not None and not questions.fields:
        return "empty_fields"
    if dataset.effective_tags is None:
        return None
    fields = dataset.compared_fields
    contradiction = contradicted(dataset.effective_facts, fields, questions.fields, questions.count)
    if contradiction is not None:
        return str(contradiction)
    is_unseen = not dataset.effective_tags and not fields.are_graded(questions.fields)
    return "grading_outdated" if fields.are_outdated(questions.fields) or is_unseen else None


def _join_names(fields: Sequence[str]) -> str:
    more = len(fields) - MAX_NAMES
    return ", ".join(fields[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _join_tags(tags: Sequence[str]) -> str:
    return ", ".join(tags) or "no tags"
