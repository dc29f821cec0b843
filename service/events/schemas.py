"""API shapes of events."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from service.events.tables import Event


class WhoOut(BaseModel):
    """Actor of an event."""

    id: str
    name: str
    on_behalf_of: str | None = None


class WhereOut(BaseModel):
    """Address at which to look or to act."""

    href: str
    method: Literal["GET", "POST"]


class EventOut(BaseModel):
    """Event: a change with its context."""

    seq: int
    at: datetime
    kind: str = Field(description="What happened, for instance `transfer.reviewed`.")
    subject: str
    handler: str | None
    audience: list[str] = Field(description="Principals to whom it is addressed.")
    who: WhoOut
    why: str | None = Field(description="The reason or comment that was given.")
    how_much: dict[str, Any] = Field(description="Persons, datasets, fields, purpose and days that it is about.")
    details: dict[str, Any]
    where: WhereOut

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return the shape of a row."""
        columns = {name: getattr(event, name) for name in ("seq", "at", "kind", "subject", "handler", "audience")}
        return cls.model_validate(columns | event.body)
