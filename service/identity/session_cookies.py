"""Session cookies, the check of a request's origin (CSRF), and the addresses of redirects."""

import hmac
import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from service.identity.session_rules import SessionLimits
from service.identity.sessions import ActiveSession
from service.validation.problems import Forbidden

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")


class SessionCookies:
    """Session cookies of one deployment, and the origin check of its requests.

    Args:
        public_url: the address that browsers use; None: the address in each request.
        limits: time-outs of sessions.

    Example:
        A deployment behind TLS names its cookies so that no other host can set them::

            cookies = SessionCookies("https://outbound.example.com", limits)
            cookies.session_cookie  # "__Host-outbound"
            cookies.set_token(request, token)
    """

    def __init__(self, public_url: str | None, limits: SessionLimits) -> None:
        self.limits = limits
        self._origin = None if public_url is None else _origin_of(public_url)
        self._is_secure = public_url is not None and public_url.startswith("https://")

    def cookie_name(self, plain: str) -> str:
        """Return the name of a cookie. With the prefix `__Host-`, another host or a connection without TLS cannot set it (RFC 6265bis)."""
        return f"__Host-{plain}" if self._is_secure else plain.replace("-", "_")

    @property
    def session_cookie(self) -> str:
        """Name of the session cookie."""
        return "__Host-outbound" if self._is_secure else "outbound_session"

    def token_of(self, request: Request) -> str | None:
        """Return the session token of a request; None if there is none of its form."""
        text = request.cookies.get(self.session_cookie, "")
        return text if _TOKEN_FORM.fullmatch(text) else None

    def format_cookie(self, name: str, value: str, seconds: int) -> str:
        """Return a `Set-Cookie` header that scripts cannot read and that is not sent with forms of other sites."""
        secure = "; Secure" if self._is_secure else ""
        return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def set_token(self, request: Request, token: str) -> None:
        """Set the session cookie in the response to a request."""
        seconds = int(self.limits.absolute.total_seconds())
        self.set_cookie(request, self.format_cookie(self.session_cookie, token, seconds))

    def clear_token(self, request: Request) -> None:
        """Delete the session cookie in the response to a request."""
        self.set_cookie(request, self.format_cookie(self.session_cookie, "", 0))

    def set_cookie(self, request: Request, cookie: str) -> None:
        """Add a `Set-Cookie` header to the response to a request, also to an error response."""
        state: dict[str, object] = request.scope.setdefault("state", {})
        cookies = state.setdefault("cookies", [])
        if isinstance(cookies, list):
            cookies.append(cookie)

    def require_same_origin(self, request: Request) -> None:
        """Require that a request comes from a page of this service.

        Raises:
            Forbidden: it comes from a page of another site, or the browser sends neither `Sec-Fetch-Site` nor `Origin`.
        """
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site is None and origin is None:
            raise Forbidden("The browser does not say which page this comes from; programs send an API key or a token.")
        # A page whose referrer policy is `no-referrer` sends the origin `null`.
        is_own_page = site == "same-origin" and origin in {None, "null"}
        if site not in {None, "same-origin"} or not (is_own_page or self._is_own(request, origin)):
            raise Forbidden(
                "This comes from a page of another site. Behind a proxy, OUTBOUND_PUBLIC_URL must name the address that browsers use."
            )

    def _is_own(self, request: Request, origin: str | None) -> bool:
        if origin is None:
            return False
        if self._origin is not None:
            return origin == self._origin
        return urlsplit(origin).netloc == request.headers.get("host")


def require_csrf(session: ActiveSession, csrf_token: str | None) -> None:
    """Require the CSRF token of a session.

    Raises:
        Forbidden: the token is missing or of another session.
    """
    if not hmac.compare_digest(session.csrf.hex().encode(), (csrf_token or "").encode()):
        raise Forbidden("Send the `csrf_token` of GET /v1/session as X-CSRF-Token.")


def local_path(address: str | None) -> str:
    """Return the path of the redirect after a sign-in: the requested one if it is within this service, else `/`."""
    return address if address is not None and _LOCAL_PATH.fullmatch(address) else "/"


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
