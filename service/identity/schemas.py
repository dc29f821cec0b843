"""API shapes of principals, keys and grants."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from service.access.caller import Caller, Role
from service.access.grant_rules import BreakGlassRole, GrantState, grant_state, is_delegation_in_force
from service.access.tables import ApiKey, BreakGlass, Delegation, Grant, LinkedIdentity, Principal
from service.database.row_security import EVERYWHERE
from service.validation.confusables import Flag, flags_of_all
from service.validation.text_types import Instant, Name, NearDay, Prose, Reference, not_before

Kind = Literal["person", "system"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PrincipalIn(_In):
    """A person or a system."""

    name: Name
    kind: Kind = "person"


class PrincipalOut(BaseModel):
    """A principal."""

    id: str
    name: str
    kind: Kind
    created_at: datetime
    disabled_at: datetime | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def flags(self) -> list[Flag]:
        """Warnings about confusable names: `mixed_script`; `looks_latin` for letters that only resemble Latin ones."""
        return flags_of_all(self.name)

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(principal, from_attributes=True)


class LinkedIdentityIn(_In):
    """Subject of the identity provider that belongs to a principal."""

    issuer: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="As it calls itself in `iss`; the one in the service's settings, if missing."
    )
    subject: Annotated[str, Field(min_length=1, max_length=255)] = Field(description="What it has in `sub`.")

    @field_validator("issuer", "subject")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("Leave out control and invisible characters.")
        return value


class LinkedIdentityOut(BaseModel):
    """A login; an ended one stays on record, and its subject stays the principal's."""

    id: str
    principal: str
    issuer: str
    subject: str
    made_by: str
    made_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: LinkedIdentity) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class SessionOut(BaseModel):
    """Session of a browser."""

    id: str
    csrf_token: str = Field(description="To send as `X-CSRF-Token` with whatever changes something.")
    begun_at: datetime
    ends_at: datetime = Field(description="When it ends, however much it is used.")
    idle_at: datetime = Field(description="When it ends if it is not used until then.")
    ended_at: datetime | None


class SessionsEnded(BaseModel):
    """Number of sessions that have ended."""

    ended: int


class ApiKeyIn(_In):
    """A key for a principal, named by id or name."""

    principal: Reference
    label: Name | None = None
    expires_at: Instant | None = Field(default=None, description="When it stops working; never, if null.")


