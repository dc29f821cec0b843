"""Tables of transfers, their revisions, stages, reviews and evidence."""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, PrimaryId, Timestamp
from service.database.row_security import OfHandler

Json = dict[str, Any]
Instant = DateTime(timezone=True)


class Transfer(OfHandler, Base):
    """A request to export datasets of one handler to one recipient for one purpose."""

    __tablename__ = "transfers"

    id: Mapped[PrimaryId]
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    datasets: Mapped[list[str]] = mapped_column(ARRAY(Id))
    recipient: Mapped[str] = mapped_column(Id, ForeignKey("recipients.id"))
    purpose: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    fields: Mapped[list[str] | None] = mapped_column(JSONB)
    systems: Mapped[list[str] | None] = mapped_column(JSONB)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_left_out: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """True if the author states that only fields without sensitive information are exported."""
    method: Mapped[str] = mapped_column(Text)
    necessity: Mapped[str | None] = mapped_column(Text)
    legal_basis: Mapped[str] = mapped_column(Text)
    route: Mapped[str | None] = mapped_column(Text)
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the last submitted revision; 0: none."""
    open_stage: Mapped[str | None] = mapped_column(Text)
    requester: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    authors: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Principals that wrote, changed or submitted it; none of them reviews it."""
    author_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have acted as the authors; null: written before this column existed."""
    renews: Mapped[str | None] = mapped_column(Id, ForeignKey("transfers.id"))
    """Id of the transfer whose permit it renews."""
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]

    __table_args__ = (
        Index(None, "handler", "id"),
        Index("ix_transfers_renews", "renews"),
        Index("ix_transfers_queue", "open_stage", "id", postgresql_where=text("status = 'in_review'")),
    )


class Revision(Base):
    """The content of a transfer as submitted; immutable."""

    __tablename__ = "revisions"

    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    hash: Mapped[str] = mapped_column(Text)
    content: Mapped[Json] = mapped_column(JSONB)
    """Hashed content: the request, with the handler, the datasets and the recipient at the time."""
    determination: Mapped[Json] = mapped_column(JSONB)
    gradings: Mapped[list[Json]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """Grading of each dataset; not hashed, since confirming the same tags does not change the content."""
    ledger: Mapped[Json] = mapped_column(JSONB)
    """Persons exported by the handler this year, as the determination counted them."""
    submitted_by: Mapped[str] = mapped_column(Id)
    submitted_at: Mapped[Timestamp]


class RevisionStage(Base):
    """A stage of approval of a revision."""

    __tablename__ = "stages"

    transfer: Mapped[str] = mapped_column(Id, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime | None] = mapped_column(Instant)
    """Time of the last opening, from which the service time runs."""
    assignee: Mapped[str | None] = mapped_column(Id)
    reminded_at: Mapped[datetime | None] = mapped_column(Instant)
    escalated_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        ForeignKeyConstraint(["transfer", "revision"], ["revisions.transfer", "revisions.number"]),
        Index("ix_stages_open", "name", "opened_at", postgresql_where=text("status = 'open'")),
    )


class Review(Base):
    """A person's decision on a stage of a revision; kept on record when it is taken back."""

    __tablename__ = "reviews"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    revision: Mapped[int] = mapped_column(Integer)
    hash: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    conditions: Mapped[Json | None] = mapped_column(JSONB)
    """Conditions of the approval."""
    reviewer: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    on_behalf_of: Mapped[str | None] = mapped_column(Id)
    """Principal that lent the role; null: the reviewer's own role."""
    persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have made the decision, and the lender; null: made before this column existed."""
    carried_from: Mapped[str | None] = mapped_column(Id)
    """Id of the approval of an earlier revision that it confirms."""
    at: Mapped[Timestamp]
    terms_accepted_by: Mapped[str | None] = mapped_column(Id)
    terms_accepted_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    terms_accepted_at: Mapped[datetime | None] = mapped_column(Instant)
    taken_back_at: Mapped[datetime | None] = mapped_column(Instant)
    taken_back_by: Mapped[str | None] = mapped_column(Id)
    taken_back_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index(
            "uq_reviews_stage",
            "transfer",
            "revision",
            "stage",
            unique=True,
            postgresql_where=text("taken_back_at is null"),
        ),
    )


class Document(Base):
    """A file, stored once for all records with the same SHA-256."""

    __tablename__ = "documents"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    size: Mapped[int] = mapped_column(Integer)
    media_type: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Timestamp]


class Evidence(Base):
    """A record of evidence, with an optional file."""

    __tablename__ = "evidence"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    reference: Mapped[str] = mapped_column(Text)
    number: Mapped[str | None] = mapped_column(Text)
    """Normalized issuer and reference (`workflow.number_of`); null: the kind is not bound to a request, or filed before this
    column existed."""
    issuer: Mapped[str] = mapped_column(Text)
    issued_on: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date | None] = mapped_column(Date)
    """Last day stated in the document."""
    note: Mapped[str | None] = mapped_column(Text)
    document: Mapped[bytes | None] = mapped_column(LargeBinary, ForeignKey("documents.sha256"), index=True)
    file_name: Mapped[str | None] = mapped_column(Text)
    scope: Mapped[Json | None] = mapped_column(JSONB)
    """Purpose and scope of the request at the time; only of kinds that are bound to them."""
    reused_from: Mapped[str | None] = mapped_column(Id)
    """Id of the record of the renewed transfer that it was copied from."""
    replaces: Mapped[str | None] = mapped_column(Id)
    """Id of the record that it replaces: at once, or after verification if that is required."""
    added_by: Mapped[str] = mapped_column(Id)
    added_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have added it, or the record it was copied from; null: added before this column existed."""
    added_at: Mapped[Timestamp]
    verified_by: Mapped[str | None] = mapped_column(Id)
    verified_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    verified_at: Mapped[datetime | None] = mapped_column(Instant)
    replaced_by: Mapped[str | None] = mapped_column(Id)
    ended_by: Mapped[str | None] = mapped_column(Id)
    """Principal that withdrew or replaced it."""
    ended_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    is_distrusted: Mapped[bool | None] = mapped_column(Boolean)
    """True if a reviewer withdrew it: later evidence of its kind needs verification. Null: not withdrawn, or an older row."""
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    """Time from which it is not valid."""
    ended_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_evidence_ended", "id", postgresql_where=text("ended_at is not null")),
        Index("ix_evidence_number", "kind", "number", postgresql_where=text("number is not null")),
    )
    """The gate looks for ended evidence of a permit; a partial index keeps that short, since little evidence has ended."""


