"""SSRF guard: makes HTTP calls to URLs that callers name, each resolved once, checked, and sent to the pinned address.

1. The URL is parsed once; only `https`, or hosts that the operator has listed.
2. Its host is resolved once. If any address is not public, nothing is called.
3. The connection is made to an address of that answer, while the name still decides about the certificate: a DNS answer that changes
   (DNS rebinding) has no effect.
4. Redirects are not followed, proxies of the environment are ignored, answers are read up to a limit of bytes and of seconds.

Example:
    client = EgressClient(allowed=["hooks.internal:8443"])
    answer = await client.fetch("https://example.com/jwks.json", seconds=5)
    print(answer.status, answer.body)
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import httpx

from service.http.egress_policy import Target, require_public, target_of

MAX_BYTES: Final = 1024 * 1024
SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0
_IDENTITY: Final = frozenset({"", "identity"})

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host, or raises OSError."""


class UnansweredError(Exception):
    """The call failed: no connection, no valid certificate, no answer in time, or an answer above the limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Response of any status."""

    status: int
    headers: Mapping[str, str]
    """Headers by lower-case name."""
    body: bytes


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host from the system's resolver, each once."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


class EgressClient:
    """HTTP client for URLs that callers name.

    Args:
        allowed: hosts, or `host:port`, that the operator trusts: there `http` and private addresses are taken.
        resolve: finds the addresses of a host.
        tls: checks certificates; the usual authorities, or those of `SSL_CERT_FILE`, if None.
        transport: carries the requests, for tests.
    """

    def __init__(
        self,
        allowed: Collection[str] = (),
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)
        self._resolve = resolve
        self._own_tls = tls
        self._transport = transport

    def check(self, url: str) -> None:
        """Refuse a URL that may never be called, before it is stored.

        Raises:
            BlockedAddressError: the URL is blocked whatever its host resolves to.
        """
        target_of(url, self._allowed)

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int = MAX_BYTES,
        seconds: float = SECONDS,
    ) -> Answer:
        """Make one call; a redirect is an answer like any other.

        Args:
            url: absolute.
            method: of the request.
            headers: of the request, without `Host`.
            content: its body.
            max_bytes: of the answer's body.
            seconds: for all of it.

        Raises:
            BlockedAddressError: the address may not be called; nothing was sent.
            UnansweredError: there is no usable answer.
        """
        target = target_of(url, self._allowed)
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._addresses(target)
                return await self._first_that_connects(target, addresses, method, headers or {}, content, max_bytes)
        except TimeoutError as error:
            raise UnansweredError(f"{target.host} did not answer within {seconds:g} seconds.") from error

    async def _addresses(self, target: Target) -> Sequence[str]:
        try:
            addresses = await self._resolve(target.host, target.port)
        except OSError as error:
            raise UnansweredError(f"The host {target.host} is not known.") from error
        if not addresses:
            raise UnansweredError(f"The host {target.host} is not known.")
        require_public(target, addresses)
        return addresses

    async def _first_that_connects(
        self,
        target: Target,
        addresses: Sequence[str],
        method: str,
        headers: Mapping[str, str],
        content: bytes | None,
        max_bytes: int,
    ) -> Answer:
        limits = httpx.Timeout(None, connect=CONNECT_SECONDS)
        async with httpx.AsyncClient(
            verify=self._tls, trust_env=False, follow_redirects=False, timeout=limits, transport=self._transport
        ) as client:
            for address in addresses:
                request = _pinned_request(client, target, address, method, headers, content)
                try:
                    return await _read_answer(client, request, target.host, max_bytes)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    continue
                except httpx.HTTPError as error:
                    raise UnansweredError(f"{target.host} does not answer ({type(error).__name__}).") from error
        raise UnansweredError(f"{target.host} cannot be reached, or shows no certificate that can be trusted.")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._own_tls or httpx.create_ssl_context()


def _pinned_request(
    client: httpx.AsyncClient,
    target: Target,
    address: str,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
) -> httpx.Request:
    """Return a request to an address, with the host name in `Host` and in SNI, against which the certificate is checked."""
    own = {"Host": target.url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "outbound"}
    sent = {name: value for name, value in headers.items() if name.lower() not in {"host", "accept-encoding"}}
    return client.build_request(
        method,
        target.url.copy_with(host=address),
        headers=own | sent,
        content=content,
        extensions={"sni_hostname": target.host},
    )


async def _read_answer(client: httpx.AsyncClient, request: httpx.Request, host: str, max_bytes: int) -> Answer:
    answer = await client.send(request, stream=True)
    try:
        if answer.headers.get("content-encoding", "").lower() not in _IDENTITY:
            raise UnansweredError(f"{host} answers in an encoding that was not asked for.")
        body = bytearray()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > max_bytes:
                raise UnansweredError(f"The answer of {host} is longer than {max_bytes} bytes.")
    finally:
        await answer.aclose()
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body))
