"""API shapes of the gate: OpenID AuthZEN Authorization API 1.0, and exports."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.gate.decide import Reason
from service.http.texts import Name, Reference
from service.law.schemas import Persons, TextOut

MAX_EVALUATIONS = 1000


class _Asked(BaseModel):
    """AuthZEN has unknown fields ignored."""

    model_config = ConfigDict(extra="ignore")


class Subject(_Asked):
    """Who wants to act."""

    type: Name
    id: Reference


class Action(_Asked):
    """What it wants to do; the gate knows `export`."""

    name: Name


class Resource(_Asked):
    """On what; the gate knows the type `dataset`, by id or key."""

    type: Name
    id: Reference


Names = Annotated[list[Name], Field(max_length=5000)]


class Context(_Asked):
    """What the gate needs to know of an export."""

    recipient: Reference | None = Field(default=None, description="Id or key.")
    purpose: Name | None = None
    persons: Persons | None = None
    sensitive_persons: Persons | None = None
    fields: Names | None = Field(default=None, description="Null: all.")


class EvaluationIn(_Asked):
    """May this subject do this to that?"""

    subject: Subject
    action: Action
    resource: Resource
    context: Context = Context()


class EvaluationItem(_Asked):
    """One of several questions; what it leaves out is taken from the defaults beside the list."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: Context | None = None


class Options(_Asked):
    """How several questions are answered."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class EvaluationsIn(EvaluationItem):
    """Several questions at once; without any it is a single one."""

    evaluations: list[EvaluationItem] = Field(default=[], max_length=MAX_EVALUATIONS)
    options: Options = Options()

    def asked(self) -> list[EvaluationIn]:
        """Return the questions with the defaults filled in; an item's context replaces the default one.

        Raises:
            pydantic.ValidationError: a question has no subject, action or resource.
        """
        defaults = self.model_dump(include={"subject", "action", "resource", "context"}, exclude_none=True)
        items = self.evaluations or [EvaluationItem()]
        return [EvaluationIn.model_validate(defaults | item.model_dump(exclude_none=True)) for item in items]


class HeadroomOut(BaseModel):
    """Persons of each kind that could still go."""

    persons: int
    sensitive_persons: int


class NextOut(BaseModel):
    """What to do about a no."""

    href: str
    method: Literal["GET", "POST"]


class AnswerContext(BaseModel):
    """Why."""

    id: str = Field(description="Id of the recorded evaluation.")
    reason: Reason
    reason_user: TextOut
    mechanism: str | None
    permit: str | None
    headroom: HeadroomOut | None
    next: NextOut | None


class EvaluationOut(BaseModel):
    """The answer; it was recorded before it was given."""

    decision: bool
    context: AnswerContext


class EvaluationsOut(BaseModel):
    """The answers, in the order of the questions."""

    evaluations: list[EvaluationOut]


class MetadataOut(BaseModel):
    """AuthZEN metadata of this decision point."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str


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
