"""Sending more than was allowed."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, Text, one

REQUESTS: Final = "service/transfers/requests.py"
DECIDE: Final = "service/gate/decide.py"
EXPORTS: Final = "tests/attacks/test_exports.py::"
BATCH: Final = "service/gate/group_commit.py"
READING: Final = "service/gate/batch_read.py"
READ: Final = "service/gate/sql/gate_read_2.sql"
SITTING: Final = "service/gate/batch_decisions.py"
COMPLETION: Final = "service/exports/completion.py"
AGAIN: Final = "tests/api/test_run_again.py::"
LATE: Final = "tests/api/test_late_reports.py::"

DEFENCES: Final = (
    one(
        "A41",
        "the permit's count is looked at",
        DECIDE,
        "_quantity",
        "used.persons + count.persons > quota.persons",
        "False",
        EXPORTS + "test_the_last_of_a_quota_is_sold_once",
    ),
    one(
        "A42",
        "a key goes with one body",
        "service/http/idempotency.py",
        "Use.repeated",
        "content != self.content and request != self.request",
        "False",
        EXPORTS + "test_a_key_sent_again_takes_nothing_of_the_quota",
    ),
    Defence(
        "A45",
        "the gate looks whether a key stands, at each decision",
        (Text(READ, "         k.revoked_at is null and p.disabled_at is null", "         p.disabled_at is null"),),
        EXPORTS + "test_a_key_that_was_revoked_at_one_replica_is_dead_at_the_next",
    ),
    one(
        "A47",
        "persons are never fewer than none",
        "service/gate/questions.py",
        "",
        "ge=",
        "",
        EXPORTS + "test_a_number_that_is_none_or_a_member_that_is_not_asked_for_reserves_nothing",
    ),
    one(
        "A48",
        "a permit for some systems is for those alone",
        DECIDE,
        "_scope",
        "permit.systems is not None and ask.system not in permit.systems",
        "False",
        EXPORTS + "test_a_system_exports_under_no_other_systems_permit",
    ),
    one(
        "A50",
        "what went is held against the quota",
        COMPLETION,
        "_suspend_above_quota",
        "if above",
        "False",
        EXPORTS + "test_more_than_was_reserved_is_not_reported_away",
    ),
    one(
        "A51",
        "what has ended is not ended again",
        "service/exports/operations.py",
        "require_reserved",
        "status != 'reserved'",
        "False",
        EXPORTS + "test_an_export_that_was_reported_is_not_cancelled",
    ),
    one(
        "A52",
        "the year's count is looked at",
        DECIDE,
        "_quantity",
        "None if law.is_met_by(permit.terms.requirements) else Reason.LEDGER_THRESHOLD",
        "None",
        EXPORTS + "test_many_small_exports_do_not_go_round_a_threshold",
    ),
    one(
        "A53",
        "related requests are looked for at submission",
        "service/transfers/submission.py",
        "write_submission",
        "structuring_findings.raise_findings(…)",
        "",
        EXPORTS + "test_split_requests_are_found_together",
    ),
    one(
        "A54",
        "a permit is for its purpose",
        DECIDE,
        "_scope",
        "ask.purpose != permit.purpose",
        "False",
        EXPORTS + "test_a_purpose_a_recipient_or_a_field_that_was_not_approved_goes_nowhere",
    ),
    one(
        "A56",
        "a permit ends with its last day",
        DECIDE,
        "_state_denial",
        "Reason.PERMIT_EXPIRED if today > permit.valid_until else None",
        "None",
        EXPORTS + "test_a_permit_ends_by_the_services_clock_and_not_by_the_callers",
    ),
    one(
        "A43",
        "what was answered to a key is its answer",
        BATCH,
        "_find_repeats",
        "admission.outcome, admission.use = (_earlier_outcome(use, stored[use.digest]), None)",
        "admission.use = None",
        EXPORTS + "test_a_refusal_is_not_turned_by_sending_its_key_again_later",
    ),
    Defence(
        "A44",
        "nothing of a permit is kept from one decision to the next",
        (
            Edit(
                READING,
                "",
                '_PERMIT: Final = COLUMNS.index("permit")',
                '_PERMIT: Final = COLUMNS.index("permit")\n_KEPT: dict[str, PermitState] = {}',
            ),
            Edit(
                READING,
                "parse_rows",
                "_permit(*row[_OF_PERMIT])",
                "_KEPT.setdefault(row[_PERMIT], _permit(*row[_OF_PERMIT]))",
            ),
        ),
        EXPORTS + "test_what_was_revoked_at_one_replica_is_denied_at_the_next",
    ),
    Defence(
        "A46",
        (
            "whatever takes a permit away closes the gate, and a decision joins it; both, and the row that "
            "reservations hold"
        ),
        (
            Edit(
                "service/permits/operations.py",
                "revoke",
                "close_gate(…)",
                "",
            ),
            Edit(
                "service/permits/routes.py",
                "revoke",
                "gate=",
                "",
            ),
            Text(
                "service/gate/batch_write.py",
                "id = any(array(select permit from bound)) order by id for update",
                "id = any(array(select permit from bound)) order by id",
            ),
        ),
        EXPORTS + "test_whatever_takes_a_right_away_waits_for_the_decisions_that_are_under_way",
    ),
    one(
        "A49",
        "personal data goes with its number of persons",
        SITTING,
        "DecisionBatch.reserve",
        "_require_persons(…)",
        "",
        EXPORTS + "test_personal_data_does_not_go_without_its_persons",
    ),
    Defence(
        "A55",
        "a permit that is named is the only one that is looked at: by what is read, and by what is decided on",
        (
            Edit(
                DECIDE,
                "_by_permit",
                "permits = [permit for permit in permits if permit.id == permit_id]",
                "pass",
            ),
            Text(
                READ,
                "where id = b.permit and (f.permit is null or id = f.permit) offset 0",
                "where id = b.permit offset 0",
            ),
        ),
        EXPORTS + "test_another_permit_is_not_used_by_naming_it",
    ),
    one(
        "A57",
        "what was not reported in time has lapsed",
        COMPLETION,
        "_count_first",
        "status_of(export, tx)",
        "export.status",
        "tests/api/test_gate.py::test_what_is_never_reported_lapses_and_is_given_back",
    ),
    one(
        "A281",
        "a yes is decided on anew when its key comes again",
        SITTING,
        "DecisionBatch.repeat",
        "None if decision.allowed else refusal(evaluation, decision, export=earlier.id)",
        "None",
        AGAIN + "test_a_permit_that_was_taken_away_is_no_yes_any_more",
    ),
    one(
        "A282",
        "what has ended is told as ended when its key comes again",
        SITTING,
        "DecisionBatch.repeat",
        "if state != 'reserved'",
        "False",
        AGAIN + "test_what_has_ended_is_told_as_ended",
    ),
    one(
        "A283",
        "what an export holds itself is not counted against it",
        SITTING,
        "DecisionBatch.repeat",
        "earlier.without_own(self._current_inputs(snapshot))",
        "self._current_inputs(snapshot)",
        AGAIN + "test_while_it_holds_the_same_is_answered_and_nothing_more_is_taken",
    ),
    one(
        "A284",
        "a reservation goes under its own permit alone",
        SITTING,
        "DecisionBatch.repeat",
        "NO_PERMIT",
        "",
        AGAIN + "test_a_reservation_without_a_permit_takes_none_that_came_since",
    ),
    one(
        "A285",
        "a request is known by what it says",
        "service/http/idempotency.py",
        "Use.repeated",
        "content != self.content",
        "",
        AGAIN + "test_the_same_written_otherwise_is_the_same",
    ),
    one(
        "A286",
        "a report of what was cancelled counts",
        COMPLETION,
        "_count_first",
        "_add_reports(counting, reports)",
        "_add_reports(counting, reports if not is_late else {kind: NOTHING_MORE for kind in KINDS})",
        LATE + "test_a_late_report_counts_in_the_year_and_under_the_permit",
    ),
    one(
        "A287",
        "whoever is beyond the first report counts",
        COMPLETION,
        "_count_repeat",
        "_add_reports(…)",
        "",
        LATE + "test_other_numbers_are_refused_and_whoever_went_beyond_counts",
    ),
    one(
        "A288",
        "above its quota a permit is suspended",
        "service/permits/operations.py",
        "suspend_above_quota",
        "permit.status, permit.reason, permit.updated_at = (Standing.SUSPENDED, why, tx.now)",
        "pass",
        LATE + "test_above_the_quota_the_permit_is_suspended_and_a_finding_raised",
    ),
    one(
        "A289",
        "a reservation is decided on by PostgreSQL's clock",
        BATCH,
        "Gate._load_admissions",
        "batch_write.lock_and_read(connection, lookups, reserving, self._clock.ahead)",
        "batch_write.lock_and_read(connection, lookups, reserving, self._clock() - datetime.now().astimezone())",
        "tests/faults/test_clocks.py::test_processes_whose_clocks_differ_sell_a_quota_once",
    ),
    one(
        "A290",
        "a report looks at the clock once it holds its rows",
        "service/exports/operations.py",
        "lock_export",
        "tx.read_clock(…)",
        "",
        "tests/faults/test_clocks.py::test_a_report_that_waits_past_the_lease_is_late",
    ),
)
