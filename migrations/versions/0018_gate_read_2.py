"""A grading knows the fields that it looked at, the gate reads them, and what contradicts a grading is kept for the registrar.

The version before goes on beside this one: what it writes of a grading gets the fields of that moment by a trigger. Gradings from before
are filled in afterwards, a few at a time (`service.database.migrate.fill`), for this transaction must be short.
"""

from importlib.resources import files
from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

READ: Final = files("service.gate").joinpath("sql/gate_read_2.sql").read_text("utf-8")
"""Statement that creates `gate_read_2`; its file is never edited."""

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
