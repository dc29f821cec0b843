"""Decides on the approval workflow: stages, separation of duties, outcomes of reviews and missing evidence. Pure.

Source: the stages and the separation of duties of the design; evidence by the law data.

Example:
    stages = stages_for(determination)
    denial = review_denial("pr_1", is_person=True, authors={"pr_2"}, earlier=())
    if denial is None:
        outcome = apply_decision(Decision.APPROVE, 0, initial_stages(len(stages)))
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from service.access.persons import are_two
from service.law.determination import Determination
from service.law.mechanisms import Mechanism
from service.law.stages import Stage


class Status(StrEnum):
    """States of a transfer."""

    DRAFT = "draft"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    RETURNED = "returned"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class StageStatus(StrEnum):
    """States of a stage."""

    WAITING = "waiting"
    OPEN = "open"
    APPROVED = "approved"
    RETURNED = "returned"
    REJECTED = "rejected"


class Decision(StrEnum):
    """Decisions of a reviewer."""

    APPROVE = "approve"
    RETURN = "return"
    REJECT = "reject"


_ASSESSMENT: Final = (Stage.DATA_OWNER, Stage.PRIVACY, Stage.LEGAL, Stage.SECURITY)
_STAGES: Final[Mapping[Mechanism, tuple[Stage, ...]]] = {
    Mechanism.EXEMPT: (Stage.DATA_OWNER, Stage.PRIVACY),
    Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION: (Stage.DATA_OWNER, Stage.PRIVACY, Stage.LEGAL),
    Mechanism.SECURITY_ASSESSMENT: _ASSESSMENT,
    Mechanism.AUTHORITY_APPROVAL: (Stage.LEGAL, Stage.SECURITY, Stage.EXECUTIVE),
    Mechanism.STATE_APPROVAL: (*_ASSESSMENT, Stage.EXECUTIVE),
}
_PRIVACY_ONLY: Final = frozenset({"small_volume", "general_data"})
"""Exemptions that need the stage `privacy` only."""

_UNDECIDED: Final = frozenset({Status.DRAFT, Status.IN_REVIEW, Status.RETURNED})


def is_prohibited(determination: Determination) -> bool:
    """True if no approval can allow the transfer."""
    return determination.mechanism is Mechanism.PROHIBITED


def stages_for(determination: Determination) -> tuple[Stage, ...]:
    """Return the stages of a transfer in order: the union over its requirements and the company's own rules.

    Empty if the transfer is prohibited.
    """
    if is_prohibited(determination):
        return ()
    required: set[Stage] = set()
    for requirement in determination.requirements:
        is_short = requirement.mechanism is Mechanism.EXEMPT and determination.step_exemption in _PRIVACY_ONLY
        required.update((Stage.PRIVACY,) if is_short else _STAGES[requirement.mechanism])
    required.update(determination.stages)
    return tuple(stage for stage in Stage if stage in required)


def effective_status(stored: str, valid_until: date, today: date) -> Status:
    """Return the status of a transfer on a day: an undecided one is expired after its last day."""
    status = Status(stored)
    return Status.EXPIRED if status in _UNDECIDED and today > valid_until else status


_OR_BY_KEY: Final = ", or have made or seen the key by which it was done"


def review_denial(
    reviewer: str,
    *,
    is_person: bool,
    authors: Collection[str],
    earlier: Collection[str],
    recused: Collection[str] = (),
    filed: Collection[str] = (),
    behalf: str | None = None,
    seen_by: Collection[str] = (),
) -> str | None:
    """Return the reason why a reviewer may not decide, by the separation of duties; None: the reviewer may.

    Each set holds everyone who could have made the act: the principal, and the principals that have made or seen its key.

    Args:
        reviewer: principal id.
        is_person: True for a person; systems do not review.
        authors: persons who could have written, changed or submitted the request.
        earlier: persons who could have decided another stage of this revision, and the principals that lent them a role.
        recused: persons who could have recused themselves from the request.
        filed: persons who could have filed the evidence that the permit would rest on.
        behalf: principal that lent the role; a lent role is denied wherever its owner is.
        seen_by: other principals that have seen the secret of the reviewer's key, and could be acting with it.
    """
    if not is_person:
        return "Only a person can review."
    if not are_two({reviewer}, authors):
        return f"You are an author of this request{_OR_BY_KEY}; somebody else must review it."
    if not are_two({reviewer}, earlier):
        return f"You have decided another stage of this request{_OR_BY_KEY}; each stage takes another person."
    if not are_two({reviewer}, recused):
        return f"You have recused yourself from this request{_OR_BY_KEY}."
    if not are_two({reviewer}, filed):
        return f"You have filed evidence that this request rests on{_OR_BY_KEY}; somebody else must decide on it."
    excluded = {*authors, *earlier, *recused, *filed}
    if not are_two(seen_by, excluded):
        return (
            "Your key was made by somebody who may not review this request. Sign in with one that nobody else has seen."
        )
    if behalf is not None and not are_two({behalf}, excluded):
        return "The person who lent you the role may not review this request, so you may not on their behalf."
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The status of a request and of its stages after a decision."""

    status: Status
    stages: tuple[StageStatus, ...]


