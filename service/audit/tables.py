"""Tables of entries and openings.

Triggers in the database refuse updates, deletes and truncation; only openings can be deleted, one by one.
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
"""Default of the number of an entry: assigns a transaction id first, so that an earlier number has an earlier transaction id."""


class Entry(OfHandler, Base):
    """Entry of one act; columns repeat members of the body for queries. Partitioned by month (UTC) of `at`."""

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
        """Return the condition that a row scope contains an entry.

        It contains entries of its handlers and, without a handler, those of recipients and of the caller.
        """
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
    """Leaf of the tree: the place of an entry in the log."""

    __tablename__ = "leaves"

    leaf: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 0 on, without gaps."""
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    at: Mapped[Timestamp]
    """Time of the entry, which determines its month."""


class Opening(Base):
    """Opening of one commitment of an entry; it can be erased, and never changes."""

    # No foreign key to the entry: openings stay when entries are archived, so that they can still be erased.

    __tablename__ = "openings"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pointer: Mapped[str] = mapped_column(Text, primary_key=True)
    """Place of the commitment in the body (RFC 6901)."""
    at: Mapped[Timestamp]
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    value: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785)."""


class ColumnKey(Base):
    """Single row with the secret that the salts of columns derive from; it never changes and never leaves the database."""

    __tablename__ = "column_key"

    one: Mapped[bool] = mapped_column(Boolean, primary_key=True, server_default=text("true"))
    key: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (CheckConstraint("one", name="one"),)


class Archive(Base):
    """Month of entries that was archived to a file."""

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
    """Time, action, actor and subject of an archived entry, for the reports of permits."""

    __tablename__ = "archived_acts"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[Timestamp]
    actor: Mapped[str] = mapped_column(Id)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)

    __table_args__ = (Index(None, "subject", "seq"),)
