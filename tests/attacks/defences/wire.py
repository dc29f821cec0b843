"""Files, texts and the wire."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, Text, one

FILES: Final = "service/transfers/file_types.py"
REGISTER: Final = "service/registry/operations.py"
PAPERS: Final = "tests/attacks/test_evidence.py::"
TEXTS: Final = "tests/attacks/test_texts.py::"
REQUESTS: Final = "service/transfers/requests.py"
EDGE: Final = "service/http/middleware.py"

DEFENCES: Final = (
    one(
        "A80",
        "a package says what it unpacks to, and that has an end",
        FILES,
        "_package_type",
        "unpacked > MAX_UNPACKED_BYTES",
        "False",
        PAPERS + "test_a_file_that_is_no_document_is_refused_whatever_it_is_called",
    ),
    Defence(
        "A81",
        "a name's path is cut off, and what is left of it taken out",
        (
            Edit(
                FILES,
                "safe_name",
                "unicodedata.normalize('NFC', name or '').replace('\\\\', '/').rsplit('/', 1)[-1]",
                "unicodedata.normalize('NFC', name or '').replace('\\\\', '/')",
            ),
            Edit(FILES, "safe_name", "'_' if _UNSAFE_CHARACTERS.match(character) else character", "character"),
        ),
        PAPERS + "test_a_name_leads_nowhere_and_ends_as_the_file_is",
    ),
    Defence(
        "A82",
        "a file goes out as an attachment",
        (Text("service/http/exchange.py", "attachment; filename=", "inline; filename="),),
        PAPERS + "test_a_polyglot_goes_out_as_what_it_was_taken_for_and_never_as_a_page",
    ),
    one(
        "A85",
        "wildcards are escaped",
        REGISTER,
        "_contains_text",
        "autoescape=",
        "",
        TEXTS + "test_a_search_for_a_wildcard_finds_what_holds_it_and_not_everything",
    ),
    one(
        "A87",
        "no browser guesses what an answer is",
        "service/http/middleware.py",
        "",
        "'X-Content-Type-Options'",
        "",
        TEXTS + "test_nothing_that_callers_write_is_served_as_a_page",
    ),
    one(
        "A88",
        "a page stands in no frame",
        "service/http/middleware.py",
        "",
        "'X-Frame-Options'",
        "",
        TEXTS + "test_a_page_of_the_service_runs_nothing_of_others_and_stands_in_no_frame",
    ),
    one(
        "A89",
        "a body says that it is JSON",
        "service/http/router.py",
        "_require_json",
        "kind != 'application/json' and (not is_suffixed)",
        "False",
        TEXTS + "test_another_site_reads_nothing_through_a_visitors_browser",
    ),
    one(
        "A92",
        "a member stands once",
        "service/validation/strict_json.py",
        "_object",
        "len(members) != len(pairs)",
        "False",
        TEXTS + "test_a_body_that_two_readers_would_read_differently_is_refused",
    ),
    one(
        "A93",
        "nothing invisible is in a name",
        "service/validation/text_types.py",
        "_printable",
        "any((unicodedata.category(character) in _INVISIBLE for character in value))",
        "False",
        TEXTS + "test_an_invisible_letter_makes_no_second_thing_of_a_name",
    ),
    one(
        "A83",
        "what a filter holds is bound to the query: here it is written into one",
        REQUESTS,
        "list_transfers",
        "Transfer.requester == requester",
        "__import__('sqlalchemy').text(f\"transfers.requester = '{requester}'\")",
        TEXTS + "test_no_filter_is_read_as_sql",
    ),
    one(
        "A84",
        "what an address holds is bound to the query: here it is written into one",
        REGISTER,
        "handler_of",
        "_find(…)",
        (
            "named = __import__('sqlalchemy').text(f\"handlers.id = '{reference}' or handlers.key = "
            "'{reference}'\")\n"
            "    handler = await tx.scalar(select(Handler).where(named).limit(1))"
        ),
        TEXTS + "test_no_id_is_read_as_sql_or_as_a_path",
    ),
    one(
        "A86",
        "what a body holds is bound to the statement: here it is written into one",
        REGISTER,
        "create_dataset",
        "tx.add(…)",
        'await tx.execute(__import__("sqlalchemy").text(f"select \'{body.title}\'"))\n    tx.add(dataset)',
        TEXTS + "test_sql_in_a_body_is_a_text_like_any_other",
    ),
    one(
        "A90",
        "an id that a caller made up is told by its hash",
        EDGE,
        "RequestGuard.__call__",
        "logs.loggable_id(request.request_id)",
        "request.request_id",
        TEXTS + "test_no_line_of_the_log_is_written_by_a_caller",
    ),
    one(
        "A94",
        "an answer names paths alone",
        "service/validation/problems.py",
        "install.answer",
        "request.url.path",
        "str(request.url)",
        TEXTS + "test_the_address_in_an_answer_is_not_the_callers_to_choose",
    ),
    one(
        "A95",
        "a fault is told to callers in one sentence",
        "service/validation/problems.py",
        "as_problem",
        "'The fault is ours and has been logged. Nothing was allowed.'",
        "str(error)",
        TEXTS + "test_a_fault_tells_nothing_of_the_inside",
    ),
    Defence(
        "A96",
        "a body has an end, as it is declared and as it comes",
        (
            Edit(
                EDGE,
                "_Request._refuse_by_head",
                "(_declared_length(Headers(scope=self._scope)) or 0) > self._limit",
                "False",
            ),
            Edit(
                EDGE,
                "_Request.serve.receive_counted",
                "self._received > self._limit",
                "False",
            ),
        ),
        "tests/api/test_contract.py::test_a_body_over_the_limit_is_refused",
    ),
    one(
        "A125",
        "a line tells the route, and not the address",
        EDGE,
        "_Request._log",
        "getattr(route, 'path', None)",
        "self._scope['path']",
        "tests/faults/test_planted.py::test_every_route_is_sent_persons_and_secrets_in_every_part_of_a_request",
    ),
    one(
        "A179",
        "an answer is not kept by whatever it passes",
        EDGE,
        "",
        "'Cache-Control'",
        "",
        "tests/faults/test_headers.py::test_every_answer_has_safe_headers_and_none_that_opens_it",
    ),
    one(
        "A180",
        "letters of another script that look like Latin ones are told",
        "service/validation/confusables.py",
        "flags_of",
        "letters and 'LATIN' not in scripts and all(map(_is_confusable_with_latin, letters))",
        "False",
        TEXTS + "test_a_name_in_letters_that_look_like_others_is_flagged",
    ),
    one(
        "A181",
        "a secret has no repr",
        "service/identity/api_keys.py",
        "Secret",
        "repr=",
        "",
        "tests/unit/test_secrets.py::test_nothing_that_holds_a_secret_shows_it",
    ),
    one(
        "A211",
        "a token's issuer is what the operator says",
        "service/permits/routes.py",
        "permit_token",
        "request.app.state.base_url",
        "str(request.base_url).rstrip('/')",
        "tests/api/test_permits.py::test_a_token_names_the_service_as_its_operator_does_and_not_as_its_caller_does",
    ),
    one(
        "A212",
        "metadata says where the operator says",
        "service/gate/routes.py",
        "metadata",
        "base: str = request.app.state.base_url",
        "base = str(request.base_url).rstrip('/')",
        TEXTS + "test_no_address_of_the_service_is_the_callers_to_choose",
    ),
    one(
        "A213",
        "nobody is sent on to the same path without a slash",
        "service/app.py",
        "create_app",
        "False",
        "True",
        TEXTS + "test_no_address_of_the_service_is_the_callers_to_choose",
    ),
)
