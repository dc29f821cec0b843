"""A repeat is answered with the export as it is now, and is known by what it says; a report that came late is told from others.

Columns with a constant default are no new writing of a table. Answers that were stored before have no `content`: they go by their bytes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

APP, GATE = "outbound_app", "outbound_gate"
READ_OF_EXPORTS = (
    "id, permit, year, counts, permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons, status,"
    " expires_at"
)
"""What the gate looks at of an export whose key comes again."""


def upgrade() -> None:
    op.add_column("stored_answers", sa.Column("content", sa.LargeBinary(), nullable=True))
    op.execute(f"grant select (content), insert (content) on stored_answers to {GATE}")
    op.add_column("exports", sa.Column("late", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute(f"grant update (late) on exports to {APP}")
    op.execute(f"grant select ({READ_OF_EXPORTS}) on exports to {GATE}")
    op.execute(f"create policy gate_read on exports for select to {GATE} using (true)")
    op.add_column("findings", sa.Column("about", sa.Text(), server_default="structuring", nullable=False))
    op.execute(f"grant update (about) on findings to {APP}")


def downgrade() -> None:
    op.drop_column("findings", "about")
    op.execute("drop policy gate_read on exports")
    op.execute(f"revoke select ({READ_OF_EXPORTS}) on exports from {GATE}")  # noqa: S608 - no caller's text is in it  # nosec B608
    op.drop_column("exports", "late")
    op.drop_column("stored_answers", "content")
