"""What can be done with principals, keys and grants. Whatever takes a right away closes the gate while it does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, func, or_, select, text

from service.database import FIRST_ADMIN_LOCK, Transaction, close_gate, is_id, new_id
from service.events import operations as events
from service.http.caller import EVERYWHERE, OPERATOR, Caller, Credentials, Reach, Role
from service.http.paging import page_of
from service.http.problems import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from service.identity import delegations
from service.identity.keys import Secret
from service.identity.schemas import (
    ApiKeyIn,
    ApiKeyMade,
    ApiKeyOut,
    GrantIn,
    GrantOut,
    Kind,
    PrincipalIn,
    PrincipalOut,
)
from service.identity.tables import HANDLERS, ApiKey, Grant, Principal
from service.law.calendar import day_in_shanghai


async def authenticate(tx: Transaction, credentials: Credentials) -> Caller:
    """Return who holds a key, with the grants that stand now.

    Raises:
        Unauthenticated: no key, an unknown, expired or revoked one, or a disabled principal; it is not told which.
    """
    query = (
        select(Principal, ApiKey, Grant.role, Grant.handler)
        .join(ApiKey, ApiKey.principal == Principal.id)
        .outerjoin(Grant, and_(Grant.principal == Principal.id, Grant.standing(day_in_shanghai(tx.now))))
        .where(ApiKey.prefix == credentials.prefix)
    )
    rows = (await tx.execute(query)).all()
    stored = rows[0][1].sha256 if rows else bytes(32)
    if not credentials.match(stored) or not rows or not _stands(rows[0][0], rows[0][1], tx.now):
        raise Unauthenticated("This API key is not known, or no longer stands.")
    return await caller_of(tx, rows[0][0], [(row[2], row[3]) for row in rows])


async def caller_of(tx: Transaction, principal: Principal, grants: Sequence[tuple[str | None, str | None]]) -> Caller:
    """Return a principal as a caller, with the grants that stand and what others have lent."""
    kind: Kind = "person" if principal.kind == "person" else "system"
    lent = await delegations.lent_to(tx, principal.id) if kind == "person" else ()
    return Caller(principal.id, principal.name, kind, _reaches(grants), lent)


def recognize(authorization: str | None) -> Credentials:
    """Return what an `Authorization` header shows of a key.

    Raises:
        Unauthenticated: no key, or nothing of its form.
    """
    secret = Secret.in_header(authorization)
    if secret is None:
        raise Unauthenticated("Send an API key or an access token: Authorization: Bearer …")
    return Credentials(secret.prefix, secret.sha256)


def _stands(principal: Principal, key: ApiKey, now: datetime) -> bool:
    return key.revoked_at is None and principal.disabled_at is None and (key.expires_at is None or now < key.expires_at)


def _reaches(grants: Sequence[tuple[str | None, str | None]]) -> dict[Role, Reach]:
    reaches: dict[Role, Reach] = {}
    for role, handler in grants:
        if role is None:
            continue
        held = reaches.get(Role(role), frozenset())
        reaches[Role(role)] = EVERYWHERE if handler is None or held == EVERYWHERE else frozenset({*held, handler})
    return reaches


async def create_principal(tx: Transaction, caller: Caller, wanted: PrincipalIn) -> PrincipalOut:
    """Make a person or a system known."""
    _demand_admin(caller)
    principal = Principal(id=new_id("pr"), name=wanted.name, kind=wanted.kind, created_at=tx.now, disabled_at=None)
    tx.add(principal)
    details = {"name": wanted.name, "kind": wanted.kind}
    _record(tx, caller, "principal.created", principal.id, principal.id, details)
    await tx.flush()
    return PrincipalOut.of(principal)


async def list_principals(tx: Transaction, cursor: str | None, limit: int) -> tuple[Sequence[PrincipalOut], str | None]:
    """Return principals in the order of their making."""
    rows, following = await page_of(tx, select(Principal), Principal.id, cursor, limit)
    return [PrincipalOut.of(row) for row in rows], following


async def read_principal(tx: Transaction, reference: str, *, lock: bool = False) -> PrincipalOut:
    """Return one principal by id or name."""
    return PrincipalOut.of(await _principal(tx, reference, lock=lock))


async def disable_principal(tx: Transaction, caller: Caller, reference: str) -> PrincipalOut:
    """Shut a principal out, with all of its keys, from this commit on."""
    _demand_admin(caller)
    await close_gate(tx)
    principal = await _principal(tx, reference, lock=True)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled already.")
    principal.disabled_at = tx.now
    await _demand_an_admin(tx)
    _record(tx, caller, "principal.disabled", principal.id, principal.id, {})
    await tx.flush()
    return PrincipalOut.of(principal)


async def enable_principal(tx: Transaction, caller: Caller, reference: str) -> PrincipalOut:
    """Let a disabled principal in again."""
    _demand_admin(caller)
    principal = await _principal(tx, reference, lock=True)
    if principal.disabled_at is None:
        raise Conflict("This principal is not disabled.")
    principal.disabled_at = None
    _record(tx, caller, "principal.enabled", principal.id, principal.id, {})
    await tx.flush()
    return PrincipalOut.of(principal)


async def create_key(tx: Transaction, caller: Caller, wanted: ApiKeyIn) -> ApiKeyMade:
    """Make a key; the answer holds the secret, the database only its hash.

    Raises:
        Invalid: no such principal, or an end in the past.
        Conflict: the principal is disabled.
    """
    _demand_admin(caller)
    principal = await _named_principal(tx, wanted.principal)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it before giving it a key.")
    if wanted.expires_at is not None and wanted.expires_at <= tx.now:
        raise Invalid("The key would have ended already.", errors=[("/expires_at", "Choose a time that is to come.")])
    secret = Secret.new()
    key = ApiKey(
        id=new_id("ky"),
        principal=principal.id,
        label=wanted.label,
        prefix=secret.prefix,
        sha256=secret.sha256,
        created_at=tx.now,
        expires_at=wanted.expires_at,
        revoked_at=None,
    )
    tx.add(key)
    details = {"principal": principal.id, "prefix": key.prefix, "expires_at": key.expires_at}
    _record(tx, caller, "api_key.created", key.id, principal.id, details)
    await tx.flush()
    return ApiKeyMade(**ApiKeyOut.of(key).model_dump(), secret=secret.text)


async def list_keys(
    tx: Transaction, principal: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[ApiKeyOut], str | None]:
    """Return keys, of one principal or of all, in the order of their making."""
    query = select(ApiKey)
    if principal is not None:
        query = query.where(ApiKey.principal == (await _principal(tx, principal)).id)
    rows, following = await page_of(tx, query, ApiKey.id, cursor, limit)
    return [ApiKeyOut.of(row) for row in rows], following


async def read_key(tx: Transaction, key_id: str, *, lock: bool = False) -> ApiKeyOut:
    """Return one key, without its secret."""
    return ApiKeyOut.of(await _key(tx, key_id, lock=lock))


async def revoke_key(tx: Transaction, caller: Caller, key_id: str) -> ApiKeyOut:
    """End a key, from this commit on."""
    _demand_admin(caller)
    await close_gate(tx)
    key = await _key(tx, key_id, lock=True)
    if key.revoked_at is not None:
        raise Conflict("This key is revoked already.")
    key.revoked_at = tx.now
    _record(tx, caller, "api_key.revoked", key.id, key.principal, {"principal": key.principal})
    await tx.flush()
    return ApiKeyOut.of(key)


async def create_grant(tx: Transaction, caller: Caller, wanted: GrantIn) -> GrantOut:
    """Give a principal a role.

    Raises:
        Forbidden: to oneself.
        Invalid: no such principal or handler.
        AlreadyExists: the same grant stands.
    """
    principal = await _named_principal(tx, wanted.principal)
    if principal.id == caller.principal:
        raise Forbidden("Nobody grants a role to themselves; ask another admin.")
    handler = None if wanted.handler is None else await _handler(tx, wanted.handler)
    _demand_admin(caller, handler)
    return GrantOut.of(await _grant(tx, caller, principal.id, wanted.role, handler))


async def list_grants(
    tx: Transaction, principal: str | None, handler: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[GrantOut], str | None]:
    """Return grants, withdrawn ones included, in the order of their making."""
    query = select(Grant)
    if principal is not None:
        query = query.where(Grant.principal == (await _principal(tx, principal)).id)
    if handler is not None:
        query = query.where(Grant.handler == await _handler(tx, handler))
    rows, following = await page_of(tx, query, Grant.id, cursor, limit)
    return [GrantOut.of(row) for row in rows], following


async def read_grant(tx: Transaction, grant_id: str, *, lock: bool = False) -> GrantOut:
    """Return one grant."""
    return GrantOut.of(await _granted(tx, grant_id, lock=lock))


async def withdraw_grant(tx: Transaction, caller: Caller, grant_id: str) -> GrantOut:
    """Take a role away, from this commit on; the grant stays on record.

    Raises:
        Conflict: it is withdrawn already, or it is the last that keeps an admin.
    """
    await close_gate(tx)
    grant = await _granted(tx, grant_id, lock=True)
    if grant.withdrawn_at is not None:
        raise Conflict("This grant is withdrawn already.")
    _demand_admin(caller, grant.handler)
    grant.withdrawn_at = tx.now
    await _demand_an_admin(tx)
    details = {"principal": grant.principal, "role": grant.role}
    _record_grant(tx, caller, "grant.withdrawn", grant, details)
    await tx.flush()
    return GrantOut.of(grant)


async def enlist(
    tx: Transaction, name: str, kind: Kind, roles: Sequence[Role], handler: str | None = None
) -> PrincipalOut:
    """Make a principal known, or find it, and see to it that it has some roles; recorded as the operator's act.

    Raises:
        Conflict: the principal is known as the other kind.
        Invalid: no such handler.
    """
    principal = await tx.scalar(select(Principal).where(Principal.name == name))
    if principal is None:
        made = await create_principal(tx, OPERATOR, PrincipalIn(name=name, kind=kind))
        principal = await _principal(tx, made.id)
    if principal.kind != kind:
        raise Conflict(f"{name} is known as a {principal.kind}, not as a {kind}.")
    handler_id = None if handler is None else await _handler(tx, handler)
    for role in dict.fromkeys(roles):
        same = select(Grant.id).where(
            Grant.principal == principal.id,
            Grant.role == role,
            Grant.handler.is_not_distinct_from(handler_id),
            Grant.withdrawn_at.is_(None),
        )
        if await tx.scalar(same) is None:
            await _grant(tx, OPERATOR, principal.id, role, handler_id)
    return PrincipalOut.of(principal)


async def equip(
    tx: Transaction,
    name: str,
    kind: Kind,
    roles: Sequence[Role],
    handler: str | None = None,
    *,
    expires_at: datetime | None = None,
) -> ApiKeyMade:
    """Give a principal, new or known, some roles and a new key: the operator's way in, recorded as the operator's act."""
    principal = await enlist(tx, name, kind, roles, handler)
    return await create_key(tx, OPERATOR, ApiKeyIn(principal=principal.id, expires_at=expires_at))


async def first_admin(tx: Transaction) -> ApiKeyMade | None:
    """On a database without principals, make the first admin and return its key; else None."""
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": FIRST_ADMIN_LOCK})
    if await tx.scalar(select(func.count()).select_from(Principal)):
        return None
    return await equip(tx, "admin", "person", [Role.ADMIN])


async def _grant(tx: Transaction, caller: Caller, principal: str, role: Role, handler: str | None) -> Grant:
    grant = Grant(
        id=new_id("gr"),
        principal=principal,
        role=role,
        handler=handler,
        granted_by=caller.principal,
        granted_at=tx.now,
        valid_from=day_in_shanghai(tx.now),
        valid_until=None,
        source="operator" if caller is OPERATOR else "admin",
        effective_at=tx.now,
        confirmed_by=None,
        withdrawn_at=None,
    )
    tx.add(grant)
    details = {"principal": principal, "role": role}
    _record_grant(tx, caller, "grant.created", grant, details)
    await tx.flush()
    return grant


def _record(
    tx: Transaction, caller: Caller, action: str, subject: str, principal: str, details: dict[str, Any]
) -> None:
    """Record what happened to a principal or to one of its keys, and tell it: a key that it did not ask for is worth knowing."""
    events.record(tx, caller, action, subject, handler=None, details=details, audience=[principal], href="/v1/me")


def _record_grant(tx: Transaction, caller: Caller, action: str, grant: Grant, details: dict[str, Any]) -> None:
    """Record that somebody was given a role or lost one, and tell them."""
    events.record(
        tx,
        caller,
        action,
        grant.id,
        handler=grant.handler,
        details=details,
        audience=[grant.principal],
        how_much={"role": grant.role, "handler": grant.handler},
        href="/v1/me",
    )


def _demand_admin(caller: Caller, handler: str | None = None) -> None:
    """Keep an admin of some handlers to the grants on those."""
    if caller is OPERATOR or (handler is not None and caller.reaches(frozenset({Role.ADMIN}), handler)):
        return
    caller.demand_everywhere(Role.ADMIN)


async def _demand_an_admin(tx: Transaction) -> None:
    """Refuse to lock everyone out; the caller holds the gate, so two admins cannot remove each other at once."""
    await tx.flush()
    remains = exists().where(
        Grant.role == Role.ADMIN,
        Grant.handler.is_(None),
        Grant.standing(day_in_shanghai(tx.now)),
        Principal.id == Grant.principal,
        Principal.disabled_at.is_(None),
    )
    if not await tx.scalar(select(remains)):
        raise Conflict("The last admin cannot go; make another one first.")


async def _principal(tx: Transaction, reference: str, *, lock: bool = False) -> Principal:
    column = Principal.id if is_id(reference, "pr") else Principal.name
    query = select(Principal).where(column == reference)
    principal = await tx.scalar(query.with_for_update() if lock else query)
    if principal is None:
        raise NotFound("There is no such principal.")
    return principal


async def _named_principal(tx: Transaction, reference: str) -> Principal:
    try:
        return await _principal(tx, reference)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/principal", "No principal has this id or name.")]) from error


async def _handler(tx: Transaction, reference: str) -> str:
    found = await tx.scalar(select(HANDLERS.c.id).where(or_(HANDLERS.c.id == reference, HANDLERS.c.key == reference)))
    if found is None:
        raise Invalid("There is no such handler.", errors=[("/handler", "No handler has this id or key.")])
    return str(found)


async def _key(tx: Transaction, key_id: str, *, lock: bool) -> ApiKey:
    key = await tx.get(ApiKey, key_id, with_for_update=lock or None)
    if key is None:
        raise NotFound("There is no such key.")
    return key


async def _granted(tx: Transaction, grant_id: str, *, lock: bool) -> Grant:
    grant = await tx.get(Grant, grant_id, with_for_update=lock or None)
    if grant is None:
        raise NotFound("There is no such grant.")
    return grant
