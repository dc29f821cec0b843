"""Tables of principals, credentials, sessions, grants, delegations and break-glass access; rows are never deleted."""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    CheckConstraint,
    ColumnElement,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    column,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.access.conditions import (
    delegation_is_in_force,
    delegation_is_not_over,
    grant_is_pending,
    grant_is_standing,
)
from service.access.grant_rules import GrantPeriod
from service.database.columns import Base, Id, Key, PrimaryId, Timestamp
from service.validation.text_types import fold_name

EndOf = DateTime(timezone=True)

TODAY: Final = bindparam("today", type_=Date)
"""Parameter of prepared queries: a day in Asia/Shanghai."""
NOW: Final = bindparam("now", type_=DateTime(timezone=True))
"""Parameter of prepared queries: an instant."""


def _folded_name(context: Any) -> str:
    return fold_name(context.get_current_parameters()["name"])


class Principal(Base):
    """Person or system, with any number of credentials."""

    __tablename__ = "principals"

    id: Mapped[PrimaryId]
    name: Mapped[str] = mapped_column(Text, index=True)
    kind: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Timestamp]
    disabled_at: Mapped[datetime | None] = mapped_column(EndOf)
    folded: Mapped[str] = mapped_column(Text, default=_folded_name)
    """Folded name, for comparison: without differences in case, in the width of letters and in kinds of spaces."""

    __table_args__ = (
        CheckConstraint("kind in ('person', 'system')", name="kind"),
        UniqueConstraint("folded", name="uq_principals_name"),
    )


class ApiKey(Base):
    """API key: looked up by its prefix, compared by its SHA-256."""

    __tablename__ = "api_keys"

    id: Mapped[PrimaryId]
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    label: Mapped[str | None] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Key, unique=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[Timestamp]
    expires_at: Mapped[datetime | None] = mapped_column(EndOf)
    revoked_at: Mapped[datetime | None] = mapped_column(EndOf)
    seen_by: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list)
    """Other principals who have seen the secret: the issuer, and all who had seen the issuer's secret."""


class LinkedIdentity(Base):
    """Subject of an identity provider, linked to one principal for good."""

    __tablename__ = "logins"

    id: Mapped[PrimaryId]
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Key)
    made_by: Mapped[str] = mapped_column(Id)
    made_at: Mapped[Timestamp]
    seen_by: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list)
    """Other principals who have linked it, and could have linked a subject of their own."""
    told_at: Mapped[datetime | None] = mapped_column(EndOf)
    """Time of issue of the newest token with groups; an older token changes nothing."""
    ended_at: Mapped[datetime | None] = mapped_column(EndOf)

    __table_args__ = (UniqueConstraint("subject", "issuer"),)


class Session(Base):
    """Session of a person in a browser."""

    __tablename__ = "sessions"

    id: Mapped[PrimaryId]
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    login: Mapped[str | None] = mapped_column(Id, ForeignKey("logins.id"))
    csrf: Mapped[bytes] = mapped_column(LargeBinary)
    """CSRF token, which pages of other sites cannot send."""
    begun_at: Mapped[Timestamp]
    seen_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    ended_at: Mapped[datetime | None] = mapped_column(EndOf)
    how: Mapped[str | None] = mapped_column(Text)
    """Reason of its end."""


class SessionToken(Base):
    """Token of a session, by its SHA-256; replaced tokens stay, so that their reuse is detected."""

    __tablename__ = "session_tokens"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session: Mapped[str] = mapped_column(Id, ForeignKey("sessions.id"), index=True)
    made_at: Mapped[Timestamp]
    used_at: Mapped[datetime | None] = mapped_column(EndOf)
    replaced_at: Mapped[datetime | None] = mapped_column(EndOf)


class SignInLink(Base):
    """Link for one sign-in of a person, by the SHA-256 of its token."""

    __tablename__ = "login_links"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"))
    made_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]
    used_at: Mapped[datetime | None] = mapped_column(EndOf)


