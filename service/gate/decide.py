"""Decides whether an export may happen: a pure function of the rows that one transaction has read.

The first reason of `Reason` that applies is the answer. The law of the day decides which exports need a permit.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from service.law.count_bands import LawByCount, LegalOutcome, get_law_by_count
from service.law.facts import Count, DatasetFacts, HandlerFacts, RecipientFacts, Route, Tag, TransferFacts
from service.law.mechanisms import Mechanism
from service.law.rule_book import RuleBook
from service.registry.fields import Fields


class Reason(StrEnum):
    """Reason of a decision; of several, the first that applies."""

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
    """Kinds of statements that contradict the tags of a dataset; each is a finding for the registrar."""

    PERSONS_OF_GENERAL_DATA = "persons_of_general_data"
    """Persons are stated for data that is neither personal nor sensitive."""
    SENSITIVE_PERSONS_WITHOUT_TAG = "sensitive_persons_without_tag"
    """Sensitive persons are stated for data that is not tagged sensitive."""
    NO_SENSITIVE_PERSONS = "no_sensitive_persons"
    """Sensitive fields are exported, and no sensitive persons are stated."""
    MINORS_WITHOUT_TAG = "minors_without_tag"
    """The data is about persons under 14, and not tagged sensitive. Source: PIPL art. 28."""


NO_CLAIMS: Final = TransferFacts()
_CONTRACT: Final = Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION
_CONTRACTS: Final = frozenset({Route.STANDARD_CONTRACT, Route.CERTIFICATION, Route.GBA_STANDARD_CONTRACT})
_PERSONAL: Final = frozenset({Tag.PERSONAL, Tag.SENSITIVE})
_PLACE: Final = {reason: place for place, reason in enumerate(Reason)}
MAX_MEMOISED_TERMS: Final = 16_384
"""Maximum number of terms whose determination is memoised."""


# Ten thousand of these are created per second; a frozen dataclass takes five times as long to create as a Struct.


class Growth(Struct, frozen=True):
    """Growth of totals by the persons of an ask: those who are not counted yet."""

    year: Count
    permits: Mapping[str, Count]
    """Growth of each permit's total, by its id; a permit that is missing grows by all persons."""


class Ask(Struct, frozen=True):
    """Export that a system asks for; a member is None where the question leaves it out."""

    system: str
    """Name of the system that will export."""
    purpose: str | None
    persons: int | None
    sensitive_persons: int | None
    fields: Sequence[str] | None
    permit: str | None = None
    growth: Growth | None = None
    """Growth by persons announced by hash; None if all persons count as new."""

    @property
    def count(self) -> Count:
        """The stated persons; zero where none are stated."""
        return Count(self.persons or 0, self.sensitive_persons or 0)

    @property
    def is_counted(self) -> bool:
        """True if the ask states a number of persons."""
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
    """Terms of a permit, as approved. Compared by identity: equal texts share one object, with which results are memoised."""

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
    """True if an obligation that suspends it is overdue."""
    has_evidence: bool
    """True if all evidence that it rests on is still valid."""

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
    """Inputs of a decision, as read by the transaction."""

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
    """True if the persons of this export add to the handler's year."""
    contradiction: Contradiction | None = None
    """The contradiction with the tags, where that is the reason."""
    valid_from: date | None = None
    """The first day of the permit, where it has not begun."""


def decide(ask: Ask, inputs: DecisionInputs, book: RuleBook) -> Decision:
    """Decide whether an export may happen, by the first reason that applies.

    Args:
        ask: the export.
        inputs: the present state of register, permits and ledger.
        book: the law.

    Example:
        decision = decide(ask, inputs, book)
        if not decision.allowed:
            raise refusal(evaluation, decision)
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
    """Return the contradiction between an export's statements and the tags of the dataset, if there is one.

    Args:
        dataset: with its tags.
        fields: its fields, as graded.
        exported: the fields that go; None: all.
        count: the stated persons; None if none are stated.
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
    """Ask for graded data to a known recipient, with its inputs and the law on it."""

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
        self.law = get_law_by_count(inputs.today, dataset.handler, facts, recipient, NO_CLAIMS, None, book)
        """The law on the case where no transfer claims anything."""


