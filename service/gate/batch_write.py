"""Locks quotas and writes a batch's rows: one plain statement per table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from service.clock import day_in_shanghai
from service.database.locks import GATE_LOCK
from service.gate import batch_read
from service.gate.batch_decisions import DecisionBatch, EarlierExport, ReservedExport, ReservedPersons, encode
from service.gate.batch_read import HASH, Lookup, Snapshot, arguments, arrays, join_texts, piece
from service.http.idempotency import Reply, Use
from service.law.facts import Count
from service.validation.problems import DatabaseUnavailable

_LOOKUPS: Final = f"""
  with asked as materialized (
    select nullif(dataset_id, '') as dataset_id, nullif(dataset_key, '') as dataset_key,
           nullif(recipient_id, '') as recipient_id, nullif(recipient_key, '') as recipient_key
    from unnest({arrays(1, 4)}) as a(dataset_id, dataset_key, recipient_id, recipient_key)
  ), datasets_asked as materialized (
    select a.*, d.id as dataset, d.handler from asked a cross join lateral (
      select id, handler from datasets where id = a.dataset_id
      union all
      select id, handler from datasets where key = a.dataset_key
    ) d
  )
"""  # noqa: S608 - no caller's text is in it  # nosec B608

LOCK_QUOTAS: Final = f"""
  {_LOOKUPS}, moments as materialized (
    select clock_timestamp() + $5 as moment
  ), years as materialized (
    select handler from ledger_years
    where year = (select extract(year from moment at time zone 'Asia/Shanghai')::integer from moments)
      and handler = any(array(select handler from datasets_asked))
    order by handler for update
  ), held as materialized (
    select count(*) as years from years
  ), bound as materialized (
    select b.permit from datasets_asked a cross join lateral (
      select id from recipients where id = a.recipient_id
      union all
      select id from recipients where key = a.recipient_key
    ) r
    cross join lateral (
      select permit from permit_datasets where dataset = a.dataset and recipient = r.id offset 0
    ) b
  ), permits_held as materialized (
    select id from permits where (select years from held) >= 0 and id = any(array(select permit from bound)) order by id for update
  )
  select moment from moments where (select count(*) from permits_held) >= 0
"""  # noqa: S608 - no caller's text is in it  # nosec B608
"""Locks the years before the permits, since the count of years is read first. Returns the instant at which it began: a reservation that
lapses while the statement waits still counts."""

_BEGIN_YEAR: Final = """
  insert into ledger_years (handler, year, persons, sensitive_persons)
  select handler, $2, 0, 0 from unnest($1::text[]) handler order by handler on conflict do nothing
"""

_ENTRIES: Final = f"""
  insert into entries (at, actor, action, subject, handler, body, sha256)
  select $1, actor, action, subject, nullif(handler, ''), body, {piece(7)}
  from unnest({arrays(2, 6)}) with ordinality as a(actor, action, subject, handler, body, n)
"""  # noqa: S608 - no caller's text is in it  # nosec B608

_ENTRIES_AND_UNLOCK: Final = f"""
  {_ENTRIES}
  where (
    select case when pg_advisory_xact_lock_shared({GATE_LOCK}) is not null then pg_advisory_unlock_shared({GATE_LOCK}) end
  )
"""
"""Moves the gate's lock from the session to the transaction, which has it before the session releases it. Writes nothing if the session
does not hold it."""

_UNLOCK: Final = f"select pg_advisory_unlock_shared({GATE_LOCK})"

_OPENINGS: Final = """
  insert into openings (seq, at, pointer, salt, value)
  select e.seq, e.at, o.pointer, o.salt, o.value
  from unnest($2::text[], $3::text[], $4::bytea[], $5::text[]) as o(subject, pointer, salt, value)
  join entries e on e.subject = o.subject and e.at = $1
