"""Authenticates requests by API key, OIDC token or session cookie.

1. An API key in `Authorization` is only parsed; the request's transaction looks it up.
2. An OIDC token is verified outside of any transaction, since this can need a call to its issuer. Its subject is looked up and the roles
   of its groups are synchronised in transactions of their own. The request's transaction looks up the linked identity.
3. Without `Authorization`, the session cookie counts on routes that accept one. A request that is not safe must then come from a page of
   this service (`Sec-Fetch-Site`, `Origin`) and carry the session's CSRF token (`X-CSRF-Token`).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from starlette.requests import Request

from service.access.caller import Caller, Credential, FederatedCredential, KeyCredential, Role, SessionCredential
from service.clock import Clock
from service.database.row_security import EVERYWHERE
from service.database.session import Database, Transaction
from service.http.egress import EgressClient
from service.identity import linked_identities, operations, sessions
from service.identity.oidc import jws
from service.identity.oidc.authorization_code import AuthorizationCodeFlow
from service.identity.oidc.claims import ExpectedClaims, TokenClaims
from service.identity.oidc.group_roles import GroupMapping
from service.identity.oidc.jws import TokenRefusedError
from service.identity.oidc.machine_claims import PERSON_CLAIMS, KindMarkers
from service.identity.oidc.provider import Provider
from service.identity.session_cookies import SAFE_METHODS, SessionCookies, require_csrf
from service.identity.session_rules import SessionLimits
from service.settings import Settings
from service.validation.problems import Unauthenticated

_BEARER: Final = "bearer"
_KEY_PREFIX: Final = "ob_live_"


class Authenticator:
    """Finds the credential of a request and the caller that it belongs to.

    Args:
        database: the database with the principals.
        provider: the identity provider; None: tokens are refused.
        mappings: the roles of the provider's groups.
        provision: True if a subject that is not linked becomes a principal by its first token.
        cookies: the session cookies.
        code_flow: the sign-in through the provider; None: people sign in by links of the operator alone.

    Example:
        Both steps of a request, the second one in the transaction that does the work::

            credential = await authenticator.identify(request, takes_session=True)

            async def work(tx: Transaction) -> None:
                caller = await authenticator.authenticate(tx, credential)
                caller.require_everywhere(Role.ADMIN)
    """

    def __init__(
        self,
        database: Database,
        provider: Provider | None = None,
        mappings: Sequence[GroupMapping] = (),
        *,
        provision: bool = False,
        cookies: SessionCookies,
        code_flow: AuthorizationCodeFlow | None = None,
    ) -> None:
        self.provider = provider
        self.cookies = cookies
        self.code_flow = code_flow
        self._database = database
        self._mappings = mappings
        self._provision = provision

    async def identify(self, request: Request, takes_session: bool) -> Credential:  # noqa: FBT001
        """Return the credential of a request.

        Args:
            request: the request.
            takes_session: True if the route accepts session cookies.

        Raises:
            Unauthenticated: there is no credential, or a token is invalid.
            Forbidden: a request with a session is not safe and does not come from a page of this service.
            ProviderUnavailable: a token cannot be verified without keys of the provider.
        """
        authorization = request.headers.get("authorization")
        session_token = self.cookies.token_of(request)
        if authorization is None and session_token is not None and takes_session:
            return await self._resume_session(request, session_token)
        token = token_in(authorization)
        if token is None:
            return operations.parse_api_key(authorization)
        if self.provider is None:
            raise Unauthenticated("No identity provider is set, so tokens are refused. Send an API key.")
        try:
            claims = await self.provider.access_token(token)
        except TokenRefusedError as refused:
            raise Unauthenticated(str(refused), error="invalid_token") from refused
        return await self.recognize(claims)

    async def recognize(self, claims: TokenClaims) -> FederatedCredential:
        """Return the credential of a token's subject, with the roles of its groups synchronised.

        Raises:
            Unauthenticated: the subject is not linked, its link has ended, or its principal is disabled.
        """
        recognized = await self._find_principal(claims)
        if recognized.is_behind:
            await self._sync_group_roles(claims)
        return FederatedCredential(recognized.principal, recognized.linked_identity)

    async def authenticate(self, tx: Transaction, credential: Credential) -> Caller:
        """Return the caller of a credential, in the transaction that does the work.

        Raises:
            Unauthenticated: the credential is unknown or no longer valid.
        """
        if isinstance(credential, KeyCredential):
            return await operations.authenticate(tx, credential)
        if isinstance(credential, SessionCredential):
            return await operations.caller_of(tx, *await sessions.authenticate(tx, credential))
        return await linked_identities.authenticate(tx, credential)

    async def _resume_session(self, request: Request, token: str) -> SessionCredential:
        limits = self.cookies.limits
        session = await self._database.transaction(lambda tx: sessions.resume(tx, token, limits), handlers=EVERYWHERE)
        if session is None:
            raise sessions.ended_session()
        if request.method not in SAFE_METHODS:
            self.cookies.require_same_origin(request)
            require_csrf(session, request.headers.get("x-csrf-token"))
        if session.new_token is not None:
            self.cookies.set_token(request, session.new_token)
        return SessionCredential(session.id)

    async def _find_principal(self, claims: TokenClaims) -> linked_identities.RecognizedPrincipal:
        recognized = await self._database.transaction(
            lambda tx: linked_identities.find_principal(tx, claims, self._mappings), handlers=EVERYWHERE
        )
        if recognized is None and self._provision:
            await self._database.transaction(lambda tx: linked_identities.provision(tx, claims), handlers=EVERYWHERE)
            recognized = await self._database.transaction(
                lambda tx: linked_identities.find_principal(tx, claims, self._mappings), handlers=EVERYWHERE
            )
        if recognized is None:
            raise linked_identities.unlinked_subject()
        return recognized

    async def _sync_group_roles(self, claims: TokenClaims) -> None:
        # Closing the gate makes every decision wait, so it is closed only for the rare token that withdraws a role.
        try:
            await self._database.transaction(
                lambda tx: linked_identities.sync_group_roles(tx, claims, self._mappings, closing=False),
                handlers=EVERYWHERE,
            )
        except linked_identities.GateIsOpenError:
            await self._database.transaction(
                lambda tx: linked_identities.sync_group_roles(tx, claims, self._mappings, closing=True),
                handlers=EVERYWHERE,
            )


def token_in(authorization: str | None) -> str | None:
    """Return the token in an `Authorization` header; None if it holds an API key or something else."""
    scheme, _, rest = (authorization or "").partition(" ")
    text = rest.strip(" ")
    is_token = scheme.lower() == _BEARER and not text.startswith(_KEY_PREFIX) and jws.is_token(text)
    return text if is_token else None


def authenticator_of(settings: Settings, database: Database, egress: EgressClient, clock: Clock) -> Authenticator:
    """Return the authenticator of the settings.

    Raises:
        ValueError: the settings of the identity provider contradict each other.
    """
    mappings = [GroupMapping(mapping.group, Role(mapping.role), mapping.handler) for mapping in settings.oidc_groups]
    limits = SessionLimits(
        idle=timedelta(seconds=settings.session_idle_seconds),
        absolute=timedelta(seconds=settings.session_seconds),
        rotate=timedelta(seconds=settings.session_rotate_seconds),
    )
    cookies = SessionCookies(settings.public_url, limits)
    if settings.oidc_issuer is None:
        return Authenticator(database, cookies=cookies)
    if settings.oidc_audience is None:
        raise ValueError(
            "OUTBOUND_OIDC_ISSUER needs OUTBOUND_OIDC_AUDIENCE, so that tokens for other services are refused."
        )
    expected = ExpectedClaims(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        skew=timedelta(seconds=settings.oidc_skew_seconds),
        max_age=timedelta(seconds=settings.oidc_token_max_age_seconds),
        name_claim=settings.oidc_name_claim,
        groups_claim=settings.oidc_groups_claim,
        markers=KindMarkers(
            settings.oidc_machine_claims,
            PERSON_CLAIMS if settings.oidc_person_claims is None else settings.oidc_person_claims,
        ),
    )
    egress.check(settings.oidc_issuer)
    provider = Provider(expected, egress, clock, keys_seconds=settings.oidc_keys_seconds)
    code_flow = None
    if settings.oidc_client_id is not None:
        code_flow = AuthorizationCodeFlow(
            provider, settings.oidc_client_id, settings.oidc_client_secret, settings.oidc_scopes
        )
    return Authenticator(
        database, provider, mappings, provision=settings.oidc_provision, cookies=cookies, code_flow=code_flow
    )
