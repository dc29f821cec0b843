"""Data of a pack's report: plain values, from which the report is made. Nothing here is read or written.

All moments are in UTC; days are days in Asia/Shanghai. Of persons only reviewers are named; everybody else is an id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something."""

    id: str
    """Principal id; `operator` for the command line."""
    kind: str
    """`person` or `system`."""
    name: str | None = None
    """The name of a reviewer or of a system; None: a person who is not named here."""


@dataclass(frozen=True, slots=True)
class HandlerShown:
    """The legal entity that handles the data."""

    id: str
    key: str
    name: str
    uscc: str | None
    """Unified social credit code."""
    facts: Json


@dataclass(frozen=True, slots=True)
class DatasetShown:
    """A dataset as the register has it at the pack's moment; as a revision saw it: `RevisionShown.datasets`."""

    id: str
    key: str
    title: str
    tags: tuple[str, ...] | None
    """None: not graded. Empty: general data."""
    grading: int | None
    fields: tuple[str, ...]
    facts: Json


@dataclass(frozen=True, slots=True)
class GradingShown:
    """One grading of a dataset."""

    dataset: str
    number: int
    tags: tuple[str, ...]
    basis: str
    state: str
    """`effective`, `pending` or `superseded`."""
    graded_by: Actor
    confirmed_by: Actor | None
    graded_at: datetime
    effective_at: datetime | None
    ended_at: datetime | None
    graded_seen_by: tuple[Actor, ...] = ()
    """Who else had seen the key by which it was graded, and could have done it."""
    confirmed_seen_by: tuple[Actor, ...] = ()
    """The same of the confirmation."""


@dataclass(frozen=True, slots=True)
class RecipientShown:
    """Whoever receives the data abroad."""

    id: str
    key: str
    name: str
    country: str
    """ISO 3166-1 alpha-2."""
    kind: str
    facts: Json


@dataclass(frozen=True, slots=True)
class ReviewShown:
    """One person's decision on one stage of one revision."""

    id: str
    stage: str
    """`data_owner`, `privacy`, `legal`, `security` or `executive`."""
    decision: str
    """`approve`, `return` or `reject`."""
    reviewer: Actor
    on_behalf_of: Actor | None
    hash: str
    """Hash of the revision that was seen."""
    conditions: Json | None
    at: datetime
    carried_from: str | None
    taken_back_at: datetime | None
    seen_by: tuple[Actor, ...] = ()
    """Who else had seen the key by which it was decided, and could have done it."""


@dataclass(frozen=True, slots=True)
class RevisionShown:
    """What was submitted at one time, with what the law asked for and what reviewers said."""

    number: int
    hash: str
    """`sha256:<hex>`"""
    submitted_at: datetime
    submitted_by: Actor
    request: Json
    """Purpose, description, fields, persons, sensitive_persons, method, necessity, legal_basis, route, valid_from, valid_until."""
    datasets: tuple[Json, ...]
    """Each with id, key, tags, fields and facts, as they were."""
    recipient: Json
    """Id, country, kind and facts, as they were."""
    determination: Json
    """The answer of `service.law.explanation.answer`: mechanism, requirements with citations, obligations, texts in en and zh."""
    persons_before: int
    """The handler's count of the year that the determination saw."""
    sensitive_persons_before: int
    stages: tuple[tuple[str, str], ...]
    """Name and status of each, in their order."""
    reviews: tuple[ReviewShown, ...]


@dataclass(frozen=True, slots=True)
class EvidenceShown:
    """The record of a paper."""

    id: str
    kind: str
    reference: str
    issuer: str
    issued_on: date
    valid_until: date | None
    member: str | None
    """Where its file is in the pack; None: it has no file."""
    sha256: str | None
    """In hexadecimal."""
    size: int | None
    """In bytes."""
    media_type: str | None
    added_at: datetime
    verified_by: Actor | None
    verified_at: datetime | None
    ended_at: datetime | None
    """From then on it counts for nothing."""
    replaced_by: str | None
    verified_seen_by: tuple[Actor, ...] = ()
    """Who else had seen the key by which it was verified, and could have done it."""