_FINAL_STATUS: Final = {Decision.RETURN: Status.RETURNED, Decision.REJECT: Status.REJECTED}


def apply_decision(
    decision: Decision, place: int, stages: Sequence[StageStatus], *, has_terms: bool = False
) -> Outcome:
    """Return the statuses after a decision on the open stage at `place`.

    Args:
        decision: decision of the reviewer.
        place: index of the open stage.
        stages: statuses before the decision.
        has_terms: True if the requester must accept terms of an approval before the next stage opens.
    """
    changed = list(stages)
    if decision is not Decision.APPROVE:
        changed[place] = StageStatus(_FINAL_STATUS[decision].value)
        return Outcome(_FINAL_STATUS[decision], tuple(changed))
    changed[place] = StageStatus.APPROVED
    return open_next_stage(changed, has_terms=has_terms)


def open_next_stage(stages: Sequence[StageStatus], *, has_terms: bool) -> Outcome:
    """Return the statuses with the first unapproved stage open, or with none open while terms wait for acceptance.

    The request is approved once every stage is approved and no terms wait.
    """
    following = next((place for place, status in enumerate(stages) if status is not StageStatus.APPROVED), None)
    if following is None and not has_terms:
        return Outcome(Status.APPROVED, tuple(stages))
    states = [status if status is StageStatus.APPROVED else StageStatus.WAITING for status in stages]
    if following is not None and not has_terms:
        states[following] = StageStatus.OPEN
    return Outcome(Status.IN_REVIEW, tuple(states))


def reopen_stage(place: int, stages: Sequence[StageStatus], *, has_terms: bool) -> Outcome:
    """Return the statuses after the approval of the stage at `place` was taken back.

    Approvals of later stages remain: each is another person's decision on the same revision.
    """
    changed = list(stages)
    changed[place] = StageStatus.WAITING
    return open_next_stage(changed, has_terms=has_terms)


def initial_stages(stages: int) -> tuple[StageStatus, ...]:
    """Return the statuses of the stages of a new revision: the first is open, the others wait."""
    return tuple(StageStatus.OPEN if place == 0 else StageStatus.WAITING for place in range(stages))


_IRRELEVANT_PARTS: Final[Mapping[Stage, frozenset[str]]] = {
    Stage.DATA_OWNER: frozenset({"systems", "method", "legal_basis", "route"}),
    Stage.PRIVACY: frozenset({"systems", "route"}),
    Stage.LEGAL: frozenset({"systems"}),
    Stage.SECURITY: frozenset({"legal_basis", "necessity", "route"}),
    Stage.EXECUTIVE: frozenset(),
}
"""Parts of a request that are no input of a stage; every other part is."""


def affected_inputs(stage: Stage, parts: Iterable[str]) -> list[str]:
    """Return the changed parts that are inputs of a stage.

    If there are none, the reviewer of an earlier approval of that stage may carry it over.
    """
    return sorted(set(parts) - _IRRELEVANT_PARTS[stage])


def effective_stage_status(stage: str, transfer: Status) -> StageStatus:
    """Return the status of a stage as the API reports it: no stage of a request is open once it has left review."""
    status = StageStatus(stage)
    return StageStatus.WAITING if status is StageStatus.OPEN and transfer is not Status.IN_REVIEW else status


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """An evidence item as the workflow considers it."""

    id: str
    kind: str
    issued_on: date
    ends_on: date | None
    scope: Mapping[str, Any] | None = None
    """Purpose and scope of the request when the item was filed; only of kinds that are bound to them."""
    is_trusted: bool = True
    """False: a reviewer withdrew evidence of this kind from the request, and this item has not been verified since."""


SCOPED_KINDS: Final = frozenset({"impact_assessment_report"})
"""Kinds of evidence that are valid until purpose or scope changes. Source: PIPL art. 55, 56."""


SINGLE_USE_KINDS: Final = frozenset({"authority_approval"})
"""Kinds of evidence that are valid for one request only. Source: DSL art. 36."""

RENEWABLE_KINDS: Final = frozenset({"security_assessment_result", "certificate"})
"""Kinds of evidence that are valid for one request and its renewals with the same recipient and datasets."""

_AUTHORITY_KINDS: Final = SINGLE_USE_KINDS | RENEWABLE_KINDS
BOUND_KINDS: Final = SCOPED_KINDS | _AUTHORITY_KINDS
"""Kinds of evidence that are bound to a request, or to its purpose and scope."""


def is_numbered_by_authority(kind: str) -> bool:
    """True if an authority numbers this kind of evidence, so that the number is the same at every company."""
    return kind in _AUTHORITY_KINDS


def number_of(issuer: str, reference: str) -> str:
    """Return the normalized issuer and number of an evidence item, equal for two ways to write them.

    Keeps letters and digits without case, width, accents or compatibility forms: `No. （2026） 17` equals `no 2026-17`.
    """
    return f"{_normalize(issuer)}/{_normalize(reference)}"


