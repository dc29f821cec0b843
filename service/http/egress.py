"""SSRF guard: HTTP calls to addresses that callers name, resolved once, checked, and made to the pinned address.

1. The URL is parsed once; only `https`, or hosts that the operator has listed.
2. Its host is resolved once. If any address is not public, nothing is called.
3. The connection is made to an address of that answer, while the name still decides about the certificate: a DNS answer that changes
   (DNS rebinding) has no effect.
4. Redirects are not followed, proxies of the environment are ignored, answers are read up to a limit of bytes and of seconds.
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
    """The call came to nothing: no connection, no certificate, no answer in time, or one that has no end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status is."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system knows them, each once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class EgressClient:
    """Calls addresses that others have named.

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
        self._given_tls = tls
        self._transport = transport

    def check(self, url: str) -> None:
        """Refuse a URL that would never be called, when it is told.

        Raises:
            BlockedAddressError: it never would.
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
            headers: of the request, beside `Host`.
            content: its body.
            max_bytes: of the answer's body.
            seconds: for all of it.

        Raises:
            BlockedAddressError: the address may not be called; nothing was sent.
            UnansweredError: no answer that can be used.
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
        return self._given_tls or httpx.create_ssl_context()


def _pinned_request(
    client: httpx.AsyncClient,
    target: Target,
    address: str,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
) -> httpx.Request:
    """Return the request to an address that names the host it is meant for, to the server and for its certificate."""
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
