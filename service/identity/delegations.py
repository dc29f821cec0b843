"""Operations on delegations: lend a reviewer's roles for a range of days, never more than the delegator's own.

What an admin asks to be lent for somebody else waits for that person or for another admin: one admin alone makes nobody a reviewer.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select

from service.access import grant_rules
from service.access.caller import ANYONE, REVIEWERS, WATCHERS, Caller, Delegated, Role
from service.access.lookup import handler_where, party
from service.access.tables import TODAY, Delegation, Grant, Principal
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import is_id, new_id
from service.database.row_security import EVERYWHERE, RowScope, joined
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.identity.schemas import DelegationIn, DelegationOut
from service.validation.problems import Conflict, Forbidden, Invalid, NotFound

_NOT_TOLD = {"id", "in_force", "ended_at", "made_by", "made_at", "effective_at", "confirmed_by"}

_LENT: Final = (
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
"""What is lent to somebody on a day; made once, as every request of a person asks it."""


async def lent_to(tx: Transaction, principal: str) -> tuple[Delegated, ...]:
    """Return the roles that a principal holds for others today: what the delegators, enabled, still have themselves."""
    asked = await tx.execute(_LENT, {"delegate": principal, "today": day_in_shanghai(tx.now)})
    rows = [Delegated(Role(role), handler, delegator) for role, handler, delegator in asked]
    return tuple(dict.fromkeys(rows))


async def delegate(tx: Transaction, caller: Caller, wanted: DelegationIn) -> DelegationOut:
    """Lend reviewers' roles to another person for some days; where an admin asks it for somebody else, it waits to be confirmed.

    Raises:
        Invalid: nobody of that name, no person, the delegator themselves, days that have passed, a handler that is not known.
        Forbidden: roles that the delegator does not have; somebody else's roles, without being an admin or to oneself.
    """
    today = day_in_shanghai(tx.now)
    delegator = await _delegator(tx, caller, wanted)
    stand_in = await _person(tx, caller, wanted.delegate, "/delegate")
    is_own = delegator == caller.principal
    bar = None if is_own else grant_rules.lend_for_denial(party(caller), stand_in.id)
    if bar is not None:
        raise Forbidden(bar)
    if stand_in.id == delegator:
        raise Invalid("A role is lent to somebody else.", errors=[("/delegate", "Name another person.")])
    if wanted.valid_until < today:
        raise Invalid("The absence would be over already.", errors=[("/valid_until", "Choose a day to come.")])
    handler = None if wanted.handler is None else await _handler(tx, caller, wanted.handler)
    held = await _roles_of(tx, delegator, handler)
    roles = sorted(held) if wanted.roles is None else sorted({Role(role) for role in wanted.roles})
    missing = [role for role in roles if role not in held]
    if missing or not roles:
        told = ", ".join(missing) or "any reviewer's role"
        raise Forbidden(f"Only roles that the delegator has can be lent; missing here: {told}.")
    made = Delegation(
        id=new_id("dg"),
        delegator=delegator,
        delegate=stand_in.id,
        roles=[str(role) for role in roles],
        handler=handler,
        valid_from=wanted.valid_from,
        valid_until=wanted.valid_until,
        reason=wanted.reason,
        made_by=caller.principal,
        askers=sorted(caller.persons),
        made_at=tx.now,
        effective_at=tx.now if is_own else None,
        confirmed_by=None,
        ended_at=None,
    )
    tx.add(made)
    shown = DelegationOut.of(made, today)
    details = shown.model_dump(mode="json", exclude=_NOT_TOLD)
    _record(tx, caller, AuditAction.DELEGATION_MADE, made, details, wanted.reason)
    await tx.flush()
    return shown


async def confirm(tx: Transaction, caller: Caller, delegation_id: str) -> DelegationOut:
    """Let a delegation take effect that an admin has asked for: the delegator may, or another admin.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it does not wait, or not any more.
        Forbidden: not by this caller.
    """
    delegation = await _held_for(tx, caller, delegation_id)
    today = day_in_shanghai(tx.now)
    is_over = grant_rules.is_delegation_over(delegation.valid_until, delegation.ended_at, today)
    if is_over or delegation.effective_at is not None:
        raise Conflict("This delegation does not wait to be confirmed.")
    bar = grant_rules.confirm_lending_denial(
        party(caller),
        delegator=delegation.delegator,
        delegate=delegation.delegate,
        askers=frozenset(delegation.askers) | {delegation.made_by},
    )
    if bar is not None:
        raise Forbidden(bar)
    delegation.effective_at, delegation.confirmed_by = tx.now, caller.principal
    details = {"delegator": delegation.delegator, "delegate": delegation.delegate}
    _record(tx, caller, AuditAction.DELEGATION_CONFIRMED, delegation, details, None)
    await tx.flush()
    return DelegationOut.of(delegation, today)


async def end(tx: Transaction, caller: Caller, delegation_id: str) -> DelegationOut:
    """End a delegation before its last day; both sides may, and an admin.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it has ended already.
    """
    delegation = await _held_for(tx, caller, delegation_id)
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
    """Return the caller's delegations, given and received; for admins and auditors all those on their handlers."""
    query = select(Delegation)
    reach = caller.reach(WATCHERS)
    if reach != EVERYWHERE:
        mine = or_(Delegation.delegator == caller.principal, Delegation.delegate == caller.principal)
        query = query.where(or_(mine, Delegation.handler.in_(reach)))
    rows, following = await page_of(tx, query, Delegation.id, cursor, limit)
    today = day_in_shanghai(tx.now)
    return [DelegationOut.of(row, today) for row in rows], following


async def _delegator(tx: Transaction, caller: Caller, wanted: DelegationIn) -> str:
    if wanted.delegator is None or wanted.delegator in {caller.principal, caller.name}:
        if caller.kind != "person":
            raise Forbidden("Only a person can lend a reviewer's role.")
        return caller.principal
    caller.require_everywhere(Role.ADMIN)
    return (await _person(tx, caller, wanted.delegator, "/delegator")).id


async def _person(tx: Transaction, caller: Caller, reference: str, pointer: str) -> Principal:
    """Return an enabled person whom the caller may know of: who has, or had, a role on one of the caller's handlers or on all, or none yet.

    Raises:
        Invalid: there is none; somebody of other handlers alone is as good as nobody.
    """
    column = Principal.id if is_id(reference, "pr") else Principal.name
    query = select(Principal).where(column == reference)
    reach = caller.reach(ANYONE)
    if reach != EVERYWHERE:
        roles = select(Grant.id).where(Grant.principal == Principal.id)
        mine = roles.where(or_(Grant.handler.is_(None), Grant.handler.in_(reach)))
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


async def _held_for(tx: Transaction, caller: Caller, delegation_id: str) -> Delegation:
    """Return a delegation to act on, with the view that its record takes: a party of it need have no other role on its handler."""
    delegation = await _find_delegation(tx, caller, delegation_id, lock=True)
    if delegation.handler is not None:
        await tx.look(RowScope(joined(tx.view.reach, frozenset({delegation.handler})), tx.view.principal))
    return delegation


def _sees(caller: Caller, delegation: Delegation, roles: frozenset[Role]) -> bool:
    """Tell whether a delegation is the caller's own, or on the handlers of its roles; one for all handlers takes them for all."""
    reach = caller.reach(roles)
    on_theirs = reach == EVERYWHERE or delegation.handler in reach
    return on_theirs or caller.principal in {delegation.delegator, delegation.delegate}
