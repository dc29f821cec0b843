"""The door: what a request shows, and who that is.

1. An API key in `Authorization` is taken as it is; the transaction that does the work looks it up.
2. A token there is checked first, which may take a call to its issuer, and so happens outside of any transaction. Then its subject is
   looked up, and the roles of its groups are brought up to date, in transactions of their own. What is left for the transaction that does
   the work is the login, which it looks up again.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request

from service.database import Clock, Database, Transaction
from service.http.caller import Caller, Credentials, Proof, Role, Vouched
from service.http.outgoing import Outgoing
from service.http.problems import Unauthenticated
from service.identity import jose, logins, operations
from service.identity.groups import Stands
from service.identity.jose import TokenRefusedError
from service.identity.provider import Provider
from service.identity.tokens import Expected, Told
from service.settings import Settings
from service.tenancy import EVERYWHERE

_BEARER: Final = "bearer"
_KEY: Final = "ob_live_"


class Door:
    """Tells who is calling.

    Args:
        database: where principals are.
        provider: the identity provider; None: tokens are not taken.
        stands: which of its groups stands for which role.
        provision: whether somebody unknown becomes a principal at first sight.
    """

    def __init__(
        self,
        database: Database,
        provider: Provider | None = None,
        stands: Sequence[Stands] = (),
        *,
        provision: bool = False,
    ) -> None:
        self.provider = provider
        self._database = database
        self._stands = stands
        self._provision = provision

    async def identify(self, request: Request) -> Proof:
        """Return what a request shows.

        Raises:
            Unauthenticated: nothing, or a token that is not taken.
            ProviderAway: a token that cannot be judged now.
        """
        authorization = request.headers.get("authorization")
        token = token_in(authorization)
        if token is None:
            return operations.recognize(authorization)
        if self.provider is None:
            raise Unauthenticated("Tokens are not taken here: no identity provider is set. Send an API key.")
        try:
            told = await self.provider.access_token(token)
        except TokenRefusedError as refused:
            raise Unauthenticated(str(refused), error="invalid_token") from refused
        return await self.vouch(told)

    async def vouch(self, told: Told) -> Vouched:
        """Return the principal that somebody is, with the roles of their groups as they are now.

        Raises:
            Unauthenticated: nobody, or nobody who may come in.
        """
        known = await self._known(told)
        if known.is_behind:
            await self._keep_step(told)
        return Vouched(known.principal, known.login)

    async def authenticate(self, tx: Transaction, proof: Proof) -> Caller:
        """Return who shows it, in the transaction that does the work.

        Raises:
            Unauthenticated: it does not stand.
        """
        if isinstance(proof, Credentials):
            return await operations.authenticate(tx, proof)
        return await logins.authenticate(tx, proof)

    async def _known(self, told: Told) -> logins.Known:
        known = await self._database.transaction(lambda tx: logins.recall(tx, told, self._stands), reach=EVERYWHERE)
        if known is None and self._provision:
            await self._database.transaction(lambda tx: logins.provision(tx, told), reach=EVERYWHERE)
            known = await self._database.transaction(lambda tx: logins.recall(tx, told, self._stands), reach=EVERYWHERE)
        if known is None:
            raise logins.unknown()
        return known

    async def _keep_step(self, told: Told) -> None:
        """Bring the roles up to date; the gate is closed where one must be taken, and only there."""
        try:
            await self._database.transaction(
                lambda tx: logins.keep_step(tx, told, self._stands, closing=False), reach=EVERYWHERE
            )
        except logins.GateIsOpenError:
            await self._database.transaction(
                lambda tx: logins.keep_step(tx, told, self._stands, closing=True), reach=EVERYWHERE
            )


def token_in(authorization: str | None) -> str | None:
    """Return the token in an `Authorization` header; None: there is an API key, or nothing of the form of a token."""
    scheme, _, rest = (authorization or "").partition(" ")
    text = rest.strip(" ")
    is_token = scheme.lower() == _BEARER and not text.startswith(_KEY) and jose.is_token(text)
    return text if is_token else None


def door_of(settings: Settings, database: Database, outgoing: Outgoing, clock: Clock) -> Door:
    """Return the door that the settings ask for.

    Raises:
        ValueError: the settings on the identity provider do not go together.
    """
    stands = [Stands(one.group, Role(one.role), one.handler) for one in settings.oidc_groups]
    if settings.oidc_issuer is None:
        return Door(database)
    if settings.oidc_audience is None:
        raise ValueError("OUTBOUND_OIDC_ISSUER needs OUTBOUND_OIDC_AUDIENCE: tokens for others must not be taken here.")
    expected = Expected(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        skew=timedelta(seconds=settings.oidc_skew_seconds),
        max_age=timedelta(seconds=settings.oidc_token_max_age_seconds),
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
    )
    outgoing.check(settings.oidc_issuer)
    provider = Provider(expected, outgoing, clock, keys_seconds=settings.oidc_keys_seconds)
    return Door(database, provider, stands, provision=settings.oidc_provision)