class ApiKeyOut(BaseModel):
    """A key without its secret."""

    id: str
    principal: str
    label: str | None
    prefix: str = Field(description="How the key begins; enough to tell it from others.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(key, from_attributes=True)


class ApiKeyMade(ApiKeyOut):
    """A new key; its secret is shown this one time."""

    secret: str | None = Field(
        description="The key itself, for the Authorization header as `Bearer <secret>`. Only its hash is kept, so the "
        "answer that is given again for an Idempotency-Key holds null."
    )


class GrantIn(_In):
    """A role for a principal, on one handler or, without one, on all, from one day to another."""

    principal: Reference
    role: Role
    handler: Reference | None = None
    valid_from: NearDay | None = Field(default=None, description="The first day, in Asia/Shanghai; today, if null.")
    valid_until: Annotated[NearDay | None, not_before("valid_from")] = Field(
        default=None, description="The last day, in Asia/Shanghai; none, if null."
    )


class GrantOut(BaseModel):
    """A grant; one that is over stays on record."""

    id: str
    principal: str
    role: Role
    handler: str | None = Field(description="Handler id; null: all handlers.")
    state: GrantState = Field(
        description="`pending`: waits for a second admin; `upcoming`: its days are to come; `lapsed`: its days are over, or nobody "
        "confirmed it in time."
    )
    valid_from: date
    valid_until: date | None
    source: Literal["admin", "operator", "group"] = Field(
        description="Who answers for it: an admin, the operator, or a group of the identity provider."
    )
    granted_by: str
    granted_at: datetime
    confirmed_by: str | None
    effective_at: datetime | None = Field(description="Since when it counts; null: it waits for a second admin.")
    withdrawn_at: datetime | None

    @classmethod
    def of(cls, grant: Grant, now: datetime) -> Self:
        """Return the shape of a row at a moment."""
        values = {name: getattr(grant, name) for name in cls.model_fields if name != "state"}
        return cls(**values, state=grant_state(grant.period, now))


ReviewerRole = Literal[Role.DATA_OWNER, Role.PRIVACY, Role.LEGAL, Role.SECURITY, Role.EXECUTIVE]


class DelegationIn(_In):
    """Reviewers' roles that are lent for the days of an absence."""

    delegate: Reference = Field(description="Id or name of the person who stands in.")
    delegator: Reference | None = Field(
        default=None, description="Id or name of who is away: yourself, if missing; an admin may name somebody else."
    )
    roles: Annotated[list[ReviewerRole], Field(min_length=1, max_length=5)] | None = Field(
        default=None, description="Every reviewer's role that the delegator has, if missing."
    )
    handler: Reference | None = Field(default=None, description="Id or key; every handler of the roles, if missing.")
    valid_from: NearDay
    valid_until: Annotated[NearDay, not_before("valid_from")] = Field(description="The last day, in Asia/Shanghai.")
    reason: Prose


class DelegationOut(BaseModel):
    """Roles lent for an absence; an ended delegation stays on record."""

    id: str
    delegator: str
    delegate: str
    roles: list[Role]
    handler: str | None
    valid_from: date
    valid_until: date
    reason: str
    made_by: str
    made_at: datetime
    effective_at: datetime | None = Field(
        description="Since when it counts; null: an admin asked for it, and the delegator or another admin has yet to confirm it."
    )
    confirmed_by: str | None
    ended_at: datetime | None
    in_force: bool = Field(description="Whether it lends anything today.")

    @classmethod
    def of(cls, delegation: Delegation, today: date) -> Self:
        """Return the shape of a row on a day."""
        values = {name: getattr(delegation, name) for name in cls.model_fields if name != "in_force"}
        in_force = is_delegation_in_force(
            delegation.valid_from,
            delegation.valid_until,
            effective_at=delegation.effective_at,
            ended_at=delegation.ended_at,
            today=today,
        )
        return cls(**values, in_force=in_force)


class BreakGlassIn(_In):
    """Access that an admin takes in an emergency, for themselves, at once and for some hours."""

    role: BreakGlassRole = Field(
        description="`auditor`: to read as an auditor does; `stop`: to suspend and revoke permits."
    )
    handler: Reference | None = Field(default=None, description="Id or key; all handlers, if null.")
    reason: Prose
    hours: Annotated[int, Field(strict=True, ge=1, le=8)]


class BreakGlassOut(BaseModel):
    """Break-glass access; it stays on record."""

    id: str
    principal: str
    role: BreakGlassRole
    handler: str | None = Field(description="Handler id; null: all handlers.")
    reason: str
    opened_at: datetime
    ends_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    open: bool = Field(description="Whether it opens anything now.")

    @classmethod
    def of(cls, glass: BreakGlass, now: datetime) -> Self:
        """Return the shape of a row at a moment."""
        values = {name: getattr(glass, name) for name in cls.model_fields if name != "open"}
        return cls(**values, open=glass.closed_at is None and now < glass.ends_at)


class LentOut(BaseModel):
    """A role that somebody who is away has lent to the caller."""

    role: Role
    handler: str | None
    delegator: str


class CallerOut(BaseModel):
    """Caller, with roles and permissions."""

    id: str
    name: str
    kind: str
    roles: dict[Role, list[str] | Literal["*"]] = Field(description="Handler ids of each role; `*`: all handlers.")
    delegated: list[LentOut] = Field(description="Roles lent to the caller today.")
    break_glass: str | None = Field(default=None, description="Id of the break-glass access that is open.")

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """Return the shape of a caller."""
        roles: dict[Role, list[str] | Literal["*"]] = {
            role: EVERYWHERE if handlers == EVERYWHERE else sorted(handlers)
            for role, handlers in sorted(caller.grants.items())
        }
        lent = [LentOut(role=d.role, handler=d.handler, delegator=d.delegator) for d in caller.delegations]
        return cls(
            id=caller.principal,
            name=caller.name,
            kind=caller.kind,
            roles=roles,
            delegated=lent,
            break_glass=caller.break_glass,
        )
