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

from service.database.columns import Base, Id, Moment, PrimaryId
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
    """Its author states that of data tagged sensitive only fields go that are not."""
    method: Mapped[str] = mapped_column(Text)
    necessity: Mapped[str | None] = mapped_column(Text)
    legal_basis: Mapped[str] = mapped_column(Text)
    route: Mapped[str | None] = mapped_column(Text)
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    status: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the last submitted revision; 0: none yet."""
    open_stage: Mapped[str | None] = mapped_column(Text)
    requester: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    authors: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Everybody who wrote, changed or submitted it: none of them reviews it."""
    author_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Who could have done any of that; null: done before that was stored."""
    renews: Mapped[str | None] = mapped_column(Id, ForeignKey("transfers.id"))
    """The transfer whose permit it is to follow."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]

    __table_args__ = (
        Index(None, "handler", "id"),
        Index("ix_transfers_renews", "renews"),
        Index("ix_transfers_queue", "open_stage", "id", postgresql_where=text("status = 'in_review'")),
    )


class Revision(Base):
    """What was submitted at one time, never changed afterwards."""

    __tablename__ = "revisions"

    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    hash: Mapped[str] = mapped_column(Text)
    content: Mapped[Json] = mapped_column(JSONB)
    """What the hash is of: the request with the handler, the datasets and the recipient as they were."""
    determination: Mapped[Json] = mapped_column(JSONB)
    gradings: Mapped[list[Json]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """Of each dataset the grading that its tags came from: not hashed, since confirming the same tags changes nothing."""
    ledger: Mapped[Json] = mapped_column(JSONB)
    """The handler's count of the year that the determination saw."""
    submitted_by: Mapped[str] = mapped_column(Id)
    submitted_at: Mapped[Moment]


class RevisionStage(Base):
    """One stage of approval of one revision."""

    __tablename__ = "stages"

    transfer: Mapped[str] = mapped_column(Id, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime | None] = mapped_column(Instant)
    """When it was opened last: its service time runs from then."""
    assignee: Mapped[str | None] = mapped_column(Id)
    reminded_at: Mapped[datetime | None] = mapped_column(Instant)
    escalated_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        ForeignKeyConstraint(["transfer", "revision"], ["revisions.transfer", "revisions.number"]),
        Index("ix_stages_open", "name", "opened_at", postgresql_where=text("status = 'open'")),
    )


class Review(Base):
    """One person's decision on one stage of one revision; one that is taken back stays on record."""

    __tablename__ = "reviews"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    revision: Mapped[int] = mapped_column(Integer)
    hash: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    conditions: Mapped[Json | None] = mapped_column(JSONB)
    """What the approval is tied to."""
    reviewer: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    on_behalf_of: Mapped[str | None] = mapped_column(Id)
    """Who lent the role, where it was lent."""
    persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Who could have made it, and whoever lent the role; null: made before that was stored."""
    carried_from: Mapped[str | None] = mapped_column(Id)
    """The approval of an earlier revision that was confirmed."""
    at: Mapped[Moment]
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
    """A file, kept once however many records it serves."""

    __tablename__ = "documents"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    size: Mapped[int] = mapped_column(Integer)
    media_type: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Moment]


class Evidence(Base):
    """The record of a paper, with its file where there is one."""

    __tablename__ = "evidence"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    reference: Mapped[str] = mapped_column(Text)
    number: Mapped[str | None] = mapped_column(Text)
    """What its kind, issuer and reference come to, however they are written; null: filed before that was stored, or of no kind that
    is bound to a request."""
    issuer: Mapped[str] = mapped_column(Text)
    issued_on: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date | None] = mapped_column(Date)
    """As the paper states it."""
    note: Mapped[str | None] = mapped_column(Text)
    document: Mapped[bytes | None] = mapped_column(LargeBinary, ForeignKey("documents.sha256"), index=True)
    file_name: Mapped[str | None] = mapped_column(Text)
    scope: Mapped[Json | None] = mapped_column(JSONB)
    """For papers that serve until purpose or scope changes: what the request was."""
    reused_from: Mapped[str | None] = mapped_column(Id)
    """The record of the renewed transfer that it repeats."""
    replaces: Mapped[str | None] = mapped_column(Id)
    """The record whose place it takes: at once, or once it is verified where it must be."""
    added_by: Mapped[str] = mapped_column(Id)
    added_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Who could have added it, or what it repeats; null: added before that was stored."""
    added_at: Mapped[Moment]
    verified_by: Mapped[str | None] = mapped_column(Id)
    verified_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    verified_at: Mapped[datetime | None] = mapped_column(Instant)
    replaced_by: Mapped[str | None] = mapped_column(Id)
    ended_by: Mapped[str | None] = mapped_column(Id)
    """Who withdrew or replaced it."""
    ended_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    is_distrusted: Mapped[bool | None] = mapped_column(Boolean)
    """Whether a reviewer withdrew it: papers of its kind count from then on once they are verified; null: not withdrawn, or before."""
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    """From then on it counts for nothing."""
    ended_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        Index("ix_evidence_ended", "id", postgresql_where=text("ended_at is not null")),
        Index("ix_evidence_number", "kind", "number", postgresql_where=text("number is not null")),
    )
    """The gate asks whether any of a permit's papers has ended: few have, and the others need not be looked at."""


class Comment(Base):
    """What somebody said about a request."""

    __tablename__ = "comments"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    author: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    text: Mapped[str] = mapped_column(Text)
    mentions: Mapped[list[str]] = mapped_column(ARRAY(Id))
    at: Mapped[Moment]


class Recusal(Base):
    """Somebody who stands back from a request."""

    __tablename__ = "recusals"

    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), primary_key=True)
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), primary_key=True)
    persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Who could have stood back by it: none of them decides; null: before that was stored."""
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[Moment]


STRUCTURING: Final = "structuring"
OVER_QUOTA: Final = "over_quota"


class StructuringFinding(OfHandler, Base):
    """Requests that stay below a threshold one by one and reach it together; kept until somebody of legal answers.

    Or, where it is `about` a quota, one request under whose permit more persons went than it allows.
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
    """All that reach it together, this one included."""
    handlers: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """The handler of each of them."""
    exported: Mapped[int] = mapped_column(BigInteger)
    """Of the total what the handlers had exported in the year under other requests."""
    found_at: Mapped[Moment]
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
