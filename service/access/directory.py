"""Queries principals other than the caller, and their roles, in the tables of `identity`."""

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
class EligiblePerson:
    """Person who may act in a role, by a grant or on behalf of an absent delegator."""

    principal: str
    name: str
    on_behalf_of: str | None


@dataclass(frozen=True, slots=True)
class Tenure:
    """Present or past grant of a role, without delegations."""

    principal: str
    role: Role
    handler: str | None
    """None: all handlers."""
    effective_at: datetime
    has_ended: bool
    """True if it was withdrawn or its last day has passed."""


async def find_eligible_persons(tx: Transaction, role: Role, handler: str, today: date) -> list[EligiblePerson]:
    """Find the enabled persons who may act in a role for a handler today, by name; one item per grant or delegator, grants first.

    Example:
        for person in await find_eligible_persons(tx, Role.LEGAL, transfer.handler, today):
            print(person.name, person.on_behalf_of)
    """
    own = (
        select(_PRINCIPALS.c.id, _PRINCIPALS.c.name, null().cast(Id).label("behalf"))
        .join(_GRANTS, _GRANTS.c.principal == _PRINCIPALS.c.id)
        .where(_is_eligible_grant(role, handler, today))
    )
    delegators = _PRINCIPALS.alias()
    lent = (
        select(_PRINCIPALS.c.id, _PRINCIPALS.c.name, _DELEGATIONS.c.delegator.label("behalf"))
        .join(_DELEGATIONS, _DELEGATIONS.c.delegate == _PRINCIPALS.c.id)
        .join(_GRANTS, _GRANTS.c.principal == _DELEGATIONS.c.delegator)
        .join(
            delegators,
            and_(
                delegators.c.id == _DELEGATIONS.c.delegator,
                delegators.c.kind == "person",
                delegators.c.disabled_at.is_(None),
            ),
        )
        .where(
            _is_eligible_grant(role, handler, today),
            literal(str(role)) == _DELEGATIONS.c.roles.any_(),
            or_(_DELEGATIONS.c.handler.is_(None), _DELEGATIONS.c.handler == handler),
            delegation_is_in_force(_DELEGATIONS.c, today),
        )
    )
    rows = {(str(name), str(principal), behalf) for principal, name, behalf in await tx.execute(union_all(own, lent))}
    ways = sorted(rows, key=lambda row: (row[0], row[2] or ""))
    return [EligiblePerson(principal, name, behalf) for name, principal, behalf in ways]


async def load_kinds_and_names(tx: Transaction, principals: Collection[str]) -> Mapping[str, tuple[str, str]]:
    """Load the kind and the name of principals, by id."""
    query = select(_PRINCIPALS.c.id, _PRINCIPALS.c.kind, _PRINCIPALS.c.name).where(_PRINCIPALS.c.id.in_(principals))
    return {row[0]: (row[1], row[2]) for row in await tx.execute(query)}


async def load_names(tx: Transaction, principals: Collection[str]) -> Mapping[str, str]:
    """Load the names of principals, by id."""
    if not principals:
        return {}
    rows = await tx.execute(select(_PRINCIPALS.c.id, _PRINCIPALS.c.name).where(_PRINCIPALS.c.id.in_(principals)))
    return {str(principal): str(name) for principal, name in rows}


async def load_credential_viewers(tx: Transaction, holders: Collection[str]) -> Mapping[str, frozenset[str]]:
    """Load the principals who have seen a credential of each holder; used for acts that precede stored sets."""
    viewers: dict[str, frozenset[str]] = {}
    for credentials in _CREDENTIALS if holders else ():
        query = select(credentials.c.principal, credentials.c.seen_by).where(credentials.c.principal.in_(holders))
        for holder, seen_by in await tx.execute(query):
            viewers[holder] = viewers.get(holder, frozenset()) | frozenset(seen_by)
    return viewers


async def persons_of(
    tx: Transaction,
    *acts: tuple[str | None, Sequence[str] | None],
    authors: Sequence[tuple[Sequence[str], Sequence[str] | None]] = (),
) -> frozenset[str]:
    """Return the principals who could have made any of some acts (see `persons.set_of`).

    Args:
        tx: the transaction.
        acts: holder (None: not made) and stored set (None: the act precedes stored sets) of each act.
        authors: holders and shared set of acts that share one stored set.
    """
    before = {holder for holder, stored in acts if holder is not None and stored is None}
    before |= {holder for holders, stored in authors for holder in holders if holder not in (stored or ())}
    seen = await load_credential_viewers(tx, before)
    sets = [persons.set_of(holder, stored, seen) for holder, stored in acts]
    sets += [persons.set_of_authors(holders, stored, seen) for holders, stored in authors]
    return frozenset().union(*sets)


async def load_tenures(tx: Transaction, principals: Collection[str], today: date) -> list[Tenure]:
    """Load the present and past grants of principals, without those that were never confirmed."""
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


async def find_disabled(tx: Transaction, principals: Collection[str]) -> set[str]:
    """Find the disabled ones of some principals."""
    if not principals:
        return set()
    query = select(_PRINCIPALS.c.id).where(_PRINCIPALS.c.id.in_(principals), _PRINCIPALS.c.disabled_at.is_not(None))
    return set(await tx.scalars(query))


async def find_readers(tx: Transaction, handler: str, references: Collection[str], today: date) -> Mapping[str, str]:
    """Find the enabled persons who may read a handler's transfers today: reference (id or name) to id."""
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
    ids: dict[str, str] = {}
    for principal, name in await tx.execute(query):
        ids |= {str(principal): str(principal), str(name): str(principal)}
    if any(reference not in ids for reference in references):
        for role in sorted(REVIEWERS):
            for person in await find_eligible_persons(tx, role, handler, today):
                ids |= {person.principal: person.principal, person.name: person.principal}
    return {reference: ids[reference] for reference in references if reference in ids}


def _is_eligible_grant(role: Role, handler: str, today: date) -> ColumnElement[bool]:
    return and_(
        _PRINCIPALS.c.kind == "person",
        _PRINCIPALS.c.disabled_at.is_(None),
        _GRANTS.c.role == str(role),
        grant_is_standing(_GRANTS.c, today),
        or_(_GRANTS.c.handler.is_(None), _GRANTS.c.handler == handler),
    )
