"""Compares sets of tags: implied tags, lowering, and the strictest combination."""

from collections.abc import Iterable

from service.law.facts import Tag

_IMPLIED = {Tag.CORE: Tag.IMPORTANT, Tag.SENSITIVE: Tag.PERSONAL}


def implied(tags: Iterable[Tag]) -> frozenset[Tag]:
    """Return tags with those that they imply: `core` implies `important`, `sensitive` implies `personal`."""
    tag_set = frozenset(tags)
    return tag_set | {_IMPLIED[tag] for tag in tag_set if tag in _IMPLIED}


def is_lowering(old: Iterable[Tag], new: Iterable[Tag]) -> bool:
    """Return True if any protection of the old tags is missing from the new ones."""
    return not implied(old) <= implied(new)


def joined(old: Iterable[Tag], new: Iterable[Tag]) -> frozenset[Tag]:
    """Return the union of both: the effective tags while a lowering is pending."""
    return frozenset(old) | frozenset(new)


def lacks_tag_of_minors(tags: Iterable[Tag], *, contains_minors: bool) -> bool:
    """Return True if data about persons under 14 lacks the tag `sensitive`. Source: PIPL art. 28."""
    return contains_minors and Tag.SENSITIVE not in set(tags)


def is_weighty(tags: Iterable[Tag]) -> bool:
    """Return True if the tags include important or core data. Source: DSL art. 21."""
    return Tag.IMPORTANT in implied(tags)


def ordered(tags: Iterable[Tag]) -> list[Tag]:
    """Return tags without duplicates, in the order core, important, personal, sensitive."""
    tag_set = set(tags)
    return [tag for tag in Tag if tag in tag_set]