"""

_EXPORTS: Final = f"""
  with reserved as materialized (
    select id, evaluation, handler, dataset, recipient, nullif(permit, '') as permit, system, purpose, nullif(fields, '')::jsonb as fields,
           counts, persons, sensitive_persons, permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons
    from unnest(
      {arrays(1, 9)}, {arrays(10, 10, "bool")}, {arrays(11, 16, "bigint")}
    ) as reserved(
      id, evaluation, handler, dataset, recipient, permit, system, purpose, fields, counts, persons, sensitive_persons,
      permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons
    )
  ), of_permits as (
    insert into held_by_permits as held (permit, expires_at, persons, sensitive_persons)
    select permit, $19, sum(permit_persons), sum(permit_sensitive_persons)
    from reserved where permit is not null group by permit order by permit
    on conflict (permit, expires_at) do update
    set persons = held.persons + excluded.persons, sensitive_persons = held.sensitive_persons + excluded.sensitive_persons
  ), of_years as (
    insert into held_in_years as held (handler, year, expires_at, persons, sensitive_persons)
    select handler, $17, $19, sum(year_persons), sum(year_sensitive_persons)
    from reserved where counts group by handler order by handler
    on conflict (handler, year, expires_at) do update
    set persons = held.persons + excluded.persons, sensitive_persons = held.sensitive_persons + excluded.sensitive_persons
  )
  insert into exports (
    id, evaluation, handler, dataset, recipient, permit, system, purpose, fields, counts, persons, sensitive_persons,
    permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons, year, status, reserved_at, expires_at
  )
  select *, $17, 'reserved', $18, $19 from reserved
"""  # noqa: S608 - no caller's text is in it  # nosec B608

_ANSWERS: Final = f"""
  insert into stored_answers (digest, principal, request, content, at, status, headers, body)
  select {piece(2)}, principal, {piece(3)}, {piece(8)}, $1, status, headers, convert_to(body, 'UTF8')
  from unnest({arrays(4, 4)}, {arrays(5, 5, "smallint")}, {arrays(6, 6, "jsonb")}, {arrays(7, 7)})
    with ordinality as kept(principal, status, headers, body, n)
"""  # noqa: S608 - no caller's text is in it  # nosec B608

_CONTRADICTIONS: Final = f"""
  insert into contradictions (dataset, grading, kind, principal, day, handler, subject, persons, sensitive_persons, at)
  select c.dataset, d.grading, c.kind, c.principal, $1, c.handler, c.subject, c.persons, c.sensitive_persons, $2
  from unnest({arrays(3, 7)}, {arrays(8, 9, "bigint")}) c(dataset, kind, principal, handler, subject, persons, sensitive_persons)
  cross join lateral (select grading from datasets where id = c.dataset offset 0) d
  order by c.dataset, c.kind, c.principal on conflict do nothing
"""  # noqa: S608 - no caller's text is in it  # nosec B608
"""Rows are in a fixed order, so that two batches cannot deadlock."""

_LOCKS: Final = f"""
  select pg_try_advisory_xact_lock(lock) from unnest({arrays(1, 1, "bigint")}) lock
"""  # noqa: S608 - no caller's text is in it  # nosec B608
EARLIER_ANSWERS: Final = f"""
  select digest, request, content, status, headers, body from stored_answers
  where digest = any(array(select {piece(1)} from generate_series(1, octet_length($1::bytea) / {HASH}) n))
"""  # noqa: S608 - no caller's text is in it  # nosec B608


_EARLIER_EXPORTS: Final = """
  select id, permit, status, year, counts, expires_at, permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons
  from exports where id = any($1::text[])
