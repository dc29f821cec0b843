"""Logs server processes in to PostgreSQL: as roles of their own, none of which can see past its policies.

1. With the embedded server, over the same socket as the owner, who the operator's commands log in as.
2. With logins of their own (`OUTBOUND_DATABASE_APP_URL` and so on).
3. Else with the owner's login and the rights of the role: a statement of an attacker could take the owner's rights back.
"""

from dataclasses import dataclass
from typing import Final, Self

import asyncpg
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from service.connections import Bounds, connect
from service.settings import Settings

APP: Final = "outbound_app"
"""Requests, and the making of packs: kept to the handlers that each transaction has been told."""
GATE: Final = "outbound_gate"
"""Batches of decisions: everybody's rows, but only the columns that decisions look at; adds, and changes nothing that is on record."""
LOG: Final = "outbound_log"
"""Role of the log's leader: reads entries, adds to the tree."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds that a connection may take."""

_RIGHTS: Final = """
  select current_user, session_user = current_user as is_own, rolsuper or rolbypassrls as is_free,
         pg_has_role(current_user, (select relowner from pg_class where oid = 'datasets'::regclass), 'usage') as is_owner
  from pg_roles where rolname = current_user
"""

_REFUSED: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidParameterValueError,
)


class UnboundError(RuntimeError):
    """A role of the server processes could see or change what it must not: nothing is served."""


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """An address, and the role whose rights are taken where the address does not log in as it."""

    url: str
    role: str | None = None

    @property
    def settings(self) -> dict[str, str]:
        """Parameters of PostgreSQL at the start of a connection."""
        return {} if self.role is None else {"role": self.role}


@dataclass(frozen=True, slots=True)
class Logins:
    """Those of a server process."""

    app: Login
    gate: Login
    log: Login

    @classmethod
    def of(cls, settings: Settings, database_url: str) -> Self:
        """Return the logins, given the owner's address."""

        def login(role: str, own_url: SecretStr | None) -> Login:
            if own_url is not None:
                return Login(own_url.get_secret_value())
            if settings.database_url is not None:
                return Login(database_url, role)
            own = make_url(database_url).set(username=role, password="")  # nosec B106 - it takes a password out
            return Login(own.render_as_string(hide_password=False))

        return cls(
            login(APP, settings.database_app_url),
            login(GATE, settings.database_gate_url),
            login(LOG, settings.database_log_url),
        )

    async def require_bound(self) -> list[str]:
        """Refuse to serve with more rights than a server process may have; return the roles that have no login of their own.

        Raises:
            UnboundError: a role could pass over the policies.
        """
        borrowed: list[str] = []
        for login in (self.app, self.gate, self.log):
            rights = await _rights(login)
            if rights["is_free"] or rights["is_owner"]:
                raise UnboundError(
                    f"The login {rights['current_user']} of a server process is a superuser, may bypass row-level security or owns the "
                    "tables: PostgreSQL could not keep callers to their handlers. See `Roles in the database` in docs/operators.md."
                )
            borrowed += [] if rights["is_own"] else [rights["current_user"]]
        return borrowed


async def _rights(login: Login) -> asyncpg.Record:
    try:
        connection = await connect(
            login.url, name="outbound", bounds=Bounds(CONNECT_TIMEOUT), timeout=CONNECT_TIMEOUT, settings=login.settings
        )
    except _REFUSED as error:
        raise UnboundError(
            f"A server process cannot log in to the database as {login.role or 'the role of its address'}: {error}. See `Roles in the "
            "database` in docs/operators.md."
        ) from error
    try:
        return await connection.fetchrow(_RIGHTS)
    finally:
        await connection.close()
