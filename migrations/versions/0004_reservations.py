"""What a decision looks up is found in few steps, however much there is.

Each reservation tells what it holds of its permit and of its year; what live ones hold is added up by the moment at which they lapse;
keys are compared byte by byte, as ids are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HELD = ("permit_persons", "permit_sensitive_persons", "year_persons", "year_sensitive_persons")
KEYS = (("handlers", "key"), ("datasets", "key"), ("recipients", "key"), ("api_keys", "prefix"))


def upgrade() -> None:
    for column in HELD:
        op.add_column("exports", sa.Column(column, sa.BigInteger(), nullable=True))
    # Until now every reservation held all its persons.
    op.execute("""
        update exports set permit_persons = persons, permit_sensitive_persons = sensitive_persons,
                           year_persons = persons, year_sensitive_persons = sensitive_persons
    """)
    for column in HELD:
        op.alter_column("exports", column, nullable=False)
    for table, column in KEYS:
        op.execute(f'alter table {table} alter column {column} type text collate "C"')
    op.create_table(
        "held_by_permits",
        sa.Column("permit", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("permit", "expires_at", name=op.f("pk_held_by_permits")),
    )
    op.create_table(
        "held_in_years",
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("handler", "year", "expires_at", name=op.f("pk_held_in_years")),
    )
    op.execute("""
        insert into held_by_permits
        select permit, expires_at, sum(persons), sum(sensitive_persons) from exports
        where status = 'reserved' and permit is not null group by permit, expires_at
    """)
    op.execute("""
        insert into held_in_years
        select handler, year, expires_at, sum(persons), sum(sensitive_persons) from exports
        where status = 'reserved' and counts group by handler, year, expires_at
    """)


def downgrade() -> None:
    op.drop_table("held_in_years")
    op.drop_table("held_by_permits")
    for column in reversed(HELD):
        op.drop_column("exports", column)
    for table, column in KEYS:
        op.execute(f'alter table {table} alter column {column} type text collate "default"')
