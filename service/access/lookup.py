"""Principals and handlers as they are referred to, and the caller as the rules on grants look at one."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from service.access.caller import Caller, Role
from service.access.grant_rules import Party, sees
from service.access.tables import HANDLERS, Principal
from service.database.ids import is_id
from service.database.session import Transaction
from service.validation.problems import Invalid, NotFound


def party(caller: Caller) -> Party:
    """Return the caller as the rules on grants look at one."""
    return Party(caller.principal, caller.kind, caller.grants.get(Role.ADMIN, frozenset()), caller.seen_by)


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
    """Return the condition that a row is of a principal, by id or name: an unknown one has none, like one who has nothing here."""
    column = Principal.id if is_id(reference, "pr") else Principal.name
    return holder.in_(select(Principal.id).where(column == reference))


async def named_principal(tx: Transaction, reference: str) -> Principal:
    """Return the principal that a body names.

    Raises:
        Invalid: there is none.
    """
    try:
        return await principal_of(tx, reference)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/principal", "No principal has this id or name.")]) from error


async def handler_of(tx: Transaction, caller: Caller, reference: str) -> str:
    """Return the id of a handler by id or key; one of which the caller is no admin is as good as none.

    Raises:
        Invalid: there is none.
    """
    by = party(caller)
    return await handler_where(tx, reference, lambda handler: sees(by, handler))


async def handler_where(tx: Transaction, reference: str, may_know: Callable[[str], bool]) -> str:
    """Return the id of a handler by id or key; one that the caller may not know of is as good as none.

    Raises:
        Invalid: there is none.
    """
    found = await tx.scalar(select(HANDLERS.c.id).where(or_(HANDLERS.c.id == reference, HANDLERS.c.key == reference)))
    if found is None or not may_know(str(found)):
        raise Invalid("There is no such handler.", errors=[("/handler", "No handler has this id or key.")])
    return str(found)
