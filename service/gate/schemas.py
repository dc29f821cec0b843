"""API shapes of the gate: OpenID AuthZEN Authorization API 1.0, and exports."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.gate.decide import Reason
from service.law.schemas import Persons, TextOut
from service.validation.problems import FieldError, invalid_from
from service.validation.text_types import Name, Reference

MAX_EVALUATIONS = 1000
LIMIT, MAX_LIMIT = 100, 1000
"""Default and maximum number of results on a page of a search."""
Properties = Annotated[
    dict[str, Any] | None, Field(description="Accepted and ignored; the gate decides by the register.")
]


class _AuthZenBody(BaseModel):
    """Base of AuthZEN bodies: unknown fields are ignored, and null means absent for an optional field."""

    model_config = ConfigDict(extra="ignore")


class Subject(_AuthZenBody):
    """The acting `system`, by its name."""

    type: Name
    id: Reference
    properties: Properties = None


class Action(_AuthZenBody):
    """The action; the gate knows `export`."""

    name: Name
    properties: Properties = None


class Resource(_AuthZenBody):
    """The resource; the gate knows the type `dataset`, by id or key."""

    type: Name
    id: Reference
    properties: Properties = None


Names = Annotated[list[Name], Field(min_length=1, max_length=5000)]
"""Never empty: an empty list could mean none or all."""


class Context(_AuthZenBody):
    """Properties of an export on which a decision depends."""

    recipient: Reference | None = Field(default=None, description="Id or key.")
    purpose: Name | None = None
    persons: Persons | None = None
    sensitive_persons: Persons | None = None
    fields: Names | None = Field(default=None, description="Null: all.")


class EvaluationIn(_AuthZenBody):
    """Question: may the subject take the action on the resource?"""

    subject: Subject
    action: Action
    resource: Resource
    context: Context | None = None


class EvaluationItem(_AuthZenBody):
    """One of several questions; a missing member is taken from the defaults of the request."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: Context | None = None


class Options(_AuthZenBody):
    """Options of several evaluations."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class _ReadLater:
    """Schema of an item that is validated by itself, so that an error in one does not affect the others."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(EvaluationItem.__pydantic_core_schema__)


class EvaluationsIn(EvaluationItem):
    """Several questions at once; without `evaluations`, a single one."""

    evaluations: list[Annotated[dict[str, Any], _ReadLater()]] | None = Field(default=None, max_length=MAX_EVALUATIONS)
    options: Options | None = None

    @property
    def semantic(self) -> str:
        """The semantic of several evaluations."""
        return (self.options or Options()).evaluations_semantic

    def single(self) -> EvaluationIn:
        """Return the single question of a body without `evaluations`.

        Raises:
            pydantic.ValidationError: it has no subject, action or resource.
        """
        return EvaluationIn.model_validate(self._defaults())

    def questions(self) -> list["EvaluationIn | FailedOut"]:
        """Return the questions with defaults applied, or their errors.

        A member of an item takes the place of the default one as a whole: nothing is merged below it.
        """
        defaults = self._defaults()
        return [_read(defaults, item, number) for number, item in enumerate(self.evaluations or ())]

    def _defaults(self) -> dict[str, Any]:
        """Return the default members as sent; null means absent."""
        parts = {name: getattr(self, name) for name in EvaluationItem.model_fields}
        return {name: part for name, part in parts.items() if part is not None}


def _read(defaults: dict[str, Any], item: dict[str, Any], number: int) -> "EvaluationIn | FailedOut":
    members = {name: value for name, value in item.items() if value is not None}
    try:
        return EvaluationIn.model_validate(defaults | members)
    except ValidationError as error:
        return FailedOut.of(invalid_from(error.errors(), prefix=["evaluations", number]).errors)


class HeadroomOut(BaseModel):
    """Persons of each kind that may still be exported."""

    persons: int
    sensitive_persons: int


class NextOut(BaseModel):
    """Next step after a denial."""

    href: str
    method: Literal["GET", "POST"]


