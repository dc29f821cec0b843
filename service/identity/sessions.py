"""Operations on browser sessions: begin by sign-in or one-time link, authenticate by cookie, rotate, end.

The database holds the SHA-256 of each token, never the token. A request with a session cookie takes two transactions: `resume` stores the
use and rotates the token, then the request's own transaction authenticates the session by its id.
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
from service.access.tables import NOW, TODAY, Grant, LinkedIdentity, Principal, Session, SessionToken, SignInLink
from service.audit import operations as audit
from service.audit import recording
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction
from service.events import operations as events
from service.identity import session_rules
from service.identity.schemas import SessionOut
from service.identity.session_rules import SessionLimits, SessionState, TokenVerdict
from service.validation.problems import Conflict, Invalid, NotFound, Unauthenticated

_TOKEN_BYTES: Final = 32
"""Random bytes of a token."""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """A valid session of a request."""

    id: str
    csrf: bytes
    new_token: str | None
    """Successor of the presented token, to be sent to the browser; None if no rotation is due."""


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of a token, by which it is stored and found."""
    return hashlib.sha256(token.encode()).digest()


async def begin(
    tx: Transaction,
    principal: Principal,
    linked_identity: str | None,
    by: str,
    limits: SessionLimits,
    *,
    previous_token: str | None,
) -> str:
    """Create a session and return its token.

    Args:
        tx: the transaction.
        principal: an enabled person.
        linked_identity: id of the linked identity; None after a sign-in by link.
        by: way of the sign-in, `provider` or `link`, for the record.
        limits: time-outs of the session.
        previous_token: the token that the browser sent with the sign-in; its session ends.

    Example:
        A session of a person who came by a one-time link::

            token = await sessions.begin(tx, principal, None, "link", limits, previous_token=cookies.token_of(request))
            cookies.set_token(request, token)
    """
    actor = Caller(principal.id, principal.name, "person")
    # The token is always a new one: a token that an attacker planted in the browser must not become valid (session fixation).
    if previous_token is not None:
        await _end_by_token(tx, actor, previous_token)
    session = Session(
        id=new_id("ss"),
        principal=principal.id,
        login=linked_identity,
        csrf=secrets.token_bytes(_TOKEN_BYTES),
        begun_at=tx.now,
        seen_at=tx.now,
        ends_at=tx.now + limits.absolute,
    )
    tx.add(session)
    await tx.flush()
    token = _new_token(tx, session.id)
    _record(tx, actor, AuditAction.SESSION_BEGUN, session, {"by": by})
    await tx.flush()
    return token


async def resume(tx: Transaction, token: str, limits: SessionLimits) -> ActiveSession | None:
    """Return the session of a presented token, store the use and rotate the token if that is due.

    Returns:
        None if there is no such token, or its session is over. A session that ends by this use is recorded as ended.
    """
    row = await _find_token(tx, token, lock=False)
    if row is None:
        return None
    session, presented, state = row
    now = await _later_clock(tx)
    is_valid = session_rules.judge_token(state, now, limits) is TokenVerdict.VALID
    if is_valid and not session_rules.must_store_use(state, now, limits):
        return ActiveSession(session.id, session.csrf, None)
    row = await _find_token(tx, token, lock=True)
    if row is None:
        return None
    session, presented, state = row
    verdict = session_rules.judge_token(state, now, limits)
    if session_rules.ends_session(verdict):
        _end(tx, SYSTEM_ACTOR, session, str(verdict))
    if verdict is not TokenVerdict.VALID:
        return None
    if presented.used_at is None:
        presented.used_at = now
        earlier = and_(SessionToken.session == session.id, SessionToken.sha256 != presented.sha256)
        await tx.execute(
            update(SessionToken)
            .where(earlier, SessionToken.replaced_at.is_(None))
            .values(replaced_at=now)
            .execution_options(**recording.REPORTED)  # changes with each use, so fsck does not compare it
        )
    session.seen_at = max(session.seen_at, now)
    is_due = session_rules.is_rotation_due(state, now, limits)
    return ActiveSession(session.id, session.csrf, _new_token(tx, session.id) if is_due else None)


