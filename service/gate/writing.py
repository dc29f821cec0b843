"""What the gate writes, and what it holds before: plain statements, one a table for a whole batch."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from service.gate.reading import Wanted, arguments
from service.gate.schemas import ExportOut
from service.gate.sitting import Held, Sitting
from service.http.idempotency import Reply, Use
from service.law.calendar import day_in_shanghai
from service.law.facts import Count

_ASKED: Final = """
  with asked as materialized (
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
      as a(dataset_id, dataset_key, recipient_id, recipient_key)
  ), datasets_asked as materialized (
    select a.*, d.id as dataset, d.handler from asked a cross join lateral (
      select id, handler from datasets where id = a.dataset_id
      union all
      select id, handler from datasets where key = a.dataset_key
    ) d
  )
"""

_HOLD_YEARS: Final = f"""
  {_ASKED}
  select from ledger_years where year = $5 and handler in (select handler from datasets_asked) order by handler for update
"""  # noqa: S608 - no caller's text is in it

_HOLD_PERMITS: Final = f"""
  {_ASKED}, bound as materialized (
    select b.permit from datasets_asked a cross join lateral (
      select id from recipients where id = a.recipient_id
      union all
      select id from recipients where key = a.recipient_key
    ) r
    join permit_datasets b on b.dataset = a.dataset and b.recipient = r.id
  )
  select from permits where id in (select permit from bound) order by id for update
"""  # noqa: S608 - no caller's text is in it

_BEGIN_YEAR: Final = """
  insert into ledger_years (handler, year, persons, sensitive_persons)
  select handler, $2, 0, 0 from unnest($1::text[]) handler order by handler on conflict do nothing
"""

_ENTRIES: Final = """
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
"""

_OPENINGS: Final = """
  insert into openings (seq, at, pointer, salt, value)
  select e.seq, e.at, o.pointer, o.salt, o.value
  from unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) as o(subject, pointer, salt, value)
  join entries e on e.subject = o.subject and e.at = $1
"""

_EXPORTS: Final = """
  insert into exports (
    id, evaluation, handler, dataset, recipient, permit, system, purpose, fields, counts, persons, sensitive_persons,
    permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons, year, status, reserved_at, expires_at
  )
  select *, persons, sensitive_persons, persons, sensitive_persons, $13, 'reserved', $14, $15 from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[], $10::bool[],
    $11::bigint[], $12::bigint[]
  ) as reserved(
    id, evaluation, handler, dataset, recipient, permit, system, purpose, fields, counts, persons, sensitive_persons
  )
"""

_HELD_BY_ANNOUNCED: Final = """
  update exports set
    permit_persons = held.permit_persons, permit_sensitive_persons = held.permit_sensitive_persons,
    year_persons = held.year_persons, year_sensitive_persons = held.year_sensitive_persons
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
    as held(id, permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons)
  where exports.id = held.id
"""

_HELD_BY_PERMITS: Final = """
  insert into held_by_permits as held (permit, expires_at, persons, sensitive_persons)
  select permit, $4, persons, sensitive_persons
  from unnest($1::text[], $2::bigint[], $3::bigint[]) as more(permit, persons, sensitive_persons)
  on conflict (permit, expires_at) do update
  set persons = held.persons + excluded.persons, sensitive_persons = held.sensitive_persons + excluded.sensitive_persons
"""

_HELD_IN_YEARS: Final = """
  insert into held_in_years as held (handler, year, expires_at, persons, sensitive_persons)
  select handler, $5, $4, persons, sensitive_persons
  from unnest($1::text[], $2::bigint[], $3::bigint[]) as more(handler, persons, sensitive_persons)
  on conflict (handler, year, expires_at) do update
  set persons = held.persons + excluded.persons, sensitive_persons = held.sensitive_persons + excluded.sensitive_persons
"""

_ANSWERS: Final = """
  insert into stored_answers (digest, principal, request, at, status, headers, body)
  select digest, principal, request, $1, status, headers, body
  from unnest($2::bytea[], $3::text[], $4::bytea[], $5::smallint[], $6::jsonb[], $7::bytea[])
    as kept(digest, principal, request, status, headers, body)
"""

_LOCKS: Final = "select pg_try_advisory_xact_lock(lock) from unnest($1::bigint[]) lock"
_EARLIER: Final = "select digest, request, status, headers, body from stored_answers where digest = any($1)"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer to keep for a repeat."""

    use: Use
    principal: str
    reply: Reply


