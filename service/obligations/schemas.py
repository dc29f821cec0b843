"""Defines the API shapes of obligations."""

from datetime import date, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from service.law.schemas import CitationOut, TextOut
from service.obligations.obligation_rules import SETTLED_BY, Code, State, standing
from service.obligations.tables import Obligation
from service.obligations.texts import TEXTS
from service.validation.text_types import Prose, Reference


class ObligationOut(BaseModel):
    """Obligation as a task."""

    id: str
    code: Code
    text: TextOut
    citations: list[CitationOut]
    handler: str
    transfer: str | None
    permit: str | None
    dataset: str | None
    owner: str | None = Field(description="Principal who sees to it; null: whoever has the right role.")
    due_on: date = Field(description="The last day, in Asia/Shanghai.")
    due_note: str | None = Field(
        description="Why the day is a strict reading, where the year's holidays are not known."
    )
    blocks: bool = Field(description="Whether, overdue, it suspends the permits that it belongs to.")
    state: State
    settled_by: str | None = Field(description="The kind of evidence that settles it; null: a note does.")
    evidence: str | None
    settles_on: date | None = Field(description="The day from which `evidence`, which is dated ahead, settles it.")
    note: str | None
    ended_by: str | None
    ended_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, obligation: Obligation, today: date) -> Self:
        """Return the shape of a row on a day."""
        code = Code(obligation.code)
        text = TEXTS[code]
        columns = {name: getattr(obligation, name) for name in cls.model_fields if name in Obligation.__table__.columns}
        return cls.model_validate(
            columns
            | {
                "text": {"en": text["en"], "zh": text["zh"]},
                "citations": text["citations"],
                "settled_by": SETTLED_BY.get(code),
                "state": standing(obligation.state, obligation.due_on, today, obligation.settles_on),
                "settles_on": obligation.settles_on,
            }
        )


class CompleteIn(BaseModel):
    """Record of a completed obligation."""

    model_config = ConfigDict(extra="forbid")

    note: Prose = Field(description="What was done and where it is recorded: number and day of the report or filing.")


class ReopenIn(BaseModel):
    """Reason to reopen an obligation."""

    model_config = ConfigDict(extra="forbid")

    reason: Prose


class OwnerIn(BaseModel):
    """Owner of an obligation."""

    model_config = ConfigDict(extra="forbid")

    owner: Reference = Field(description="Id or name of a person who may read the handler's transfers.")
