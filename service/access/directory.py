"""Directory of principals and their roles, for packages that ask about others than the caller: read straight from identity's tables."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import (
    ColumnElement,
    Date,
    DateTime,
    Text,
    and_,
    column,
    literal,
    null,
    or_,
    select,
    table,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.access import persons
from service.access.caller import READERS, REVIEWERS, Role
from service.access.conditions import delegation_is_in_force, grant_is_standing
from service.database.columns import Id
from service.database.session import Transaction

_PRINCIPALS = table(
    "principals", column("id", Id), column("name", Text), column("kind", Text), column("disabled_at", DateTime)
)
_GRANTS = table(
    "grants",
    column("principal", Id),
    column("role", Text),
    column("handler", Id),
    column("valid_from", Date),
    column("valid_until", Date),
    column("effective_at", DateTime),
    column("withdrawn_at", DateTime),
)
_CREDENTIALS = [
    table("api_keys", column("principal", Id), column("seen_by", ARRAY(Id))),
    table("logins", column("principal", Id), column("seen_by", ARRAY(Id))),
]
_DELEGATIONS = table(
    "delegations",
    column("delegator", Id),
    column("delegate", Id),
    column("roles", ARRAY(Text)),
    column("handler", Id),
    column("valid_from", Date),
    column("valid_until", Date),
    column("effective_at", DateTime),
    column("ended_at", DateTime),
)


@dataclass(frozen=True, slots=True)
class Entitled:
    """A person who may act in a role, for themselves or on behalf of somebody who is away."""

    principal: str
    name: str
    on_behalf_of: str | None


@dataclass(frozen=True, slots=True)
class Tenure:
    """A role that somebody has or had of their own: since when, and whether still."""

    principal: str
    role: Role
    handler: str | None
    """None: all handlers."""
    effective_at: datetime
    has_ended: bool
    """Withdrawn, or past its last day."""


async def entitled(tx: Transaction, role: Role, handler: str, today: date) -> list[Entitled]:
    """Return who may act in a role for a handler today, by name: each enabled person once for each way to the role, their own first."""
    own = (
        select(_PRINCIPALS.c.id, _PRINCIPALS.c.name, null().cast(Id).label("behalf"))
        .join(_GRANTS, _GRANTS.c.principal == _PRINCIPALS.c.id)
        .where(_grant_stands(role, handler, today))
    )
    away = _PRINCIPALS.alias()
    lent = (
        select(_PRINCIPALS.c.id, _PRINCIPALS.c.name, _DELEGATIONS.c.delegator.label("behalf"))
        .join(_DELEGATIONS, _DELEGATIONS.c.delegate == _PRINCIPALS.c.id)
        .join(_GRANTS, _GRANTS.c.principal == _DELEGATIONS.c.delegator)
        .join(away, and_(away.c.id == _DELEGATIONS.c.delegator, away.c.kind == "person", away.c.disabled_at.is_(None)))
        .where(
            _grant_stands(role, handler, today),
            literal(str(role)) == _DELEGATIONS.c.roles.any_(),
            or_(_DELEGATIONS.c.handler.is_(None), _DELEGATIONS.c.handler == handler),
            delegation_is_in_force(_DELEGATIONS.c, today),
        )
    )
    rows = {(str(name), str(principal), behalf) for principal, name, behalf in await tx.execute(union_all(own, lent))}
    ways = sorted(rows, key=lambda row: (row[0], row[2] or ""))
    return [Entitled(principal, name, behalf) for name, principal, behalf in ways]


async def known(tx: Transaction, principals: Collection[str]) -> Mapping[str, tuple[str, str]]:
    """Return the kind and the name of principals by id."""
    query = select(_PRINCIPALS.c.id, _PRINCIPALS.c.kind, _PRINCIPALS.c.name).where(_PRINCIPALS.c.id.in_(principals))
    return {row[0]: (row[1], row[2]) for row in await tx.execute(query)}


async def names(tx: Transaction, principals: Collection[str]) -> Mapping[str, str]:
    """Return the names of principals by id."""
    if not principals:
        return {}
    rows = await tx.execute(select(_PRINCIPALS.c.id, _PRINCIPALS.c.name).where(_PRINCIPALS.c.id.in_(principals)))
    return {str(principal): str(name) for principal, name in rows}


async def seen(tx: Transaction, holders: Collection[str]) -> Mapping[str, frozenset[str]]:
    """Return who has ever seen a credential of some principals: what can be known of acts of before this was stored with each."""
    found: dict[str, frozenset[str]] = {}
    for credentials in _CREDENTIALS if holders else ():
        query = select(credentials.c.principal, credentials.c.seen_by).where(credentials.c.principal.in_(holders))
        for holder, seen_by in await tx.execute(query):
            found[holder] = found.get(holder, frozenset()) | frozenset(seen_by)
    return found


async def persons_of(
    tx: Transaction,
    *acts: tuple[str | None, Sequence[str] | None],
    authors: Sequence[tuple[Sequence[str], Sequence[str] | None]] = (),
) -> frozenset[str]:
    """Return who could have made any of some acts, each by its holder and the set that was stored with it.

    Args:
        tx: the transaction.
        acts: holder (None: not made) and set (None: made before sets were stored).
        authors: acts of which the set is stored for all together: the holders, and the set.
    """
    before = {holder for holder, stored in acts if holder is not None and stored is None}
    before |= {holder for holders, stored in authors for holder in holders if holder not in (stored or ())}
    known = await seen(tx, before)
    sets = [persons.set_of(holder, stored, known) for holder, stored in acts]
    sets += [persons.set_of_authors(holders, stored, known) for holders, stored in authors]
    return frozenset().union(*sets)


async def tenures(tx: Transaction, principals: Collection[str], today: date) -> list[Tenure]:
    """Return the roles that some principals have or had of their own; not those that were asked for and never confirmed."""
    if not principals:
        return []
    columns = (
        _GRANTS.c.principal,
        _GRANTS.c.role,
        _GRANTS.c.handler,
        _GRANTS.c.effective_at,
        ~grant_is_standing(_GRANTS.c, today),
    )
    query = select(*columns).where(_GRANTS.c.principal.in_(principals), _GRANTS.c.effective_at.is_not(None))
    return [
        Tenure(str(principal), Role(role), handler, effective_at, has_ended)
        for principal, role, handler, effective_at, has_ended in await tx.execute(query)
    ]


async def disabled(tx: Transaction, principals: Collection[str]) -> set[str]:
    """Return which of some principals are shut out."""
    if not principals:
        return set()
    query = select(_PRINCIPALS.c.id).where(_PRINCIPALS.c.id.in_(principals), _PRINCIPALS.c.disabled_at.is_not(None))
    return set(await tx.scalars(query))


async def readers_among(tx: Transaction, handler: str, references: Collection[str], today: date) -> Mapping[str, str]:
    """Return, by id or name as they were referred to, the ids of the enabled people who may read a handler's transfers today."""
    query = (
        select(_PRINCIPALS.c.id, _PRINCIPALS.c.name)
        .distinct()
        .join(_GRANTS, _GRANTS.c.principal == _PRINCIPALS.c.id)
        .where(
            or_(_PRINCIPALS.c.id.in_(references), _PRINCIPALS.c.name.in_(references)),
            _PRINCIPALS.c.kind == "person",
            _PRINCIPALS.c.disabled_at.is_(None),
            grant_is_standing(_GRANTS.c, today),
            _GRANTS.c.role.in_([str(role) for role in READERS]),
            or_(_GRANTS.c.handler.is_(None), _GRANTS.c.handler == handler),
        )
    )
    found: dict[str, str] = {}
    for principal, name in await tx.execute(query):
        found |= {str(principal): str(principal), str(name): str(principal)}
    if any(reference not in found for reference in references):
        for role in sorted(REVIEWERS):
            for person in await entitled(tx, role, handler, today):
                found |= {person.principal: person.principal, person.name: person.principal}
    return {reference: found[reference] for reference in references if reference in found}


def _grant_stands(role: Role, handler: str, today: date) -> ColumnElement[bool]:
    return and_(
        _PRINCIPALS.c.kind == "person",
        _PRINCIPALS.c.disabled_at.is_(None),
        _GRANTS.c.role == str(role),
        grant_is_standing(_GRANTS.c, today),
        or_(_GRANTS.c.handler.is_(None), _GRANTS.c.handler == handler),
    )
