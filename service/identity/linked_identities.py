"""Logins: who at the identity provider is which principal here, and the roles that its groups stand for.

A subject of an issuer belongs to one principal for good, so that one person never becomes two; a principal may have several. Roles that
were given for a group are rows like those that an admin gave, with `source` group and the login for whose groups they were given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import bindparam, func, or_, select, text

from service.access.caller import OPERATOR, Caller, FederatedCredential, Role
from service.access.lookup import principal_of
from service.access.tables import HANDLERS, TODAY, Grant, Login, Principal
from service.audit import operations as audit
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.identity import operations, sessions
from service.identity.oidc import group_roles
from service.identity.oidc.claims import TokenClaims
from service.identity.oidc.group_roles import Changes, Held, Stands
from service.identity.schemas import LoginIn, LoginOut, PrincipalIn
from service.validation.problems import AlreadyExists, Conflict, Invalid, NotFound, Unauthenticated
from service.validation.text_types import Name, fold_name

_NAMES: TypeAdapter[str] = TypeAdapter(Name)
_NAME_LENGTH = 200


class GateIsOpenError(Exception):
    """A role must be withdrawn, and the gate was not closed before anything was read: the same again, closed."""


@dataclass(frozen=True, slots=True)
class Known:
    """A login, and whose it is."""

    login: str
    principal: str
    is_behind: bool
    """Whether what was told of its groups has not been taken note of yet."""


async def find_principal(tx: Transaction, told: TokenClaims, stands: Sequence[Stands]) -> Known | None:
    """Return which principal a subject is; None: nobody has linked it.

    Raises:
        Unauthenticated: the principal is disabled, the login has ended, or a system asks to be a person.
    """
    found = await _find_login(tx, told)
    if found is None:
        return None
    login, principal = found
    is_news = told.groups is not None and (login.told_at is None or told.issued_at > login.told_at)
    return Known(login.id, principal.id, is_news or bool(await _changes(tx, login, principal, told, stands)))


async def provision(tx: Transaction, told: TokenClaims) -> None:
    """Make a principal for a subject that nobody has linked; two tokens at once make one.

    Raises:
        Unauthenticated: it is not certain whether it is a person or a machine.
    """
    if told.kind is None:
        raise uncertain()
    await tx.execute(
        text("select pg_advisory_xact_lock(hashtextextended(:subject, 0))"),
        {"subject": f"{told.issuer} {told.subject}"},
    )
    if await _find_login(tx, told) is not None:
        return
    wanted = PrincipalIn.model_validate({"name": await _free_name(tx, told), "kind": told.kind})
    made = await operations.create_principal(tx, OPERATOR, wanted)
    _add(tx, OPERATOR, made.id, told.issuer, told.subject)
    await tx.flush()


async def sync_group_roles(tx: Transaction, told: TokenClaims, stands: Sequence[Stands], *, closing: bool) -> None:
    """Give and take the roles that the groups stand for, and remember when that was told, so that nothing older is heard after it.

    Args:
        tx: a transaction of its own, before that of the request.
        told: what a token told.
        stands: which group stands for which role.
        closing: whether the gate is to be closed first, which taking a role needs.

    Raises:
        GateIsOpenError: a role must be taken, and `closing` was not asked for.
    """
    if closing:
        await close_gate(tx)
    found = await _find_login(tx, told, lock=True)
    if found is None or told.groups is None:
        return
    login, principal = found
    planned = await _changes(tx, login, principal, told, stands)
    if planned.withdrawn and not closing:
        raise GateIsOpenError
    login.told_at = max(told.issued_at, login.told_at or told.issued_at)
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
            valid_until=group_roles.until_day(today),
            source="group",
            login=login.id,
            effective_at=tx.now,
        )
        tx.add(grant)
        _record_grant(tx, "grant.created", grant)
    for grant in await tx.scalars(select(Grant).where(Grant.id.in_([*planned.prolonged, *planned.withdrawn]))):
        if grant.id in planned.withdrawn:
            grant.withdrawn_at = tx.now
            _record_grant(tx, "grant.withdrawn", grant)
        else:
            grant.valid_until = group_roles.until_day(today)
            details = {"principal": grant.principal, "role": grant.role, "source": "group", "login": login.id}
            details["valid_until"] = grant.valid_until.isoformat()
            audit.append(tx, OPERATOR, "grant.prolonged", grant.id, handler=grant.handler, details=details)
    await tx.flush()


_VOUCHED: Final = (
    select(Principal, Grant.role, Grant.handler, Login.seen_by)
    .join(Login, Login.principal == Principal.id)
    .outerjoin(Grant, Grant.standing_of_principals(TODAY))
    .where(Login.id == bindparam("login"), Login.ended_at.is_(None), Principal.disabled_at.is_(None))
)


async def authenticate(tx: Transaction, vouched: FederatedCredential) -> Caller:
    """Return the principal that was vouched for, with the grants that stand now.

    Raises:
        Unauthenticated: it is disabled, or the login has ended.
    """
    rows = (await tx.execute(_VOUCHED, {"login": vouched.login, "today": day_in_shanghai(tx.now)})).all()
    if not rows:
        raise _refused()
    roles = [(row[1], row[2]) for row in rows]
    return await operations.caller_of(tx, rows[0][0], roles, frozenset(rows[0][3]), vouched.login)


async def link(tx: Transaction, caller: Caller, reference: str, wanted: LoginIn, issuer: str | None) -> LoginOut:
    """Say which principal a subject of the identity provider is.

    Args:
        tx: the transaction.
        caller: an admin of all handlers.
        reference: id or name of the principal.
        wanted: the subject and, where it is not the one in the settings, the issuer.
        issuer: the one in the settings.

    Raises:
        AlreadyExists: the subject is another principal's, or was: one person is one principal.
        Conflict: it is linked already, or the principal is disabled.
        Invalid: no issuer.
    """
    caller.require_everywhere(Role.ADMIN)
    named = wanted.issuer or issuer
    if named is None:
        raise Invalid(
            "No identity provider is set.", errors=[("/issuer", "Name the issuer, or set OUTBOUND_OIDC_ISSUER.")]
        )
    principal = await principal_of(tx, reference, lock=True)
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it before linking a login to it.")
    login = await tx.scalar(
        select(Login).where(Login.issuer == named, Login.subject == wanted.subject).with_for_update()
    )
    if login is None:
        login = _add(tx, caller, principal.id, named, wanted.subject)
    elif login.principal != principal.id:
        pointer = ("/subject", "This subject is another principal, and stays it.")
        raise AlreadyExists("One person is one principal.", errors=[pointer])
    elif login.ended_at is None:
        raise Conflict("This login is linked already.")
    else:
        login.ended_at = None
        login.seen_by = sorted({*login.seen_by, *caller.persons} - {principal.id})
        _record(tx, caller, "login.linked", login)
    await tx.flush()
    return LoginOut.of(login)


async def list_logins(
    tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int
) -> tuple[Sequence[LoginOut], str | None]:
    """Return the logins of a principal, ended ones included."""
    caller.require_everywhere(Role.ADMIN)
    principal = await principal_of(tx, reference)
    rows, following = await page_of(tx, select(Login).where(Login.principal == principal.id), Login.id, cursor, limit)
    return [LoginOut.of(row) for row in rows], following


async def read_login(tx: Transaction, caller: Caller, reference: str, login_id: str, *, lock: bool = False) -> LoginOut:
    """Return a login of a principal."""
    caller.require_everywhere(Role.ADMIN)
    return LoginOut.of(await _of(tx, reference, login_id, lock=lock))


async def end(tx: Transaction, caller: Caller, reference: str, login_id: str) -> LoginOut:
    """End a login with the roles that were given for its groups, from this commit on.

    Raises:
        Conflict: it has ended already.
    """
    caller.require_everywhere(Role.ADMIN)
    await close_gate(tx)
    login = await _of(tx, reference, login_id, lock=True)
    if login.ended_at is not None:
        raise Conflict("This login has ended already.")
    login.ended_at = tx.now
    await sessions.end_all(tx, caller, "unlinked", principal=login.principal, login=login.id)
    for grant in await tx.scalars(select(Grant).where(Grant.login == login.id, Grant.withdrawn_at.is_(None))):
        grant.withdrawn_at = tx.now
        _record_grant(tx, "grant.withdrawn", grant, caller)
    _record(tx, caller, "login.ended", login)
    await tx.flush()
    return LoginOut.of(login)


async def note_refusal(tx: Transaction, told: TokenClaims) -> None:
    """Record that somebody known was not let in; of strangers nothing is kept."""
    query = (
        select(Login.ended_at, Principal.id, Principal.disabled_at)
        .join(Principal, Principal.id == Login.principal)
        .where(Login.issuer == told.issuer, Login.subject == told.subject)
    )
    row = (await tx.execute(query)).one_or_none()
    if row is not None:
        sessions.refuse(tx, row.id, "disabled" if row.disabled_at is not None else "unlinked")


def unknown() -> Unauthenticated:
    """Return the refusal of somebody whom the provider knows and this service does not."""
    detail = "The identity provider knows you, this service does not: ask an admin to link your login to a principal."
    return Unauthenticated(detail, error="invalid_token")


def uncertain() -> Unauthenticated:
    """Return the refusal of somebody of whom it is not certain that they are a person, nor that it is a machine."""
    detail = (
        "The identity provider knows you, this service does not, and this token does not say whether it is a person's: sign in with a "
        "browser first, or ask an admin to link your login to a principal."
    )
    return Unauthenticated(detail, error="invalid_token")


def _refused() -> Unauthenticated:
    return Unauthenticated("This login is not known, or no longer stands.", error="invalid_token")


async def _find_login(tx: Transaction, told: TokenClaims, *, lock: bool = False) -> tuple[Login, Principal] | None:
    query = (
        select(Login, Principal)
        .join(Principal, Principal.id == Login.principal)
        .where(Login.issuer == told.issuer, Login.subject == told.subject)
    )
    row = (await tx.execute(query.with_for_update(of=Login) if lock else query)).one_or_none()
    if row is None:
        return None
    login: Login = row[0]
    principal: Principal = row[1]
    # A client that acts on its own account is a machine, whoever it was linked to: it never passes for a person.
    stands = login.ended_at is None and principal.disabled_at is None
    if not stands or (told.is_system and principal.kind == "person"):
        raise _refused()
    return login, principal


async def _changes(
    tx: Transaction, login: Login, principal: Principal, told: TokenClaims, stands: Sequence[Stands]
) -> Changes:
    if told.groups is None:
        return Changes((), (), ())
    mapped = await _with_ids(tx, stands)
    wanted = group_roles.roles_for(told.groups, mapped, kind=principal.kind)
    query = select(Grant).where(Grant.login == login.id, Grant.withdrawn_at.is_(None)).order_by(Grant.id)
    held = [Held(row.id, row.role, row.handler, row.valid_until or row.valid_from) for row in await tx.scalars(query)]
    today = day_in_shanghai(tx.now)
    return group_roles.changes(wanted, held, today, told_at=told.issued_at, last_told_at=login.told_at)


async def _with_ids(tx: Transaction, stands: Sequence[Stands]) -> Sequence[Stands]:
    """Return the mapping with the ids of its handlers; what names one that is not known stands for nothing."""
    named = {one.handler for one in stands if one.handler is not None}
    if not named:
        return stands
    query = select(HANDLERS.c.id, HANDLERS.c.key).where(or_(HANDLERS.c.id.in_(named), HANDLERS.c.key.in_(named)))
    ids = {reference: str(row.id) for row in await tx.execute(query) for reference in (row.id, row.key)}
    return [
        Stands(one.group, one.role, None if one.handler is None else ids[one.handler])
        for one in stands
        if one.handler is None or one.handler in ids
    ]


async def _free_name(tx: Transaction, told: TokenClaims) -> str:
    """Return the name that the provider tells, if it can be one and nobody has it; else the same with the subject."""
    try:
        name = _NAMES.validate_python(told.name)
    except ValidationError:
        name = told.subject[:_NAME_LENGTH]
    if await tx.scalar(select(func.count()).select_from(Principal).where(Principal.folded == fold_name(name))):
        return f"{name[:60]} ({told.subject[: _NAME_LENGTH - 63]})"
    return name


def _add(tx: Transaction, caller: Caller, principal: str, issuer: str, subject: str) -> Login:
    login = Login(
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
    tx.add(login)
    _record(tx, caller, "login.linked", login)
    return login


async def _of(tx: Transaction, reference: str, login_id: str, *, lock: bool) -> Login:
    principal = await principal_of(tx, reference)
    login = await tx.get(Login, login_id, with_for_update=lock or None)
    if login is None or login.principal != principal.id:
        raise NotFound("This principal has no such login.")
    return login


def _record(tx: Transaction, caller: Caller, action: str, login: Login) -> None:
    details = {
        "principal": login.principal,
        "issuer": login.issuer,
        "subject": login.subject,
        "seen_by": login.seen_by,
    }
    audience = [login.principal]
    events.record(tx, caller, action, login.id, handler=None, details=details, audience=audience, href="/v1/me")


def _record_grant(tx: Transaction, action: str, grant: Grant, caller: Caller = OPERATOR) -> None:
    details = {"principal": grant.principal, "role": grant.role, "source": "group", "login": grant.login}
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
