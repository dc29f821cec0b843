"""`append`: the entry of a change, in the change's own transaction. No entry, no change."""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final

import rfc8785
from sqlalchemy import Date, DateTime, Text, bindparam, cast, delete, func, select, text, union_all
from sqlalchemy.orm import selectinload

from service.access.caller import Caller, Role
from service.audit import commitments, recording
from service.audit.actions import AuditAction
from service.audit.effects import POINTER
from service.audit.recording import Record
from service.audit.schemas import EntryFilter, EntryOut
from service.audit.tables import Archive, ArchivedAct, Entry, Leaf, Opening
from service.clock import rfc3339
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.http.paging import page_of
from service.http.references import is_of
from service.validation.problems import Archived, NotFound

AUDITORS = frozenset({Role.AUDITOR})


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a value of JSON types, dates and moments (as RFC 3339) and sets (sorted)."""
    return rfc8785.dumps(to_json_types(value))


def append(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    subject: str,
    *,
    handler: str | None = None,
    details: dict[str, Any],
) -> None:
    """Record an act with the transaction that does it.

    Args:
        tx: the transaction of the change.
        caller: who acts.
        action: one of the closed list.
        subject: id of the thing.
        handler: id of the handler that it concerns, or None for what concerns all.
        details: whatever an auditor needs to understand the act, of JSON types and dates. Texts in members that are not on the
            list of `sealing.CLEAR` go into the log as salted hashes. Whatever somebody does while break-glass access of theirs is
            open says so; and every act says which credential was shown, and who else has seen it.
    """
    recording.add_entry(tx, _content_of(tx.now, caller, action, subject, handler, details))


def record_of(
    now: datetime,
    caller: Caller,
    action: AuditAction,
    subject: str,
    *,
    handler: str | None = None,
    details: dict[str, Any],
    effects: commitments.Opening | None = None,
) -> Record:
    """Return the entry of an act, sealed, to be written with many others.

    Args:
        now: the moment of its transaction.
        caller: see `append`, as for the others.
        action: the same.
        subject: the same.
        handler: the same.
        details: the same.
        effects: what the transaction wrote (`effects.opening_of`): one of its entries tells of each row, the last one best.
    """
    return recording.make_record(_content_of(now, caller, action, subject, handler, details), effects)


def _content_of(
    now: datetime, caller: Caller, action: AuditAction, subject: str, handler: str | None, details: dict[str, Any]
) -> dict[str, Any]:
    if caller.credential is not None:
        details = details | {"credential": {"id": caller.credential, "seen_by": sorted(caller.seen_by)}}
    if caller.break_glass is not None:
        details = details | {"break_glass": caller.break_glass}
    said: dict[str, Any] = to_json_types(
        {
            "at": now,
            "actor": caller.principal,
            "action": action,
            "subject": subject,
            "handler": handler,
            "details": details,
        }
    )
    return said


def encode_records(records: Iterable[Record]) -> str:
    """Return entries as `append_all` takes them: one text of JSON, in the order in which they get their numbers."""
    return json.dumps(
        [
            {
                "actor": one.actor,
                "action": one.action,
                "subject": one.subject,
                "handler": one.handler,
                "body": one.body,
                "sha256": one.sha256.hex(),
                "openings": [
                    {"pointer": opening.pointer, "salt": opening.salt.hex(), "value": opening.content}
                    for opening in one.openings
                ],
            }
            for one in records
        ],
        ensure_ascii=False,
    )


async def append_all(tx: Transaction, entries_: str) -> None:
    """Record many acts with two statements, in the transaction that does them: what `encode_records` has made."""
    await tx.execute(_APPEND_ALL, {"entries": entries_, "at": tx.now})
    await tx.execute(_OPEN_ALL, {"entries": entries_, "at": tx.now})


_RECORDS: Final = """
  json_to_recordset(cast(:entries as json)) as m(
    actor text, action text, subject text, handler text, body text, sha256 text, openings json
  )
"""
_TYPES: Final = (bindparam("entries", type_=Text), bindparam("at", type_=DateTime(timezone=True)))
_APPEND_ALL: Final = text(f"""
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select :at, actor, action, subject, handler, body, decode(sha256, 'hex') from {_RECORDS}
""").bindparams(*_TYPES)  # noqa: S608 - no caller's text is in it  # nosec B608
_OPEN_ALL: Final = text(f"""
  insert into openings (seq, at, pointer, salt, value)
  select e.seq, e.at, o.pointer, decode(o.salt, 'hex'), o.value
  from {_RECORDS}
  join entries e on e.subject = m.subject and e.at = :at and e.sha256 = decode(m.sha256, 'hex')
  cross join lateral json_to_recordset(m.openings) as o(pointer text, salt text, value text)
