"""Resolves references to principals and handlers, and converts callers for the rules of grants."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from service.access.caller import Caller, Role
from service.access.grant_rules import Actor, may_administer
from service.access.tables import HANDLERS, Principal
from service.database.ids import is_id
from service.database.session import Transaction
from service.validation.problems import Invalid, NotFound


def actor_of(caller: Caller) -> Actor:
    """Return the caller as an actor of the rules of grants."""
    return Actor(caller.principal, caller.kind, caller.grants.get(Role.ADMIN, frozenset()), caller.seen_by)


async def principal_of(tx: Transaction, reference: str, *, lock: bool = False) -> Principal:
    """Return a principal by id or name.

    Raises:
        NotFound: there is none.
    """
    column = Principal.id if is_id(reference, "pr") else Principal.name
    query = select(Principal).where(column == reference)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    principal = await tx.scalar(query)
    if principal is None:
        raise NotFound("There is no such principal.")
    return principal


def is_of_principal(holder: InstrumentedAttribute[str], reference: str) -> ColumnElement[bool]:
    """Return the condition that a row belongs to a principal, by id or name; an unknown principal has no rows."""
    column = Principal.id if is_id(reference, "pr") else Principal.name
    return holder.in_(select(Principal.id).where(column == reference))


async def named_principal(tx: Transaction, reference: str) -> Principal:
    """Return the principal that a request body names.

    Raises:
        Invalid: there is none.
    """
    try:
        return await principal_of(tx, reference)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/principal", "No principal has this id or name.")]) from error


async def handler_of(tx: Transaction, caller: Caller, reference: str) -> str:
    """Return the id of a handler by id or key.

    Raises:
        Invalid: there is none, or the caller is no admin of it.
    """
    by = actor_of(caller)
    return await handler_where(tx, reference, lambda handler: may_administer(by, handler))


async def handler_where(tx: Transaction, reference: str, may_know: Callable[[str], bool]) -> str:
    """Return the id of a handler by id or key.

    Raises:
        Invalid: there is none, or `may_know` is False for it.
    """
    handler = await tx.scalar(select(HANDLERS.c.id).where(or_(HANDLERS.c.id == reference, HANDLERS.c.key == reference)))
    if handler is None or not may_know(str(handler)):
        raise Invalid("There is no such handler.", errors=[("/handler", "No handler has this id or key.")])
    return str(handler)
