"""The log: entries in a table for each month, their places in the tree, its tiles, and signed checkpoints.

Whoever draws a number for an entry has a transaction id before: that is how the sequencer knows when no smaller number can come any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = "seq, at, actor, action, subject, handler, body, sha256"
NUMBER = "case when pg_current_xact_id() is not null then nextval('entries_seq_seq') end"
KEPT = ("leaves", "checkpoints", "cosignatures")
"""Tables in which no row is ever changed or deleted."""


def upgrade() -> None:
    op.execute("alter table entries rename to entries_before")
    op.execute("alter sequence entries_seq_seq rename to entries_before_seq")
    op.execute("alter table entries_before drop constraint pk_entries")
    op.drop_index("ix_entries_handler_entries_seq", table_name="entries_before")
    op.drop_index("ix_entries_subject_entries_seq", table_name="entries_before")
    op.execute("create sequence entries_seq_seq as bigint")
    op.execute("select setval('entries_seq_seq', last_value, is_called) from entries_before_seq")
    op.create_table(
        "entries",
        sa.Column("seq", sa.BigInteger(), server_default=sa.text(NUMBER), nullable=False),
        *_columns(),
        sa.PrimaryKeyConstraint("seq", "at", name=op.f("pk_entries")),
        postgresql_partition_by="range (at)",
    )
    op.execute("alter sequence entries_seq_seq owned by entries.seq")
    op.create_index(op.f("ix_entries_handler_entries_seq"), "entries", ["handler", "seq"], unique=False)
    op.create_index(op.f("ix_entries_subject_entries_seq"), "entries", ["subject", "seq"], unique=False)
    _refuse_change("entries", "entries")
    op.execute("create table entries_default partition of entries default")
    _refuse_truncate("entries", "entries_default")
    # Tells whether there is such a month now; not, if the default partition holds entries of it.
    op.execute("""
        create function make_month_of_entries(wanted date) returns boolean language plpgsql as $$
        declare
            name text := 'entries_' || to_char(wanted, 'YYYY_MM');
            first timestamptz := date_trunc('month', wanted::timestamp) at time zone 'UTC';
            beyond timestamptz := (date_trunc('month', wanted::timestamp) + interval '1 month') at time zone 'UTC';
        begin
            if to_regclass(name) is not null then
                return true;
            end if;
            if exists (select from entries_default where at >= first and at < beyond) then
                return false;
            end if;
            execute format('create table %I (like entries including defaults)', name);
            execute format(
                'create trigger entries_keep_table before truncate on %I for each statement execute function refuse_change()',
                name
            );
            -- To attach a table asks for less than to make it as a partition: entries are written meanwhile.
            execute format('alter table entries attach partition %I for values from (%L) to (%L)', name, first, beyond);
            return true;
        end $$
    """)
    op.execute("""
        select make_month_of_entries(month) from (
            select distinct date_trunc('month', at at time zone 'UTC')::date from entries_before
            union select (date_trunc('month', now() at time zone 'UTC') + n * interval '1 month')::date
            from generate_series(0, 2) n
        ) months (month)
    """)
    op.execute(f"insert into entries ({COLUMNS}) select {COLUMNS} from entries_before order by seq")  # noqa: S608
    op.drop_table("entries_before")
    _add_tables()
    _protect_tables()


def _columns() -> list[sa.Column[object]]:
    """Return the columns of an entry but its number."""
    return [
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
    ]


def _add_tables() -> None:
    op.create_table(
        "leaves",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("leaf", name=op.f("pk_leaves")),
        sa.UniqueConstraint("seq", name=op.f("uq_leaves_seq")),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name=op.f("pk_log_tiles")),
    )
    # Hashes are as good as random: trying to compress them costs time and saves nothing.
    op.execute("alter table log_tiles alter column hashes set storage external")
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "log_keys",
        sa.Column("vkey", sa.Text(collation="C"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("vkey", name=op.f("pk_log_keys")),
    )
    op.create_table(
        "log_state",
        sa.Column("origin", sa.Text(collation="C"), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_log_state")),
    )
    op.execute("create unique index uq_log_state_one on log_state ((true))")
    op.create_table(
        "cosignatures",
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("witness", sa.Text(collation="C"), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["checkpoints.size"], name=op.f("fk_cosignatures_size")),
        sa.PrimaryKeyConstraint("size", "witness", "at", name=op.f("pk_cosignatures")),
    )
    op.create_table(
        "witness_reports",
        sa.Column("witness", sa.Text(collation="C"), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("witness", name=op.f("pk_witness_reports")),
    )
    op.create_index(op.f("ix_cosignatures_witness_cosignatures_at"), "cosignatures", ["witness", "at"], unique=False)


def _protect_tables() -> None:
    for table in KEPT:
        _refuse_change(table, table)
    op.execute("""
        create function refuse_change_of_tile() returns trigger language plpgsql as $$
        begin
            if tg_op = 'UPDATE' and (new.level, new.number) = (old.level, old.number)
                and substr(new.hashes, 1, length(old.hashes)) = old.hashes then
                return new;
            end if;
            raise exception 'tiles of the log only grow' using errcode = 'restrict_violation';
        end $$
    """)
    op.execute("""
        create function refuse_change_of_key() returns trigger language plpgsql as $$
        begin
            if tg_op = 'UPDATE' and (new.vkey, new.since) = (old.vkey, old.since) and old.until is null then
                return new;
            end if;
            raise exception 'keys of the log are kept; only their end is told, once' using errcode = 'restrict_violation';
        end $$
    """)
    for table, function in (("log_tiles", "refuse_change_of_tile"), ("log_keys", "refuse_change_of_key")):
        op.execute(f"""
            create trigger {table}_keep_rows before update or delete on {table}
            for each row execute function {function}()
        """)
        _refuse_truncate(table, table)


def _refuse_change(name: str, table: str) -> None:
    op.execute(f"""
        create trigger {name}_keep_rows before update or delete on {table}
        for each row execute function refuse_change()
    """)
    _refuse_truncate(name, table)


def _refuse_truncate(name: str, table: str) -> None:
    op.execute(f"""
        create trigger {name}_keep_table before truncate on {table}
        for each statement execute function refuse_change()
    """)


def downgrade() -> None:
    op.drop_table("witness_reports")
    op.drop_table("cosignatures")
    op.drop_table("log_state")
    op.drop_table("log_keys")
    op.drop_table("checkpoints")
    op.drop_table("log_tiles")
    op.drop_table("leaves")
    op.execute("drop function refuse_change_of_key()")
    op.execute("drop function refuse_change_of_tile()")
    op.execute("drop function make_month_of_entries(date)")
    op.execute("alter table entries rename to entries_by_month")
    op.execute("alter sequence entries_seq_seq rename to entries_by_month_seq")
    op.execute("alter table entries_by_month rename constraint pk_entries to pk_entries_by_month")
    op.execute("alter index ix_entries_handler_entries_seq rename to ix_entries_by_month_handler")
    op.execute("alter index ix_entries_subject_entries_seq rename to ix_entries_by_month_subject")
    op.create_table(
        "entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        *_columns(),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_entries")),
    )
    op.execute(f"""
        insert into entries ({COLUMNS}) overriding system value select {COLUMNS} from entries_by_month order by seq
    """)  # noqa: S608
    op.execute("select setval('entries_seq_seq', last_value, is_called) from entries_by_month_seq")
    op.drop_table("entries_by_month")
    op.create_index(op.f("ix_entries_handler_entries_seq"), "entries", ["handler", "seq"], unique=False)
    op.create_index(op.f("ix_entries_subject_entries_seq"), "entries", ["subject", "seq"], unique=False)
    _refuse_change("entries", "entries")
