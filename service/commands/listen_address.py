"""Address and free port for a server to listen on."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of an address that no server listens on."""
    family, _, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(place)
        port: int = probe.getsockname()[1]
        return port


def address(host: str, port: int) -> str:
    """Return the URL of a server that listens on a host and port."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