@dataclass(frozen=True, slots=True)
class ExportsOfDay:
    """Exports of one day and one permit (None: needed none), added up."""

    day: date
    permit: str | None
    dataset: str
    recipient: str
    exports: int
    """All of them, whatever became of them."""
    completed: int
    refused: int
    persons: int
    """Sum of what was reported as sent; the same person may count several times."""
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class PermitShown:
    """A permit."""

    id: str
    transfer: str
    revision: str
    """Hash of the approved revision."""
    status: str
    """At the pack's moment: `active`, `suspended`, `revoked`, `expired`, `exhausted`."""
    datasets: tuple[str, ...]
    recipient: str
    purpose: str
    fields: tuple[str, ...] | None
    systems: tuple[str, ...] | None
    persons: int
    sensitive_persons: int
    sent_persons: int
    sent_sensitive_persons: int
    valid_from: date
    valid_until: date
    mechanism: str
    route: str | None
    evidence: tuple[str, ...]
    issued_at: datetime
    supersedes: str | None
    superseded_by: str | None
    exports: int
    """How many exports went or were reserved under it, within the pack's period."""


@dataclass(frozen=True, slots=True)
class TransferShown:
    """A request with everything that was decided on it, oldest revision first."""

    id: str
    status: str
    purpose: str
    datasets: tuple[str, ...]
    recipient: str
    requester: Actor
    created_at: datetime
    revisions: tuple[RevisionShown, ...]
    evidence: tuple[EvidenceShown, ...]
    permit: PermitShown | None


@dataclass(frozen=True, slots=True)
class LedgerShown:
    """Persons whom the handler has exported in a year, as thresholds see them."""

    year: int
    persons: int
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One act of the timeline; exports are not among them, they are added up by day."""

    at: datetime
    action: str
    """`<thing>.<past participle>`, for instance `transfer.reviewed`."""
    subject: str
    actor: Actor
    leaf: int | None
    """Its place in the log; None: not sequenced when the pack was made."""
    stage: str | None = None
    decision: str | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class LogShown:
    """The checkpoint that everything is proved against."""

    origin: str
    size: int
    root: str
    """Base64, as in the note."""
    at: datetime
    note: str
    """The signed note itself, with its cosignatures."""
    vkeys: tuple[str, ...]
    """The log's verifier keys."""
    witnesses: tuple[str, ...]
    """Names of those who cosigned."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each are in the pack."""

    datasets: int
    transfers: int
    revisions: int
    reviews: int
    evidence: int
    permits: int
    exports: int
    refused: int
    entries: int
    entries_withheld: int
    """Of which only the hash is in the pack, since they hold free text from before texts were sealed."""
    entries_waiting: int
    """Not sequenced when the pack was made; they are not in it."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that a report shows."""

    pack: str
    """Id of the pack."""
    kind: str
    """`permit`, `transfer`, `dataset` or `handler`."""
    subject: str
    """Id of what it is about."""
    title: str
    """What people call it: key, name or purpose."""
    since: date | None
    """First day of the period; None: from the beginning."""
    until: date | None
    """Last day of the period; None: to the pack's moment."""
    made_at: datetime
    version: str
    """Of the service."""
    handler: HandlerShown
    datasets: tuple[DatasetShown, ...]
    gradings: tuple[GradingShown, ...]
    recipients: tuple[RecipientShown, ...]
    transfers: tuple[TransferShown, ...]
    ledger: tuple[LedgerShown, ...]
    exports: tuple[ExportsOfDay, ...]
    timeline: tuple[Happening, ...]
    """Oldest first; of a large pack the newest 2,000 (`happenings` tells how many there are in all)."""
    happenings: int
    log: LogShown | None
    """None: the log had no checkpoint yet, so nothing in the pack is proved."""
    counts: Counts
