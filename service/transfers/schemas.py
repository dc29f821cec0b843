"""Request and response schemas of transfers."""

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

from service.database.row_security import EVERYWHERE, HandlerScope
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
        description="States that of data tagged `sensitive` only `fields` are exported that no grading marks as sensitive.",
    )
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = Field(
        default=None, description="Route to use where several are offered; null: the first one."
    )
    valid_from: NearDay
    valid_until: Annotated[NearDay, not_before("valid_from")] = Field(description="The last day, in Asia/Shanghai.")


class TransferPatch(_In):
    """Members of a transfer to change; the handler cannot change."""

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
        description="States that of data tagged `sensitive` only `fields` are exported that no grading marks as sensitive.",
    )
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = None
    valid_from: NearDay = date(1990, 1, 1)
    valid_until: NearDay = date(1990, 1, 1)

    @model_validator(mode="after")
    def _require_change(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Send at least one field to change.")
        return self


Hash = Annotated[str, StringConstraints(strict=True, max_length=200)]


class EvidenceIn(_In):
    """A record of evidence."""

    kind: Annotated[str, StringConstraints(strict=True, max_length=100)] = Field(
        description="A kind of the law data (see `missing_evidence`), or `other`."
    )
    reference: Name = Field(description="Its number or title.")
    issuer: Name
    issued_on: NearDay = Field(description="Day of issue; for a contract: the day on which it takes effect.")
    valid_until: Annotated[NearDay | None, not_before("issued_on")] = Field(
        default=None, description="Its last day, if it states one."
    )
    note: OptionalProse | None = None
    document: Annotated[str, StringConstraints(strict=True, pattern=r"^(sha256:)?[0-9a-f]{64}$")] | None = Field(
        default=None, description="SHA-256 of a file of another record that you may read, to use the file here too."
    )
    replaces: Annotated[str, StringConstraints(strict=True, max_length=29)] | None = Field(
        default=None, description="Id of the record of the same kind in this transfer to replace."
    )


class WithdrawEvidenceIn(_In):
    """The reason for withdrawing evidence."""

    reason: Prose


class DocumentOut(BaseModel):
    """A stored file."""

    sha256: str
    size: int = Field(description="Bytes.")
    media_type: str
    name: str


class EvidenceOut(BaseModel):
    """A record of evidence."""

    id: str
    transfer: str
    kind: str
    reference: str
    issuer: str
    issued_on: date
    valid_until: date | None = Field(
        description="Last day: the stated one, or an earlier one by the instrument in force on the day of issue."
    )
    stated_until: date | None = Field(description="Last day stated in the document.")
    ends_on: date | None = Field(description="The same as `valid_until`.")
    note: str | None
    document: DocumentOut | None = Field(description="Its file; read it at `…/evidence/{id}/file`.")
    reused_from: str | None = Field(description="Record of the renewed transfer that it was copied from.")
    added_by: str
    added_at: datetime
    verified_by: str | None
    verified_at: datetime | None
    replaces: str | None = Field(
        description="Record that it replaces: at once, or after verification if a reviewer withdrew or verified that record."
    )
    replaced_by: str | None = Field(description="Record that has replaced it.")
    ended_by: str | None = Field(
        description="Principal that withdrew or replaced it; it is not valid from `ended_at` on."
    )
    ended_at: datetime | None
    ended_reason: str | None

    @classmethod
    def of(cls, evidence: Evidence, ends_on: date | None, document: DocumentOut | None) -> Self:
        """Build the response from a row."""
        computed = {"valid_until", "stated_until", "ends_on", "document"}
        columns = {name: getattr(evidence, name) for name in cls.model_fields if name not in computed}
        return cls(
            **columns, valid_until=ends_on, stated_until=evidence.valid_until, ends_on=ends_on, document=document
        )


class ConditionsIn(_In):
    """Conditions of an approval: they narrow the permit, and their terms must be accepted before the next stage opens."""

    persons: Persons | None = None
    sensitive_persons: Persons | None = None
    fields: Names | None = Field(default=None, description="The only fields that may go.")
    systems: Names | None = Field(default=None, description="The only systems that may export.")
    recipients: References | None = Field(default=None, description="Ids or keys of the only recipients.")
    valid_days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = Field(
        default=None, description="Days for which the permit is valid, the first included."
    )
    valid_until: NearDay | None = Field(default=None, description="Latest last day of the permit.")
    terms: Annotated[list[Prose], Field(max_length=20)] = Field(
        default=[], description="Terms that the requester must accept before the next stage opens."
    )

    @model_validator(mode="after")
    def _require_condition(self) -> Self:
        if not self.model_dump(exclude_none=True, exclude_defaults=True):
            raise ValueError("Name at least one condition.")
        return self


class ReviewIn(_In):
    """A decision on the open stage of the revision that the reviewer has seen."""

    stage: Stage
    decision: Decision
    revision: Hash = Field(description="Hash of the revision that was read.")
    comment: OptionalProse = Field(default="", validate_default=True, description="Required to return or reject.")
    conditions: ConditionsIn | None = Field(default=None, description="Conditions of the approval.")

    @field_validator("comment")
    @classmethod
    def _require_comment(cls, comment: str, info: ValidationInfo) -> str:
        if info.data.get("decision") in {Decision.RETURN, Decision.REJECT} and not comment:
            raise ValueError("Say why the request is returned or rejected.")
        return comment

    @field_validator("conditions")
    @classmethod
    def _require_approval(cls, conditions: ConditionsIn | None, info: ValidationInfo) -> ConditionsIn | None:
        if conditions is not None and info.data.get("decision") is not Decision.APPROVE:
            raise ValueError("Only an approval can be tied to conditions.")
        return conditions


class CarryIn(_In):
    """The confirmation of an earlier approval for the current revision."""

    revision: Hash = Field(description="Hash of the current revision, which was read.")
    comment: OptionalProse = Field(default="", description="Comment; empty: the one of the earlier approval.")


class TakeBackIn(_In):
    """The reason for taking an approval back."""

    reason: Prose


class AcceptIn(_In):
    """The requester's acceptance of the pending terms."""

    revision: Hash = Field(description="Hash of the current revision.")


class ReviewOut(BaseModel):
    """A decision on a stage."""

    id: str
    revision: int
    hash: str
    stage: Stage
    decision: Decision
    comment: str
    conditions: dict[str, Any] | None = Field(description="Conditions of the approval.")
    terms_accepted_by: str | None
    terms_accepted_at: datetime | None
    reviewer: str
    on_behalf_of: str | None = Field(description="Principal that lent the role during an absence.")
    carried_from: str | None = Field(description="Approval of an earlier revision that it confirms.")
    at: datetime
    taken_back_by: str | None
    taken_back_at: datetime | None
    taken_back_reason: str | None
    standing: Literal["counts", "earlier_revision", "taken_back"] = Field(
        description="`counts` if it is a decision on the current revision."
    )
    grant: Literal["stands", "withdrawn", "regranted", "disabled"] = Field(
        description=(
            "State of the reviewer's role (or the lender's): in force, withdrawn, withdrawn and granted again later, or one of "
            "them is disabled. The review stays on record in each case."
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
    due_at: datetime | None = Field(description="End of the service time of an open stage.")
    overdue: bool
    assignee: str | None


class CarryableOut(BaseModel):
    """An earlier approval of a stage that is not approved in the current revision."""

    review: str
    stage: Stage
    reviewer: str
    revision: int
    changed: list[str] = Field(
        description="Inputs of the stage that have changed since; none: the approval can be carried over."
    )
    allowed: bool


class FindingOut(BaseModel):
    """Requests that are each below a threshold and reach it together, or a request whose permit was exceeded."""

    id: str
    kind: Literal["structuring", "over_quota"] = "structuring"
    transfer: str
    handler: str
    threshold: str
    counts: Literal["persons", "sensitive_persons"]
    value: int
    total: int | None = Field(description="Persons of all the requests; null if the caller may not read one of them.")
    exported: int | None = Field(
        description="Part of the total exported this year under other requests of their handlers; null like `total`."
    )
    shared: Shared = Field(description="Trait that the requests share with this one.")
    transfers: list[str] = Field(description="Requests that the caller may read, this one included.")
    others: int = Field(
        description="Number of further requests, of handlers of the group that the caller may not read."
    )
    citations: list[CitationOut]
    text: TextOut
    state: Literal["open", "answered"]
    found_at: datetime
    answer: str | None
    answer_reason: str | None
    answered_by: str | None
    answered_at: datetime | None

    @classmethod
    def of(cls, finding: StructuringFinding, scope: HandlerScope) -> Self:
        """Build the response for a caller who may read some handlers; requests of other handlers are only counted."""
        columns = {
            name: getattr(finding, name) for name in cls.model_fields if name in StructuringFinding.__table__.columns
        }
        visible = [
            transfer
            for transfer, handler in zip(finding.transfers, finding.handlers, strict=True)
            if scope == EVERYWHERE or handler in scope
        ]
        others = len(finding.transfers) - len(visible)
        return cls.model_validate(
            columns
            | {
                "kind": finding.about,
                "counts": finding.kind,
                "transfers": visible,
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
    """Return a finding as text, without the figures of requests that the reader may not read."""
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
    """The answer to a finding by a reviewer of `legal`."""

    answer: Literal["unrelated", "justified", "to_be_combined"] = Field(
        description="The requests are unrelated; they are separate for a reason; they must be combined into one."
    )
    reason: Prose


class CommentIn(_In):
    """A comment on a request, with mentions."""

    text: Prose
    mentions: Annotated[list[Reference], Field(max_length=20)] = Field(
        default=[], description="Ids or names of people to notify; they must be able to read the request."
    )


class CommentOut(BaseModel):
    """A comment on a request."""

    id: str
    transfer: str
    author: str
    text: str
    mentions: list[str]
    at: datetime


class AssignIn(_In):
    """The assignment of a stage to a reviewer."""

    stage: Stage
    reviewer: Reference = Field(description="Id or name of a person who may decide the stage.")
    reason: Prose


class RecuseIn(_In):
    """The reason for a recusal."""

    reason: Prose


class ReviewerOut(BaseModel):
    """A person who may decide a stage."""

    principal: str
    name: str
    on_behalf_of: str | None


class ReviewersOut(BaseModel):
    """The people who may decide a stage of a request, by their roles and the separation of duties."""

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
    findings: int = Field(description="Unanswered findings.")


class QueueOut(BaseModel):
    """Open stages that the caller may decide, oldest first."""

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
        """Build the response from a change."""
        text = TextOut(en=change.en, zh=change.zh)
        return cls(part=change.part, pointer=change.pointer, before=change.before, after=change.after, text=text)


class StageChangesOut(BaseModel):
    """Changed inputs of a stage."""

    stage: Stage
    changed: list[str] = Field(
        description="Changed inputs of the stage; none: an earlier approval can be carried over."
    )


class DiffOut(BaseModel):
    """Differences between two revisions, with a sentence for each."""

    transfer: str
    from_revision: int | None
    to_revision: int
    changes: list[ChangeOut]
    stages: list[StageChangesOut]


class RenewIn(_In):
    """Members of a renewal that differ from the renewed transfer.

    Other members are taken over; persons, fields and systems as the permit allows them, after its conditions.
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
        description="States that of data tagged `sensitive` only `fields` are exported that no grading marks as sensitive.",
    )
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = None
    method: Method = Method.TRANSMISSION


class FollowsOut(BaseModel):
    """The permit that a renewal supersedes, as narrowed by conditions and amendments."""

    permit: str
    persons: int
    sensitive_persons: int
    fields: list[str] | None
    systems: list[str] | None
    valid_from: date
    valid_until: date
    conditions: list[dict[str, Any]] = Field(description="Conditions of its approvals, by stage.")
    reason: str | None = Field(description="Reason for which it was suspended or revoked.")
    changes: list[ChangeOut] = Field(description="Differences between the request and what that permit allows.")


class TransferOut(BaseModel):
    """A transfer with its revision, stages, reviews and evidence."""

    id: str
    status: Status
    reason: str | None = Field(description="Reason for the rejection at submission.")
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
    determination: DeterminationOut | None = Field(description="Determination at the submission of the revision.")
    stages: list[StageOut]
    missing_evidence: list[str] = Field(description="Kinds of evidence that the last approval still requires.")
    evidence: list[EvidenceOut] = Field(description="Records of evidence; in a list of transfers, the last ten only.")
    evidence_count: int = Field(description="Number of records of evidence; `…/evidence` lists them in pages.")
    reviews: list[ReviewOut]
    terms_pending: list[str] = Field(description="Terms that the requester must accept before the next stage opens.")
    carryable: list[CarryableOut] = Field(
        description="Approvals of earlier revisions, with the changed inputs of their stages."
    )
    findings: list[FindingOut]
    recused: list[str] = Field(description="People who have recused themselves from this request.")
    renews: str | None = Field(description="Transfer whose permit it renews.")
    follows: FollowsOut | None = Field(description="The permit that it renews, with its conditions; null: no renewal.")
    renewed_by: list[str]
    permit: str | None
    created_at: datetime
    updated_at: datetime


class WithdrawIn(_In):
    """The optional reason for withdrawing a request."""

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
