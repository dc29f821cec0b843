"""Rules of grants: who may give, confirm and withdraw which role, when a grant stands, who may break the glass. Pure.

A reviewer's role and that of an admin take two persons: one admin asks, another confirms. Excluded from a grant are

1. its grantee,
2. whoever stands in for the grantee,
3. whoever acts by a key whose secret one of these has seen.
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
Reach = frozenset[str] | Literal["*"]

PENDING_PERIOD: Final = timedelta(days=7)
"""How long a grant waits for a second admin."""

MAX_AHEAD: Final = timedelta(days=366)
"""How far ahead a grant can begin at most."""

MAX_DURATION: Final = timedelta(days=3660)
"""How long a grant with a last day can be at most."""


class State(StrEnum):
    """Where a grant stands at a moment."""

    PENDING = "pending"
    UPCOMING = "upcoming"
    STANDING = "standing"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"


OPEN: Final = frozenset({State.PENDING, State.UPCOMING, State.STANDING})
"""The states of a grant that can still be taken away."""


@dataclass(frozen=True, slots=True)
class Life:
    """What of a grant its state follows from; the days are of Asia/Shanghai, both inclusive."""

    asked_at: datetime
    first_day: date
    last_day: date | None
    effective_at: datetime | None
    """None: it waits for a second admin."""
    ended_at: datetime | None


def state(life: Life, now: datetime) -> State:
    """Return where a grant stands; one that had lapsed when it was ended on record stays lapsed."""
    if life.ended_at is not None:
        before = state(replace(life, ended_at=None), life.ended_at)
        return State.LAPSED if before is State.LAPSED else State.WITHDRAWN
    today = day_in_shanghai(now)
    if life.last_day is not None and today > life.last_day:
        return State.LAPSED
    if life.effective_at is None:
        return State.LAPSED if now >= life.asked_at + PENDING_PERIOD else State.PENDING
    return State.UPCOMING if today < life.first_day else State.STANDING


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


def faults_of_days(first: date | None, last: date | None, today: date) -> list[tuple[str, str]]:
    """Return what is wrong with the days that are asked for, as (field, what to do); None: at once, and no end."""
    begins = first or today
    found: list[tuple[str, str]] = []
    if begins < today:
        found.append(("valid_from", "Choose today or a day to come."))
    elif begins > today + MAX_AHEAD:
        found.append(("valid_from", f"Choose a day within {MAX_AHEAD.days} days."))
    if last is not None and last < max(begins, today):
        found.append(("valid_until", "Choose its first day or a later one."))
    elif last is not None and last > begins + MAX_DURATION:
        found.append(("valid_until", f"Choose a day within {MAX_DURATION.days} days of the first one, or none."))
    return found


# Who may do what to a grant


@dataclass(frozen=True, slots=True)
class Party:
    """Whoever acts on a grant."""

    principal: str
    kind: str
    """`person`, `system`, or `operator` for whoever holds the database's own credentials."""
    admin_of: Reach = frozenset()
    """The handlers of which they are an admin."""
    seen_by: frozenset[str] = frozenset()
    """Who else has seen the secret that they act with: whoever made the key, and whoever had seen the key that it was made with."""

    @property
    def persons(self) -> frozenset[str]:
        """Everybody who may be the one that acts."""
        return self.seen_by | {self.principal}


@dataclass(frozen=True, slots=True)
class Ask:
    """A role that somebody is to have."""

    role: str
    handler: str | None
    """None: all handlers."""
    grantee: str
    kind: str
    """`person` or `system`: of the grantee."""
    stand_ins: frozenset[str] = frozenset()
    """To whom the grantee has lent roles: what the grantee comes to have they may come to use."""

    @property
    def users(self) -> frozenset[str]:
        """Everybody who would have the use of it."""
        return self.stand_ins | {self.grantee}


def is_reviewer(role: str) -> bool:
    """Tell whether a role decides a stage."""
    return role.startswith(REVIEWER)


def takes_two(role: str) -> bool:
    """Tell whether a grant of a role waits for a second admin."""
    return role == ADMIN or is_reviewer(role)


def is_fit(role: str, kind: str) -> bool:
    """Tell whether a principal of a kind can have a role: systems do not review."""
    return kind == "person" or not is_reviewer(role)


def sees(by: Party, handler: str | None) -> bool:
    """Tell whether the grants on a handler (None: on all) are anything to somebody."""
    if by.kind == "operator" or by.admin_of == EVERYWHERE:
        return True
    return handler is not None and handler in by.admin_of


def grant_denial(by: Party, ask: Ask) -> str | None:
    """Return why somebody may not give, or ask for, a grant; None: they may."""
    if by.kind == "operator":
        return None
    if not are_two(by.persons, {ask.grantee}):
        return (
            "Nobody grants a role to themselves, nor by a key that they have made for another admin; ask another admin."
        )
    if not sees(by, ask.handler):
        return _missing(ask.handler)
    if not takes_two(ask.role):
        return None
    if by.kind != "person":
        return f"The role {ask.role} is asked for by a person."
    return _part_denial(by, ask)


