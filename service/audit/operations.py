"""Appends audit entries in the transaction of the change, reads entries, and erases openings."""

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
    """Return the RFC 8785 bytes of a value of JSON types, dates and times (as RFC 3339) and sets (sorted)."""
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
    """Append the entry of an act in the transaction of its change: without the entry there is no change.

    Example:
        permit.status = "revoked"
        details = {"reason": reason}
        append(tx, caller, AuditAction.PERMIT_REVOKED, permit.id, handler=permit.handler, details=details)

    Args:
        tx: transaction of the change.
        caller: author of the act. The entry contains the credential, its other holders, and an active break-glass access.
        action: member of the closed list.
        subject: id of the object.
        handler: id of the handler, or None if the act concerns all handlers.
        details: facts that an auditor needs, of JSON types and dates. Texts in members outside `commitments.PUBLIC_MEMBERS` enter the
            log as commitments.
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
    """Return the entry of an act with its commitments, for `append_all`.

    Args:
        now: time of its transaction.
        caller: see `append`, as for the next four.
        action: the same.
        subject: the same.
        handler: the same.
        details: the same.
        effects: opening of the effects of the transaction (`effects.opening_of`), for one of its entries, best the last.
    """
    return recording.make_record(_content_of(now, caller, action, subject, handler, details), effects)


def _content_of(
    now: datetime, caller: Caller, action: AuditAction, subject: str, handler: str | None, details: dict[str, Any]
) -> dict[str, Any]:
    if caller.credential is not None:
        details = details | {"credential": {"id": caller.credential, "seen_by": sorted(caller.seen_by)}}
    if caller.break_glass is not None:
        details = details | {"break_glass": caller.break_glass}
    content: dict[str, Any] = to_json_types(
        {
            "at": now,
            "actor": caller.principal,
            "action": action,
            "subject": subject,
            "handler": handler,
            "details": details,
        }
    )
    return content


def encode_records(records: Iterable[Record]) -> str:
    """Encode entries for `append_all`: one JSON text, in the order of their numbers."""
    return json.dumps(
        [
            {
                "actor": record.actor,
                "action": record.action,
                "subject": record.subject,
                "handler": record.handler,
                "body": record.body,
                "sha256": record.sha256.hex(),
                "openings": [
                    {"pointer": opening.pointer, "salt": opening.salt.hex(), "value": opening.content}
                    for opening in record.openings
                ],
            }
            for record in records
        ],
        ensure_ascii=False,
    )


async def append_all(tx: Transaction, entries_: str) -> None:
    """Append many entries, encoded by `encode_records`, with two statements in the transaction of their changes."""
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
""").bindparams(*_TYPES)  # noqa: S608 - contains no input  # nosec B608
_OPEN_ALL: Final = text(f"""
  insert into openings (seq, at, pointer, salt, value)
  select e.seq, e.at, o.pointer, decode(o.salt, 'hex'), o.value
  from {_RECORDS}
  join entries e on e.subject = m.subject and e.at = :at and e.sha256 = decode(m.sha256, 'hex')
  cross join lateral json_to_recordset(m.openings) as o(pointer text, salt text, value text)
""").bindparams(*_TYPES)  # noqa: S608 - contains no input  # nosec B608
"""Inserts openings in a second statement: their row-level-security policy reads entries that an earlier statement has added."""


