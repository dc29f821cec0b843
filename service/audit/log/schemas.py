"""JSON of the log: checkpoints, proofs, witnesses, health."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.audit.schemas import EntryOut

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
    """A signed checkpoint: size and root of the log."""

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
    """Status of a witness."""

    name: str
    vkey: str
    size: int | None = Field(description="Entries of the largest log that it has cosigned.")
    cosigned_at: datetime | None = Field(description="When it cosigned last, by its own clock.")
    age_seconds: float | None
    trouble: str | None = Field(description="Why it does not cosign; null where it does.")
    detail: str | None
    since: datetime | None = Field(description="When the trouble began.")


class HealthOut(BaseModel):
    """Health of the log."""

    healthy: bool
    complaints: list[str] = Field(description="Why it is not healthy, in sentences.")
    size: int
    waiting: int = Field(description="Entries without a leaf, counted up to 10,000.")
    waiting_since: datetime | None = Field(description="The moment of the oldest of them.")
    checkpoint_at: datetime | None = Field(description="When the newest checkpoint was signed.")
    checkpoint_age_seconds: float | None
    witnesses: list[WitnessOut]
