"""What opens the sealed values of entries; it may be erased, and is never changed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "openings",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "pointer", name=op.f("pk_openings")),
    )
    op.execute("""
        create trigger openings_keep_rows before update on openings
        for each row execute function refuse_change()
    """)
    op.execute("""
        create trigger openings_keep_table before truncate on openings
        for each statement execute function refuse_change()
    """)


def downgrade() -> None:
    op.drop_table("openings")
