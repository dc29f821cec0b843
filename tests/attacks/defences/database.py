"""Tenants in the database."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Text, one

MIGRATION: Final = "migrations/versions/0011_tenancy.py"
TENANCY: Final = "tests/api/test_tenancy.py::"

DEFENCES: Final = (
    Defence(
        "A146",
        "a policy keeps the application to the handlers of its view",
        (Text(MIGRATION, 'using ({ALL} or {column} = any ({HANDLERS}))")', 'using (true)")'),),
        TENANCY + "test_without_the_query_layer_the_policies_still_show_no_other_handler",
    ),
    one(
        "A147",
        "each query is kept within the view",
        "service/database/row_security.py",
        "_limit",
        "state.statement.options(…)",
        "",
        TENANCY + "test_without_policies_the_query_layer_still_shows_no_other_handler",
    ),
    Defence(
        "A148",
        "the application's role makes no roles",
        (Text(MIGRATION, "nocreatedb nocreaterole noreplication", "nocreatedb createrole noreplication"),),
        TENANCY + "test_no_way_leads_out_of_the_application_s_role",
    ),
    Defence(
        "A149",
        "a policy looks at what is added as well",
        (
            Text(
                MIGRATION,
                'using ({ALL} or {column} = any ({HANDLERS}))")',
                'using ({ALL} or {column} = any ({HANDLERS})) with check (true)")',
            ),
        ),
        TENANCY + "test_a_transaction_adds_no_row_to_another_handler",
    ),
    Defence(
        "A150",
        "rows that belong to a handler through another row are under a policy too",
        (Text(MIGRATION, 'using ({ALL} or exists (select from {parent} e where e.{condition}))")', 'using (true)")'),),
        TENANCY + "test_a_transaction_changes_no_row_of_another_handler_and_removes_none_at_all",
    ),
    Defence(
        "A151",
        "the gate reads what it decides by",
        (Text(MIGRATION, '    "handlers": "id, facts",\n', '    "handlers": "id, facts, name",\n'),),
        TENANCY + "test_the_gate_reads_what_it_decides_by_and_nothing_else",
    ),
    one(
        "A152",
        "nothing is served with more rights than a server process may have",
        "service/database/logins.py",
        "Logins.require_bound",
        "rights['is_free'] or rights['is_owner']",
        "False",
        TENANCY + "test_a_service_with_more_rights_than_it_may_have_does_not_start",
    ),
    Defence(
        "A153",
        "each table is under a policy: here one is not",
        (
            Text(
                MIGRATION,
                '    for table in POLICIES:\n        op.execute(f"alter table {table} enable',
                '    for table in POLICIES[1:]:\n        op.execute(f"alter table {table} enable',
            ),
        ),
        TENANCY + "test_every_table_is_under_a_policy_or_on_the_list_of_those_that_need_none",
    ),
)