def _by_permit(case: _Case, law: LegalOutcome) -> Decision:
    """Decide by the permits: the first to end that allows the export; else the denial whose reason is last in the list."""
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
    """Decide under one permit, by the law on the facts that its transfer claims."""
    claimed = _claimed(case.law, permit.terms)
    law = claimed.law.at(case.total)
    reason = (
        _state_denial(permit, case.inputs.today)
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
    """Effect of a permit's terms on given facts, for any number of persons."""

    law: LawByCount
    """With what its transfer claims, by the instrument that it chose."""
    binding: Reason | None
    is_personal: bool
    is_contract: bool
    """True if the instrument is valid only while the law offers it."""


@lru_cache(maxsize=MAX_MEMOISED_TERMS)
def _claimed(law: LawByCount, terms: Terms) -> _Claimed:
    """Return the effect of terms, given the law on the facts without claims."""
    # A register that has become less strict does not relax earlier approvals: of each fact the stricter value counts.
    claimed = law.with_claims(terms.transfer, terms.route, terms.handler, terms.dataset)
    is_personal = not _PERSONAL.isdisjoint(terms.tags)
    return _Claimed(claimed, _binding(terms, claimed), is_personal, is_contract=terms.route in _CONTRACTS)


def _state_denial(permit: PermitState, today: date) -> Reason | None:
    """Return the reason why a permit allows nothing on a day; it reports a suspension first, `permits.standing` an end."""
    if permit.status == "suspended" or (permit.is_overdue and permit.status != "revoked"):
        return Reason.PERMIT_SUSPENDED  # SCM 7 and others: an obligation was not met in time
    if permit.status == "revoked":
        return Reason.PERMIT_REVOKED
    if today < permit.valid_from:
        return Reason.PERMIT_NOT_BEGUN
    return Reason.PERMIT_EXPIRED if today > permit.valid_until else None


def _binding(terms: Terms, claimed: LawByCount) -> Reason | None:
    """Compare the basis of a permit with the present register and law; a mismatch denies.

    Args:
        terms: the basis of the permit.
        claimed: the law on the present register. Its requirements for zero persons are compared here, and the count last.
    """
    law, facts = claimed.at_zero, claimed.facts
    if terms.tags != facts.dataset.tags:
        return Reason.GRADING_CHANGED
    is_other = terms.recipient is not None and terms.recipient != _as_recorded(facts.recipient, terms.recipient)
    is_met = law.is_met_by(terms.requirements) and not _lacks_evidence(terms, law)
    return None if is_met and not is_other else Reason.EVIDENCE_LAPSED


def _as_recorded(now: RecipientFacts, approved: RecipientFacts) -> RecipientFacts:
    """Return the present recipient, without its name if the approval recorded none."""
    return now if approved.name is not None else replace(now, name=None)


def _lacks_evidence(terms: Terms, law: LegalOutcome) -> bool:
    """Return True if the law now requires evidence that the approval did not examine, such as for foreign data that proves domestic.

    An exemption is left out: it may apply to one dataset of several, and not to all together.
    """
    is_freer = law.exemption not in {None, "small_volume"}
    return terms.evidence_kinds is not None and not is_freer and not law.evidence_kinds <= terms.evidence_kinds


def _instrument(terms: Terms, law: LegalOutcome) -> Reason | None:
    """Deny if the law requires an instrument of this kind and no longer offers the one obtained."""
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
    """Return True if the permit covers the fields; None: all. A field must be registered and approved.

    Without registered fields, then and now, the approval covers the dataset as a whole, or the fields that the permit names.
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
        return None  # A permit for data without persons has no quota, and stated persons contradict the tags.
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
    """Return the smaller of the remaining quota and of the persons that the year allows before a stricter mechanism."""
    left = max(0, permit.quota.persons - permit.used.persons)
    sensitive_left = max(0, permit.quota.sensitive_persons - permit.used.sensitive_persons)
    return Count(
        left if persons is None or left < persons else persons,
        sensitive_left if sensitive is None or sensitive_left < sensitive else sensitive,
    )
