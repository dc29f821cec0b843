"""What must hold of the tables at any moment, whoever did what to them through the service."""

from __future__ import annotations

import asyncio

import asyncpg

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


async def broken(connection: asyncpg.Connection) -> list[str]:
    """Return what does not hold, in one consistent view of the database; nothing, if all is well."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return [repr(row) for query in (HELD, RECORDED) for row in await connection.fetch(query)]


def demand_exact(url: str) -> None:
    """Demand that every sum is what its rows add up to, and every reservation on record once."""

    async def look() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return await broken(connection)
        finally:
            await connection.close()

    assert asyncio.run(look()) == []
