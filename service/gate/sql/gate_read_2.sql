-- Takes the gate's lock, and reads all rows that the decisions of one batch depend on, in one round trip.
--
-- Installed by migration 0018. A database that has been migrated keeps the function as it was installed, so this file is
-- never edited: another function gets a file, a name and a migration of its own.
--
-- Arguments
--   $1 to $6  one text each, with a unit separator between the questions, because the driver is slow at arrays. For each
--             question: prefix of the API key, or id of the linked identity; dataset as id; dataset as key; recipient as
--             id; recipient as key; the one permit that matters. Empty means none; a hyphen means no prefix.
--   $7        the instant; null: PostgreSQL's clock, after the lock has been taken, plus $9.
--   $8        the day in Asia/Shanghai, whose year is the ledger's; null: the day of the instant.
--   $9        interval by which the service's clock is ahead of PostgreSQL's.
--   $10       advisory lock that the session takes shared before it reads, and keeps until the session releases it; null
--             where the caller's transaction holds it.
--
-- Rows
--   A row for each permit that matches a question, and one row for a question without any. The order is not defined.
--   Columns of a caller are set in the row of the caller's first question, `moment` in that of the first question.
--   Rows of a handler are joined on the caller's grants: without a grant the handler's facts are missing, and so are the
--   year and all permits.
--   `facts`, `fields` and `permit_document` are parts joined by a unit separator, which no part contains: to the driver
--   each column costs time, dates and arrays more than texts, and equal texts can be parsed once. Days are numbers,
--   from 0 for the first day of the year 1. `fields` ends with the fields that the grading examined (empty: the same;
--   a hyphen: not recorded) and those that it named as sensitive.
--
-- Plan
--   The plan is made once and must suit tables of any size. Each lookup is a subquery with a limit or `offset 0`, so that
--   the planner can only look rows up one by one, by an index; with `exists` it may choose to scan a table first.