"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """Answer to store for repeats of its `Idempotency-Key`."""

    use: Use
    principal: str
    reply: Reply


async def lock_and_read(
    connection: asyncpg.Connection, lookups: Sequence[Lookup], reserving: Sequence[Lookup], ahead: timedelta
) -> tuple[datetime, Sequence[Snapshot]]:
    """Lock the quotas that some asks may take from, and read the rows for their decisions, with the instant by PostgreSQL's clock.

    Rows of years are locked before those of permits, in a fixed order, until the transaction ends. A handler without a row for the year
    gets one.

    Args:
        connection: in a transaction that holds the gate's lock.
        lookups: the asks.
        reserving: the lookups that may take from a quota.
        ahead: how far ahead of PostgreSQL's clock it is.
    """
    while True:
        now: datetime = await connection.fetchval(LOCK_QUOTAS, *arguments(reserving)[1:5], ahead)
        today = day_in_shanghai(now)
        snapshots = await batch_read.read(connection, lookups, now, today)
        new = sorted({row.handler for row in snapshots if row.handler is not None and not row.has_year})
        if not new:
            return now, snapshots
        await connection.execute(_BEGIN_YEAR, new, today.year)


async def find_earlier_answers(
    connection: asyncpg.Connection, uses: Sequence[Use]
) -> tuple[set[bytes], Mapping[bytes, asyncpg.Record]]:
    """Lock idempotency keys; return the digests of the locked ones, and the stored answers."""
    locks = await connection.fetch(_LOCKS, join_texts([str(use.lock) for use in uses]))
    locked = {use.digest for use, lock in zip(uses, locks, strict=True) if lock[0]}
    stored = await connection.fetch(EARLIER_ANSWERS, b"".join([use.digest for use in uses]))
    return locked, {row["digest"]: row for row in stored}


async def find_earlier_exports(connection: asyncpg.Connection, exports: Sequence[str]) -> Mapping[str, EarlierExport]:
    """Return exports as they are now, by their ids."""
    return {
        row["id"]: EarlierExport(
            id=row["id"],
            permit=row["permit"],
            status=row["status"],
            year=row["year"],
            counts=row["counts"],
            expires_at=row["expires_at"],
            reserved=ReservedPersons(Count(row[6], row[7]), Count(row[8], row[9])),
        )
        for row in await connection.fetch(_EARLIER_EXPORTS, exports)
    }


async def write_and_commit(connection: asyncpg.Connection, batch: DecisionBatch) -> None:
    """Write the entries of a batch and commit them with one statement, which releases the session's lock of the gate.

    Raises:
        DatabaseUnavailable: the session did not hold the lock; nothing is written.
    """
    entries = batch.entries
    if not entries.subject:
        await unlock(connection)
        return
    status = await connection.execute(_ENTRIES_AND_UNLOCK, *_columns_of(batch))
    if status != f"INSERT 0 {len(entries.subject)}":
        raise DatabaseUnavailable


async def unlock(connection: asyncpg.Connection) -> None:
    """Release the session's lock of the gate."""
    await connection.execute(_UNLOCK)


async def write(connection: asyncpg.Connection, batch: DecisionBatch, answers: Sequence[StoredAnswer]) -> None:
    """Write the rows of a batch."""
    entries = batch.entries
    if entries.subject:
        await connection.execute(_ENTRIES, *_columns_of(batch))
    if entries.openings:
        await connection.execute(
            _OPENINGS,
            batch.now,
            [subject for subject, _ in entries.openings],
            [opening.pointer for _, opening in entries.openings],
            [opening.salt for _, opening in entries.openings],
            [opening.content for _, opening in entries.openings],
        )
    if batch.contradictions:
        rows = list(batch.contradictions.values())
        await connection.execute(
            _CONTRADICTIONS,
            day_in_shanghai(batch.now),
            batch.now,
            *[join_texts([str(row[column]) for row in rows]) for column in range(len(rows[0]))],
        )
    if batch.exports:
        await _write_exports(connection, batch)
    if answers:
        await connection.execute(
            _ANSWERS,
            batch.now,
            b"".join([answer.use.digest for answer in answers]),
            b"".join([answer.use.request for answer in answers]),
            join_texts([answer.principal for answer in answers]),
            join_texts([str(answer.reply.status) for answer in answers]),
            join_texts([encode(answer.reply.headers).decode() for answer in answers]),
            join_texts([answer.reply.body.decode() for answer in answers]),
            b"".join([answer.use.content for answer in answers]),
        )


def _columns_of(batch: DecisionBatch) -> tuple[datetime, str, str, str, str, str, bytes]:
    """Return the arguments of `_ENTRIES`."""
    entries = batch.entries
    return (
        batch.now,
        join_texts(entries.actor),
        join_texts(entries.action),
        join_texts(entries.subject),
        join_texts(entries.handler),
        join_texts(entries.body),
        b"".join(entries.sha256),
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


async def _write_exports(connection: asyncpg.Connection, batch: DecisionBatch) -> None:
    """Write reservations, and add their persons to those reserved of their permits and years."""
    exports = batch.exports
    await connection.execute(
        _EXPORTS,
        *[join_texts([getattr(export, name) or "" for export in exports]) for name in _COLUMNS],
        join_texts(["" if export.fields is None else encode(export.fields).decode() for export in exports]),
        join_texts([str(export.counts_toward_ledger) for export in exports]),
        *_persons(exports),
        *_persons([hold.of_permit for hold in batch.reserved_persons]),
        *_persons([hold.in_year for hold in batch.reserved_persons]),
        day_in_shanghai(batch.now).year,
        batch.now,
        batch.lapses_at,
    )


def _persons(counts: Sequence[ReservedExport | Count]) -> tuple[str, str]:
    return join_texts([str(count.persons) for count in counts]), join_texts(
        [str(count.sensitive_persons) for count in counts]
    )
