"""Separation of duties: decides whether two acts are those of two persons. Pure. An act may be that of anybody who could have made it.

Who could have made an act: the holder of the credential, whoever has made or seen it, and whoever lent the role. Two acts are two
persons' where these sets have nobody in common, whichever act came first. Every rule that wants two asks here.
"""

from collections.abc import Collection, Iterable, Mapping


def are_two(one: Collection[str], other: Collection[str]) -> bool:
    """Tell whether two acts, each by the set of those who could have made it, are sure to be those of two persons."""
    return set(one).isdisjoint(other)


def set_of(holder: str | None, stored: Iterable[str] | None, seen: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return who could have made an act; nobody, where it was not made.

    Args:
        holder: principal who is on record for it; None: it was not made.
        stored: the set that was stored with it; None: it was made before sets were stored.
        seen: by holder who has seen a credential of theirs, which is all that can be known of acts of before.
    """
    if holder is None:
        return frozenset()
    return frozenset({holder, *(seen.get(holder, ()) if stored is None else stored)})


def set_of_authors(
    authors: Collection[str], stored: Collection[str] | None, seen: Mapping[str, Iterable[str]]
) -> frozenset[str]:
    """Return who could have made one of several acts of which the set is stored for all together.

    Args:
        authors: principals who are on record for them.
        stored: the set; an author who is not in it acted through a version that did not store it.
        seen: as for `set_of`.
    """
    together = frozenset(stored or ())
    return together.union(*(set_of(author, None, seen) for author in authors if author not in together))
