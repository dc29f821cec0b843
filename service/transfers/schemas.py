"""API shapes of transfers."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.database.row_security import EVERYWHERE, Reach
from service.law.facts import LegalBasis, Method, Necessity, Route
from service.law.schemas import CitationOut, DeterminationOut, Persons, TextOut, Truth
from service.law.stages import Stage
from service.transfers.revision_diff import Change
from service.transfers.structuring import Shared
from service.transfers.tables import OVER_QUOTA, Evidence, StructuringFinding
from service.transfers.workflow import Decision, StageStatus, Status
from service.validation.text_types import Name, NearDay, OptionalProse, Prose, Reference, drop_defaults, not_before


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("Name each one once.")
    return values


Names = Annotated[list[Name], Field(min_length=1, max_length=5000), AfterValidator(_distinct)]
References = Annotated[list[Reference], Field(min_length=1, max_length=200), AfterValidator(_distinct)]


class TransferIn(_In):
    """A request to export datasets of one handler to one recipient for one purpose."""

    handler: Reference
    datasets: References
    recipient: Reference
    purpose: Name
    description: Prose
    fields: Names | None = Field(default=None, description="Fields that are to go; null: all.")
    systems: Names | None = Field(
        default=None, description="Names of the systems that may export; null: every exporter of the handler."
    )
    persons: Persons = 0
    sensitive_persons: Persons = 0
    sensitive_left_out: Truth = Field(
        default=False,
        description="States that of data tagged sensitive only those `fields` go that no grading takes for sensitive.",
    )
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = Field(
        default=None, description="Of several routes the one chosen; the first offered, if null."
    )
    valid_from: NearDay
    valid_until: Annotated[NearDay, not_before("valid_from")] = Field(description="The last day, in Asia/Shanghai.")


class TransferPatch(_In):
    """What may change of a transfer; the handler stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=drop_defaults)

    datasets: References = []
    recipient: Reference = ""
    purpose: Name = ""
    description: Prose = ""
    fields: Names | None = None
    systems: Names | None = None
    persons: Persons = 0
    sensitive_persons: Persons = 0
    sensitive_left_out: Truth = Field(
        default=False,
        description="States that of data tagged sensitive only those `fields` go that no grading takes for sensitive.",
    )
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = None
    valid_from: NearDay = date(1990, 1, 1)
    valid_until: NearDay = date(1990, 1, 1)

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Send at least one field to change.")
        return self


Hash = Annotated[str, StringConstraints(strict=True, max_length=200)]


