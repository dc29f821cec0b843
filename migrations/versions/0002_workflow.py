"""The workflow: evidence files, conditions, duties, delegation, events, findings, dated gradings, renewal."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_documents")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("audience", postgresql.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_audience", "events", ["audience"], unique=False, postgresql_using="gin")
    op.create_index(op.f("ix_events_handler_events_seq"), "events", ["handler", "seq"], unique=False)
    op.create_index(op.f("ix_events_subject_events_seq"), "events", ["subject", "seq"], unique=False)
    op.create_table(
        "delegations",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("delegator", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("delegate", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["delegate"], ["principals.id"], name=op.f("fk_delegations_delegate")),
        sa.ForeignKeyConstraint(["delegator"], ["principals.id"], name=op.f("fk_delegations_delegator")),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_delegations_handler")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delegations")),
    )
    op.create_index(op.f("ix_delegations_delegate"), "delegations", ["delegate"], unique=False)
    op.create_index(op.f("ix_delegations_delegator"), "delegations", ["delegator"], unique=False)
    op.create_table(
        "obligations",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("permit", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("dataset", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("owner", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("due_note", sa.Text(), nullable=True),
        sa.Column("blocks", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("evidence", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("ended_by", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_obligations_handler")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_obligations")),
    )
    op.create_index(
        "ix_obligations_open_handler",
        "obligations",
        ["handler", "due_on"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_obligations_open_permit",
        "obligations",
        ["permit"],
        unique=False,
        postgresql_where=sa.text("state = 'open' and blocks"),
    )
    op.create_index("ix_obligations_transfer", "obligations", ["transfer"], unique=False)
    op.create_table(
        "comments",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("author", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("mentions", postgresql.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["author"], ["principals.id"], name=op.f("fk_comments_author")),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_comments_transfer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comments")),
    )
    op.create_index(op.f("ix_comments_transfer"), "comments", ["transfer"], unique=False)
    op.create_table(
        "findings",
        sa.Column("id", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("threshold", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("shared", sa.Text(), nullable=False),
        sa.Column("transfers", postgresql.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("handlers", postgresql.ARRAY(sa.String(length=29, collation="C")), nullable=False),
        sa.Column("exported", sa.BigInteger(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answer_reason", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.String(length=29, collation="C"), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["handler"], ["handlers.id"], name=op.f("fk_findings_handler")),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_findings_transfer")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    op.create_index(op.f("ix_findings_handler_findings_id"), "findings", ["handler", "id"], unique=False)
    op.create_index(op.f("ix_findings_transfer"), "findings", ["transfer"], unique=False)
    op.create_index(
        "uq_findings_open",
        "findings",
        ["transfer", "threshold"],
        unique=True,
        postgresql_where=sa.text("answered_at is null"),
    )
    op.create_table(
        "recusals",
        sa.Column("transfer", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("principal", sa.String(length=29, collation="C"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["principal"], ["principals.id"], name=op.f("fk_recusals_principal")),
        sa.ForeignKeyConstraint(["transfer"], ["transfers.id"], name=op.f("fk_recusals_transfer")),
        sa.PrimaryKeyConstraint("transfer", "principal", name=op.f("pk_recusals")),
    )
    op.add_column("datasets", sa.Column("scale", sa.BigInteger(), nullable=True))
    op.add_column("datasets", sa.Column("filed_scale", sa.BigInteger(), nullable=True))
    op.add_column("evidence", sa.Column("document", sa.LargeBinary(), nullable=True))
    op.add_column("evidence", sa.Column("file_name", sa.Text(), nullable=True))
    op.add_column("evidence", sa.Column("scope", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("evidence", sa.Column("reused_from", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("evidence", sa.Column("verified_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("evidence", sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("evidence", sa.Column("replaced_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("evidence", sa.Column("ended_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("evidence", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("evidence", sa.Column("ended_reason", sa.Text(), nullable=True))
    op.create_index(op.f("ix_evidence_document"), "evidence", ["document"], unique=False)
    op.create_foreign_key(op.f("fk_evidence_document"), "evidence", "documents", ["document"], ["sha256"])
    op.add_column("gradings", sa.Column("id", sa.String(length=29, collation="C"), nullable=True))
    op.execute("update gradings set id = 'gd_' || upper(substr(md5(dataset || number), 1, 26))")
    op.alter_column("gradings", "id", nullable=False)
    op.add_column("gradings", sa.Column("catalogue", sa.Text(), nullable=True))
    op.add_column("gradings", sa.Column("confirmed_reason", sa.Text(), nullable=True))
    op.add_column("gradings", sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(op.f("uq_gradings_id"), "gradings", ["id"])
    # A grading stood until the next effective one of its dataset.
    op.execute("""
        update gradings set ended_at = next.began from (
            select dataset, number,
                lead(coalesce(effective_at, graded_at)) over (partition by dataset order by coalesce(effective_at, graded_at), number)
                    as began
            from gradings
        ) as next
        where next.dataset = gradings.dataset and next.number = gradings.number and gradings.state = 'superseded'
    """)
    op.add_column(
        "permits",
        sa.Column(
            "conditions", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
    )
    op.add_column(
        "permit_datasets",
        sa.Column("fields", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.execute("""
        update permits set claims = claims || jsonb_build_object(
            'recipient',
            jsonb_build_object('country', approved.told -> 'country', 'kind', approved.told -> 'kind') || (approved.told -> 'facts')
        )
        from (select transfer, hash, content -> 'recipient' as told from revisions) as approved
        where approved.transfer = permits.transfer and approved.hash = permits.revision
    """)
    # What a dataset had when it was approved stands in the revision that the permit is of.
    op.execute("""
        update permit_datasets set fields = array(
            select distinct field ->> 'name' from permits
            join revisions on revisions.transfer = permits.transfer and revisions.hash = permits.revision
            cross join lateral jsonb_array_elements(revisions.content -> 'datasets') as approved
            cross join lateral jsonb_array_elements(approved -> 'fields') as field
            where permits.id = permit_datasets.permit and approved ->> 'id' = permit_datasets.dataset
            order by 1
        )
    """)
    op.add_column("permits", sa.Column("supersedes", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("permits", sa.Column("superseded_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("recipients", sa.Column("group", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("conditions", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("reviews", sa.Column("on_behalf_of", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("reviews", sa.Column("carried_from", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("reviews", sa.Column("terms_accepted_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("reviews", sa.Column("terms_accepted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reviews", sa.Column("taken_back_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reviews", sa.Column("taken_back_by", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("reviews", sa.Column("taken_back_reason", sa.Text(), nullable=True))
    op.add_column(
        "revisions",
        sa.Column(
            "gradings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
    )
    op.add_column("stages", sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("stages", sa.Column("assignee", sa.String(length=29, collation="C"), nullable=True))
    op.add_column("stages", sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("stages", sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("""
        update stages set opened_at = revisions.submitted_at from revisions
        where revisions.transfer = stages.transfer and revisions.number = stages.revision and stages.status = 'open'
    """)
    op.create_index(
        "ix_stages_open", "stages", ["name", "opened_at"], unique=False, postgresql_where=sa.text("status = 'open'")
    )
    op.add_column("transfers", sa.Column("renews", sa.String(length=29, collation="C"), nullable=True))
    op.create_index("ix_transfers_renews", "transfers", ["renews"], unique=False)
    op.create_foreign_key(op.f("fk_transfers_renews"), "transfers", "transfers", ["renews"], ["id"])
    op.drop_index("uq_reviews_stage", table_name="reviews")
    op.create_index(
        "uq_reviews_stage",
        "reviews",
        ["transfer", "revision", "stage"],
        unique=True,
        postgresql_where=sa.text("taken_back_at is null"),
    )
    # The receipt that permits waited for becomes a duty, settled where the receipt is there.
    op.execute("""
        insert into obligations (id, code, handler, transfer, permit, owner, due_on, blocks, state, evidence, ended_by, ended_at, created_at)
        select 'ob_' || upper(substr(md5(permits.id), 1, 26)), 'file_standard_contract', permits.handler, permits.transfer, permits.id,
            transfers.requester, permits.receipt_due_on, true,
            case when receipt.id is null then case permits.status when 'revoked' then 'void' else 'open' end else 'done' end,
            receipt.id, receipt.added_by, receipt.added_at, permits.issued_at
        from permits join transfers on transfers.id = permits.transfer
        left join lateral (
            select id, added_by, added_at from evidence
            where evidence.transfer = permits.transfer and evidence.kind = 'filing_receipt' order by id limit 1
        ) as receipt on true
        where permits.receipt_due_on is not null
    """)


def downgrade() -> None:
    op.drop_index("uq_reviews_stage", table_name="reviews")
    op.execute("delete from reviews where taken_back_at is not null")
    op.create_index("uq_reviews_stage", "reviews", ["transfer", "revision", "stage"], unique=True)
    op.drop_constraint(op.f("fk_transfers_renews"), "transfers", type_="foreignkey")
    op.drop_index("ix_transfers_renews", table_name="transfers")
    op.drop_column("transfers", "renews")
    op.drop_index("ix_stages_open", table_name="stages", postgresql_where=sa.text("status = 'open'"))
    op.drop_column("stages", "escalated_at")
    op.drop_column("stages", "reminded_at")
    op.drop_column("stages", "assignee")
    op.drop_column("stages", "opened_at")
    op.drop_column("revisions", "gradings")
    op.drop_column("reviews", "taken_back_reason")
    op.drop_column("reviews", "taken_back_by")
    op.drop_column("reviews", "taken_back_at")
    op.drop_column("reviews", "terms_accepted_at")
    op.drop_column("reviews", "terms_accepted_by")
    op.drop_column("reviews", "carried_from")
    op.drop_column("reviews", "on_behalf_of")
    op.drop_column("reviews", "conditions")
    op.drop_column("recipients", "group")
    op.drop_column("permits", "superseded_by")
    op.drop_column("permits", "supersedes")
    op.drop_column("permits", "conditions")
    op.drop_column("permit_datasets", "fields")
    op.execute("update permits set claims = claims - 'recipient' - 'papers'")
    op.drop_constraint(op.f("uq_gradings_id"), "gradings", type_="unique")
    op.drop_column("gradings", "ended_at")
    op.drop_column("gradings", "confirmed_reason")
    op.drop_column("gradings", "catalogue")
    op.drop_column("gradings", "id")
    op.drop_constraint(op.f("fk_evidence_document"), "evidence", type_="foreignkey")
    op.drop_index(op.f("ix_evidence_document"), table_name="evidence")
    op.drop_column("evidence", "ended_reason")
    op.drop_column("evidence", "ended_at")
    op.drop_column("evidence", "ended_by")
    op.drop_column("evidence", "replaced_by")
    op.drop_column("evidence", "verified_at")
    op.drop_column("evidence", "verified_by")
    op.drop_column("evidence", "reused_from")
    op.drop_column("evidence", "scope")
    op.drop_column("evidence", "file_name")
    op.drop_column("evidence", "document")
    op.drop_column("datasets", "filed_scale")
    op.drop_column("datasets", "scale")
    op.drop_table("recusals")
    op.drop_index("uq_findings_open", table_name="findings", postgresql_where=sa.text("answered_at is null"))
    op.drop_index(op.f("ix_findings_transfer"), table_name="findings")
    op.drop_index(op.f("ix_findings_handler_findings_id"), table_name="findings")
    op.drop_table("findings")
    op.drop_index(op.f("ix_comments_transfer"), table_name="comments")
    op.drop_table("comments")
    op.drop_index("ix_obligations_transfer", table_name="obligations")
    op.drop_index(
        "ix_obligations_open_permit", table_name="obligations", postgresql_where=sa.text("state = 'open' and blocks")
    )
    op.drop_index("ix_obligations_open_handler", table_name="obligations", postgresql_where=sa.text("state = 'open'"))
    op.drop_table("obligations")
    op.drop_index(op.f("ix_delegations_delegator"), table_name="delegations")
    op.drop_index(op.f("ix_delegations_delegate"), table_name="delegations")
    op.drop_table("delegations")
    op.drop_index(op.f("ix_events_subject_events_seq"), table_name="events")
    op.drop_index(op.f("ix_events_handler_events_seq"), table_name="events")
    op.drop_index("ix_events_audience", table_name="events", postgresql_using="gin")
    op.drop_table("events")
    op.drop_table("documents")
