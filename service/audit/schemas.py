"""API shapes of audit entries."""

import json
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from service.audit.tables import Entry
from service.http.texts import Instant


class EntryFilter(BaseModel):
    """Which entries are wanted; all of the given ones must fit."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    handler: str | None = None
    since: Instant | None = None
    until: Instant | None = None


class EntryOut(BaseModel):
    """One act as it was recorded."""

    seq: int
    at: datetime
    actor: str = Field(description="Principal id; `operator` for the command line.")
    action: str
    subject: str
    handler: str | None
    details: dict[str, Any]
    body: str = Field(description="The canonical JSON (RFC 8785) that was hashed.")
    sha256: str = Field(description="SHA-256 of the UTF-8 bytes of `body`, in hexadecimal.")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Return the shape of a row."""
        return cls(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            handler=entry.handler,
            details=json.loads(entry.body)["details"],
            body=entry.body,
            sha256=entry.sha256.hex(),
        )
