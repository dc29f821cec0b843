"""JSON of exports."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.gate.schemas import Names
from service.law.schemas import Persons
from service.validation.text_types import Name, Reference


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("Name each field once.")
    return values


class ExportIn(BaseModel):
    """An export that is about to happen."""

    model_config = ConfigDict(extra="forbid")

    dataset: Reference
    recipient: Reference
    purpose: Name
    persons: Persons | None = Field(
        default=None, description="Required for personal data, unless hashes or a sketch tell it."
    )
    sensitive_persons: Persons | None = Field(default=None, description="Required for sensitive data, in the same way.")
    fields: Annotated[Names, AfterValidator(_distinct)] | None = Field(default=None, description="Null: all.")
    permit: Annotated[str, Field(max_length=29)] | None = None


class ExportOut(BaseModel):
    """An export."""

    id: str
    status: Literal["reserved", "completed", "cancelled", "lapsed"]
    late: bool = Field(
        description="Whether anything was reported after it had lapsed, was cancelled or reported before."
    )
    evaluation: str
    handler: str
    dataset: str
    recipient: str
    permit: str | None
    system: str
    purpose: str | None
    fields: list[str] | None
    persons: int
    sensitive_persons: int
    sent_persons: int | None
    sent_sensitive_persons: int | None
    counts_toward_ledger: bool
    reserved_at: datetime
    expires_at: datetime
    ended_at: datetime | None
