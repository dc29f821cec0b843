"""Tables of exports, of what each year adds up to, and of the sketches and keys behind persons by hash."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, ForeignKey, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Moment, PrimaryId
from service.database.row_security import OfHandler
from service.law.facts import Count


class Export(OfHandler, Base):
    """One use of a permit: persons reserved, then reported as sent, given back, or lapsed.

    The rows it refers to were read in the transaction that wrote it, and no such row can be deleted: so there are no foreign keys, which
    would look each of them up again.
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
    """Whether its persons add to the handler's year (an exempt export's do not)."""
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    permit_persons: Mapped[int] = mapped_column(BigInteger)
    """What it holds of its permit until it ends: all its persons, or by how many the permit's total would grow."""
    permit_sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    year_persons: Mapped[int] = mapped_column(BigInteger)
    """The same of its handler's year, if it counts there."""
    year_sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    sent_persons: Mapped[int | None] = mapped_column(BigInteger)
    sent_sensitive_persons: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    """As stored: `reserved`, `completed` or `cancelled`; a reservation past its end has lapsed, whatever stands here."""
    late: Mapped[bool] = mapped_column(Boolean, default=False, server_default=text("false"))
    """Whether anything of it was reported after it had ended."""
    reserved_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        Index("ix_exports_handler", "handler", "id"),
        Index("ix_exports_permit", "permit", "id"),
    )

    @property
    def held_of_permit(self) -> Count:
        """What it holds of its permit."""
        return Count(self.permit_persons, self.permit_sensitive_persons)

    @property
    def held_in_year(self) -> Count:
        """What it holds of its handler's year."""
        return Count(self.year_persons, self.year_sensitive_persons)


class LedgerYear(OfHandler, Base):
    """Persons that a handler has exported in a year, as thresholds see them; its row is also the lock of the year's count."""

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
    """Persons of a permit that reservations hold until the same moment; once it has passed they are not counted any more."""

    __tablename__ = "held_by_permits"

    permit: Mapped[PrimaryId]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)


class YearReservations(OfHandler, Base):
    """The same of a handler's year, for reservations that count toward it."""

    __tablename__ = "held_in_years"

    handler: Mapped[PrimaryId]
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)


class StoredSketch(Base):
    """The distinct persons of one kind that an export, a permit or a handler's year holds by hash; no hash can be read from it."""

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
    """What the reports behind it add up to: the bounds never go beyond that."""


class PersonKey(OfHandler, Base):
    """The key that a handler's exporters hash identifiers with; it is handed out again, so it must be kept."""

    __tablename__ = "person_keys"

    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Moment]
