"""May this export happen? A pure decision on what one transaction has read.

Source: the reasons of the design, in their order; the law of the day decides what needs a permit at all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final

from service.law.determination import Determination, Headroom, Mechanism, covers, determine, headroom_under
from service.law.facts import (
    Count,
    DatasetFacts,
    Facts,
    HandlerFacts,
    Ledger,
    RecipientFacts,
    Route,
    Tag,
    TransferFacts,
)
from service.law.rules import RuleBook


class Reason(StrEnum):
    """Why an answer is what it is; of several, the first that applies."""

    DATASET_UNKNOWN = "dataset_unknown"
    DATASET_UNGRADED = "dataset_ungraded"
    RECIPIENT_UNKNOWN = "recipient_unknown"
    NOT_CROSS_BORDER = "not_cross_border"
    GENERAL_DATA = "general_data"
    PROHIBITED = "prohibited"
    NO_PERMIT = "no_permit"
    PERMIT_SUSPENDED = "permit_suspended"
    PERMIT_REVOKED = "permit_revoked"
    PERMIT_EXPIRED = "permit_expired"
    GRADING_CHANGED = "grading_changed"
    EVIDENCE_LAPSED = "evidence_lapsed"
    PURPOSE_NOT_COVERED = "purpose_not_covered"
    FIELDS_NOT_COVERED = "fields_not_covered"
    SYSTEM_NOT_COVERED = "system_not_covered"
    QUOTA_EXCEEDED = "quota_exceeded"
    LEDGER_THRESHOLD = "ledger_threshold"
    PERMITTED = "permitted"


_CONTRACT: Final = Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION
_CONTRACTS: Final = frozenset({Route.STANDARD_CONTRACT, Route.CERTIFICATION, Route.GBA_STANDARD_CONTRACT})
_PLACE: Final = {reason: place for place, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Ask:
    """What a system wants to export; None where it did not say."""

    system: str
    """Name of the system that will export."""
    purpose: str | None
    persons: int | None
    sensitive_persons: int | None
    fields: Sequence[str] | None
    permit: str | None = None

    @property
    def count(self) -> Count:
        """The persons asked for; nobody where none are stated."""
        return Count(self.persons or 0, self.sensitive_persons or 0)

    @property
    def is_counted(self) -> bool:
        """Whether the ask says how many persons."""
        return self.persons is not None or self.sensitive_persons is not None


@dataclass(frozen=True, slots=True)
class KnownPermit:
    """A permit for the dataset and the recipient, with what is used of it and what it is bound to."""

    id: str
    status: str
    valid_from: date
    valid_until: date
    purpose: str
    fields: Collection[str] | None
    systems: Collection[str] | None
    quota: Count
    used: Count
    """Reported as sent, and reserved."""
    tags: frozenset[Tag]
    """Tags of the dataset when it was approved."""
    registered: Collection[str]
    """Fields that the dataset had when it was approved; empty: none were registered."""
    recipient: RecipientFacts | None
    """The recipient as it was approved; None: not recorded."""
    papers: frozenset[str] | None
    """Kinds of evidence that the law asked for when it was approved; None: not recorded."""
    route: Route | None
    """The instrument that was obtained."""
    requirements: frozenset[Mechanism]
    transfer: TransferFacts
    is_overdue: bool
    """Whether a duty that suspends it is overdue."""
    has_evidence: bool
    """Whether every paper that it rests on still counts."""


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A dataset for whose handler the asking system is an exporter; `facts` is None until it is graded."""

    handler: HandlerFacts
    facts: DatasetFacts | None
    fields: Collection[str]


@dataclass(frozen=True, slots=True)
class Known:
    """What the transaction has read for one ask."""

    today: date
    dataset: KnownDataset | None
    recipient: RecipientFacts | None
    permits: Sequence[KnownPermit]
    year: Count
    """The handler's count of the year, reported and reserved."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    allowed: bool
    reason: Reason
    mechanism: Mechanism | None = None
    permit: str | None = None
    headroom: Count | None = None
    """Persons of each kind that could still go under the permit, by its quota and the handler's year."""
    counts: bool = False
    """Whether the persons of this export add to the handler's year."""


def decide(ask: Ask, known: Known, book: RuleBook) -> Decision:
    """Return whether an export may happen, with the first reason that applies.

    Args:
        ask: what is asked.
        known: what stands at this moment.
        book: the law.
    """
    if known.dataset is None:
        return Decision(allowed=False, reason=Reason.DATASET_UNKNOWN)
    if known.dataset.facts is None:
        return Decision(allowed=False, reason=Reason.DATASET_UNGRADED)
    if known.recipient is None:
        return Decision(allowed=False, reason=Reason.RECIPIENT_UNKNOWN)
    asked = Facts(
        as_of=known.today,
        handler=known.dataset.handler,
        dataset=known.dataset.facts,
        recipient=known.recipient,
        transfer=TransferFacts(persons=ask.count.persons, sensitive_persons=ask.count.sensitive_persons),
        ledger=Ledger(this_year=known.year),
    )
    law = determine(asked, book)
    if law.mechanism is Mechanism.NOT_CROSS_BORDER:
        return Decision(allowed=True, reason=Reason.NOT_CROSS_BORDER, mechanism=law.mechanism)
    if law.exemption == Reason.GENERAL_DATA:
        return Decision(allowed=True, reason=Reason.GENERAL_DATA, mechanism=law.mechanism)
    if law.mechanism is Mechanism.PROHIBITED:
        return Decision(allowed=False, reason=Reason.PROHIBITED, mechanism=law.mechanism)
    return _by_permit(ask, known, asked, law, book)


