"""Tables of the register.

Columns that the gate reads for each evaluation are `JSON`: it is stored as text, while PostgreSQL would serialize `JSONB` at each read.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Text,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.database.columns import Base, Id, Key, PrimaryId, Timestamp
from service.database.row_security import SCOPE_HANDLERS, OfHandler, RowScope
from service.registry.key_normalization import folded_key
from service.registry.record_diff import is_group_confirmed

Json = dict[str, Any]


def _folded(context: Any) -> str:
    return folded_key(context.get_current_parameters()["key"])


class Spelt:
    """Columns that number the spellings of a key, which share its folded form."""

    folded_key: Mapped[str | None] = mapped_column(Key, default=_folded)
    """Null: registered by the version before, and not filled in yet."""
    twin_number: Mapped[int] = mapped_column(SmallInteger, default=0, server_default=text("0"))


class Handler(Spelt, OfHandler, Base):
    """A data handler: a legal entity, and the tenant boundary."""

    __tablename__ = "handlers"
    __table_args__ = (Index("uq_handlers_twins", "folded_key", "twin_number", unique=True),)

    id: Mapped[PrimaryId]
    key: Mapped[str] = mapped_column(Key, unique=True)
    name: Mapped[str] = mapped_column(Text)
    uscc: Mapped[str | None] = mapped_column(Text, unique=True)
    group: Mapped[str | None] = mapped_column(Text)
    """Group that the handler claims."""
    confirmed_group: Mapped[str | None] = mapped_column(Text)
    """Group that a registrar of another member, or of all handlers, has confirmed."""
    facts: Mapped[Json] = mapped_column(JSON)
    pending_facts: Mapped[Json] = mapped_column(JSON, default=dict, server_default=text("'{}'"))
    """Facts pending a second person, each with its `value` and the id of its `change`."""
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]

    @property
    def group_confirmed(self) -> bool:
        """True if the claimed group is the confirmed one."""
        return is_group_confirmed(self.group, self.confirmed_group)

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a handler is in the row scope."""
        return cls.id == SCOPE_HANDLERS

    def is_seen_by(self, scope: RowScope) -> bool:
        """Return True if a loaded row is in a row scope."""
        return self.id in scope.handlers


class Dataset(Spelt, OfHandler, Base):
    """A dataset; `tags` and `grading` repeat its effective grading, null until there is one."""

    __tablename__ = "datasets"

    id: Mapped[PrimaryId]
    key: Mapped[str] = mapped_column(Key, unique=True)
    handler: Mapped[str] = mapped_column(Id, ForeignKey("handlers.id"))
    title: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    fields: Mapped[list[Json]] = mapped_column(JSON)
    facts: Mapped[Json] = mapped_column(JSON)
    pending_facts: Mapped[Json] = mapped_column(JSON, default=dict, server_default=text("'{}'"))
    """Facts pending a second person, each with its `value` and the id of its `change`."""
    scale: Mapped[int | None] = mapped_column(BigInteger)
    """Number of records or persons, if stated."""
    filed_scale: Mapped[int | None] = mapped_column(BigInteger)
    """The scale of the catalogue's last filing: a change by 30 % from there is filed anew (MIIT art. 12)."""
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    grading: Mapped[int | None] = mapped_column(Integer)
    graded_fields: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    """Fields that the effective grading examined, as they were; null: not recorded."""
    graded_number: Mapped[int | None] = mapped_column(Integer)
    """Number of the grading that examined `graded_fields`; those of another grading do not count."""
    sensitive_fields: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Fields that the effective grading named as sensitive; null: none named."""
    twins: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list, server_default=text("'{}'"))
    """Ids of datasets whose keys are spellings of this one; `tags` includes theirs."""
    distinct_from: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list, server_default=text("'{}'"))
    """Ids of spellings that two persons have declared distinct."""
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]

    __table_args__ = (
        Index("uq_datasets_twins", "handler", "folded_key", "twin_number", unique=True),
        Index("ix_datasets_unfolded", "handler", postgresql_where=text("folded_key is null")),
        Index(None, "handler", "id"),
        Index(None, "tags", postgresql_using="gin"),
        Index("ix_datasets_id_hash", "id", postgresql_using="hash"),
        Index("ix_datasets_key_hash", "key", postgresql_using="hash"),
    )


class Grading(Base):
    """A grading: the dated, reasoned act that sets a dataset's tags."""

    __tablename__ = "gradings"

    id: Mapped[str] = mapped_column(Id, unique=True)
    dataset: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    fields: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    """Fields that it examined, as they were; null: not recorded."""
    sensitive_fields: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Fields that it named as sensitive; null: fields of a sensitive category or, without any, all."""
    reason: Mapped[str] = mapped_column(Text)
    basis: Mapped[str] = mapped_column(Text)
    catalogue: Mapped[str | None] = mapped_column(Text)
    review_by: Mapped[date | None] = mapped_column(Date)
    state: Mapped[str] = mapped_column(Text)
    """`effective`, `pending` (a second person) or `superseded`."""
    graded_by: Mapped[str] = mapped_column(Id)
    graded_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have made it; null: made before that was stored."""
    graded_at: Mapped[Timestamp]
    confirmed_by: Mapped[str | None] = mapped_column(Id)
    confirmed_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    confirmed_reason: Mapped[str | None] = mapped_column(Text)
    effective_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """Instant at which another one superseded it. The grading of a day follows from `effective_at` and `ended_at`."""

    __table_args__ = (
        Index("uq_gradings_pending", "dataset", unique=True, postgresql_where=text("state = 'pending'")),
        Index("uq_gradings_effective", "dataset", unique=True, postgresql_where=text("state = 'effective'")),
    )


