"""Tables of the register.

What the gate reads for each question is `JSON`, which is kept as text, and not `JSONB`, of which PostgreSQL would make the text each time.
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

from service.database.columns import Base, Id, Key, Moment, PrimaryId
from service.database.row_security import AMONG, OfHandler, RowScope
from service.registry.key_normalization import folded_key
from service.registry.record_diff import is_group_confirmed

Json = dict[str, Any]


def _folded(context: Any) -> str:
    return folded_key(context.get_current_parameters()["key"])


class Spelt:
    """What has a key of which other spellings may come: these share its folded form, and are counted."""

    folded_key: Mapped[str | None] = mapped_column(Key, default=_folded)
    """Null: registered by the version before, and not looked after yet."""
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
    """What it says of itself."""
    confirmed_group: Mapped[str | None] = mapped_column(Text)
    """The group that others, or a registrar of all handlers, have agreed that it is of."""
    facts: Mapped[Json] = mapped_column(JSON)
    pending_facts: Mapped[Json] = mapped_column(JSON, default=dict, server_default=text("'{}'"))
    """Facts that free and wait for a second person: of each its `value` and the `change` that confirms it."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]

    @property
    def group_confirmed(self) -> bool:
        """Whether what it says of its group counts for others."""
        return is_group_confirmed(self.group, self.confirmed_group)

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a handler is one of those of the view."""
        return cls.id == AMONG

    def is_seen_by(self, view: RowScope) -> bool:
        """Tell the same of a row that is at hand."""
        return self.id in view.reach


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
    """Facts that free and wait for a second person: of each its `value` and the `change` that confirms it."""
    scale: Mapped[int | None] = mapped_column(BigInteger)
    """Records or persons that it holds, if anybody says so."""
    filed_scale: Mapped[int | None] = mapped_column(BigInteger)
    """The scale of the catalogue's last filing: a change by 30 % from there is filed anew (MIIT art. 12)."""
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    grading: Mapped[int | None] = mapped_column(Integer)
    graded_fields: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    """The fields that the effective grading looked at, as they were; null: nobody knows."""
    graded_number: Mapped[int | None] = mapped_column(Integer)
    """The grading that looked at them: those of another one say nothing."""
    sensitive_fields: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """The fields that it named as sensitive; null: it named none."""
    twins: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list, server_default=text("'{}'"))
    """Datasets whose keys are spellings of this one's: `tags` holds theirs as well."""
    distinct_from: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list, server_default=text("'{}'"))
    """Spellings of which two persons have said that they are something else."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]

    __table_args__ = (
        Index("uq_datasets_twins", "handler", "folded_key", "twin_number", unique=True),
        Index("ix_datasets_unfolded", "handler", postgresql_where=text("folded_key is null")),
        Index(None, "handler", "id"),
        Index(None, "tags", postgresql_using="gin"),
        Index("ix_datasets_id_hash", "id", postgresql_using="hash"),
        Index("ix_datasets_key_hash", "key", postgresql_using="hash"),
    )


class Grading(Base):
    """The dated, reasoned act that sets a dataset's tags."""

    __tablename__ = "gradings"

    id: Mapped[str] = mapped_column(Id, unique=True)
    dataset: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    fields: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    """The fields that it looked at, as they were; null: nobody knows."""
    sensitive_fields: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Those that it named as sensitive; null: those whose category says so and, if none does, all."""
    reason: Mapped[str] = mapped_column(Text)
    basis: Mapped[str] = mapped_column(Text)
    catalogue: Mapped[str | None] = mapped_column(Text)
    review_by: Mapped[date | None] = mapped_column(Date)
    state: Mapped[str] = mapped_column(Text)
    """`effective`, `pending` (waits for a second person) or `superseded`."""
    graded_by: Mapped[str] = mapped_column(Id)
    graded_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Who could have made it; null: made before that was stored."""
    graded_at: Mapped[Moment]
    confirmed_by: Mapped[str | None] = mapped_column(Id)
    confirmed_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    confirmed_reason: Mapped[str | None] = mapped_column(Text)
    effective_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When another one took its place; what was known on a day is a matter of these two."""

    __table_args__ = (
        Index("uq_gradings_pending", "dataset", unique=True, postgresql_where=text("state = 'pending'")),
        Index("uq_gradings_effective", "dataset", unique=True, postgresql_where=text("state = 'effective'")),
    )


class Contradiction(OfHandler, Base):
    """What was stated of a dataset against its tags: one a day for each grading, kind and principal. The next grading answers it."""

    __tablename__ = "contradictions"

    dataset: Mapped[str] = mapped_column(Id, ForeignKey("datasets.id"), primary_key=True)
    grading: Mapped[int] = mapped_column(Integer, primary_key=True)
    """The one that it contradicts."""
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    principal: Mapped[str] = mapped_column(Id, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    handler: Mapped[str] = mapped_column(Id)
    subject: Mapped[str] = mapped_column(Id)
    """The evaluation, or the export, that stated it first."""
    persons: Mapped[int] = mapped_column(BigInteger)
    sensitive_persons: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[Moment]

    __table_args__ = (Index("ix_contradictions_handler_at", "handler", "at"),)


class FactChange(OfHandler, Base):
    """A fact that would free, stated by one person: it takes effect when a second one confirms it."""

    __tablename__ = "fact_changes"

    id: Mapped[PrimaryId]
    subject: Mapped[str] = mapped_column(Id, index=True)
    """The handler, dataset or recipient that it is a fact of."""
    handler: Mapped[str | None] = mapped_column(Id, ForeignKey("handlers.id"), index=True)
    """Null: of a recipient, which all handlers share."""
    fact: Mapped[str] = mapped_column(Text)
    before: Mapped[Any] = mapped_column(JSON)
    after: Mapped[Any] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(Text)
    """`pending`, `effective`, `refused`, or `overtaken` by a later statement of the same fact."""
    asked_by: Mapped[str] = mapped_column(Id)
    askers: Mapped[list[str]] = mapped_column(ARRAY(Id))
    """Everybody who may be the one that asked: none of them is the second person."""
    asked_at: Mapped[Moment]
    settled_by: Mapped[str | None] = mapped_column(Id)
    settled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    settled_persons: Mapped[list[str] | None] = mapped_column(ARRAY(Id))
    """Everybody who may be the one that settled it."""
    reason: Mapped[str | None] = mapped_column(Text)
    """What whoever confirmed or refused it said."""
    stated_reason: Mapped[str | None] = mapped_column(Text)
    """Why it is so, as whoever stated it said."""

    __table_args__ = (
        Index("uq_fact_changes_pending", "subject", "fact", unique=True, postgresql_where=text("state = 'pending'")),
    )

    @classmethod
    def is_within(cls) -> ColumnElement[bool]:
        """Return the condition that a change is of one of the handlers of the view, or of a recipient, which is everybody's."""
        return or_(cls.handler == AMONG, cls.handler.is_(None))

    def is_seen_by(self, view: RowScope) -> bool:
        """Tell the same of a row that is at hand."""
        return self.handler is None or self.handler in view.reach


class Recipient(Spelt, Base):
    """Whoever receives data abroad, or looks at it from there; shared by all handlers."""

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
    """Facts that free and wait for a second person: of each its `value` and the `change` that confirms it."""
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]
