"""Where a server listens."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of an address that nobody listens on."""
    family, _, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(place)
        port: int = probe.getsockname()[1]
        return port


def address(host: str, port: int) -> str:
    """Return the address of a server that listens there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
