"""Maps groups of the identity provider to roles, and plans the grants to add, prolong and withdraw. Pure.

The operator's settings say which group stands for which role; the provider says who is in it. A role that was given for a group stands for
two more days and is prolonged whenever the group is seen: where a provider is asked no more, nothing stays behind.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from service.access.grant_rules import is_fit

DAYS: Final = 2
"""For how many days after the one on which a group was seen its roles stand."""


@dataclass(frozen=True, slots=True)
class Stands:
    """A group, and the role that it stands for on one handler, or on all where none is named."""

    group: str
    role: str
    handler: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """A role that was given for a group and has not been withdrawn."""

    grant: str
    role: str
    handler: str | None
    valid_until: date


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of grants that make the roles those of the groups."""

    granted: Sequence[tuple[str, str | None]]
    prolonged: Sequence[str]
    """Ids of grants."""
    withdrawn: Sequence[str]
    """Ids of grants."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.granted or self.prolonged or self.withdrawn)


def roles_for(groups: Collection[str], stands: Sequence[Stands], *, kind: str) -> frozenset[tuple[str, str | None]]:
    """Return the roles of somebody in these groups. A system reviews nothing, whatever group it is in."""
    return frozenset((one.role, one.handler) for one in stands if one.group in groups and is_fit(one.role, kind))


def changes(
    wanted: frozenset[tuple[str, str | None]],
    held: Sequence[Held],
    today: date,
    *,
    told_at: datetime,
    last_told_at: datetime | None,
) -> Changes:
    """Return what must change.

    Args:
        wanted: the roles of the groups that were told.
        held: the roles that were given before for this login's groups.
        today: in Asia/Shanghai.
        told_at: when what tells of the groups was issued.
        last_told_at: the same of what told of them last. Something older tells of a time that is over and changes nothing; something
            of the very same moment only takes away.
    """
    if last_told_at is not None and told_at < last_told_at:
        return Changes((), (), ())
    withdrawn = [one.grant for one in held if (one.role, one.handler) not in wanted]
    if told_at == last_told_at:
        return Changes((), (), withdrawn)
    has = {(one.role, one.handler) for one in held}
    until = until_day(today)
    stays = [one for one in held if (one.role, one.handler) in wanted]
    return Changes(
        sorted(wanted - has, key=lambda role: (role[0], role[1] or "")),
        [one.grant for one in stays if one.valid_until < until],
        withdrawn,
    )


def until_day(today: date) -> date:
    """Return the last day of a role whose group is seen today."""
    return today + timedelta(days=DAYS)