class Contradiction(OfHandler, Base):
    """A statement that contradicts a dataset's tags: one a day for each grading, kind and principal. The next grading answers it."""

    __tablename__ = "contradictions"

    dataset: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True)
    grading: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Number of the grading that it contradicts."""
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    principal: Mapped[str] = mapped_column(Id, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    handler: Mapped[str] = mapped_column(Id)
    subject: Mapped[str] = mapped_column(Id)
    """Id of the evaluation or export that stated it first."""
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[Timestamp]

    __table_args__ = (Index("ix_contradictions_handler_at", "handler", "at"),)


class FactChange(OfHandler, Base):
    """A change of a fact that frees: stated by one person, effective once a second one confirms it."""

    __tablename__ = "fact_changes"

    id: Mapped[PrimaryId]
    subject: Mapped[str] = mapped_column(Id, index=True)
    """Id of the handler, dataset or recipient."""
    handler: Mapped[str | None] = mapped_column(Id, ForeignKey("handlers.id"), index=True)
    """Null for a recipient, which all handlers share."""
    fact: Mapped[str] = mapped_column(Text)
    before: Mapped[Any] = mapped_column(JSON)
    after: Mapped[Any] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(Text)
    """`pending`, `effective`, `refused`, or `overtaken` by a later statement of the same fact."""
    asked_by: Mapped[str] = mapped_column(Id)
    askers: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Persons who could have stated it; none of them is the second person."""
    asked_at: Mapped[Timestamp]
    settled_by: Mapped[str | None] = mapped_column(Id)
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    settled_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Persons who could have settled it."""
    reason: Mapped[str | None] = mapped_column(Text)
    """Reason of the confirmation or refusal."""
    stated_reason: Mapped[str | None] = mapped_column(Text)
    """Reason of the statement."""

    __table_args__ = (
        Index("uq_fact_changes_pending", "subject", "fact", unique=True, postgresql_where=text("state = 'pending'")),
    )

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a change belongs to a handler in the row scope, or to a recipient."""
        return or_(cls.handler == SCOPE_HANDLERS, cls.handler.is_(None))

    def is_seen_by(self, scope: RowScope) -> bool:
        """Return True if a loaded row is in a row scope."""
        return self.handler is None or self.handler in scope.handlers


class Recipient(Spelt, Base):
    """A recipient: the party abroad that receives data or can read it. All handlers share it."""

    __tablename__ = "recipients"
    __table_args__ = (Index("uq_recipients_twins", "folded_key", "twin_number", unique=True),)

    id: Mapped[PrimaryId]
    key: Mapped[str] = mapped_column(Key, unique=True)
    name: Mapped[str] = mapped_column(Text)
    country: Mapped[str] = mapped_column(Text, index=True)
    kind: Mapped[str] = mapped_column(Text)
    group: Mapped[str | None] = mapped_column(Text)
    facts: Mapped[Json] = mapped_column(JSON)
    pending_facts: Mapped[Json] = mapped_column(JSON, default=dict, server_default=text("'{}'"))
    """Facts pending a second person, each with its `value` and the id of its `change`."""
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]
