"""Reads a database at the revision of the version before, in one read-only snapshot."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import asyncpg

from service.law.facts import Count
from service.upgrade.assessment import (
    Covered,
    Dataset,
    Json,
    Permit,
    Questions,
    Register,
    Transfer,
    fields_then,
    parse_json,
)

_TODAY: Final = "(now() at time zone 'Asia/Shanghai')::date"

_DATASETS: Final = """
  select d.id, d.key, d.handler, d.tags, d.fields::text as fields, d.facts::text as facts,
         g.graded_at is null or (d.updated_at > g.graded_at and exists (
           select from archives a where a.month >= date_trunc('month', g.graded_at at time zone 'UTC')::date
         )) as is_forgotten
  from datasets d left join gradings g on g.dataset = d.id and g.number = d.grading
  order by d.id
"""
_CHANGES: Final = """
  select d.id, c.before::text as before, c.whole, c.part
  from datasets d
  join gradings g on g.dataset = d.id and g.number = d.grading
  cross join lateral (
    select e.seq, e.body::jsonb #> '{details,before}' as before,
           (select value from openings o where o.seq = e.seq and o.at = e.at and o.pointer = '/details/before') as whole,
           (select value from openings o where o.seq = e.seq and o.at = e.at and o.pointer = '/details/before/fields') as part
    from entries e where e.subject = d.id and e.action = 'dataset.changed' and e.at > g.graded_at
  ) c
  where d.updated_at > g.graded_at
  order by d.id, c.seq
"""
_PERMITS: Final = f"""
  select p.id, p.sensitive_persons, p.fields::text as fields,
         h.facts::text as handler_now, a.content #>> '{{handler,facts}}' as handler_then,
         (c.facts::jsonb || jsonb_build_object('country', c.country, 'kind', c.kind))::text as recipient_now,
         ((a.content #> '{{recipient,facts}}') || jsonb_build_object(
           'country', a.content #> '{{recipient,country}}', 'kind', a.content #> '{{recipient,kind}}'
         ))::text as recipient_then,
         b.dataset, b.tags, b.fields as registered,
         (select one -> 'facts' from jsonb_array_elements(a.content -> 'datasets') one where one ->> 'id' = b.dataset)::text as facts
  from permits p
  join permit_datasets b on b.permit = p.id
  join handlers h on h.id = p.handler
  join recipients c on c.id = p.recipient
  left join lateral (
    select content::jsonb as content from revisions r where r.transfer = p.transfer and r.hash = p.revision
    order by number desc limit 1
  ) a on true
  where p.status <> 'revoked' and p.valid_until >= {_TODAY}
  order by p.id, b.dataset
"""  # noqa: S608 - a constant  # nosec B608
_TRANSFERS: Final = f"""
  select id, status, sensitive_persons, fields::text as fields, datasets from transfers
  where status in ('draft', 'returned', 'in_review') and valid_until >= {_TODAY} order by id
"""  # noqa: S608 - a constant  # nosec B608
_QUESTIONS: Final = """
  select system, dataset, fields::text as fields, is_counted, has_persons, has_sensitive_persons,
         count(*) as number, count(*) filter (where is_allowed) as allowed, max(day) as last_day
  from (
    select case when q #>> '{subject,type}' = 'system' and jsonb_typeof(q #> '{subject,id}') = 'string'
                then q #>> '{subject,id}' else coalesce(p.name, e.actor) end as system,
           d ->> 'dataset' as dataset, (d ->> 'decision')::boolean as is_allowed, (e.at at time zone 'Asia/Shanghai')::date as day,
           case jsonb_typeof(s -> 'fields') when 'array' then s -> 'fields' when 'object' then (
             select value::jsonb from openings o where o.seq = e.seq and o.at = e.at
               and o.pointer in ('/details/question/fields', '/details/question/context/fields')
           ) end as fields,
           coalesce(s ->> 'persons', s ->> 'sensitive_persons') is not null as is_counted,
           coalesce((s ->> 'persons')::numeric > 0, false) as has_persons,
           coalesce((s ->> 'sensitive_persons')::numeric > 0, false) as has_sensitive_persons
    from entries e
    left join principals p on p.id = e.actor
    cross join lateral (select e.body::jsonb -> 'details' as d offset 0) d
    cross join lateral (select d -> 'question' as q offset 0) q
    cross join lateral (select case e.action when 'export.reserved' then q else q -> 'context' end as s offset 0) s
    where e.action in ('gate.evaluated', 'export.reserved') and e.at > now() - $1::interval
      and d ->> 'dataset' is not null and d ->> 'recipient' is not null and d ->> 'reason' <> 'not_cross_border'
      and (e.action = 'export.reserved' or q #>> '{action,name}' = 'export')
  ) asked
  group by 1, 2, 3, 4, 5, 6
"""
"""Questions, grouped by what the assessment depends on, with their number.

`fields` is null (all fields) where a question named none, or where the opening of its list was erased."""
# `offset 0` keeps PostgreSQL from inlining the subqueries, which would parse each body some thirty times.


async def revision_of(connection: asyncpg.Connection) -> str | None:
    """Return the revision of a database; None: it has no table of the service."""
    if await connection.fetchval("select to_regclass('alembic_version') is null"):
        return None
    revision: str | None = await connection.fetchval("select version_num from alembic_version")
    return revision


async def read(connection: asyncpg.Connection, days: int) -> Register:
    """Return the register of a database, with the questions of the last `days` days.

    Call it in a transaction of isolation level `repeatable read`, so that all statements see one snapshot.
    """
    changes: defaultdict[str, list[tuple[Json, str | None, str | None]]] = defaultdict(list)
    for row in await connection.fetch(_CHANGES):
        changes[row["id"]].append((parse_json(row["before"]) or {}, row["whole"], row["part"]))
    datasets = [_dataset(row, changes.get(row["id"], ())) for row in await connection.fetch(_DATASETS)]
    permits: dict[str, list[Any]] = {}
    for row in await connection.fetch(_PERMITS):
        permits.setdefault(row["id"], []).append(row)
    return Register(
        datasets,
        [_permit(rows) for rows in permits.values()],
        [
            Transfer(row["id"], row["status"], row["sensitive_persons"], parse_json(row["fields"]), row["datasets"])
            for row in await connection.fetch(_TRANSFERS)
        ],
        [_questions(row) for row in await connection.fetch(_QUESTIONS, timedelta(days=days))],
    )


def _dataset(row: Any, changes: Sequence[tuple[Json, str | None, str | None]]) -> Dataset:
    now = json.loads(row["fields"])
    then = None if row["is_forgotten"] else fields_then(changes, now)
    return Dataset(row["id"], row["key"], row["handler"], row["tags"], now, json.loads(row["facts"]), then)


def _permit(rows: Sequence[Any]) -> Permit:
    first = rows[0]
    covers = [Covered(row["dataset"], row["tags"], row["registered"], parse_json(row["facts"])) for row in rows]
    return Permit(
        first["id"],
        first["sensitive_persons"],
        parse_json(first["fields"]),
        covers,
        {
            "handler": (parse_json(first["handler_then"]), json.loads(first["handler_now"])),
            "recipient": (parse_json(first["recipient_then"]), json.loads(first["recipient_now"])),
        },
    )


def _questions(row: Any) -> Questions:
    count = Count(int(row["has_persons"]), int(row["has_sensitive_persons"])) if row["is_counted"] else None
    fields = parse_json(row["fields"])
    return Questions(row["system"], row["dataset"], fields, count, row["number"], row["allowed"], row["last_day"])
