"""Every act keeps who could have made it, and a paper that a reviewer withdrew is replaced by one that was verified.

Null: made by a version that did not store it. Nothing is written anew: what was known then is found with the credentials.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SETS = {
    "gradings": ("graded_persons", "confirmed_persons"),
    "transfers": ("author_persons",),
    "reviews": ("persons", "terms_accepted_persons"),
    "evidence": ("added_persons", "verified_persons", "ended_persons"),
    "recusals": ("persons",),
    "findings": ("answered_persons",),
}
CHANGED = {
    "gradings": ("confirmed_persons",),
    "transfers": ("author_persons",),
    "reviews": ("terms_accepted_persons",),
    "evidence": ("verified_persons", "ended_persons", "is_distrusted"),
    "findings": ("answered_persons",),
}
"""What the service writes later than the row itself."""
APP = "outbound_app"


def upgrade() -> None:
    for table, columns in SETS.items():
        for column in columns:
            op.add_column(table, sa.Column(column, postgresql.ARRAY(sa.String(29, collation="C"))))
    op.add_column("evidence", sa.Column("replaces", sa.String(29, collation="C")))
    op.add_column("evidence", sa.Column("is_distrusted", sa.Boolean()))
    for table, columns in CHANGED.items():
        op.execute(f"grant update ({', '.join(columns)}) on {table} to {APP}")


def downgrade() -> None:
    op.drop_column("evidence", "is_distrusted")
    op.drop_column("evidence", "replaces")
    for table, columns in SETS.items():
        for column in columns:
            op.drop_column(table, column)