class Comment(Base):
    """A comment on a request."""

    __tablename__ = "comments"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    author: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    text: Mapped[str] = mapped_column(Text)
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Id))
    at: Mapped[Timestamp]


class Recusal(Base):
    """A recusal of a person from a request."""

    __tablename__ = "recusals"

    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), primary_key=True)
    persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have recused themselves by it; none of them decides. Null: made before this column existed."""
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[Timestamp]


STRUCTURING: Final = "structuring"
OVER_QUOTA: Final = "over_quota"


class StructuringFinding(OfHandler, Base):
    """A finding on requests that are each below a threshold and reach it together, or on an exceeded quota.

    Kept until a reviewer of `legal` answers it. `about` is `structuring` or `over_quota`.
    """

    __tablename__ = "findings"

    id: Mapped[PrimaryId]
    about: Mapped[str] = mapped_column(Text, default=STRUCTURING, server_default=STRUCTURING)
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    threshold: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    value: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    shared: Mapped[str] = mapped_column(Text)
    transfers: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Ids of the requests that reach the threshold together, this one included."""
    handlers: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Handler of each of the requests."""
    exported: Mapped[int] = mapped_column(BigInteger)
    """Part of the total that the handlers have exported this year under other requests."""
    found_at: Mapped[Timestamp]
    answer: Mapped[str | None] = mapped_column(Text)
    answer_reason: Mapped[str | None] = mapped_column(Text)
    answered_by: Mapped[str | None] = mapped_column(Id)
    answered_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    answered_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        Index(
            "uq_findings_open",
            "transfer",
            "threshold",
            unique=True,
            postgresql_where=text("answered_at is null"),
        ),
        Index(None, "handler", "id"),
    )
