"""A handler's group counts once others have agreed, and a paper is known by its kind, issuer and number.

Groups of today stand. Papers of before have no number of this form: they are compared by what their records say.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("handlers", sa.Column("confirmed_group", sa.Text()))
    op.execute('update handlers set confirmed_group = "group" where "group" is not null')
    op.execute("grant update (confirmed_group) on handlers to outbound_app")
    op.add_column("evidence", sa.Column("number", sa.Text()))
    op.create_index(
        "ix_evidence_number", "evidence", ["kind", "number"], postgresql_where=sa.text("number is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_evidence_number", "evidence")
    op.drop_column("evidence", "number")
    op.drop_column("handlers", "confirmed_group")
