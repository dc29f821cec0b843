"""The approval workflow: which stages, who may review, what a review leads to, which evidence is missing. Pure decisions.

Source: the stages and the separation of duties of the design; evidence by the law data.
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
    """What a reviewer can say."""

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
"""Exemptions that privacy alone decides."""

_UNDECIDED: Final = frozenset({Status.DRAFT, Status.IN_REVIEW, Status.RETURNED})


def is_prohibited(determination: Determination) -> bool:
    """Tell whether no approval can allow it."""
    return determination.mechanism is Mechanism.PROHIBITED


def stages_for(determination: Determination) -> tuple[Stage, ...]:
    """Return the stages of a transfer: the union over its requirements and the company's own rules, in their one order.

    None where it is prohibited.
    """
    if is_prohibited(determination):
        return ()
    wanted: set[Stage] = set()
    for requirement in determination.requirements:
        is_short = requirement.mechanism is Mechanism.EXEMPT and determination.step_exemption in _PRIVACY_ONLY
        wanted.update((Stage.PRIVACY,) if is_short else _STAGES[requirement.mechanism])
    wanted.update(determination.stages)
    return tuple(stage for stage in Stage if stage in wanted)


def effective_status(stored: str, valid_until: date, today: date) -> Status:
    """Return where a transfer stands: one that nobody has decided on expires with its own last day."""
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
    """Return why somebody may not review, or None: separated duties, whatever roles they hold.

    Of every act it counts who could have made it: the holder, and whoever has made or seen the credential.

    Args:
        reviewer: principal id.
        is_person: systems do not review.
        authors: who could have written, changed or submitted the request.
        earlier: who could have decided another stage of this revision, and those on whose behalf it was decided.
        recused: who could have stood back from this request.
        filed: who could have filed the evidence that the permit would rest on.
        behalf: who lent the role; a lent role is barred wherever its owner is.
        seen_by: who else has seen the secret of the reviewer's key, and may be the one that reviews.
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
    barred = {*authors, *earlier, *recused, *filed}
    if not are_two(seen_by, barred):
        return (
            "Your key was made by somebody who may not review this request. Sign in with one that nobody else has seen."
        )
    if behalf is not None and not are_two({behalf}, barred):
        return "Whoever lent you the role may not review this request, so you may not on their behalf."
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a review leads to."""

    status: Status
    stages: tuple[StageStatus, ...]


_FINAL_STATUS: Final = {Decision.RETURN: Status.RETURNED, Decision.REJECT: Status.REJECTED}


def apply_decision(
    decision: Decision, place: int, stages: Sequence[StageStatus], *, has_terms: bool = False
) -> Outcome:
    """Return the states after a decision on the open stage at `place`.

    Args:
        decision: what the reviewer said.
        place: of the open stage.
        stages: the states before.
        has_terms: whether the requester must accept terms of an approval before anything else opens.
    """
    changed = list(stages)
    if decision is not Decision.APPROVE:
        changed[place] = StageStatus(_FINAL_STATUS[decision].value)
        return Outcome(_FINAL_STATUS[decision], tuple(changed))
    changed[place] = StageStatus.APPROVED
    return open_next_stage(changed, has_terms=has_terms)


def open_next_stage(stages: Sequence[StageStatus], *, has_terms: bool) -> Outcome:
    """Return the states with the first stage that is not approved open, and none while terms wait to be accepted.

    With every stage approved and no terms waiting the request is approved.
    """
    ahead = next((place for place, status in enumerate(stages) if status is not StageStatus.APPROVED), None)
    if ahead is None and not has_terms:
        return Outcome(Status.APPROVED, tuple(stages))
    states = [status if status is StageStatus.APPROVED else StageStatus.WAITING for status in stages]
    if ahead is not None and not has_terms:
        states[ahead] = StageStatus.OPEN
    return Outcome(Status.IN_REVIEW, tuple(states))


def reopen_stage(place: int, stages: Sequence[StageStatus], *, has_terms: bool) -> Outcome:
    """Return the states after the approval of the stage at `place` was taken back: it is to be decided again.

    Approvals of later stages stand: each is another person's decision on the same revision.
    """
    changed = list(stages)
    changed[place] = StageStatus.WAITING
    return open_next_stage(changed, has_terms=has_terms)


def initial_stages(stages: int) -> tuple[StageStatus, ...]:
    """Return the states of a new revision's stages: the first is open."""
    return tuple(StageStatus.OPEN if place == 0 else StageStatus.WAITING for place in range(stages))


