"""What must hold of the tables at any moment, whoever did what to them through the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg

from service.audit import commitments, state
from service.database.ids import is_any_id

HELD = """
  with live as (
    select * from exports where status = 'reserved'
  ), of_permits as (
    select permit as owner, expires_at, sum(permit_persons) as persons, sum(permit_sensitive_persons) as sensitive_persons
    from live where permit is not null group by 1, 2
  ), of_years as (
    select handler || '/' || year as owner, expires_at, sum(year_persons) as persons,
           sum(year_sensitive_persons) as sensitive_persons
    from live where counts group by 1, 2
  ), held as (
    select permit as owner, expires_at, persons, sensitive_persons from held_by_permits
    union all
    select handler || '/' || year, expires_at, persons, sensitive_persons from held_in_years
  ), owed as (
    select * from of_permits union all select * from of_years
  )
  select owner, expires_at, held.persons as held, owed.persons as owed
  from held full join owed using (owner, expires_at)
  where (coalesce(held.persons, 0), coalesce(held.sensitive_persons, 0))
     is distinct from (coalesce(owed.persons, 0), coalesce(owed.sensitive_persons, 0))
"""
"""What is held of a permit or a year until a moment, and what the exports that are reserved until then add up to, where they differ."""

RECORDED = """
  select coalesce(x.id, e.subject) as export, count(x.id) as exports, count(e.seq) as entries
  from exports x full join (select subject, seq from entries where action = 'export.reserved') e on e.subject = x.id
  group by 1 having count(x.id) <> 1 or count(e.seq) <> 1
"""
"""Exports without their one record, and records without their export."""

REFERRED = """
  select x.id as export, x.handler, x.dataset, x.recipient, x.permit, x.system from exports x
  left join handlers h on h.id = x.handler left join datasets d on d.id = x.dataset and d.handler = x.handler
  left join recipients r on r.id = x.recipient left join permits p on p.id = x.permit and p.handler = x.handler
  left join principals s on s.id = x.system
  where h.id is null or d.id is null or r.id is null or s.id is null or (p.id is null) <> (x.permit is null)
"""
"""Exports of something that is not there, or is another handler's: no foreign key looks after that."""

WRITTEN = """
  select name from principals where kind = 'person'
  union select name from handlers union select "group" from handlers union select name from recipients
  union select title from datasets union select owner from datasets union select description from datasets
  union select reason from gradings union select basis from gradings union select catalogue from gradings
  union select description from transfers union select reason from transfers
  union select comment from reviews union select taken_back_reason from reviews
  union select reference from evidence union select issuer from evidence union select note from evidence
  union select file_name from evidence union select ended_reason from evidence
  union select text from comments union select reason from recusals union select answer_reason from findings
  union select reason from delegations union select note from obligations union select reason from permits
"""
"""What people have written, and names of persons and files: it must not stand in the log in clear."""

EVERYDAY = 12
"""A text of fewer characters may well stand in the log for something else."""


async def broken(connection: asyncpg.Connection) -> list[str]:
    """Return what does not hold, in one consistent view of the database; nothing, if all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return [repr(row) for query in (HELD, RECORDED, REFERRED) for row in await connection.fetch(query)]


async def unsealed(connection: asyncpg.Connection, mark: str | None = None) -> AsyncIterator[str]:
    """Yield texts that stand in the log in clear and must not, and seals that have not exactly one opening that fits.

    Args:
        connection: to the database.
        mark: what every text has in it that must not: where anything is written anywhere, the same text may be both. None: they are those
            that the tables hold.
    """
    rows = [] if mark else await connection.fetch(WRITTEN)
    written = {text for row in rows if len(text := row["name"] or "") >= EVERYDAY and not is_any_id(text)}
    if mark and not await connection.fetchval("select count(*) from openings where strpos(value, $1) > 0", mark):
        yield "nothing that was marked is in the log"
    erased = {
        (told["entry"], told["pointer"])
        for row in await connection.fetch("select body from entries where action = 'opening.erased'")
        for told in [json.loads(row["body"])["details"]]
    }
    openings: dict[int, list[commitments.Opening]] = {}
    for row in await connection.fetch("select * from openings"):
        opening = commitments.Opening(row["pointer"], row["salt"], row["value"])
        openings.setdefault(row["seq"], []).append(opening)
    for row in await connection.fetch("select seq, body from entries"):
        body = json.loads(row["body"])
        for text in set(_texts(body)):
            if text in written or (mark and mark in text):
                yield f"entry {row['seq']} holds in clear: {text}"
        for pointer in commitments.commitments_of(commitments.open_commitments(body, openings.get(row["seq"], []))):
            if (row["seq"], pointer) not in erased:
                yield f"entry {row['seq']} has nothing that opens {pointer}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for member in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(member)


def require_exact(url: str) -> None:
    """Demand that every sum is what its rows add up to, and every reservation on record once."""
    faults = _seen(url, broken)
    assert not faults, faults


def require_sealed(url: str, mark: str | None = None) -> None:
    """Demand that nothing that people wrote is in the log in clear, and that everything sealed can be opened or was erased.

    Args:
        url: the database.
        mark: see `unsealed`.
    """

    async def look(connection: asyncpg.Connection) -> list[str]:
        return [fault async for fault in unsealed(connection, mark)]

    faults = _seen(url, look)
    assert not faults, faults


def require_state(url: str) -> None:
    """Demand that the tables hold what the entries of the log say, and nothing else."""

    async def look(connection: asyncpg.Connection) -> list[str]:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = await state.check(connection)
        return [one.told for one in found.differences] + found.incomparable

    faults = _seen(url, look)
    assert not faults, faults


def _seen(url: str, look: Callable[[asyncpg.Connection], Awaitable[list[str]]]) -> list[str]:
    async def run() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return await look(connection)
        finally:
            await connection.close()

    return asyncio.run(run())
