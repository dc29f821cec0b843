"""Tables of permits, of the datasets that they cover, and of the keys that sign their tokens.

What the gate reads for each question is `JSON`, as in the register.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import JSON, BigInteger, Date, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, PrimaryId, Timestamp
from service.database.row_security import OfHandler
from service.law.facts import Count
from service.permits.standing import Standing, is_personal, standing


class Permit(OfHandler, Base):
    """Permit of an approved revision, bound to the facts and the evidence of the approval."""

    __tablename__ = "permits"

    id: Mapped[PrimaryId]
    transfer: Mapped[str] = mapped_column(Id, ForeignKey("transfers.id"), unique=True)
    revision: Mapped[str] = mapped_column(Text)

    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    recipient: Mapped[str] = mapped_column(Id, ForeignKey("recipients.id"))
    purpose: Mapped[str] = mapped_column(Text)
    fields: Mapped[list[str] | None] = mapped_column(JSON)
    systems: Mapped[list[str] | None] = mapped_column(JSON)
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    sent_persons: Mapped[int] = mapped_column(BigInteger, default=0)
    """Reported persons: the plain sum and the upper bound of the sketch."""
    sent_sensitive_persons: Mapped[int] = mapped_column(BigInteger, default=0)
    plain_persons: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    """The sum of the reports that were numbers."""
    plain_sensitive_persons: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    mechanism: Mapped[str] = mapped_column(Text)
    requirements: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Mechanisms of all the requirements that were met."""
    route: Mapped[str | None] = mapped_column(Text)
    claims: Mapped[dict[str, Any]] = mapped_column(JSON)
    """`method`, `necessity` and `legal_basis` of the transfer; `recipient`, the facts of it, `recipient_name`, `handler`, the facts of
    that, and `papers`, what the law asked for."""
    evidence: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Ids of the evidence that it rests on."""
    receipt_due_on: Mapped[date | None] = mapped_column(Date)
    """The last day without a filing receipt (SCM art. 7); null: none must follow."""
    status: Mapped[str] = mapped_column(Text)
    """Stored status, set by acts: `active`, `suspended`, `revoked`."""
    reason: Mapped[str | None] = mapped_column(Text)
    conditions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    """Conditions of its reviewers, by stage; the scope above is within them."""
    supersedes: Mapped[str | None] = mapped_column(Id)
    superseded_by: Mapped[str | None] = mapped_column(Id)
    issued_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]

    __table_args__ = (Index(None, "handler", "id"), Index("ix_permits_id_hash", "id", postgresql_using="hash"))


class PermitDataset(Base):
    """A dataset that a permit covers, with the tags and the fields that it had: when they move, the gate denies."""

    __tablename__ = "permit_datasets"

    permit: Mapped[str] = mapped_column(Id, ForeignKey("permits.id"), primary_key=True)
    dataset: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True)
    recipient: Mapped[str] = mapped_column(Id)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    grading: Mapped[int] = mapped_column(Integer)
    fields: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Names of the fields that it had: what is registered later nobody has approved. Empty: none were registered."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Facts that it had: of each the stricter value counts, this or the present one. Null: of a permit from before."""

    __table_args__ = (
        Index(None, "dataset", "recipient"),
        Index("ix_permit_datasets_dataset_hash", "dataset", postgresql_using="hash"),
    )


class SigningKey(Base):
    """A public key that has signed tokens; it stays, so that old tokens can be checked."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(Text, primary_key=True)
    jwk: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Timestamp]


@dataclass(frozen=True, slots=True)
class PermitRow:
    """A permit with the rows that its standing depends on.

    Attributes:
        permit: the permit.
        datasets: the datasets that it covers, by id.
        reserved: persons of live reservations under it.
        overdue: ids of the overdue obligations that suspend it.
        ended_evidence: ids of its evidence that was withdrawn or replaced.
    """

    permit: Permit
    datasets: Sequence[PermitDataset]
    reserved: Count
    overdue: Sequence[str] = ()
    ended_evidence: Sequence[str] = ()

    def standing(self, today: date) -> Standing:
        """Return the status of the permit on a day."""
        permit = self.permit
        return standing(
            permit.status,
            permit.valid_until,
            Count(permit.persons, permit.sensitive_persons),
            Count(permit.sent_persons, permit.sent_sensitive_persons),
            today,
            is_overdue=bool(self.overdue or self.ended_evidence),
            is_personal=is_personal(tag for dataset in self.datasets for tag in dataset.tags),
        )
