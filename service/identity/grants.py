"""Operations on grants: request, confirm, withdraw. An act that withdraws a right closes the gate; one that grants a right joins it.

Joining the gate's lock orders a grant against the withdrawal of its actor's own rights: one is committed before the other begins.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, false, or_, select

from service.access import grant_rules
from service.access.caller import OPERATOR, Caller, Role
from service.access.grant_rules import AdminGrant, GrantRequest, GrantState
from service.access.lookup import actor_of, handler_of, is_of_principal, named_principal, principal_of
from service.access.tables import Delegation, Grant, Principal
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.identity import break_glass
from service.identity.schemas import GrantIn, GrantOut
from service.validation.problems import AlreadyExists, Conflict, Forbidden, Invalid, NotFound


async def create_grant(tx: Transaction, caller: Caller, body: GrantIn) -> GrantOut:
    """Grant a role to a principal; a reviewer's or an admin's role waits for a second admin.

    Raises:
        Forbidden: the caller is the grantee, could use the role in another way, or is no admin of the handler.
        Invalid: the principal or handler is unknown, a system would review, or the days are out of range.
        AlreadyExists: an equal grant is not over.

    Example:
        The role of an exporting system, for one handler and until a day::

            body = GrantIn(principal="etl", role=Role.EXPORTER, handler="hd-shanghai", valid_until=date(2027, 6, 30))
            grant = await create_grant(tx, caller, body)
    """
    principal = await named_principal(tx, body.principal)
    handler = None if body.handler is None else await handler_of(tx, caller, body.handler)
    _require_fit(body.role, principal)
    denial = grant_rules.grant_denial(actor_of(caller), await _ask_of(tx, principal, body.role, handler))
    if denial is not None:
        raise Forbidden(denial)
    faults = grant_rules.find_day_faults(body.valid_from, body.valid_until, day_in_shanghai(tx.now))
    if faults:
        raise Invalid("A grant is for days to come.", errors=[(f"/{field}", reason) for field, reason in faults])
    await _end_lapsed_grant(tx, caller, principal.id, body.role, handler)
    grant = await add_grant(tx, caller, principal.id, body.role, handler, first=body.valid_from, last=body.valid_until)
    return GrantOut.of(grant, tx.now)


async def confirm_grant(tx: Transaction, caller: Caller, grant_id: str) -> GrantOut:
    """Confirm a pending grant as the second admin.

    Raises:
        NotFound: there is none that the caller may see.
        Conflict: it is not pending, or the admin who requested it has lost that role.
        Forbidden: the caller may not be the second admin.
    """
    grant = await find_grant(tx, caller, grant_id, lock=True)
    state = grant_rules.grant_state(grant.period, tx.now)
    if state is not GrantState.PENDING:
        raise Conflict(f"The grant is {state}; only a pending one can be confirmed.")
    principal = await principal_of(tx, grant.principal)
    _require_fit(Role(grant.role), principal)
    ask = await _ask_of(tx, principal, Role(grant.role), grant.handler)
    denial = grant_rules.confirm_denial(actor_of(caller), ask, frozenset(grant.askers) | {grant.granted_by})
    if denial is not None:
        raise Forbidden(denial)
    if principal.disabled_at is not None:
        raise Conflict("The principal is disabled; nothing can be confirmed for it.")
    if not await _is_admin(tx, grant.granted_by, grant.handler):
        raise Conflict("Whoever asked for this grant is no admin any more; withdraw it, and ask anew.")
    grant.effective_at, grant.confirmed_by = tx.now, caller.principal
    _record(
        tx, caller, AuditAction.GRANT_CONFIRMED, grant, {"granted_by": grant.granted_by}, audience=[grant.granted_by]
    )
    await tx.flush()
    return GrantOut.of(grant, tx.now)


async def withdraw_grant(tx: Transaction, caller: Caller, grant_id: str) -> GrantOut:
    """Withdraw a role from this commit on, or decline to confirm it; the grant stays on record.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: the caller is no admin of its handler.
        Conflict: it is over, belongs to a group of the identity provider, or is the grant of the last admin.
    """
    await close_gate(tx)
    grant = await find_grant(tx, caller, grant_id, lock=True)
    state = grant_rules.grant_state(grant.period, tx.now)
    if state not in grant_rules.OPEN:
        raise Conflict(f"This grant is {state} already.")
    denial = grant_rules.withdraw_denial(actor_of(caller), grant.handler)
    if denial is not None:
        raise Forbidden(denial)
    if grant.source == "group":
        raise Conflict(
            "This role is that of a group at the identity provider: take the person out of the group, end the login, or disable the "
            "principal. Withdrawn here, it would be back with the next token."
        )
    await require_remaining_admin(tx, without=grant.id)
    _end(tx, caller, grant)
    if grant.role == Role.ADMIN:
        await break_glass.end_access_of(tx, caller, grant.principal)
    await tx.flush()
    return GrantOut.of(grant, tx.now)


async def list_grants(
    tx: Transaction,
    caller: Caller,
    *,
    principal: str | None,
    handler: str | None,
    pending: bool | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[GrantOut], str | None]:
    """Return the grants on the caller's handlers, including those that are over, in the order of their creation."""
    query = select(Grant).where(_visible(caller))
    if principal is not None:
        query = query.where(is_of_principal(Grant.principal, principal))
    if handler is not None:
        query = query.where(Grant.handler == await handler_of(tx, caller, handler))
    if pending is not None:
        is_pending = Grant.pending(tx.now)
        query = query.where(is_pending if pending else ~is_pending)
    rows, following = await page_of(tx, query, Grant.id, cursor, limit)
    return [GrantOut.of(row, tx.now) for row in rows], following


