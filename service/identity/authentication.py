"""Authentication: finds the credential of a request, and its caller.

1. An API key in `Authorization` is taken as it is; the transaction that does the work looks it up.
2. A token there (OIDC) is verified first, which may take a call to its issuer, and so happens outside of any transaction. Its subject is
   looked up and the roles of its groups are synchronised, in transactions of their own. The transaction that does the work looks up the
   linked identity again.
3. Without `Authorization`, a session cookie is looked at where the route takes one. A request that changes something must then come from
   a page of this service: the browser says so (`Sec-Fetch-Site`, `Origin`), and the page sends the session's CSRF token (`X-CSRF-Token`).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request

from service.access.caller import Caller, Credential, Credentials, FederatedCredential, Role, SessionCredential
from service.clock import Clock
from service.database.row_security import EVERYWHERE
from service.database.session import Database, Transaction
from service.http.egress import EgressClient
from service.identity import linked_identities, operations, sessions
from service.identity.oidc import jws
from service.identity.oidc.authorization_code import SigningIn
from service.identity.oidc.claims import Expected, TokenClaims
from service.identity.oidc.group_roles import Stands
from service.identity.oidc.jws import TokenRefusedError
from service.identity.oidc.machine_claims import PERSON_CLAIMS, Signs
from service.identity.oidc.provider import Provider
from service.identity.session_cookies import SAFE_METHODS, Browsing, require_csrf
from service.identity.session_rules import Limits
from service.settings import Settings
from service.validation.problems import Unauthenticated

_BEARER: Final = "bearer"
_KEY: Final = "ob_live_"


class Authenticator:
    """Tells who is calling.

    Args:
        database: where principals are.
        provider: the identity provider; None: tokens are not taken.
        stands: which of its groups stands for which role.
        provision: whether somebody unknown becomes a principal at first sight.
        browsing: what is to be known of browsers.
        signing_in: signs people in through the provider; None: by a link of the operator's alone.
    """

    def __init__(
        self,
        database: Database,
        provider: Provider | None = None,
        stands: Sequence[Stands] = (),
        *,
        provision: bool = False,
        browsing: Browsing,
        signing_in: SigningIn | None = None,
    ) -> None:
        self.provider = provider
        self.browsing = browsing
        self.signing_in = signing_in
        self._database = database
        self._stands = stands
        self._provision = provision

    async def identify(self, request: Request, takes_session: bool) -> Credential:  # noqa: FBT001
        """Return what a request shows.

        Raises:
            Unauthenticated: nothing, or a token that is not taken.
            Forbidden: a session that changes something, and not from a page of this service.
            ProviderUnavailable: a token that cannot be judged now.
        """
        authorization = request.headers.get("authorization")
        shown = self.browsing.token_of(request)
        if authorization is None and shown is not None and takes_session:
            return await self._seated(request, shown)
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

    async def vouch(self, told: TokenClaims) -> FederatedCredential:
        """Return the principal that somebody is, with the roles of their groups as they are now.

        Raises:
            Unauthenticated: nobody, or nobody who may come in.
        """
        known = await self._known(told)
        if known.is_behind:
            await self._keep_step(told)
        return FederatedCredential(known.principal, known.login)

    async def authenticate(self, tx: Transaction, proof: Credential) -> Caller:
        """Return who shows it, in the transaction that does the work.

        Raises:
            Unauthenticated: it does not stand.
        """
        if isinstance(proof, Credentials):
            return await operations.authenticate(tx, proof)
        if isinstance(proof, SessionCredential):
            return await operations.caller_of(tx, *await sessions.admit(tx, proof))
        return await linked_identities.authenticate(tx, proof)

    async def _seated(self, request: Request, shown: str) -> SessionCredential:
        limits = self.browsing.limits
        visit = await self._database.transaction(lambda tx: sessions.visit(tx, shown, limits), reach=EVERYWHERE)
        if visit is None:
            raise sessions.over()
        if request.method not in SAFE_METHODS:
            self.browsing.require_own_page(request)
            require_csrf(visit, request.headers.get("x-csrf-token"))
        if visit.token is not None:
            self.browsing.hand_out(request, visit.token)
        return SessionCredential(visit.session)

    async def _known(self, told: TokenClaims) -> linked_identities.RecognizedPrincipal:
        known = await self._database.transaction(
            lambda tx: linked_identities.find_principal(tx, told, self._stands), reach=EVERYWHERE
        )
        if known is None and self._provision:
            await self._database.transaction(lambda tx: linked_identities.provision(tx, told), reach=EVERYWHERE)
            known = await self._database.transaction(
                lambda tx: linked_identities.find_principal(tx, told, self._stands), reach=EVERYWHERE
            )
        if known is None:
            raise linked_identities.unknown()
        return known

    async def _keep_step(self, told: TokenClaims) -> None:
        """Bring the roles up to date; the gate is closed where one must be taken, and only there."""
        try:
            await self._database.transaction(
                lambda tx: linked_identities.sync_group_roles(tx, told, self._stands, closing=False), reach=EVERYWHERE
            )
        except linked_identities.GateIsOpenError:
            await self._database.transaction(
                lambda tx: linked_identities.sync_group_roles(tx, told, self._stands, closing=True), reach=EVERYWHERE
            )


def token_in(authorization: str | None) -> str | None:
    """Return the token in an `Authorization` header; None: there is an API key, or nothing of the form of a token."""
    scheme, _, rest = (authorization or "").partition(" ")
    text = rest.strip(" ")
    is_token = scheme.lower() == _BEARER and not text.startswith(_KEY) and jws.is_token(text)
    return text if is_token else None


def authenticator_of(settings: Settings, database: Database, outgoing: EgressClient, clock: Clock) -> Authenticator:
    """Return the authenticator that the settings ask for.

    Raises:
        ValueError: the settings on the identity provider do not go together.
    """
    stands = [Stands(one.group, Role(one.role), one.handler) for one in settings.oidc_groups]
    limits = Limits(
        idle=timedelta(seconds=settings.session_idle_seconds),
        whole=timedelta(seconds=settings.session_seconds),
        rotate=timedelta(seconds=settings.session_rotate_seconds),
    )
    browsing = Browsing(settings.public_url, limits)
    if settings.oidc_issuer is None:
        return Authenticator(database, browsing=browsing)
    if settings.oidc_audience is None:
        raise ValueError("OUTBOUND_OIDC_ISSUER needs OUTBOUND_OIDC_AUDIENCE: tokens for others must not be taken here.")
    expected = Expected(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        skew=timedelta(seconds=settings.oidc_skew_seconds),
        max_age=timedelta(seconds=settings.oidc_token_max_age_seconds),
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
        signs=Signs(
            settings.oidc_machine_claims,
            PERSON_CLAIMS if settings.oidc_person_claims is None else settings.oidc_person_claims,
        ),
    )
    outgoing.check(settings.oidc_issuer)
    provider = Provider(expected, outgoing, clock, keys_seconds=settings.oidc_keys_seconds)
    signing_in = None
    if settings.oidc_client_id is not None:
        signing_in = SigningIn(provider, settings.oidc_client_id, settings.oidc_client_secret, settings.oidc_scopes)
    return Authenticator(
        database, provider, stands, provision=settings.oidc_provision, browsing=browsing, signing_in=signing_in
    )
