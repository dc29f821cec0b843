"""What a change of the register changes, and whether it can turn an allow into a deny: the one rule for PATCH, imports and whatever comes.

Nobody has to be told of what cannot deny: the gate is never closed for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]


HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    "handlers": frozenset({"name", "uscc", "group"}),
    "datasets": frozenset({"title", "owner", "description", "scale"}),
    "recipients": frozenset({"group"}),
}
"""What no decision of the gate looks at; whatever is not named here is taken to matter, so also what is added later."""


@dataclass(frozen=True, slots=True)
class Change:
    """What differs: each changed member as it was and as it is to be."""

    before: Json
    after: Json
    can_deny: bool
    """Whether a decision may come out otherwise by it."""

    @property
    def details(self) -> Json:
        """What the entry of the change says."""
        return {"before": self.before, "after": self.after}


def change_of(thing: str, before: Json, after: Json) -> Change | None:
    """Return what changes where something that was `before` is to be `after`; None: nothing does.

    Args:
        thing: the table: `handlers`, `datasets` or `recipients`.
        before: the members as they are, of JSON types, in the form of today.
        after: the members that are to be, each of which `before` has too.
    """
    changed = {name: value for name, value in after.items() if before[name] != value}
    if not changed:
        return None
    return Change(
        before={name: before[name] for name in changed},
        after=changed,
        can_deny=not changed.keys() <= HARMLESS[thing],
    )
