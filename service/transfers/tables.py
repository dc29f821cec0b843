"""Tables of transfers, their revisions, stages, reviews and evidence."""

from datetime import date
from typing import Any

from sqlalchemy import BigInteger, Date, ForeignKey, ForeignKeyConstraint, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, Id, Moment, PrimaryId

Json = dict[str, Any]


class Transfer(Base):
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
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]

    __table_args__ = (
        Index(None, "handler", "id"),
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

    __table_args__ = (ForeignKeyConstraint(["transfer", "revision"], ["revisions.transfer", "revisions.number"]),)


class Review(Base):
    """One person's decision on one stage of one revision."""

    __tablename__ = "reviews"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    revision: Mapped[int] = mapped_column(Integer)
    hash: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    reviewer: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    at: Mapped[Moment]

    __table_args__ = (Index("uq_reviews_stage", "transfer", "revision", "stage", unique=True),)


class Evidence(Base):
    """The record of a paper."""

    __tablename__ = "evidence"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), index=True)
    kind: Mapped[str] = mapped_column(Text)
    reference: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text)
    issued_on: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date | None] = mapped_column(Date)
    note: Mapped[str | None] = mapped_column(Text)
    added_by: Mapped[str] = mapped_column(Id)
    added_at: Mapped[Moment]
