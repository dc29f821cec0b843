"""Who may do what, from when to when: grants with days and a second admin's confirmation."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.String(29, collation="C")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("grants", sa.Column("valid_from", sa.Date(), nullable=True))
    op.add_column("grants", sa.Column("valid_until", sa.Date(), nullable=True))
    op.add_column("grants", sa.Column("source", sa.Text(), nullable=False, server_default="admin"))
    op.add_column("grants", sa.Column("effective_at", MOMENT, nullable=True))
    op.add_column("grants", sa.Column("confirmed_by", ID, nullable=True))
    op.execute(
        "update grants set valid_from = (granted_at at time zone 'Asia/Shanghai')::date, effective_at = granted_at,"
        " source = case when granted_by = 'operator' then 'operator' else 'admin' end"
    )
    op.alter_column("grants", "valid_from", nullable=False)
    op.alter_column("grants", "source", server_default=None)
    op.create_check_constraint("source", "grants", "source in ('admin', 'operator', 'group')")
    op.create_check_constraint("days", "grants", "valid_until is null or valid_until >= valid_from")


def downgrade() -> None:
    op.drop_constraint("days", "grants")
    op.drop_constraint("source", "grants")
    for column in ("confirmed_by", "effective_at", "source", "valid_until", "valid_from"):
        op.drop_column("grants", column)