_IRRELEVANT_PARTS: Final[Mapping[Stage, frozenset[str]]] = {
    Stage.DATA_OWNER: frozenset({"systems", "method", "legal_basis", "route"}),
    Stage.PRIVACY: frozenset({"systems", "route"}),
    Stage.LEGAL: frozenset({"systems"}),
    Stage.SECURITY: frozenset({"legal_basis", "necessity", "route"}),
    Stage.EXECUTIVE: frozenset(),
}
"""Parts of a request that a stage does not decide on; everything else is its input."""


def affected_inputs(stage: Stage, parts: Iterable[str]) -> list[str]:
    """Return, of the parts that have changed between two revisions, those that a stage decides on.

    Where none is left an earlier approval of that stage may be carried over, once its reviewer confirms it.
    """
    return sorted(set(parts) - _IRRELEVANT_PARTS[stage])


def effective_stage_status(stage: str, transfer: Status) -> StageStatus:
    """Return a stage's state as people see it: nothing is open of a request that is no longer in review."""
    status = StageStatus(stage)
    return StageStatus.WAITING if status is StageStatus.OPEN and transfer is not Status.IN_REVIEW else status


@dataclass(frozen=True, slots=True)
class EvidenceItem:
    """A piece of evidence, with the last day on which it counts; None: no end."""

    id: str
    kind: str
    issued_on: date
    ends_on: date | None
    scope: Mapping[str, Any] | None = None
    """What the transfer was when it was added, for papers that only serve for that."""
    is_trusted: bool = True
    """False: a reviewer withdrew a paper of its kind from the same request, and nobody has verified this one."""


SCOPED_KINDS: Final = frozenset({"impact_assessment_report"})
"""Papers that serve until purpose or scope changes. Source: PIPL art. 55, 56."""


SINGLE_USE_KINDS: Final = frozenset({"authority_approval"})
"""Papers that serve for one request only. Source: DSL art. 36."""

RENEWABLE_KINDS: Final = frozenset({"security_assessment_result", "certificate"})
"""Papers that serve for one request, and for the renewals that take its place with the same recipient and datasets."""

_AUTHORITY_KINDS: Final = SINGLE_USE_KINDS | RENEWABLE_KINDS
BOUND_KINDS: Final = SCOPED_KINDS | _AUTHORITY_KINDS
"""Papers that do not serve for whatever somebody files them with."""


def is_numbered_by_authority(kind: str) -> bool:
    """Tell whether a number of this kind is an authority's: the same at every company. Others number as they like."""
    return kind in _AUTHORITY_KINDS


def number_of(issuer: str, reference: str) -> str:
    """Return what two ways to write the issuer and the number of a paper have in common.

    Letters and digits alone, without case, width, accents or compatibility forms: `No. （2026） 17` is `no 2026-17`.
    """
    return f"{_normalize(issuer)}/{_normalize(reference)}"


def _normalize(written: str) -> str:
    plain = unicodedata.normalize("NFKD", written).casefold()
    kept = "".join(_digit(character) for character in unicodedata.normalize("NFKD", plain) if character.isalnum())
    return kept or "".join(plain.split())


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


@dataclass(frozen=True, slots=True)
class EarlierFiling:
    """A record of a paper that has been filed before."""

    transfer: str
    scope: Mapping[str, Any] | None
    has_ended: bool
    is_distrusted: bool = False
    """Whether a reviewer withdrew it, and nobody has verified it since."""


