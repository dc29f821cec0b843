"""Shutting the gate for others."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import one

TRIED: Final = "tests/attacks/test_floods.py::"
HELPED: Final = "tests/faults/test_workers.py::"
EVIDENCE: Final = "service/transfers/evidence.py"
DATABASE: Final = "service/database/session.py"

DEFENCES: Final = (
    one(
        "A221",
        "files are read in helper processes",
        "service/http/helper_processes.py",
        "helper_for",
        "few",
        "few or make",
        TRIED + "test_a_file_that_takes_long_to_read_holds_up_nobody",
    ),
    one(
        "A222",
        "what cannot deny does not close the gate",
        "service/registry/record_diff.py",
        "diff_of",
        "not changed.keys() <= HARMLESS[thing]",
        "True",
        TRIED + "test_what_cannot_deny_does_not_come_to_the_gates_lock",
    ),
    one(
        "A223",
        "the gate is closed last",
        "service/registry/imports.py",
        "load",
        "ask_helper(tx, plan, 'count_chunks')",
        'ask_helper(tx, plan, "count_chunks")\n    tx.can_deny = True\n    await tx.prepare_commit()',
        TRIED + "test_the_gate_is_closed_for_the_end_of_a_long_import_alone",
    ),
    one(
        "A224",
        "what can deny closes the gate all the same",
        DATABASE,
        "Transaction.prepare_commit",
        "self.can_deny",
        "False",
        TRIED + "test_what_can_deny_waits_for_the_decision_under_way_and_says_so",
    ),
    one(
        "A225",
        "the caller is looked at again with the gate closed",
        DATABASE,
        "Transaction.prepare_commit",
        "self.recheck is not None",
        "False",
        TRIED + "test_an_import_whose_registrar_loses_the_role_meanwhile_is_not_made",
    ),
    one(
        "A226",
        "nobody there, no work",
        "service/http/client_disconnect.py",
        "cancel_on_disconnect",
        "asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)",
        "asyncio.wait({working})",
        TRIED + "test_a_client_that_goes_away_ends_its_work",
    ),
    one(
        "A227",
        "a table of contents is measured before it is read",
        "service/transfers/file_types.py",
        "_package_type",
        "_directory_bytes(content) > MAX_DIRECTORY_BYTES",
        "False",
        TRIED + "test_a_package_that_is_all_table_of_contents_is_not_read",
    ),
    one(
        "A228",
        "records of a request have an end",
        EVIDENCE,
        "_require_below_limit",
        "(await tx.scalar(query) or 0) >= limit",
        "False",
        TRIED + "test_evidence_of_a_request_has_an_end_and_lists_do_not_repeat_it",
    ),
    one(
        "A229",
        "a list shows the last records alone",
        "service/transfers/presenter.py",
        "present_many",
        "transfer.evidence[-MAX_LISTED_EVIDENCE:]",
        "transfer.evidence",
        TRIED + "test_evidence_of_a_request_has_an_end_and_lists_do_not_repeat_it",
    ),
    one(
        "A230",
        "a helper has so much memory",
        "service/workers.py",
        "_help",
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))",
        "pass",
        HELPED + "test_work_that_takes_too_much_memory_is_ended",
    ),
    one(
        "A231",
        "a helper that is let go of is ended",
        "service/workers.py",
        "Helper.end",
        "signal.pidfd_send_signal(…)",
        "",
        HELPED + "test_work_that_is_let_go_of_ends_also_in_the_middle_of_one_long_call",
    ),
    one(
        "A232",
        "one caller has one helper at a time",
        "service/workers.py",
        "HelperPool._acquire_slot",
        "self._caller_locks.setdefault(caller, asyncio.Lock())",
        "asyncio.Lock()",
        HELPED + "test_one_caller_has_one_helper_at_a_time_and_a_queue_has_an_end",
    ),
    one(
        "A233",
        "aliases are refused at the first",
        "service/registry/import_fides.py",
        "_tree",
        "_refuse(line, 'Aliases are not read; write the value out.')",
        "stack[-1].take(None)",
        TRIED + "test_a_hostile_file_is_refused",
    ),
)
