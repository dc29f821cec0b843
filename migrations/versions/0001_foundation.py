"""The register, transfers, permits, the gate and the log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_entries")),
    )
    op.create_index(op.f("ix_entries_handler_entries_seq"), "entries", ["handler", "seq"], unique=False)
    op.create_index(op.f("ix_entries_subject_entries_seq"), "entries", ["subject", "seq"], unique=False)
    op.create_table(
        "handlers",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uscc", sa.Text(), nullable=True),
        sa.Column("group", sa.Text(), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handlers")),
        sa.UniqueConstraint("key", name=op.f("uq_handlers_key")),
        sa.UniqueConstraint("uscc", name=op.f("uq_handlers_uscc")),
    )
    op.create_table(
        "principals",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind in ('person', 'system')", name=op.f("ck_principals_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principals")),
        sa.UniqueConstraint("name", name=op.f("uq_principals_name")),
    )
    op.create_table(
        "recipients",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipients")),
        sa.UniqueConstraint("key", name=op.f("uq_recipients_key")),
    )
    op.create_index(op.f("ix_recipients_country"), "recipients", ["country"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("jwk", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "stored_answers",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("principal", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_stored_answers")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("principal", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name=op.f("fk_api_keys_principal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index(op.f("ix_api_keys_principal"), "api_keys", ["principal"], unique=False)
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("grading", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_datasets_handler")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("key", name=op.f("uq_datasets_key")),
    )
    op.create_index(op.f("ix_datasets_handler"), "datasets", ["handler"], unique=False)
    op.create_index(op.f("ix_datasets_tags"), "datasets", ["tags"], unique=False, postgresql_using="gin")
    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("principal", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("granted_by", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_grants_handler")),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name=op.f("fk_grants_principal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_principal"), "grants", ["principal"], unique=False)
    op.create_index(
        "uq_grants_role",
        "grants",
        ["principal", "role", sa.literal_column("coalesce(handler, '*')")],
        unique=True,
        postgresql_where=sa.text("withdrawn_at is null"),
    )
    op.create_table(
        "ledger_years",
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_ledger_years_handler")),
        sa.PrimaryKeyConstraint("handler", "year", name=op.f("pk_ledger_years")),
    )
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("datasets", sa.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("recipient", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("systems", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("necessity", sa.Text(), nullable=True),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("open_stage", sa.Text(), nullable=True),
        sa.Column("requester", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("authors", sa.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_transfers_handler")),
        sa.ForeignKeyConstraint(["recipient"], ["recipients.id"], name=op.f("fk_transfers_recipient")),
        sa.ForeignKeyConstraint(["requester"], ["principals.id"], name=op.f("fk_transfers_requester")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
    )
    op.create_index(op.f("ix_transfers_handler_transfers_id"), "transfers", ["handler", "id"], unique=False)
    op.create_index(
        "ix_transfers_queue",
        "transfers",
        ["open_stage", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'in_review'"),
    )
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("added_by", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_evidence_transfer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_transfer"), "evidence", ["transfer"], unique=False)
    op.create_table(
        "gradings",
        sa.Column("dataset", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("review_by", sa.Date(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("graded_by", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("graded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_by", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name=op.f("fk_gradings_dataset")),
        sa.PrimaryKeyConstraint("dataset", "number", name=op.f("pk_gradings")),
    )
    op.create_index(
        "uq_gradings_effective", "gradings", ["dataset"], unique=True, postgresql_where=sa.text("state = 'effective'")
    )
    op.create_index(
        "uq_gradings_pending", "gradings", ["dataset"], unique=True, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_table(
        "permits",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("recipient", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("systems", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.Column("sent_persons", sa.BigInteger(), nullable=False),
        sa.Column("sent_sensitive_persons", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("mechanism", sa.Text(), nullable=False),
        sa.Column("requirements", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("route", sa.Text(), nullable=True),
        sa.Column("claims", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("evidence", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("receipt_due_on", sa.Date(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_permits_handler")),
        sa.ForeignKeyConstraint(["recipient"], ["recipients.id"], name=op.f("fk_permits_recipient")),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_permits_transfer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permits")),
        sa.UniqueConstraint("transfer", name=op.f("uq_permits_transfer")),
    )
    op.create_index(op.f("ix_permits_handler_permits_id"), "permits", ["handler", "id"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["reviewer"], ["principals.id"], name=op.f("fk_reviews_reviewer")),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_reviews_transfer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_transfer"), "reviews", ["transfer"], unique=False)
    op.create_index("uq_reviews_stage", "reviews", ["transfer", "revision", "stage"], unique=True)
    op.create_table(
        "revisions",
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("determination", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("ledger", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("submitted_by", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_revisions_transfer")),
        sa.PrimaryKeyConstraint("transfer", "number", name=op.f("pk_revisions")),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("evaluation", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("dataset", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("recipient", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("permit", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("system", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("year", sa.SmallInteger(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("persons", sa.BigInteger(), nullable=False),
        sa.Column("sensitive_persons", sa.BigInteger(), nullable=False),
        sa.Column("sent_persons", sa.BigInteger(), nullable=True),
        sa.Column("sent_sensitive_persons", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name=op.f("fk_exports_dataset")),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_exports_handler")),
        sa.ForeignKeyConstraint(["permit"], ["permits.id"], name=op.f("fk_exports_permit")),
        sa.ForeignKeyConstraint(["recipient"], ["recipients.id"], name=op.f("fk_exports_recipient")),
        sa.ForeignKeyConstraint(["system"], ["principals.id"], name=op.f("fk_exports_system")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index("ix_exports_handler", "exports", ["handler", "id"], unique=False)
    op.create_index(
        "ix_exports_live_handler",
        "exports",
        ["handler", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'reserved'"),
    )
    op.create_index(
        "ix_exports_live_permit",
        "exports",
        ["permit", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'reserved'"),
    )
    op.create_index("ix_exports_permit", "exports", ["permit", "id"], unique=False)
    op.create_table(
        "permit_datasets",
        sa.Column("permit", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("dataset", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("recipient", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("grading", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.id"], name=op.f("fk_permit_datasets_dataset")),
        sa.ForeignKeyConstraint(["permit"], ["permits.id"], name=op.f("fk_permit_datasets_permit")),
        sa.PrimaryKeyConstraint("permit", "dataset", name=op.f("pk_permit_datasets")),
    )
    op.create_index(
        op.f("ix_permit_datasets_dataset_permit_datasets_recipient"),
        "permit_datasets",
        ["dataset", "recipient"],
        unique=False,
    )
    op.create_table(
        "stages",
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transfer", "revision"], ["revisions.transfer", "revisions.number"], name=op.f("fk_stages_transfer")
        ),
        sa.PrimaryKeyConstraint("transfer", "revision", "place", name=op.f("pk_stages")),
    )
    # The log is append-only for everybody who does not own the table.
    op.execute("""
        create function refuse_change() returns trigger language plpgsql as $$
        begin
            raise exception 'audit entries are append-only' using errcode = 'restrict_violation';
        end $$
    """)
    op.execute("""
        create trigger entries_keep_rows before update or delete on entries
        for each row execute function refuse_change()
    """)
    op.execute("""
        create trigger entries_keep_table before truncate on entries
        for each statement execute function refuse_change()
    """)


def downgrade() -> None:
    op.drop_table("stages")
    op.drop_index(op.f("ix_permit_datasets_dataset_permit_datasets_recipient"), table_name="permit_datasets")
    op.drop_table("permit_datasets")
    op.drop_index("ix_exports_permit", table_name="exports")
    op.drop_index("ix_exports_live_permit", table_name="exports", postgresql_where=sa.text("status = 'reserved'"))
    op.drop_index("ix_exports_live_handler", table_name="exports", postgresql_where=sa.text("status = 'reserved'"))
    op.drop_index("ix_exports_handler", table_name="exports")
    op.drop_table("exports")
    op.drop_table("revisions")
    op.drop_index("uq_reviews_stage", table_name="reviews")
    op.drop_index(op.f("ix_reviews_transfer"), table_name="reviews")
    op.drop_table("reviews")
    op.drop_index(op.f("ix_permits_handler_permits_id"), table_name="permits")
    op.drop_table("permits")
    op.drop_index("uq_gradings_pending", table_name="gradings", postgresql_where=sa.text("state = 'pending'"))
    op.drop_index("uq_gradings_effective", table_name="gradings", postgresql_where=sa.text("state = 'effective'"))
    op.drop_table("gradings")
    op.drop_index(op.f("ix_evidence_transfer"), table_name="evidence")
    op.drop_table("evidence")
    op.drop_index("ix_transfers_queue", table_name="transfers", postgresql_where=sa.text("status = 'in_review'"))
    op.drop_index(op.f("ix_transfers_handler_transfers_id"), table_name="transfers")
    op.drop_table("transfers")
    op.drop_table("ledger_years")
    op.drop_index("uq_grants_role", table_name="grants", postgresql_where=sa.text("withdrawn_at is null"))
    op.drop_index(op.f("ix_grants_principal"), table_name="grants")
    op.drop_table("grants")
    op.drop_index(op.f("ix_datasets_tags"), table_name="datasets", postgresql_using="gin")
    op.drop_index(op.f("ix_datasets_handler"), table_name="datasets")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_api_keys_principal"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("stored_answers")
    op.drop_table("signing_keys")
    op.drop_index(op.f("ix_recipients_country"), table_name="recipients")
    op.drop_table("recipients")
    op.drop_table("principals")
    op.drop_table("handlers")
    op.drop_index(op.f("ix_entries_subject_entries_seq"), table_name="entries")
    op.drop_index(op.f("ix_entries_handler_entries_seq"), table_name="entries")
    op.drop_table("entries")
    op.execute("drop function refuse_change()")
