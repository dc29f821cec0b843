"""Facts that free wait for a second person, and permits keep the facts that they were approved on.

Only new columns with constant defaults and a new table: no table is written anew, and the version before goes on beside it. What rows of
before have in these columns is filled in afterwards, some rows a transaction (`FILLS`).
"""

import hashlib
import json
from datetime import UTC, datetime
from functools import partial

import rfc8785
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from service.registry.key_normalization import folded_key

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
    _add_spellings()


def _add_spellings() -> None:
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


def _fold(connection: sa.Connection, after: str, table: str) -> str | None:
    """Fold keys that are there, and let the stricter grading hold for those that are spellings of one key."""
    whose = "handler" if table == "datasets" else "''"
    rows = connection.execute(
        sa.text(
            f"select id, {whose} as handler, key from {table} where folded_key is null and id > :after order by id"  # noqa: S608
            f" limit {BATCH} for no key update"
        ),
        {"after": after},
    ).all()
    if not rows:
        return None
    folded = {row.id: (row.handler, folded_key(row.key)) for row in rows}
    taken = connection.execute(
        sa.text(f"""
            select {whose} as handler, folded_key, max(twin_number) as last from {table}
            where folded_key = any (:folded) group by 1, 2
        """),  # noqa: S608
        {"folded": sorted({key for _, key in folded.values()})},
    )
    last = {(row.handler, row.folded_key): row.last for row in taken}
    filled = []
    for row in rows:
        place = folded[row.id]
        last[place] = last.get(place, -1) + 1
        filled.append({"id": row.id, "folded_key": place[1], "twin_number": last[place]})
    connection.execute(
        sa.text(f"""
            update {table} set folded_key = f.folded_key, twin_number = f.twin_number
            from json_to_recordset(cast(:filled as json)) as f(id text, folded_key text, twin_number int)
            where {table}.id = f.id
        """),  # noqa: S608
        {"filled": json.dumps(filled, ensure_ascii=False)},
    )
    if table == "datasets":
        for place in sorted(set(folded.values())):
            if last[place]:
                _settle(connection, *place)
    return str(rows[-1].id)


def _settle(connection: sa.Connection, handler: str, folded: str) -> None:
    """Let the stricter grading hold for datasets that are spellings of one key, each with its entry."""
    query = sa.text("""
        select d.id, d.tags, d.twins, d.distinct_from, g.tags as own from datasets d
        left join gradings g on g.dataset = d.id and g.state = 'effective'
        where d.handler = :handler and d.folded_key = :folded order by d.id for no key update of d
    """)
    rows = connection.execute(query, {"handler": handler, "folded": folded}).all()
    at = datetime.now(UTC)
    for row in rows:
        twins = [other for other in rows if other.id != row.id and other.id not in row.distinct_from]
        others = [other.id for other in twins]
        joined = [tag for tag in TAGS if any(tag in (one.own or ()) for one in (row, *twins))]
        held = None if row.own is None else joined
        if (row.twins, row.tags) == (others, held):
            continue
        connection.execute(
            sa.text("update datasets set twins = :twins, tags = :tags, updated_at = :at where id = :id"),
            {"twins": others, "tags": held, "at": at, "id": row.id},
        )
        details = {"twins": others, "distinct_from": row.distinct_from, "tags": held}
        said = {"actor": ACTOR, "action": "dataset.twins_changed", "subject": row.id, "handler": handler}
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


def _bind_permits(connection: sa.Connection, after: str) -> str | None:
    """Bind permits that may still be used to the facts that their approved revisions name, and to the recipients' names of today."""
    permits = connection.scalars(
        sa.text(f"""
            select id from permits where id > :after and status <> 'revoked' and valid_until >= current_date - 1
              and not claims::jsonb ? 'recipient_name'
            order by id limit {BATCH} for no key update
        """),  # noqa: S608
        {"after": after},
    ).all()
    if not permits:
        return None
    connection.execute(
        sa.text("""
            update permit_datasets b set facts = (one.content -> 'facts')::json
            from permits p
            join revisions r on r.transfer = p.transfer and r.hash = p.revision
            cross join lateral jsonb_array_elements(r.content::jsonb -> 'datasets') one (content)
            where b.permit = p.id and one.content ->> 'id' = b.dataset and p.id = any (:permits)
        """),
        {"permits": permits},
    )
    connection.execute(
        sa.text("""
            update permits p set claims = (
              p.claims::jsonb || jsonb_build_object('handler', r.content::jsonb -> 'handler' -> 'facts', 'recipient_name', c.name)
            )::json
            from revisions r, recipients c
            where r.transfer = p.transfer and r.hash = p.revision and c.id = p.recipient and p.id = any (:permits)
        """),
        {"permits": permits},
    )
    return str(permits[-1])


FILLS = (_bind_permits, *(partial(_fold, table=table) for table in THINGS))
"""Each fills some rows in after the id that it is given, and returns the last one; None: there were none."""


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
