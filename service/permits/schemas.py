"""API shapes of permits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Self

from msgspec import structs
from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.law.facts import Count
from service.law.schemas import Persons
from service.permits.standing import Standing, left
from service.permits.tables import Permit, PermitRow
from service.validation.text_types import Name, NearDay, Prose

Names = Annotated[list[Name], Field(min_length=1, max_length=5000)]


class ReasonIn(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: Prose


class NoteIn(BaseModel):
    """Why, if the caller wants to say so."""

    model_config = ConfigDict(extra="forbid")

    reason: Prose | None = None


class AmendIn(BaseModel):
    """Narrower scope of a permit; omitted members stay as they are."""

    model_config = ConfigDict(extra="forbid")

    persons: Persons | None = None
    sensitive_persons: Persons | None = None
    fields: Names | None = None
    systems: Names | None = None
    valid_until: NearDay | None = None
    reason: Prose

    @model_validator(mode="after")
    def _narrows_something(self) -> Self:
        if not self.model_dump(exclude_none=True, exclude={"reason"}):
            raise ValueError("Send at least one thing to narrow.")
        return self


class CountOut(BaseModel):
    """Persons of each kind."""

    persons: int
    sensitive_persons: int


class BoundDataset(BaseModel):
    """A dataset of the permit, and the tags it rests on."""

    id: str
    tags: list[str]
    grading: int
    fields: list[str] = Field(description="Fields that it had; one that is registered later is not covered.")
    facts: dict[str, Any] | None = Field(
        description="Facts that it had: of each the stricter value counts, this or the present one. Null: of a permit from before."
    )


class PermitOut(BaseModel):
    """A permit."""

    id: str
    status: Standing
    transfer: str
    revision: str = Field(description="Hash of the approved revision.")
    handler: str
    datasets: list[BoundDataset]
    recipient: str
    recipient_name: str | None = Field(
        description="Who the recipient was when it was approved; under another name nothing goes. Null: of a permit from before."
    )
    handler_facts: dict[str, Any] | None = Field(
        description="Facts that the handler had: of each the stricter value counts, this or the present one. Null: as above."
    )
    purpose: str
    fields: list[str] | None = Field(description="Fields that may go; null: all that the datasets had then.")
    systems: list[str] | None = Field(description="Systems that may export; null: every exporter of the handler.")
    persons: int
    sensitive_persons: int
    sent: CountOut = Field(description="Reported as sent.")
    reserved: CountOut = Field(description="Held by exports that have not reported yet.")
    headroom: CountOut
    valid_from: date
    valid_until: date = Field(description="The last day, in Asia/Shanghai; never past the evidence.")
    mechanism: str
    route: str | None
    evidence: list[str]
    receipt_due_on: date | None = Field(description="After this day it does not hold without a filing receipt.")
    overdue: list[str] = Field(description="Ids of overdue obligations that suspend it.")
    lost_evidence: list[str] = Field(description="Ids of its evidence that was withdrawn, which suspends it.")
    conditions: list[dict[str, Any]] = Field(description="Conditions of its reviewers, by stage.")
    supersedes: str | None
    superseded_by: str | None
    reason: str | None = Field(description="Why it was suspended or revoked.")
    issued_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: PermitRow, today: date) -> Self:
        """Return the shape of a permit on a day in Asia/Shanghai."""
        permit = row.permit
        quota = Count(permit.persons, permit.sensitive_persons)
        sent = Count(permit.sent_persons, permit.sent_sensitive_persons)
        used = Count(sent.persons + row.reserved.persons, sent.sensitive_persons + row.reserved.sensitive_persons)
        columns: dict[str, Any] = {
            name: getattr(permit, name) for name in cls.model_fields if name in Permit.__table__.columns
        }
        return cls(
            **columns
            | {
                "status": row.standing(today),
                "overdue": list(row.overdue),
                "lost_evidence": list(row.ended_evidence),
                "recipient_name": permit.claims.get("recipient_name"),
                "handler_facts": permit.claims.get("handler"),
                "datasets": [
                    BoundDataset(id=d.dataset, tags=d.tags, grading=d.grading, fields=d.fields, facts=d.facts)
                    for d in row.datasets
                ],
                "sent": CountOut(**structs.asdict(sent)),
                "reserved": CountOut(**structs.asdict(row.reserved)),
                "headroom": CountOut(**structs.asdict(left(quota, used))),
            }
        )


class ExportsOut(BaseModel):
    """Exports under a permit, by what became of them."""

    completed: int
    cancelled: int
    reserved: int
    lapsed: int


class ShareOut(BaseModel):
    """Completed exports of one dataset or one month."""

    name: str
    exports: int
    persons: int
    sensitive_persons: int


class HistoryOut(BaseModel):
    """One act on the permit."""

    at: datetime
    action: str
    actor: str


class ReportOut(BaseModel):
    """Planned and exported persons of a permit."""

    permit: PermitOut
    closed: bool = Field(description="Whether it has ended, and every export under it has been reported or has lapsed.")
    requested: CountOut = Field(description="Persons of the transfer.")
    planned: CountOut = Field(description="Persons that the permit allows, after conditions and amendments.")
    exported: CountOut
    unused: CountOut
    exports: ExportsOut
    by_dataset: list[ShareOut]
    by_month: list[ShareOut] = Field(description="Months in Asia/Shanghai.")
    first_export_at: datetime | None
    last_export_at: datetime | None
    history: list[HistoryOut]
    obligations: list[str]


class TokenOut(BaseModel):
    """A permit as a signed JWT (EdDSA), to be checked with `/.well-known/jwks.json`."""

    token: str
    expires_at: datetime = Field(description="Ask again then; a token cannot know of a later suspension.")


class JwksOut(BaseModel):
    """Public keys, RFC 7517."""

    keys: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Scope of a permit to be issued, with its evidence and its facts."""

    transfer: str
    revision: str
    handler: str
    datasets: Sequence[BoundDataset]
    recipient: str
    purpose: str
    fields: list[str] | None
    systems: list[str] | None
    quota: Count
    valid_from: date
    valid_until: date
    mechanism: str
    requirements: Sequence[str]
    route: str | None
    claims: dict[str, Any]
    evidence: Sequence[str]
    receipt_due_on: date | None
    conditions: list[dict[str, Any]]
    supersedes: str | None
