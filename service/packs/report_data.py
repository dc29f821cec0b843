"""Data of a pack's report, as plain values.

All instants are in UTC; days are days in Asia/Shanghai. Of persons only reviewers have a name; all others have an id alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Actor:
    """Principal that made an act."""

    id: str
    """Principal id; `operator` for the command line."""
    kind: str
    """`person` or `system`."""
    name: str | None = None
    """Name of a reviewer or of a system; None: a person without a name in the report."""


@dataclass(frozen=True, slots=True)
class ReportHandler:
    """The legal entity that handles the data."""

    id: str
    key: str
    name: str
    uscc: str | None
    """Unified social credit code."""
    facts: Json


@dataclass(frozen=True, slots=True)
class ReportDataset:
    """A dataset as it is registered in the snapshot; `ReportRevision.datasets` has its state for a revision."""

    id: str
    key: str
    title: str
    tags: tuple[str, ...] | None
    """None: not graded. Empty: general data."""
    grading: int | None
    fields: tuple[str, ...]
    facts: Json


@dataclass(frozen=True, slots=True)
class ReportGrading:
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
    """Other persons who had seen the grader's key, and could have made the grading."""
    confirmed_seen_by: tuple[Actor, ...] = ()
    """Other persons who could have made the confirmation."""


@dataclass(frozen=True, slots=True)
class ReportRecipient:
    """The party that receives the data abroad."""

    id: str
    key: str
    name: str
    country: str
    """ISO 3166-1 alpha-2."""
    kind: str
    facts: Json


@dataclass(frozen=True, slots=True)
class ReportReview:
    """One person's decision on one stage of one revision."""

    id: str
    stage: str
    """`data_owner`, `privacy`, `legal`, `security` or `executive`."""
    decision: str
    """`approve`, `return` or `reject`."""
    reviewer: Actor
    on_behalf_of: Actor | None
    hash: str
    """Hash of the reviewed revision."""
    conditions: Json | None
    at: datetime
    carried_from: str | None
    taken_back_at: datetime | None
    seen_by: tuple[Actor, ...] = ()
    """Other persons who had seen the reviewer's key, and could have made the decision."""


@dataclass(frozen=True, slots=True)
class ReportRevision:
    """A submitted revision with its determination and its reviews."""

    number: int
    hash: str
    """`sha256:<hex>`"""
    submitted_at: datetime
    submitted_by: Actor
    request: Json
    """Purpose, description, fields, persons, sensitive_persons, method, necessity, legal_basis, route, valid_from, valid_until."""
    datasets: tuple[Json, ...]
    """Id, key, tags, fields and facts of each, at submission."""
    recipient: Json
    """Id, country, kind and facts, at submission."""
    determination: Json
    """Answer of `service.law.explanation.render_determination`: mechanism, requirements with citations, obligations, texts in en and zh."""
    persons_before: int
    """The handler's count of the year that the determination used."""
    sensitive_persons_before: int
    stages: tuple[tuple[str, str], ...]
    """Name and status of each stage, in their order."""
    reviews: tuple[ReportReview, ...]


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """An evidence item."""

    id: str
    kind: str
    reference: str
    issuer: str
    issued_on: date
    valid_until: date | None
    member: str | None
    """Member of the pack with its file; None: it has no file."""
    sha256: str | None
    """In hexadecimal."""
    size: int | None
    """In bytes."""
    media_type: str | None
    added_at: datetime
    verified_by: Actor | None
    verified_at: datetime | None
    ended_at: datetime | None
    """End of its validity as evidence: withdrawn or replaced."""
    replaced_by: str | None
    verified_seen_by: tuple[Actor, ...] = ()
    """Other persons who had seen the verifier's key, and could have made the verification."""


@dataclass(frozen=True, slots=True)
class ExportsOfDay:
    """Sums of the exports of one day under one permit (None: no permit needed)."""

    day: date
    permit: str | None
    dataset: str
    recipient: str
    exports: int
    """Number of exports with any outcome."""
    completed: int
    refused: int
    persons: int
    """Sum of the reported persons; the same person may count several times."""
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class ReportPermit:
    """A permit."""

    id: str
    transfer: str
    revision: str
    """Hash of the approved revision."""
    status: str
    """Status in the snapshot: `active`, `suspended`, `revoked`, `expired`, `exhausted`."""
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
    """Number of exports that were completed or reserved under it in the pack's period."""


@dataclass(frozen=True, slots=True)
class ReportTransfer:
    """A transfer with its revisions, oldest first, its evidence and its permit."""

    id: str
    status: str
    purpose: str
    datasets: tuple[str, ...]
    recipient: str
    requester: Actor
    created_at: datetime
    revisions: tuple[ReportRevision, ...]
    evidence: tuple[ReportEvidence, ...]
    permit: ReportPermit | None


@dataclass(frozen=True, slots=True)
class ReportLedgerYear:
    """Distinct persons that the handler has exported in a year, as thresholds count them."""

    year: int
    persons: int
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class TimelineAct:
    """An act of the timeline. Exports are no acts; they are summed up by day."""

    at: datetime
    action: str
    """`<thing>.<past participle>`, for instance `transfer.reviewed`."""
    subject: str
    actor: Actor
    leaf: int | None
    """Index of its leaf in the log; None: not sequenced when the pack was built."""
    stage: str | None = None
    decision: str | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class ReportLog:
    """Checkpoint against which all entries are proved."""

    origin: str
    size: int
    root: str
    """Base64, as in the note."""
    at: datetime
    note: str
    """Signed note with its cosignatures."""
    vkeys: tuple[str, ...]
    """Verifier keys of the log."""
    witnesses: tuple[str, ...]
    """Names of the witnesses that cosigned."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of records and entries in the pack."""

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
    """Entries by hash alone, since they hold free text that is older than commitments."""
    entries_waiting: int
    """Entries that were not sequenced when the pack was built, and are not in it."""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Data of a report."""

    pack: str
    """Id of the pack."""
    kind: str
    """`permit`, `transfer`, `dataset` or `handler`."""
    subject: str
    """Id of the subject."""
    title: str
    """Key, name or purpose of the subject."""
    since: date | None
    """First day of the period; None: from the beginning."""
    until: date | None
    """Last day of the period; None: to the time of the snapshot."""
    made_at: datetime
    version: str
    """Version of the service."""
    handler: ReportHandler
    datasets: tuple[ReportDataset, ...]
    gradings: tuple[ReportGrading, ...]
    recipients: tuple[ReportRecipient, ...]
    transfers: tuple[ReportTransfer, ...]
    ledger: tuple[ReportLedgerYear, ...]
    exports: tuple[ExportsOfDay, ...]
    timeline: tuple[TimelineAct, ...]
    """Acts, oldest first: the newest 2,000 of `act_count` in all."""
    act_count: int
    log: ReportLog | None
    """Checkpoint; None: the log had none yet, so nothing in the pack is proved."""
    counts: Counts
