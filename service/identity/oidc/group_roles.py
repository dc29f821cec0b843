"""Maps groups of the identity provider to roles, and plans the grants to add, prolong and withdraw. Pure.

The operator's settings map groups to roles, and the provider's tokens list the groups of a person. The grant of a group's role lasts for
`GRACE_DAYS` and is prolonged by each token that lists the group, so it lapses if no token is seen any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from service.access.grant_rules import is_role_possible

GRACE_DAYS: Final = 2
"""Days that a grant lasts after the day of the last token with its group."""


@dataclass(frozen=True, slots=True)
class GroupMapping:
    """Role of the members of a group, on one handler or on all (None)."""

    group: str
    role: str
    handler: str | None


@dataclass(frozen=True, slots=True)
class GroupGrant:
    """Grant of a group's role that is not withdrawn."""

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
        """True if there is a change."""
        return bool(self.granted or self.prolonged or self.withdrawn)


def roles_for(
    groups: Collection[str], mappings: Sequence[GroupMapping], *, kind: str
) -> frozenset[tuple[str, str | None]]:
    """Return the roles of a member of some groups as (role, handler). A system gets no reviewer's role."""
    return frozenset(
        (mapping.role, mapping.handler)
        for mapping in mappings
        if mapping.group in groups and is_role_possible(mapping.role, kind)
    )


def plan_changes(
    roles: frozenset[tuple[str, str | None]],
    grants: Sequence[GroupGrant],
    today: date,
    *,
    issued_at: datetime,
    last_issued_at: datetime | None,
) -> GrantChanges:
    """Return the changes of a linked identity's grants by a token.

    Args:
        roles: the roles of the token's groups.
        grants: the grants of groups that the identity has.
        today: the day in Asia/Shanghai.
        issued_at: time of issue of the token.
        last_issued_at: time of issue of the newest token with groups so far. An older token changes nothing; a token of the same second
            only withdraws.
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
    """Return the last day of a grant whose group was seen today."""
    return today + timedelta(days=GRACE_DAYS)
