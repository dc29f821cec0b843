"""Table of events, which is append-only like the log."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Identity, Index, Text, and_, any_, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Timestamp
from service.database.row_security import SCOPE_HANDLERS, SCOPE_PRINCIPAL, OfHandler, RowScope


class Event(OfHandler, Base):
    """A change with the principals that it is addressed to."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[Timestamp]
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Id)
    handler: Mapped[str | None] = mapped_column(Id)
    audience: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Principals to whom it is addressed."""
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Members `who`, `why`, `how_much`, `details` and `where` of the API's event."""

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a row scope includes an event: by its handlers, by its audience, or by its actor without a handler."""
        own = and_(cls.handler.is_(None), cls.body["who"]["id"].astext == SCOPE_PRINCIPAL)
        return or_(cls.handler == SCOPE_HANDLERS, any_(cls.audience) == SCOPE_PRINCIPAL, own)

    def is_seen_by(self, scope: RowScope) -> bool:
        """True if a row scope includes this event; the same rule as `is_within`."""
        is_own = self.handler is None and self.body["who"]["id"] == scope.principal
        return is_own or self.handler in scope.handlers or scope.principal in self.audience

    __table_args__ = (
        Index(None, "subject", "seq"),
        Index(None, "handler", "seq"),
        Index("ix_events_audience", "audience", postgresql_using="gin"),
    )
