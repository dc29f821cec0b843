"""The datasets of a handler in the order of their ids, so that a search walks them page by page however many there are."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_datasets_handler_datasets_id"), "datasets", ["handler", "id"], unique=False)
    op.drop_index(op.f("ix_datasets_handler"), table_name="datasets")


def downgrade() -> None:
    op.create_index(op.f("ix_datasets_handler"), "datasets", ["handler"], unique=False)
    op.drop_index(op.f("ix_datasets_handler_datasets_id"), table_name="datasets")