async def hold(connection: asyncpg.Connection, wanted: Sequence[Wanted], year: int) -> None:
    """Hold the years and the permits that reservations may take from until the transaction ends, always in the same order."""
    asked = arguments(wanted)[1:5]
    await connection.execute(_HOLD_YEARS, *asked, year)
    await connection.execute(_HOLD_PERMITS, *asked)


async def begin_year(connection: asyncpg.Connection, handlers: Sequence[str], year: int) -> None:
    """Give handlers whose first export of the year this is a row in the ledger."""
    await connection.execute(_BEGIN_YEAR, handlers, year)


async def earlier(
    connection: asyncpg.Connection, uses: Sequence[Use]
) -> tuple[set[bytes], Mapping[bytes, asyncpg.Record]]:
    """Return the digests of the keys that this transaction holds from now on, and what was answered to a key before."""
    locks = await connection.fetch(_LOCKS, [use.lock for use in uses])
    held = {use.digest for use, lock in zip(uses, locks, strict=True) if lock[0]}
    stored = await connection.fetch(_EARLIER, [use.digest for use in uses])
    return held, {row["digest"]: row for row in stored}


async def write(connection: asyncpg.Connection, sitting: Sitting, kept: Sequence[Kept]) -> None:
    """Write all that a sitting leaves."""
    entries = sitting.entries
    if entries.subject:
        await connection.execute(
            _ENTRIES,
            sitting.now,
            entries.actor,
            entries.action,
            entries.subject,
            entries.handler,
            entries.body,
            entries.sha256,
        )
    if entries.openings:
        await connection.execute(
            _OPENINGS,
            sitting.now,
            [subject for subject, _ in entries.openings],
            [opening.pointer for _, opening in entries.openings],
            [opening.salt for _, opening in entries.openings],
            [opening.content for _, opening in entries.openings],
        )
    if sitting.exports:
        await _write_exports(connection, sitting.exports, sitting.held)
    if kept:
        await connection.execute(
            _ANSWERS,
            sitting.now,
            [one.use.digest for one in kept],
            [one.principal for one in kept],
            [one.use.request for one in kept],
            [one.reply.status for one in kept],
            [json.dumps(one.reply.headers) for one in kept],
            [one.reply.body for one in kept],
        )


_COLUMNS: Final = (
    "id",
    "evaluation",
    "handler",
    "dataset",
    "recipient",
    "permit",
    "system",
    "purpose",
)


async def _write_exports(
    connection: asyncpg.Connection, exports: Sequence[ExportOut], held: Mapping[str, Held]
) -> None:
    """Write reservations, and add what they hold to what is held of their permits and years."""
    first = exports[0]
    await connection.execute(
        _EXPORTS,
        *[[getattr(export, name) for export in exports] for name in _COLUMNS],
        [None if export.fields is None else json.dumps(export.fields) for export in exports],
        [export.counts_toward_ledger for export in exports],
        [export.persons for export in exports],
        [export.sensitive_persons for export in exports],
        day_in_shanghai(first.reserved_at).year,
        first.reserved_at,
        first.expires_at,
    )
    if held:
        await connection.execute(
            _HELD_BY_ANNOUNCED,
            list(held),
            [one.of_permit.persons for one in held.values()],
            [one.of_permit.sensitive_persons for one in held.values()],
            [one.in_year.persons for one in held.values()],
            [one.in_year.sensitive_persons for one in held.values()],
        )
    permits = _sums(
        [
            (export.permit, held[export.id].of_permit if export.id in held else export)
            for export in exports
            if export.permit is not None
        ]
    )
    if permits[0]:
        await connection.execute(_HELD_BY_PERMITS, *permits, first.expires_at)
    years = _sums(
        [
            (export.handler, held[export.id].in_year if export.id in held else export)
            for export in exports
            if export.counts_toward_ledger
        ]
    )
    if years[0]:
        await connection.execute(_HELD_IN_YEARS, *years, first.expires_at, day_in_shanghai(first.reserved_at).year)


def _sums(owned: Sequence[tuple[str, ExportOut | Count]]) -> tuple[list[str], list[int], list[int]]:
    """Return owners in a fixed order, and what their reservations add up to."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for owner, more in owned:
        sums[owner][0] += more.persons
        sums[owner][1] += more.sensitive_persons
    owners = sorted(sums)
    return owners, [sums[owner][0] for owner in owners], [sums[owner][1] for owner in owners]
