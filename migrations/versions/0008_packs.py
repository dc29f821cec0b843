"""Evidence packs that were asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.String(29, collation="C")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "evidence_packs",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("handler", ID, nullable=False),
        sa.Column("since", sa.Date(), nullable=True),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("requested_by", ID, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.CheckConstraint("kind in ('permit', 'transfer', 'dataset', 'handler')", name=op.f("ck_evidence_packs_kind")),
        sa.CheckConstraint(
            "state in ('waiting', 'working', 'ready', 'failed', 'expired')", name=op.f("ck_evidence_packs_state")
        ),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_evidence_packs_handler")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence_packs")),
    )
    op.create_index(
        "ix_evidence_packs_open",
        "evidence_packs",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state in ('waiting', 'working', 'ready')"),
    )


def downgrade() -> None:
    op.drop_index("ix_evidence_packs_open", table_name="evidence_packs")
    op.drop_table("evidence_packs")
