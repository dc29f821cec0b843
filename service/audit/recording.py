"""Collects the rows that a transaction writes, and commits their hashes in its last audit entry.

The last entry is created at the commit, when all rows are written and locked: of two acts on one row, the later gets the higher number.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import rfc8785
from sqlalchemy import Engine, FromClause, event, inspect, select
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, UOWTransaction
from sqlalchemy.orm.base import instance_state

from service.audit import commitments, effects
from service.audit.effects import COVERED_TABLES, MEMBER, WrittenRow
from service.audit.tables import ColumnKey, Entry, Opening
from service.clock import rfc3339
from service.database.row_security import ScopedSession
from service.database.session import Transaction

MAX_ROWS_PER_ENTRY: Final = 1_000
"""Rows that one entry describes; further rows of a transaction get entries of their own."""
ROWS_WRITTEN: Final = "rows.written"
"""Action of such an entry, and of the entry of rows whose act added none."""
OPERATOR: Final = "operator"
_SELECT_KEY: Final = select(ColumnKey.key)
_KEY_CACHE: Final[WeakKeyDictionary[Engine, bytes]] = WeakKeyDictionary()
"""Column key of each database; it never changes."""
REPORTED: Final = {"effects": True}
"""Execution options of a statement on a covered table whose rows are reported by `report_rows`, or need no report."""


class UnreportedWriteError(RuntimeError):
    """A statement writes rows of a covered table without a report: call `report_rows`."""


@dataclass(slots=True)
class _Row:
    """Written row: the columns that were set, and the object or mapping that holds their values."""

    is_insert: bool
    columns: set[str]
    source: object


@dataclass
class _TransactionEffects:
    """Rows that a transaction has written so far, and its last entry, which is created at the commit."""

    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    last: Callable[[commitments.Opening | None], Entry] | None = None
    before: dict[SessionTransaction, dict[tuple[str, str], _Row]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """Entry without a number."""

    actor: str
    action: str
    subject: str
    handler: str | None
    body: str
    sha256: bytes
    openings: Sequence[commitments.Opening]

    def entry(self, at: datetime) -> Entry:
        """Return the row of the entry."""
        return Entry(
            at=at,
            actor=self.actor,
            action=self.action,
            subject=self.subject,
            handler=self.handler,
            body=self.body,
            sha256=self.sha256,
            openings=[
                Opening(pointer=opening.pointer, at=at, salt=opening.salt, value=opening.content)
                for opening in self.openings
            ],
        )


def make_record(content: Mapping[str, Any], opening: commitments.Opening | None) -> Record:
    """Return an entry with its texts replaced by commitments.

    Args:
        content: at, actor, action, subject, handler and details, of plain JSON types.
        opening: opening of the effects of its transaction; None if nothing was written or another entry has it.
    """
    body, openings = commitments.commit_texts(dict(content), lambda: secrets.token_bytes(commitments.SALT_SIZE))
    encoded = rfc8785.dumps(body | {MEMBER: None if opening is None else {"sealed": opening.commitment}})
    all_openings = openings if opening is None else [*openings, opening]
    named = content["actor"], content["action"], content["subject"], content["handler"]
    return Record(*named, encoded.decode(), hashlib.sha256(encoded).digest(), all_openings)


def add_entry(tx: Transaction, content: Mapping[str, Any]) -> None:
    """Add an entry to a transaction. The entry before it is written without effects; this one waits for the commit."""
    release_entry(tx.sync_session)
    now = tx.now
    _effects_of(tx.sync_session).last = lambda opening: make_record(content, opening).entry(now)
    tx.sync_session.flush_deferred = lambda: release_entry(tx.sync_session)


def release_entry(session: ScopedSession) -> None:
    """Write the waiting entry now, without effects: a later entry commits to them."""
    written = _effects_of(session)
    if written.last is not None:
        last, written.last = written.last, None
        session.add(last(None))


def report_rows(tx: Transaction, table: FromClause, rows: Sequence[Mapping[str, Any]], *, is_insert: bool) -> None:
    """Report rows that a statement has written without the ORM, so that an entry commits to them.

    Example:
        adding = insert(Document).values(row).on_conflict_do_nothing().returning(Document.sha256)
        if await tx.scalar(adding, execution_options=recording.REPORTED) is not None:
            recording.report_rows(tx, Document.__table__, [row], is_insert=True)

    Args:
        tx: the transaction.
        table: table of the rows.
        rows: for each row the columns of the primary key and the columns that were set.
        is_insert: True if the statement inserted them.
    """
    written = _effects_of(tx.sync_session)
    name, keys = str(table.description), [column.name for column in table.primary_key]
    excluded = {*COVERED_TABLES[name].excluded, *keys}
    for row in rows:
        _note_row(
            written,
            name,
            effects.key_of(row[key] for key in keys),
            set(row) - excluded,
            row,
            is_insert=is_insert,
        )


def _effects_of(session: ScopedSession) -> _TransactionEffects:
    effects_: _TransactionEffects = session.info.setdefault(MEMBER, _TransactionEffects())
    return effects_


def _note_row(
    written: _TransactionEffects, table: str, key: str, columns: set[str], source: object, *, is_insert: bool
) -> None:
    row = written.rows.get((table, key))
    if row is None:
        written.rows[table, key] = _Row(is_insert, columns, source)
    else:
        row.columns |= columns
        row.source = source if not isinstance(row.source, Mapping) else {**row.source, **_values(source, columns)}


@event.listens_for(ScopedSession, "after_flush")
def _collect(session: ScopedSession, _: UOWTransaction) -> None:
    """Record the columns that a flush has written, by row."""
    written = _effects_of(session)
    for row in session.new:
        _collect_row(written, row, is_insert=True)
    for row in session.dirty:
        _collect_row(written, row, is_insert=False)
    for row in session.deleted:
        if row.__tablename__ in COVERED_TABLES:
            raise UnreportedWriteError(
                f"A row of {row.__tablename__} is deleted: the log cannot describe that. Mark the row as ended instead."
            )


def _collect_row(written: _TransactionEffects, row: Any, *, is_insert: bool) -> None:
    covered = COVERED_TABLES.get(row.__tablename__)
    if covered is None:
        return
    state = instance_state(row)
    keys = {column.name for column in state.mapper.primary_key}
    columns = {
        attribute.columns[0].name
        for attribute in state.mapper.column_attrs
        if is_insert or state.attrs[attribute.key].history.has_changes()
    }
    columns -= {*keys, *covered.excluded}
    if columns or is_insert:
        key = effects.key_of(state.mapper.primary_key_from_instance(row))
        _note_row(written, row.__tablename__, key, columns, row, is_insert=is_insert)


@event.listens_for(ScopedSession, "do_orm_execute")
def _guard(state: ORMExecuteState) -> None:
    """Refuse a statement that writes a covered table and does not report its rows."""
    if not (state.is_insert or state.is_update or state.is_delete) or state.execution_options.get("effects"):
        return
    name = getattr(getattr(state.statement, "table", None), "name", None)
    if name in COVERED_TABLES:
        raise UnreportedWriteError(
            f"A statement writes {name}: report its rows to the log, by `recording.report_rows`."
        )


@event.listens_for(ScopedSession, "after_transaction_create")
def _save_rows(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Save the rows that were written before a savepoint."""
    if transaction.nested:
        written = _effects_of(session)
        written.before[transaction] = {
            key: _Row(row.is_insert, {*row.columns}, row.source) for key, row in written.rows.items()
        }


