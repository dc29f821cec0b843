"""Persons by hash: sketches of exports, permits and years, plain sums beside them, and the keys that hashes are made with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SUMS = ("plain_persons", "plain_sensitive_persons")


def upgrade() -> None:
    op.create_table(
        "sketches",
        sa.Column("owner", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lg_k", sa.SmallInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("estimate", sa.BigInteger(), nullable=False),
        sa.Column("lower", sa.BigInteger(), nullable=False),
        sa.Column("upper", sa.BigInteger(), nullable=False),
        sa.Column("at_most", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "kind", name=op.f("pk_sketches")),
    )
    # A sketch is as good as random: trying to compress it costs time and saves nothing.
    op.execute("alter table sketches alter column content set storage external")
    op.create_table(
        "person_keys",
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_person_keys_handler")),
        sa.PrimaryKeyConstraint("handler", name=op.f("pk_person_keys")),
    )
    for table in ("ledger_years", "permits"):
        for column in SUMS:
            op.add_column(table, sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    # Until now every report was a number.
    op.execute("update ledger_years set plain_persons = persons, plain_sensitive_persons = sensitive_persons")
    op.execute("update permits set plain_persons = sent_persons, plain_sensitive_persons = sent_sensitive_persons")


def downgrade() -> None:
    for table in ("permits", "ledger_years"):
        for column in SUMS:
            op.drop_column(table, column)
    op.drop_table("person_keys")
    op.drop_table("sketches")
