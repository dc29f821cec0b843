"""Recounts reservations from the entries of their decisions, held quotas from reservations, and files by their hash.

Part of the check of the tables (`service/audit/state.py`).
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from service.audit.effects import RESERVATION_COLUMNS

_LOGGED: Final = """
  select e.subject as id, d ->> 'evaluation' as evaluation, e.handler, d ->> 'dataset' as dataset, d ->> 'recipient' as recipient,
         d ->> 'permit' as permit, e.actor as system, q ->> 'purpose' as purpose,
         case when jsonb_typeof(q -> 'fields') = 'array' then q -> 'fields' end as fields,
         coalesce(jsonb_typeof(q -> 'fields') = 'object', false) as is_sealed,
         extract(year from e.at at time zone 'Asia/Shanghai')::smallint as year,
         coalesce((q ->> 'persons')::bigint, 0) as persons, coalesce((q ->> 'sensitive_persons')::bigint, 0) as sensitive_persons,
         coalesce((d #>> '{announced,permit,persons}')::bigint, (q ->> 'persons')::bigint, 0) as permit_persons,
         coalesce((d #>> '{announced,permit,sensitive_persons}')::bigint, (q ->> 'sensitive_persons')::bigint, 0)
           as permit_sensitive_persons,
         coalesce((d #>> '{announced,year,persons}')::bigint, (q ->> 'persons')::bigint, 0) as year_persons,
         coalesce((d #>> '{announced,year,sensitive_persons}')::bigint, (q ->> 'sensitive_persons')::bigint, 0)
           as year_sensitive_persons,
         (d ->> 'counts')::boolean as counts, e.at as reserved_at, (d ->> 'expires_at')::timestamptz as expires_at
  from entries e cross join lateral (select e.body::jsonb -> 'details' as d) d cross join lateral (select d -> 'question' as q) q
  where e.action = 'export.reserved'
"""
_CONDITIONS: Final = {
    "fields": "not s.is_sealed and nullif(x.fields, 'null') is distinct from nullif(s.fields, 'null')",
    "counts": "s.counts is not null and x.counts <> s.counts",
}
_COMPARED: Final = ", ".join(
    f"case when {_CONDITIONS.get(name, f'x.{name} is distinct from s.{name}')} then '{name}' end"
    for name in RESERVATION_COLUMNS
)
_DIFFERING: Final = f"""
  with said as materialized ({_LOGGED}), both_of as (
    select coalesce(x.id, s.id) as id, x.id is null as is_gone, s.id is null as is_new, x.reserved_at as at,
           array_remove(array[{_COMPARED}], null) as columns
    from exports x full join said s on s.id = x.id
  )
  select * from both_of b where (is_gone or is_new or columns <> '{{}}')
    and not (is_new and exists (
      select from archives a where a.month = date_trunc('month', b.at at time zone 'UTC')::date
    ))
  order by id limit 1000
"""  # noqa: S608 - written above  # nosec B608
"""Reservations without an entry, entries without a reservation, and the columns in which both differ."""

_WRONG_QUOTAS: Final = """
  with live as (
    select * from exports where status = 'reserved'
  ), owed as (
    select 'held_by_permits' as held_in, permit as owner, expires_at, sum(permit_persons) as persons,
           sum(permit_sensitive_persons) as sensitive_persons
    from live where permit is not null group by 2, 3
    union all
    select 'held_in_years', handler || '/' || year, expires_at, sum(year_persons), sum(year_sensitive_persons)
    from live where counts group by 2, 3
  ), held as (
    select 'held_by_permits' as held_in, permit as owner, expires_at, persons, sensitive_persons from held_by_permits
    union all
    select 'held_in_years', handler || '/' || year, expires_at, persons, sensitive_persons from held_in_years
  )
  select held_in, owner, expires_at, coalesce(held.persons, 0) as held, coalesce(owed.persons, 0) as owed
  from held full join owed using (held_in, owner, expires_at)
  where (coalesce(held.persons, 0), coalesce(held.sensitive_persons, 0))
     is distinct from (coalesce(owed.persons, 0), coalesce(owed.sensitive_persons, 0))
  order by 1, 2, 3 limit 1000
"""
"""Held quotas of permits and years that differ from the sum of their reservations, by expiry."""

_FILES: Final = """
  select encode(sha256, 'hex') as row from documents where sha256(content) <> sha256 or length(content) <> size limit 1000
"""


async def find_differing_exports(connection: asyncpg.Connection) -> Sequence[tuple[str, Sequence[str], str]]:
    """Return the exports that differ from the entry of their reservation: id, columns and a sentence."""
    differences = []
    for row in await connection.fetch(_DIFFERING):
        if row["is_gone"]:
            detail = "is gone; the log says that it was reserved."
        elif row["is_new"]:
            detail = "is in the table, and no entry says that it was reserved."
        else:
            detail = f"{', '.join(row['columns'])} are not as reserved."
        columns = () if row["is_gone"] or row["is_new"] else tuple(row["columns"])
        differences.append((row["id"], columns, f"exports {row['id']}: {detail}"))
    return differences


async def find_wrong_quotas(connection: asyncpg.Connection) -> Sequence[tuple[str, str, str]]:
    """Return the held quotas that differ from the sum of the reservations: table, key and a sentence."""
    return [
        (
            row["held_in"],
            f"{row['owner']}/{row['expires_at']}",
            f"{row['held_in']} {row['owner']}: {row['held']} persons are held until {row['expires_at']}, and {row['owed']} are reserved.",
        )
        for row in await connection.fetch(_WRONG_QUOTAS)
    ]


async def find_damaged_files(connection: asyncpg.Connection) -> Sequence[tuple[str, str]]:
    """Return the files that do not have the hash in their key: key and a sentence."""
    return [
        (row["row"], f"documents {row['row']}: the file has another hash or size.")
        for row in await connection.fetch(_FILES)
    ]
