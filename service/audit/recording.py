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
from service.audit.effects import COVERED, MEMBER, Written
from service.audit.tables import ColumnKey, Entry, Opening
from service.clock import rfc3339
from service.database.row_security import ScopedSession
from service.database.session import Transaction

ROWS: Final = 1_000
"""Rows that one entry tells of; where a transaction wrote more, entries of their own tell of the others."""
ROWS_WRITTEN: Final = "rows.written"
"""The action of such an entry, and of one that tells of rows whose act left none."""
OPERATOR: Final = "operator"
_THE_KEY: Final = select(ColumnKey.key)
_KEYS: Final[WeakKeyDictionary[Engine, bytes]] = WeakKeyDictionary()
"""Of each database that this process writes to: it never changes."""
STATED: Final = {"effects": True}
"""Execution options of a statement on a covered table that is reported by `wrote`, or leaves nothing to report."""


class UnstatedError(RuntimeError):
    """A statement writes rows that the log would not tell of: report them by `wrote`."""


@dataclass(slots=True)
class _Row:
    """A row that was written: whether it was made, which columns were set, and where their values are."""

    made: bool
    columns: set[str]
    source: object


@dataclass
class _Act:
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


def sealed(said: Mapping[str, Any], opening: commitments.Opening | None) -> Record:
    """Return an entry, sealed.

    Args:
        said: at, actor, action, subject, handler and details, of plain JSON types.
        opening: of what its transaction wrote; None: nothing, or another entry has it.
    """
    body, openings = commitments.seal(dict(said), lambda: secrets.token_bytes(commitments.SALT))
    content = rfc8785.dumps(body | {MEMBER: None if opening is None else {"sealed": opening.seal}})
    kept = openings if opening is None else [*openings, opening]
    named = said["actor"], said["action"], said["subject"], said["handler"]
    return Record(*named, content.decode(), hashlib.sha256(content).digest(), kept)


def enter(tx: Transaction, said: Mapping[str, Any]) -> None:
    """Add an entry to a transaction: the one before goes as it is, and this one waits for what else the transaction writes."""
    let_go(tx.sync_session)
    now = tx.now
    _act(tx.sync_session).last = lambda opening: sealed(said, opening).entry(now)
    tx.sync_session.deferred = lambda: let_go(tx.sync_session)


def let_go(session: ScopedSession) -> None:
    """Have the entry that waits written now, without what the transaction wrote: a later one tells of that."""
    act = _act(session)
    if act.last is not None:
        last, act.last = act.last, None
        session.add(last(None))


def wrote(tx: Transaction, table: FromClause, rows: Sequence[Mapping[str, Any]], *, made: bool) -> None:
    """Report rows that a plain statement has written.

    Args:
        tx: the transaction.
        table: theirs.
        rows: of each the columns of the primary key, and all that were set.
        made: whether the statement made them.
    """
    act = _act(tx.sync_session)
    name, keys = str(table.description), [column.name for column in table.primary_key]
    beside = {*COVERED[name].beside, *keys}
    for row in rows:
        _note(act, name, effects.key_of(row[key] for key in keys), set(row) - beside, row, made=made)


def _act(session: ScopedSession) -> _Act:
    found: _Act = session.info.setdefault(MEMBER, _Act())
    return found


def _note(act: _Act, table: str, key: str, columns: set[str], source: object, *, made: bool) -> None:
    row = act.rows.get((table, key))
    if row is None:
        act.rows[table, key] = _Row(made, columns, source)
    else:
        row.columns |= columns
        row.source = source if not isinstance(row.source, Mapping) else {**row.source, **_values(source, columns)}


@event.listens_for(ScopedSession, "after_flush")
def _collect(session: ScopedSession, _: UOWTransaction) -> None:
    """Note which columns of which rows a flush has written."""
    act = _act(session)
    for row in session.new:
        _collect_row(act, row, made=True)
    for row in session.dirty:
        _collect_row(act, row, made=False)
    for row in session.deleted:
        if row.__tablename__ in COVERED:
            raise UnstatedError(f"A row of {row.__tablename__} is deleted: the log has no word for that.")


def _collect_row(act: _Act, row: Any, *, made: bool) -> None:
    covered = COVERED.get(row.__tablename__)
    if covered is None:
        return
    state = instance_state(row)
    keys = {column.name for column in state.mapper.primary_key}
    columns = {
        attribute.columns[0].name
        for attribute in state.mapper.column_attrs
        if made or state.attrs[attribute.key].history.has_changes()
    }
    columns -= {*keys, *covered.beside}
    if columns or made:
        key = effects.key_of(state.mapper.primary_key_from_instance(row))
        _note(act, row.__tablename__, key, columns, row, made=made)


@event.listens_for(ScopedSession, "do_orm_execute")
def _guard(state: ORMExecuteState) -> None:
    """Refuse a plain statement that writes rows of which nobody would tell the log."""
    if not (state.is_insert or state.is_update or state.is_delete) or state.execution_options.get("effects"):
        return
    name = getattr(getattr(state.statement, "table", None), "name", None)
    if name in COVERED:
        raise UnstatedError(f"A statement writes {name}: report its rows to the log, by `recording.wrote`.")


@event.listens_for(ScopedSession, "after_transaction_create")
def _remember(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Remember what was written before a savepoint."""
    if transaction.nested:
        act = _act(session)
        act.before[transaction] = {key: _Row(row.made, {*row.columns}, row.source) for key, row in act.rows.items()}


@event.listens_for(ScopedSession, "after_soft_rollback")
def _forget(session: ScopedSession, transaction: SessionTransaction) -> None:
    """Forget what was written, and the entry that was made, since a savepoint that is gone back to."""
    act = _act(session)
    if transaction in act.before:
        act.rows, act.last = act.before.pop(transaction), None


@event.listens_for(ScopedSession, "before_commit")
def _seal(session: ScopedSession) -> None:
    """Seal all that was written into the last entry; into more of them, where it is too much for one or where there is none."""
    if session.in_nested_transaction():
        return
    session.flush()
    act = _act(session)
    rows = [found for found in map(_written, act.rows.items()) if found is not None]
    last, act.last = act.last, None
    parts = [
        effects.opening_of(rows[first : first + ROWS], _key(session), secrets.token_bytes(commitments.SALT))
        for first in range(0, len(rows), ROWS)
    ]
    if last is not None:
        session.add(last(parts.pop() if parts else None))
    for part in parts:
        session.add(sealed(_rest(session), part).entry(session.now))


async def key(tx: Transaction) -> bytes:
    """Return the secret of which the salts of columns are made, for what is written by plain statements."""
    return await tx.run_sync(_key)


def _key(session: Session) -> bytes:
    engine = session.get_bind().engine
    found = _KEYS.get(engine)
    if found is None:
        found = _KEYS[engine] = bytes(session.scalars(_THE_KEY).one())
    return found


def _rest(session: ScopedSession) -> dict[str, Any]:
    return {
        "at": rfc3339(session.now),
        "actor": session.view.principal or OPERATOR,
        "action": ROWS_WRITTEN,
        "subject": "rows",
        "handler": None,
        "details": {},
    }


def _written(item: tuple[tuple[str, str], _Row]) -> Written | None:
    (table, key), row = item
    if not isinstance(row.source, Mapping) and not inspect(row.source).persistent:
        return None
    return Written(table, key, row.made, _values(row.source, row.columns))


def _values(source: object, columns: set[str]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return {name: source[name] for name in columns}
    attributes = {attribute.columns[0].name: attribute.key for attribute in instance_state(source).mapper.column_attrs}
    return {name: getattr(source, attributes[name]) for name in columns}
