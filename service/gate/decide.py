"""May this export happen? A pure decision on what one transaction has read.

Source: the reasons of the design, in their order; the law of the day decides what needs a permit at all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from service.law.count_bands import LawByCount, LegalOutcome, law_by_count
from service.law.determination import Mechanism
from service.law.facts import Count, DatasetFacts, HandlerFacts, RecipientFacts, Route, Tag, TransferFacts
from service.law.rule_book import RuleBook
from service.registry.fields import Fields


class Reason(StrEnum):
    """Why an answer is what it is; of several, the first that applies."""

    DATASET_UNKNOWN = "dataset_unknown"
    DATASET_UNGRADED = "dataset_ungraded"
    RECIPIENT_UNKNOWN = "recipient_unknown"
    NOT_CROSS_BORDER = "not_cross_border"
    TAGS_CONTRADICTED = "tags_contradicted"
    GRADING_OUTDATED = "grading_outdated"
    GENERAL_DATA = "general_data"
    PROHIBITED = "prohibited"
    NO_PERMIT = "no_permit"
    PERMIT_SUSPENDED = "permit_suspended"
    PERMIT_REVOKED = "permit_revoked"
    PERMIT_NOT_BEGUN = "permit_not_begun"
    PERMIT_EXPIRED = "permit_expired"
    GRADING_CHANGED = "grading_changed"
    EVIDENCE_LAPSED = "evidence_lapsed"
    PURPOSE_NOT_COVERED = "purpose_not_covered"
    FIELDS_NOT_COVERED = "fields_not_covered"
    SYSTEM_NOT_COVERED = "system_not_covered"
    QUOTA_EXCEEDED = "quota_exceeded"
    LEDGER_THRESHOLD = "ledger_threshold"
    PERMITTED = "permitted"


class Contradiction(StrEnum):
    """What is stated of data against its tags; each is a finding for the registrar."""

    PERSONS_OF_GENERAL_DATA = "persons_of_general_data"
    """Persons are stated for data that is neither personal nor sensitive."""
    SENSITIVE_PERSONS_WITHOUT_TAG = "sensitive_persons_without_tag"
    """Sensitive persons are stated for data that is not tagged sensitive."""
    NO_SENSITIVE_PERSONS = "no_sensitive_persons"
    """Sensitive fields are asked for, and the information of nobody is said to be sensitive."""
    MINORS_WITHOUT_TAG = "minors_without_tag"
    """The data is about persons under 14, and not tagged sensitive. Source: PIPL art. 28."""


NO_CLAIMS: Final = TransferFacts()
_CONTRACT: Final = Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION
_CONTRACTS: Final = frozenset({Route.STANDARD_CONTRACT, Route.CERTIFICATION, Route.GBA_STANDARD_CONTRACT})
_PERSONAL: Final = frozenset({Tag.PERSONAL, Tag.SENSITIVE})
_PLACE: Final = {reason: place for place, reason in enumerate(Reason)}
MAX_MEMOISED_TERMS: Final = 16_384
"""Terms at most whose meaning for given facts is kept."""


# Values that are made by the ten thousand a second: a frozen dataclass takes five times as long to make as one of these.


class Growth(Struct, frozen=True):
    """By how much totals would grow if the persons of an ask went: by those who are not in them yet."""

    year: Count
    permits: Mapping[str, Count]
    """Of each permit by its id; one that is missing grows by all of them."""


class Ask(Struct, frozen=True):
    """What a system wants to export; None where it did not say."""

    system: str
    """Name of the system that will export."""
    purpose: str | None
    persons: int | None
    sensitive_persons: int | None
    fields: Sequence[str] | None
    permit: str | None = None
    growth: Growth | None = None
    """Where it is known who will go; None: everybody is new."""

    @property
    def count(self) -> Count:
        """The persons asked for; nobody where none are stated."""
        return Count(self.persons or 0, self.sensitive_persons or 0)

    @property
    def is_counted(self) -> bool:
        """Whether the ask says how many persons."""
        return self.persons is not None or self.sensitive_persons is not None

    @property
    def of_year(self) -> Count:
        """The persons by which the year's total would grow."""
        return self.count if self.growth is None else self.growth.year

    def of_permit(self, permit: str | None) -> Count:
        """Return the persons by which a permit's total would grow."""
        return self.count if self.growth is None or permit is None else self.growth.permits.get(permit, self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a permit is bound to. Of a text there is one, and what it comes to is kept with it, not with what equals it."""

    tags: frozenset[Tag]
    """Tags of the dataset when it was approved."""
    requirements: frozenset[Mechanism]
    route: Route | None
    """The instrument that was obtained."""
    transfer: TransferFacts
    recipient: RecipientFacts | None
    """The recipient as it was approved; None: not recorded."""
    evidence_kinds: frozenset[str] | None
    """Kinds of evidence that the law asked for when it was approved; None: not recorded."""
    handler: HandlerFacts | None = None
    """The handler as it was approved; None: not recorded, and the register as it is counts alone."""
    dataset: DatasetFacts | None = None
    """The dataset as it was approved, but for its tags; None: not recorded."""


class PermitState(Struct, frozen=True):
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
    registered: Collection[str]
    """Fields that the dataset had when it was approved; empty: none were registered."""
    terms: Terms
    is_overdue: bool
    """Whether a duty that suspends it is overdue."""
    has_evidence: bool
    """Whether every paper that it rests on still counts."""

    def using(self, more: Count) -> "PermitState":
        """Return the permit with more of it used."""
        used = Count(self.used.persons + more.persons, self.used.sensitive_persons + more.sensitive_persons)
        return PermitState(
            self.id,
            self.status,
            self.valid_from,
            self.valid_until,
            self.purpose,
            self.fields,
            self.systems,
            self.quota,
            used,
            self.registered,
            self.terms,
            self.is_overdue,
            self.has_evidence,
        )


class DatasetState(Struct, frozen=True):
    """A dataset for whose handler the asking system is an exporter; `facts` is None until it is graded."""

    handler: HandlerFacts
    facts: DatasetFacts | None
    fields: Fields


class DecisionInputs(Struct, frozen=True):
    """What the transaction has read for one ask."""

    today: date
    dataset: DatasetState | None
    recipient: RecipientFacts | None
    permits: Sequence[PermitState]
    year: Count
    """The handler's count of the year, reported and reserved."""


class Decision(Struct, frozen=True):
    """The answer."""

    allowed: bool
    reason: Reason
    mechanism: Mechanism | None = None
    permit: str | None = None
    headroom: Count | None = None
    """Persons of each kind that could still go under the permit, by its quota and the handler's year."""
    counts: bool = False
    """Whether the persons of this export add to the handler's year."""
    contradiction: Contradiction | None = None
    """What of the ask contradicts the tags, where that is the reason."""
    valid_from: date | None = None
    """The first day of the permit, where that is yet to come."""


def decide(ask: Ask, inputs: DecisionInputs, book: RuleBook) -> Decision:
    """Return whether an export may happen, with the first reason that applies.

    Args:
        ask: what is asked.
        inputs: what stands at this moment.
        book: the law.
    """
    if inputs.dataset is None:
        return Decision(allowed=False, reason=Reason.DATASET_UNKNOWN)
    if inputs.dataset.facts is None:
        return Decision(allowed=False, reason=Reason.DATASET_UNGRADED)
    if inputs.recipient is None:
        return Decision(allowed=False, reason=Reason.RECIPIENT_UNKNOWN)
    case = _Case(ask, inputs, inputs.dataset, inputs.dataset.facts, inputs.recipient, book)
    law = case.law.at(case.total)
    if law.mechanism is Mechanism.NOT_CROSS_BORDER:
        return Decision(allowed=True, reason=Reason.NOT_CROSS_BORDER, mechanism=law.mechanism)
    fields, is_general = inputs.dataset.fields, law.exemption == Reason.GENERAL_DATA
    contradiction = contradicted(inputs.dataset.facts, fields, ask.fields, ask.count if ask.is_counted else None)
    if contradiction is not None:
        reason = Reason.TAGS_CONTRADICTED
        return Decision(allowed=False, reason=reason, mechanism=law.mechanism, contradiction=contradiction)
    if fields.are_outdated(ask.fields) or (is_general and not fields.are_graded(ask.fields)):
        return Decision(allowed=False, reason=Reason.GRADING_OUTDATED, mechanism=law.mechanism)
    if is_general:
        return Decision(allowed=True, reason=Reason.GENERAL_DATA, mechanism=law.mechanism)
    if law.mechanism is Mechanism.PROHIBITED:
        return Decision(allowed=False, reason=Reason.PROHIBITED, mechanism=law.mechanism)
    return _by_permit(case, law)


def contradicted(
    dataset: DatasetFacts, fields: Fields, exported: Collection[str] | None, count: Count | None
) -> Contradiction | None:
    """Return what contradicts the tags of a dataset in what is stated of an export.

    Args:
        dataset: with its tags.
        fields: what its grading looked at.
        exported: the fields that go; None: all.
        count: the persons that are stated; None: nothing is.
    """
    is_sensitive = Tag.SENSITIVE in dataset.tags
    if dataset.contains_minors and not is_sensitive:
        return Contradiction.MINORS_WITHOUT_TAG
    if count is None:
        return None
    if not dataset.is_personal and count != Count():
        return Contradiction.PERSONS_OF_GENERAL_DATA
    if count.sensitive_persons and not is_sensitive:
        return Contradiction.SENSITIVE_PERSONS_WITHOUT_TAG
    # PIPL 28: all information about persons under 14 is sensitive, whatever the field.
    must_be_stated = is_sensitive and (dataset.contains_minors or not fields.are_plain(exported))
    return Contradiction.NO_SENSITIVE_PERSONS if must_be_stated and not count.sensitive_persons else None


class _Case:
    """An ask of graded data to a known recipient, with what the transaction has read for it."""

    __slots__ = ("ask", "count", "fields", "inputs", "law", "total")

    def __init__(
        self,
        ask: Ask,
        inputs: DecisionInputs,
        dataset: DatasetState,
        facts: DatasetFacts,
        recipient: RecipientFacts,
        book: RuleBook,
    ) -> None:
        self.ask, self.inputs, self.fields = ask, inputs, dataset.fields.names
        self.count = count = ask.count
        if ask.growth is not None:
            count = ask.growth.year
        # CBDF 7, 8: the year's count includes the transfer that is asked about.
        self.total = Count(inputs.year.persons + count.persons, inputs.year.sensitive_persons + count.sensitive_persons)
        self.law = law_by_count(inputs.today, dataset.handler, facts, recipient, NO_CLAIMS, None, book)
        """The law on the case where no transfer claims anything."""


def _by_permit(case: _Case, law: LegalOutcome) -> Decision:
    """Take of several permits one that allows, the first to end; else tell the reason furthest down the list."""
    permits, permit_id = case.inputs.permits, case.ask.permit
    if permit_id is not None:
        permits = [permit for permit in permits if permit.id == permit_id]
    if len(permits) > 1:
        permits = sorted(permits, key=lambda permit: (permit.valid_until, permit.id))
    denial: Decision | None = None
    for permit in permits:
        answer = _under(case, permit)
        if answer.allowed:
            return answer
        if denial is None or _PLACE[answer.reason] > _PLACE[denial.reason]:
            denial = answer
    return denial or Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=law.mechanism)


