"""Which connections a server process holds, pure: so many of one address and of all until their caller is known, and others beside."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)
Address = bytes | None
"""Where a connection comes from; None: from where they are not counted one by one (this machine, a trusted proxy)."""

KEPT_PART: Final = 4
"""One place of so many is kept for known callers."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections there may be."""

    most: int
    by_address: int
    """Of one address, while their caller is not known."""

    @property
    def for_strangers(self) -> int:
        """How many there may be whose caller is not known."""
        return self.most - self.most // KEPT_PART


class Crowd(Generic[Connection]):
    """The connections of a server process.

    Example:
        in_the_way = crowd.in_the_way(address, room)
        if in_the_way is None or (other := next(filter(can_go, in_the_way), None)):
            crowd.enter(connection, address)
    """

    def __init__(self) -> None:
        self._strangers: dict[Address, dict[Connection, None]] = {}
        self._known: dict[Connection, Address] = {}
        self._number = 0
        """Of strangers."""

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._known) + self._number

    def in_the_way(self, address: Address, room: Room) -> Iterator[Connection] | None:
        """Return the connections of which one must end before another one comes from an address, those that matter least first.

        They are strangers: of the same address if that has its share, else of the address that has most; the oldest first.
        None: there is room.
        """
        own = self._strangers.get(address, {})
        if address is not None and len(own) >= room.by_address:
            return iter(list(own))
        if self._number >= room.for_strangers or len(self) >= room.most:
            by_number = sorted(self._strangers.values(), key=len, reverse=True)
            return (one for strangers in by_number for one in list(strangers))
        return None

    def enter(self, connection: Connection, address: Address) -> None:
        """Add a connection whose caller is not known."""
        self._strangers.setdefault(address, {})[connection] = None
        self._number += 1

    def let_in(self, connection: Connection, address: Address) -> None:
        """Note that the caller of a connection is known."""
        if connection not in self._known:
            self.leave(connection, address)
            self._known[connection] = address

    def leave(self, connection: Connection, address: Address) -> None:
        """Forget a connection; one that is not there is none."""
        strangers = self._strangers.get(address, {})
        if connection in strangers:
            del strangers[connection]
            self._number -= 1
            if not strangers:
                del self._strangers[address]
        else:
            self._known.pop(connection, None)
