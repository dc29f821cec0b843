"""API shapes of principals, keys and grants."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.http.caller import EVERYWHERE, Caller, Role
from service.http.texts import Instant, Name, Reference
from service.identity.tables import ApiKey, Grant, Principal

Kind = Literal["person", "system"]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PrincipalIn(_In):
    """A person or a system to be known to the service."""

    name: Name
    kind: Kind = "person"


class PrincipalOut(BaseModel):
    """A principal."""

    id: str
    name: str
    kind: Kind
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def of(cls, principal: Principal) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(principal, from_attributes=True)


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
    """A role for a principal, on one handler or, without one, on all."""

    principal: Reference
    role: Role
    handler: Reference | None = None


class GrantOut(BaseModel):
    """A grant; a withdrawn one stays on record."""

    id: str
    principal: str
    role: Role
    handler: str | None = Field(description="Handler id; null: all handlers.")
    granted_by: str
    granted_at: datetime
    withdrawn_at: datetime | None

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(grant, from_attributes=True)


class CallerOut(BaseModel):
    """Who the key belongs to, and what it may do."""

    id: str
    name: str
    kind: str
    roles: dict[Role, list[str] | Literal["*"]] = Field(description="Handler ids of each role; `*`: all handlers.")

    @classmethod
    def of(cls, caller: Caller) -> Self:
        """Return the shape of a caller."""
        roles: dict[Role, list[str] | Literal["*"]] = {
            role: EVERYWHERE if reach == EVERYWHERE else sorted(reach) for role, reach in sorted(caller.grants.items())
        }
        return cls(id=caller.principal, name=caller.name, kind=caller.kind, roles=roles)
