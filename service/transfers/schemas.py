"""API shapes of transfers."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

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

from service.http.texts import Name, OptionalProse, Prose, Reference, without_defaults
from service.law.facts import LegalBasis, Method, Necessity, Route
from service.law.schemas import DeterminationOut, NearDay, Persons
from service.transfers.tables import Evidence, Review
from service.transfers.workflow import Decision, Stage, StageStatus, Status


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
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    route: Route | None = Field(
        default=None, description="Of several routes the one chosen; the first offered, if null."
    )
    valid_from: NearDay
    valid_until: NearDay = Field(description="The last day, in Asia/Shanghai.")

    @field_validator("valid_until")
    @classmethod
    def _ends_after_it_begins(cls, ends: date, info: ValidationInfo) -> date:
        begins = info.data.get("valid_from")
        if begins is not None and ends < begins:
            raise ValueError("This must not come before `valid_from`.")
        return ends


class TransferPatch(_In):
    """What may change of a transfer; the handler stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)

    datasets: References = []
    recipient: Reference = ""
    purpose: Name = ""
    description: Prose = ""
    fields: Names | None = None
    systems: Names | None = None
    persons: Persons = 0
    sensitive_persons: Persons = 0
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


class EvidenceIn(_In):
    """The record of a paper."""

    kind: Annotated[str, StringConstraints(strict=True, max_length=100)] = Field(
        description="A kind that the law knows (see `missing_evidence`), or `other`."
    )
    reference: Name = Field(description="Its number or title.")
    issuer: Name
    issued_on: NearDay = Field(description="For a contract: the day of its taking effect.")
    valid_until: NearDay | None = Field(default=None, description="Its last day, if it states one.")
    note: OptionalProse | None = None

    @field_validator("valid_until")
    @classmethod
    def _ends_after_it_begins(cls, ends: date | None, info: ValidationInfo) -> date | None:
        begins = info.data.get("issued_on")
        if ends is not None and begins is not None and ends < begins:
            raise ValueError("This must not come before `issued_on`.")
        return ends


class EvidenceOut(BaseModel):
    """The record of a paper."""

    id: str
    transfer: str
    kind: str
    reference: str
    issuer: str
    issued_on: date
    valid_until: date | None
    ends_on: date | None = Field(description="The day with which it ends: as stated, or by the law if that is earlier.")
    note: str | None
    added_by: str
    added_at: datetime

    @classmethod
    def of(cls, evidence: Evidence, ends_on: date | None) -> Self:
        """Return the shape of a row."""
        shown = {name: getattr(evidence, name) for name in cls.model_fields if name != "ends_on"}
        return cls(**shown, ends_on=ends_on)


class ReviewIn(_In):
    """A decision on the open stage of the revision that the reviewer has seen."""

    stage: Stage
    decision: Decision
    revision: Annotated[str, StringConstraints(strict=True, max_length=200)] = Field(
        description="Hash of the revision that was looked at."
    )
    comment: OptionalProse = Field(default="", validate_default=True, description="Required to return or reject.")

    @field_validator("comment")
    @classmethod
    def _says_why_not(cls, comment: str, info: ValidationInfo) -> str:
        if info.data.get("decision") in {Decision.RETURN, Decision.REJECT} and not comment:
            raise ValueError("Say why the request is returned or rejected.")
        return comment


class ReviewOut(BaseModel):
    """A decision on a stage."""

    id: str
    revision: int
    hash: str
    stage: Stage
    decision: Decision
    comment: str
    reviewer: str
    at: datetime

    @classmethod
    def of(cls, review: Review) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(review, from_attributes=True)


class RevisionRef(BaseModel):
    """The last submitted revision."""

    number: int
    hash: str


class StageOut(BaseModel):
    """A stage of approval."""

    name: Stage
    role: str
    status: StageStatus


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
    evidence: list[EvidenceOut]
    reviews: list[ReviewOut]
    permit: str | None
    created_at: datetime
    updated_at: datetime


class WithdrawIn(_In):
    """Why, if the requester wants to say so."""

    reason: Prose | None = None


class RevisionOut(BaseModel):
    """A revision as it was submitted."""

    transfer: str
    number: int
    hash: str = Field(description="`sha256:` over the canonical JSON (RFC 8785) of `content`.")
    content: dict[str, Any]
    determination: DeterminationOut
    ledger: dict[str, Any]
    submitted_by: str
    submitted_at: datetime


StageRole = Literal[
    "data_owner",
    "privacy",
    "legal",
    "security",
    "executive",
    "reviewer:data_owner",
    "reviewer:privacy",
    "reviewer:legal",
    "reviewer:security",
    "reviewer:executive",
]
