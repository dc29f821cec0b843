"""Operations on principals and API keys. An act that withdraws a right closes the gate."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select, text

from service.access.caller import OPERATOR, Caller, KeyCredential, Role
from service.access.credential_rules import is_valid_credential
from service.access.grant_rules import is_role_possible
from service.access.lookup import actor_of, handler_of, named_principal, principal_of
from service.access.tables import TODAY, ApiKey, Grant, Principal
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.locks import FIRST_ADMIN_LOCK
from service.database.row_security import EVERYWHERE, NOWHERE, HandlerScope, merge_scopes
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.identity import break_glass, delegations, sessions
from service.identity.api_keys import Secret
from service.identity.grants import ensure_role, renew_requests, require_remaining_admin
from service.identity.schemas import ApiKeyIn, ApiKeyMade, ApiKeyOut, Kind, PrincipalIn, PrincipalOut
from service.validation.problems import AlreadyExists, Conflict, Invalid, NotFound, Unauthenticated
from service.validation.text_types import fold_name

_PRINCIPAL_WITH_GRANTS: Final = (
    select(Principal, ApiKey, Grant.role, Grant.handler)
    .join(ApiKey, ApiKey.principal == Principal.id)
    .outerjoin(Grant, Grant.standing_of_principals(TODAY))
    .where(ApiKey.prefix == bindparam("prefix"))
)
"""Principal of a key, with a row for each of its grants in effect. Built once, since every request with a key runs it."""


async def authenticate(tx: Transaction, credentials: KeyCredential) -> Caller:
    """Return the caller of a key, with the grants in effect today.

    Raises:
        Unauthenticated: the key is unknown, expired or revoked, or its principal is disabled. The answer is the same for all four.

    Example:
        The caller of a request's API key::

            credentials = parse_api_key(request.headers.get("authorization"))
            caller = await authenticate(tx, credentials)
    """
    rows = (
        await tx.execute(_PRINCIPAL_WITH_GRANTS, {"prefix": credentials.prefix, "today": day_in_shanghai(tx.now)})
    ).all()
    stored = rows[0][1].sha256 if rows else bytes(32)
    if not credentials.match(stored) or not rows or not _is_valid_key(rows[0][0], rows[0][1], tx.now):
        raise Unauthenticated("This API key is not known, or no longer stands.")
    key = rows[0][1]
    return await caller_of(tx, rows[0][0], [(row[2], row[3]) for row in rows], frozenset(key.seen_by), key.id)


async def caller_of(
    tx: Transaction,
    principal: Principal,
    roles: Sequence[tuple[str | None, str | None]],
    seen_by: frozenset[str],
    credential: str,
) -> Caller:
    """Return a principal as a caller, with lent roles and open break-glass access.

    Args:
        tx: the transaction.
        principal: the authenticated principal.
        roles: role and handler of each of its grants in effect.
        seen_by: other principals who have seen the secret of the credential.
        credential: id of the key, linked identity or session.
    """
    kind: Kind = "person" if principal.kind == "person" else "system"
    handlers_by_role = _handlers_by_role(
        [(role, handler) for role, handler in roles if role is None or is_role_possible(role, kind)]
    )
    if kind == "system":
        return Caller(principal.id, principal.name, kind, handlers_by_role, seen_by=seen_by, credential=credential)
    lent = await delegations.find_lent_roles(tx, principal.id)
    caller = Caller(principal.id, principal.name, kind, handlers_by_role, lent, seen_by=seen_by, credential=credential)
    return await break_glass.apply_open_access(tx, caller) if caller.grants.get(Role.ADMIN) else caller


def parse_api_key(authorization: str | None) -> KeyCredential:
    """Return the API key of an `Authorization` header, not looked up yet.

    Raises:
        Unauthenticated: the header is missing or holds no key.
    """
    secret = Secret.in_header(authorization)
    if secret is None:
        raise Unauthenticated("Send an API key or an access token: Authorization: Bearer …")
    return KeyCredential(secret.prefix, secret.sha256)


def _is_valid_key(principal: Principal, key: ApiKey, now: datetime) -> bool:
    return is_valid_credential(
        ended_at=key.revoked_at, expires_at=key.expires_at, disabled_at=principal.disabled_at, now=now
    )


def _handlers_by_role(grants: Sequence[tuple[str | None, str | None]]) -> dict[Role, HandlerScope]:
    handlers_by_role: dict[Role, HandlerScope] = {}
    for role, handler in grants:
        if role is None:
            continue
        handlers: HandlerScope = EVERYWHERE if handler is None else frozenset({handler})
        handlers_by_role[Role(role)] = merge_scopes(handlers_by_role.get(Role(role), NOWHERE), handlers)
    return handlers_by_role


async def create_principal(tx: Transaction, caller: Caller, body: PrincipalIn) -> PrincipalOut:
    """Create a person or a system.

    Raises:
        AlreadyExists: the name is taken, or differs from a taken one only in case, width or spaces.
    """
    _require_admin(caller)
    same = await tx.scalar(select(Principal.name).where(Principal.folded == fold_name(body.name)))
    if same is not None:
        raise AlreadyExists(
            f"There is a principal named {same}; one person is one principal.",
            errors=[("/name", "This name, or one that reads the same, is taken.")],
        )
    principal = Principal(id=new_id("pr"), name=body.name, kind=body.kind, created_at=tx.now, disabled_at=None)
    tx.add(principal)
    details = {"name": body.name, "kind": body.kind}
    _record(tx, caller, AuditAction.PRINCIPAL_CREATED, principal.id, principal.id, details)
    await tx.flush()
    return PrincipalOut.of(principal)


async def list_principals(
    tx: Transaction, caller: Caller, cursor: str | None, limit: int
) -> tuple[Sequence[PrincipalOut], str | None]:
    """Return principals in the order of their creation; for an admin of some handlers, those who have or had roles on them."""
    query = select(Principal)
    handlers = actor_of(caller).admin_of
    if handlers != EVERYWHERE:
        query = query.where(Principal.id.in_(select(Grant.principal).where(Grant.handler.in_(handlers))))
    rows, following = await page_of(tx, query, Principal.id, cursor, limit)
    return [PrincipalOut.of(row) for row in rows], following


async def read_principal(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> PrincipalOut:
    """Return one principal by id or name.

    Raises:
        NotFound: there is none, or none that the caller may see.
    """
    principal = await principal_of(tx, reference, lock=lock)
    handlers = actor_of(caller).admin_of
    if handlers != EVERYWHERE:
        on_mine = select(Grant.id).where(Grant.principal == principal.id, Grant.handler.in_(handlers)).limit(1)
        if await tx.scalar(on_mine) is None:
            raise NotFound("There is no such principal.")
    return PrincipalOut.of(principal)


async def disable_principal(tx: Transaction, caller: Caller, reference: str) -> PrincipalOut:
    """Disable a principal with its keys, sessions and break-glass access, from this commit on.

    Raises:
        Conflict: it is disabled already, or is the last admin.
    """
    _require_admin(caller)
    await close_gate(tx)
    principal = await principal_of(tx, reference, lock=True)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled already.")
    await require_remaining_admin(tx, without=principal.id)
    principal.disabled_at = tx.now
    await break_glass.end_access_of(tx, caller, principal.id)
    await sessions.end_all(tx, caller, "disabled", principal=principal.id)
    _record(tx, caller, AuditAction.PRINCIPAL_DISABLED, principal.id, principal.id, {})
    await tx.flush()
    return PrincipalOut.of(principal)


async def enable_principal(tx: Transaction, caller: Caller, reference: str) -> PrincipalOut:
    """Enable a disabled principal; its roles that require a second admin must be confirmed anew.

    Raises:
        Conflict: it is not disabled.
        Forbidden: it has such roles, and the caller may not request them.
    """
    _require_admin(caller)
    principal = await principal_of(tx, reference, lock=True)
    if principal.disabled_at is None:
        raise Conflict("This principal is not disabled.")
    principal.disabled_at = None
    await renew_requests(tx, caller, principal)
    _record(tx, caller, AuditAction.PRINCIPAL_ENABLED, principal.id, principal.id, {})
    await tx.flush()
    return PrincipalOut.of(principal)


async def create_key(tx: Transaction, caller: Caller, body: ApiKeyIn) -> ApiKeyMade:
    """Create a key; the result holds the secret, the database only its hash.

    Raises:
        Invalid: there is no such principal, or the key would have expired.
        Conflict: the principal is disabled.
    """
    _require_admin(caller)
    principal = await named_principal(tx, body.principal)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it before giving it a key.")
    if body.expires_at is not None and body.expires_at <= tx.now:
        raise Invalid("The key would have ended already.", errors=[("/expires_at", "Choose a time that is to come.")])
    secret = Secret.new()
    key = ApiKey(
        id=new_id("ky"),
        principal=principal.id,
        label=body.label,
        prefix=secret.prefix,
        sha256=secret.sha256,
        created_at=tx.now,
        expires_at=body.expires_at,
        revoked_at=None,
        seen_by=[] if caller is OPERATOR else sorted(caller.persons - {principal.id}),
    )
    tx.add(key)
    details = {"principal": principal.id, "prefix": key.prefix, "expires_at": key.expires_at, "seen_by": key.seen_by}
    _record(tx, caller, AuditAction.API_KEY_CREATED, key.id, principal.id, details)
    await tx.flush()
    return ApiKeyMade(**ApiKeyOut.of(key).model_dump(), secret=secret.text)


async def list_keys(
    tx: Transaction, caller: Caller, principal: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[ApiKeyOut], str | None]:
    """Return keys, of one principal or of all, in the order of their creation."""
    _require_admin(caller)
    query = select(ApiKey)
    if principal is not None:
        query = query.where(ApiKey.principal == (await principal_of(tx, principal)).id)
    rows, following = await page_of(tx, query, ApiKey.id, cursor, limit)
    return [ApiKeyOut.of(row) for row in rows], following


async def read_key(tx: Transaction, caller: Caller, key_id: str, *, lock: bool = False) -> ApiKeyOut:
    """Return one key, without its secret."""
    _require_admin(caller)
    return ApiKeyOut.of(await _key(tx, key_id, lock=lock))


async def revoke_key(tx: Transaction, caller: Caller, key_id: str) -> ApiKeyOut:
    """Revoke a key, from this commit on.

    Raises:
        Conflict: it is revoked already.
    """
    _require_admin(caller)
    await close_gate(tx)
    key = await _key(tx, key_id, lock=True)
    if key.revoked_at is not None:
        raise Conflict("This key is revoked already.")
    key.revoked_at = tx.now
    _record(tx, caller, AuditAction.API_KEY_REVOKED, key.id, key.principal, {"principal": key.principal})
    await tx.flush()
    return ApiKeyOut.of(key)


async def ensure_principal(
    tx: Transaction, name: str, kind: Kind, roles: Sequence[Role], handler: str | None = None
) -> PrincipalOut:
    """Find or create a principal as the operator, and grant it some roles.

    Raises:
        Conflict: the principal is of the other kind.
        Invalid: there is no such handler.
    """
    principal = await tx.scalar(select(Principal).where(Principal.name == name))
    if principal is None:
        created = await create_principal(tx, OPERATOR, PrincipalIn(name=name, kind=kind))
        principal = await principal_of(tx, created.id)
    if principal.kind != kind:
        raise Conflict(f"{name} is known as a {principal.kind}, not as a {kind}.")
    handler_id = None if handler is None else await handler_of(tx, OPERATOR, handler)
    for role in dict.fromkeys(roles):
        await ensure_role(tx, principal, role, handler_id)
    return PrincipalOut.of(principal)


async def issue_key(
    tx: Transaction,
    name: str,
    kind: Kind,
    roles: Sequence[Role],
    handler: str | None = None,
    *,
    expires_at: datetime | None = None,
) -> ApiKeyMade:
    """Find or create a principal as the operator, grant it some roles, and create a key.

    Example:
        A key of an exporting system::

            key = await issue_key(tx, "etl", "system", [Role.EXPORTER], "hd-shanghai")
            print(key.secret)
    """
    principal = await ensure_principal(tx, name, kind, roles, handler)
    return await create_key(tx, OPERATOR, ApiKeyIn(principal=principal.id, expires_at=expires_at))


async def create_first_admin(tx: Transaction) -> ApiKeyMade | None:
    """Create the first admin and return its key; None if the database has principals."""
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": FIRST_ADMIN_LOCK})
    if await tx.scalar(select(func.count()).select_from(Principal)):
        return None
    return await issue_key(tx, "admin", "person", [Role.ADMIN])


def _record(
    tx: Transaction, caller: Caller, action: AuditAction, subject: str, principal: str, details: dict[str, Any]
) -> None:
    """Record a change of a principal or of one of its keys, addressed to that principal."""
    # A principal must learn of a key that somebody else created for it.
    events.record(
        tx,
        caller,
        events.Change(
            action=action, subject=subject, handler=None, details=details, audience=[principal], link="/v1/me"
        ),
    )


def _require_admin(caller: Caller) -> None:
    """Require an admin of all handlers, since a principal can have roles on several handlers."""
    if caller is not OPERATOR:
        caller.require_everywhere(Role.ADMIN)


async def _key(tx: Transaction, key_id: str, *, lock: bool) -> ApiKey:
    key = await tx.get(ApiKey, key_id, with_for_update=lock or None)
    if key is None:
        raise NotFound("There is no such key.")
    return key
