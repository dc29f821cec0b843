"""Table of obligations."""

from datetime import date, datetime

from sqlalchemy import Boolean, Date, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.clock import day_in_shanghai
from service.database.columns import Base, Id, PrimaryId, Timestamp
from service.database.row_security import OfHandler


class Obligation(OfHandler, Base):
    """Obligation of a handler with a due day, for one permit or transfer or for all of its important data."""

    __tablename__ = "obligations"

    id: Mapped[PrimaryId]
    code: Mapped[str] = mapped_column(Text)
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    transfer: Mapped[str | None] = mapped_column(Id)
    permit: Mapped[str | None] = mapped_column(Id)
    dataset: Mapped[str | None] = mapped_column(Id)
    owner: Mapped[str | None] = mapped_column(Id)
    """Principal who sees to it; null: whoever has the right role."""
    due_on: Mapped[date] = mapped_column(Date)
    due_note: Mapped[str | None] = mapped_column(Text)
    blocks: Mapped[bool] = mapped_column(Boolean)
    """True if it suspends its permit when overdue, or without one the handler's permits for important or core data."""
    state: Mapped[str] = mapped_column(Text)
    """As stored: `open`, `done` or `void`; whether it is overdue is a matter of the day."""
    evidence: Mapped[str | None] = mapped_column(Id)
    note: Mapped[str | None] = mapped_column(Text)
    ended_by: Mapped[str | None] = mapped_column(Id)
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """End; for an open obligation the future instant from which `evidence`, dated ahead, settles it."""
    created_at: Mapped[Timestamp]

    @property
    def settles_on(self) -> date | None:
        """The day, in Asia/Shanghai, from which evidence that was dated ahead settles it; None: there is none."""
        return None if self.state != "open" or self.ended_at is None else day_in_shanghai(self.ended_at)

    __table_args__ = (
        Index("ix_obligations_open_permit", "permit", postgresql_where=text("state = 'open' and blocks")),
        Index("ix_obligations_open_handler", "handler", "due_on", postgresql_where=text("state = 'open'")),
        Index("ix_obligations_transfer", "transfer"),
    )
