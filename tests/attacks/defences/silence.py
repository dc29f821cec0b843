"""Silence, whose pid is believed, and splitting in its disguises."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

SILENCE: Final = "tests/faults/test_silence.py::"
SPLITTING: Final = "tests/attacks/test_splitting.py::"
POSTMASTER: Final = "tests/faults/test_postmaster.py::"

UNBOUNDED: Final = Edit(
    "service/connections.py", "has_transaction_timeout", "version >= _WITH_TRANSACTION_TIMEOUT", "version is None"
)
GROUP_COMMIT: Final = "service/gate/group_commit.py"

DEFENCES: Final = (
    Defence(
        "A301",
        "PostgreSQL ends a session that is silent in a transaction, and one whose transaction with the gate's lock lasts",
        (
            Edit(
                "service/connections.py",
                "Bounds.settings",
                "self.silence",
                "None",
            ),
            UNBOUNDED,
        ),
        SILENCE + "test_whoever_is_frozen_with_the_gate_to_itself_keeps_nobody_waiting_and_writes_nothing",
    ),
    Defence(
        "A302",
        "PostgreSQL ends a lane that is silent with the gate's lock, and one whose transaction lasts",
        (
            Edit(
                "service/gate/group_commit.py",
                "Gate.__init__",
                "Bounds(statement=timeout, silence=silence, idle=silence, waiting=batch_timeout / 2, "
                "transaction=MAX_LOCK_SILENCES * silence)",
                "Bounds(statement=timeout, silence=silence, idle=None, waiting=batch_timeout / 2, "
                "transaction=MAX_LOCK_SILENCES * silence)",
            ),
            UNBOUNDED,
        ),
        SILENCE + "test_whoever_is_frozen_between_reading_and_writing_decides_nothing",
    ),
    Defence(
        "A369",
        "a transaction with the gate's lock is bounded as a whole",
        (UNBOUNDED,),
        SILENCE + "test_whoever_is_frozen_in_the_middle_of_a_statement_holds_no_quota",
    ),
    one(
        "A303",
        "PostgreSQL ends a leader that is silent",
        "service/audit/log/leader.py",
        "Leader.__init__",
        "max(silence, 3 * POLL_INTERVAL)",
        "None",
        SILENCE + "test_a_frozen_leader_loses_the_log",
    ),
    Defence(
        "A304",
        "a lock is waited for less long than silence may last",
        (
            Edit(
                "service/connections.py",
                "Bounds.settings",
                "self.lock",
                "None",
            ),
            Edit(
                "service/database/session.py",
                "",
                (
                    "f'set local lock_timeout = {WAIT_MILLISECONDS}; select pg_advisory_xact_lock({GATE_LOCK}); set "
                    "local lock_timeout = {ROW_WAIT_MILLISECONDS}'"
                ),
                "f'select pg_advisory_xact_lock({GATE_LOCK}); set local lock_timeout = {ROW_WAIT_MILLISECONDS}'",
            ),
        ),
        SILENCE + "test_of_several_that_one_frozen_client_has_waiting_only_the_first_holds_others_up",
    ),
    Defence(
        "A305",
        "who gives up does not wait for an answer to that, and no statement is waited for without end",
        (
            Edit(
                "service/database/session.py",
                "_roll_back",
                "ANSWER_MARGIN",
                "None",
            ),
            Edit("service/database/session.py", "watched_engine", "'command_timeout'", ""),
        ),
        SILENCE + "test_a_connection_that_swallows_everything_is_given_up_and_another_one_made",
    ),
    one(
        "A306",
        "this end of a pooled connection is watched",
        "service/database/session.py",
        "watched_engine",
        "event.listen(…)",
        "",
        SILENCE + "test_both_ends_of_a_connection_notice_that_the_other_is_gone",
    ),
    one(
        "A306",
        "this end of a connection is watched",
        "service/connections.py",
        "connect",
        "watch(…)",
        "",
        SILENCE + "test_both_ends_of_a_connection_notice_that_the_other_is_gone",
    ),
    Defence(
        "A307",
        "the wait for the gate's lock ends: here the lanes take it for a fault",
        (
            Edit(GROUP_COMMIT, "_to_outcome", "if is_lock_timeout(error)", "False"),
            Edit(GROUP_COMMIT, "_to_outcome", "DatabaseUnavailable() if _means_unavailable(error) else error", "error"),
        ),
        SILENCE + "test_a_gate_that_others_hold_for_long_is_told_so",
    ),
    one(
        "A308",
        "the server of a folder works in it: here any living process is believed",
        "service/database/postmaster.py",
        "server_of",
        "PidFile.of(…)",
        "noted = PidFile.of(cluster)\n    if noted.pid and psutil.pid_exists(noted.pid):\n        return psutil.Process(noted.pid)",
        POSTMASTER + "test_a_pid_that_is_somebody_elses_by_now_is_left_alone",
    ),
    one(
        "A309",
        "the folder itself, not any PostgreSQL",
        "service/database/postmaster.py",
        "_works_in",
        "(there if there.is_symlink() else Path(process.cwd())).samefile(cluster)",
        "True",
        POSTMASTER + "test_a_server_serves_no_folder_but_its_own",
    ),
    one(
        "A310",
        "a server that its file does not name is not joined",
        "service/database/postmaster.py",
        "server_of",
        "process.pid == noted.pid and (_began(process, noted.started) or _answers(process, noted.socket))",
        "noted.pid or (_began(process, noted.started) or _answers(process, noted.socket))",
        POSTMASTER + "test_a_server_whose_file_does_not_say_so_is_neither_joined_nor_ended",
    ),
    one(
        "A377",
        "what a reviewer withdrew serves no other request",
        "service/transfers/workflow.py",
        "filing_denial",
        "earlier.is_distrusted",
        "False",
        "tests/attacks/test_splitting.py::test_a_paper_that_a_reviewer_withdrew_serves_no_other_request_until_it_is_verified",
    ),
    one(
        "A311",
        "what says that it renews is counted beside it",
        "service/transfers/structuring.py",
        "replaced_request",
        "if renewed.recipient != recipient or renewed.datasets != frozenset(datasets)",
        "False",
        SPLITTING + "test_a_renewal_for_others_is_counted_with_what_it_says_it_renews",
    ),
    one(
        "A312",
        "what takes the place of its permit is counted with it",
        "service/transfers/structuring.py",
        "replaced_request",
        "renewed.transfer if is_replaced else None",
        "None",
        SPLITTING + "test_a_renewal_that_takes_the_place_of_its_permit_is_counted_once",
    ),
    one(
        "A313",
        "a claim counts for nobody",
        "service/transfers/structuring_findings.py",
        "_load_planned",
        "Handler.confirmed_group",
        "Handler.group",
        SPLITTING + "test_who_names_another_companys_group_learns_nothing_and_leaves_nothing_there",
    ),
    one(
        "A314",
        "what was agreed on ends with the claim",
        "service/registry/record_diff.py",
        "confirmed_group_after",
        "confirmed if is_group_confirmed(group, confirmed) else None",
        "confirmed",
        SPLITTING + "test_a_group_counts_once_the_other_side_agrees",
    ),
    one(
        "A315",
        "a claim is held while it is confirmed, and counts as long as it is that one",
        "service/registry/record_diff.py",
        "is_group_confirmed",
        "group.lower() == confirmed.lower()",
        "",
        SPLITTING + "test_a_claim_that_changes_while_it_is_confirmed_is_confirmed_as_what_it_was",
    ),
    one(
        "A316",
        "a registrar of all names a recipient's group",
        "service/registry/operations.py",
        "create_recipient",
        "if body.group is not None",
        "False",
        SPLITTING + "test_the_group_of_a_recipient_is_named_by_a_registrar_of_all",
    ),
    one(
        "A317",
        "a number is one number, however it is written",
        "service/transfers/workflow.py",
        "number_of",
        "f'{_normalize(issuer)}/{_normalize(reference)}'",
        "f'{issuer}/{reference}'",
        SPLITTING + "test_one_approval_serves_one_request_however_it_is_written",
    ),
    one(
        "A318",
        "who files a paper holds its name",
        "service/transfers/evidence.py",
        "_require_serves",
        "'select pg_advisory_xact_lock(hashtextextended(:name, 0))'",
        "'select cast(:name as text)'",
        SPLITTING + "test_of_two_requests_that_file_one_approval_at_once_one_has_it",
    ),
    one(
        "A319",
        "a result serves one request and its renewals",
        "service/transfers/workflow.py",
        "filing_denial",
        "kind in RENEWABLE_KINDS and earlier.transfer != transfer and (earlier.transfer not in renewals)",
        "False",
        SPLITTING + "test_a_result_serves_the_renewal_that_takes_over_and_no_other_request",
    ),
    one(
        "A320",
        "the papers are looked at again when the permit is issued",
        "service/transfers/reviews.py",
        "_issue_permit",
        "[item for item in filed if denials.get(item.id) is None]",
        "list(filed)",
        SPLITTING + "test_a_result_that_was_taken_over_does_not_carry_a_renewal_for_another_recipient",
    ),
)
