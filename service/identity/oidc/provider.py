"""Fetches and caches the metadata and keys of the identity provider, and verifies its tokens.

One request at a time fetches a value, at most once in `RETRY_SECONDS`, so that a flood of tokens with invented keys does not reach the
provider. While the provider is unavailable, its keys stay valid for `MAX_STALE_FACTOR` times their age limit. After that, requests with
tokens are answered 503, and requests with API keys are not affected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from service.clock import Clock
from service.http.egress import EgressClient, UnansweredError
from service.http.egress_policy import BlockedAddressError
from service.identity.oidc import claims as token_claims
from service.identity.oidc import jws
from service.identity.oidc.claims import ExpectedClaims, TokenClaims
from service.identity.oidc.jws import PublicKey, TokenRefusedError, UnknownKeyError
from service.validation import strict_json
from service.validation.problems import Malformed, ProviderUnavailable

log = structlog.get_logger(__name__)

Value = TypeVar("Value")
MonotonicClock = Callable[[], float]
"""Monotonic clock, in seconds."""

TIMEOUT_SECONDS: Final = 5.0
"""Time-out of one call to the provider."""
RETRY_SECONDS: Final = 5.0
"""Minimal time between two calls for the same value."""
METADATA_MAX_AGE_SECONDS: Final = 3600.0
MAX_STALE_FACTOR: Final = 6
"""Maximal age of a value that cannot be fetched again, as a multiple of its normal age limit."""
_FAULTS: Final = (
    BlockedAddressError,
    UnansweredError,
    TokenRefusedError,
    Malformed,
    ValidationError,
    ProviderUnavailable,
)


class Metadata(BaseModel):
    """Metadata of a provider. Source: OpenID Connect Discovery 1.0; RFC 8414; RFC 9207."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    token_endpoint_auth_methods_supported: Sequence[str] = ("client_secret_basic",)
    code_challenge_methods_supported: Sequence[str] | None = None
    authorization_response_iss_parameter_supported: bool = False


