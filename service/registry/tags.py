"""Rules of tags: which imply each other, and when a new set of them protects less than the old one."""

from collections.abc import Iterable

from service.law.facts import Tag

_IMPLIED = {Tag.CORE: Tag.IMPORTANT, Tag.SENSITIVE: Tag.PERSONAL}


def implied(tags: Iterable[Tag]) -> frozenset[Tag]:
    """Return the tags with what they imply: core data has the duties of important data, sensitive information is personal."""
    given = frozenset(tags)
    return given | {_IMPLIED[tag] for tag in given if tag in _IMPLIED}


def is_lowering(old: Iterable[Tag], new: Iterable[Tag]) -> bool:
    """Tell whether any protection of the old tags is missing from the new ones."""
    return not implied(old) <= implied(new)


def joined(old: Iterable[Tag], new: Iterable[Tag]) -> frozenset[Tag]:
    """Return the strictest reading of both: what stands while a lowering waits for its second person."""
    return frozenset(old) | frozenset(new)


def lacks_tag_of_minors(tags: Iterable[Tag], *, contains_minors: bool) -> bool:
    """Tell whether data about persons under 14 is without the tag that all of it takes. Source: PIPL art. 28."""
    return contains_minors and Tag.SENSITIVE not in set(tags)


def is_weighty(tags: Iterable[Tag]) -> bool:
    """Tell whether the tags speak of national security: important or core data. Source: DSL art. 21."""
    return Tag.IMPORTANT in implied(tags)


def ordered(tags: Iterable[Tag]) -> list[Tag]:
    """Return tags once each, in the order that people read them: core, important, personal, sensitive."""
    given = set(tags)
    return [tag for tag in Tag if tag in given]
