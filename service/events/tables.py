"""The table of events; like the log, only ever added to."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Identity, Index, Text, and_, any_, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Timestamp
from service.database.row_security import SCOPE_HANDLERS, SCOPE_PRINCIPAL, OfHandler, RowScope


class Event(OfHandler, Base):
    """One thing that happened, with those who are told."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[Timestamp]
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str | None] = mapped_column(Id)
    audience: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Principals to whom it is addressed."""
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Who, what, why, how much, and where to act."""

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a view sees an event: one of its handlers, one for the viewer, or the viewer's own about none."""
        own = and_(cls.handler.is_(None), cls.body["who"]["id"].astext == SCOPE_PRINCIPAL)
        return or_(cls.handler == SCOPE_HANDLERS, any_(cls.audience) == SCOPE_PRINCIPAL, own)

    def is_seen_by(self, scope: RowScope) -> bool:
        """Return True if a loaded row is in a row scope."""
        is_own = self.handler is None and self.body["who"]["id"] == scope.principal
        return is_own or self.handler in scope.handlers or scope.principal in self.audience

    __table_args__ = (
        Index(None, "subject", "seq"),
        Index(None, "handler", "seq"),
        Index("ix_events_audience", "audience", postgresql_using="gin"),
    )