def _by_permit(ask: Ask, known: Known, asked: Facts, law: Determination, book: RuleBook) -> Decision:
    """Take of several permits one that allows, the first to end; else tell the reason furthest down the list."""
    answers = [
        _under(ask, permit, known, asked, book)
        for permit in sorted(known.permits, key=lambda permit: (permit.valid_until, permit.id))
        if ask.permit in {None, permit.id}
    ]
    allowing = next((answer for answer in answers if answer.allowed), None)
    if allowing is not None:
        return allowing
    denied = Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=law.mechanism)
    return max(answers, key=lambda answer: _PLACE[answer.reason], default=denied)


def _under(ask: Ask, permit: KnownPermit, known: Known, asked: Facts, book: RuleBook) -> Decision:
    """Answer under one permit: the law is asked with what the permit's transfer claimed."""
    count = ask.count
    nobody = replace(asked, transfer=replace(permit.transfer, persons=0, sensitive_persons=0))
    claimed = replace(permit.transfer, persons=count.persons, sensitive_persons=count.sensitive_persons)
    law = determine(replace(asked, transfer=claimed), book, permit.route)
    uncounted = determine(replace(nobody, ledger=Ledger()), book, permit.route)
    reason = (
        _standing(permit, known.today)
        or _binding(permit, uncounted, asked)
        or _instrument(permit, law)
        or _scope(ask, permit, known)
        or _quantity(ask, permit, law)
    )
    return Decision(
        allowed=reason is None,
        reason=reason or Reason.PERMITTED,
        mechanism=law.mechanism,
        permit=permit.id,
        headroom=_headroom(permit, headroom_under(nobody, book, permit.requirements)),
        counts=law.counts_toward_ledger,
    )


def _standing(permit: KnownPermit, today: date) -> Reason | None:
    if today < permit.valid_from:
        return Reason.NO_PERMIT
    if permit.status == "suspended" or (permit.is_overdue and permit.status != "revoked"):
        return Reason.PERMIT_SUSPENDED  # SCM 7 and the like: what must follow did not follow in time
    if permit.status == "revoked":
        return Reason.PERMIT_REVOKED
    return Reason.PERMIT_EXPIRED if today > permit.valid_until else None


def _binding(permit: KnownPermit, law: Determination, asked: Facts) -> Reason | None:
    """Bind, don't push: whatever the permit rests on is looked at again, and a mismatch denies.

    Args:
        permit: the permit.
        law: what the law asks for today where nobody has been counted yet; how many there are is looked at last.
        asked: the register as it is now.
    """
    if permit.tags != asked.dataset.tags:
        return Reason.GRADING_CHANGED
    if not permit.has_evidence or permit.recipient not in {None, asked.recipient}:
        return Reason.EVIDENCE_LAPSED
    return None if covers(permit.requirements, law) and not _lacks_papers(permit, law) else Reason.EVIDENCE_LAPSED


def _lacks_papers(permit: KnownPermit, law: Determination) -> bool:
    """Tell whether the law has come to ask for papers that nobody looked at, as where foreign data turns out to be domestic.

    An exemption of its own is left out: one dataset of several may be freer by it than all of them together were.
    """
    is_freer = law.exemption not in {None, "small_volume"}
    return permit.papers is not None and not is_freer and not law.papers <= permit.papers


def _instrument(permit: KnownPermit, law: Determination) -> Reason | None:
    """The instrument that was obtained must still be offered where the law asks for one of its kind."""
    has_lapsed = permit.route in _CONTRACTS and law.mechanism is _CONTRACT and permit.route not in law.routes
    return Reason.EVIDENCE_LAPSED if has_lapsed else None


def _scope(ask: Ask, permit: KnownPermit, known: Known) -> Reason | None:
    if ask.purpose != permit.purpose:
        return Reason.PURPOSE_NOT_COVERED
    if not _covers_fields(ask.fields, permit, known):
        return Reason.FIELDS_NOT_COVERED
    if permit.systems is not None and ask.system not in permit.systems:
        return Reason.SYSTEM_NOT_COVERED
    return None


def _covers_fields(asked: Sequence[str] | None, permit: KnownPermit, known: Known) -> bool:
    """An ask that names no fields is for all of them; a field that nobody registered, or approved, is covered by nothing."""
    registered = () if known.dataset is None else known.dataset.fields
    wanted = set(registered if asked is None else asked)
    if permit.registered and not wanted <= set(permit.registered):
        return False
    if permit.fields is None:
        return not registered or wanted <= set(registered)
    return wanted <= set(permit.fields)


def _quantity(ask: Ask, permit: KnownPermit, law: Determination) -> Reason | None:
    used, quota, count = permit.used, permit.quota, ask.count
    if Tag.PERSONAL not in permit.tags and Tag.SENSITIVE not in permit.tags:
        # A permit for data about nobody allows nobody: persons that are stated all the same say that the grading is wrong.
        return None if count == Count() else Reason.QUOTA_EXCEEDED
    if used.persons + count.persons > quota.persons or (
        used.sensitive_persons + count.sensitive_persons > quota.sensitive_persons
    ):
        return Reason.QUOTA_EXCEEDED
    if not ask.is_counted and used.persons >= quota.persons and used.sensitive_persons >= quota.sensitive_persons:
        return Reason.QUOTA_EXCEEDED
    return None if covers(permit.requirements, law) else Reason.LEDGER_THRESHOLD


def _headroom(permit: KnownPermit, year: Headroom) -> Count:
    """Return the smaller of what is left of the quota and of what the year allows before a stricter mechanism."""
    persons = max(0, permit.quota.persons - permit.used.persons)
    sensitive = max(0, permit.quota.sensitive_persons - permit.used.sensitive_persons)
    return Count(
        persons if year.persons is None else min(persons, year.persons),
        sensitive if year.sensitive_persons is None else min(sensitive, year.sensitive_persons),
    )
