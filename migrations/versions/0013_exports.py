"""Exports refer to rows that cannot go, in place of asking for each of five rows whether it is there whenever one is written.

The gate has read all five in the transaction that writes the export. Two indexes go as well: what is reserved has been added up
elsewhere since 0004, and without them the end of an export changes no index.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

REFERENCES = {
    "dataset": "datasets",
    "handler": "handlers",
    "permit": "permits",
    "recipient": "recipients",
    "system": "principals",
}
LIVE = ("permit", "handler")


def upgrade() -> None:
    for column in REFERENCES:
        op.drop_constraint(f"fk_exports_{column}", "exports", type_="foreignkey")
    for column in LIVE:
        op.drop_index(f"ix_exports_live_{column}", table_name="exports")
    op.execute("""
        create function refuse_removal() returns trigger language plpgsql as $$
        begin
            raise exception 'a row of % stays, and keeps its id: exports may tell of it', tg_table_name using errcode = 'restrict_violation';
        end $$
    """)
    for table in REFERENCES.values():
        op.execute(f"""
            create trigger {table}_stay before delete on {table} for each row execute function refuse_removal()
        """)
        op.execute(f"""
            create trigger {table}_keep_id before update of id on {table} for each row
            when (old.id is distinct from new.id) execute function refuse_removal()
        """)
        op.execute(f"""
            create trigger {table}_keep_table before truncate on {table} for each statement execute function refuse_removal()
        """)


def downgrade() -> None:
    for table in REFERENCES.values():
        for name in ("stay", "keep_id", "keep_table"):
            op.execute(f"drop trigger {table}_{name} on {table}")
    op.execute("drop function refuse_removal()")
    for column in LIVE:
        op.create_index(
            f"ix_exports_live_{column}",
            "exports",
            [column, "expires_at"],
            postgresql_where=sa.text("status = 'reserved'"),
        )
    for column, table in REFERENCES.items():
        op.create_foreign_key(f"fk_exports_{column}", "exports", table, [column], ["id"])