create function gate_read_2(text, text, text, text, text, text, timestamptz, date, interval, bigint)
returns table (
  ask bigint, dataset varchar, handler varchar, recipient varchar, facts text, fields text,
  year_is_begun boolean, year_persons bigint, year_sensitive_persons bigint,
  caller varchar, caller_name text, caller_kind text, caller_sha256 bytea, caller_stands boolean, caller_reach text,
  permit varchar, permit_status text, permit_purpose text, permit_persons bigint, permit_sensitive_persons bigint,
  permit_used_persons bigint, permit_used_sensitive_persons bigint, permit_document text, permit_is_overdue boolean,
  permit_has_evidence boolean, moment timestamptz
)
language plpgsql volatile as $read$
    #variable_conflict use_column
    declare
      at_moment timestamptz;
      on_day date;
      in_year integer;
    begin
    if $10 is not null then
      perform pg_advisory_lock_shared($10);
    end if;
    at_moment := coalesce($7, clock_timestamp() + $9);
    on_day := coalesce($8, (at_moment at time zone 'Asia/Shanghai')::date);
    in_year := extract(year from on_day);
    return query
    with asked as materialized (
      select nullif(prefix, '-') as prefix, nullif(dataset_id, '') as dataset_id, nullif(dataset_key, '') as dataset_key,
             nullif(recipient_id, '') as recipient_id, nullif(recipient_key, '') as recipient_key, nullif(permit, '') as permit, n
      from unnest(
        string_to_array($1, e'\x1f'), string_to_array($2, e'\x1f'), string_to_array($3, e'\x1f'),
        string_to_array($4, e'\x1f'), string_to_array($5, e'\x1f'), string_to_array($6, e'\x1f')
      ) with ordinality as a(prefix, dataset_id, dataset_key, recipient_id, recipient_key, permit, n)
    ), callers as materialized (
      select a.n, a.prefix, k.sha256, p.id, p.name, p.kind,
             k.revoked_at is null and p.disabled_at is null and (k.expires_at is null or k.expires_at > at_moment) as stands,
             (
               select string_agg(coalesce(g.handler, '*'), ',') from grants g
               where g.principal = p.id and g.role = 'exporter' and g.withdrawn_at is null
                 and g.effective_at is not null and g.valid_from <= on_day and (g.valid_until is null or g.valid_until >= on_day)
             ) as reach
      from (select prefix, min(n) as n from asked where prefix is not null group by prefix) a
      cross join lateral (
        select sha256, principal, revoked_at, expires_at from api_keys where prefix = a.prefix
        union all
        select null, principal, ended_at, null from logins where id = a.prefix
        limit 1
      ) k
      cross join lateral (
        select id, name, kind, disabled_at from principals where id = k.principal offset 0
      ) p
    ), found as materialized (
      select a.n, a.prefix, a.permit, d.id as dataset, d.handler, d.looked_at, r.id as recipient, r.key as recipient_key,
             concat(d.tags, e'\x1f', d.facts, e'\x1f', coalesce(r.facts, repeat(e'\x1f', 4))) as facts
      from asked a
      left join lateral (
        select id, handler, tags, facts, concat(
          fields, e'\x1f', case when graded_fields is null or graded_number is distinct from grading then '-'
            when graded_fields::text <> fields::text then graded_fields::text end, e'\x1f', sensitive_fields
        ) as looked_at from datasets where id = a.dataset_id
        union all
        select id, handler, tags, facts, concat(
          fields, e'\x1f', case when graded_fields is null or graded_number is distinct from grading then '-'
            when graded_fields::text <> fields::text then graded_fields::text end, e'\x1f', sensitive_fields
        ) as looked_at from datasets where key = a.dataset_key
      ) d on true
      left join lateral (
        select id, key, concat(facts, e'\x1f', country, e'\x1f', kind, e'\x1f', key, e'\x1f', name) as facts
        from recipients where id = a.recipient_id
        union all
        select id, key, concat(facts, e'\x1f', country, e'\x1f', kind, e'\x1f', key, e'\x1f', name)
        from recipients where key = a.recipient_key
      ) r on true
    ), years as materialized (
      select f.handler, h.facts, l.year is not null as is_begun,
             coalesce(l.persons, 0) + held.persons as persons,
             coalesce(l.sensitive_persons, 0) + held.sensitive_persons as sensitive_persons,
             coalesce((
               select true from obligations o
               where o.handler = f.handler and o.permit is null and o.state = 'open' and o.blocks and o.due_on < on_day
                 and (o.ended_at is null or (o.ended_at at time zone 'Asia/Shanghai')::date > on_day) limit 1
             ), false) as is_overdue
      from (select distinct handler from found where handler is not null) f
      cross join lateral (
        select facts::text from handlers where id = f.handler offset 0
      ) h
      left join lateral (
        select year, persons, sensitive_persons from ledger_years where handler = f.handler and year = in_year offset 0
      ) l on true
      cross join lateral (
        select coalesce(sum(persons), 0)::bigint as persons, coalesce(sum(sensitive_persons), 0)::bigint as sensitive_persons
        from held_in_years where handler = f.handler and year = in_year and expires_at > at_moment
      ) held
    )
    select f.n, f.dataset, f.handler, f.recipient, concat(y.facts, e'\x1f', f.facts), f.looked_at,
           y.is_begun, y.persons, y.sensitive_persons,
           case when c.n = f.n then c.id end, case when c.n = f.n then c.name end, case when c.n = f.n then c.kind end,
           case when c.n = f.n then c.sha256 end, case when c.n = f.n then c.stands end, case when c.n = f.n then c.reach end,
           p.*, case when f.n = 1 then at_moment end
    from found f
    left join callers c on c.prefix = f.prefix
    left join years y on y.handler = f.handler
      and (f.prefix is null or c.reach = '*' or f.handler = any(string_to_array(c.reach, ',')))
    left join lateral (
      select p.id, p.status, p.purpose, p.persons, p.sensitive_persons,
             p.sent_persons + held.persons, p.sent_sensitive_persons + held.sensitive_persons,
             concat(
               p.valid_from - date '0001-01-01', e'\x1f', p.valid_until - date '0001-01-01', e'\x1f',
               p.fields, e'\x1f', p.systems, e'\x1f', array_to_string(b.fields, e'\x1e'), e'\x1f',
               b.tags, e'\x1f', b.facts, e'\x1f', p.requirements, e'\x1f', p.route, e'\x1f', p.claims, e'\x1f', f.recipient_key
             ),
             coalesce((
               select true from obligations o where o.permit = p.id and o.state = 'open' and o.blocks and o.due_on < on_day
                 and (o.ended_at is null or (o.ended_at at time zone 'Asia/Shanghai')::date > on_day) limit 1
             ), y.is_overdue and (
               select true from permit_datasets e where e.permit = p.id and e.tags && array['important', 'core'] limit 1
             ), false),
             coalesce((
               select false from evidence e where e.id = any(p.evidence) and e.ended_at is not null limit 1
             ), true)
      from (
        select permit, tags, fields, facts from permit_datasets
        where dataset = f.dataset and recipient = f.recipient and y.handler is not null offset 0
      ) b
      cross join lateral (
        select id, status, valid_from, valid_until, purpose, fields, systems, persons, sensitive_persons, sent_persons,
               sent_sensitive_persons, requirements, route, claims, evidence
        from permits where id = b.permit and (f.permit is null or id = f.permit) offset 0
      ) p
      cross join lateral (
        select coalesce(sum(persons), 0)::bigint as persons, coalesce(sum(sensitive_persons), 0)::bigint as sensitive_persons
        from held_by_permits where permit = p.id and expires_at > at_moment
      ) held
    ) p on true;
    end $read$