async def read_grant(tx: Transaction, caller: Caller, grant_id: str, *, lock: bool = False) -> GrantOut:
    """Return one grant."""
    return GrantOut.of(await find_grant(tx, caller, grant_id, lock=lock), tx.now)


async def find_grant(tx: Transaction, caller: Caller, grant_id: str, *, lock: bool = False) -> Grant:
    """Return the row of a grant that the caller may see.

    Raises:
        NotFound: there is none, or it is on a handler of which the caller is no admin.
    """
    grant = await tx.get(Grant, grant_id, with_for_update=lock or None, populate_existing=lock)
    if grant is None or not grant_rules.may_administer(actor_of(caller), grant.handler):
        raise NotFound("There is no such grant.")
    return grant


async def add_grant(
    tx: Transaction,
    caller: Caller,
    principal: str,
    role: Role,
    handler: str | None,
    *,
    first: date | None = None,
    last: date | None = None,
) -> Grant:
    """Add a grant without checking the caller; it waits for a second admin if its role requires one, except the operator's."""
    is_operator = caller.kind == "operator"
    waits = grant_rules.requires_second_admin(role) and not is_operator
    grant = Grant(
        id=new_id("gr"),
        principal=principal,
        role=role,
        handler=handler,
        granted_by=caller.principal,
        askers=sorted(caller.persons),
        granted_at=tx.now,
        valid_from=first or day_in_shanghai(tx.now),
        valid_until=last,
        source="operator" if is_operator else "admin",
        effective_at=None if waits else tx.now,
        confirmed_by=None,
        withdrawn_at=None,
    )
    tx.add(grant)
    details = {"valid_from": grant.valid_from, "valid_until": last, "source": grant.source}
    confirmers = await _confirmers(tx, grant) if waits else ()
    _record(
        tx,
        caller,
        AuditAction.GRANT_CREATED,
        grant,
        details | {"state": grant_rules.grant_state(grant.period, tx.now)},
        audience=confirmers,
    )
    await tx.flush()
    return grant


async def ensure_role(tx: Transaction, principal: Principal, role: Role, handler: str | None) -> None:
    """Grant a role that takes effect now, as the operator; an equal grant that is pending or upcoming is replaced.

    Raises:
        Invalid: a system cannot have a reviewer's role.
    """
    _require_fit(role, principal)
    same = await _find_equal_grant(tx, principal.id, role, handler)
    if same is not None:
        if grant_rules.grant_state(same.period, tx.now) is GrantState.STANDING and same.valid_until is None:
            return
        _end(tx, OPERATOR, same)
        await tx.flush()
    await add_grant(tx, OPERATOR, principal.id, role, handler)


async def renew_requests(tx: Transaction, caller: Caller, principal: Principal) -> None:
    """Replace the grants of an enabled principal that require a second admin by pending ones, so that one admin alone restores none.

    Raises:
        Forbidden: the caller may not request them.
    """
    query = select(Grant).where(Grant.principal == principal.id, Grant.withdrawn_at.is_(None)).with_for_update()
    for grant in await tx.scalars(query.order_by(Grant.id)):
        is_open = grant_rules.grant_state(grant.period, tx.now) in grant_rules.OPEN
        if not (
            is_open
            and grant_rules.requires_second_admin(grant.role)
            and grant_rules.is_role_possible(grant.role, principal.kind)
        ):
            continue
        if grant.source == "group":  # the next token that shows the group gives it again
            _end(tx, caller, grant)
            continue
        denial = grant_rules.grant_denial(
            actor_of(caller), await _ask_of(tx, principal, Role(grant.role), grant.handler)
        )
        if denial is not None:
            raise Forbidden(denial)
        first = max(grant.valid_from, day_in_shanghai(tx.now))
        _end(tx, caller, grant)
        await tx.flush()
        await add_grant(tx, caller, principal.id, Role(grant.role), grant.handler, first=first, last=grant.valid_until)


