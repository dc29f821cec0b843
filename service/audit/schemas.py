"""API shapes of audit entries."""

import json
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from service.audit import commitments
from service.audit.effects import POINTER
from service.audit.tables import Entry
from service.validation.text_types import Instant


class EntryFilter(BaseModel):
    """Filter of entries; all set members must match."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    handler: str | None = None
    since: Instant | None = None
    until: Instant | None = None


class CommitmentOut(BaseModel):
    """A commitment, which stands in `body` as `{"sealed": hash}`, with its opening."""

    pointer: str = Field(description="Where it stands in `body` (RFC 6901).")
    hash: str = Field(
        description="`sha256:` and the SHA-256 of the salt and the canonical JSON of the value, in hexadecimal."
    )
    salt: str | None = Field(description="In hexadecimal; null where the opening was erased.")
    value: Any = Field(description="The committed value; null where the opening was erased.")


class EntryOut(BaseModel):
    """One act as it was recorded."""

    seq: int
    at: datetime
    actor: str = Field(description="Principal id; `operator` for the command line.")
    action: str
    subject: str
    handler: str | None
    details: dict[str, Any] = Field(
        description='Details of the act, with commitments replaced by their values; `{"sealed": hash}` where the opening was erased.'
    )
    sealed: list[CommitmentOut] = Field(
        description="The commitments in the details of `body`, in the order of their pointers. The opening of `/effects`, hashes of the "
        "rows that the act wrote, is left out: `outbound audit check` compares it with the tables."
    )
    body: str = Field(description="The canonical JSON (RFC 8785) that is hashed.")
    sha256: str = Field(description="SHA-256 of the UTF-8 bytes of `body`, in hexadecimal.")

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Return the shape of a row with its openings."""
        body = json.loads(entry.body)
        openings = {row.pointer: commitments.Opening(row.pointer, row.salt, row.value) for row in entry.openings}
        return cls(
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            handler=entry.handler,
            details=commitments.open_commitments(body, openings.values())["details"],
            sealed=[
                _present_commitment(pointer, commitment, openings.get(pointer))
                for pointer, commitment in sorted(commitments.commitments_of(body).items())
                if pointer != POINTER
            ],
            body=entry.body,
            sha256=entry.sha256.hex(),
        )


def _present_commitment(pointer: str, commitment: str, opening: commitments.Opening | None) -> CommitmentOut:
    if opening is None or opening.commitment != commitment:
        return CommitmentOut(pointer=pointer, hash=commitment, salt=None, value=None)
    return CommitmentOut(pointer=pointer, hash=commitment, salt=opening.salt.hex(), value=opening.value)
