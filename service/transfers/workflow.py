"""The approval workflow: which stages, who may review, what a review leads to, which evidence is missing. Pure decisions.

Source: the stages and the separation of duties of the design; evidence by the law data.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from service.law.determination import Determination, Mechanism


class Stage(StrEnum):
    """A stage of approval; its name is the reviewer's role without its prefix. In the order in which they are taken."""

    DATA_OWNER = "data_owner"
    PRIVACY = "privacy"
    LEGAL = "legal"
    SECURITY = "security"
    EXECUTIVE = "executive"

    @property
    def role(self) -> str:
        """The role that reviews it."""
        return f"reviewer:{self.value}"


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
_SHORT: Final = frozenset({"small_volume", "general_data"})
"""Exemptions that privacy alone decides."""

_OPEN: Final = frozenset({Status.DRAFT, Status.IN_REVIEW, Status.RETURNED})


def is_prohibited(determination: Determination) -> bool:
    """Tell whether no approval can allow it."""
    return determination.mechanism is Mechanism.PROHIBITED


def stages_for(determination: Determination) -> tuple[Stage, ...]:
    """Return the stages of a transfer: the union over its requirements, in their one order; none where it is prohibited."""
    if is_prohibited(determination):
        return ()
    wanted: set[Stage] = set()
    for requirement in determination.requirements:
        is_short = requirement.mechanism is Mechanism.EXEMPT and determination.step_exemption in _SHORT
        wanted.update((Stage.PRIVACY,) if is_short else _STAGES[requirement.mechanism])
    return tuple(stage for stage in Stage if stage in wanted)


def standing(stored: str, valid_until: date, today: date) -> Status:
    """Return where a transfer stands: one that nobody has decided on expires with its own last day."""
    status = Status(stored)
    return Status.EXPIRED if status in _OPEN and today > valid_until else status


def bar_to_review(reviewer: str, *, is_person: bool, authors: Collection[str], earlier: Collection[str]) -> str | None:
    """Return why somebody may not review, or None: separated duties, whatever roles they hold.

    Args:
        reviewer: principal id.
        is_person: systems do not review.
        authors: principals who wrote, changed or submitted the request.
        earlier: principals who have decided another stage of this revision.
    """
    if not is_person:
        return "Only a person can review."
    if reviewer in authors:
        return "You are an author of this request; somebody else must review it."
    if reviewer in earlier:
        return "You have decided another stage of this request; each stage takes another person."
    return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a review leads to."""

    status: Status
    stages: tuple[StageStatus, ...]


_ENDS: Final = {Decision.RETURN: Status.RETURNED, Decision.REJECT: Status.REJECTED}


def after(decision: Decision, place: int, stages: Sequence[StageStatus]) -> Outcome:
    """Return the states after a decision on the open stage at `place`."""
    changed = list(stages)
    if decision is not Decision.APPROVE:
        changed[place] = StageStatus(_ENDS[decision].value)
        return Outcome(_ENDS[decision], tuple(changed))
    changed[place] = StageStatus.APPROVED
    if place + 1 == len(changed):
        return Outcome(Status.APPROVED, tuple(changed))
    changed[place + 1] = StageStatus.OPEN
    return Outcome(Status.IN_REVIEW, tuple(changed))


def opened(stages: int) -> tuple[StageStatus, ...]:
    """Return the states of a new revision's stages: the first is open."""
    return tuple(StageStatus.OPEN if place == 0 else StageStatus.WAITING for place in range(stages))


def shown(stage: str, transfer: Status) -> StageStatus:
    """Return a stage's state as people see it: nothing is open of a request that is no longer in review."""
    status = StageStatus(stage)
    return StageStatus.WAITING if status is StageStatus.OPEN and transfer is not Status.IN_REVIEW else status


@dataclass(frozen=True, slots=True)
class Paper:
    """A piece of evidence, with the last day on which it counts; None: no end."""

    id: str
    kind: str
    issued_on: date
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class Check:
    """Which papers a permit would rest on, and what is missing, each with the reason."""

    papers: tuple[Paper, ...]
    missing: Mapping[str, str]

    @property
    def ends_on(self) -> date | None:
        """The day with which the first of the papers ends."""
        return min((paper.ends_on for paper in self.papers if paper.ends_on is not None), default=None)


def check_evidence(needed: Iterable[str], papers: Sequence[Paper], today: date, begins: date) -> Check:
    """Choose for each needed kind the paper that lasts longest, and say what is missing.

    Args:
        needed: kinds of evidence.
        papers: what has been added.
        today: a paper issued later, or ended before, does not count.
        begins: the first day of the transfer: a paper that ends before serves for nothing.
    """
    chosen: list[Paper] = []
    missing: dict[str, str] = {}
    for kind in needed:
        candidates = [paper for paper in papers if paper.kind == kind]
        good = [paper for paper in candidates if _serves(paper, today, begins)]
        if good:
            chosen.append(max(good, key=lambda paper: (paper.ends_on or date.max, paper.issued_on)))
        elif candidates:
            missing[kind] = _why_not(candidates[-1], today)
        else:
            missing[kind] = "Nothing of this kind has been added."
    return Check(tuple(chosen), missing)


def _serves(paper: Paper, today: date, begins: date) -> bool:
    return paper.issued_on <= today and (paper.ends_on is None or paper.ends_on >= max(today, begins))


def _why_not(paper: Paper, today: date) -> str:
    if paper.issued_on > today:
        return f"What was added is dated {paper.issued_on}, which is to come."
    if paper.ends_on is not None and paper.ends_on < today:
        return f"What was added ended on {paper.ends_on}."
    return f"What was added ends on {paper.ends_on}, before the transfer begins."