async def require_remaining_admin(tx: Transaction, *, without: str) -> None:
    """Require that an admin of all handlers remains without a grant or a principal.

    Args:
        tx: the transaction. It has closed the gate, so that two admins cannot remove each other at once.
        without: id of the grant or the principal that would be removed.

    Raises:
        Conflict: no permanent admin of all handlers would remain.
    """
    query = (
        select(Grant, Principal)
        .join(Principal, Principal.id == Grant.principal)
        .where(Grant.role == Role.ADMIN, Grant.handler.is_(None), Grant.withdrawn_at.is_(None))
    )
    keepers = [
        AdminGrant(grant.id, principal.id, principal.kind, principal.disabled_at is None, grant.source, grant.period)
        for grant, principal in await tx.execute(query)
    ]
    if not grant_rules.has_remaining_admin(keepers, without, tx.now):
        raise Conflict(
            "The last admin cannot go: a person who is admin of all handlers, without a last day. Make another one first."
        )


def _require_fit(role: Role, principal: Principal) -> None:
    if not grant_rules.is_role_possible(role, principal.kind):
        raise Invalid(
            "Systems do not review.", errors=[("/role", f"{principal.name} is a system; give {role} to a person.")]
        )


async def _end_lapsed_grant(tx: Transaction, caller: Caller, principal: str, role: Role, handler: str | None) -> None:
    """End an equal grant on record whose days are over.

    Raises:
        AlreadyExists: it is not over.
    """
    same = await _find_equal_grant(tx, principal, role, handler)
    if same is None:
        return
    state = grant_rules.grant_state(same.period, tx.now)
    if state in grant_rules.OPEN:
        raise AlreadyExists(
            f"The same grant is {state} already; withdraw it first if it is to have other days.",
            errors=[("/role", "This principal has it already.")],
            next={"href": f"/v1/grants/{same.id}", "method": "GET"},
        )
    _end(tx, caller, same)
    await tx.flush()


async def _find_equal_grant(tx: Transaction, principal: str, role: Role, handler: str | None) -> Grant | None:
    query = select(Grant).where(
        Grant.principal == principal,
        Grant.role == role,
        Grant.handler.is_not_distinct_from(handler),
        Grant.source != "group",
        Grant.withdrawn_at.is_(None),
    )
    return await tx.scalar(query.with_for_update().execution_options(populate_existing=True))


def _end(tx: Transaction, caller: Caller, grant: Grant) -> None:
    state = grant_rules.grant_state(grant.period, tx.now)
    grant.withdrawn_at = tx.now
    action = AuditAction.GRANT_LAPSED if state is GrantState.LAPSED else AuditAction.GRANT_WITHDRAWN
    _record(tx, caller, action, grant, {"state": state}, audience={grant.granted_by})


async def _ask_of(tx: Transaction, principal: Principal, role: Role, handler: str | None) -> GrantRequest:
    """Return the request for a grant, with the principals to whom the grantee has lent roles for today or later."""
    query = select(Delegation.delegate).where(
        Delegation.delegator == principal.id,
        Delegation.not_over(day_in_shanghai(tx.now)),
    )
    stand_ins = frozenset(await tx.scalars(query)) if grant_rules.is_reviewer(role) else frozenset()
    return GrantRequest(role, handler, principal.id, principal.kind, stand_ins)


async def _is_admin(tx: Transaction, principal: str, handler: str | None) -> bool:
    on = Grant.handler.is_(None) if handler is None else or_(Grant.handler.is_(None), Grant.handler == handler)
    return await tx.scalar(_admins(tx, on).where(Principal.id == principal)) is not None


async def _confirmers(tx: Transaction, grant: Grant) -> list[str]:
    """Return the people who may confirm a grant, as far as their roles go."""
    wide = Grant.handler.is_(None)
    on = or_(wide, Grant.handler == grant.handler) if grant_rules.is_reviewer(grant.role) and grant.handler else wide
    people = await tx.scalars(_admins(tx, on).where(Principal.kind == "person"))
    return sorted({person for person in people if person not in {*grant.askers, grant.principal}})


def _admins(tx: Transaction, on: ColumnElement[bool]) -> Any:
    return (
        select(Principal.id)
        .join(Grant, Grant.standing_of_principals(day_in_shanghai(tx.now)))
        .where(Grant.role == Role.ADMIN, Principal.disabled_at.is_(None), on)
    )


def _visible(caller: Caller) -> ColumnElement[bool]:
    handlers = actor_of(caller).admin_of
    if handlers == EVERYWHERE:
        return Grant.id.is_not(None)
    return Grant.handler.in_(handlers) if handlers else false()


def _record(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    grant: Grant,
    details: dict[str, Any],
    *,
    audience: Sequence[str] | set[str] = (),
) -> None:
    """Record a change of a grant, addressed to its grantee and to the audience that must act."""
    waits = action == AuditAction.GRANT_CREATED and grant.effective_at is None
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=grant.id,
            handler=grant.handler,
            details={"principal": grant.principal, "role": grant.role} | details,
            audience={grant.principal, *audience},
            figures={"role": grant.role, "handler": grant.handler},
            link=f"/v1/grants/{grant.id}/confirm" if waits else "/v1/me",
            method="POST" if waits else "GET",
        ),
    )
