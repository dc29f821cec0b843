"""API shapes of audit entries."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from service.audit import commitments
from service.audit.effects import POINTER
from service.audit.tables import Entry
from service.validation.text_types import Instant


class EntryFilter(BaseModel):
    """Which entries are wanted; all of the given ones must fit."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    handler: str | None = None
    since: Instant | None = None
    until: Instant | None = None


class SealedOut(BaseModel):
    """A value that stands in `body` as `{"sealed": hash}`, with what opens it."""

    pointer: str = Field(description="Where it stands in `body` (RFC 6901).")
    hash: str = Field(
        description="`sha256:` and the SHA-256 of the salt and the canonical JSON of the value, in hexadecimal."
    )
    salt: str | None = Field(description="In hexadecimal; null: there is no opening any more.")
    value: Any = Field(description="What was sealed; null where there is no opening any more.")


class EntryOut(BaseModel):
    """One act as it was recorded."""

    seq: int
    at: datetime
    actor: str = Field(description="Principal id; `operator` for the command line.")
    action: str
    subject: str
    handler: str | None
    details: dict[str, Any] = Field(
        description='What was done. What is sealed in `body` is opened here; `{"sealed": hash}` where there is no opening any more.'
    )
    sealed: list[SealedOut] = Field(
        description="What is sealed in the details of `body`, in the order of its pointers. What opens `/effects`, the hashes of what the "
        "act wrote, is compared with the tables by `outbound audit check`, and not shown."
    )
    body: str = Field(description="The canonical JSON (RFC 8785) that was hashed.")
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
            details=commitments.opened(body, openings.values())["details"],
            sealed=[
                _sealed(pointer, told, openings.get(pointer))
                for pointer, told in sorted(commitments.seals(body).items())
                if pointer != POINTER
            ],
            body=entry.body,
            sha256=entry.sha256.hex(),
        )


def _sealed(pointer: str, told: str, opening: commitments.Opening | None) -> SealedOut:
    if opening is None or opening.seal != told:
        return SealedOut(pointer=pointer, hash=told, salt=None, value=None)
    return SealedOut(pointer=pointer, hash=told, salt=opening.salt.hex(), value=opening.value)


Hash = Annotated[str, Field(description="A hash of 32 bytes, in base64.")]


class InclusionOut(BaseModel):
    """The proof that a leaf is in the log of a size.

    Source: RFC 9162 section 2.1.3.
    """

    leaf: int = Field(description="Index of the leaf, from 0 on.")
    size: int
    hash: Hash = Field(description="SHA-256 of a zero byte and the UTF-8 bytes of the entry's `body`.")
    root: Hash
    proof: list[Hash]


class ConsistencyOut(BaseModel):
    """The proof that the log of one size begins with the log of an earlier size.

    Source: RFC 9162 section 2.1.4.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: int = Field(alias="from")
    to: int
    from_root: Hash
    to_root: Hash
    proof: list[Hash]


class CheckpointOut(BaseModel):
    """What the log has promised."""

    origin: str = Field(description="The name of the log.")
    size: int = Field(description="Entries that it holds.")
    root: Hash
    at: datetime
    note: str = Field(
        description="The signed note (C2SP tlog-checkpoint), with the lines of the witnesses that have cosigned it."
    )


class EntryInLogOut(EntryOut):
    """One act as it was recorded, and the proof that the log holds it."""

    leaf: int | None = Field(description="Its place in the log; null for the moment until it has one.")
    inclusion: InclusionOut | None = Field(description="The proof that `checkpoint` holds it.")
    checkpoint: str | None = Field(description="The newest checkpoint, as a signed note.")


class WitnessOut(BaseModel):
    """Where a witness stands with the log."""

    name: str
    vkey: str
    size: int | None = Field(description="Entries of the largest log that it has cosigned.")
    cosigned_at: datetime | None = Field(description="When it cosigned last, by its own clock.")
    age_seconds: float | None
    trouble: str | None = Field(description="Why it does not cosign; null where it does.")
    detail: str | None
    since: datetime | None = Field(description="When the trouble began.")


class HealthOut(BaseModel):
    """How the log is."""

    healthy: bool
    complaints: list[str] = Field(description="Why it is not healthy, in sentences.")
    size: int
    waiting: int = Field(description="Entries without a leaf, counted up to 10,000.")
    waiting_since: datetime | None = Field(description="The moment of the oldest of them.")
    checkpoint_at: datetime | None = Field(description="When the newest checkpoint was signed.")
    checkpoint_age_seconds: float | None
    witnesses: list[WitnessOut]
