"""The tables of the log; triggers in the database refuse to change, delete or truncate what has been written.

Openings of what is sealed in entries may be deleted one by one.
"""

from datetime import date
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ColumnElement,
    Index,
    LargeBinary,
    Text,
    and_,
    or_,
    text,
)
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

from service.database.columns import Base, Id, Timestamp
from service.database.row_security import SCOPE_HANDLERS, SCOPE_PRINCIPAL, OfHandler, RowScope

NEXT_NUMBER: Final = "case when pg_current_xact_id() is not null then nextval('entries_seq_seq') end"
"""The next number of an entry: whoever has drawn one has a transaction id, and a smaller one than whoever asks for one later."""


class Entry(OfHandler, Base):
    """One act: the columns repeat what the body says, so that entries can be found. A table for each month (UTC) of `at`."""

    __tablename__ = "entries"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, server_default=text(NEXT_NUMBER))
    at: Mapped[Timestamp] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(Id)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str | None] = mapped_column(Id)
    body: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785) of at, actor, action, subject, handler and details."""
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 over the UTF-8 bytes of `body`."""

    openings: Mapped[list["Opening"]] = relationship(
        primaryjoin=lambda: Entry.seq == foreign(Opening.seq), order_by=lambda: Opening.pointer, lazy="raise"
    )

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a view sees an entry: one of its handlers, of a shared recipient, or the viewer's own about none."""
        of_all = and_(
            cls.handler.is_(None),
            SCOPE_PRINCIPAL != "",
            or_(cls.subject.startswith("rc_", autoescape=True), cls.actor == SCOPE_PRINCIPAL),
        )
        return or_(cls.handler == SCOPE_HANDLERS, of_all)

    def is_seen_by(self, scope: RowScope) -> bool:
        """Return True if a loaded row is in a row scope."""
        if self.handler is not None:
            return self.handler in scope.handlers
        return scope.principal != "" and (self.subject.startswith("rc_") or self.actor == scope.principal)

    __table_args__ = (
        Index(None, "subject", "seq"),
        Index(None, "handler", "seq"),
        {"postgresql_partition_by": "range (at)"},
    )


class Leaf(Base):
    """The place of an entry in the tree."""

    __tablename__ = "leaves"

    leaf: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 0 on, without gaps."""
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    at: Mapped[Timestamp]
    """The moment of the entry, which tells its month."""


class Opening(Base):
    """What opens one sealed value of an entry; it may be erased, and is never changed.

    There is no foreign key to the entry: openings stay when entries are archived, so that they can still be erased.
    """

    __tablename__ = "openings"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pointer: Mapped[str] = mapped_column(Text, primary_key=True)
    """Where in the entry's body the seal is (RFC 6901)."""
    at: Mapped[Timestamp]
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    value: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785)."""


class ColumnKey(Base):
    """One row: the secret of which the salts of columns are made; it never changes, and never leaves the database."""

    __tablename__ = "column_key"

    one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    key: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (CheckConstraint("one", name="one"),)


class Archive(Base):
    """A month of entries that has been moved to a file."""

    __tablename__ = "archives"

    month: Mapped[date] = mapped_column(primary_key=True)
    """Its first day, in UTC."""
    file: Mapped[str] = mapped_column(Text)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    first_leaf: Mapped[int] = mapped_column(BigInteger)
    last_leaf: Mapped[int] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[Timestamp]


class ArchivedAct(Base):
    """When, what and by whom, of an act on a thing whose entry has been moved to a file: what the reports of permits tell."""

    __tablename__ = "archived_acts"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[Timestamp]
    actor: Mapped[str] = mapped_column(Id)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)

    __table_args__ = (Index(None, "subject", "seq"),)
