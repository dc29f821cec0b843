"""Signs people in through the identity provider: authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 9207; OpenID Connect Core 3.1).

1. The browser gets a secret in a cookie for `SIGN_IN_SECONDS`. `state`, `nonce` and the PKCE verifier are derived from it. This binds the
   sign-in to that browser, and the service stores nothing.
2. At the redirect back, `state` and issuer are checked. The code is exchanged for an ID token, which must carry the nonce and be for
   this client.
3. The subject of the ID token is looked up like that of any token, and a session with a new token begins.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from pydantic import SecretStr

from service.identity.oidc.claims import TokenClaims
from service.identity.oidc.jws import TokenRefusedError
from service.identity.oidc.provider import Metadata, Provider
from service.validation.problems import ProviderUnavailable

SIGN_IN_SECONDS: Final = 600
"""Time-out of a sign-in."""
_SECRET_CHARACTERS: Final = 43


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """Sign-in of one browser that is under way."""

    secret: str
    return_path: str
    """Address of the redirect after the sign-in."""

    @classmethod
    def new(cls, return_path: str) -> "SignInAttempt":
        """Return an attempt with a new secret."""
        return cls(secrets.token_urlsafe(32), return_path)

    @classmethod
    def in_cookie(cls, text: str | None) -> "SignInAttempt | None":
        """Return the attempt of a cookie; None if the cookie is missing or invalid."""
        secret, _, return_path = (text or "").partition(".")
        try:
            path = base64.urlsafe_b64decode(return_path + "=" * (-len(return_path) % 4)).decode()
        except ValueError:
            return None
        return cls(secret, path) if len(secret) == _SECRET_CHARACTERS and secret.isascii() else None

    @property
    def cookie(self) -> str:
        """Value of the cookie."""
        return f"{self.secret}.{base64.urlsafe_b64encode(self.return_path.encode()).rstrip(b'=').decode()}"

    def derive(self, name: str) -> str:
        """Return a value derived from the secret for a purpose (HMAC-SHA-256 of its name), in base64url."""
        digest = hmac.digest(self.secret.encode(), name.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @property
    def challenge(self) -> str:
        """S256 challenge of the PKCE verifier."""
        digest = hashlib.sha256(self.derive("verifier").encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class AuthorizationCodeFlow:
    """Client of the console at the identity provider.

    Args:
        provider: the provider.
        client: id of the client.
        secret: secret of the client; None for a public client.
        scopes: requested scopes, separated by spaces.

    Example:
        The two halves of a sign-in::

            attempt = SignInAttempt.new(return_path="/")
            url = await flow.authorization_url(attempt, callback)  # set attempt.cookie, redirect the browser to url
            claims = await flow.finish(attempt, request.query_params, callback)  # in the route of the callback
    """

    def __init__(self, provider: Provider, client: str, secret: SecretStr | None, scopes: str) -> None:
        self._provider = provider
        self._client = client
        self._secret = secret
        self._scopes = scopes

    async def authorization_url(self, attempt: SignInAttempt, callback: str) -> str:
        """Return the address at the provider to which the browser is redirected.

        Raises:
            ProviderUnavailable: the provider's metadata cannot be fetched or lack the endpoint.
        """
        metadata = await self._provider.metadata()
        endpoint = metadata.authorization_endpoint
        if endpoint is None or urlsplit(endpoint).scheme not in {"https", "http"}:
            raise ProviderUnavailable
        parameters = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": callback,
            "scope": self._scopes,
            "state": attempt.derive("state"),
            "nonce": attempt.derive("nonce"),
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    async def finish(self, attempt: SignInAttempt, parameters: Mapping[str, str], callback: str) -> TokenClaims:
        """Exchange the code for an ID token and return its claims.

        Args:
            attempt: the attempt of this browser's cookie.
            parameters: query parameters of the redirect back.
            callback: address of the redirect back.

        Raises:
            TokenRefusedError: the provider refused the sign-in, or it belongs to another browser.
            ProviderUnavailable: the provider does not answer.
        """
        if not hmac.compare_digest(parameters.get("state", "").encode(), attempt.derive("state").encode()):
            raise TokenRefusedError("This sign-in was not begun in this browser, or another one was begun since.")
        metadata = await self._provider.metadata()
        issuer = parameters.get("iss")
        if issuer != metadata.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise TokenRefusedError("The answer is of another provider.")
        if "error" in parameters or not parameters.get("code"):
            raise TokenRefusedError("The provider did not let you sign in.")
        answer = await self._redeem_code(metadata, parameters["code"], attempt, callback)
        token, access = answer.get("id_token"), answer.get("access_token")
        if not isinstance(token, str) or not (access is None or isinstance(access, str)):
            raise TokenRefusedError("The provider's answer holds no ID token.")
        expected = replace(self._provider.expected, audience=self._client)
        claims = await self._provider.id_token(token, expected, nonce=attempt.derive("nonce"), access=access)
        # An ID token without a claim of groups means no group. Groups listed elsewhere are unknown, and change no role.
        has_groups_claim = claims.groups is not None or claims.has_more_groups
        return claims if has_groups_claim else replace(claims, groups=frozenset())

    async def _redeem_code(
        self, metadata: Metadata, code: str, attempt: SignInAttempt, callback: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": attempt.derive("verifier"),
        }
        authorization: str | None = None
        if self._secret is None:
            form["client_id"] = self._client
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(self._client, safe='')}:{quote(self._secret.get_secret_value(), safe='')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client, "client_secret": self._secret.get_secret_value()}
        if metadata.token_endpoint is None:
            raise ProviderUnavailable
        answer: Mapping[str, Any] = await self._provider.exchange(
            metadata.token_endpoint, urlencode(form).encode(), authorization
        )
        return answer