def confirm_denial(by: Party, ask: Ask, askers: frozenset[str]) -> str | None:
    """Return why somebody may not be the second admin; None: they may.

    Args:
        by: whoever wants to confirm.
        ask: what was asked for.
        askers: who asked for it, and whoever had seen the secret that it was asked with.
    """
    if not are_two({by.principal}, askers):
        return "Whoever asked for a grant does not confirm it; another admin must."
    if not are_two({by.principal}, {ask.grantee}):
        return "Nobody confirms a role of their own; another admin must."
    if by.kind != "person":
        return f"The role {ask.role} is confirmed by a person."
    wide_enough = by.admin_of == EVERYWHERE or (is_reviewer(ask.role) and sees(by, ask.handler))
    if not wide_enough:
        return _missing(None)
    if not are_two(by.seen_by, askers):
        return "Your key was made by whoever asked for this grant. Sign in with one that nobody else has seen."
    return _part_denial(by, ask)


def _part_denial(by: Party, ask: Ask) -> str | None:
    if not are_two({by.principal}, ask.stand_ins):
        return "You stand in for the grantee, and would have the use of this role yourself; another admin must do this."
    if not are_two(by.persons, ask.users):
        return "Your key was made by somebody who would have the use of this role. Sign in with one that nobody else has seen."
    return None


def withdraw_denial(by: Party, handler: str | None) -> str | None:
    """Return why somebody may not take a grant away; None: they may. To take away needs no second admin."""
    return None if sees(by, handler) else _missing(handler)


def _missing(handler: str | None) -> str:
    return f"This takes the role {ADMIN} for {'all handlers' if handler is None else 'this handler'}."


def lend_for_denial(by: Party, delegate: str) -> str | None:
    """Return why an admin may not ask that somebody else's roles be lent; None: they may, and it waits for a second admin."""
    if by.kind != "person":
        return "Only a person can lend a reviewer's role."
    if by.admin_of != EVERYWHERE:
        return _missing(None)
    if not are_two(by.persons, {delegate}):
        return "Nobody lends a role to themselves; another admin must do this."
    return None


def confirm_lending_denial(by: Party, *, delegator: str, delegate: str, askers: frozenset[str]) -> str | None:
    """Return why somebody may not confirm that roles of somebody who is away are lent; the delegator may."""
    if by.kind != "person" or (by.principal != delegator and by.admin_of != EVERYWHERE):
        return "This takes whoever lends the roles, or an admin of all handlers; a person in either case."
    if not are_two(by.persons, askers | {delegate}):
        return "This takes somebody else than whoever asked for it and whoever is to stand in, with a key that neither has seen."
    return None


# Who must remain


@dataclass(frozen=True, slots=True)
class Keeper:
    """A grant of the role admin on all handlers."""

    grant: str
    principal: str
    kind: str
    is_enabled: bool
    source: str
    life: Life

    def keeps(self, now: datetime) -> bool:
        """Tell whether it can be relied on to be there: a person's, standing, without an end, and no matter of the identity provider."""
        is_lasting = self.life.last_day is None and self.source != "group"
        return self.kind == "person" and self.is_enabled and is_lasting and state(self.life, now) is State.STANDING


def leaves_an_admin(keepers: Iterable[Keeper], going: str, now: datetime) -> bool:
    """Tell whether an admin can still be relied on when a grant, or everything of a principal, goes; or nobody was before.

    Args:
        keepers: every grant of the role admin on all handlers.
        going: id of the grant, or of the principal.
        now: the moment.
    """
    relied_on = [keeper for keeper in keepers if keeper.keeps(now)]
    remaining = [keeper for keeper in relied_on if going not in {keeper.grant, keeper.principal}]
    return bool(remaining) or not relied_on


# Break-glass access


class Glass(StrEnum):
    """What a person may take in an emergency, alone and at once: to read as an auditor does, or to stop permits."""

    AUDITOR = "auditor"
    STOP = "stop"


def break_denial(by: Party, handler: str | None) -> str | None:
    """Return why somebody may not break the glass; None: they may. It opens nothing that lets data out."""
    if by.kind != "person":
        return "Break-glass access is for people."
    return None if sees(by, handler) else _missing(handler)


def close_denial(by: Party, opener: str, handler: str | None) -> str | None:
    """Return why somebody may not end break-glass access early; None: they may."""
    return None if by.principal == opener or sees(by, handler) else _missing(handler)


def ends_at(opened_at: datetime, hours: int) -> datetime:
    """Return when access that was taken for some hours ends."""
    return opened_at + timedelta(hours=hours)
