"""The table of evidence packs that were asked for."""

from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, ForeignKey, Index, Integer, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Moment, PrimaryId
from service.database.row_security import OfHandler


class EvidencePack(OfHandler, Base):
    """A pack, from the request on; its file stands in the packs' directory under its id and attempt."""

    __tablename__ = "evidence_packs"

    id: Mapped[PrimaryId]
    kind: Mapped[str] = mapped_column(Text)
    """`permit`, `transfer`, `dataset` or `handler`."""
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    since: Mapped[date | None] = mapped_column(Date)
    """First day, in Asia/Shanghai; null: from the beginning."""
    until: Mapped[date | None] = mapped_column(Date)
    """Last day; null: to the moment of the pack."""
    requested_by: Mapped[str] = mapped_column(Id)
    requested_at: Mapped[Moment]
    state: Mapped[str] = mapped_column(Text)
    """`waiting`, `working`, `ready`, `failed` or `expired`; who works on it holds an advisory lock, so a dead worker is found out."""
    attempts: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(BigInteger)
    """Records and entries written so far."""
    total: Mapped[int | None] = mapped_column(BigInteger)
    """How many there will be; null: not known yet."""
    detail: Mapped[str | None] = mapped_column(Text)
    """Why it failed."""
    made_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """The moment of the snapshot that it was read from."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))

    __table_args__ = (
        CheckConstraint("kind in ('permit', 'transfer', 'dataset', 'handler')", name="kind"),
        CheckConstraint("state in ('waiting', 'working', 'ready', 'failed', 'expired')", name="state"),
        Index("ix_evidence_packs_open", "id", postgresql_where=text("state in ('waiting', 'working', 'ready')")),
    )
