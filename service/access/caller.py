"""Represents callers: a principal with its roles on handlers, and the credential of a request. `identity` authenticates them."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from starlette.requests import Request

from service.database.row_security import EVERYWHERE, HandlerScope
from service.database.session import Transaction
from service.law.stages import Stage
from service.validation.problems import Forbidden, NotFound


class Role(StrEnum):
    """Roles of a principal for a handler; the name of a reviewer's role includes its stage."""

    REGISTRAR = "registrar"
    REQUESTER = "requester"
    EXPORTER = "exporter"
    AUDITOR = "auditor"
    ADMIN = "admin"
    DATA_OWNER = Stage.DATA_OWNER.role
    PRIVACY = Stage.PRIVACY.role
    LEGAL = Stage.LEGAL.role
    SECURITY = Stage.SECURITY.role
    EXECUTIVE = Stage.EXECUTIVE.role


REVIEWERS: Final = frozenset(Role(stage.role) for stage in Stage)
READERS: Final = frozenset(Role) - {Role.ADMIN}
"""Roles that may read the register, transfers and permits; admins manage only principals, keys and grants."""
ANYONE: Final = frozenset(Role)
WATCHERS: Final = frozenset({Role.ADMIN, Role.AUDITOR})
"""Roles that supervise grants."""


