"""Maps groups of the identity provider to roles, and plans the grants to add, prolong and withdraw. Pure.

The operator's settings say which group stands for which role; the provider says who is in it. A role that was given for a group stands for
two more days and is prolonged whenever the group is seen: where a provider is asked no more, nothing stays behind.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from service.access.grant_rules import is_fit

GRACE_DAYS: Final = 2
"""For how many days after the one on which a group was seen its roles stand."""


@dataclass(frozen=True, slots=True)
class GroupMapping:
    """A group, and the role that it stands for on one handler, or on all where none is named."""

    group: str
    role: str
    handler: str | None


@dataclass(frozen=True, slots=True)
class GroupGrant:
    """A role that was given for a group and has not been withdrawn."""

    grant: str
    role: str
    handler: str | None
    valid_until: date


@dataclass(frozen=True, slots=True)
class GrantChanges:
    """GrantChanges of grants that make the roles those of the groups."""

    granted: Sequence[tuple[str, str | None]]
    prolonged: Sequence[str]
    """Ids of grants."""
    withdrawn: Sequence[str]
    """Ids of grants."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.granted or self.prolonged or self.withdrawn)


def roles_for(
    groups: Collection[str], mappings: Sequence[GroupMapping], *, kind: str
) -> frozenset[tuple[str, str | None]]:
    """Return the roles of somebody in these groups. A system reviews nothing, whatever group it is in."""
    return frozenset(
        (mapping.role, mapping.handler)
        for mapping in mappings
        if mapping.group in groups and is_fit(mapping.role, kind)
    )


def plan_changes(
    roles: frozenset[tuple[str, str | None]],
    grants: Sequence[GroupGrant],
    today: date,
    *,
    issued_at: datetime,
    last_issued_at: datetime | None,
) -> GrantChanges:
    """Return what must change.

    Args:
        roles: the roles of the groups that were told.
        grants: the roles that were given before for this login's groups.
        today: in Asia/Shanghai.
        issued_at: when what tells of the groups was issued.
        last_issued_at: the same of what told of them last. Something older tells of a time that is over and changes nothing; something
            of the very same moment only takes away.
    """
    if last_issued_at is not None and issued_at < last_issued_at:
        return GrantChanges((), (), ())
    withdrawn = [grant.grant for grant in grants if (grant.role, grant.handler) not in roles]
    if issued_at == last_issued_at:
        return GrantChanges((), (), withdrawn)
    granted_roles = {(grant.role, grant.handler) for grant in grants}
    until = last_day(today)
    kept = [grant for grant in grants if (grant.role, grant.handler) in roles]
    return GrantChanges(
        sorted(roles - granted_roles, key=lambda role: (role[0], role[1] or "")),
        [grant.grant for grant in kept if grant.valid_until < until],
        withdrawn,
    )


def last_day(today: date) -> date:
    """Return the last day of a role whose group is seen today."""
    return today + timedelta(days=GRACE_DAYS)
