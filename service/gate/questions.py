"""Types of questions and exports in requests to the gate."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from service.gate.schemas import MAX_EVALUATIONS
from service.law.schemas import MAX_PERSONS

Body = TypeVar("Body", bound=Struct)

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Reference = Annotated[str, Meta(min_length=1, max_length=500)]
Persons = Annotated[int, Meta(ge=0, le=MAX_PERSONS)]
Names = Annotated[list[Name], Meta(min_length=1, max_length=5000)]

# Members are in alphabetical order, as in RFC 8785, since a question is recorded as it was asked.


class Party(Struct, frozen=True):
    """A subject or a resource."""

    id: Reference
    type: Name


class Action(Struct, frozen=True):
    """Action of a question."""

    name: Name


class Context(Struct, frozen=True):
    """Properties of an export on which a decision depends."""

    fields: Names | UnsetType | None = UNSET
    persons: Persons | UnsetType | None = UNSET
    purpose: Name | UnsetType | None = UNSET
    recipient: Reference | UnsetType | None = UNSET
    sensitive_persons: Persons | UnsetType | None = UNSET


class Question(Struct, frozen=True, kw_only=True):
    """One evaluation."""

    action: Action
    context: Context | UnsetType | None = UNSET
    resource: Party
    subject: Party


class Item(Struct, frozen=True):
    """One of several questions; a missing member is taken from the defaults."""

    action: Action | UnsetType | None = UNSET
    context: Context | UnsetType | None = UNSET
    resource: Party | UnsetType | None = UNSET
    subject: Party | UnsetType | None = UNSET


class Options(Struct, frozen=True):
    """Options of several evaluations."""

    evaluations_semantic: str | UnsetType = UNSET


class Questions(Struct, frozen=True):
    """Several evaluations, with defaults."""

    action: Action | UnsetType | None = UNSET
    context: Context | UnsetType | None = UNSET
    evaluations: Annotated[list[Item], Meta(max_length=MAX_EVALUATIONS)] | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    resource: Party | UnsetType | None = UNSET
    subject: Party | UnsetType | None = UNSET


class Export(Struct, frozen=True, kw_only=True):
    """An export that is about to happen."""

    dataset: Reference
    fields: Names | UnsetType | None = UNSET
    permit: Annotated[str, Meta(max_length=29)] | UnsetType | None = UNSET
    persons: Persons | UnsetType | None = UNSET
    purpose: Name
    recipient: Reference
    sensitive_persons: Persons | UnsetType | None = UNSET


def questions_of(questions: Questions) -> Sequence[Question] | None:
    """Return the questions with defaults applied, an item's context in place of the default one; None if one is incomplete."""
    items = questions.evaluations or (Item(),)
    filled: list[Question] = []
    for item in items:
        action, resource = item.action or questions.action, item.resource or questions.resource
        subject, context = item.subject or questions.subject, item.context or questions.context
        if not (action and resource and subject):
            return None
        filled.append(Question(action=action, context=context or UNSET, resource=resource, subject=subject))
    return filled


def convert(kind: type[Body], document: dict[str, Any]) -> Body:
    """Convert a strictly decoded body."""
    return msgspec.convert(document, kind)
