"""Compares a dataset's fields with those that its grading looked at."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from service.law.categories import is_sensitive_category


class Field(Struct, frozen=True):
    """A field of a dataset, as it is registered or as a grading looked at it."""

    name: str
    type: str
    category: str | None = None


class Fields(Struct, frozen=True):
    """The fields of a dataset, held against those that its grading looked at."""

    names: Sequence[str] = ()
    """Those that are registered now."""
    graded: frozenset[str] = frozenset()
    """Those that the grading looked at."""
    outdated: frozenset[str] = frozenset()
    """Those that came after the grading, or are another type or category since."""
    plain: frozenset[str] = frozenset()
    """Those that the grading looked at and did not take for sensitive: of no other is it known."""

    def are_outdated(self, wanted: Collection[str] | None) -> bool:
        """Tell whether any of some fields, or of all, has changed since the grading."""
        return bool(self.outdated) if wanted is None else not self.outdated.isdisjoint(wanted)

    def are_plain(self, wanted: Collection[str] | None) -> bool:
        """Tell whether of sensitive data none of some fields is sensitive; all of them are not."""
        return wanted is not None and bool(wanted) and self.plain.issuperset(wanted)

    def are_graded(self, wanted: Collection[str] | None) -> bool:
        """Tell whether the grading looked at some fields; where it knew of none, it looked at the dataset as a whole."""
        return wanted is None or not (self.names or self.graded) or self.graded.issuperset(wanted)


NO_FIELDS: Final = Fields()


def compare_fields(now: Sequence[Field], graded: Sequence[Field] | None, sensitive: Collection[str] | None) -> Fields:
    """Return a dataset's fields, held against those that its grading looked at.

    Args:
        now: as they are registered.
        graded: as the grading looked at them; None: nobody knows, so that all of them are outdated.
        sensitive: the names that the grading takes for sensitive; None: those whose category says so and, if none does, all.
    """
    looked_at = {field.name: field for field in graded or ()}
    names = [field.name for field in now]
    outdated = frozenset([field.name for field in now if looked_at.get(field.name) != field])
    taken = sensitive_of(looked_at.values()) if sensitive is None else sensitive
    plain = frozenset() if taken is None else frozenset(looked_at) - outdated - frozenset(taken)
    return Fields(names, frozenset(looked_at), outdated, plain)


def is_freeing(before: Fields, after: Fields) -> bool:
    """Tell whether of sensitive data a field that a grading took for sensitive would not be any more, though nobody looks twice.

    Args:
        before: the fields that the former grading looked at, held against themselves.
        after: those that the new one looks at, held against themselves.
    """
    return bool((before.graded - before.plain) & after.plain)


def sensitive_of(fields: Collection[Field]) -> Sequence[str] | None:
    """Return the fields whose category says that they are sensitive; None where none does: then all are taken to be."""
    found = [field.name for field in fields if field.category is not None and is_sensitive_category(field.category)]
    return found or None


def parse_fields(documents: Sequence[Mapping[str, Any]] | None) -> list[Field] | None:
    """Return fields as the register keeps them."""
    if documents is None:
        return None
    return [Field(one["name"], one["type"], one.get("category")) for one in documents]
