"""Rate limits of a server process, in token buckets: by credential, by address for unauthenticated callers, and for failed attempts.

A credential counts by its whole SHA-256, so the visible prefix of a key cannot use up its allowance. Credentials that have not been
authenticated yet count by address. An address without failed attempts left is answered 429 for all credentials that were not
authenticated before; so its answers reveal nothing about any key.

Example:
    limiter = RateLimiter(keyed=TokenBucket.of(50), failed=TokenBucket.of(0.5))
    limiter.require_request(scope, credential)  # raises TooManyRequests
    limiter.record_answer(scope, credential, 200)
"""

import hashlib
import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import Scope

from service.http.token_bucket import Buckets, TokenBucket, retry_after
from service.validation.problems import TooManyRequests

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

AUTHENTICATED_CALLBACK: Final = "let_in"
"""Key in the state of a request for the function to call once its caller is authenticated."""
_IS_AUTHENTICATED: Final = "is_let_in"
MAX_AUTHENTICATED: Final = 10_000
"""Authenticated credentials that are remembered."""
_UNLIMITED: Final = frozenset({"/livez", "/readyz"})
"""Probes of a process manager, which restarts the service when there is no answer."""


class RateLimiter:
    """Counts requests, and refuses those above a limit.

    Args:
        keyed: rate of each credential, for all routes but the gate's.
        gate: rate of each credential, in questions to the gate.
        public: rate of each address, for unauthenticated requests.
        failed: rate of each address, for attempts that were answered 401.
        gate_paths: the gate's routes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        keyed: TokenBucket | None = None,
        gate: TokenBucket | None = None,
        public: TokenBucket | None = None,
        failed: TokenBucket | None = None,
        gate_paths: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyed, self._gate, self._public, self._failed = map(_buckets, (keyed, gate, public, failed))
        self._gate_paths = gate_paths
        self._clock = clock
        self._authenticated: dict[bytes, None] = {}
        self.has_gate_rate = gate is not None
        """True if `require_asks` can refuse."""
        self.has_failures = False
        """True if an attempt has failed; until then no bucket needs a look-up."""

    def require_request(self, scope: Scope, credential: bytes | None) -> None:
        """Count a request.

        Raises:
            TooManyRequests: the limit is reached.
        """
        path = scope["path"]
        if path in _UNLIMITED:
            return
        if credential is not None and credential in self._authenticated:
            _take(self._keyed if path not in self._gate_paths else None, credential, self._clock())
            return
        if credential is not None:
            self.require_attempt(scope, credential)
        _take(self._public, address_of(scope), self._clock())

    def require_attempt(self, scope: Scope, credential: bytes) -> None:
        """Refuse unauthenticated credentials from an address with too many failed attempts.

        Raises:
            TooManyRequests: the credentials are not checked.
        """
        if self.has_failures and self._failed is not None and credential not in self._authenticated:
            wait = self._failed.wait(address_of(scope), self._clock())
            if wait:
                raise TooManyRequests(retry_after(wait))

    def require_asks(self, credential: bytes, asks: int) -> None:
        """Count questions to the gate.

        Raises:
            TooManyRequests: the limit is reached.
        """
        _take(self._gate, credential, self._clock(), asks)

    def record_answer(
        self, scope: Scope, credential: bytes | None, status: int, *, is_authenticated: bool = True
    ) -> None:
        """Record the status of an answer, and whether its credentials were checked."""
        if credential is None:
            return
        if status == 401:  # noqa: PLR2004 - HTTP's own number
            self._authenticated.pop(credential, None)
            if self._failed is not None:
                self.has_failures = True
                self._failed.take(address_of(scope), self._clock())
        elif status < 400 and is_authenticated and credential not in self._authenticated:  # noqa: PLR2004 - the same
            self._authenticated[credential] = None
            if len(self._authenticated) > MAX_AUTHENTICATED:
                del self._authenticated[next(iter(self._authenticated))]


def credential_of(authorization: str | None, cookie: str | None) -> bytes | None:
    """Return the SHA-256 of the key, the token or the cookie of a request; None without credentials."""
    secret = (authorization or "").strip().rpartition(" ")[2] or (cookie or "")
    return hashlib.sha256(secret.encode("latin-1", "replace")).digest() if secret else None


def note_authenticated(scope: Scope) -> None:
    """Record that the caller of a request is authenticated, for rate limits and connection limits."""
    state = scope.setdefault("state", {})
    state[_IS_AUTHENTICATED] = True
    callback = state.get(AUTHENTICATED_CALLBACK)
    if callback is not None:
        callback()


def is_answer_to_authenticated(status: int) -> bool:
    """Return True if an answer of the gate shows that its caller was authenticated: success, or 403 for the question itself."""
    return status < 400 or status == 403  # noqa: PLR2004 - HTTP's own numbers


def is_authenticated(scope: Scope) -> bool:
    """Return True if the caller of a request was authenticated."""
    return bool(scope.get("state", {}).get(_IS_AUTHENTICATED))


def address_of(scope: Scope) -> bytes:
    """Return the address of a request; of IPv6 the /64 network, which belongs to one customer."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    if ":" not in host:
        return host.encode()
    address = _parse(host)
    if isinstance(address, ipaddress.IPv6Address):
        return address.packed[:8]
    return host.encode() if address is None else str(address).encode()


def connection_address(client: tuple[str, int] | None, exempt: Sequence[Network]) -> bytes | None:
    """Return the address by which a connection counts; None for an exempt network or a local socket."""
    address = None if client is None else _parse(client[0])
    if client is None or (address is not None and any(address in network for network in exempt)):
        return None
    return address_of({"client": client})


def exempt_networks(proxies: str) -> Sequence[Network]:
    """Return the loopback networks, and those of the trusted proxies as the settings name them."""
    names = [name.strip() for name in proxies.split(",") if name.strip()]
    networks = [*_LOOPBACK, *(_EVERYWHERE if "*" in names else ())]
    for name in names:
        try:
            networks.append(ipaddress.ip_network(name, strict=False))
        except ValueError:  # the path of a socket: its connections have no address
            continue
    return tuple(networks)


_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_EVERYWHERE: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def _parse(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, an IPv4-mapped IPv6 address as IPv4; None if it is none."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _buckets(rate: TokenBucket | None) -> Buckets | None:
    return None if rate is None else Buckets(rate)


def _take(buckets: Buckets | None, key: bytes, now: float, cost: float = 1) -> None:
    wait = 0.0 if buckets is None else buckets.take(key, now, cost)
    if wait:
        raise TooManyRequests(retry_after(wait))
