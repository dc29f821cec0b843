"""Compares versions of a record, and decides whether a change can turn an allow into a deny: one rule for PATCH and imports.

The gate closes for changes that can deny, and for no others.
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
"""Columns that no decision of the gate reads, by table. All other columns, also later ones, count as read."""


@dataclass(frozen=True, slots=True)
class RecordDiff:
    """A difference between two versions of a record: the changed members, before and after."""

    before: Json
    after: Json
    can_deny: bool
    """True if the change can turn an allow into a deny."""

    @property
    def details(self) -> Json:
        """Details of the audit entry."""
        return {"before": self.before, "after": self.after}


def diff_of(thing: str, before: Json, after: Json) -> RecordDiff | None:
    """Compare two versions of a record; None: they are equal.

    Example:
        diff = diff_of("handlers", {"name": "Acme", "facts": {}}, {"name": "Acme Ltd"})
        diff.after == {"name": "Acme Ltd"} and not diff.can_deny

    Args:
        thing: the table: `handlers`, `datasets` or `recipients`.
        before: the present members, of JSON types, in the current schema.
        after: members with their new values; `before` has each of them.
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
    """Return True if the group that a handler claims is the confirmed one."""
    return group is not None and confirmed is not None and group.lower() == confirmed.lower()


def confirmed_group_after(group: str | None, confirmed: str | None, *, is_named: bool, is_for_all: bool) -> str | None:
    """Return the confirmed group of a handler after it claims `group`.

    A registrar of all handlers confirms a group by naming it; a registrar of some handlers makes a claim.

    Args:
        group: the group that the handler claims.
        confirmed: the group confirmed before.
        is_named: True if the request names the group.
        is_for_all: True if the caller is a registrar of all handlers.
    """
    if is_named and is_for_all:
        return group
    return confirmed if is_group_confirmed(group, confirmed) else None


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """Changes of facts that become pending, and those that a later statement overtakes."""

    pending: Json
    """Pending facts after the statement, each with its `value` and the id of its `change`."""
    added: list[Json]
    """New changes: `id`, `subject`, `handler`, `fact`, `before` and `after`."""
    overtaken: list[str]
    """Ids of changes that a later statement of the same fact replaces."""
    askers: list[str]

    @property
    def details(self) -> Json:
        """Details of the audit entry."""
        changes = {
            change["fact"]: {"change": change["id"], "before": change["before"], "after": change["after"]}
            for change in self.added
        }
        return {"changes": changes, "overtaken": self.overtaken, "askers": self.askers, "pending_facts": self.pending}


def pending_values(pending: Json) -> Json:
    """Return the pending facts, each with its value."""
    return {fact: pending_fact["value"] for fact, pending_fact in pending.items()}


def plan_pending(
    subject: str,
    handler: str | None,
    change: freeing.FactChange,
    pending: Json,
    askers: Sequence[str],
    ids: Iterator[str],
) -> PendingChanges | None:
    """Return the pending changes after a statement; None: it adds none and overtakes none.

    Args:
        subject: id of the handler, dataset or recipient.
        handler: id of its handler; None for a recipient.
        change: effect of the statement on the facts.
        pending: facts pending so far.
        askers: all persons who could have made the statement.
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