class AnswerContext(BaseModel):
    """Reason of the answer, and the decoded parts of the question: a misspelt member is null here."""

    id: str = Field(description="Id of the recorded evaluation.")
    reason: Reason
    reason_user: TextOut
    mechanism: str | None
    permit: str | None
    headroom: HeadroomOut | None
    next: NextOut | None
    valid_from: date | None = Field(description="First day of the permit, where the reason is `permit_not_begun`.")
    recipient: str | None = Field(description="As the question named it; null: it named none.")
    purpose: str | None
    persons: int | None
    sensitive_persons: int | None
    fields: list[str] | None


class EvaluationOut(BaseModel):
    """The answer; it is recorded before it is sent."""

    decision: bool
    context: AnswerContext


class ErrorOut(BaseModel):
    """Errors of one of several questions; `errors` points into the request."""

    status: Literal[400] = 400
    message: str
    errors: list[FieldError]


class FailedContext(BaseModel):
    """Context of a question that was not decided."""

    error: ErrorOut


class FailedOut(BaseModel):
    """The answer to one of several questions that is malformed: no, and nothing of it is recorded."""

    decision: Literal[False] = False
    context: FailedContext

    @classmethod
    def of(cls, errors: Sequence[dict[str, Any]]) -> "FailedOut":
        """Return the answer that points at the fields at fault."""
        field_errors = [FieldError(pointer=error["pointer"], detail=error["detail"]) for error in errors]
        message = "The question is not well-formed; it was not decided."
        return cls(context=FailedContext(error=ErrorOut(message=message, errors=field_errors)))


class EvaluationsOut(BaseModel):
    """The answers, in the order of the questions."""

    evaluations: list[EvaluationOut | FailedOut]


# Searches


class SearchedType(_AuthZenBody):
    """Kind of candidates; only the type matters."""

    type: Name
    properties: Properties = None


class PageIn(_AuthZenBody):
    """Page of the results; a token is valid for its own query."""

    token: str | None = Field(default=None, max_length=500, description="`next_token` of the page before.")
    limit: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        default=None, description=f"Results at most; {LIMIT} if none is given, never more than {MAX_LIMIT}."
    )
    properties: Properties = None


class SearchIn(_AuthZenBody):
    """Members of every search."""

    context: Context | None = None
    page: PageIn | None = None


class SubjectSearchIn(SearchIn):
    """Search for systems that may take the action on the resource."""

    subject: SearchedType
    action: Action
    resource: Resource


class ResourceSearchIn(SearchIn):
    """Search for datasets on which the system may take the action."""

    subject: Subject
    action: Action
    resource: SearchedType


class ActionSearchIn(SearchIn):
    """Search for actions that the system may take on the resource."""

    subject: Subject
    resource: Resource


class PageOut(BaseModel):
    """Token of the next page, and number of results on this one."""

    next_token: str = Field(description="Empty: there are no more. Else send it as `page.token` with the same query.")
    count: int = Field(description="Results on this page; there may be none, and more on the next.")


class SearchContext(BaseModel):
    """Context of the results."""

    id: str = Field(description="Id of the recorded search.")
    looked_at: int = Field(description="Candidates that were decided on for this page.")


class SearchOut(BaseModel):
    """One page of results; it is recorded before it is sent."""

    page: PageOut
    context: SearchContext


class SubjectResult(BaseModel):
    """A system, by its name."""

    type: str
    id: str


class DatasetProperties(BaseModel):
    """Further properties of a dataset in the results."""

    key: str
    reason: Reason


class ResourceResult(BaseModel):
    """A dataset."""

    type: str
    id: str
    properties: DatasetProperties


class ActionResult(BaseModel):
    """An action."""

    name: str


class SubjectSearchOut(SearchOut):
    """Systems, in the order of their registration."""

    results: list[SubjectResult]


class ResourceSearchOut(SearchOut):
    """Datasets, in the order in which they were registered."""

    results: list[ResourceResult]


class ActionSearchOut(SearchOut):
    """Actions."""

    results: list[ActionResult]


class MetadataOut(BaseModel):
    """AuthZEN metadata of this decision point."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str
