"""Tables of exports, yearly totals, sketches and person keys."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, PrimaryId, Timestamp
from service.database.row_security import OfHandler
from service.law.facts import Count


class Export(OfHandler, Base):
    """One use of a permit: persons reserved, then reported as sent, given back, or lapsed.

    The rows it refers to are read in the transaction that writes it, and cannot be deleted: so foreign keys, which would read each of them
    once more, are left out.
    """

    __tablename__ = "exports"

    id: Mapped[PrimaryId]
    evaluation: Mapped[str] = mapped_column(Id)
    handler: Mapped[str] = mapped_column(Id)
    dataset: Mapped[str] = mapped_column(Id)
    recipient: Mapped[str] = mapped_column(Id)
    permit: Mapped[str | None] = mapped_column(Id)
    system: Mapped[str] = mapped_column(Id)
    purpose: Mapped[str | None] = mapped_column(Text)
    fields: Mapped[list[str] | None] = mapped_column(JSONB)
    year: Mapped[int] = mapped_column(SmallInteger)
    """The year, in Asia/Shanghai, in which the decision was taken: its persons count there."""
    counts: Mapped[bool] = mapped_column(Boolean)
    """True if its persons add to the handler's year (those of an exempt export do not)."""
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    permit_persons: Mapped[int] = mapped_column(BigInteger)
    """Persons of its permit reserved until it ends: all its persons, or the growth of the permit's total."""
    permit_sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    year_persons: Mapped[int] = mapped_column(BigInteger)
    """Persons of its handler's year reserved, if it counts there."""
    year_sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    sent_persons: Mapped[int | None] = mapped_column(BigInteger)
    sent_sensitive_persons: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    """As stored: `reserved`, `completed` or `cancelled`; a reservation past `expires_at` has lapsed."""
    late: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """True if anything was reported after its end."""
    reserved_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        Index("ix_exports_handler", "handler", "id"),
        Index("ix_exports_permit", "permit", "id"),
    )

    @property
    def reserved_of_permit(self) -> Count:
        """The reserved persons of its permit."""
        return Count(self.permit_persons, self.permit_sensitive_persons)

    @property
    def reserved_in_year(self) -> Count:
        """The reserved persons of its handler's year."""
        return Count(self.year_persons, self.year_sensitive_persons)


class LedgerYear(OfHandler, Base):
    """Persons exported by a handler in a year, for thresholds; its row is also the lock of the year's count."""

    __tablename__ = "ledger_years"

    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"), primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    persons: Mapped[int] = mapped_column(BigInteger)
    """The plain sum and the upper bound of the year's sketch."""
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    plain_persons: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """The sum of the reports that were numbers."""
    plain_sensitive_persons: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class PermitReservations(Base):
    """Persons of a permit in reservations with the same expiry, after which they no longer count."""

    __tablename__ = "held_by_permits"

    permit: Mapped[PrimaryId]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)


class YearReservations(OfHandler, Base):
    """Persons of a handler's year in reservations with the same expiry, if they count toward it."""

    __tablename__ = "held_in_years"

    handler: Mapped[PrimaryId]
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)


class StoredSketch(Base):
    """Distinct persons of one kind by hash, of an export, a permit or a handler's year; it reveals no hash."""

    __tablename__ = "sketches"

    owner: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    """Id of an export or a permit, or a year as `operations.year_of` names it."""
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    """`persons` or `sensitive_persons`."""
    lg_k: Mapped[int] = mapped_column(SmallInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """A compact Theta sketch, serialized."""
    estimate: Mapped[int] = mapped_column(BigInteger)
    lower: Mapped[int] = mapped_column(BigInteger)
    upper: Mapped[int] = mapped_column(BigInteger)
    at_most: Mapped[int] = mapped_column(BigInteger)
    """Sum of the maxima of its reports, which limits the bounds."""


class PersonKey(OfHandler, Base):
    """Key with which a handler's exporters hash identifiers; it is returned on each request, so it is stored."""

    __tablename__ = "person_keys"

    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Timestamp]
