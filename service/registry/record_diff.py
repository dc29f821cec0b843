"""Compares versions of a record, and decides whether a change can turn an allow into a deny: one rule for PATCH and imports.

Nobody has to be told of what cannot deny: the gate is never closed for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.law import freeing

Json = dict[str, Any]


HARMLESS: Final[Mapping[str, frozenset[str]]] = {
    "handlers": frozenset({"name", "uscc", "group", "confirmed_group"}),
    "datasets": frozenset({"title", "owner", "description", "scale"}),
    "recipients": frozenset({"group"}),
}
"""What no decision of the gate looks at; whatever is not named here is taken to matter, so also what is added later."""


@dataclass(frozen=True, slots=True)
class RecordDiff:
    """What differs: each changed member as it was and as it is to be."""

    before: Json
    after: Json
    can_deny: bool
    """Whether a decision may come out otherwise by it."""

    @property
    def details(self) -> Json:
        """What the entry of the change says."""
        return {"before": self.before, "after": self.after}


def diff_of(thing: str, before: Json, after: Json) -> RecordDiff | None:
    """Return what changes where something that was `before` is to be `after`; None: nothing does.

    Args:
        thing: the table: `handlers`, `datasets` or `recipients`.
        before: the members as they are, of JSON types, in the form of today.
        after: the members that are to be, each of which `before` has too.
    """
    changed = {name: value for name, value in after.items() if before[name] != value}
    if not changed:
        return None
    return RecordDiff(
        before={name: before[name] for name in changed},
        after=changed,
        can_deny=not changed.keys() <= HARMLESS[thing],
    )


def is_group_confirmed(group: str | None, confirmed: str | None) -> bool:
    """Tell whether the group that a handler says it is of is the one that was agreed on."""
    return group is not None and confirmed is not None and group.lower() == confirmed.lower()


def confirmed_group_after(group: str | None, confirmed: str | None, *, is_named: bool, is_for_all: bool) -> str | None:
    """Return the group of a handler that is agreed on once its group is said to be `group`.

    A registrar of all handlers agrees for everybody by naming it; what one of some handlers says is a claim.

    Args:
        group: what the handler says from now on.
        confirmed: what was agreed on before.
        is_named: whether the group is in the request at all.
        is_for_all: whether the caller is a registrar of all handlers.
    """
    if is_named and is_for_all:
        return group
    return confirmed if is_group_confirmed(group, confirmed) else None


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """What comes to wait for a second person, and what waits no more."""

    pending: Json
    """Of each fact that waits then, its `value` and the `change` that confirms it."""
    added: list[Json]
    """The changes that are new: `id`, `subject`, `handler`, `fact`, `before` and `after`."""
    overtaken: list[str]
    """Ids of changes that a later statement of the same fact puts aside."""
    askers: list[str]

    @property
    def details(self) -> Json:
        """What the entry says."""
        changes = {
            change["fact"]: {"change": change["id"], "before": change["before"], "after": change["after"]}
            for change in self.added
        }
        return {"changes": changes, "overtaken": self.overtaken, "askers": self.askers, "pending_facts": self.pending}


def pending_values(pending: Json) -> Json:
    """Return the facts that wait, with the value that waits."""
    return {fact: pending_fact["value"] for fact, pending_fact in pending.items()}


def plan_pending(
    subject: str,
    handler: str | None,
    change: freeing.FactChange,
    pending: Json,
    askers: Sequence[str],
    ids: Iterator[str],
) -> PendingChanges | None:
    """Return what a statement leaves to wait; None: it asks for nothing that frees, and overtakes nothing.

    Args:
        subject: id of the thing.
        handler: whose it is; None: of a recipient.
        change: what the statement does.
        pending: what waits so far.
        askers: everybody who may be the one that states it.
        ids: yields an id for each change.
    """
    if not change.pending and not change.overtaken:
        return None
    added = [
        {
            "id": next(ids),
            "subject": subject,
            "handler": handler,
            "fact": fact,
            "before": change.facts[fact],
            "after": value,
        }
        for fact, value in sorted(change.pending.items())
    ]
    kept = {fact: pending_fact for fact, pending_fact in pending.items() if fact not in change.overtaken}
    return PendingChanges(
        pending=kept | {row["fact"]: {"value": row["after"], "change": row["id"]} for row in added},
        added=added,
        overtaken=sorted(pending[fact]["change"] for fact in change.overtaken),
        askers=sorted(askers),
    )