class Cached(Generic[Value]):
    """Value that is fetched on demand and cached.

    Args:
        fetch: fetches the value.
        seconds: age up to which the value is not fetched again.
        ticks: a monotonic clock.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Value]], *, seconds: float, ticks: MonotonicClock) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._ticks = ticks
        self._value: Value | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, *, newer_than: Value | None = None) -> Value:
        """Return the value, fetched anew if it is old or is the one that the caller could not use.

        Raises:
            ProviderUnavailable: the value is missing or too old and cannot be fetched.
        """
        if (kept := self._fresh_value(newer_than)) is not None:
            return kept
        async with self._lock:
            if (kept := self._fresh_value(newer_than)) is not None:
                return kept
            if self._ticks() < self._tried_at + RETRY_SECONDS:
                return self._stale_value(newer_than)
            self._tried_at = self._ticks()
            try:
                self._value = await self._fetch()
            except _FAULTS as error:
                log.warning("the identity provider cannot be used", error=type(error).__name__, why=_reason_of(error))
                return self._stale_value(newer_than)
            self._fetched_at = self._ticks()
            return self._value

    def _fresh_value(self, newer_than: Value | None) -> Value | None:
        is_new = self._ticks() < self._fetched_at + self._seconds
        return self._value if is_new and self._value is not newer_than else None

    def _stale_value(self, newer_than: Value | None) -> Value:
        """Return the cached value if it may be used while no newer one can be fetched."""
        is_answer = self._fetched_at >= self._tried_at  # the last call succeeded, so the provider has nothing newer
        lasts = self._ticks() < self._fetched_at + self._seconds * MAX_STALE_FACTOR
        if self._value is None or not lasts or (newer_than is not None and not is_answer):
            raise ProviderUnavailable
        return self._value


def _reason_of(error: Exception) -> str:
    """Return the reason of a fault without the content of the provider's answer."""
    return (
        str(error)
        if isinstance(error, BlockedAddressError | UnansweredError | TokenRefusedError)
        else "not as it should be"
    )


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Header and claims of a token with a valid signature."""

    header: jws.Header
    claims: Any


class Provider:
    """Identity provider of one issuer.

    Args:
        expected: expected claims of access tokens.
        egress: client of outgoing calls.
        clock: clock by which tokens are valid.
        keys_seconds: age up to which the keys are not fetched again.
        ticks: monotonic clock of the cache.

    Example:
        The claims of a caller's access token::

            provider = Provider(expected, egress, clock)
            claims = await provider.access_token(token)
    """

    def __init__(
        self,
        expected: ExpectedClaims,
        egress: EgressClient,
        clock: Clock,
        *,
        keys_seconds: float = 600.0,
        ticks: MonotonicClock = time.monotonic,
    ) -> None:
        self.expected = expected
        self._egress = egress
        self._clock = clock
        self._metadata = Cached(self._discover, seconds=METADATA_MAX_AGE_SECONDS, ticks=ticks)
        self._keys = Cached(self._fetch_keys, seconds=keys_seconds, ticks=ticks)

    async def metadata(self) -> Metadata:
        """Return the provider's metadata.

        Raises:
            ProviderUnavailable: it cannot be fetched.
        """
        return await self._metadata.get()

    async def access_token(self, token: str) -> TokenClaims:
        """Verify an access token and return its claims.

        Raises:
            TokenRefusedError: the token is invalid.
            ProviderUnavailable: the keys cannot be fetched.
        """
        verified = await self._verify(token)
        return token_claims.access_token(verified.header, verified.claims, self.expected, self._clock())

    async def id_token(self, token: str, expected: ExpectedClaims, *, nonce: str, access: str | None) -> TokenClaims:
        """Verify an ID token and return its claims.

        Raises:
            TokenRefusedError: the token is invalid.
            ProviderUnavailable: the keys cannot be fetched.
        """
        verified = await self._verify(token)
        now = self._clock()
        return token_claims.id_token(verified.header, verified.claims, expected, now, nonce=nonce, access=access)

    async def _verify(self, token: str) -> VerifiedToken:
        header = jws.header_of(token)
        keys = await self._keys.get()
        try:
            key = jws.key_for(header, keys)
        except UnknownKeyError:
            key = jws.key_for(header, await self._keys.get(newer_than=keys))
        return VerifiedToken(header, jws.claims_in(token, header, key))

    async def _fetch_keys(self) -> tuple[PublicKey, ...]:
        return jws.keys_in(await self._fetch_document((await self.metadata()).jwks_uri))

    async def _discover(self) -> Metadata:
        metadata = Metadata.model_validate(strict_json.parse(await self._fetch_description()))
        if metadata.issuer != self.expected.issuer:
            raise UnansweredError("The provider calls itself by another name than OUTBOUND_OIDC_ISSUER.")
        return metadata

    async def _fetch_description(self) -> bytes:
        """Return the metadata document at the path of OpenID Connect Discovery or, if there is none, at that of RFC 8414."""
        issuer = self.expected.issuer.rstrip("/")
        try:
            return await self._fetch_document(issuer + "/.well-known/openid-configuration")
        except UnansweredError:
            scheme, _, rest = issuer.partition("://")
            host, slash, path = rest.partition("/")
            return await self._fetch_document(f"{scheme}://{host}/.well-known/oauth-authorization-server{slash}{path}")

    async def _fetch_document(self, url: str) -> bytes:
        answer = await self._egress.fetch(url, headers={"Accept": "application/json"}, seconds=TIMEOUT_SECONDS)
        if answer.status != 200:  # noqa: PLR2004 - redirects are not followed
            raise UnansweredError(f"The provider answers {answer.status}.")
        return answer.body

    async def exchange(self, endpoint: str, form: bytes, authorization: str | None) -> Any:
        """Post a form to the token endpoint and return its answer.

        Raises:
            TokenRefusedError: the provider refuses the code, or its answer cannot be read.
            ProviderUnavailable: the provider cannot be reached.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        named = {} if authorization is None else {"Authorization": authorization}
        try:
            answer = await self._egress.fetch(
                endpoint, method="POST", headers=headers | named, content=form, seconds=TIMEOUT_SECONDS
            )
            body = strict_json.parse(answer.body)
        except (BlockedAddressError, UnansweredError) as error:
            raise ProviderUnavailable from error
        except Malformed as error:
            raise TokenRefusedError("The provider's answer cannot be read.") from error
        if answer.status != 200 or not isinstance(body, dict):  # noqa: PLR2004
            raise TokenRefusedError("The provider does not take the code.")
        return body
