"""Rules of grants: permissions to give, confirm and withdraw roles, states of a grant, break-glass access. Pure.

Roles of reviewers and admins need two admins: one requests the grant, another confirms it. Neither may be

1. the grantee,
2. a delegate of the grantee,
3. a person who acts by a key whose secret one of these has seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from service.access.persons import are_two
from service.clock import day_in_shanghai

ADMIN: Final = "admin"
REVIEWER: Final = "reviewer:"
EVERYWHERE: Final = "*"
AdminScope = frozenset[str] | Literal["*"]

PENDING_PERIOD: Final = timedelta(days=7)
"""Period after which an unconfirmed grant lapses."""

MAX_AHEAD: Final = timedelta(days=366)
"""Maximum time from today to the first day of a grant."""

MAX_DURATION: Final = timedelta(days=3660)
"""Maximum duration of a grant with a last day."""


class GrantState(StrEnum):
    """States of a grant."""

    PENDING = "pending"
    UPCOMING = "upcoming"
    STANDING = "standing"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"


OPEN: Final = frozenset({GrantState.PENDING, GrantState.UPCOMING, GrantState.STANDING})
"""States in which a grant can be withdrawn."""


@dataclass(frozen=True, slots=True)
class GrantPeriod:
    """Days and instants that determine the state of a grant; days are of Asia/Shanghai, both inclusive."""

    requested_at: datetime
    first_day: date
    last_day: date | None
    effective_at: datetime | None
    """None: waits for a second admin."""
    ended_at: datetime | None


def grant_state(period: GrantPeriod, now: datetime) -> GrantState:
    """Return the state of a grant; one that had lapsed before it was withdrawn stays lapsed.

    Example:
        if grant_state(grant.period, tx.now) is not GrantState.PENDING:
            raise Conflict("The grant does not wait for a second admin.")
    """
    if period.ended_at is not None:
        before = grant_state(replace(period, ended_at=None), period.ended_at)
        return GrantState.LAPSED if before is GrantState.LAPSED else GrantState.WITHDRAWN
    today = day_in_shanghai(now)
    if period.last_day is not None and today > period.last_day:
        return GrantState.LAPSED
    if period.effective_at is None:
        return GrantState.LAPSED if now >= period.requested_at + PENDING_PERIOD else GrantState.PENDING
    return GrantState.UPCOMING if today < period.first_day else GrantState.STANDING


def is_delegation_in_force(
    first_day: date, last_day: date, *, effective_at: datetime | None, ended_at: datetime | None, today: date
) -> bool:
    """Return True if a delegation lends roles on a day; the days are of Asia/Shanghai, both inclusive.

    Args:
        first_day: the first day of the absence.
        last_day: the last day of the absence.
        effective_at: since when it counts; None: it waits to be confirmed.
        ended_at: when it was ended before its last day; None: it was not.
        today: the day.
    """
    is_over = is_delegation_over(last_day, ended_at, today)
    return effective_at is not None and first_day <= today and not is_over


def is_delegation_over(last_day: date, ended_at: datetime | None, today: date) -> bool:
    """Return True if a delegation has been ended, or its last day has passed; else it lends roles now or may come to do so."""
    return ended_at is not None or today > last_day


def find_day_faults(first: date | None, last: date | None, today: date) -> list[tuple[str, str]]:
    """Find errors in the days of a requested grant, as (field, advice); None: today, and no last day."""
    begins = first or today
    faults: list[tuple[str, str]] = []
    if begins < today:
        faults.append(("valid_from", "Choose today or a day to come."))
    elif begins > today + MAX_AHEAD:
        faults.append(("valid_from", f"Choose a day within {MAX_AHEAD.days} days."))
    if last is not None and last < max(begins, today):
        faults.append(("valid_until", "Choose its first day or a later one."))
    elif last is not None and last > begins + MAX_DURATION:
        faults.append(("valid_until", f"Choose a day within {MAX_DURATION.days} days of the first one, or none."))
    return faults


# Permissions on grants


@dataclass(frozen=True, slots=True)
class Actor:
    """Principal that acts on a grant."""

    principal: str
    kind: str
    """`person`, `system`, or `operator` on the command line."""
    admin_of: AdminScope = frozenset()
    """Handlers on which the actor is an admin."""
    seen_by: frozenset[str] = frozenset()
    """Other principals who have seen the secret of the credential, such as the one who issued the key."""

    @property
    def persons(self) -> frozenset[str]:
        """Principals who could have sent the request."""
        return self.seen_by | {self.principal}


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """Requested grant."""

    role: str
    handler: str | None
    """None: all handlers."""
    grantee: str
    kind: str
    """Kind of the grantee: `person` or `system`."""
    stand_ins: frozenset[str] = frozenset()
    """Delegates of the grantee, who may come to use the role."""

    @property
    def users(self) -> frozenset[str]:
        """Principals who could use the role."""
        return self.stand_ins | {self.grantee}


def is_reviewer(role: str) -> bool:
    """Return True for a reviewer's role."""
    return role.startswith(REVIEWER)


def requires_second_admin(role: str) -> bool:
    """Return True if a second admin must confirm grants of a role."""
    return role == ADMIN or is_reviewer(role)


def is_role_possible(role: str, kind: str) -> bool:
    """Return True if a principal of a kind can have a role; systems cannot be reviewers."""
    return kind == "person" or not is_reviewer(role)