@event.listens_for(ScopedSession, "after_soft_rollback")
def _restore_rows(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Restore the rows of before a savepoint after a rollback to it, and drop the entry that was added since."""
    written = _effects_of(session)
    if transaction in written.before:
        written.rows, written.last = written.before.pop(transaction), None


@event.listens_for(ScopedSession, "before_commit")
def _commit_effects(session: ScopedSession) -> None:
    """Commit the written rows in the last entry; add further entries for more rows than one holds, or if there is no entry."""
    if session.in_nested_transaction():
        return
    session.flush()
    written = _effects_of(session)
    rows = [row for row in map(_written_row, written.rows.items()) if row is not None]
    last, written.last = written.last, None
    parts = [
        effects.opening_of(
            rows[first : first + MAX_ROWS_PER_ENTRY], _column_key(session), secrets.token_bytes(commitments.SALT_SIZE)
        )
        for first in range(0, len(rows), MAX_ROWS_PER_ENTRY)
    ]
    if last is not None:
        session.add(last(parts.pop() if parts else None))
    for part in parts:
        session.add(make_record(_rows_entry(session), part).entry(session.now))


async def load_column_key(tx: Transaction) -> bytes:
    """Return the key that the salts of columns derive from, for effects of statements outside the ORM."""
    return await tx.run_sync(_column_key)


def _column_key(session: Session) -> bytes:
    engine = session.get_bind().engine
    key_ = _KEY_CACHE.get(engine)
    if key_ is None:
        key_ = _KEY_CACHE[engine] = bytes(session.scalars(_SELECT_KEY).one())
    return key_


def _rows_entry(session: ScopedSession) -> dict[str, Any]:
    return {
        "at": rfc3339(session.now),
        "actor": session.scope.principal or OPERATOR,
        "action": ROWS_WRITTEN,
        "subject": "rows",
        "handler": None,
        "details": {},
    }


def _written_row(item: tuple[tuple[str, str], _Row]) -> WrittenRow | None:
    (table, key), row = item
    if not isinstance(row.source, Mapping) and not inspect(row.source).persistent:
        return None
    return WrittenRow(table, key, row.is_insert, _values(row.source, row.columns))


def _values(source: object, columns: set[str]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return {name: source[name] for name in columns}
    attributes = {attribute.columns[0].name: attribute.key for attribute in instance_state(source).mapper.column_attrs}
    return {name: getattr(source, attributes[name]) for name in columns}
