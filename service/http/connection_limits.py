"""Connection limits of a server process, pure: a limit for each address and one in all, with places reserved for authenticated callers."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)
Address = bytes | None
"""Address of a connection; None where connections are not counted by address (this machine, a trusted proxy)."""

RESERVED_FRACTION: Final = 4
"""One place of this number is reserved for authenticated callers."""


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """Most connections of a process, and of one address."""

    most: int
    by_address: int
    """Unauthenticated connections of one address."""

    @property
    def for_unauthenticated(self) -> int:
        """Most unauthenticated connections."""
        return self.most - self.most // RESERVED_FRACTION


class ConnectionSet(Generic[Connection]):
    """Set of the connections of a server process.

    Example:
        replaceable = connections.find_replaceable(address, limit)
        if replaceable is None or (other := next(filter(can_go, replaceable), None)):
            connections.add(connection, address)
    """

    def __init__(self) -> None:
        self._unauthenticated: dict[Address, dict[Connection, None]] = {}
        self._authenticated: dict[Connection, Address] = {}
        self._number = 0
        """Number of unauthenticated connections."""

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._authenticated) + self._number

    def find_replaceable(self, address: Address, limit: ConnectionLimit) -> Iterator[Connection] | None:
        """Return the connections of which one must be closed before an address gets another one, in the order in which to close them.

        They are unauthenticated, the oldest first: of the same address where its limit is reached, else of the address with most.
        None if there is a free place.
        """
        own = self._unauthenticated.get(address, {})
        if address is not None and len(own) >= limit.by_address:
            return iter(list(own))
        if self._number >= limit.for_unauthenticated or len(self) >= limit.most:
            by_number = sorted(self._unauthenticated.values(), key=len, reverse=True)
            return (connection for group in by_number for connection in list(group))
        return None

    def add(self, connection: Connection, address: Address) -> None:
        """Add an unauthenticated connection."""
        self._unauthenticated.setdefault(address, {})[connection] = None
        self._number += 1

    def mark_authenticated(self, connection: Connection, address: Address) -> None:
        """Record that the caller of a connection is authenticated."""
        if connection not in self._authenticated:
            self.remove(connection, address)
            self._authenticated[connection] = address

    def remove(self, connection: Connection, address: Address) -> None:
        """Remove a connection, if it is in the set."""
        group = self._unauthenticated.get(address, {})
        if connection in group:
            del group[connection]
            self._number -= 1
            if not group:
                del self._unauthenticated[address]
        else:
            self._authenticated.pop(connection, None)
