"""`tell`: the event of a change, in the change's own transaction, beside its entry in the log."""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import DateTime, Text, and_, bindparam, or_, select, text

from service.access.caller import READERS, Caller
from service.audit import effects, recording
from service.audit import operations as audit
from service.audit.commitments import SALT
from service.audit.effects import Written
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.events.schemas import EventOut
from service.events.tables import Event
from service.http.paging import page_of


def tell(
    tx: Transaction,
    caller: Caller,
    kind: str,
    subject: str,
    *,
    handler: str | None,
    audience: Collection[str] = (),
    why: str | None = None,
    how_much: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    href: str,
    method: str = "GET",
    on_behalf_of: str | None = None,
) -> None:
    """Record an event with the transaction that does the change.

    Args:
        tx: the transaction of the change.
        caller: who acts.
        kind: the action, as the log names it.
        subject: id of the thing.
        handler: id of the handler that it concerns.
        audience: principals to whom it is addressed.
        why: the reason or comment given.
        how_much: what it is about, in figures.
        details: whatever else the reader needs.
        href: where to look or act.
        method: GET to look, POST to act.
        on_behalf_of: who lent the role, where it was lent.
    """
    body = body_of(
        caller, why=why, how_much=how_much, details=details, href=href, method=method, on_behalf_of=on_behalf_of
    )
    tx.add(
        Event(at=tx.now, kind=kind, subject=subject, handler=handler, audience=sorted(set(audience)), body=body),
    )


def body_of(
    caller: Caller,
    *,
    why: str | None = None,
    how_much: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    href: str,
    method: str = "GET",
    on_behalf_of: str | None = None,
) -> dict[str, Any]:
    """Return what an event says, for `tell` or to be written with many others; see there for the arguments."""
    body: dict[str, Any] = audit.plain(
        {
            "who": {"id": caller.principal, "name": caller.name, "on_behalf_of": on_behalf_of},
            "why": why,
            "how_much": how_much or {},
            "details": details or {},
            "where": {"href": href, "method": method},
        }
    )
    return body


@dataclass(frozen=True, slots=True)
class Act:
    """One of many changes of one transaction, as its entry and its event tell it; nobody is addressed."""

    action: str
    subject: str
    handler: str | None
    details: dict[str, Any]
    how_much: dict[str, Any]
    href: str
    why: str | None = None


Acts = tuple[str, str]
"""The entries and the events of many acts, as texts of JSON that PostgreSQL takes apart."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What many acts need of the database before they are written.

    Attributes:
        events: the number of the event of each.
        key: of which the salts of columns are made (`recording.key`).
    """

    events: Sequence[int]
    key: bytes


async def numbers_for(tx: Transaction, count: int) -> Numbers:
    """Draw what so many acts need."""
    drawn = await tx.scalars(_DRAW, {"count": count})
    return Numbers(list(drawn), await recording.key(tx))


def written(now: datetime, caller: Caller, acts: Sequence[Act], rows: Sequence[Written], numbers: Numbers) -> Acts:
    """Return many acts as `record_all` takes them; made beside the event loop, for it is work.

    Args:
        now: the moment of their transaction.
        caller: who acts.
        acts: at least one.
        rows: what was written of the tables that the log covers, but for the events: the last entry says it.
        numbers: of `numbers_for`.
    """
    told = [
        {
            "seq": number,
            "kind": act.action,
            "subject": act.subject,
            "handler": act.handler,
            "body": body_of(caller, why=act.why, how_much=act.how_much, details=act.details, href=act.href),
        }
        for number, act in zip(numbers.events, acts, strict=True)
    ]
    shared = {"at": now, "audience": []}
    of_events = (
        Written("events", str(one["seq"]), True, {**{name: one[name] for name in one if name != "seq"}, **shared})
        for one in told
    )
    opening = effects.opening_of([*rows, *of_events], numbers.key, secrets.token_bytes(SALT))
    last = len(acts) - 1
    entries = (
        audit.record_of(
            now,
            caller,
            act.action,
            act.subject,
            handler=act.handler,
            details=act.details,
            effects=opening if place == last else None,
        )
        for place, act in enumerate(acts)
    )
    return audit.written(entries), json.dumps(told, ensure_ascii=False)


async def record_all(tx: Transaction, acts: Acts) -> None:
    """Record many changes, each once in the log and once as an event: the same as `record` for each, with two statements."""
    entries, told = acts
    await audit.append_all(tx, entries)
    await tx.execute(_TELL_ALL, {"events": told, "at": tx.now})


_DRAW: Final = text("select nextval(pg_get_serial_sequence('events', 'seq')) from generate_series(1, :count)")
_TELL_ALL: Final = text("""
  insert into events (seq, at, kind, subject, handler, audience, body) overriding system value
  select seq, :at, kind, subject, handler, '{}', body
  from json_to_recordset(cast(:events as json)) as e(seq bigint, kind text, subject text, handler text, body jsonb)
""").bindparams(bindparam("events", type_=Text), bindparam("at", type_=DateTime(timezone=True)))


def record(
    tx: Transaction,
    caller: Caller,
    action: str,
    subject: str,
    *,
    handler: str | None,
    details: dict[str, Any],
    audience: Collection[str] = (),
    why: str | None = None,
    how_much: dict[str, Any] | None = None,
    href: str,
    method: str = "GET",
    on_behalf_of: str | None = None,
) -> None:
    """Record a change once in the log and once as an event; see `audit.append` and `tell`."""
    held = details if on_behalf_of is None else details | {"on_behalf_of": on_behalf_of}
    audit.append(tx, caller, action, subject, handler=handler, details=held)
    tell(
        tx,
        caller,
        action,
        subject,
        handler=handler,
        audience=audience,
        why=why,
        how_much=how_much,
        details=details,
        href=href,
        method=method,
        on_behalf_of=on_behalf_of,
    )


async def list_events(
    tx: Transaction,
    caller: Caller,
    *,
    to_me: bool,
    kind: str | None,
    subject: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[EventOut], str | None]:
    """Return the events that the caller may see, oldest first; with `to_me`, those addressed to the caller.

    What was addressed to somebody who has no role on its handler any more is not shown, save what is about their own roles.
    """
    query = select(Event)
    mine = Event.audience.contains([caller.principal])
    reach = caller.reach(READERS)
    if to_me:
        query = query.where(mine)
    if reach != EVERYWHERE:
        about_roles = (Event.kind.startswith(f"{kind}.") for kind in ("grant", "delegation", "break_glass"))
        personal = or_(Event.handler.is_(None), *about_roles)
        query = query.where(or_(Event.handler.in_(reach), and_(mine, personal)))
    if kind is not None:
        query = query.where(Event.kind == kind)
    if subject is not None:
        query = query.where(Event.subject == subject)
    rows, following = await page_of(tx, query, Event.seq, cursor, limit)
    return [EventOut.of(row) for row in rows], following