def _under(case: _Case, permit: PermitState) -> Decision:
    """Answer under one permit: the law is asked with what the permit's transfer claimed."""
    claimed = _claimed(case.law, permit.terms)
    law = claimed.law.at(case.total)
    reason = (
        _standing(permit, case.inputs.today)
        or claimed.binding
        or (None if permit.has_evidence else Reason.EVIDENCE_LAPSED)
        or (_instrument(permit.terms, law) if claimed.is_contract else None)
        or _scope(case.ask, permit, case.fields)
        or _quantity(case, permit, law, is_personal=claimed.is_personal)
    )
    return Decision(
        reason is None,
        reason or Reason.PERMITTED,
        law.mechanism,
        permit.id,
        _headroom(permit, *claimed.law.headroom(case.inputs.year, permit.terms.requirements)),
        law.counts_toward_ledger,
        valid_from=permit.valid_from if reason is Reason.PERMIT_NOT_BEGUN else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Claimed:
    """What a permit's terms come to for given facts, however many persons there are."""

    law: LawByCount
    """With what its transfer claims, by the instrument that it chose."""
    binding: Reason | None
    is_personal: bool
    is_contract: bool
    """Whether the instrument is one of those that only stand as long as the law offers them."""


@lru_cache(maxsize=MAX_MEMOISED_TERMS)
def _claimed(law: LawByCount, terms: Terms) -> _Claimed:
    """Return what terms come to where the law on the facts, without any claims, is this."""
    # A register that has become freer since frees nothing of what was approved before: of each fact the stricter value counts.
    claimed = law.claiming(terms.transfer, terms.route, terms.handler, terms.dataset)
    is_personal = not _PERSONAL.isdisjoint(terms.tags)
    return _Claimed(claimed, _binding(terms, claimed), is_personal, is_contract=terms.route in _CONTRACTS)


def _standing(permit: PermitState, today: date) -> Reason | None:
    if permit.status == "suspended" or (permit.is_overdue and permit.status != "revoked"):
        return Reason.PERMIT_SUSPENDED  # SCM 7 and the like: what must follow did not follow in time
    if permit.status == "revoked":
        return Reason.PERMIT_REVOKED
    if today < permit.valid_from:
        return Reason.PERMIT_NOT_BEGUN
    return Reason.PERMIT_EXPIRED if today > permit.valid_until else None


def _binding(terms: Terms, claimed: LawByCount) -> Reason | None:
    """Bind, don't push: whatever the permit rests on is looked at again, and a mismatch denies.

    Args:
        terms: what it rests on.
        claimed: the law on the register as it is now. What it asks for where nobody has been counted yet is looked at here; how many
            there are is looked at last.
    """
    law, facts = claimed.at_nobody, claimed.facts
    if terms.tags != facts.dataset.tags:
        return Reason.GRADING_CHANGED
    is_other = terms.recipient is not None and terms.recipient != _as_recorded(facts.recipient, terms.recipient)
    is_met = law.is_met_by(terms.requirements) and not _lacks_evidence(terms, law)
    return None if is_met and not is_other else Reason.EVIDENCE_LAPSED


def _as_recorded(now: RecipientFacts, approved: RecipientFacts) -> RecipientFacts:
    """Return a recipient as it is now, without a name where none was recorded with the approval."""
    return now if approved.name is not None else replace(now, name=None)


def _lacks_evidence(terms: Terms, law: LegalOutcome) -> bool:
    """Tell whether the law has come to ask for papers that nobody looked at, as where foreign data turns out to be domestic.

    An exemption of its own is left out: one dataset of several may be freer by it than all of them together were.
    """
    is_freer = law.exemption not in {None, "small_volume"}
    return terms.evidence_kinds is not None and not is_freer and not law.papers <= terms.evidence_kinds


def _instrument(terms: Terms, law: LegalOutcome) -> Reason | None:
    """The instrument that was obtained must still be offered where the law asks for one of its kind."""
    has_lapsed = law.mechanism is _CONTRACT and terms.route not in law.routes
    return Reason.EVIDENCE_LAPSED if has_lapsed else None


def _scope(ask: Ask, permit: PermitState, registered: Collection[str]) -> Reason | None:
    if ask.purpose != permit.purpose:
        return Reason.PURPOSE_NOT_COVERED
    if not _covers_fields(ask.fields, permit, registered):
        return Reason.FIELDS_NOT_COVERED
    if permit.systems is not None and ask.system not in permit.systems:
        return Reason.SYSTEM_NOT_COVERED
    return None


def _covers_fields(fields: Sequence[str] | None, permit: PermitState, registered: Collection[str]) -> bool:
    """An ask that names no fields is for all of them; a field that nobody registered, or approved, is covered by nothing.

    Where no field was registered, then or now, what was approved is the dataset as a whole, or the fields that the permit names.
    """
    if fields is None and permit.fields is None and permit.registered == registered:
        return True
    if not permit.registered and not registered:
        return permit.fields is None or (fields is not None and set(fields) <= set(permit.fields))
    exported = set(registered if fields is None else fields)
    covered = registered if permit.fields is None else permit.fields
    return exported <= set(permit.registered) and exported <= set(covered)


def _quantity(case: _Case, permit: PermitState, law: LegalOutcome, *, is_personal: bool) -> Reason | None:
    used, quota, count = permit.used, permit.quota, case.count
    if not is_personal:
        return None  # A permit for data about nobody has no quota, and persons that are stated contradict the tags.
    if case.ask.growth is not None:
        count = case.ask.of_permit(permit.id)
    if used.persons + count.persons > quota.persons or (
        used.sensitive_persons + count.sensitive_persons > quota.sensitive_persons
    ):
        return Reason.QUOTA_EXCEEDED
    if not case.ask.is_counted and used.persons >= quota.persons and used.sensitive_persons >= quota.sensitive_persons:
        return Reason.QUOTA_EXCEEDED
    return None if law.is_met_by(permit.terms.requirements) else Reason.LEDGER_THRESHOLD


def _headroom(permit: PermitState, persons: int | None, sensitive: int | None) -> Count:
    """Return the smaller of what is left of the quota and of what the year allows before a stricter mechanism."""
    left = max(0, permit.quota.persons - permit.used.persons)
    sensitive_left = max(0, permit.quota.sensitive_persons - permit.used.sensitive_persons)
    return Count(
        left if persons is None or left < persons else persons,
        sensitive_left if sensitive is None or sensitive_left < sensitive else sensitive,
    )
