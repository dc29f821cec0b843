"""How much one caller may ask of one server process: by key, by address for those who are not known, and for failed attempts.

Each server process counts for itself. A key counts by the SHA-256 of all of it, not by how it begins: who knows only that must not be
able to use up another's room. Whoever has never been let in counts by their address. While an address has used up its
failed attempts, only credentials that have been let in before are looked at there: what is answered to others says nothing of any key.
"""

import hashlib
import ipaddress
import time
from collections.abc import Callable
from typing import Final

from starlette.types import Scope

from service.http.problems import TooManyRequests
from service.http.rates import Buckets, Rate, retry_after

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
        keyed: Rate | None = None,
        gate: Rate | None = None,
        public: Rate | None = None,
        failed: Rate | None = None,
        gate_paths: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyed, self._gate, self._public, self._failed = map(_buckets, (keyed, gate, public, failed))
        self._gate_paths = gate_paths
        self._clock = clock
        self._known: dict[bytes, None] = {}
        self.has_gate_rate = gate is not None
        """Whether `demand_asks` ever refuses."""
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
            self.demand_attempt(scope, credential)
        _take(self._public, address_of(scope), self._clock())

    def demand_attempt(self, scope: Scope, credential: bytes) -> None:
        """Refuse credentials that are not known where too many attempts have failed.

        Raises:
            TooManyRequests: they will not be looked at.
        """
        if self.has_failures and self._failed is not None and credential not in self._known:
            wait = self._failed.wait(address_of(scope), self._clock())
            if wait:
                raise TooManyRequests(retry_after(wait))

    def demand_asks(self, credential: bytes, asks: int) -> None:
        """Count asks of the gate.

        Raises:
            TooManyRequests: they are too many.
        """
        _take(self._gate, credential, self._clock(), asks)

    def told(self, scope: Scope, credential: bytes | None, status: int) -> None:
        """Learn how a request was answered."""
        if credential is None:
            return
        if status == 401:  # noqa: PLR2004 - HTTP's own number
            self._known.pop(credential, None)
            if self._failed is not None:
                self.has_failures = True
                self._failed.take(address_of(scope), self._clock())
        elif status < 400 and credential not in self._known:  # noqa: PLR2004 - the same
            self._known[credential] = None
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]


def credential_of(authorization: str | None, cookie: str | None) -> bytes | None:
    """Return what stands for the credentials of a request without showing them: the SHA-256 of the key, the token or the cookie."""
    shown = (authorization or "").strip().rpartition(" ")[2] or (cookie or "")
    return hashlib.sha256(shown.encode("latin-1", "replace")).digest() if shown else None


def address_of(scope: Scope) -> bytes:
    """Return the address that a request came from; of IPv6 the network, for one customer has all of it."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    if ":" not in host:
        return host.encode()
    try:
        return ipaddress.IPv6Address(host.partition("%")[0]).packed[:8]
    except ValueError:
        return host.encode()


def _buckets(rate: Rate | None) -> Buckets | None:
    return None if rate is None else Buckets(rate)


def _take(buckets: Buckets | None, key: bytes, now: float, cost: float = 1) -> None:
    wait = 0.0 if buckets is None else buckets.take(key, now, cost)
    if wait:
        raise TooManyRequests(retry_after(wait))