""").bindparams(*_TYPES)  # noqa: S608 - no caller's text is in it  # nosec B608
"""A statement of its own: the policy of the openings looks at the entries that a statement before has added."""


async def history(
    tx: Transaction, subject: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return the entries about one thing, oldest first; the caller's right to it has been checked."""
    query = select(Entry).where(Entry.subject == subject).options(selectinload(Entry.openings))
    rows, following = await page_of(tx, query, Entry.seq, cursor, limit)
    return [EntryOut.of(row) for row in rows], following


async def actions_of(tx: Transaction, subject: str) -> Sequence[tuple[datetime, str, str]]:
    """Return when, what and by whom of every act on one thing, oldest first; the caller's right to it has been checked."""
    there = select(Entry.seq, Entry.at, Entry.action, Entry.actor).where(Entry.subject == subject)
    moved = select(ArchivedAct.seq, ArchivedAct.at, ArchivedAct.action, ArchivedAct.actor).where(
        ArchivedAct.subject == subject
    )
    acts = union_all(there, moved).order_by("seq")
    return [(row.at, row.action, row.actor) for row in await tx.execute(acts)]


async def entries(
    tx: Transaction, caller: Caller, wanted: EntryFilter, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return entries that an auditor may see, oldest first.

    A decision of the gate that reserved an export stands under the export; it is found by the id of its evaluation as well.
    """
    query = select(Entry).options(selectinload(Entry.openings))
    reach = caller.scope(AUDITORS)
    if reach != EVERYWHERE:
        query = query.where(Entry.handler.in_(reach))
    if wanted.subject is not None:
        query = query.where(Entry.subject.in_({wanted.subject, wanted.subject.replace("ev_", "ex_", 1)}))
    if wanted.handler is not None:
        query = query.where(is_of(Entry.handler, "handlers", wanted.handler))
    for column, value in ((Entry.actor, wanted.actor), (Entry.action, wanted.action)):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(Entry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Entry.at < wanted.until)
    rows, following = await page_of(tx, query, Entry.seq, cursor, limit)
    return [EntryOut.of(row) for row in rows], following


async def entry(tx: Transaction, caller: Caller, seq: int) -> EntryOut:
    """Return one entry.

    Raises:
        NotFound: no such entry, or not within the auditor's handlers.
        Archived: its month has been moved to a file. That is told to an auditor of all handlers: whose it was is in the file alone.
    """
    row = await tx.scalar(select(Entry).where(Entry.seq == seq).options(selectinload(Entry.openings)))
    reach = caller.scope(AUDITORS)
    if row is None and reach == EVERYWHERE and (moved := await _archive_of(tx, seq)) is not None:
        raise Archived(
            f"The entries of {moved.month:%Y-%m} have been moved to {moved.file}: ask the operator for it.",
            file=moved.file,
            sha256=moved.sha256.hex(),
        )
    if row is None or (reach != EVERYWHERE and row.handler not in reach):
        raise NotFound("There is no such entry.")
    return EntryOut.of(row)


async def erase_opening(tx: Transaction, caller: Caller, seq: int, pointer: str, reason: str) -> str:
    """Erase what opens one sealed value of an entry, for good; the entry keeps its hash, and the act is an entry of its own.

    Returns:
        The seal of which nobody can tell any more what it was.

    Raises:
        NotFound: nothing is sealed there, or it has been erased already.
    """
    found = None if pointer == POINTER else await tx.get(Opening, (seq, pointer), with_for_update=True)
    if found is None:
        raise NotFound("Nothing is sealed there, or it has been erased; `sealed` of the entry names the pointers.")
    about = (await tx.execute(select(Entry.subject, Entry.handler).where(Entry.seq == seq))).one_or_none()
    subject, handler = (f"entry {seq}", None) if about is None else about
    seal = commitments.Opening(pointer, found.salt, found.value).commitment
    details = {"entry": seq, "pointer": pointer, "seal": seal, "reason": reason}
    await tx.execute(delete(Opening).where(Opening.seq == seq, Opening.pointer == pointer))
    append(tx, caller, AuditAction.OPENING_ERASED, subject, handler=handler, details=details)
    return seal


async def _archive_of(tx: Transaction, seq: int) -> Archive | None:
    """Return the archive that holds an entry which is not in the database any more."""
    month = cast(func.date_trunc("month", func.timezone("UTC", Leaf.at)), Date)
    return await tx.scalar(select(Archive).join(Leaf, month == Archive.month).where(Leaf.seq == seq))


def to_json_types(value: object) -> Any:
    """Return a value with its dates, moments and sets as JSON has them."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): to_json_types(member) for name, member in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(member) for member in value)
    if isinstance(value, list | tuple):
        return [to_json_types(member) for member in value]
    if isinstance(value, str):
        return str(value)
    return value
