"""How people come in: logins of an identity provider, the roles of their groups, sessions, one-time links."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ID = sa.String(29, collation="C")
MOMENT = sa.DateTime(timezone=True)
ROLE = ("principal", "role", sa.text("coalesce(handler, '*')"))
STANDS = sa.text("withdrawn_at is null")


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("id", ID, nullable=False),
        sa.Column("principal", ID, nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("made_by", ID, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("seen_by", sa.ARRAY(ID), nullable=False),
        sa.Column("told_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name="fk_logins_principal"),
        sa.PrimaryKeyConstraint("id", name="pk_logins"),
        sa.UniqueConstraint("subject", "issuer", name="uq_logins_subject_issuer"),
    )
    op.create_index("ix_logins_principal", "logins", ["principal"])
    op.add_column("grants", sa.Column("login", ID, nullable=True))
    op.create_foreign_key("fk_grants_login", "grants", "logins", ["login"], ["id"])
    op.create_check_constraint(op.f("ck_grants_login"), "grants", "(source = 'group') = (login is not null)")
    op.drop_index("uq_grants_role", "grants")
    op.create_index(
        "uq_grants_role", "grants", [*ROLE, sa.text("coalesce(login, '')")], unique=True, postgresql_where=STANDS
    )


def downgrade() -> None:
    # What groups had given goes: the older version would let it stand beside nobody's answer for it.
    op.execute("delete from grants where source = 'group'")
    op.drop_index("uq_grants_role", "grants")
    op.create_index("uq_grants_role", "grants", list(ROLE), unique=True, postgresql_where=STANDS)
    op.drop_constraint(op.f("ck_grants_login"), "grants")
    op.drop_constraint("fk_grants_login", "grants")
    op.drop_column("grants", "login")
    op.drop_table("logins")