class EvidenceIn(_In):
    """The record of a paper."""

    kind: Annotated[str, StringConstraints(strict=True, max_length=100)] = Field(
        description="A kind that the law knows (see `missing_evidence`), or `other`."
    )
    reference: Name = Field(description="Its number or title.")
    issuer: Name
    issued_on: NearDay = Field(description="For a contract: the day of its taking effect.")
    valid_until: Annotated[NearDay | None, not_before("issued_on")] = Field(
        default=None, description="Its last day, if it states one."
    )
    note: OptionalProse | None = None
    document: Annotated[str, StringConstraints(strict=True, pattern=r"^(sha256:)?[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of a file that another record you may read has already: it serves here too."
    )
    replaces: Annotated[str, StringConstraints(strict=True, max_length=29)] | None = Field(
        default=None, description="Id of the record of the same kind, in this transfer, that it takes the place of."
    )


class WithdrawEvidenceIn(_In):
    """Why a paper no longer counts."""

    reason: Prose


class DocumentOut(BaseModel):
    """A file as it is kept."""

    sha256: str
    size: int = Field(description="Bytes.")
    media_type: str
    name: str


class EvidenceOut(BaseModel):
    """The record of a paper."""

    id: str
    transfer: str
    kind: str
    reference: str
    issuer: str
    issued_on: date
    valid_until: date | None = Field(
        description="Its last day: as stated, or by the instrument in force when it was issued if that is earlier."
    )
    stated_until: date | None = Field(description="Its last day as the paper states it.")
    ends_on: date | None = Field(description="The same as `valid_until`.")
    note: str | None
    document: DocumentOut | None = Field(description="Its file; read it at `…/evidence/{id}/file`.")
    reused_from: str | None = Field(description="The record of the renewed transfer that it repeats.")
    added_by: str
    added_at: datetime
    verified_by: str | None
    verified_at: datetime | None
    replaces: str | None = Field(
        description="The record whose place it takes, at once or, where a reviewer withdrew or verified that one, once it is verified."
    )
    replaced_by: str | None = Field(description="The record that has taken its place.")
    ended_by: str | None = Field(description="Who withdrew or replaced it; from `ended_at` on it counts for nothing.")
    ended_at: datetime | None
    ended_reason: str | None

    @classmethod
    def of(cls, evidence: Evidence, ends_on: date | None, document: DocumentOut | None) -> Self:
        """Return the shape of a row."""
        computed = {"valid_until", "stated_until", "ends_on", "document"}
        shown = {name: getattr(evidence, name) for name in cls.model_fields if name not in computed}
        return cls(**shown, valid_until=ends_on, stated_until=evidence.valid_until, ends_on=ends_on, document=document)


class ConditionsIn(_In):
    """What an approval is tied to: the permit is narrowed to it, and terms must be accepted before anything else opens."""

    persons: Persons | None = None
    sensitive_persons: Persons | None = None
    fields: Names | None = Field(default=None, description="The only fields that may go.")
    systems: Names | None = Field(default=None, description="The only systems that may export.")
    recipients: References | None = Field(default=None, description="Ids or keys of the only recipients.")
    valid_days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = Field(
        default=None, description="The permit holds for so many days, the first included."
    )
    valid_until: NearDay | None = Field(default=None, description="The permit's last day at the latest.")
    terms: Annotated[list[Prose], Field(max_length=20)] = Field(
        default=[], description="What the requester must accept before the next stage opens."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_dump(exclude_none=True, exclude_defaults=True):
            raise ValueError("Name at least one condition.")
        return self


class ReviewIn(_In):
    """A decision on the open stage of the revision that the reviewer has seen."""

    stage: Stage
    decision: Decision
    revision: Hash = Field(description="Hash of the revision that was looked at.")
    comment: OptionalProse = Field(default="", validate_default=True, description="Required to return or reject.")
    conditions: ConditionsIn | None = Field(default=None, description="What an approval is tied to.")

    @field_validator("comment")
    @classmethod
    def _says_why_not(cls, comment: str, info: ValidationInfo) -> str:
        if info.data.get("decision") in {Decision.RETURN, Decision.REJECT} and not comment:
            raise ValueError("Say why the request is returned or rejected.")
        return comment

    @field_validator("conditions")
    @classmethod
    def _only_with_an_approval(cls, conditions: ConditionsIn | None, info: ValidationInfo) -> ConditionsIn | None:
        if conditions is not None and info.data.get("decision") is not Decision.APPROVE:
            raise ValueError("Only an approval can be tied to conditions.")
        return conditions


class CarryIn(_In):
    """The confirmation that an earlier approval holds for the revision that stands."""

    revision: Hash = Field(description="Hash of the revision that stands and was looked at.")
    comment: OptionalProse = Field(default="", description="The earlier comment, if empty.")


class TakeBackIn(_In):
    """Why an approval is taken back."""

    reason: Prose


class AcceptIn(_In):
    """The requester's acceptance of the terms that wait."""

    revision: Hash = Field(description="Hash of the revision that stands.")


class ReviewOut(BaseModel):
    """A decision on a stage."""

    id: str
    revision: int
    hash: str
    stage: Stage
    decision: Decision
    comment: str
    conditions: dict[str, Any] | None = Field(description="What the approval is tied to.")
    terms_accepted_by: str | None
    terms_accepted_at: datetime | None
    reviewer: str
    on_behalf_of: str | None = Field(description="Who lent the role for their absence.")
    carried_from: str | None = Field(description="The approval of an earlier revision that was confirmed.")
    at: datetime
    taken_back_by: str | None
    taken_back_at: datetime | None
    taken_back_reason: str | None
    standing: Literal["counts", "earlier_revision", "taken_back"] = Field(
        description="Whether it counts for the revision that stands."
    )
    grant: Literal["stands", "withdrawn", "regranted", "disabled"] = Field(
        description=(
            "What became of the role of whoever reviewed (or lent it): it stands; it was withdrawn, or withdrawn and given anew "
            "later; or one of them is shut out. The review stays on record either way."
        )
    )


class RevisionRef(BaseModel):
    """The last submitted revision."""

    number: int
    hash: str


class StageOut(BaseModel):
    """A stage of approval."""

    name: Stage
    role: str
    status: StageStatus
    opened_at: datetime | None
    due_at: datetime | None = Field(description="When the service time of an open stage ends.")
    overdue: bool
    assignee: str | None


class CarryableOut(BaseModel):
    """An earlier approval of a stage that is not approved in the revision that stands."""

    review: str
    stage: Stage
    reviewer: str
    revision: int
    changed: list[str] = Field(description="Inputs of the stage that have changed since; none: it can be carried over.")
    allowed: bool


class FindingOut(BaseModel):
    """Requests that stay below a threshold one by one and reach it together, or one under whose permit more went than it allows."""

    id: str
    kind: Literal["structuring", "over_quota"] = "structuring"
    transfer: str
    handler: str
    threshold: str
    counts: Literal["persons", "sensitive_persons"]
    value: int
    total: int | None = Field(description="Of all of them; null where the caller may not read one of them.")
    exported: int | None = Field(
        description="Of the total what their handlers had exported in the year under other requests; null like `total`."
    )
    shared: Shared = Field(description="What the requests have in common with this one.")
    transfers: list[str] = Field(description="Those that the caller may read, this one included.")
    others: int = Field(description="How many more there are, of handlers of the group that the caller may not read.")
    citations: list[CitationOut]
    text: TextOut
    state: Literal["open", "answered"]
    found_at: datetime
    answer: str | None
    answer_reason: str | None
    answered_by: str | None
    answered_at: datetime | None

    @classmethod
    def of(cls, finding: StructuringFinding, reach: Reach) -> Self:
        """Return the shape of a row for somebody whose roles reach these handlers: of the others' requests only how many."""
        columns = {
            name: getattr(finding, name) for name in cls.model_fields if name in StructuringFinding.__table__.columns
        }
        seen = [
            transfer
            for transfer, handler in zip(finding.transfers, finding.handlers, strict=True)
            if reach == EVERYWHERE or handler in reach
        ]
        others = len(finding.transfers) - len(seen)
        return cls.model_validate(
            columns
            | {
                "kind": finding.about,
                "counts": finding.kind,
                "transfers": seen,
                "others": others,
                "total": None if others else finding.total,
                "exported": None if others else finding.exported,
                "citations": [] if finding.about == OVER_QUOTA else [{"instrument": "SCM", "article": "4"}],
                "text": _finding_texts(finding, is_whole=not others),
                "state": "open" if finding.answered_at is None else "answered",
            }
        )


_SHARED: Final[Mapping[str, tuple[str, str]]] = {
    "purpose": ("the same purpose", "目的相同"),
    "recipient": ("the same recipient or its group", "接收方相同或者属于同一集团"),
    "purpose_or_recipient": ("the same purpose or recipient", "目的或者接收方相同"),
}


def _finding_texts(finding: StructuringFinding, *, is_whole: bool) -> dict[str, str]:
    """Return a finding in words, without the figures of requests that the reader may not see."""
    if finding.about == OVER_QUOTA:
        return {
            "en": f"At least {finding.total:,} persons went under the permit, which allows {finding.value:,}. It is suspended until "
            "somebody of legal or security resumes it.",
            "zh": f"许可允许{finding.value}人，实际出境至少{finding.total}人，超出许可范围。该许可已暂停，须由法务或安全人员恢复。",
        }
    several, line = len(finding.transfers), f"{finding.value:,}"
    en, zh = _SHARED[finding.shared]
    total = (f" are for {finding.total:,} persons together and", f"合计{finding.total}人，") if is_whole else ("", "")
    with_year = is_whole and finding.exported
    year = (
        (
            f" with the {finding.exported:,} that were exported this year already",
            f"（含本年度已出境的{finding.exported}人）",
        )
        if with_year
        else ("", "")
    )
    return {
        "en": f"{several} requests with {en}{total[0]} reach the line of {line} together{year[0]}, which none of them reaches "
        "alone. Splitting to stay below a line is forbidden.",
        "zh": f"{several}份申请（{zh}）{total[1]}共同达到{finding.value}人的门槛{year[1]}，而单独均未达到。不得采取拆分方式规避。",
    }


class AnswerIn(_In):
    """What legal says to a finding."""

    answer: Literal["unrelated", "justified", "to_be_combined"] = Field(
        description="The requests have nothing to do with each other; they are apart for a reason; they must become one."
    )
    reason: Prose


class CommentIn(_In):
    """Something to say about a request."""

    text: Prose
    mentions: Annotated[list[Reference], Field(max_length=20)] = Field(
        default=[], description="Ids or names of people to tell; they must be able to read the request."
    )


class CommentOut(BaseModel):
    """What somebody said."""

    id: str
    transfer: str
    author: str
    text: str
    mentions: list[str]
    at: datetime


class AssignIn(_In):
    """Who is to decide a stage."""

    stage: Stage
    reviewer: Reference = Field(description="Id or name of a person who is entitled to the stage.")
    reason: Prose


class RecuseIn(_In):
    """Why somebody stands back."""

    reason: Prose


class ReviewerOut(BaseModel):
    """Somebody who may decide a stage."""

    principal: str
    name: str
    on_behalf_of: str | None


class ReviewersOut(BaseModel):
    """Who may decide a stage of a request: nobody barred by the separation of duties is among them."""

    stage: Stage
    items: list[ReviewerOut]


class QueueItemOut(BaseModel):
    """An open stage that the caller may decide."""

    transfer: str
    stage: Stage
    handler: str
    recipient: str
    purpose: str
    persons: int
    sensitive_persons: int
    mechanism: str
    revision: RevisionRef
    requester: str
    opened_at: datetime
    age_hours: float
    due_at: datetime
    overdue: bool
    assignee: str | None
    on_behalf_of: str | None
    findings: int = Field(description="Findings that nobody has answered.")


class QueueOut(BaseModel):
    """What waits for the caller, the oldest first."""

    items: list[QueueItemOut]
    next_cursor: str | None
    counts: dict[str, int] = Field(description="Open stages that the caller may decide, by stage, and `overdue`.")


class ChangeOut(BaseModel):
    """One difference between two revisions."""

    part: str
    pointer: str
    before: Any
    after: Any
    text: TextOut

    @classmethod
    def of(cls, change: Change) -> Self:
        """Return the shape of a change."""
        text = TextOut(en=change.en, zh=change.zh)
        return cls(part=change.part, pointer=change.pointer, before=change.before, after=change.after, text=text)


class StageChangesOut(BaseModel):
    """What a change means for a stage."""

    stage: Stage
    changed: list[str] = Field(description="Its inputs that changed; none: an earlier approval can be carried over.")


class DiffOut(BaseModel):
    """What changed since the last revision, in words."""

    transfer: str
    from_revision: int | None
    to_revision: int
    changes: list[ChangeOut]
    stages: list[StageChangesOut]


class RenewIn(_In):
    """What is to differ in the transfer that follows.

    Everything else is taken over: persons, fields and systems as the permit allows them, narrowed as it was.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra=drop_defaults)

    valid_from: NearDay
    valid_until: NearDay
    description: Prose = ""
    purpose: Name = ""
    datasets: References = []
    fields: Names | None = None
    systems: Names | None = None
    persons: Persons = 0
    sensitive_persons: Persons = 0
    sensitive_left_out: Truth = Field(
        default=False,
        description="States that of data tagged sensitive only those `fields` go that no grading takes for sensitive.",
    )
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = None
    method: Method = Method.TRANSMISSION


class FollowsOut(BaseModel):
    """The permit that a renewal is to follow, as it was narrowed by conditions and amendments."""

    permit: str
    persons: int
    sensitive_persons: int
    fields: list[str] | None
    systems: list[str] | None
    valid_from: date
    valid_until: date
    conditions: list[dict[str, Any]] = Field(description="What its reviewers tied their approvals to, by stage.")
    reason: str | None = Field(description="Why it was suspended or revoked.")
    changes: list[ChangeOut] = Field(description="Where the request asks for something else than that permit allows.")


class TransferOut(BaseModel):
    """A transfer with its revision, stages, reviews and evidence."""

    id: str
    status: Status
    reason: str | None = Field(description="Why it was rejected at submission.")
    handler: str
    datasets: list[str]
    recipient: str
    purpose: str
    description: str
    fields: list[str] | None
    systems: list[str] | None
    persons: int
    sensitive_persons: int
    sensitive_left_out: bool
    method: Method
    necessity: Necessity | None
    legal_basis: LegalBasis
    route: Route | None
    valid_from: date
    valid_until: date
    requester: str
    revision: RevisionRef | None
    determination: DeterminationOut | None = Field(description="As of the submission of the revision.")
    stages: list[StageOut]
    missing_evidence: list[str] = Field(description="Kinds that the last approval will ask for.")
    evidence: list[EvidenceOut] = Field(description="In a list of transfers, the last ten alone.")
    evidence_count: int = Field(description="Records of evidence in all; `…/evidence` lists them in pages.")
    reviews: list[ReviewOut]
    terms_pending: list[str] = Field(description="Terms that the requester must accept before anything else opens.")
    carryable: list[CarryableOut] = Field(description="Approvals of earlier revisions and what became of them.")
    findings: list[FindingOut]
    recused: list[str] = Field(description="People who have stood back from this request.")
    renews: str | None = Field(description="The transfer whose permit it is to follow.")
    follows: FollowsOut | None = Field(description="What that permit allows, and on what conditions; null: no renewal.")
    renewed_by: list[str]
    permit: str | None
    created_at: datetime
    updated_at: datetime


class WithdrawIn(_In):
    """Why, if the requester wants to say so."""

    reason: Prose | None = None


class RevisionGrading(BaseModel):
    """The grading of a dataset that a revision rests on."""

    dataset: str
    number: int
    tags: list[str]


class RevisionOut(BaseModel):
    """A revision as it was submitted."""

    transfer: str
    number: int
    hash: str = Field(description="`sha256:` over the canonical JSON (RFC 8785) of `content`.")
    content: dict[str, Any]
    determination: DeterminationOut
    gradings: list[RevisionGrading]
    ledger: dict[str, Any]
    submitted_by: str
    submitted_at: datetime


if TYPE_CHECKING:
    StageRole = str
else:  # a type checker accepts only members that are written out
    StageRole = Literal[(*(stage.value for stage in Stage), *(stage.role for stage in Stage))]
