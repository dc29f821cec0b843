"""What the gate reads for each question as text is kept as text, and papers that have ended have an index of their own.

PostgreSQL made the text of `jsonb` anew for each question, which was a seventh of its work on them; and it looked at every paper of a
permit, of which hardly one has ended. The tables are written anew once, and the gate waits for that.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TEXTS = {
    "handlers": ("facts",),
    "datasets": ("fields", "facts"),
    "recipients": ("facts",),
    "permits": ("fields", "systems", "claims"),
}


def upgrade() -> None:
    _become("json")
    op.create_index("ix_evidence_ended", "evidence", ["id"], postgresql_where=sa.text("ended_at is not null"))


def downgrade() -> None:
    op.drop_index("ix_evidence_ended", table_name="evidence")
    _become("jsonb")


def _become(kind: str) -> None:
    for table, columns in TEXTS.items():
        changes = ", ".join([f"alter column {column} type {kind} using {column}::{kind}" for column in columns])
        op.execute(f"alter table {table} {changes}")
