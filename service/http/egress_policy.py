"""SSRF policy, pure: decides whether a URL that a caller names may be called; private addresses are blocked."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import httpx

MAX_URL: Final = 2048
MAX_PORT: Final = 65535

_BLOCKED_4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own; the metadata of some clouds
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's own agent, on an address that looks public
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
"""Global unicast. Addresses that embed IPv4 (mapped, NAT64) lie outside of it, except 6to4 and Teredo."""
_BLOCKED_6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_USER: Final = re.compile(r"[^/?#]*//[^/?#]*@")
_NUMERIC: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*")


class BlockedAddressError(Exception):
    """The address may not be called; the message says why, without secrets of the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """URL that may be called if all addresses of its host may."""

    url: httpx.URL
    host: str
    port: int
    is_trusted: bool
    """True if the operator has listed the host, which may then have private addresses."""


def is_public(address: str) -> bool:
    """Return True if an IP address is on the public internet.

    All others are not: private, loopback, link-local, shared, multicast, reserved and documentation ranges, IPv4 addresses
    embedded in IPv6, and text that is no IP address.

    Source: IANA special-purpose address registries.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _BLOCKED_4)
    return parsed.scope_id is None and parsed in _GLOBAL_6 and not any(parsed in network for network in _BLOCKED_6)


def target_of(url: str, allowed: Collection[str] = ()) -> Target:
    """Return the target of a URL.

    Args:
        url: absolute; `https`, without a user, a password or a fragment.
        allowed: hosts, or `host:port`, that the operator trusts: there `http` and private addresses are taken.

    Raises:
        BlockedAddressError: the URL may not be called, whatever its host resolves to.
    """
    parsed = _parse(url)
    host = parsed.raw_host.decode("ascii").lower()
    port = parsed.port or (80 if parsed.scheme == "http" else 443)
    is_trusted = not {host, f"{host}:{port}"}.isdisjoint(allowed)
    if parsed.scheme != "https" and not (parsed.scheme == "http" and is_trusted):
        raise BlockedAddressError("Only https is called.")
    if _USER.match(url) or "#" in url:
        raise BlockedAddressError("An address that is called holds no user, no password and no fragment.")
    _require_host(host, is_trusted=is_trusted)
    return Target(parsed, host, port, is_trusted)


def require_public(target: Target, addresses: Collection[str]) -> None:
    """Refuse a target unless all addresses of its host are public, or the operator trusts it.

    Raises:
        BlockedAddressError: an address is not public.
    """
    if not target.is_trusted and not all(is_public(address) for address in addresses):
        raise BlockedAddressError(f"The host {target.host} is not, or not only, on the public internet.")


def _parse(url: str) -> httpx.URL:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise BlockedAddressError(
            f"An address that is called is up to {MAX_URL} visible ASCII characters without a backslash."
        )
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise BlockedAddressError("This is no address.") from error
    if not parsed.raw_host or not 0 < (parsed.port or 1) <= MAX_PORT:
        raise BlockedAddressError("The address names no host, or no port that there is.")
    return parsed


def _require_host(host: str, *, is_trusted: bool) -> None:
    """Refuse numeric hosts that resolvers read differently (`0x7f.1`, `2130706433`, `0177.0.0.1`), and literals that are not public."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or _NUMERIC.fullmatch(host.rsplit(".", 1)[-1]):
            raise BlockedAddressError("The address names no host that can be called.") from None
        return
    if not is_trusted and not is_public(host):
        raise BlockedAddressError(f"The host {host} is not on the public internet.")
