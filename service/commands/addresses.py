"""Where a server listens."""

import socket

from service.settings import Settings


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of an address that nobody listens on."""
    family, _, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(place)
        port: int = probe.getsockname()[1]
        return port


def base_of(settings: Settings) -> str:
    """Return the address that callers use."""
    return (settings.public_url or address(settings.host, settings.port)).rstrip("/")


def address(host: str, port: int) -> str:
    """Return the address of a server that listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
