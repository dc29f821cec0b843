"""A grading knows the fields that it looked at, the gate reads them, and what contradicts a grading is kept for the registrar.

The version before goes on beside this one: what it writes of a grading gets the fields of that moment by a trigger. Gradings from before
are filled in afterwards, a few at a time (`service.database.migrate.fill`), for this transaction must be short.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

READ: Final = """
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
        string_to_array($1, e'\\x1f'), string_to_array($2, e'\\x1f'), string_to_array($3, e'\\x1f'),
        string_to_array($4, e'\\x1f'), string_to_array($5, e'\\x1f'), string_to_array($6, e'\\x1f')
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
             concat(d.tags, e'\\x1f', d.facts, e'\\x1f', coalesce(r.facts, repeat(e'\\x1f', 4))) as facts
      from asked a
      left join lateral (
        select id, handler, tags, facts, concat(
          fields, e'\\x1f', case when graded_fields is null or graded_number is distinct from grading then '-'
            when graded_fields::text <> fields::text then graded_fields::text end, e'\\x1f', sensitive_fields
        ) as looked_at from datasets where id = a.dataset_id
        union all
        select id, handler, tags, facts, concat(
          fields, e'\\x1f', case when graded_fields is null or graded_number is distinct from grading then '-'
            when graded_fields::text <> fields::text then graded_fields::text end, e'\\x1f', sensitive_fields
        ) as looked_at from datasets where key = a.dataset_key
      ) d on true
      left join lateral (
        select id, key, concat(facts, e'\\x1f', country, e'\\x1f', kind, e'\\x1f', key, e'\\x1f', name) as facts
        from recipients where id = a.recipient_id
        union all
        select id, key, concat(facts, e'\\x1f', country, e'\\x1f', kind, e'\\x1f', key, e'\\x1f', name)
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
    select f.n, f.dataset, f.handler, f.recipient, concat(y.facts, e'\\x1f', f.facts), f.looked_at,
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
               p.valid_from - date '0001-01-01', e'\\x1f', p.valid_until - date '0001-01-01', e'\\x1f',
               p.fields, e'\\x1f', p.systems, e'\\x1f', array_to_string(b.fields, e'\\x1e'), e'\\x1f',
               b.tags, e'\\x1f', b.facts, e'\\x1f', p.requirements, e'\\x1f', p.route, e'\\x1f', p.claims, e'\\x1f', f.recipient_key
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
"""
"""$1 to $6: of each ask the key's prefix, the dataset and the recipient (each as id or as key), and the permit, if only one matters;
one text each, with a unit separator between the asks, for the driver is slow at arrays. An empty one stands for nothing, and so does
a hyphen for a prefix; $7: the moment; none: the one at which the lock has been taken, by PostgreSQL's clock, and as far ahead of it as $9 says;
it is told with the first ask; $8: the day in Asia/Shanghai for which it is asked, in whose year the ledger is looked at; none: that of the
moment; $10: the lock that the session takes shared before anything is read, and has until it lets go of it; none where whoever asks has it in
its transaction.

What only the law looks at comes as one text, with a unit separator between its parts, none of which can hold one: the same text means the
same facts. So does what a permit says, its days as numbers from the first of the year 1 on: to the driver each column is work, and each
date and array more so. Fields come with those that the grading looked at (nothing where they are the same, a hyphen where nobody knows) and those
that it named as sensitive. Of a caller it tells with the first ask only. What belongs to a handler is joined on the caller's grants: where it
has none, the facts of the handler are missing, and so is everything else. A caller is looked up by the prefix of its key or, where its
token has been verified, by the id of its login in the prefix's place.

The plan is made once and must do for tables of any size: what is looked up is so in a subquery of its own (with a limit, or an offset
of nothing), which leaves no other way than one by one, by the index; `exists` would leave the one of reading a whole table first. Rows
come in no order that is promised: the service puts them in that of the asks, which is less work than it would be for PostgreSQL."""

KEEP: Final = """
    create function keep_graded_fields() returns trigger language plpgsql as $$
    begin
        new.graded_fields := new.fields;
        new.graded_number := new.grading;
        new.sensitive_fields := null;
        return new;
    end $$
"""
"""For whoever writes a grading without them: the version before, which knows nothing of them."""

FIELDS_AT: Final = """
    create function fields_at(of text, moment timestamptz) returns json language plpgsql stable as $$
    declare
        found record;
        told jsonb;
        sealed text;
    begin
        if exists (
            select from archives a join datasets d on d.id = of
            where a.month >= date_trunc('month', moment at time zone 'UTC')::date and d.updated_at > moment
        ) then
            return null;
        end if;
        for found in
            select seq, at, body::jsonb #> '{details,before}' as before from entries
            where subject = of and action = 'dataset.changed' and at > moment order by seq
        loop
            told := found.before;
            if told ? 'sealed' then
                select value::jsonb into told from openings o
                where o.seq = found.seq and o.at = found.at and o.pointer = '/details/before';
                if told is null then
                    return null;
                end if;
            end if;
            if not told ? 'fields' then
                continue;
            end if;
            if jsonb_typeof(told -> 'fields') = 'array' then
                return told -> 'fields';
            end if;
            select value into sealed from openings o
            where o.seq = found.seq and o.at = found.at and o.pointer = '/details/before/fields';
            return sealed::json;
        end loop;
        return (select fields from datasets where id = of);
    end $$
"""
"""The fields that a dataset had at a moment: what the first change of them since then says that they were before it. Null where that cannot
be known: its opening has been erased, or its month may have been moved to a file."""

FILL: Final = """
    create function fill_graded_fields(most integer) returns integer language plpgsql as $$
    declare
        filled integer;
        more integer;
    begin
        update gradings g set fields = coalesce(fields_at(g.dataset, g.graded_at), '[]')
        where g.id in (
            select id from gradings where fields is null and state in ('effective', 'pending') limit most for no key update skip locked
        );
        get diagnostics filled = row_count;
        update datasets d set graded_fields = g.fields, graded_number = d.grading
        from gradings g
        where g.dataset = d.id and g.number = d.grading and g.fields is not null and d.id in (
            select id from datasets where grading is not null and graded_number is distinct from grading limit most
            for no key update skip locked
        );
        get diagnostics more = row_count;
        return greatest(filled, more);
    end $$
"""
"""Fills in what gradings from before looked at, so many at most; returns how many there were. What cannot be known is no field at all."""

ROWS: Final = 500
ID: Final = sa.String(29, collation="C")


def _fill_graded_fields(connection: sa.Connection, _after: str) -> str | None:
    return "" if connection.scalar(sa.text(f"select fill_graded_fields({ROWS})")) else None


FILLS = (_fill_graded_fields,)
"""Each fills some rows in, and returns None where there were none."""


def upgrade() -> None:
    for column in (sa.Column("fields", JSON()), sa.Column("sensitive_fields", JSON())):
        op.add_column("gradings", column)
    for column in (
        sa.Column("graded_fields", JSON()),
        sa.Column("graded_number", sa.Integer()),
        sa.Column("sensitive_fields", JSON()),
    ):
        op.add_column("datasets", column)
    op.create_table(
        "contradictions",
        sa.Column("dataset", ID, sa.ForeignKey("datasets.id", name="fk_contradictions_dataset"), nullable=False),
        sa.Column("grading", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("principal", ID, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("handler", ID, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "grading", "kind", "principal", "day", name="pk_contradictions"),
    )
    op.create_index("ix_contradictions_handler_at", "contradictions", ["handler", "at"])
    op.execute("grant select, insert on contradictions to outbound_app")
    op.execute("grant insert on contradictions to outbound_gate")
    op.execute("alter table contradictions enable row level security")
    within = "(select current_setting('outbound.handlers', true)) = '*'"
    within += " or handler = any ((select string_to_array(current_setting('outbound.handlers', true), ','))::text[])"
    op.execute(f"create policy app on contradictions for all to outbound_app using ({within})")
    op.execute("create policy gate_add on contradictions for insert to outbound_gate with check (true)")
    op.add_column("transfers", sa.Column("sensitive_left_out", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("grant update (sensitive_left_out) on transfers to outbound_app")
    op.execute(KEEP)
    op.execute("revoke all on function keep_graded_fields from public")
    op.execute("""
        create trigger datasets_keep_graded_fields before insert or update of grading on datasets for each row
        when (new.grading is not null and new.graded_number is distinct from new.grading) execute function keep_graded_fields()
    """)
    op.execute("grant update (graded_fields, graded_number, sensitive_fields) on datasets to outbound_app")
    op.execute("grant select (grading, graded_fields, graded_number, sensitive_fields) on datasets to outbound_gate")
    op.execute(FIELDS_AT)
    op.execute(FILL)
    for function in ("fields_at", "fill_graded_fields"):
        op.execute(f"revoke all on function {function} from public")
    op.execute(READ)
    op.execute("revoke all on function gate_read_2 from public")
    op.execute("grant execute on function gate_read_2 to outbound_app, outbound_gate")


def downgrade() -> None:
    for function in ("gate_read_2", "fill_graded_fields", "fields_at"):
        op.execute(f"drop function {function}")
    op.execute("revoke select (grading) on datasets from outbound_gate")
    op.execute("drop trigger datasets_keep_graded_fields on datasets")
    op.execute("drop function keep_graded_fields")
    for column in ("graded_fields", "graded_number", "sensitive_fields"):
        op.drop_column("datasets", column)
    op.drop_table("contradictions")
    op.drop_column("transfers", "sensitive_left_out")
    for column in ("fields", "sensitive_fields"):
        op.drop_column("gradings", column)
