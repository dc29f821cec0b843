"""Facts that free wait for a second person, and permits keep the facts that they were approved on.

Only new columns with constant defaults and a new table: no table is written anew, and the version before goes on beside it.
"""

import hashlib
import json
from datetime import UTC, datetime

import rfc8785
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from service.registry.folding import folded_key

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

THINGS = ("handlers", "datasets", "recipients")
HANDLERS = "(select string_to_array(current_setting('outbound.handlers', true), ','))::text[]"
ALL = "(select current_setting('outbound.handlers', true)) = '*'"
TAGS = ("core", "important", "personal", "sensitive")
BATCH = 1000
ACTOR = "operator"
SETTLED = ("state", "settled_by", "settled_at", "settled_persons", "reason")


def upgrade() -> None:
    for table in THINGS:
        op.add_column(table, sa.Column("pending_facts", JSON, nullable=False, server_default=sa.text("'{}'")))
        op.execute(f"grant update (pending_facts) on {table} to outbound_app")
    op.create_table(
        "fact_changes",
        sa.Column("id", sa.String(29, collation="C"), primary_key=True),
        sa.Column("subject", sa.String(29, collation="C"), nullable=False),
        sa.Column("handler", sa.String(29, collation="C"), sa.ForeignKey("handlers.id")),
        sa.Column("fact", sa.Text, nullable=False),
        sa.Column("before", JSON, nullable=False),
        sa.Column("after", JSON, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked_by", sa.String(29, collation="C"), nullable=False),
        sa.Column("askers", ARRAY(sa.String(29, collation="C")), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_by", sa.String(29, collation="C")),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("settled_persons", ARRAY(sa.String(29, collation="C"))),
        sa.Column("reason", sa.Text),
        sa.Column("stated_reason", sa.Text),
    )
    op.create_index("ix_fact_changes_subject", "fact_changes", ["subject"])
    op.create_index("ix_fact_changes_handler", "fact_changes", ["handler"])
    op.create_index(
        "uq_fact_changes_pending",
        "fact_changes",
        ["subject", "fact"],
        unique=True,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.execute("grant select, insert on fact_changes to outbound_app")
    op.execute(f"grant update ({', '.join(SETTLED)}) on fact_changes to outbound_app")
    op.execute("alter table fact_changes enable row level security")
    op.execute(
        f"create policy app on fact_changes for all to outbound_app using ({ALL} or handler is null or handler = any ({HANDLERS}))"
    )
    op.add_column("permit_datasets", sa.Column("facts", JSON))
    op.execute("grant select (facts) on permit_datasets to outbound_gate")
    op.execute("grant select (name) on recipients to outbound_gate")
    _bind_permits()
    _add_spellings()


def _add_spellings() -> None:
    """Add the folded keys, and fold those that are there."""
    for table in THINGS:
        op.add_column(table, sa.Column("folded_key", sa.Text(collation="C")))
        op.add_column(table, sa.Column("twin_number", sa.SmallInteger, nullable=False, server_default=sa.text("0")))
    for column in ("twins", "distinct_from"):
        kind = ARRAY(sa.String(29, collation="C"))
        op.add_column("datasets", sa.Column(column, kind, nullable=False, server_default=sa.text("'{}'")))
    op.execute("grant update (twins, distinct_from) on datasets to outbound_app")
    for table in THINGS:
        op.execute(f"grant update (folded_key, twin_number) on {table} to outbound_app")
        whose = "handler, " if table == "datasets" else ""
        op.execute(f"create unique index uq_{table}_twins on {table} ({whose}folded_key, twin_number)")
    op.execute("create index ix_datasets_unfolded on datasets (handler) where folded_key is null")
    for table in THINGS:
        _fold(table)


def _fold(table: str) -> None:
    """Fold the keys that are there, some at a time, and let the stricter grading hold for those that are spellings of one key."""
    connection = op.get_bind()
    whose = "handler" if table == "datasets" else "''"
    seen: dict[tuple[str, str], list[str]] = {}
    last = ""
    while True:
        rows = connection.execute(
            sa.text(f"select id, {whose} as handler, key from {table} where id > :last order by id limit {BATCH}"),  # noqa: S608
            {"last": last},
        ).all()
        if not rows:
            break
        last = rows[-1].id
        filled = []
        for row in rows:
            twins = seen.setdefault((row.handler, folded_key(row.key)), [])
            filled.append({"id": row.id, "folded_key": folded_key(row.key), "twin_number": len(twins)})
            twins.append(row.id)
        connection.execute(
            sa.text(f"""
                update {table} set folded_key = f.folded_key, twin_number = f.twin_number
                from json_to_recordset(cast(:filled as json)) as f(id text, folded_key text, twin_number int)
                where {table}.id = f.id
            """),  # noqa: S608
            {"filled": json.dumps(filled, ensure_ascii=False)},
        )
    if table == "datasets":
        for (handler, _), twins in seen.items():
            if len(twins) > 1:
                _settle(handler, twins)


def _settle(handler: str, twins: list[str]) -> None:
    """Let the stricter grading hold for datasets that are spellings of one key, each with its entry."""
    connection = op.get_bind()
    query = sa.text("select id, tags from datasets where id = any (:twins) order by id for no key update")
    own = {row.id: row.tags for row in connection.execute(query, {"twins": twins})}
    joined = [tag for tag in TAGS if any(tag in (tags or ()) for tags in own.values())]
    at = datetime.now(UTC)
    for dataset, tags in own.items():
        others = [other for other in twins if other != dataset]
        held = None if tags is None else joined
        connection.execute(
            sa.text("update datasets set twins = :twins, tags = :tags, updated_at = :at where id = :id"),
            {"twins": others, "tags": held, "at": at, "id": dataset},
        )
        details = {"twins": others, "distinct_from": [], "tags": held}
        said = {"actor": ACTOR, "action": "dataset.twins_changed", "subject": dataset, "handler": handler}
        body = rfc8785.dumps(
            {"at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"), **said, "details": details}
        )
        connection.execute(
            sa.text(
                "insert into entries (at, actor, action, subject, handler, body, sha256)"
                " values (:at, :actor, :action, :subject, :handler, :body, :sha256)"
            ),
            {"at": at, **said, "body": body.decode(), "sha256": hashlib.sha256(body).digest()},
        )


def _bind_permits() -> None:
    """Bind the permits that may still be used to the facts that their approved revisions name, and to the recipients' names of today."""
    op.execute("""
        update permit_datasets b set facts = (one.content -> 'facts')::json
        from permits p
        join revisions r on r.transfer = p.transfer and r.hash = p.revision
        cross join lateral jsonb_array_elements(r.content::jsonb -> 'datasets') one (content)
        where b.permit = p.id and one.content ->> 'id' = b.dataset
          and p.status <> 'revoked' and p.valid_until >= current_date - 1
    """)
    op.execute("""
        update permits p set claims = (
          p.claims::jsonb || jsonb_build_object('handler', r.content::jsonb -> 'handler' -> 'facts', 'recipient_name', c.name)
        )::json
        from revisions r, recipients c
        where r.transfer = p.transfer and r.hash = p.revision and c.id = p.recipient
          and p.status <> 'revoked' and p.valid_until >= current_date - 1
    """)


def downgrade() -> None:
    op.execute("drop index ix_datasets_unfolded")
    for table in THINGS:
        op.execute(f"drop index uq_{table}_twins")
        op.drop_column(table, "folded_key")
        op.drop_column(table, "twin_number")
    op.drop_column("datasets", "twins")
    op.drop_column("datasets", "distinct_from")
    op.drop_column("permit_datasets", "facts")
    op.execute("revoke select (name) on recipients from outbound_gate")
    op.drop_table("fact_changes")
    for table in THINGS:
        op.drop_column(table, "pending_facts")
