"""What opens the sealed values of entries, and which months of entries have been moved to files.

Downgraded, what was sealed stays sealed for good, and what was moved stays moved.
"""

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
    op.create_table(
        "archives",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("first_leaf", sa.BigInteger(), nullable=False),
        sa.Column("last_leaf", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_archives")),
    )
    op.create_table(
        "archived_acts",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=29, collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_archived_acts")),
    )
    op.create_index(
        op.f("ix_archived_acts_subject_archived_acts_seq"), "archived_acts", ["subject", "seq"], unique=False
    )
    for table in ("archives", "archived_acts"):
        op.execute(f"""
            create trigger {table}_keep_rows before update or delete on {table}
            for each row execute function refuse_change()
        """)
        op.execute(f"""
            create trigger {table}_keep_table before truncate on {table}
            for each statement execute function refuse_change()
        """)


def downgrade() -> None:
    op.drop_table("archived_acts")
    op.drop_table("archives")
    op.drop_table("openings")
