"""Operations on delegations: lend a reviewer's roles for a range of days, never more than the delegator's own.

A delegation that an admin requests for somebody else waits for that person or another admin, so that no admin alone makes a reviewer.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select

from service.access import grant_rules
from service.access.caller import ANYONE, REVIEWERS, WATCHERS, Caller, DelegatedRole, Role
from service.access.lookup import actor_of, handler_where
from service.access.tables import TODAY, Delegation, Grant, Principal
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import is_id, new_id
from service.database.row_security import EVERYWHERE, RowScope, merge_scopes
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.identity.schemas import DelegationIn, DelegationOut
from service.validation.problems import Conflict, Forbidden, Invalid, NotFound

_UNRECORDED_FIELDS = {"id", "in_force", "ended_at", "made_by", "made_at", "effective_at", "confirmed_by"}

_LENT_ROLES: Final = (
    select(Grant.role, func.coalesce(Delegation.handler, Grant.handler), Delegation.delegator)
    .join(
        Grant,
        and_(
            Grant.principal == Delegation.delegator,
            Grant.role == func.any(Delegation.roles),
            Grant.standing(TODAY),
            or_(Delegation.handler.is_(None), Grant.handler.is_(None), Grant.handler == Delegation.handler),
        ),
    )
    .join(
        Principal,
        and_(Principal.id == Delegation.delegator, Principal.kind == "person", Principal.disabled_at.is_(None)),
    )
    .where(
        Delegation.delegate == bindparam("delegate"),
        Delegation.in_force(TODAY),
    )
    .order_by(Delegation.id, Grant.role)
)
"""Roles lent to a principal on a day. Built once, since every request of a person runs it."""


async def find_lent_roles(tx: Transaction, principal: str) -> tuple[DelegatedRole, ...]:
    """Return the roles lent to a principal today. A lent role ends when its delegator loses it or is disabled."""
    rows = await tx.execute(_LENT_ROLES, {"delegate": principal, "today": day_in_shanghai(tx.now)})
    lent = [DelegatedRole(Role(role), handler, delegator) for role, handler, delegator in rows]
    return tuple(dict.fromkeys(lent))


async def delegate(tx: Transaction, caller: Caller, body: DelegationIn) -> DelegationOut:
    """Lend reviewers' roles to another person for some days; if an admin requests it for somebody else, it must be confirmed.

    Raises:
        Invalid: no enabled person has that name, the delegate is the delegator, the days are over, or the handler is unknown.
        Forbidden: the delegator lacks the roles; or the caller lends roles of somebody else and is no admin, or is the delegate.
    """
    today = day_in_shanghai(tx.now)
    delegator = await _delegator(tx, caller, body)
    stand_in = await _person(tx, caller, body.delegate, "/delegate")
    is_own = delegator == caller.principal
    denial = None if is_own else grant_rules.lend_for_denial(actor_of(caller), stand_in.id)
    if denial is not None:
        raise Forbidden(denial)
    if stand_in.id == delegator:
        raise Invalid("A role is lent to somebody else.", errors=[("/delegate", "Name another person.")])
    if body.valid_until < today:
        raise Invalid("The absence would be over already.", errors=[("/valid_until", "Choose a day to come.")])
    handler = None if body.handler is None else await _handler(tx, caller, body.handler)
    available_roles = await _roles_of(tx, delegator, handler)
    roles = sorted(available_roles) if body.roles is None else sorted({Role(role) for role in body.roles})
    missing = [role for role in roles if role not in available_roles]
    if missing or not roles:
        names = ", ".join(missing) or "any reviewer's role"
        raise Forbidden(f"Only roles that the delegator has can be lent; missing here: {names}.")
    delegation = Delegation(
        id=new_id("dg"),
        delegator=delegator,
        delegate=stand_in.id,
        roles=[str(role) for role in roles],
        handler=handler,
        valid_from=body.valid_from,
        valid_until=body.valid_until,
        reason=body.reason,
        made_by=caller.principal,
        askers=sorted(caller.persons),
        made_at=tx.now,
        effective_at=tx.now if is_own else None,
        confirmed_by=None,
        ended_at=None,
    )
    tx.add(delegation)
    response = DelegationOut.of(delegation, today)
    details = response.model_dump(mode="json", exclude=_UNRECORDED_FIELDS)
    _record(tx, caller, AuditAction.DELEGATION_MADE, delegation, details, body.reason)
    await tx.flush()
    return response


async def confirm(tx: Transaction, caller: Caller, delegation_id: str) -> DelegationOut:
    """Confirm a delegation that an admin has requested, as its delegator or as another admin.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it is in effect or over.
        Forbidden: the caller is neither the delegator nor another admin.
    """
    delegation = await _lock_delegation(tx, caller, delegation_id)
    today = day_in_shanghai(tx.now)
    is_over = grant_rules.is_delegation_over(delegation.valid_until, delegation.ended_at, today)
    if is_over or delegation.effective_at is not None:
        raise Conflict("This delegation does not wait to be confirmed.")
    denial = grant_rules.confirm_lending_denial(
        actor_of(caller),
        delegator=delegation.delegator,
        delegate=delegation.delegate,
        askers=frozenset(delegation.askers) | {delegation.made_by},
    )
    if denial is not None:
        raise Forbidden(denial)
    delegation.effective_at, delegation.confirmed_by = tx.now, caller.principal
    details = {"delegator": delegation.delegator, "delegate": delegation.delegate}
    _record(tx, caller, AuditAction.DELEGATION_CONFIRMED, delegation, details, None)
    await tx.flush()
    return DelegationOut.of(delegation, today)


async def end(tx: Transaction, caller: Caller, delegation_id: str) -> DelegationOut:
    """End a delegation early, as its delegator, its delegate or an admin.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it has ended already.
    """
    delegation = await _lock_delegation(tx, caller, delegation_id)
    if delegation.ended_at is not None:
        raise Conflict("This delegation has ended already.")
    delegation.ended_at = tx.now
    details = {"delegator": delegation.delegator, "delegate": delegation.delegate}
    _record(tx, caller, AuditAction.DELEGATION_ENDED, delegation, details, None)
    await tx.flush()
    return DelegationOut.of(delegation, day_in_shanghai(tx.now))


def _record(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    delegation: Delegation,
    details: dict[str, Any],
    why: str | None,
) -> None:
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=delegation.id,
            handler=delegation.handler,
            details=details,
            audience=[delegation.delegator, delegation.delegate],
            reason=why,
            figures={"roles": delegation.roles, "from": delegation.valid_from, "until": delegation.valid_until},
            link=f"/v1/delegations/{delegation.id}",
        ),
    )


async def read_delegation(tx: Transaction, caller: Caller, delegation_id: str, *, lock: bool = False) -> DelegationOut:
    """Return a delegation."""
    return DelegationOut.of(await _find_delegation(tx, caller, delegation_id, lock=lock), day_in_shanghai(tx.now))


async def list_delegations(
    tx: Transaction, caller: Caller, cursor: str | None, limit: int
) -> tuple[Sequence[DelegationOut], str | None]:
    """Return the delegations that the caller made or received; for admins and auditors, all those on their handlers."""
    query = select(Delegation)
    handlers = caller.scope(WATCHERS)
    if handlers != EVERYWHERE:
        mine = or_(Delegation.delegator == caller.principal, Delegation.delegate == caller.principal)
        query = query.where(or_(mine, Delegation.handler.in_(handlers)))
    rows, following = await page_of(tx, query, Delegation.id, cursor, limit)
    today = day_in_shanghai(tx.now)
    return [DelegationOut.of(row, today) for row in rows], following


async def _delegator(tx: Transaction, caller: Caller, body: DelegationIn) -> str:
    if body.delegator is None or body.delegator in {caller.principal, caller.name}:
        if caller.kind != "person":
            raise Forbidden("Only a person can lend a reviewer's role.")
        return caller.principal
    caller.require_everywhere(Role.ADMIN)
    return (await _person(tx, caller, body.delegator, "/delegator")).id


async def _person(tx: Transaction, caller: Caller, reference: str, pointer: str) -> Principal:
    """Return an enabled person who has or had a role on the caller's handlers or on all handlers, or has no role yet.

    Raises:
        Invalid: there is none. A person of other handlers gets the same answer, which reveals no names.
    """
    column = Principal.id if is_id(reference, "pr") else Principal.name
    query = select(Principal).where(column == reference)
    handlers = caller.scope(ANYONE)
    if handlers != EVERYWHERE:
        roles = select(Grant.id).where(Grant.principal == Principal.id)
        mine = roles.where(or_(Grant.handler.is_(None), Grant.handler.in_(handlers)))
        query = query.where(or_(mine.exists(), ~roles.exists()))
    person = await tx.scalar(query)
    if person is None or person.kind != "person" or person.disabled_at is not None:
        raise Invalid("Nobody can stand in here.", errors=[(pointer, "No enabled person has this id or name.")])
    return person


async def _handler(tx: Transaction, caller: Caller, reference: str) -> str:
    return await handler_where(tx, reference, lambda handler: caller.reaches(ANYONE, handler))


async def _roles_of(tx: Transaction, principal: str, handler: str | None) -> set[Role]:
    query = select(Grant.role).where(
        Grant.principal == principal,
        Grant.standing(day_in_shanghai(tx.now)),
        Grant.role.in_([str(role) for role in REVIEWERS]),
    )
    if handler is not None:
        query = query.where(or_(Grant.handler.is_(None), Grant.handler == handler))
    return {Role(role) for role in await tx.scalars(query)}


async def _find_delegation(tx: Transaction, caller: Caller, delegation_id: str, *, lock: bool) -> Delegation:
    delegation = await tx.get(Delegation, delegation_id, with_for_update=lock or None, populate_existing=lock)
    if delegation is None or not _sees(caller, delegation, frozenset({Role.ADMIN}) if lock else WATCHERS):
        raise NotFound("There is no such delegation.")
    return delegation


async def _lock_delegation(tx: Transaction, caller: Caller, delegation_id: str) -> Delegation:
    """Lock a delegation, and extend the row scope to its handler, on which its parties need no role of their own."""
    delegation = await _find_delegation(tx, caller, delegation_id, lock=True)
    if delegation.handler is not None:
        await tx.set_scope(
            RowScope(merge_scopes(tx.scope.handlers, frozenset({delegation.handler})), tx.scope.principal)
        )
    return delegation


def _sees(caller: Caller, delegation: Delegation, roles: frozenset[Role]) -> bool:
    """True if the caller is a party of a delegation or has one of the roles on its handler (for all handlers: on all of them)."""
    handlers = caller.scope(roles)
    on_theirs = handlers == EVERYWHERE or delegation.handler in handlers
    return on_theirs or caller.principal in {delegation.delegator, delegation.delegate}
