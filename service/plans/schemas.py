"""API shapes of plans."""

from datetime import date
from typing import Any

from pydantic import BaseModel, Field

from service.law.schemas import DeterminationOut, ItemOut, TextOut


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
