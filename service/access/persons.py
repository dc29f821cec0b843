"""Decides separation of duties: whether two acts are those of two persons. Pure.

Each act has a set of principals who could have made it: the holder of the credential, all who issued or saw it, and the delegator of
the role. Two acts are those of two persons if their sets have no common member.
"""

from collections.abc import Collection, Iterable, Mapping


def are_two(first: Collection[str], second: Collection[str]) -> bool:
    """Return True if two acts, by their sets of possible principals, are certainly those of two persons.

    Example:
        if not are_two(caller.acting(), await directory.persons_of(tx, (evidence.added_by, evidence.added_persons))):
            raise Forbidden("Another person must confirm this.")
    """
    return set(first).isdisjoint(second)


def set_of(holder: str | None, stored: Iterable[str] | None, seen: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return the principals who could have made an act; empty if it was not made.

    Args:
        holder: principal on record; None: the act was not made.
        stored: set stored with the act; None: the act precedes stored sets.
        seen: principals who have seen a credential, by its holder; used for acts that precede stored sets.
    """
    if holder is None:
        return frozenset()
    return frozenset({holder, *(seen.get(holder, ()) if stored is None else stored)})


def set_of_authors(
    authors: Collection[str], stored: Collection[str] | None, seen: Mapping[str, Iterable[str]]
) -> frozenset[str]:
    """Return the principals who could have made any of several acts that share one stored set.

    Args:
        authors: principals on record.
        stored: the shared set; the acts of an author outside of it precede stored sets.
        seen: as for `set_of`.
    """
    together = frozenset(stored or ())
    return together.union(*(set_of(author, None, seen) for author in authors if author not in together))
