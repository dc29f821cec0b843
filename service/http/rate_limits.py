"""Rate limits: how much one caller may ask of one server process, by key, by address for unknown callers, and for failed attempts.

Each process counts for itself, in token buckets. A key counts by the SHA-256 of all of it: whoever knows its beginning cannot use up its
allowance. A caller who was never let in counts by address. While an address has used up its failed attempts, only credentials that were
let in before are looked at there: other answers say nothing of any key.
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

LET_IN: Final = "let_in"
"""Where the state of a request has what is to be called once its caller is known."""
_IS_LET_IN: Final = "is_let_in"
_KNOWN: Final = 10_000
"""Credentials that are remembered to have been let in."""
_UNLIMITED: Final = frozenset({"/livez", "/readyz"})
"""Asked by whatever restarts the service when there is no answer."""


class Limits:
    """Counts, and refuses.

    Args:
        keyed: rate of each credential, for all routes but the gate's.
        gate: rate of each credential, in asks of the gate.
        public: rate of each address, for requests of nobody known.
        failed: rate of each address, for attempts that were answered 401.
        gate_paths: the gate's routes.
        clock: seconds that only ever grow.
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
        self._known: dict[bytes, None] = {}
        self.has_gate_rate = gate is not None
        """Whether `require_asks` ever refuses."""
        self.has_failures = False
        """Whether any attempt has failed: until then there is nothing to look up."""

    def demand(self, scope: Scope, credential: bytes | None) -> None:
        """Count a request.

        Raises:
            TooManyRequests: it is one too many.
        """
        path = scope["path"]
        if path in _UNLIMITED:
            return
        if credential is not None and credential in self._known:
            _take(self._keyed if path not in self._gate_paths else None, credential, self._clock())
            return
        if credential is not None:
            self.require_attempt(scope, credential)
        _take(self._public, address_of(scope), self._clock())

    def require_attempt(self, scope: Scope, credential: bytes) -> None:
        """Refuse credentials that are not known where too many attempts have failed.

        Raises:
            TooManyRequests: they will not be looked at.
        """
        if self.has_failures and self._failed is not None and credential not in self._known:
            wait = self._failed.wait(address_of(scope), self._clock())
            if wait:
                raise TooManyRequests(retry_after(wait))

    def require_asks(self, credential: bytes, asks: int) -> None:
        """Count asks of the gate.

        Raises:
            TooManyRequests: they are too many.
        """
        _take(self._gate, credential, self._clock(), asks)

    def told(self, scope: Scope, credential: bytes | None, status: int, *, is_let_in: bool = True) -> None:
        """Learn how a request was answered, and whether anybody has looked at its credentials."""
        if credential is None:
            return
        if status == 401:  # noqa: PLR2004 - HTTP's own number
            self._known.pop(credential, None)
            if self._failed is not None:
                self.has_failures = True
                self._failed.take(address_of(scope), self._clock())
        elif status < 400 and is_let_in and credential not in self._known:  # noqa: PLR2004 - the same
            self._known[credential] = None
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]


def credential_of(authorization: str | None, cookie: str | None) -> bytes | None:
    """Return what stands for the credentials of a request without showing them: the SHA-256 of the key, the token or the cookie."""
    shown = (authorization or "").strip().rpartition(" ")[2] or (cookie or "")
    return hashlib.sha256(shown.encode("latin-1", "replace")).digest() if shown else None


def note_let_in(scope: Scope) -> None:
    """Note that the caller of a request is known, for the limits and for the connection."""
    state = scope.setdefault("state", {})
    state[_IS_LET_IN] = True
    let_in = state.get(LET_IN)
    if let_in is not None:
        let_in()


def is_of_known_caller(status: int) -> bool:
    """Tell whether an answer of the gate was given to a caller who was let in: done, or refused for what was asked."""
    return status < 400 or status == 403  # noqa: PLR2004 - HTTP's own numbers


def is_let_in(scope: Scope) -> bool:
    """Tell whether the caller of a request was known."""
    return bool(scope.get("state", {}).get(_IS_LET_IN))


def address_of(scope: Scope) -> bytes:
    """Return the address that a request came from; of IPv6 the network, for one customer has all of it."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    if ":" not in host:
        return host.encode()
    found = _parsed(host)
    if isinstance(found, ipaddress.IPv6Address):
        return found.packed[:8]
    return host.encode() if found is None else str(found).encode()


def counted_address(client: tuple[str, int] | None, spared: Sequence[Network]) -> bytes | None:
    """Return the address that a connection counts for; None: it comes from one of these networks, or through a socket of this machine."""
    found = None if client is None else _parsed(client[0])
    if client is None or (found is not None and any(found in network for network in spared)):
        return None
    return address_of({"client": client})


def spared_networks(proxies: str) -> Sequence[Network]:
    """Return the networks of this machine and of the proxies that are trusted, as the settings name them."""
    named = [one.strip() for one in proxies.split(",") if one.strip()]
    found = [*_LOOPBACK, *(_EVERYWHERE if "*" in named else ())]
    for one in named:
        try:
            found.append(ipaddress.ip_network(one, strict=False))
        except ValueError:  # the path of a socket: who comes through it has no address
            continue
    return tuple(found)


_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_EVERYWHERE: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address; one of IPv4 that comes through a socket of IPv6 is one of IPv4."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _buckets(rate: TokenBucket | None) -> Buckets | None:
    return None if rate is None else Buckets(rate)


def _take(buckets: Buckets | None, key: bytes, now: float, cost: float = 1) -> None:
    wait = 0.0 if buckets is None else buckets.take(key, now, cost)
    if wait:
        raise TooManyRequests(retry_after(wait))
