"""Links identities at the identity provider to principals, and synchronises the roles that groups map to.

A subject of an issuer belongs to one principal permanently, so that one person is one principal; a principal may have several subjects.
Roles by group are rows of grants like those of an admin, with `source` group and the id of the linked identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import bindparam, func, or_, select, text

from service.access.caller import OPERATOR, Caller, FederatedCredential, Role
from service.access.lookup import principal_of
from service.access.tables import HANDLERS, TODAY, Grant, LinkedIdentity, Principal
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.identity import operations, sessions
from service.identity.oidc import group_roles
from service.identity.oidc.claims import TokenClaims
from service.identity.oidc.group_roles import GrantChanges, GroupGrant, GroupMapping
from service.identity.schemas import LinkedIdentityIn, LinkedIdentityOut, PrincipalIn
from service.validation.problems import AlreadyExists, Conflict, Invalid, NotFound, Unauthenticated
from service.validation.text_types import Name, fold_name

_NAME_TYPE: TypeAdapter[str] = TypeAdapter(Name)
_NAME_LENGTH = 200


class GateIsOpenError(Exception):
    """A role must be withdrawn, for which the caller must repeat the call with `closing`."""


@dataclass(frozen=True, slots=True)
class RecognizedPrincipal:
    """Principal of a linked identity."""

    linked_identity: str
    principal: str
    is_behind: bool
    """True if the groups of the token are not synchronised yet."""


async def find_principal(
    tx: Transaction, claims: TokenClaims, mappings: Sequence[GroupMapping]
) -> RecognizedPrincipal | None:
    """Return the principal of a subject, None if it is not linked.

    Raises:
        Unauthenticated: the principal is disabled, the link has ended, or a machine is linked to a person.
    """
    row = await _find_linked_identity(tx, claims)
    if row is None:
        return None
    linked, principal = row
    has_newer_groups = claims.groups is not None and (linked.told_at is None or claims.issued_at > linked.told_at)
    is_behind = has_newer_groups or bool(await _plan_changes(tx, linked, principal, claims, mappings))
    return RecognizedPrincipal(linked.id, principal.id, is_behind)


async def provision(tx: Transaction, claims: TokenClaims) -> None:
    """Create a principal for a subject that is not linked; concurrent calls create one.

    Raises:
        Unauthenticated: the claims prove neither a person nor a machine.
    """
    if claims.kind is None:
        raise uncertain_kind()
    await tx.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:subject, 0))"),
        {"subject": f"{claims.issuer} {claims.subject}"},
    )
    if await _find_linked_identity(tx, claims) is not None:
        return
    body = PrincipalIn.model_validate({"name": await _free_name(tx, claims), "kind": claims.kind})
    principal = await operations.create_principal(tx, OPERATOR, body)
    _add(tx, OPERATOR, principal.id, claims.issuer, claims.subject)
    await tx.flush()


async def sync_group_roles(
    tx: Transaction, claims: TokenClaims, mappings: Sequence[GroupMapping], *, closing: bool
) -> None:
    """Grant and withdraw the roles that the groups map to, and store the time of the claims, so that older ones are ignored.

    Args:
        tx: a transaction of its own, before that of the request.
        claims: the claims of a token.
        mappings: the mapping of groups to roles.
        closing: True if the gate is to be closed first, which withdrawing a role requires.

    Raises:
        GateIsOpenError: a role must be withdrawn, and `closing` is False.
    """
    if closing:
        await close_gate(tx)
    row = await _find_linked_identity(tx, claims, lock=True)
    if row is None or claims.groups is None:
        return
    linked, principal = row
    planned = await _plan_changes(tx, linked, principal, claims, mappings)
    if planned.withdrawn and not closing:
        raise GateIsOpenError
    linked.told_at = max(claims.issued_at, linked.told_at or claims.issued_at)
    today = day_in_shanghai(tx.now)
    for role, handler in planned.granted:
        grant = Grant(
            id=new_id("gr"),
            principal=principal.id,
            role=role,
            handler=handler,
            granted_by=OPERATOR.principal,
            askers=[OPERATOR.principal],
            granted_at=tx.now,
            valid_from=today,
            valid_until=group_roles.last_day(today),
            source="group",
            login=linked.id,
            effective_at=tx.now,
        )
        tx.add(grant)
        _record_grant(tx, AuditAction.GRANT_CREATED, grant)
    for grant in await tx.scalars(select(Grant).where(Grant.id.in_([*planned.prolonged, *planned.withdrawn]))):
        if grant.id in planned.withdrawn:
            grant.withdrawn_at = tx.now
            _record_grant(tx, AuditAction.GRANT_WITHDRAWN, grant)
        else:
            grant.valid_until = group_roles.last_day(today)
            details = {"principal": grant.principal, "role": grant.role, "source": "group", "login": linked.id}
            details["valid_until"] = grant.valid_until.isoformat()
            audit.append(tx, OPERATOR, AuditAction.GRANT_PROLONGED, grant.id, handler=grant.handler, details=details)
    await tx.flush()


_PRINCIPAL_WITH_GRANTS: Final = (
    select(Principal, Grant.role, Grant.handler, LinkedIdentity.seen_by)
    .join(LinkedIdentity, LinkedIdentity.principal == Principal.id)
    .outerjoin(Grant, Grant.standing_of_principals(TODAY))
    .where(LinkedIdentity.id == bindparam("login"), LinkedIdentity.ended_at.is_(None), Principal.disabled_at.is_(None))
)


async def authenticate(tx: Transaction, credential: FederatedCredential) -> Caller:
    """Return the caller of a federated credential, with the grants of today.

    Raises:
        Unauthenticated: the principal is disabled, or the link has ended.
    """
    rows = (
        await tx.execute(
            _PRINCIPAL_WITH_GRANTS, {"login": credential.linked_identity, "today": day_in_shanghai(tx.now)}
        )
    ).all()
    if not rows:
        raise _invalid_identity()
    roles = [(row[1], row[2]) for row in rows]
    return await operations.caller_of(tx, rows[0][0], roles, frozenset(rows[0][3]), credential.linked_identity)


async def link(
    tx: Transaction, caller: Caller, reference: str, body: LinkedIdentityIn, issuer: str | None
) -> LinkedIdentityOut:
    """Link a subject of the identity provider to a principal.

    Args:
        tx: the transaction.
        caller: an admin of all handlers.
        reference: id or name of the principal.
        body: the subject, and its issuer if that is not the one of the settings.
        issuer: the issuer of the settings.

    Raises:
        AlreadyExists: the subject is or was linked to another principal.
        Conflict: it is linked already, or the principal is disabled.
        Invalid: neither the body nor the settings name an issuer.
    """
    caller.require_everywhere(Role.ADMIN)
    provider = body.issuer or issuer
    if provider is None:
        raise Invalid(
            "No identity provider is set.", errors=[("/issuer", "Name the issuer, or set OUTBOUND_OIDC_ISSUER.")]
        )
    principal = await principal_of(tx, reference, lock=True)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it before linking a login to it.")
    linked = await tx.scalar(
        select(LinkedIdentity)
        .where(LinkedIdentity.issuer == provider, LinkedIdentity.subject == body.subject)
        .with_for_update()
    )
    if linked is None:
        linked = _add(tx, caller, principal.id, provider, body.subject)
    elif linked.principal != principal.id:
        pointer = ("/subject", "This subject belongs to another principal, permanently.")
        raise AlreadyExists("One person is one principal.", errors=[pointer])
    elif linked.ended_at is None:
        raise Conflict("This login is linked already.")
    else:
        linked.ended_at = None
        linked.seen_by = sorted({*linked.seen_by, *caller.persons} - {principal.id})
        _record(tx, caller, AuditAction.LOGIN_LINKED, linked)
    await tx.flush()
    return LinkedIdentityOut.of(linked)


async def list_linked_identities(
    tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int
) -> tuple[Sequence[LinkedIdentityOut], str | None]:
    """Return the linked identities of a principal, ended ones included."""
    caller.require_everywhere(Role.ADMIN)
    principal = await principal_of(tx, reference)
    rows, following = await page_of(
        tx, select(LinkedIdentity).where(LinkedIdentity.principal == principal.id), LinkedIdentity.id, cursor, limit
    )
    return [LinkedIdentityOut.of(row) for row in rows], following


async def read_linked_identity(
    tx: Transaction, caller: Caller, reference: str, linked_identity_id: str, *, lock: bool = False
) -> LinkedIdentityOut:
    """Return a linked identity of a principal."""
    caller.require_everywhere(Role.ADMIN)
    return LinkedIdentityOut.of(await _linked_identity_of(tx, reference, linked_identity_id, lock=lock))


async def end(tx: Transaction, caller: Caller, reference: str, linked_identity_id: str) -> LinkedIdentityOut:
    """End a linked identity, its sessions and the roles of its groups, from this commit on.

    Raises:
        Conflict: it has ended already.
    """
    caller.require_everywhere(Role.ADMIN)
    await close_gate(tx)
    linked = await _linked_identity_of(tx, reference, linked_identity_id, lock=True)
    if linked.ended_at is not None:
        raise Conflict("This login has ended already.")
    linked.ended_at = tx.now
    await sessions.end_all(tx, caller, "unlinked", principal=linked.principal, linked_identity=linked.id)
    for grant in await tx.scalars(select(Grant).where(Grant.login == linked.id, Grant.withdrawn_at.is_(None))):
        grant.withdrawn_at = tx.now
        _record_grant(tx, AuditAction.GRANT_WITHDRAWN, grant, caller)
    _record(tx, caller, AuditAction.LOGIN_ENDED, linked)
    await tx.flush()
    return LinkedIdentityOut.of(linked)


async def record_refusal(tx: Transaction, claims: TokenClaims) -> None:
    """Record the refusal of a linked subject; unknown subjects are not recorded."""
    query = (
        select(LinkedIdentity.ended_at, Principal.id, Principal.disabled_at)
        .join(Principal, Principal.id == LinkedIdentity.principal)
        .where(LinkedIdentity.issuer == claims.issuer, LinkedIdentity.subject == claims.subject)
    )
    row = (await tx.execute(query)).one_or_none()
    if row is not None:
        sessions.record_refusal(tx, row.id, "disabled" if row.disabled_at is not None else "unlinked")


def unlinked_subject() -> Unauthenticated:
    """Return the problem of a subject that is not linked."""
    detail = "The identity provider knows you, this service does not: ask an admin to link your login to a principal."
    return Unauthenticated(detail, error="invalid_token")


def uncertain_kind() -> Unauthenticated:
    """Return the problem of a subject that is not linked and whose claims prove neither a person nor a machine."""
    detail = (
        "The identity provider knows you, this service does not, and this token does not prove that you are a person: sign in with a "
        "browser first, or ask an admin to link your login to a principal."
    )
    return Unauthenticated(detail, error="invalid_token")


def _invalid_identity() -> Unauthenticated:
    return Unauthenticated("This login is not known, or is no longer valid.", error="invalid_token")


async def _find_linked_identity(
    tx: Transaction, claims: TokenClaims, *, lock: bool = False
) -> tuple[LinkedIdentity, Principal] | None:
    query = (
        select(LinkedIdentity, Principal)
        .join(Principal, Principal.id == LinkedIdentity.principal)
        .where(LinkedIdentity.issuer == claims.issuer, LinkedIdentity.subject == claims.subject)
    )
    row = (await tx.execute(query.with_for_update(of=LinkedIdentity) if lock else query)).one_or_none()
    if row is None:
        return None
    linked: LinkedIdentity = row[0]
    principal: Principal = row[1]
    # A client that acts on its own account is a machine, even if an admin has linked it to a person.
    is_active = linked.ended_at is None and principal.disabled_at is None
    if not is_active or (claims.is_system and principal.kind == "person"):
        raise _invalid_identity()
    return linked, principal


async def _plan_changes(
    tx: Transaction, linked: LinkedIdentity, principal: Principal, claims: TokenClaims, mappings: Sequence[GroupMapping]
) -> GrantChanges:
    if claims.groups is None:
        return GrantChanges((), (), ())
    mapped = await _resolve_handlers(tx, mappings)
    roles = group_roles.roles_for(claims.groups, mapped, kind=principal.kind)
    query = select(Grant).where(Grant.login == linked.id, Grant.withdrawn_at.is_(None)).order_by(Grant.id)
    grants = [
        GroupGrant(row.id, row.role, row.handler, row.valid_until or row.valid_from) for row in await tx.scalars(query)
    ]
    today = day_in_shanghai(tx.now)
    return group_roles.plan_changes(roles, grants, today, issued_at=claims.issued_at, last_issued_at=linked.told_at)


async def _resolve_handlers(tx: Transaction, mappings: Sequence[GroupMapping]) -> Sequence[GroupMapping]:
    """Return the mapping with the ids of its handlers; entries of unknown handlers are dropped."""
    named = {mapping.handler for mapping in mappings if mapping.handler is not None}
    if not named:
        return mappings
    query = select(HANDLERS.c.id, HANDLERS.c.key).where(or_(HANDLERS.c.id.in_(named), HANDLERS.c.key.in_(named)))
    ids = {reference: str(row.id) for row in await tx.execute(query) for reference in (row.id, row.key)}
    return [
        GroupMapping(mapping.group, mapping.role, None if mapping.handler is None else ids[mapping.handler])
        for mapping in mappings
        if mapping.handler is None or mapping.handler in ids
    ]


async def _free_name(tx: Transaction, claims: TokenClaims) -> str:
    """Return the name in the claims; if it is invalid the subject, and if it is taken the name with the subject."""
    try:
        name = _NAME_TYPE.validate_python(claims.name)
    except ValidationError:
        name = claims.subject[:_NAME_LENGTH]
    if await tx.scalar(select(func.count()).select_from(Principal).where(Principal.folded == fold_name(name))):
        return f"{name[:60]} ({claims.subject[: _NAME_LENGTH - 63]})"
    return name


def _add(tx: Transaction, caller: Caller, principal: str, issuer: str, subject: str) -> LinkedIdentity:
    linked = LinkedIdentity(
        id=new_id("lg"),
        principal=principal,
        issuer=issuer,
        subject=subject,
        made_by=caller.principal,
        made_at=tx.now,
        seen_by=[] if caller is OPERATOR else sorted(caller.persons - {principal}),
        told_at=None,
        ended_at=None,
    )
    tx.add(linked)
    _record(tx, caller, AuditAction.LOGIN_LINKED, linked)
    return linked


async def _linked_identity_of(
    tx: Transaction, reference: str, linked_identity_id: str, *, lock: bool
) -> LinkedIdentity:
    principal = await principal_of(tx, reference)
    linked = await tx.get(LinkedIdentity, linked_identity_id, with_for_update=lock or None)
    if linked is None or linked.principal != principal.id:
        raise NotFound("This principal has no such login.")
    return linked


def _record(tx: Transaction, caller: Caller, action: AuditAction, linked: LinkedIdentity) -> None:
    details = {
        "principal": linked.principal,
        "issuer": linked.issuer,
        "subject": linked.subject,
        "seen_by": linked.seen_by,
    }
    audience = [linked.principal]
    events.record(
        tx,
        caller,
        events.Change(
            action=action, subject=linked.id, handler=None, details=details, audience=audience, link="/v1/me"
        ),
    )


def _record_grant(tx: Transaction, action: AuditAction, grant: Grant, caller: Caller = OPERATOR) -> None:
    details = {"principal": grant.principal, "role": grant.role, "source": "group", "login": grant.login}
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=grant.id,
            handler=grant.handler,
            details=details,
            audience=[grant.principal],
            figures={"role": grant.role, "handler": grant.handler},
            link="/v1/me",
        ),
    )