def _normalize(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold()
    alphanumeric = "".join(
        _digit(character) for character in unicodedata.normalize("NFKD", folded) if character.isalnum()
    )
    return alphanumeric or "".join(folded.split())


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


@dataclass(frozen=True, slots=True)
class EarlierFiling:
    """An earlier record of the same evidence."""

    transfer: str
    scope: Mapping[str, Any] | None
    has_ended: bool
    is_distrusted: bool = False
    """True if a reviewer withdrew the record and nobody has verified another one since."""


def filing_denial(
    kind: str, transfer: str, scope: Mapping[str, Any], before: Iterable[EarlierFiling], renewals: Collection[str]
) -> str | None:
    """Return the reason why evidence cannot be filed with a request, given its earlier records; None: it can.

    A record that was withdrawn or replaced frees the evidence for the same request only.

    Args:
        kind: kind of the evidence.
        transfer: id of the request.
        scope: purpose and scope of the request now.
        before: the other records of the same evidence.
        renewals: ids of the requests that this one renews, or that renew it.
    """
    for earlier in before:
        if earlier.transfer == transfer and earlier.has_ended:
            continue
        if earlier.is_distrusted:
            return "A reviewer has withdrawn it with another request."
        if kind in SINGLE_USE_KINDS and earlier.transfer != transfer:
            return "It is valid for one request only, and has been filed with another one."
        if kind in RENEWABLE_KINDS and earlier.transfer != transfer and earlier.transfer not in renewals:
            return "It is valid for one request and its renewals, and has been filed with another request."
        if kind in SCOPED_KINDS and out_of_scope(earlier.scope, scope):
            return "It was made for another purpose or scope: have one made for this request."
    return None


def out_of_scope(made_for: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Return the members in which a request exceeds the scope that its evidence was made for.

    A request exceeds it by another purpose, recipient or method, by one more dataset or field, or by sensitive information
    where there was none. Fewer datasets or fields are within it. Source: PIPL art. 55, 56; SCM art. 8.

    Args:
        made_for: `purpose`, `recipient`, `method`, `datasets`, `fields` (None: all) and `is_sensitive` at the time; None: the
            evidence is not bound to a scope.
        now: the same members of the request now.
    """
    if made_for is None:
        return []
    exceeded = [name for name in ("purpose", "recipient", "method") if made_for[name] != now[name]]
    if not set(now["datasets"]) <= set(made_for["datasets"]):
        exceeded.append("datasets")
    earlier_fields, fields = made_for["fields"], now["fields"]
    if earlier_fields is not None and (fields is None or not set(fields) <= set(earlier_fields)):
        exceeded.append("fields")
    if now["is_sensitive"] and not made_for["is_sensitive"]:
        exceeded.append("sensitive_persons")
    return exceeded


@dataclass(frozen=True, slots=True)
class EvidenceCheck:
    """The evidence that a permit would rest on, and the missing kinds, each with its reason."""

    evidence: tuple[EvidenceItem, ...]
    missing: Mapping[str, str]

    @property
    def ends_on(self) -> date | None:
        """The day on which the first of the evidence ends; None: none of it ends."""
        return min((item.ends_on for item in self.evidence if item.ends_on is not None), default=None)


def check_evidence(
    needed: Iterable[str],
    filed: Sequence[EvidenceItem],
    today: date,
    begins: date,
    scope: Mapping[str, Any] | None = None,
) -> EvidenceCheck:
    """Choose for each required kind the item that is valid longest, and report the missing kinds.

    Args:
        needed: required kinds of evidence.
        filed: the evidence filed with the request.
        today: day in Asia/Shanghai; an item issued later, or ended earlier, is not valid.
        begins: first day of the transfer; an item that ends earlier is not valid.
        scope: purpose and scope of the request now; None: not compared.
    """
    chosen: list[EvidenceItem] = []
    missing: dict[str, str] = {}
    for kind in needed:
        candidates = [item for item in filed if item.kind == kind]
        in_date = [item for item in candidates if item.is_trusted and _is_valid_for(item, today, begins)]
        valid = [item for item in in_date if scope is None or not out_of_scope(item.scope, scope)]
        if valid:
            chosen.append(max(valid, key=lambda item: (item.ends_on or date.max, item.issued_on)))
        elif in_date and scope is not None:
            exceeded = ", ".join(out_of_scope(in_date[-1].scope, scope))
            missing[kind] = f"The evidence was made for another purpose or scope: {exceeded}."
        elif candidates:
            missing[kind] = _unusable_reason(candidates[-1], today)
        else:
            missing[kind] = "No evidence of this kind has been filed."
    return EvidenceCheck(tuple(chosen), missing)


def _is_valid_for(item: EvidenceItem, today: date, begins: date) -> bool:
    return item.issued_on <= today and (item.ends_on is None or item.ends_on >= max(today, begins))


def _unusable_reason(item: EvidenceItem, today: date) -> str:
    if not item.is_trusted:
        return "A reviewer withdrew evidence of this kind; its replacement must be verified first."
    if item.issued_on > today:
        return f"The evidence is dated {item.issued_on}, which is in the future."
    if item.ends_on is not None and item.ends_on < today:
        return f"The evidence ended on {item.ends_on}."
    return f"The evidence ends on {item.ends_on}, before the transfer begins."
