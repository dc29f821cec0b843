"""Keyset pagination: `{"items": [...], "next_cursor": null | str}`; pages do not shift when rows are added."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

from service.database.session import Transaction
from service.validation.problems import Invalid

Item = TypeVar("Item")
Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the previous page.")]


class Page(BaseModel, Generic[Item]):
    """One page of a list; repeat the request with `cursor=next_cursor` until that is null."""

    items: list[Item]
    next_cursor: str | None


async def page_of(
    tx: Transaction,
    query: Select[Row],
    key: InstrumentedAttribute[Any] | ColumnElement[Any],
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[Row], str | None]:
    """Run a query for one page in the order of `key`, which is unique.

    Returns:
        The rows, at most `limit`, and the cursor of the next page or None.

    Raises:
        Invalid: no page returned this cursor.
    """
    if cursor is not None:
        text = decode_cursor(cursor)
        query = query.where(key > (_seq(text) if key.type.python_type is int else text))
    rows = (await tx.scalars(query.order_by(key).limit(limit + 1))).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], encode_cursor(getattr(last, key.key))  # type: ignore[arg-type]


def encode_cursor(value: str | int) -> str:
    """Return the cursor of a page that ended with this key."""
    return base64.urlsafe_b64encode(str(value).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the key that a page ended with.

    Raises:
        Invalid: no page returned this cursor.
    """
    try:
        value = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error) as error:
        raise unknown_cursor() from error
    if not value.isprintable():
        raise unknown_cursor()
    return value


def unknown_cursor() -> Invalid:
    """Return the refusal of an invalid cursor."""
    return Invalid(
        "The cursor is not one that a page gave.", errors=[("/cursor", "Take `next_cursor` of the page before.")]
    )


def _seq(value: str) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise unknown_cursor() from error
    if not 0 <= number < 2**63:
        raise unknown_cursor()
    return number
