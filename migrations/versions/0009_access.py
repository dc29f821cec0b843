"""Who may do what, from when to when: grants with days and a second admin's confirmation, break-glass access, one name a principal."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.String(29, collation="C")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _grants()
    _keys_and_delegations()
    _names()
    op.create_table(
        "break_glass",
        sa.Column("id", ID, nullable=False),
        sa.Column("principal", ID, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("handler", ID, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("closed_by", ID, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass")),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name=op.f("fk_break_glass_principal")),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_break_glass_handler")),
        sa.CheckConstraint("role in ('auditor', 'stop')", name=op.f("ck_break_glass_role")),
        sa.CheckConstraint("ends_at > opened_at", name=op.f("ck_break_glass_hours")),
    )
    op.create_index("ix_break_glass_principal", "break_glass", ["principal"])


def _grants() -> None:
    op.add_column("grants", sa.Column("valid_from", sa.Date(), nullable=True))
    op.add_column("grants", sa.Column("valid_until", sa.Date(), nullable=True))
    op.add_column("grants", sa.Column("source", sa.Text(), nullable=False, server_default="admin"))
    op.add_column("grants", sa.Column("effective_at", MOMENT, nullable=True))
    op.add_column("grants", sa.Column("confirmed_by", ID, nullable=True))
    op.add_column("grants", sa.Column("askers", sa.ARRAY(ID), nullable=False, server_default="{}"))
    op.execute(
        "update grants set valid_from = (granted_at at time zone 'Asia/Shanghai')::date, effective_at = granted_at,"
        " source = case when granted_by = 'operator' then 'operator' else 'admin' end, askers = array[granted_by]"
    )
    op.alter_column("grants", "valid_from", nullable=False)
    for column in ("source", "askers"):
        op.alter_column("grants", column, server_default=None)
    op.create_check_constraint(op.f("ck_grants_source"), "grants", "source in ('admin', 'operator', 'group')")
    op.create_check_constraint(op.f("ck_grants_days"), "grants", "valid_until is null or valid_until >= valid_from")


def _keys_and_delegations() -> None:
    """Who had made a key was not kept: nobody is held to have seen those of before."""
    op.add_column("api_keys", sa.Column("seen_by", sa.ARRAY(ID), nullable=False, server_default="{}"))
    op.alter_column("api_keys", "seen_by", server_default=None)
    op.add_column("delegations", sa.Column("askers", sa.ARRAY(ID), nullable=False, server_default="{}"))
    op.alter_column("delegations", "askers", server_default=None)
    op.add_column("delegations", sa.Column("effective_at", MOMENT, nullable=True))
    op.add_column("delegations", sa.Column("confirmed_by", ID, nullable=True))
    op.execute("update delegations set effective_at = made_at, askers = array[made_by]")


def _names() -> None:
    """Fold the names; of several that fold to the same the first keeps it, the others are told apart by their ids."""
    op.add_column("principals", sa.Column("folded", sa.Text(), nullable=True))
    principals = sa.table("principals", sa.column("id"), sa.column("name"), sa.column("folded"))
    seen: set[str] = set()
    for ident, name in (
        op.get_bind().execute(sa.select(principals.c.id, principals.c.name).order_by(principals.c.id)).all()
    ):
        plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        folded = " ".join(plain.split())
        folded = f"{folded} {ident}" if folded in seen else folded
        seen.add(folded)
        op.execute(principals.update().where(principals.c.id == ident).values(folded=folded))
    op.alter_column("principals", "folded", nullable=False)
    op.drop_constraint("uq_principals_name", "principals")
    op.create_unique_constraint("uq_principals_name", "principals", ["folded"])
    op.create_index("ix_principals_name", "principals", ["name"])


def downgrade() -> None:
    # The earlier version knows neither days nor confirmations: what does not stand now must not come to stand by going back.
    op.execute(
        "update grants set withdrawn_at = now() where withdrawn_at is null and (effective_at is null"
        " or (now() at time zone 'Asia/Shanghai')::date not between valid_from and coalesce(valid_until, 'infinity'))"
    )
    op.execute("update delegations set ended_at = now() where ended_at is null and effective_at is null")
    op.drop_table("break_glass")
    op.drop_index("ix_principals_name", "principals")
    op.drop_constraint("uq_principals_name", "principals")
    op.create_unique_constraint("uq_principals_name", "principals", ["name"])
    op.drop_column("principals", "folded")
    for column in ("confirmed_by", "effective_at", "askers"):
        op.drop_column("delegations", column)
    op.drop_column("api_keys", "seen_by")
    op.drop_constraint(op.f("ck_grants_days"), "grants")
    op.drop_constraint(op.f("ck_grants_source"), "grants")
    for column in ("askers", "confirmed_by", "effective_at", "source", "valid_until", "valid_from"):
        op.drop_column("grants", column)
