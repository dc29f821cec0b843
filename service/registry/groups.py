"""Lists and confirms claims of handlers to belong to a group of companies.

The group that a handler names is a claim. It counts once it is confirmed: by a registrar of all handlers who sets it, or by a registrar of
a handler that is confirmed in the group. Requests of a confirmed group are examined together, and findings are raised on each.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from service.access.caller import SYSTEM_ACTOR, Caller, Role
from service.audit.actions import AuditAction
from service.database.session import Transaction, elevated
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.registry.operations import handler_of
from service.registry.schemas import GroupClaimOut
from service.registry.tables import Handler
from service.validation.problems import Conflict, NotFound

REGISTRARS = frozenset({Role.REGISTRAR})


async def list_claims(
    tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int
) -> tuple[Sequence[GroupClaimOut], str | None]:
    """Return handlers with an unconfirmed claim to the group of a handler; none if the handler itself is not confirmed in it."""
    handler = await handler_of(tx, caller, reference)
    caller.require(REGISTRARS, handler.id)
    if not handler.group_confirmed:
        return [], None
    query = select(Handler).where(
        func.lower(Handler.group) == func.lower(handler.group),
        func.lower(func.coalesce(Handler.confirmed_group, "")) != func.lower(Handler.group),
    )
    async with elevated(tx, "who claims to be of the group"):
        rows, following = await page_of(tx, query, Handler.id, cursor, limit)
    return [GroupClaimOut.of(row) for row in rows], following


async def confirm(tx: Transaction, caller: Caller, reference: str, claimant: str) -> GroupClaimOut:
    """Confirm the claim of another handler, as a registrar of a handler of the group.

    Raises:
        NotFound: no such handler claims the group.
        Conflict: the handler itself is not confirmed in a group.
    """
    handler = await handler_of(tx, caller, reference, lock=True)
    caller.require(REGISTRARS, handler.id)
    if not handler.group_confirmed:
        raise Conflict(
            "This handler is of no group that was confirmed; a registrar of all handlers confirms the first of a group."
        )
    async with elevated(tx, "who claims to be of the group"):
        query = select(Handler).where(
            is_of(Handler.id, "handlers", claimant), func.lower(Handler.group) == func.lower(handler.group)
        )
        other = await tx.scalar(query.with_for_update().execution_options(populate_existing=True))
        if other is None or other.id == handler.id:
            raise NotFound("No such handler says that it is of this group.")
        if not other.group_confirmed:
            changed = {"before": {"confirmed_group": other.confirmed_group}, "after": {"confirmed_group": other.group}}
            other.confirmed_group, other.updated_at = other.group, tx.now
            # The person who acted is not disclosed to the other company.
            _record(tx, SYSTEM_ACTOR, AuditAction.HANDLER_GROUP_CONFIRMED, other, changed)
            _record(tx, caller, AuditAction.HANDLER_GROUP_AGREED, handler, {"member": other.id, "group": other.group})
            await tx.flush()
    return GroupClaimOut.of(other)


def _record(tx: Transaction, caller: Caller, action: AuditAction, handler: Handler, details: dict[str, Any]) -> None:
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=handler.id,
            handler=handler.id,
            details=details,
            figures={"key": handler.key},
            link=f"/v1/handlers/{handler.id}",
        ),
    )
