"""Compares the fields of a dataset with those that its grading examined."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from service.law.categories import is_sensitive_category


class Field(Struct, frozen=True):
    """A field of a dataset, as registered or as a grading examined it."""

    name: str
    type: str
    category: str | None = None


class Fields(Struct, frozen=True):
    """The fields of a dataset, compared with those that its grading examined."""

    names: Sequence[str] = ()
    """Names of the registered fields."""
    graded: frozenset[str] = frozenset()
    """Names of the fields that the grading examined."""
    outdated: frozenset[str] = frozenset()
    """Names of fields that were added after the grading, or have another type or category since."""
    plain: frozenset[str] = frozenset()
    """Names of fields that the grading examined and did not count as sensitive; all others may be sensitive."""

    def are_outdated(self, names: Collection[str] | None) -> bool:
        """Return True if any of some fields, or of all, has changed since the grading."""
        return bool(self.outdated) if names is None else not self.outdated.isdisjoint(names)

    def are_plain(self, names: Collection[str] | None) -> bool:
        """Return True if none of some fields of sensitive data is sensitive; None, for all fields, is False."""
        return names is not None and bool(names) and self.plain.issuperset(names)

    def are_graded(self, names: Collection[str] | None) -> bool:
        """Return True if the grading examined some fields; a grading without fields examined the dataset as a whole."""
        return names is None or not (self.names or self.graded) or self.graded.issuperset(names)


NO_FIELDS: Final = Fields()


def compare_fields(now: Sequence[Field], graded: Sequence[Field] | None, sensitive: Collection[str] | None) -> Fields:
    """Compare a dataset's fields with those that its grading examined.

    Example:
        fields = compare_fields([Field("name", "text"), Field("email", "text")], [Field("name", "text")], None)
        fields.outdated == {"email"}

    Args:
        now: the registered fields.
        graded: the fields as the grading examined them; None: not recorded, so that all are outdated.
        sensitive: names that the grading counts as sensitive; None: fields of a sensitive category or, without any, all fields.
    """
    graded_by_name = {field.name: field for field in graded or ()}
    names = [field.name for field in now]
    outdated = frozenset([field.name for field in now if graded_by_name.get(field.name) != field])
    sensitive_names = sensitive_of(graded_by_name.values()) if sensitive is None else sensitive
    plain = (
        frozenset() if sensitive_names is None else frozenset(graded_by_name) - outdated - frozenset(sensitive_names)
    )
    return Fields(names, frozenset(graded_by_name), outdated, plain)


def is_freeing(before: Fields, after: Fields) -> bool:
    """Return True if a grading of sensitive data stops counting a field as sensitive.

    Args:
        before: fields of the former grading, compared with themselves.
        after: fields of the new grading, compared with themselves.
    """
    return bool((before.graded - before.plain) & after.plain)


def sensitive_of(fields: Collection[Field]) -> Sequence[str] | None:
    """Return the names of fields of a sensitive category; None if there are none, so that all fields count as sensitive."""
    sensitive = [field.name for field in fields if field.category is not None and is_sensitive_category(field.category)]
    return sensitive or None


def parse_fields(documents: Sequence[Mapping[str, Any]] | None) -> list[Field] | None:
    """Parse fields from the JSON of the register."""
    if documents is None:
        return None
    return [Field(document["name"], document["type"], document.get("category")) for document in documents]