def may_administer(by: Actor, handler: str | None) -> bool:
    """Return True if an actor administers the grants on a handler (None: on all handlers)."""
    if by.kind == "operator" or by.admin_of == EVERYWHERE:
        return True
    return handler is not None and handler in by.admin_of


def grant_denial(by: Actor, request: GrantRequest) -> str | None:
    """Return the reason for which an actor may not request a grant, or None."""
    if by.kind == "operator":
        return None
    if not are_two(by.persons, {request.grantee}):
        return (
            "Nobody grants a role to themselves, nor by a key that they have made for another admin; ask another admin."
        )
    if not may_administer(by, request.handler):
        return _missing_role(request.handler)
    if not requires_second_admin(request.role):
        return None
    if by.kind != "person":
        return f"The role {request.role} is asked for by a person."
    return _use_denial(by, request)


def confirm_denial(by: Actor, request: GrantRequest, askers: frozenset[str]) -> str | None:
    """Return the reason for which an actor may not confirm a grant, or None.

    Args:
        by: the actor.
        request: the requested grant.
        askers: principals who could have requested it.
    """
    if not are_two({by.principal}, askers):
        return "Whoever asked for a grant does not confirm it; another admin must."
    if not are_two({by.principal}, {request.grantee}):
        return "Nobody confirms a role of their own; another admin must."
    if by.kind != "person":
        return f"The role {request.role} is confirmed by a person."
    wide_enough = by.admin_of == EVERYWHERE or (is_reviewer(request.role) and may_administer(by, request.handler))
    if not wide_enough:
        return _missing_role(None)
    if not are_two(by.seen_by, askers):
        return "Your key was made by whoever asked for this grant. Sign in with one that nobody else has seen."
    return _use_denial(by, request)


def _use_denial(by: Actor, request: GrantRequest) -> str | None:
    if not are_two({by.principal}, request.stand_ins):
        return "You stand in for the grantee, and would have the use of this role yourself; another admin must do this."
    if not are_two(by.persons, request.users):
        return "Your key was made by somebody who would have the use of this role. Sign in with one that nobody else has seen."
    return None


def withdraw_denial(by: Actor, handler: str | None) -> str | None:
    """Return the reason for which an actor may not withdraw a grant, or None; a withdrawal needs no second admin."""
    return None if may_administer(by, handler) else _missing_role(handler)


def _missing_role(handler: str | None) -> str:
    return f"This takes the role {ADMIN} for {'all handlers' if handler is None else 'this handler'}."


def lend_for_denial(by: Actor, delegate: str) -> str | None:
    """Return the reason for which an admin may not request a delegation of another person's roles, or None."""
    if by.kind != "person":
        return "Only a person can lend a reviewer's role."
    if by.admin_of != EVERYWHERE:
        return _missing_role(None)
    if not are_two(by.persons, {delegate}):
        return "Nobody lends a role to themselves; another admin must do this."
    return None


def confirm_lending_denial(by: Actor, *, delegator: str, delegate: str, askers: frozenset[str]) -> str | None:
    """Return the reason for which an actor may not confirm a delegation that an admin requested, or None."""
    if by.kind != "person" or (by.principal != delegator and by.admin_of != EVERYWHERE):
        return "This takes whoever lends the roles, or an admin of all handlers; a person in either case."
    if not are_two(by.persons, askers | {delegate}):
        return "This takes somebody else than whoever asked for it and whoever is to stand in, with a key that neither has seen."
    return None


# Last admin


@dataclass(frozen=True, slots=True)
class AdminGrant:
    """Grant of the role admin on all handlers."""

    grant: str
    principal: str
    kind: str
    is_enabled: bool
    source: str
    period: GrantPeriod

    def is_lasting(self, now: datetime) -> bool:
        """Return True for a lasting grant of an enabled person: in force, without a last day, not from the identity provider."""
        has_no_end = self.period.last_day is None and self.source != "group"
        return (
            self.kind == "person"
            and self.is_enabled
            and has_no_end
            and grant_state(self.period, now) is GrantState.STANDING
        )


def has_remaining_admin(grants: Iterable[AdminGrant], removed: str, now: datetime) -> bool:
    """Return True if a lasting admin remains after the removal of a grant or a principal, or if there was none before.

    Args:
        grants: all grants of the role admin on all handlers.
        removed: id of the grant or the principal.
        now: the instant.
    """
    lasting = [grant for grant in grants if grant.is_lasting(now)]
    remaining = [grant for grant in lasting if removed not in {grant.grant, grant.principal}]
    return bool(remaining) or not lasting


# Break-glass access


class BreakGlassRole(StrEnum):
    """Roles of break-glass access: to read as an auditor does, or to suspend and revoke permits."""

    AUDITOR = "auditor"
    STOP = "stop"


def break_denial(by: Actor, handler: str | None) -> str | None:
    """Return the reason for which an actor may not take break-glass access, or None; it never allows exports."""
    if by.kind != "person":
        return "Break-glass access is for people."
    return None if may_administer(by, handler) else _missing_role(handler)


def close_denial(by: Actor, opener: str, handler: str | None) -> str | None:
    """Return the reason for which an actor may not end break-glass access early, or None."""
    return None if by.principal == opener or may_administer(by, handler) else _missing_role(handler)


def break_glass_end(start: datetime, hours: int) -> datetime:
    """Return the end of break-glass access of some hours."""
    return start + timedelta(hours=hours)
