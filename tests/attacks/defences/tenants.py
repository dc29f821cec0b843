"""Reaching for what is another's."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, Text, one

CALLER: Final = "service/access/caller.py"
EXCHANGE: Final = "service/http/exchange.py"
JOBS: Final = "service/gate/jobs.py"
READ: Final = "service/gate/sql/gate_read_2.sql"
PRINCIPALS: Final = "service/identity/operations.py"
EVIDENCE: Final = "service/transfers/evidence.py"
TENANTS: Final = "tests/attacks/test_tenants.py::"

ALL_SEEN: Final = Edit(
    "service/http/exchange.py",
    "Exchange.admit",
    "handlers",
    "'*'",
)
"""The view of a transaction, by which both the query layer and the policies of PostgreSQL go."""

ALL_REACHED: Final = Edit(
    CALLER,
    "Caller.reaches",
    "scope == EVERYWHERE or handler in scope",
    "True",
)


DEFENCES: Final = (
    Defence(
        "A58",
        (
            "whoever has no role on a handler sees nothing of it, by the query, by PostgreSQL, or by what "
            "is asked of the row"
        ),
        (ALL_SEEN, ALL_REACHED),
        TENANTS + "test_nothing_of_another_company_is_read_by_its_id",
    ),
    Defence(
        "A59",
        "whoever has no role on a handler acts on nothing of it",
        (ALL_SEEN, ALL_REACHED),
        TENANTS + "test_nothing_of_another_company_is_acted_upon_by_its_id",
    ),
    Defence(
        "A60",
        "a transaction sees what its caller reaches",
        (ALL_SEEN,),
        TENANTS + "test_no_list_holds_anything_of_another_company",
    ),
    Defence(
        "A62",
        "a file is had by a record that the caller may read",
        (ALL_SEEN, Edit(EVIDENCE, "_resolve_document", "query.where(…)", "")),
        TENANTS + "test_a_file_is_not_had_by_knowing_its_hash",
    ),
    one(
        "A63",
        "a key is one caller's",
        "service/http/idempotency.py",
        "Use.of",
        "f'{principal}\\x00{method}\\x00{path}\\x00{key}'",
        "f'{method}\\x00{path}\\x00{key}'",
        TENANTS + "test_one_callers_idempotency_key_tells_nothing_to_another",
    ),
    Defence(
        "A61",
        "a page holds what its reader sees, wherever it begins",
        (ALL_SEEN,),
        TENANTS + "test_a_made_up_cursor_opens_no_other_list",
    ),
    one(
        "A64",
        "whoever shows an old key is admitted anew: before the repeat is looked up",
        JOBS,
        "admit_caller",
        "not holder.handlers",
        "False",
        TENANTS + "test_a_replay_answers_nobody_whose_role_has_gone",
    ),
    Defence(
        "A65",
        "principals are for admins, by the route and by what is asked of the rows",
        (
            Edit(
                EXCHANGE,
                "Exchange.admit",
                "self._roles != ANYONE and (not stops) and (not caller.has(self._roles))",
                "False",
            ),
            Edit(
                PRINCIPALS,
                "list_principals",
                "handlers != EVERYWHERE",
                "False",
            ),
        ),
        TENANTS + "test_an_insider_learns_no_name_of_a_person_elsewhere",
    ),
    Defence(
        "A66",
        "what belongs to a handler is joined on the caller's grants",
        (
            Text(
                READ,
                "\n      and (f.prefix is null or c.reach = '*' or f.handler = any(string_to_array(c.reach, ',')))\n",
                "\n",
            ),
        ),
        TENANTS + "test_a_dataset_of_another_company_cannot_be_told_from_none",
    ),
    one(
        "A67",
        "a token of a page fits one query of one caller",
        "service/gate/page_tokens.py",
        "decode_cursor",
        "raw[:_DIGEST] != _digest(query, content[0])",
        "",
        "tests/api/test_authzen.py::test_a_token_of_another_search_or_another_caller_is_refused",
    ),
    one(
        "A154",
        "a route admits its roles alone",
        EXCHANGE,
        "Exchange.admit",
        "self._roles != ANYONE and (not stops) and (not caller.has(self._roles))",
        "False",
        "tests/authz/test_matrix.py::test_everybody_is_answered_as_the_rules_say",
    ),
    one(
        "A155",
        "each route has a rule: here one has been added without",
        "service/identity/routes.py",
        "me",
        "router.get('/v1/me', response_model=CallerOut)",
        'router.get("/v1/me/beside", response_model=CallerOut)\n@router.get("/v1/me", response_model=CallerOut)',
        "tests/authz/test_matrix.py::test_every_route_has_a_rule_and_every_rule_a_route",
    ),
)
