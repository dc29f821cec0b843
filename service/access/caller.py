"""Callers: a principal with its roles on handlers. `identity` installs the authenticator; routes ask here."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from starlette.requests import Request

from service.database.row_security import EVERYWHERE, Reach
from service.database.session import Transaction
from service.law.stages import Stage
from service.validation.problems import Forbidden, NotFound


class Role(StrEnum):
    """What a principal may do for a handler; the reviewers' names hold the stage that they decide."""

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
"""Who may read the register, transfers and permits: admins keep principals, keys and grants, and nothing else."""
ANYONE: Final = frozenset(Role)
WATCHERS: Final = frozenset({Role.ADMIN, Role.AUDITOR})
"""Who sees to it that nobody has more than they should."""


@dataclass(frozen=True, slots=True)
class Delegated:
    """A role lent by somebody who is away."""

    role: Role
    handler: str | None
    """None: all handlers."""
    delegator: str


@dataclass(frozen=True, slots=True)
class Caller:
    """One person or system, with the handlers that each of its roles reaches."""

    principal: str
    name: str
    kind: Literal["person", "system", "operator"]
    grants: Mapping[Role, Reach] = field(default_factory=dict)
    delegations: tuple[Delegated, ...] = ()
    """Roles that others have lent to the caller for their absence, as far as they still have them themselves."""
    seen_by: frozenset[str] = frozenset()
    """Principals other than the caller who have seen the secret that is shown: whoever made the key. None of them is another person."""
    credential: str | None = None
    """Id of the key, login or session that was shown; None: none was, as by the command line."""
    break_glass: str | None = None
    """The break-glass access that is open, if one is: every act says so in its entry."""
    stops: Reach = frozenset()
    """Handlers whose permits break-glass access lets the caller stop."""

    @property
    def persons(self) -> frozenset[str]:
        """Everybody who may be the one that acts: the caller, and whoever has seen the secret."""
        return self.seen_by | {self.principal}

    def acting(self, behalf: str | None = None) -> list[str]:
        """Return what is stored with an act: everybody who may be the one that acts, and whoever lent the role."""
        return sorted(self.persons if behalf is None else self.persons | {behalf})

    def may_stop(self, handler: str) -> bool:
        """Tell whether break-glass access lets the caller stop the permits of a handler."""
        return self.stops == EVERYWHERE or handler in self.stops

    def reach(self, roles: frozenset[Role]) -> Reach:
        """Return the handlers on which the caller has at least one of the roles, of their own or lent."""
        reached: set[str] = set()
        for role in roles:
            lent = [delegated.handler for delegated in self.delegations if delegated.role is role]
            handlers = self.grants.get(role, frozenset())
            if handlers == EVERYWHERE or None in lent:
                return EVERYWHERE
            reached |= set(handlers) | {handler for handler in lent if handler is not None}
        return frozenset(reached)

    def lenders(self, roles: frozenset[Role], handler: str) -> tuple[str, ...]:
        """Return on whose behalf the caller acts: nobody's where a role is the caller's own, else whoever lent one."""
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
        """Return who lent the role with which the caller acts; None where one of the roles is the caller's own."""
        if any(own == EVERYWHERE or handler in own for own in (self.grants.get(role, frozenset()) for role in roles)):
            return None
        return next(iter(self.lenders(roles, handler)), None)

    def has(self, roles: frozenset[Role]) -> bool:
        """Tell whether the caller has one of the roles on any handler."""
        return bool(self.reach(roles))

    def reaches(self, roles: frozenset[Role], handler: str) -> bool:
        """Tell whether the caller has one of the roles on this handler."""
        reach = self.reach(roles)
        return reach == EVERYWHERE or handler in reach

    def demand(self, roles: frozenset[Role], handler: str, *, what: str = "handler") -> None:
        """Refuse a caller without any of the roles on a handler.

        Raises:
            NotFound: the caller may not even read there.
            Forbidden: it may read there, and not do this.
        """
        if self.reaches(roles, handler):
            return
        if not self.reaches(READERS, handler):
            raise NotFound(f"There is no such {what}.")
        raise Forbidden(f"This takes one of the roles: {named(roles)}; you have none of them for this handler.")

    def require_everywhere(self, role: Role) -> None:
        """Refuse a caller whose role is limited to some handlers where the act concerns all.

        Raises:
            Forbidden: the role is missing or limited.
        """
        if self.grants.get(role) != EVERYWHERE:
            raise Forbidden(f"This takes the role {role} for all handlers.")


@dataclass(slots=True, repr=False)
class Credentials:
    """What a caller shows of a key: how it begins, to find it by, and the SHA-256 of the whole."""

    prefix: str
    sha256: bytes

    @property
    def counted(self) -> bytes:
        """What the rate of its requests is counted by: all of the key, which nobody else can show."""
        return self.sha256

    def match(self, stored: bytes | None) -> bool:
        """Tell whether the key is the stored one, in constant time."""
        return stored is not None and hmac.compare_digest(stored, self.sha256)


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """A principal for whom the identity provider has vouched, by a token that was verified."""

    principal: str
    login: str
    """Under which the provider knows it: once the login has ended, it is vouched for no more."""

    @property
    def prefix(self) -> str:
        """What it is looked up by: the login's id, which no key begins with."""
        return self.login

    @property
    def counted(self) -> bytes:
        """What the rate of its requests is counted by."""
        return self.principal.encode()

    def match(self, stored: bytes | None) -> bool:
        """Tell that there is no key to compare with."""
        return stored is None


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """Somebody who has signed in with a browser; the gate does not know of such, and takes nothing of it."""

    session: str

    @property
    def prefix(self) -> str:
        """The session's id, which neither a key nor a login has."""
        return self.session

    @property
    def counted(self) -> bytes:
        """What the rate of its requests is counted by."""
        return self.session.encode()

    def match(self, stored: bytes | None) -> bool:  # noqa: ARG002 - never
        """Tell that it is nobody's key."""
        return False


Credential = Credentials | FederatedCredential | SessionCredential
"""What shows who is calling; whether it stands, the transaction that does the work finds out."""

Recognizer = Callable[[str | None], Credentials]
"""Reads a key from the value of the `Authorization` header, or raises `Unauthenticated`; whether it stands, it does not know."""

OPERATOR: Final = Caller(principal="operator", name="operator", kind="operator")
"""Whoever holds the database's own credentials and acts through the command line."""

SYSTEM_ACTOR: Final = Caller(principal="outbound", name="outbound", kind="operator")
"""The service itself, where it tells one handler's people what an act at another one has brought to light."""

Identify = Callable[[Request, bool], Awaitable[Credential]]
"""Finds what a request shows, outside of any transaction since it may have to ask others, or raises `Unauthenticated`; told whether the
route takes sessions."""

Authenticate = Callable[[Transaction, Credential], Awaitable[Caller]]
"""Turns what a request shows into a caller, or raises `Unauthenticated`."""


def named(roles: frozenset[Role]) -> str:
    """Return role names for a sentence, in a fixed order."""
    return ", ".join(sorted(roles))
