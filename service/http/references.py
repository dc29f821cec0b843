"""Query filters that take the id or the key of a handler, dataset or recipient."""

from typing import Annotated, Any, Literal

from fastapi import Query
from sqlalchemy import ColumnElement, ScalarSelect, Text, column, select, table
from sqlalchemy.orm import InstrumentedAttribute

from service.database.columns import Id
from service.database.ids import is_any_id

Kind = Literal["handlers", "datasets", "recipients"]
Filter = Annotated[str | None, Query(max_length=500, description="Id or key.")]


def is_of(
    attribute: InstrumentedAttribute[Any] | ColumnElement[Any], kind: Kind, reference: str
) -> ColumnElement[bool]:
    """Return the condition that a column holds the id of the resource with this id or key."""
    return attribute == (reference if is_any_id(reference) else id_of(kind, reference))


def id_of(kind: Kind, key: str) -> ScalarSelect[str]:
    """Return the id of the resource with this unique key, as a subquery."""
    named = table(kind, column("id", Id), column("key", Text))
    return select(named.c.id).where(named.c.key == key).scalar_subquery()