class Grant(Base):
    """Role of a principal on a handler; null: on all handlers."""

    __tablename__ = "grants"

    id: Mapped[PrimaryId]
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    role: Mapped[str] = mapped_column(Text)
    handler: Mapped[str | None] = mapped_column(Id, ForeignKey("handlers.id"))
    granted_by: Mapped[str] = mapped_column(Id)
    askers: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list)
    """Principals who could have requested it, none of whom may confirm it."""
    granted_at: Mapped[Timestamp]
    valid_from: Mapped[date] = mapped_column(Date)
    """Its first day, in Asia/Shanghai."""
    valid_until: Mapped[date | None] = mapped_column(Date)
    """Its last day, in Asia/Shanghai."""
    source: Mapped[str] = mapped_column(Text)
    """Source: `admin`, `operator`, or `group` of the identity provider, as the settings map it."""
    effective_at: Mapped[datetime | None] = mapped_column(EndOf)
    """Instant of confirmation; null: waits for a second admin."""
    confirmed_by: Mapped[str | None] = mapped_column(Id)
    login: Mapped[str | None] = mapped_column(Id, ForeignKey("logins.id"))
    """Linked identity whose groups caused it, if its source is `group`."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(EndOf)

    @property
    def period(self) -> GrantPeriod:
        """Days and instants that determine its state."""
        return GrantPeriod(self.granted_at, self.valid_from, self.valid_until, self.effective_at, self.withdrawn_at)

    @classmethod
    def standing(cls, today: date | BindParameter[date]) -> ColumnElement[bool]:
        """Return the condition that a grant stands on a day: confirmed, within its days, not withdrawn."""
        return grant_is_standing(cls, today)

    @classmethod
    def pending(cls, now: datetime) -> ColumnElement[bool]:
        """Return the condition that a grant waits for a second admin at an instant."""
        return grant_is_pending(cls, now)

    @classmethod
    def standing_of_principals(cls, today: date | BindParameter[date]) -> ColumnElement[bool]:
        """Return the condition that joins principals with their grants in force on a day."""
        return and_(cls.principal == Principal.id, cls.standing(today))

    __table_args__ = (
        CheckConstraint("source in ('admin', 'operator', 'group')", name="source"),
        CheckConstraint("(source = 'group') = (login is not null)", name="login"),
        CheckConstraint("valid_until is null or valid_until >= valid_from", name="days"),
        Index(
            "uq_grants_role",
            "principal",
            "role",
            text("coalesce(handler, '*')"),
            text("coalesce(login, '')"),
            unique=True,
            postgresql_where=text("withdrawn_at is null"),
        ),
    )


class Delegation(Base):
    """Delegation of reviewers' roles for an absence, as long as the delegator has the roles."""

    __tablename__ = "delegations"

    id: Mapped[PrimaryId]
    delegator: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    delegate: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    handler: Mapped[str | None] = mapped_column(Id, ForeignKey("handlers.id"))
    valid_from: Mapped[date] = mapped_column(Date)
    valid_until: Mapped[date] = mapped_column(Date)
    reason: Mapped[str] = mapped_column(Text)
    made_by: Mapped[str] = mapped_column(Id)
    askers: Mapped[list[str]] = mapped_column(ARRAY(Id), default=list)
    """Principals who could have requested it, none of whom may confirm it."""
    made_at: Mapped[Timestamp]
    effective_at: Mapped[datetime | None] = mapped_column(EndOf)
    """Instant of confirmation; null: requested by an admin, waits for the delegator or another admin."""
    confirmed_by: Mapped[str | None] = mapped_column(Id)
    ended_at: Mapped[datetime | None] = mapped_column(EndOf)

    @classmethod
    def in_force(cls, today: date | BindParameter[date]) -> ColumnElement[bool]:
        """Return the condition that a delegation lends roles on a day: effective, within its days, not ended."""
        return delegation_is_in_force(cls, today)

    @classmethod
    def not_over(cls, today: date | BindParameter[date]) -> ColumnElement[bool]:
        """Return the condition that a delegation lends roles on a day, or may come to do so."""
        return delegation_is_not_over(cls, today)


class BreakGlass(Base):
    """Break-glass access of an admin, for some hours."""

    __tablename__ = "break_glass"

    id: Mapped[PrimaryId]
    principal: Mapped[str] = mapped_column(Id, ForeignKey("principals.id"), index=True)
    role: Mapped[str] = mapped_column(Text)
    handler: Mapped[str | None] = mapped_column(Id, ForeignKey("handlers.id"))
    reason: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    closed_at: Mapped[datetime | None] = mapped_column(EndOf)
    closed_by: Mapped[str | None] = mapped_column(Id)

    @classmethod
    def is_open(cls, now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
        """Return the condition that access is open at an instant."""
        return and_(cls.closed_at.is_(None), cls.ends_at > now)

    __table_args__ = (
        CheckConstraint("role in ('auditor', 'stop')", name="role"),
        CheckConstraint("ends_at > opened_at", name="hours"),
    )


HANDLERS = table("handlers", column("id", Id), column("key", Text))
"""Columns of `registry`'s handlers that grants need: id and key."""
