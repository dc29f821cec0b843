"""API shapes of evidence packs."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.packs.tables import EvidencePack
from service.validation.text_types import NearDay

Kind = Literal["permit", "transfer", "dataset", "handler"]
State = Literal["waiting", "working", "ready", "failed", "expired"]
Reference = Annotated[str, Field(min_length=1, max_length=500)]


class PackIn(BaseModel):
    """Request of a pack about exactly one permit, transfer, dataset or handler."""

    model_config = ConfigDict(extra="forbid")

    permit: Reference | None = Field(default=None, description="Id of a permit.")
    transfer: Reference | None = Field(default=None, description="Id of a transfer.")
    dataset: Reference | None = Field(default=None, description="Id or key of a dataset.")
    handler: Reference | None = Field(default=None, description="Id or key of a handler.")
    since: NearDay | None = Field(
        default=None, description="First day, in Asia/Shanghai, for a dataset or a handler; null: from the beginning."
    )
    until: NearDay | None = Field(
        default=None, description="Last day, for a dataset or a handler; null: to the present."
    )

    @model_validator(mode="after")
    def _is_about_one_thing(self) -> Self:
        named = [name for name in ("permit", "transfer", "dataset", "handler") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError("Send exactly one of permit, transfer, dataset and handler.")
        if named[0] in {"permit", "transfer"} and (self.since or self.until):
            raise ValueError(
                "Send a period only with a dataset or a handler; the pack of a permit or a transfer has no period."
            )
        if self.since and self.until and self.since > self.until:
            raise ValueError("The period ends before it begins.")
        return self


class PackOut(BaseModel):
    """A pack with its progress."""

    id: str
    kind: Kind
    subject: str = Field(description="Id of the subject.")
    handler: str
    since: date | None
    until: date | None
    state: State = Field(description="`ready`: the file can be fetched from `content`.")
    progress: int = Field(description="Percent.")
    detail: str | None = Field(description="Reason of a failure.")
    requested_by: str
    requested_at: datetime
    made_at: datetime | None = Field(description="Time of the snapshot: everything in the pack is as it was then.")
    size: int | None = Field(description="Bytes of the file.")
    sha256: str | None = Field(description="SHA-256 of the file, in hexadecimal.")
    content: str | None = Field(description="Path of the file, once it is ready.")
    expires_at: datetime | None = Field(description="The file is removed then; request a new pack.")

    @classmethod
    def of(cls, pack: EvidencePack, now: datetime) -> Self:
        """Return the pack of a row at an instant."""
        is_gone = pack.state == "ready" and pack.expires_at is not None and pack.expires_at <= now
        state = "expired" if is_gone else pack.state
        return cls.model_validate(
            {name: getattr(pack, name) for name in cls.model_fields if name in EvidencePack.__table__.columns}
            | {
                "state": state,
                "progress": _percent(pack),
                "sha256": None if pack.sha256 is None else pack.sha256.hex(),
                "content": f"/v1/evidence-packs/{pack.id}/content" if state == "ready" else None,
            }
        )


def _percent(pack: EvidencePack) -> int:
    if pack.state in {"ready", "expired"}:
        return 100
    # The last percent is for the reports and the proofs.
    return 0 if not pack.total else min(99, pack.done * 99 // pack.total)
