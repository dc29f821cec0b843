"""What acts write is said by their entries: the secret of which the salts of columns are made, and numbers of events before they are told.

What the tables held before is said by a baseline, which `outbound migrate` writes afterwards, some rows at a time (`service/audit/baseline.py`).
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # It has stayed if this was taken back before: what entries say can be compared with it alone.
    op.execute("create table if not exists column_key (one boolean default true not null, key bytea not null)")
    op.execute("""
        do $$ begin
            alter table column_key add constraint pk_column_key primary key (one), add constraint ck_column_key_one check (one);
        exception when invalid_table_definition or duplicate_object or duplicate_table then null;
        end $$
    """)
    op.execute(
        sa.text("insert into column_key (key) values (:key) on conflict do nothing").bindparams(
            key=secrets.token_bytes(32)
        )
    )
    op.execute("grant select on column_key to outbound_app")
    op.execute("grant usage on sequence events_seq_seq to outbound_app")


def downgrade() -> None:
    op.execute("revoke usage on sequence events_seq_seq from outbound_app")
    op.execute("revoke select on column_key from outbound_app")