async def history(
    tx: Transaction, subject: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return the entries about one subject, oldest first. The caller of this function checks access."""
    query = select(Entry).where(Entry.subject == subject).options(selectinload(Entry.openings))
    rows, following = await page_of(tx, query, Entry.seq, cursor, limit)
    return [EntryOut.of(row) for row in rows], following


async def actions_of(tx: Transaction, subject: str) -> Sequence[tuple[datetime, str, str]]:
    """Return time, action and actor of each act on one subject, oldest first. The caller of this function checks access."""
    there = select(Entry.seq, Entry.at, Entry.action, Entry.actor).where(Entry.subject == subject)
    moved = select(ArchivedAct.seq, ArchivedAct.at, ArchivedAct.action, ArchivedAct.actor).where(
        ArchivedAct.subject == subject
    )
    acts = union_all(there, moved).order_by("seq")
    return [(row.at, row.action, row.actor) for row in await tx.execute(acts)]


async def entries(
    tx: Transaction, caller: Caller, entry_filter: EntryFilter, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return entries that an auditor may read, oldest first.

    An evaluation that reserved an export has the export as its subject; a filter by the id of the evaluation finds it too.
    """
    query = select(Entry).options(selectinload(Entry.openings))
    scope = caller.scope(AUDITORS)
    if scope != EVERYWHERE:
        query = query.where(Entry.handler.in_(scope))
    if entry_filter.subject is not None:
        query = query.where(Entry.subject.in_({entry_filter.subject, entry_filter.subject.replace("ev_", "ex_", 1)}))
    if entry_filter.handler is not None:
        query = query.where(is_of(Entry.handler, "handlers", entry_filter.handler))
    for column, value in ((Entry.actor, entry_filter.actor), (Entry.action, entry_filter.action)):
        if value is not None:
            query = query.where(column == value)
    if entry_filter.since is not None:
        query = query.where(Entry.at >= entry_filter.since)
    if entry_filter.until is not None:
        query = query.where(Entry.at < entry_filter.until)
    rows, following = await page_of(tx, query, Entry.seq, cursor, limit)
    return [EntryOut.of(row) for row in rows], following


async def entry(tx: Transaction, caller: Caller, seq: int) -> EntryOut:
    """Return one entry.

    Raises:
        NotFound: no such entry, or not of the auditor's handlers.
        Archived: its month was archived to a file, and the auditor is one of all handlers: only the file names the handler.
    """
    row = await tx.scalar(select(Entry).where(Entry.seq == seq).options(selectinload(Entry.openings)))
    scope = caller.scope(AUDITORS)
    if row is None and scope == EVERYWHERE and (moved := await _archive_of(tx, seq)) is not None:
        raise Archived(
            f"The entries of {moved.month:%Y-%m} have been moved to {moved.file}: ask the operator for it.",
            file=moved.file,
            sha256=moved.sha256.hex(),
        )
    if row is None or (scope != EVERYWHERE and row.handler not in scope):
        raise NotFound("There is no such entry.")
    return EntryOut.of(row)


async def erase_opening(tx: Transaction, caller: Caller, seq: int, pointer: str, reason: str) -> str:
    """Erase the opening of one commitment of an entry for good, and record the erasure.

    The entry keeps the commitment, from which nobody can derive the text.

    Returns:
        The commitment.

    Raises:
        NotFound: there is no commitment, or its opening has been erased.
    """
    opening = None if pointer == POINTER else await tx.get(Opening, (seq, pointer), with_for_update=True)
    if opening is None:
        raise NotFound("Nothing is sealed there, or it has been erased; `sealed` of the entry names the pointers.")
    about = (await tx.execute(select(Entry.subject, Entry.handler).where(Entry.seq == seq))).one_or_none()
    subject, handler = (f"entry {seq}", None) if about is None else about
    commitment = commitments.Opening(pointer, opening.salt, opening.value).commitment
    details = {"entry": seq, "pointer": pointer, "seal": commitment, "reason": reason}
    await tx.execute(delete(Opening).where(Opening.seq == seq, Opening.pointer == pointer))
    append(tx, caller, AuditAction.OPENING_ERASED, subject, handler=handler, details=details)
    return commitment


async def _archive_of(tx: Transaction, seq: int) -> Archive | None:
    """Return the archive of an entry that is no longer in the database."""
    month = cast(func.date_trunc("month", func.timezone("UTC", Leaf.at)), Date)
    return await tx.scalar(select(Archive).join(Leaf, month == Archive.month).where(Leaf.seq == seq))


def to_json_types(value: object) -> Any:
    """Convert dates and times to text and sets to sorted lists."""
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
