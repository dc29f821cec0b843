"""Records changes: one audit entry and one event each, in the transaction that makes the change."""

import json
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import DateTime, Text, and_, bindparam, or_, select, text

from service.access.caller import READERS, Caller
from service.audit import effects, recording
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.commitments import SALT_SIZE
from service.audit.effects import WrittenRow
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.events.schemas import EventOut
from service.events.tables import Event
from service.http.paging import page_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change, as its audit entry and its event report it.

    Attributes:
        action: the action, of the entry as of the event.
        subject: id of the thing that changed.
        handler: id of the handler that it concerns; None: it concerns all.
        details: facts that a reader needs to understand the change, of JSON types and dates.
        link: path at which to look or act.
        method: GET to look, POST to act.
        audience: principals to whom the event is addressed.
        reason: the reason or comment given.
        figures: the size of the matter.
        on_behalf_of: the principal who lent the role, where it was lent.
    """

    action: AuditAction
    subject: str
    handler: str | None
    details: dict[str, Any]
    link: str
    method: Literal["GET", "POST"] = "GET"
    audience: Collection[str] = ()
    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    on_behalf_of: str | None = None


def record(tx: Transaction, caller: Caller, change: Change) -> None:
    """Record a change as an audit entry and as an event, in the transaction that makes it.

    Example:
        change = Change(
            action=AuditAction.GRANT_WITHDRAWN,
            subject=grant.id,
            handler=grant.handler,
            details={"principal": grant.principal, "role": grant.role},
            link="/v1/me",
        )
        events.record(tx, caller, change)
    """
    details = change.details
    if change.on_behalf_of is not None:
        details = details | {"on_behalf_of": change.on_behalf_of}
    audit.append(tx, caller, change.action, change.subject, handler=change.handler, details=details)
    notify(tx, caller, change)


def notify(tx: Transaction, caller: Caller, change: Change) -> None:
    """Write the event of a change that has no audit entry of its own, in the transaction that makes it."""
    tx.add(
        Event(
            at=tx.now,
            kind=change.action.value,
            subject=change.subject,
            handler=change.handler,
            audience=sorted(set(change.audience)),
            body=_body(caller, change),
        ),
    )


def _body(caller: Caller, change: Change) -> dict[str, Any]:
    body: dict[str, Any] = audit.to_json_types(
        {
            "who": {"id": caller.principal, "name": caller.name, "on_behalf_of": change.on_behalf_of},
            "why": change.reason,
            "how_much": change.figures,
            "details": change.details,
            "where": {"href": change.link, "method": change.method},
        }
    )
    return body


RecordedChanges = tuple[str, str]
"""Entries and events of many changes, as texts of JSON that PostgreSQL parses."""


@dataclass(frozen=True, slots=True)
class ReservedNumbers:
    """Values of the database that many changes need before their entries are created.

    Attributes:
        events: the number of the event of each change.
        key: key that the salts of columns derive from (`recording.key`).
    """

    events: Sequence[int]
    key: bytes


async def reserve_numbers(tx: Transaction, count: int) -> ReservedNumbers:
    """Reserve the numbers of some changes."""
    drawn = await tx.scalars(_DRAW, {"count": count})
    return ReservedNumbers(list(drawn), await recording.load_column_key(tx))


def encode_changes(
    now: datetime, caller: Caller, changes: Sequence[Change], rows: Sequence[WrittenRow], numbers: ReservedNumbers
) -> RecordedChanges:
    """Return entries and events of many changes as `record_all` takes them; run it off the event loop.

    Args:
        now: time of their transaction.
        caller: the caller.
        changes: at least one; none has an audience.
        rows: rows written to the tables that the log covers, without the events; the last entry commits to them.
        numbers: result of `reserve_numbers`.
    """
    encoded = [
        {
            "seq": number,
            "kind": change.action.value,
            "subject": change.subject,
            "handler": change.handler,
            "body": _body(caller, change),
        }
        for number, change in zip(numbers.events, changes, strict=True)
    ]
    shared = {"at": now, "audience": []}
    of_events = (
        WrittenRow(
            "events", str(event["seq"]), True, {**{name: event[name] for name in event if name != "seq"}, **shared}
        )
        for event in encoded
    )
    opening = effects.opening_of([*rows, *of_events], numbers.key, secrets.token_bytes(SALT_SIZE))
    last = len(changes) - 1
    entries = (
        audit.record_of(
            now,
            caller,
            change.action,
            change.subject,
            handler=change.handler,
            details=change.details,
            effects=opening if place == last else None,
        )
        for place, change in enumerate(changes)
    )
    return audit.encode_records(entries), json.dumps(encoded, ensure_ascii=False)


async def record_all(tx: Transaction, changes: RecordedChanges) -> None:
    """Record many changes with two statements; the result is that of `record` for each."""
    entries, encoded = changes
    await audit.append_all(tx, entries)
    await tx.execute(_INSERT_EVENTS, {"events": encoded, "at": tx.now})


_DRAW: Final = text("select nextval(pg_get_serial_sequence('events', 'seq')) from generate_series(1, :count)")
_INSERT_EVENTS: Final = text("""
  insert into events (seq, at, kind, subject, handler, audience, body) overriding system value
  select seq, :at, kind, subject, handler, '{}', body
  from json_to_recordset(cast(:events as json)) as e(seq bigint, kind text, subject text, handler text, body jsonb)
""").bindparams(bindparam("events", type_=Text), bindparam("at", type_=DateTime(timezone=True)))


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

    An event addressed to a principal without a role on its handler is left out, unless it is about the principal's own roles.
    """
    query = select(Event)
    mine = Event.audience.contains([caller.principal])
    handlers = caller.scope(READERS)
    if to_me:
        query = query.where(mine)
    if handlers != EVERYWHERE:
        about_roles = (Event.kind.startswith(f"{kind}.") for kind in ("grant", "delegation", "break_glass"))
        personal = or_(Event.handler.is_(None), *about_roles)
        query = query.where(or_(Event.handler.in_(handlers), and_(mine, personal)))
    if kind is not None:
        query = query.where(Event.kind == kind)
    if subject is not None:
        query = query.where(Event.subject == subject)
    rows, following = await page_of(tx, query, Event.seq, cursor, limit)
    return [EventOut.of(row) for row in rows], following
