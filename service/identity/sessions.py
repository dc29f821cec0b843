"""Operations on browser sessions: begin by sign-in or one-time link, authenticate by cookie, rotate, end.

Of a token only the SHA-256 is kept. What it shows is looked at in a transaction of its own before the request's, which also notes the use
and replaces the token now and then; the transaction that does the work finds out once more whether the session still stands.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select, update

from service.access.caller import OPERATOR, SYSTEM_ACTOR, Caller, SessionCredential
from service.access.lookup import principal_of
from service.access.tables import NOW, TODAY, Grant, LinkedIdentity, LoginLink, Principal, Session, SessionToken
from service.audit import operations as audit
from service.audit import recording
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction
from service.events import operations as events
from service.identity import session_rules
from service.identity.schemas import SessionOut
from service.identity.session_rules import Limits, SessionState, Verdict
from service.validation.problems import Conflict, Invalid, NotFound, Unauthenticated

_BITS: Final = 32
"""Bytes of a token."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A session that stands, and the token that takes the place of the one that was shown."""

    session: str
    csrf: bytes
    token: str | None


def hashed(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


async def begin(
    tx: Transaction, principal: Principal, login: str | None, by: str, limits: Limits, *, instead_of: str | None
) -> str:
    """Begin a session with a token that nobody has seen, and return the token.

    Args:
        tx: the transaction.
        principal: an enabled person.
        login: under which the provider knows them; None: they came by a link.
        by: how they came, in a word.
        limits: how long it lasts.
        instead_of: the token that the browser had before, whose session ends.
    """
    actor = Caller(principal.id, principal.name, "person")
    if instead_of is not None:
        await _end_by_token(tx, actor, instead_of)
    session = Session(
        id=new_id("ss"),
        principal=principal.id,
        login=login,
        csrf=secrets.token_bytes(_BITS),
        begun_at=tx.now,
        seen_at=tx.now,
        ends_at=tx.now + limits.whole,
    )
    tx.add(session)
    await tx.flush()
    token = _new_token(tx, session.id)
    _record(tx, actor, AuditAction.SESSION_BEGUN, session, {"by": by})
    await tx.flush()
    return token


async def visit(tx: Transaction, token: str, limits: Limits) -> Visit | None:
    """Note that a token was shown, and return its session; None where there is none, or it is over: then that is on record."""
    found = await _seat(tx, token, lock=False)
    if found is None:
        return None
    now = await _present(tx)
    if session_rules.verdict(found[2], now, limits) is Verdict.STANDS and not session_rules.is_worth_a_note(
        found[2], now, limits
    ):
        return Visit(found[0].id, found[0].csrf, None)
    found = await _seat(tx, token, lock=True)
    if found is None:
        return None
    session, shown, seat = found
    told = session_rules.verdict(seat, now, limits)
    if session_rules.ends(told):
        _end(tx, SYSTEM_ACTOR, session, str(told))
    if told is not Verdict.STANDS:
        return None
    if shown.used_at is None:
        shown.used_at = now
        earlier = and_(SessionToken.session == session.id, SessionToken.sha256 != shown.sha256)
        await tx.execute(
            update(SessionToken)
            .where(earlier, SessionToken.replaced_at.is_(None))
            .values(replaced_at=now)
            .execution_options(**recording.STATED)  # it moves with use, and is not compared
        )
    session.seen_at = max(session.seen_at, now)
    return Visit(
        session.id, session.csrf, _new_token(tx, session.id) if session_rules.is_due(seat, now, limits) else None
    )


_SEATED: Final = (
    select(Principal, Grant.role, Grant.handler, LinkedIdentity.seen_by)
    .join(Session, Session.principal == Principal.id)
    .outerjoin(LinkedIdentity, LinkedIdentity.id == Session.login)
    .outerjoin(Grant, Grant.standing_of_principals(TODAY))
    .where(
        Session.id == bindparam("session"),
        Session.ended_at.is_(None),
        Session.ends_at > NOW,
        Session.ends_at > func.now(),
        or_(Session.login.is_(None), LinkedIdentity.ended_at.is_(None)),
        Principal.disabled_at.is_(None),
        Principal.kind == "person",
    )
)


async def admit(
    tx: Transaction, seated: SessionCredential
) -> tuple[Principal, Sequence[tuple[str | None, str | None]], frozenset[str], str]:
    """Return who holds a session, their roles, who else could (whoever linked the login), and the session's id.

    Raises:
        Unauthenticated: the session has ended, or with it the login or the principal.
    """
    shown = {"session": seated.session, "now": tx.now, "today": day_in_shanghai(tx.now)}
    rows = (await tx.execute(_SEATED, shown)).all()
    if not rows:
        raise over()
    return rows[0][0], [(row[1], row[2]) for row in rows], frozenset(rows[0][3] or ()), seated.session


async def read(tx: Transaction, seated: object, limits: Limits) -> SessionOut:
    """Return the session by which the caller came.

    Raises:
        NotFound: by a key or a token.
    """
    session = await _own(tx, seated)
    idle_at = min(session.ends_at, session.seen_at + limits.idle)
    return SessionOut(
        id=session.id,
        csrf_token=session.csrf.hex(),
        begun_at=session.begun_at,
        ends_at=session.ends_at,
        idle_at=idle_at,
        ended_at=session.ended_at,
    )


async def end(tx: Transaction, caller: Caller, seated: object, limits: Limits) -> SessionOut:
    """Sign out."""
    session = await _own(tx, seated)
    _end(tx, caller, session, "logout")
    await tx.flush()
    return await read(tx, seated, limits)


async def sign_out(tx: Transaction, visit: Visit) -> None:
    """End the session of a visit in the same transaction."""
    session = await tx.get_one(Session, visit.session, with_for_update=True)
    principal = await principal_of(tx, session.principal)
    _end(tx, Caller(principal.id, principal.name, "person"), session, "logout")
    await tx.flush()


async def end_all(tx: Transaction, caller: Caller, how: str, *, principal: str, login: str | None = None) -> int:
    """End the sessions of a principal, or those under one of its logins, and return how many."""
    query = select(Session).where(Session.principal == principal, Session.ended_at.is_(None)).with_for_update()
    if login is not None:
        query = query.where(Session.login == login)
    rows = (await tx.scalars(query.order_by(Session.id))).all()
    for session in rows:
        _end(tx, caller, session, how)
    return len(rows)


async def make_link(tx: Transaction, reference: str, minutes: int) -> str:
    """Return the token of a link by which a person signs in once; made with the database's own credentials, and recorded as such.

    Raises:
        NotFound: no such principal.
        Invalid: a system.
        Conflict: it is disabled.
    """
    principal = await principal_of(tx, reference)
    if principal.kind != "person":
        raise Invalid("A system does not sign in; give it a key.", errors=[("/principal", "This is a system.")])
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it first.")
    token = secrets.token_urlsafe(_BITS)
    expires_at = tx.now + timedelta(minutes=minutes)
    tx.add(LoginLink(sha256=hashed(token), principal=principal.id, made_at=tx.now, expires_at=expires_at))
    details = {"principal": principal.id, "expires_at": expires_at}
    events.record(
        tx,
        OPERATOR,
        events.Change(
            action=AuditAction.LOGIN_LINK_MADE,
            subject=principal.id,
            handler=None,
            details=details,
            audience=[principal.id],
            link="/v1/me",
        ),
    )
    await tx.flush()
    return token


async def use_link(tx: Transaction, token: str, limits: Limits, *, instead_of: str | None) -> str | None:
    """Begin a session for a link, which is used up with it, and return its token; None: used, expired, or never made.

    Of several that use it at once, one finds it unused.
    """
    used = (
        update(LoginLink)
        .where(
            LoginLink.sha256 == hashed(token),
            LoginLink.used_at.is_(None),
            LoginLink.made_at <= tx.now + session_rules.SKEW,
            LoginLink.expires_at > tx.now,
            LoginLink.expires_at > func.now(),
        )
        .values(used_at=tx.now)
        .returning(LoginLink.principal)
        .execution_options(**recording.STATED)
    )
    ident = await tx.scalar(used)
    if ident is None:
        return None
    recording.wrote(tx, LoginLink.__table__, [{"sha256": hashed(token), "used_at": tx.now}], made=False)
    principal = await principal_of(tx, ident)
    if principal.disabled_at is not None:
        refuse(tx, principal.id, "disabled")
        return None
    return await begin(tx, principal, None, "link", limits, instead_of=instead_of)


def refuse(tx: Transaction, principal: str, why: str) -> None:
    """Record that somebody known tried to sign in and was not let in."""
    audit.append(tx, SYSTEM_ACTOR, AuditAction.LOGIN_REFUSED, principal, details={"principal": principal, "why": why})


def over() -> Unauthenticated:
    """Return the refusal of whoever shows a session that is no more."""
    return Unauthenticated("This session is over. Sign in again.", error="invalid_token")


async def _end_by_token(tx: Transaction, caller: Caller, token: str) -> None:
    found = await _seat(tx, token, lock=True)
    if found is not None and found[0].ended_at is None:
        _end(tx, caller, found[0], "login")


async def _own(tx: Transaction, seated: object) -> Session:
    found = (
        await tx.get(Session, seated.session, with_for_update=True) if isinstance(seated, SessionCredential) else None
    )
    if found is None:
        raise NotFound("You did not come by a session, but by a key or a token.")
    return found


async def _seat(tx: Transaction, token: str, *, lock: bool) -> tuple[Session, SessionToken, SessionState] | None:
    query = (
        select(Session, SessionToken)
        .join(SessionToken, SessionToken.session == Session.id)
        .where(SessionToken.sha256 == hashed(token))
        .execution_options(populate_existing=True)
    )
    row = (await tx.execute(query.with_for_update(of=Session) if lock else query)).one_or_none()
    if row is None:
        return None
    if lock:  # what the other tokens are is sure only now that nobody else can change it
        await tx.refresh(row[1])
    session, shown = row[0], row[1]
    waiting = select(func.max(SessionToken.made_at)).where(
        SessionToken.session == session.id, SessionToken.used_at.is_(None), SessionToken.sha256 != shown.sha256
    )
    return (
        session,
        shown,
        SessionState(
            seen_at=session.seen_at,
            ends_at=session.ends_at,
            ended_at=session.ended_at,
            token_made_at=shown.made_at,
            token_used_at=shown.used_at,
            token_replaced_at=shown.replaced_at,
            successor_made_at=await tx.scalar(waiting),
        ),
    )


async def _present(tx: Transaction) -> datetime:
    """Return the later of the service's time and the database's."""
    there: datetime = (await tx.execute(select(func.now()))).scalar_one()
    return max(tx.now, there)


def _new_token(tx: Transaction, session: str) -> str:
    token = secrets.token_urlsafe(_BITS)
    tx.add(SessionToken(sha256=hashed(token), session=session, made_at=tx.now))
    return token


def _end(tx: Transaction, caller: Caller, session: Session, how: str) -> None:
    session.ended_at, session.how = tx.now, how
    _record(tx, caller, AuditAction.SESSION_ENDED, session, {"how": how})


def _record(tx: Transaction, caller: Caller, action: AuditAction, session: Session, details: dict[str, Any]) -> None:
    told = {"principal": session.principal} | details
    audience = [session.principal]
    events.record(
        tx,
        caller,
        events.Change(
            action=action, subject=session.id, handler=None, details=told, audience=audience, link="/v1/session"
        ),
    )
