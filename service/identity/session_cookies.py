"""Session cookies, the check of a request's origin (CSRF), and the addresses of redirects."""

import hmac
import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from service.identity.session_rules import Limits
from service.identity.sessions import Visit
from service.validation.problems import Forbidden

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_LOCAL: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")


class Browsing:
    """What is to be known of browsers.

    Args:
        public_url: the address that they use; unset: the one that a request names.
        limits: how long sessions last.
    """

    def __init__(self, public_url: str | None, limits: Limits) -> None:
        self.limits = limits
        self._origin = None if public_url is None else _origin_of(public_url)
        self._is_secure = public_url is not None and public_url.startswith("https://")

    def name(self, plain: str) -> str:
        """Return the name of a cookie; by `__Host-`, no other host and no plain connection can have set it."""
        return f"__Host-{plain}" if self._is_secure else plain.replace("-", "_")

    @property
    def session_cookie(self) -> str:
        """Name of the session cookie."""
        return "__Host-outbound" if self._is_secure else "outbound_session"

    def token_of(self, request: Request) -> str | None:
        """Return the session's token in a request; None: there is none, or nothing of its form."""
        text = request.cookies.get(self.session_cookie, "")
        return text if _TOKEN.fullmatch(text) else None

    def cookie(self, name: str, value: str, seconds: int) -> str:
        """Return a `Set-Cookie` that no script reads and no other site's page sends with what it posts."""
        secure = "; Secure" if self._is_secure else ""
        return f"{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def hand_out(self, request: Request, token: str) -> None:
        """Send the session's token with the answer to a request, whatever that will be."""
        seconds = int(self.limits.whole.total_seconds())
        self.set_cookie(request, self.cookie(self.session_cookie, token, seconds))

    def take_back(self, request: Request) -> None:
        """Have the browser forget the session's token."""
        self.set_cookie(request, self.cookie(self.session_cookie, "", 0))

    def set_cookie(self, request: Request, cookie: str) -> None:
        """Send a cookie with the answer to a request."""
        state: dict[str, object] = request.scope.setdefault("state", {})
        cookies = state.setdefault("cookies", [])
        if isinstance(cookies, list):
            cookies.append(cookie)

    def require_own_page(self, request: Request) -> None:
        """Refuse what does not come from a page of this service.

        Raises:
            Forbidden: it comes from elsewhere, or the browser does not say from where.
        """
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site is None and origin is None:
            raise Forbidden("The browser does not say which page this comes from; programs send an API key or a token.")
        is_told = site == "same-origin" and origin in {
            None,
            "null",
        }  # a page without referrers has its origin told as null
        if site not in {None, "same-origin"} or not (is_told or self._is_own(request, origin)):
            raise Forbidden(
                "This comes from a page of another site. Behind a proxy, OUTBOUND_PUBLIC_URL must name the address that browsers use."
            )

    def _is_own(self, request: Request, origin: str | None) -> bool:
        if origin is None:
            return False
        if self._origin is not None:
            return origin == self._origin
        return urlsplit(origin).netloc == request.headers.get("host")


def require_csrf(visit: Visit, given: str | None) -> None:
    """Refuse what changes something without having been told by a page of this very session what to show.

    Raises:
        Forbidden: `X-CSRF-Token` is missing, or another session's.
    """
    if not hmac.compare_digest(visit.csrf.hex().encode(), (given or "").encode()):
        raise Forbidden("Send the `csrf_token` of GET /v1/session as X-CSRF-Token.")


def local_path(wanted: str | None) -> str:
    """Return where a browser is sent after it has signed in: a path of this service as it was wanted, or `/`."""
    return wanted if wanted is not None and _LOCAL.fullmatch(wanted) else "/"


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
