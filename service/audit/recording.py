"""Collects the rows that a transaction writes, and seals them into its last entry as it commits.

The last entry of a transaction is made when all its rows are written and held: so of two acts on one row the later has the higher number.
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
"""Rows that one entry tells of; where a transaction wrote more, entries of their own tell of the others."""
ROWS_WRITTEN: Final = "rows.written"
"""The action of such an entry, and of one that tells of rows whose act left none."""
OPERATOR: Final = "operator"
_SELECT_KEY: Final = select(ColumnKey.key)
_KEY_CACHE: Final[WeakKeyDictionary[Engine, bytes]] = WeakKeyDictionary()
"""Of each database that this process writes to: it never changes."""
REPORTED: Final = {"effects": True}
"""Execution options of a statement on a covered table that is reported by `report_rows`, or leaves nothing to report."""


class UnreportedWriteError(RuntimeError):
    """A statement writes rows that the log would not tell of: report them by `report_rows`."""


@dataclass(slots=True)
class _Row:
    """A row that was written: whether it was made, which columns were set, and where their values are."""

    is_insert: bool
    columns: set[str]
    source: object


@dataclass
class _TransactionEffects:
    """What a transaction has written so far, and the entry that it has made last, which waits for it."""

    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    last: Callable[[commitments.Opening | None], Entry] | None = None
    before: dict[SessionTransaction, dict[tuple[str, str], _Row]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """An entry that has no number yet."""

    actor: str
    action: str
    subject: str
    handler: str | None
    body: str
    sha256: bytes
    openings: Sequence[commitments.Opening]

    def entry(self, at: datetime) -> Entry:
        """Return its row."""
        return Entry(
            at=at,
            actor=self.actor,
            action=self.action,
            subject=self.subject,
            handler=self.handler,
            body=self.body,
            sha256=self.sha256,
            openings=[Opening(pointer=one.pointer, at=at, salt=one.salt, value=one.content) for one in self.openings],
        )


def make_record(said: Mapping[str, Any], opening: commitments.Opening | None) -> Record:
    """Return an entry, sealed.

    Args:
        said: at, actor, action, subject, handler and details, of plain JSON types.
        opening: of what its transaction wrote; None: nothing, or another entry has it.
    """
    body, openings = commitments.commit_texts(dict(said), lambda: secrets.token_bytes(commitments.SALT_SIZE))
    content = rfc8785.dumps(body | {MEMBER: None if opening is None else {"sealed": opening.commitment}})
    kept = openings if opening is None else [*openings, opening]
    named = said["actor"], said["action"], said["subject"], said["handler"]
    return Record(*named, content.decode(), hashlib.sha256(content).digest(), kept)


def add_entry(tx: Transaction, said: Mapping[str, Any]) -> None:
    """Add an entry to a transaction: the one before goes as it is, and this one waits for what else the transaction writes."""
    release_entry(tx.sync_session)
    now = tx.now
    _effects_of(tx.sync_session).last = lambda opening: make_record(said, opening).entry(now)
    tx.sync_session.flush_deferred = lambda: release_entry(tx.sync_session)


def release_entry(session: ScopedSession) -> None:
    """Have the entry that waits written now, without what the transaction wrote: a later one tells of that."""
    act = _effects_of(session)
    if act.last is not None:
        last, act.last = act.last, None
        session.add(last(None))


def report_rows(tx: Transaction, table: FromClause, rows: Sequence[Mapping[str, Any]], *, is_insert: bool) -> None:
    """Report rows that a plain statement has written.

    Args:
        tx: the transaction.
        table: theirs.
        rows: of each the columns of the primary key, and all that were set.
        is_insert: True if the statement inserted them.
    """
    act = _effects_of(tx.sync_session)
    name, keys = str(table.description), [column.name for column in table.primary_key]
    beside = {*COVERED_TABLES[name].excluded, *keys}
    for row in rows:
        _note_row(
            act,
            name,
            effects.key_of(row[key] for key in keys),
            set(row) - beside,
            row,
            is_insert=is_insert,
        )


def _effects_of(session: ScopedSession) -> _TransactionEffects:
    found: _TransactionEffects = session.info.setdefault(MEMBER, _TransactionEffects())
    return found


def _note_row(
    act: _TransactionEffects, table: str, key: str, columns: set[str], source: object, *, is_insert: bool
) -> None:
    row = act.rows.get((table, key))
    if row is None:
        act.rows[table, key] = _Row(is_insert, columns, source)
    else:
        row.columns |= columns
        row.source = source if not isinstance(row.source, Mapping) else {**row.source, **_values(source, columns)}


@event.listens_for(ScopedSession, "after_flush")
def _collect(session: ScopedSession, _: UOWTransaction) -> None:
    """Note which columns of which rows a flush has written."""
    act = _effects_of(session)
    for row in session.new:
        _collect_row(act, row, is_insert=True)
    for row in session.dirty:
        _collect_row(act, row, is_insert=False)
    for row in session.deleted:
        if row.__tablename__ in COVERED_TABLES:
            raise UnreportedWriteError(f"A row of {row.__tablename__} is deleted: the log has no word for that.")


def _collect_row(act: _TransactionEffects, row: Any, *, is_insert: bool) -> None:
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
        _note_row(act, row.__tablename__, key, columns, row, is_insert=is_insert)


@event.listens_for(ScopedSession, "do_orm_execute")
def _guard(state: ORMExecuteState) -> None:
    """Refuse a plain statement that writes rows of which nobody would tell the log."""
    if not (state.is_insert or state.is_update or state.is_delete) or state.execution_options.get("effects"):
        return
    name = getattr(getattr(state.statement, "table", None), "name", None)
    if name in COVERED_TABLES:
        raise UnreportedWriteError(
            f"A statement writes {name}: report its rows to the log, by `recording.report_rows`."
        )


@event.listens_for(ScopedSession, "after_transaction_create")
def _save_rows(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Remember what was written before a savepoint."""
    if transaction.nested:
        act = _effects_of(session)
        act.before[transaction] = {
            key: _Row(row.is_insert, {*row.columns}, row.source) for key, row in act.rows.items()
        }


@event.listens_for(ScopedSession, "after_soft_rollback")
def _restore_rows(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Forget what was written, and the entry that was made, since a savepoint that is gone back to."""
    act = _effects_of(session)
    if transaction in act.before:
        act.rows, act.last = act.before.pop(transaction), None


@event.listens_for(ScopedSession, "before_commit")
def _commit_effects(session: ScopedSession) -> None:
    """Seal all that was written into the last entry; into more of them, where it is too much for one or where there is none."""
    if session.in_nested_transaction():
        return
    session.flush()
    act = _effects_of(session)
    rows = [found for found in map(_written_row, act.rows.items()) if found is not None]
    last, act.last = act.last, None
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
    """Return the secret of which the salts of columns are made, for what is written by plain statements."""
    return await tx.run_sync(_column_key)


def _column_key(session: Session) -> bytes:
    engine = session.get_bind().engine
    found = _KEY_CACHE.get(engine)
    if found is None:
        found = _KEY_CACHE[engine] = bytes(session.scalars(_SELECT_KEY).one())
    return found


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
