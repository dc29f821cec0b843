"""API shapes of plans."""

from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.law.facts import LegalBasis, Method, Necessity
from service.law.schemas import Day, DeterminationOut, ItemOut, Persons, TextOut, Truth
from service.transfers.schemas import Names, References
from service.validation.text_types import Name, Reference


class RegisteredIn(BaseModel):
    """A transfer of what is registered: tags, facts and the year's count are taken from the register."""

    model_config = ConfigDict(extra="forbid")

    as_of: Day | None = Field(default=None, description="The day whose law applies; today in Asia/Shanghai.")
    handler: Reference = Field(description="Id or key.")
    datasets: References = Field(description="Ids or keys.")
    recipient: Reference = Field(description="Id or key.")
    purpose: Name | None = Field(default=None, description="What it is for; a plan does not depend on it.")
    fields: Names | None = Field(default=None, description="Fields that are to go; null: all.")
    persons: Persons = 0
    sensitive_persons: Persons = 0
    sensitive_left_out: Truth = False
    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT


class ChangeOut(BaseModel):
    """One fact that the plan makes another."""

    pointer: str
    before: Any
    after: Any


class StageTimeOut(BaseModel):
    """A stage of approval."""

    name: str
    working_days: int = Field(description="Typical.")


class EvidenceTimeOut(ItemOut):
    """A kind of evidence, and how long it takes to have it."""

    working_days: int = Field(description="Typical.")


class PlanOut(BaseModel):
    """One way, with what it takes."""

    code: str
    text: TextOut
    conditions: list[TextOut] = Field(description="What must be true for it to be honest.")
    changes: list[ChangeOut]
    facts: dict[str, Any] = Field(description="The body of `POST /v1/determinations` with the changes made.")
    mechanism: str
    exemption: str | None
    route: str | None
    stages: list[StageTimeOut]
    evidence: list[EvidenceTimeOut]
    obligations: list[ItemOut]
    working_days: int = Field(
        description="Typical, in all: the papers side by side, then the stages one after the other."
    )
    determination: DeterminationOut


class PlansOut(BaseModel):
    """The ways to make a transfer lawful, cheapest first."""

    as_of: date
    lawful_as_is: bool = Field(description="Whether it can be made lawful without changing any fact.")
    determination: DeterminationOut = Field(description="Of the facts as they were sent.")
    plans: list[PlanOut]
    notice: TextOut
