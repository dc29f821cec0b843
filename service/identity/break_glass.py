"""Break-glass: emergency access that an admin takes alone, for some hours, with a notification to all admins and auditors.

The access is either the role of an auditor, or suspending and revoking permits. It never permits an export or a review.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, false, func, or_, select, true

from service.access import grant_rules
from service.access.caller import REVIEWERS, WATCHERS, Caller, Role
from service.access.grant_rules import BreakGlassRole
from service.access.lookup import actor_of, handler_of, is_of_principal, principal_of
from service.access.tables import NOW, BreakGlass, Grant, Principal
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE, NOWHERE, HandlerScope, merge_scopes
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.identity.schemas import BreakGlassIn, BreakGlassOut
from service.validation.problems import Conflict, Forbidden, NotFound

EARLIER_PERIOD = timedelta(days=30)

_OPEN_ACCESS: Final = (
    select(BreakGlass)
    .where(BreakGlass.principal == bindparam("principal"), BreakGlass.is_open(NOW))
    .order_by(BreakGlass.id.desc())
    .limit(1)
)


async def apply_open_access(tx: Transaction, caller: Caller) -> Caller:
    """Return a caller with the rights of open break-glass access, as long as the caller is still an admin of its handler."""
    access = await tx.scalar(_OPEN_ACCESS, {"principal": caller.principal, "now": tx.now})
    if access is None or grant_rules.break_denial(actor_of(caller), access.handler) is not None:
        return caller
    handlers: HandlerScope = EVERYWHERE if access.handler is None else frozenset({access.handler})
    if access.role == BreakGlassRole.STOP:
        return replace(caller, break_glass=access.id, stop_scope=handlers)
    wider = merge_scopes(caller.grants.get(Role.AUDITOR, NOWHERE), handlers)
    return replace(caller, break_glass=access.id, grants={**caller.grants, Role.AUDITOR: wider})


async def break_glass(tx: Transaction, caller: Caller, body: BreakGlassIn) -> BreakGlassOut:
    """Open break-glass access of the caller, at once.

    Raises:
        Forbidden: the caller is a system, or no admin of the handler.
        Invalid: there is no such handler.
        Conflict: other access of the caller is open.
    """
    handler = None if body.handler is None else await handler_of(tx, caller, body.handler)
    denial = grant_rules.break_denial(actor_of(caller), handler)
    if denial is not None:
        raise Forbidden(denial)
    await principal_of(tx, caller.principal, lock=True)  # one at a time, so that one is open at most
    mine = BreakGlass.principal == caller.principal
    still = await tx.scalar(select(BreakGlass.id).where(mine, BreakGlass.is_open(tx.now)))
    if still is not None:
        raise Conflict(
            "Break-glass access of yours is open; close it first.", next={"href": f"/v1/break-glass/{still}/close"}
        )
    earlier = await tx.scalar(select(func.count()).where(mine, BreakGlass.opened_at > tx.now - EARLIER_PERIOD))
    access = BreakGlass(
        id=new_id("bg"),
        principal=caller.principal,
        role=body.role,
        handler=handler,
        reason=body.reason,
        opened_at=tx.now,
        ends_at=grant_rules.break_glass_end(tx.now, body.hours),
        closed_at=None,
        closed_by=None,
    )
    tx.add(access)
    await tx.flush()
    details = {"reason": body.reason, "hours": body.hours, f"earlier_in_{EARLIER_PERIOD.days}_days": earlier}
    await _record(
        tx, replace(caller, break_glass=access.id), AuditAction.BREAK_GLASS_OPENED, access, details, body.reason
    )
    await tx.flush()
    return BreakGlassOut.of(access, tx.now)


async def close(tx: Transaction, caller: Caller, access_id: str) -> BreakGlassOut:
    """End break-glass access early.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: it is somebody else's, and the caller is no admin of its handler.
        Conflict: it is over.
    """
    access = await _find_access(tx, caller, access_id, lock=True)
    denial = grant_rules.close_denial(actor_of(caller), access.principal, access.handler)
    if denial is not None:
        raise Forbidden(denial)
    if access.closed_at is not None or access.ends_at <= tx.now:
        raise Conflict("This access is over already.")
    await _close(tx, caller, access)
    await tx.flush()
    return BreakGlassOut.of(access, tx.now)


async def end_access_of(tx: Transaction, caller: Caller, principal: str) -> None:
    """End the open access of a principal who is no longer entitled to it."""
    query = select(BreakGlass).where(BreakGlass.principal == principal, BreakGlass.is_open(tx.now)).with_for_update()
    for access in await tx.scalars(query):
        await _close(tx, caller, access)


async def read(tx: Transaction, caller: Caller, access_id: str, *, lock: bool = False) -> BreakGlassOut:
    """Return one access."""
    return BreakGlassOut.of(await _find_access(tx, caller, access_id, lock=lock), tx.now)


async def list_all(
    tx: Transaction, caller: Caller, principal: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[BreakGlassOut], str | None]:
    """Return past and open access to the caller's handlers, and the caller's own, in the order of opening."""
    query = select(BreakGlass).where(_visible(caller))
    if principal is not None:
        query = query.where(is_of_principal(BreakGlass.principal, principal))
    rows, following = await page_of(tx, query, BreakGlass.id, cursor, limit)
    return [BreakGlassOut.of(row, tx.now) for row in rows], following


def _visible(caller: Caller) -> ColumnElement[bool]:
    handlers = caller.scope(WATCHERS)
    if handlers == EVERYWHERE:
        return true()
    on_mine = BreakGlass.handler.in_(handlers) if handlers else false()
    return or_(BreakGlass.principal == caller.principal, on_mine)


async def _find_access(tx: Transaction, caller: Caller, access_id: str, *, lock: bool) -> BreakGlass:
    query = select(BreakGlass).where(BreakGlass.id == access_id, _visible(caller))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    access = await tx.scalar(query)
    if access is None:
        raise NotFound("There is no such access.")
    return access


async def _close(tx: Transaction, caller: Caller, access: BreakGlass) -> None:
    access.closed_at, access.closed_by = tx.now, caller.principal
    await _record(tx, caller, AuditAction.BREAK_GLASS_CLOSED, access, {}, None)


async def _record(
    tx: Transaction, caller: Caller, action: AuditAction, access: BreakGlass, details: dict[str, Any], why: str | None
) -> None:
    """Record a change of access, addressed to the admins and auditors of its handler, and to its reviewers."""
    wide = Grant.handler.is_(None)
    on = wide if access.handler is None else or_(wide, Grant.handler == access.handler)
    roles = WATCHERS if access.handler is None else WATCHERS | REVIEWERS
    people = await tx.scalars(
        select(Principal.id)
        .join(Grant, Grant.standing_of_principals(day_in_shanghai(tx.now)))
        .where(Grant.role.in_([str(role) for role in roles]), Principal.disabled_at.is_(None), on)
    )
    summary = {"principal": access.principal, "role": access.role, "ends_at": access.ends_at}
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=access.id,
            handler=access.handler,
            details=summary | details,
            audience={access.principal, *people},
            reason=why,
            figures={"role": access.role, "handler": access.handler, "until": access.ends_at},
            link=f"/v1/break-glass/{access.id}",
        ),
    )
