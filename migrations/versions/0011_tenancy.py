"""Roles of the server processes, what each may do, and policies by which PostgreSQL itself keeps a caller to its handlers.

The roles belong to the whole server, and other databases on it may use them: they stay when this is taken back.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

APP, GATE, LOG = "outbound_app", "outbound_gate", "outbound_log"
ROLES = (APP, GATE, LOG)
ATTRIBUTES = "login nosuperuser nobypassrls nocreatedb nocreaterole noreplication"

# What the transaction has been told, evaluated once for a query.
ALL = "(select current_setting('outbound.handlers', true)) = '*'"
HANDLERS = "(select string_to_array(current_setting('outbound.handlers', true), ','))::text[]"
VIEWER = "(select current_setting('outbound.principal', true))"

OF_HANDLER = {
    "handlers": "id",
    "datasets": "handler",
    "transfers": "handler",
    "permits": "handler",
    "obligations": "handler",
    "exports": "handler",
    "ledger_years": "handler",
    "held_in_years": "handler",
    "person_keys": "handler",
    "evidence_packs": "handler",
    "findings": "handler",
}
"""Tables with a column that tells the handler."""

THROUGH = {
    "gradings": ("datasets", "id = gradings.dataset"),
    "permit_datasets": ("permits", "id = permit_datasets.permit"),
    "held_by_permits": ("permits", "id = held_by_permits.permit"),
    "archived_acts": ("permits", "id = archived_acts.subject"),
    **{
        table: ("transfers", f"id = {table}.transfer")
        for table in ("revisions", "stages", "reviews", "evidence", "comments", "recusals")
    },
    "openings": ("entries", "seq = openings.seq and e.at = openings.at"),
}
"""Tables whose rows belong to whom a row of another table does, which has a policy itself."""

SKETCHES = f"""case left(owner, 3)
    when 'hd_' then split_part(owner, '/', 1) = any ({HANDLERS})
    when 'ex_' then exists (select from exports e where e.id = sketches.owner)
    when 'pm_' then exists (select from permits p where p.id = sketches.owner)
    else false end"""  # noqa: S608 - nothing of it comes from elsewhere
ENTRIES = rf"handler = any ({HANDLERS}) or (handler is null and {VIEWER} <> '' and (subject like 'rc\_%' or actor = {VIEWER}))"
WHO = "body #>> '{who,id}'"
EVENTS = f"handler = any ({HANDLERS}) or {VIEWER} = any (audience) or (handler is null and {WHO} = {VIEWER})"

KEPT = {
    "id",
    "handler",
    "transfer",
    "permit",
    "dataset",
    "subject",
    "created_at",
    "issued_at",
    "requested_at",
    "requested_by",
}
"""Columns that say what a row is of: once written, they stay."""

APP_READS = ("archives", "archived_acts", "leaves", "log_tiles", "checkpoints", "log_keys", "log_state")
APP_ADDS = (
    "entries",
    "openings",
    "events",
    "revisions",
    "permit_datasets",
    "documents",
    "comments",
    "recusals",
    "person_keys",
    "signing_keys",
    "stored_answers",
    "cosignatures",
)
APP_CHANGES: Mapping[str, Sequence[str] | None] = {
    "principals": ["disabled_at"],
    "api_keys": ["revoked_at"],
    "grants": ["valid_until", "withdrawn_at", "effective_at", "confirmed_by"],
    "logins": ["seen_by", "told_at", "ended_at"],
    "sessions": ["seen_at", "ends_at", "ended_at", "how"],
    "session_tokens": ["used_at", "replaced_at"],
    "login_links": ["used_at"],
    "delegations": ["effective_at", "confirmed_by", "ended_at"],
    "break_glass": ["closed_at", "closed_by"],
    "gradings": ["state", "catalogue", "confirmed_by", "confirmed_reason", "effective_at", "ended_at"],
    "reviews": ["terms_accepted_by", "terms_accepted_at", "taken_back_at", "taken_back_by", "taken_back_reason"],
    "evidence": ["verified_by", "verified_at", "replaced_by", "ended_by", "ended_at", "ended_reason"],
    "findings": None,
    "handlers": None,
    "datasets": None,
    "recipients": None,
    "transfers": None,
    "stages": ["status", "opened_at", "assignee", "reminded_at", "escalated_at"],
    "permits": None,
    "obligations": None,
    "exports": ["status", "ended_at", "sent_persons", "sent_sensitive_persons"],
    "ledger_years": ["persons", "sensitive_persons", "plain_persons", "plain_sensitive_persons"],
    "held_by_permits": ["persons", "sensitive_persons"],
    "held_in_years": ["persons", "sensitive_persons"],
    "sketches": ["lg_k", "content", "estimate", "lower", "upper", "at_most"],
    "evidence_packs": None,
    "witness_reports": ["trouble", "detail", "since"],
}
"""Columns that may change; None: all but `KEPT`."""

GATE_READS = {
    "api_keys": "prefix, sha256, principal, revoked_at, expires_at",
    "principals": "id, name, kind, disabled_at",
    "logins": "id, principal, ended_at",
    "grants": "principal, role, handler, withdrawn_at, effective_at, valid_from, valid_until",
    "handlers": "id, facts",
    "datasets": "id, key, handler, tags, facts, fields",
    "recipients": "id, key, facts, country, kind",
    "obligations": "handler, permit, state, blocks, due_on, ended_at",
    "ledger_years": "handler, year, persons, sensitive_persons",
    "held_in_years": "handler, year, expires_at, persons, sensitive_persons",
    "held_by_permits": "permit, expires_at, persons, sensitive_persons",
    "permit_datasets": "permit, dataset, recipient, tags, fields",
    "permits": (
        "id, status, valid_from, valid_until, purpose, fields, systems, persons, sensitive_persons, sent_persons,"
        " sent_sensitive_persons, requirements, route, claims, evidence"
    ),
    "evidence": "id, ended_at",
    "sketches": "owner, kind, content, at_most",
    "entries": "seq, at, subject",
    "stored_answers": "digest, request, status, headers, body",
}
GATE_ADDS = {
    "entries": "at, actor, action, subject, handler, body, sha256",
    "openings": "seq, at, pointer, salt, value",
    "ledger_years": "handler, year, persons, sensitive_persons",
    "held_by_permits": "permit, expires_at, persons, sensitive_persons",
    "held_in_years": "handler, year, expires_at, persons, sensitive_persons",
    "exports": (
        "id, evaluation, handler, dataset, recipient, permit, system, purpose, fields, counts, persons, sensitive_persons,"
        " permit_persons, permit_sensitive_persons, year_persons, year_sensitive_persons, year, status, reserved_at, expires_at"
    ),
    "stored_answers": "digest, principal, request, at, status, headers, body",
}
GATE_COUNTS = ("held_by_permits", "held_in_years")
"""What reservations hold: added to in place."""
GATE_HOLDS = {"permits": "updated_at", "ledger_years": "year"}
"""Rows that are held (`for update`) while a reservation is decided: that takes the right to change a column, which a policy takes back."""

LOG_READS = {"entries": "seq, at, body", "entries_seq_seq": None}
LOG_ADDS = ("leaves", "checkpoints", "log_keys")
LOG_CHANGES = {"log_tiles": "hashes", "log_state": "watermark, size"}

POLICIES = [*OF_HANDLER, *THROUGH, "sketches", "entries", "events", "documents", "stored_answers"]


def upgrade() -> None:
    _make_roles()
    schema = op.get_bind().scalar(sa.text("select quote_ident(current_schema())"))
    database = op.get_bind().scalar(sa.text("select quote_ident(current_database())"))
    op.execute(f"revoke all on schema {schema} from public")
    op.execute(f"revoke temporary on database {database} from public")
    op.execute(f"revoke all on all tables in schema {schema} from public")
    op.execute(f"revoke all on all sequences in schema {schema} from public")
    op.execute(f"revoke all on all functions in schema {schema} from public")
    op.execute(f"grant connect on database {database} to {', '.join(ROLES)}")
    op.execute(f"grant usage on schema {schema} to {', '.join(ROLES)}")
    _grant_to_app()
    _grant_to_gate()
    _grant_to_log(schema)
    for table in POLICIES:
        op.execute(f"alter table {table} enable row level security")
    _keep_app()
    _keep_gate_and_log()


def _make_roles() -> None:
    """Make the roles that are missing, and let who migrates act as them, which server processes without logins of their own do."""
    connection = op.get_bind()
    may_make, is_super = connection.execute(
        sa.text("select rolcreaterole or rolsuper, rolsuper from pg_roles where rolname = current_user")
    ).one()
    known = set(
        connection.scalars(sa.text("select rolname from pg_roles where rolname = any (:roles)"), {"roles": [*ROLES]})
    )
    missing = [role for role in ROLES if role not in known]
    if missing and not may_make:
        statements = " ".join(f"CREATE ROLE {role} {ATTRIBUTES.upper()};" for role in missing)
        raise ValueError(
            "The roles of the server processes are missing, and the login that migrates may not make them. Have somebody who may "
            f"run this once for the whole server, then migrate again: {statements}"
        )
    for role in missing:
        # Another database of this server may be migrated at the same time.
        op.execute(f"""
            do $$ begin
                create role {role} {ATTRIBUTES};
            exception when duplicate_object or unique_violation then null;
            end $$
        """)
    for role in ROLES if not is_super else ():
        op.execute(f"""
            do $$ begin
                if not pg_has_role(current_user, '{role}', 'member') then
                    execute format('grant {role} to %I', current_user);
                end if;
            exception when insufficient_privilege then
                raise notice 'Server processes need logins of their own: % may not act as {role}.', current_user;
            end $$
        """)


def _grant_to_app() -> None:
    op.execute(f"grant select on {', '.join((*APP_READS, *APP_ADDS, *APP_CHANGES))} to {APP}")
    op.execute(f"grant insert on {', '.join((*APP_ADDS, *APP_CHANGES))} to {APP}")
    op.execute(f"grant usage on sequence entries_seq_seq to {APP}")
    for table, columns in APP_CHANGES.items():
        op.execute(f"grant update ({', '.join(columns or _changeable(table))}) on {table} to {APP}")


def _changeable(table: str) -> list[str]:
    columns = op.get_bind().scalars(
        sa.text(
            "select quote_ident(attname) from pg_attribute"
            " where attrelid = cast(:table as regclass) and attnum > 0 and not attisdropped and attname <> all (:kept)"
        ),
        {"table": table, "kept": [*KEPT]},
    )
    return [*columns]


def _grant_to_gate() -> None:
    for table, columns in GATE_READS.items():
        op.execute(f"grant select ({columns}) on {table} to {GATE}")
    for table, columns in GATE_ADDS.items():
        op.execute(f"grant insert ({columns}) on {table} to {GATE}")
    for table in GATE_COUNTS:
        op.execute(f"grant update (persons, sensitive_persons) on {table} to {GATE}")
    for table, column in GATE_HOLDS.items():
        op.execute(f"grant update ({column}) on {table} to {GATE}")
    op.execute(f"grant usage on sequence entries_seq_seq to {GATE}")


def _grant_to_log(schema: str) -> None:
    for table, columns in LOG_READS.items():
        op.execute(f"grant select {'' if columns is None else f'({columns})'} on {table} to {LOG}")
    op.execute(f"grant select, insert on {', '.join((*LOG_ADDS, *LOG_CHANGES))} to {LOG}")
    for table, columns in LOG_CHANGES.items():
        op.execute(f"grant update ({columns}) on {table} to {LOG}")
    # It makes tables beside those of its owner, for whoever leads: nothing but a month comes in.
    op.execute("alter function make_month_of_entries(date) security definer")
    op.execute(f"alter function make_month_of_entries(date) set search_path = {schema}, pg_temp")
    op.execute(f"grant execute on function make_month_of_entries(date) to {LOG}")


def _keep_app() -> None:
    """Keep the application to what its transaction has been told; told nothing, it sees nothing."""
    for table, column in OF_HANDLER.items():
        _policy("app", table, f"for all to {APP} using ({ALL} or {column} = any ({HANDLERS}))")
    for table, (parent, condition) in THROUGH.items():
        _policy("app", table, f"for all to {APP} using ({ALL} or exists (select from {parent} e where e.{condition}))")
    _policy("app", "sketches", f"for all to {APP} using ({ALL} or {SKETCHES})")
    _policy("app_read", "entries", f"for select to {APP} using ({ALL} or {ENTRIES})")
    by_viewer = f"actor = {VIEWER} and (handler is null or handler = any ({HANDLERS}))"
    _policy("app_add", "entries", f"for insert to {APP} with check ({ALL} or ({by_viewer}))")
    _policy("app_read", "events", f"for select to {APP} using ({ALL} or {EVENTS})")
    by_viewer = f"{WHO} = {VIEWER} and (handler is null or handler = any ({HANDLERS}))"
    _policy("app_add", "events", f"for insert to {APP} with check ({ALL} or ({by_viewer}))")
    # A file is kept once, whoever's records it serves: anybody may bring it, and only who has such a record reads it.
    named = "exists (select from evidence e where e.document = documents.sha256)"
    _policy("app_read", "documents", f"for select to {APP} using ({ALL} or {named})")
    _policy("app_add", "documents", f"for insert to {APP} with check (true)")
    _policy("app", "stored_answers", f"for all to {APP} using ({ALL} or principal = {VIEWER})")


def _keep_gate_and_log() -> None:
    """Let the gate and the log see the rows of everybody, as far as they see the columns: each batch serves many callers."""
    for table in POLICIES:
        if table in GATE_READS:
            _policy("gate_read", table, f"for select to {GATE} using (true)")
        if table in GATE_ADDS:
            _policy("gate_add", table, f"for insert to {GATE} with check (true)")
        if table in GATE_COUNTS:
            _policy("gate_count", table, f"for update to {GATE} using (true)")
        if table in GATE_HOLDS:
            _policy("gate_hold", table, f"for update to {GATE} using (true) with check (false)")
    _policy("log_read", "entries", f"for select to {LOG} using (true)")


def _policy(name: str, table: str, what: str) -> None:
    op.execute(f"create policy {name} on {table} {what}")


def downgrade() -> None:
    connection = op.get_bind()
    made = connection.execute(
        sa.text(
            "select quote_ident(policyname), quote_ident(tablename) from pg_policies where schemaname = current_schema()"
        )
    )
    for policy, table in made.all():
        op.execute(f"drop policy {policy} on {table}")
    for table in POLICIES:
        op.execute(f"alter table {table} disable row level security")
    op.execute("alter function make_month_of_entries(date) security invoker")
    op.execute("alter function make_month_of_entries(date) reset search_path")
    schema = connection.scalar(sa.text("select quote_ident(current_schema())"))
    database = connection.scalar(sa.text("select quote_ident(current_database())"))
    named = ", ".join(ROLES)
    for things in ("tables", "sequences", "functions"):
        op.execute(f"revoke all on all {things} in schema {schema} from {named}")
    # What was granted by column is not taken back with the table.
    for grant in connection.execute(
        sa.text(
            "select grantee, privilege_type, quote_ident(table_name), quote_ident(column_name) from information_schema.column_privileges"
            " where table_schema = current_schema() and grantee = any (:roles)"
        ),
        {"roles": [*ROLES]},
    ).all():
        op.execute(f"revoke {grant[1]} ({grant[3]}) on {grant[2]} from {grant[0]}")
    op.execute(f"revoke all on schema {schema} from {named}")
    op.execute(f"revoke connect on database {database} from {named}")
    op.execute(f"grant usage on schema {schema} to public")
    op.execute(f"grant temporary on database {database} to public")
    op.execute(f"grant execute on all functions in schema {schema} to public")