_PRINCIPAL_WITH_GRANTS: Final = (
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


async def authenticate(
    tx: Transaction, credential: SessionCredential
) -> tuple[Principal, Sequence[tuple[str | None, str | None]], frozenset[str], str]:
    """Return the principal of a session, its grants as (role, handler), the principals who linked its identity, and the session's id.

    Raises:
        Unauthenticated: the session or its linked identity has ended, or the principal is disabled.
    """
    parameters = {"session": credential.session, "now": tx.now, "today": day_in_shanghai(tx.now)}
    rows = (await tx.execute(_PRINCIPAL_WITH_GRANTS, parameters)).all()
    if not rows:
        raise ended_session()
    return rows[0][0], [(row[1], row[2]) for row in rows], frozenset(rows[0][3] or ()), credential.session


async def read(tx: Transaction, credential: object, limits: SessionLimits) -> SessionOut:
    """Return the session of the caller.

    Raises:
        NotFound: the credential is a key or a token.
    """
    session = await _session_of(tx, credential)
    idle_at = min(session.ends_at, session.seen_at + limits.idle)
    return SessionOut(
        id=session.id,
        csrf_token=session.csrf.hex(),
        begun_at=session.begun_at,
        ends_at=session.ends_at,
        idle_at=idle_at,
        ended_at=session.ended_at,
    )


async def end(tx: Transaction, caller: Caller, credential: object, limits: SessionLimits) -> SessionOut:
    """End the session of the caller.

    Raises:
        NotFound: the credential is a key or a token.
    """
    session = await _session_of(tx, credential)
    _end(tx, caller, session, "logout")
    await tx.flush()
    return await read(tx, credential, limits)


async def sign_out(tx: Transaction, session: ActiveSession) -> None:
    """End a session in the transaction that resumed it."""
    row = await tx.get_one(Session, session.id, with_for_update=True)
    principal = await principal_of(tx, row.principal)
    _end(tx, Caller(principal.id, principal.name, "person"), row, "logout")
    await tx.flush()


async def end_all(
    tx: Transaction, caller: Caller, how: str, *, principal: str, linked_identity: str | None = None
) -> int:
    """End the sessions of a principal, or of one of its linked identities, and return their number."""
    query = select(Session).where(Session.principal == principal, Session.ended_at.is_(None)).with_for_update()
    if linked_identity is not None:
        query = query.where(Session.login == linked_identity)
    rows = (await tx.scalars(query.order_by(Session.id))).all()
    for session in rows:
        _end(tx, caller, session, how)
    return len(rows)


async def create_link(tx: Transaction, reference: str, minutes: int) -> str:
    """Create a one-time sign-in link of a person as the operator, and return its token.

    Raises:
        NotFound: there is no such principal.
        Invalid: the principal is a system.
        Conflict: the principal is disabled.

    Example:
        A link that is valid for a quarter of an hour::

            token = await sessions.create_link(tx, "lin", minutes=15)
            url = f"{public_url}/login/link?token={token}"
    """
    principal = await principal_of(tx, reference)
    if principal.kind != "person":
        raise Invalid("A system does not sign in; give it a key.", errors=[("/principal", "This is a system.")])
    if principal.disabled_at is not None:
        raise Conflict("This principal is disabled; enable it first.")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    expires_at = tx.now + timedelta(minutes=minutes)
    tx.add(SignInLink(sha256=hash_token(token), principal=principal.id, made_at=tx.now, expires_at=expires_at))
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


async def use_link(tx: Transaction, token: str, limits: SessionLimits, *, previous_token: str | None) -> str | None:
    """Begin a session by a one-time link and return the session's token; None if the link is used, expired or unknown."""
    # One statement checks and marks the link, so of several concurrent requests one succeeds.
    mark_used = (
        update(SignInLink)
        .where(
            SignInLink.sha256 == hash_token(token),
            SignInLink.used_at.is_(None),
            SignInLink.made_at <= tx.now + session_rules.CLOCK_SKEW,
            SignInLink.expires_at > tx.now,
            SignInLink.expires_at > func.now(),
        )
        .values(used_at=tx.now)
        .returning(SignInLink.principal)
        .execution_options(**recording.REPORTED)
    )
    principal_id = await tx.scalar(mark_used)
    if principal_id is None:
        return None
    recording.report_rows(tx, SignInLink.__table__, [{"sha256": hash_token(token), "used_at": tx.now}], is_insert=False)
    principal = await principal_of(tx, principal_id)
    if principal.disabled_at is not None:
        record_refusal(tx, principal.id, "disabled")
        return None
    return await begin(tx, principal, None, "link", limits, previous_token=previous_token)


def record_refusal(tx: Transaction, principal: str, why: str) -> None:
    """Record that the sign-in of a known principal was refused."""
    audit.append(tx, SYSTEM_ACTOR, AuditAction.LOGIN_REFUSED, principal, details={"principal": principal, "why": why})


def ended_session() -> Unauthenticated:
    """Return the problem of a session that has ended or never existed."""
    return Unauthenticated("This session is over. Sign in again.", error="invalid_token")


async def _end_by_token(tx: Transaction, caller: Caller, token: str) -> None:
    row = await _find_token(tx, token, lock=True)
    if row is not None and row[0].ended_at is None:
        _end(tx, caller, row[0], "login")


async def _session_of(tx: Transaction, credential: object) -> Session:
    session = (
        await tx.get(Session, credential.session, with_for_update=True)
        if isinstance(credential, SessionCredential)
        else None
    )
    if session is None:
        raise NotFound("This request has a key or a token, and no session. Sign in with a browser to have one.")
    return session


async def _find_token(tx: Transaction, token: str, *, lock: bool) -> tuple[Session, SessionToken, SessionState] | None:
    query = (
        select(Session, SessionToken)
        .join(SessionToken, SessionToken.session == Session.id)
        .where(SessionToken.sha256 == hash_token(token))
        .execution_options(populate_existing=True)
    )
    row = (await tx.execute(query.with_for_update(of=Session) if lock else query)).one_or_none()
    if row is None:
        return None
    session, presented = row[0], row[1]
    if lock:  # the statement read the token before it waited for the session's lock
        await tx.refresh(presented)
    newest_successor = select(func.max(SessionToken.made_at)).where(
        SessionToken.session == session.id, SessionToken.used_at.is_(None), SessionToken.sha256 != presented.sha256
    )
    return (
        session,
        presented,
        SessionState(
            seen_at=session.seen_at,
            ends_at=session.ends_at,
            ended_at=session.ended_at,
            token_made_at=presented.made_at,
            token_used_at=presented.used_at,
            token_replaced_at=presented.replaced_at,
            successor_made_at=await tx.scalar(newest_successor),
        ),
    )


async def _later_clock(tx: Transaction) -> datetime:
    """Return the later of the service's clock and the database's."""
    database_now: datetime = (await tx.execute(select(func.now()))).scalar_one()
    return max(tx.now, database_now)


def _new_token(tx: Transaction, session: str) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    tx.add(SessionToken(sha256=hash_token(token), session=session, made_at=tx.now))
    return token


def _end(tx: Transaction, caller: Caller, session: Session, how: str) -> None:
    session.ended_at, session.how = tx.now, how
    _record(tx, caller, AuditAction.SESSION_ENDED, session, {"how": how})


def _record(tx: Transaction, caller: Caller, action: AuditAction, session: Session, details: dict[str, Any]) -> None:
    details = {"principal": session.principal} | details
    audience = [session.principal]
    events.record(
        tx,
        caller,
        events.Change(
            action=action, subject=session.id, handler=None, details=details, audience=audience, link="/v1/session"
        ),
    )