@dataclass(frozen=True, slots=True)
class DelegatedRole:
    """Role that an absent reviewer has delegated."""

    role: Role
    handler: str | None
    """None: all handlers."""
    delegator: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Person or system that sent a request, with the handlers of each of its roles.

    Example:
        caller.require(REVIEWERS, permit.handler, noun="permit")
        handlers = caller.scope(READERS)  # EVERYWHERE, or ids of handlers
        persons = caller.acting(caller.behalf(REVIEWERS, permit.handler))
    """

    principal: str
    name: str
    kind: Literal["person", "system", "operator"]
    grants: Mapping[Role, HandlerScope] = field(default_factory=dict)
    delegations: tuple[DelegatedRole, ...] = ()
    """Roles that absent reviewers have delegated to the caller and still have themselves."""
    seen_by: frozenset[str] = frozenset()
    """Other principals who have seen the secret, such as the one who issued the key; none of them counts as a second person."""
    credential: str | None = None
    """Id of the key, linked identity or session; None on the command line."""
    break_glass: str | None = None
    """Id of the open break-glass access, which the entry of each act records."""
    stop_scope: HandlerScope = frozenset()
    """Handlers whose permits the caller may suspend and revoke by break-glass access."""

    @property
    def persons(self) -> frozenset[str]:
        """Principals who could have sent the request: the caller, and all who have seen the secret."""
        return self.seen_by | {self.principal}

    def acting(self, behalf: str | None = None) -> list[str]:
        """Return the principals to store with an act: all who could have made it, and the delegator."""
        return sorted(self.persons if behalf is None else self.persons | {behalf})

    def may_stop(self, handler: str) -> bool:
        """Return True if the caller may suspend and revoke permits of a handler by break-glass access."""
        return self.stop_scope == EVERYWHERE or handler in self.stop_scope

    def scope(self, roles: frozenset[Role]) -> HandlerScope:
        """Return the handlers on which the caller has one of the roles, granted or delegated."""
        scope: set[str] = set()
        for role in roles:
            lent = [delegated.handler for delegated in self.delegations if delegated.role is role]
            handlers = self.grants.get(role, frozenset())
            if handlers == EVERYWHERE or None in lent:
                return EVERYWHERE
            scope |= set(handlers) | {handler for handler in lent if handler is not None}
        return frozenset(scope)

    def lenders(self, roles: frozenset[Role], handler: str) -> tuple[str, ...]:
        """Return the delegators of the roles, sorted; empty if one of the roles is granted to the caller."""
        for role in roles:
            own = self.grants.get(role, frozenset())
            if own == EVERYWHERE or handler in own:
                return ()
        return tuple(
            sorted(
                {lent.delegator for lent in self.delegations if lent.role in roles and lent.handler in {None, handler}}
            )
        )

    def behalf(self, roles: frozenset[Role], handler: str) -> str | None:
        """Return the delegator on whose behalf the caller acts; None if one of the roles is granted to the caller."""
        if any(own == EVERYWHERE or handler in own for own in (self.grants.get(role, frozenset()) for role in roles)):
            return None
        return next(iter(self.lenders(roles, handler)), None)

    def has(self, roles: frozenset[Role]) -> bool:
        """Return True if the caller has one of the roles on any handler."""
        return bool(self.scope(roles))

    def reaches(self, roles: frozenset[Role], handler: str) -> bool:
        """Return True if the caller has one of the roles on a handler."""
        scope = self.scope(roles)
        return scope == EVERYWHERE or handler in scope

    def require(self, roles: frozenset[Role], handler: str, *, noun: str = "handler") -> None:
        """Require one of the roles on a handler.

        Args:
            roles: the roles.
            handler: id of the handler.
            noun: noun of the row, for the message.

        Raises:
            NotFound: the caller may not read data of the handler.
            Forbidden: the caller may read it, but has none of the roles.
        """
        if self.reaches(roles, handler):
            return
        if not self.reaches(READERS, handler):
            raise NotFound(f"There is no such {noun}.")
        raise Forbidden(f"This takes one of the roles: {format_roles(roles)}; you have none of them for this handler.")

    def require_everywhere(self, role: Role) -> None:
        """Require a role on all handlers.

        Raises:
            Forbidden: the role is missing, or limited to some handlers.
        """
        if self.grants.get(role) != EVERYWHERE:
            raise Forbidden(f"This takes the role {role} for all handlers.")


@dataclass(slots=True, repr=False)
class KeyCredential:
    """API key of a request: its prefix, by which it is looked up, and its SHA-256."""

    prefix: str
    sha256: bytes

    @property
    def rate_limit_key(self) -> bytes:
        """Key of the token bucket: the hash of the whole key, which nobody else can send."""
        return self.sha256

    def match(self, stored: bytes | None) -> bool:
        """Compare with the stored hash in constant time."""
        return stored is not None and hmac.compare_digest(stored, self.sha256)


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """Principal of a verified token of the identity provider."""

    principal: str
    linked_identity: str
    """Id of the linked identity; once that has ended, the credential is not valid."""

    @property
    def prefix(self) -> str:
        """Key of the look-up: the id of the linked identity, which no API key begins with."""
        return self.linked_identity

    @property
    def rate_limit_key(self) -> bytes:
        """Key of the token bucket."""
        return self.principal.encode()

    def match(self, stored: bytes | None) -> bool:
        """Return True if no key is stored: there is none to compare with."""
        return stored is None


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """Session of a browser; the gate does not accept it."""

    session: str

    @property
    def prefix(self) -> str:
        """Key of the look-up: the session's id, which no key or linked identity has."""
        return self.session

    @property
    def rate_limit_key(self) -> bytes:
        """Key of the token bucket."""
        return self.session.encode()

    def match(self, stored: bytes | None) -> bool:  # noqa: ARG002 - never
        """Return False: a session has no key."""
        return False


Credential = KeyCredential | FederatedCredential | SessionCredential
"""Credential of a request; the transaction that does the work checks its validity."""

KeyParser = Callable[[str | None], KeyCredential]
"""Parses the value of the `Authorization` header, or raises `Unauthenticated`; does not check the key's validity."""

OPERATOR: Final = Caller(principal="operator", name="operator", kind="operator")
"""Operator, who acts through the command line with the credentials of the database."""

SYSTEM_ACTOR: Final = Caller(principal="outbound", name="outbound", kind="operator")
"""The service itself, as the actor of notifications that an act at another handler causes."""

Identify = Callable[[Request, bool], Awaitable[Credential]]
"""Reads the credential of a request, or raises `Unauthenticated`. Runs outside of transactions, since it may call the identity
provider. The flag is True if the route accepts sessions."""

Authenticate = Callable[[Transaction, Credential], Awaitable[Caller]]
"""Loads the caller of a credential, or raises `Unauthenticated`."""


def format_roles(roles: frozenset[Role]) -> str:
    """Format role names for a sentence, in a fixed order."""
    return ", ".join(sorted(roles))
