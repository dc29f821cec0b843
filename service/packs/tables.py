"""Table of requested evidence packs."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, ForeignKey, Index, Integer, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, PrimaryId, Timestamp
from service.database.row_security import OfHandler


class EvidencePack(OfHandler, Base):
    """A requested pack; its file is in the packs' directory, named by id and attempt."""

    __tablename__ = "evidence_packs"

    id: Mapped[PrimaryId]
    kind: Mapped[str] = mapped_column(Text)
    """`permit`, `transfer`, `dataset` or `handler`."""
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    since: Mapped[date | None] = mapped_column(Date)
    """First day, in Asia/Shanghai; null: from the beginning."""
    until: Mapped[date | None] = mapped_column(Date)
    """Last day; null: to the time of the snapshot."""
    requested_by: Mapped[str] = mapped_column(Id)
    requested_at: Mapped[Timestamp]
    state: Mapped[str] = mapped_column(Text)
    """`waiting`, `working`, `ready`, `failed` or `expired`. A worker holds an advisory lock, so a dead one is detected."""
    attempts: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(BigInteger)
    """Number of records and entries that are written."""
    total: Mapped[int | None] = mapped_column(BigInteger)
    """Number of all records and entries; null: not counted yet."""
    detail: Mapped[str | None] = mapped_column(Text)
    """Reason of a failure."""
    made_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """Time of the snapshot."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("kind in ('permit', 'transfer', 'dataset', 'handler')", name="kind"),
        CheckConstraint("state in ('waiting', 'working', 'ready', 'failed', 'expired')", name="state"),
        Index("ix_evidence_packs_open", "id", postgresql_where=text("state in ('waiting', 'working', 'ready')")),
    )