def filing_denial(
    kind: str, transfer: str, scope: Mapping[str, Any], before: Iterable[EarlierFiling], line: Collection[str]
) -> str | None:
    """Return why a paper cannot be filed with a request, given all the records of the same paper; None: it can.

    A record that ended (withdrawn, or replaced) frees the paper for its own request, and for no other.

    Args:
        kind: of the paper.
        transfer: the request.
        scope: what the request is now.
        before: the other records of the same paper.
        line: the requests whose place this one takes, or that take its place.
    """
    for one in before:
        if one.transfer == transfer and one.has_ended:
            continue
        if one.is_distrusted:
            return "A reviewer has withdrawn it with another request."
        if kind in SINGLE_USE_KINDS and one.transfer != transfer:
            return "It serves for one request only, and has been filed with another one."
        if kind in RENEWABLE_KINDS and one.transfer != transfer and one.transfer not in line:
            return (
                "It serves for one request and the renewals that take its place, and has been filed with another one."
            )
        if kind in SCOPED_KINDS and out_of_scope(one.scope, scope):
            return "It was made for another purpose or scope: have one made for this request."
    return None


def out_of_scope(made_for: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Return in which respects a request goes beyond the one that a scoped paper was made for.

    Another purpose, recipient or method, one more dataset or one more field, sensitive information where there was none; fewer
    of them are within it. Source: PIPL art. 55, 56; SCM art. 8.

    Args:
        made_for: `purpose`, `recipient`, `method`, `datasets`, `fields` (None: all) and `is_sensitive` of then; None: not a scoped
            paper.
        now: the same of now.
    """
    if made_for is None:
        return []
    found = [name for name in ("purpose", "recipient", "method") if made_for[name] != now[name]]
    if not set(now["datasets"]) <= set(made_for["datasets"]):
        found.append("datasets")
    was, wanted = made_for["fields"], now["fields"]
    if was is not None and (wanted is None or not set(wanted) <= set(was)):
        found.append("fields")
    if now["is_sensitive"] and not made_for["is_sensitive"]:
        found.append("sensitive_persons")
    return found


@dataclass(frozen=True, slots=True)
class EvidenceCheck:
    """Which papers a permit would rest on, and what is missing, each with the reason."""

    papers: tuple[EvidenceItem, ...]
    missing: Mapping[str, str]

    @property
    def ends_on(self) -> date | None:
        """The day with which the first of the papers ends."""
        return min((paper.ends_on for paper in self.papers if paper.ends_on is not None), default=None)


def check_evidence(
    needed: Iterable[str],
    papers: Sequence[EvidenceItem],
    today: date,
    begins: date,
    scope: Mapping[str, Any] | None = None,
) -> EvidenceCheck:
    """Choose for each needed kind the paper that lasts longest, and say what is missing.

    Args:
        needed: kinds of evidence.
        papers: what has been added.
        today: a paper issued later, or ended before, does not count.
        begins: the first day of the transfer: a paper that ends before serves for nothing.
        scope: what the request is now, for papers that only serve for what they were made for.
    """
    chosen: list[EvidenceItem] = []
    missing: dict[str, str] = {}
    for kind in needed:
        candidates = [paper for paper in papers if paper.kind == kind]
        in_date = [paper for paper in candidates if paper.is_trusted and _is_valid_for(paper, today, begins)]
        good = [paper for paper in in_date if scope is None or not out_of_scope(paper.scope, scope)]
        if good:
            chosen.append(max(good, key=lambda paper: (paper.ends_on or date.max, paper.issued_on)))
        elif in_date and scope is not None:
            other = ", ".join(out_of_scope(in_date[-1].scope, scope))
            missing[kind] = f"What was added was made for another purpose or scope: {other}."
        elif candidates:
            missing[kind] = _unusable_reason(candidates[-1], today)
        else:
            missing[kind] = "Nothing of this kind has been added."
    return EvidenceCheck(tuple(chosen), missing)


def _is_valid_for(paper: EvidenceItem, today: date, begins: date) -> bool:
    return paper.issued_on <= today and (paper.ends_on is None or paper.ends_on >= max(today, begins))


def _unusable_reason(paper: EvidenceItem, today: date) -> str:
    if not paper.is_trusted:
        return "A reviewer withdrew a paper of this kind; what takes its place must be verified first."
    if paper.issued_on > today:
        return f"What was added is dated {paper.issued_on}, which is to come."
    if paper.ends_on is not None and paper.ends_on < today:
        return f"What was added ended on {paper.ends_on}."
    return f"What was added ends on {paper.ends_on}, before the transfer begins."
