"""The ground under it."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Text, one

GROUND: Final = "tests/attacks/test_ground.py::"
BATCH: Final = "service/gate/group_commit.py"
CHECK: Final = "service/audit/log/fsck.py"
TAMPERED: Final = "tests/faults/test_tampering.py::"

DEFENCES: Final = (
    one(
        "A105",
        "the version of the law is the hash of its files",
        "service/law/loader.py",
        "load",
        "name.encode() + b'\\x00' + (directory / name).read_bytes()",
        "name.encode()",
        GROUND + "test_an_edited_threshold_shows_in_every_determination",
    ),
    one(
        "A106",
        "a rule cites its article",
        "service/law/rule_files.py",
        "DatedRecord._is_cited_for_some_time",
        "bool(self.citations) == (self.uncited is not None)",
        "False",
        GROUND + "test_nothing_starts_on_law_that_cannot_be_used",
    ),
    one(
        "A98",
        "where the database is away the answer is no: here it is yes",
        BATCH,
        "Gate._answer",
        "queued.notify(…)",
        (
            "is_away = isinstance(outcome, DatabaseUnavailable)\n"
            "            queued.notify(Reply(200, b'{\"decision\": true}', {}) if is_away else outcome)"
        ),
        "tests/faults/test_database.py::test_without_a_database_everything_is_503_and_nothing_allowed",
    ),
    one(
        "A99",
        "a decision is written before it is told",
        BATCH,
        "Gate._transaction",
        "batch_write.write_and_commit(…)",
        "",
        GROUND + "test_a_database_that_may_only_be_read_gives_no_answer",
    ),
    Defence(
        "A100",
        "what is written is not changed, whoever asks",
        (
            Text(
                "migrations/versions/0001_foundation.py",
                "            raise exception 'audit entries are append-only' using errcode = 'restrict_violation';\n",
                "            if tg_op = 'DELETE' then return old; end if;\n            return new;\n",
            ),
        ),
        GROUND + "test_the_log_is_not_rewritten_through_the_database",
    ),
    Defence(
        "A192",
        "a row that exports tell of stays",
        (
            Text(
                "migrations/versions/0013_exports.py",
                "before delete on {table} for each row execute function refuse_removal()",
                "before delete on {table} for each row when (false) execute function refuse_removal()",
            ),
        ),
        "tests/faults/test_database.py::test_what_exports_tell_of_stays",
    ),
    one(
        "A101",
        "the check compares each entry with the hash that was signed",
        CHECK,
        "_Check._hash_leaves",
        "joined != chunk.tile_hashes",
        "False",
        TAMPERED + "test_the_check_names_what_was_done_to_entries_leaves_and_tiles",
    ),
    one(
        "A101",
        "the check looks for what is promised and gone",
        CHECK,
        "_Check._report_missing",
        "self._missing",
        "()",
        TAMPERED + "test_the_check_names_what_was_done_to_entries_leaves_and_tiles",
    ),
    one(
        "A102",
        "the check believes what was kept elsewhere",
        CHECK,
        "_Check._compare_root",
        "by_entries or by_tiles",
        "by_entries or by_tiles or mark.is_remembered",
        TAMPERED + "test_a_tree_rewritten_with_the_right_key_is_named_by_whoever_remembers",
    ),
    one(
        "A102",
        "a witness knows two roots of one size",
        "service/audit/tlog/witness_protocol.py",
        "_require_consistent",
        "if is_fork",
        "False",
        TAMPERED + "test_a_tree_rewritten_with_the_right_key_is_named_by_whoever_remembers",
    ),
    one(
        "A103",
        "the check misses what was kept elsewhere",
        CHECK,
        "_Check.run",
        "for mark in kept",
        "()",
        TAMPERED + "test_an_old_backup_is_named_by_whoever_remembers",
    ),
    one(
        "A104",
        "the check compares times with those that were signed",
        CHECK,
        "_Check._hash_leaves",
        "at < latest",
        "False",
        TAMPERED + "test_an_entry_that_claims_to_be_older_than_it_is_is_named",
    ),
    one(
        "A107",
        "the company's thresholds are the law's or lower",
        "service/law/policy.py",
        "require_stricter",
        "value > newest[name]",
        "False",
        GROUND + "test_a_company_policy_that_frees_something_stops_the_start",
    ),
    one(
        "A108",
        "texts are sealed",
        "service/audit/commitments.py",
        "commit_texts",
        "pointers = set(_text_pointers(body['details'], _public_members(body), '/details'))",
        "pointers: set[str] = set()",
        "tests/api/test_sealed.py::test_the_name_of_a_person_is_nowhere_in_the_log",
    ),
    one(
        "A109",
        "what is answered has been committed",
        BATCH,
        "Gate._transaction",
        "'commit'",
        "'select 1'",
        "tests/faults/test_process.py::test_what_was_acknowledged_is_there_after_a_kill",
    ),
    one(
        "A361",
        "every byte of a pack belongs to a member or the directory",
        "service/verifier/pack.py",
        "Verification._check_files",
        "zip_layout.find_faults(file)",
        "()",
        "tests/api/test_verify.py::test_bytes_that_belong_to_no_member_are_noticed",
    ),
    one(
        "A362",
        "what was compressed ends where its member ends",
        "service/verifier/zip_layout.py",
        "_require_complete_content",
        "inflating.unused_data or (inflating.eof and left)",
        "False",
        "tests/unit/test_zip_layout.py::test_the_content_takes_all_of_its_room",
    ),
    Defence(
        "A363",
        "the instructions of a pack name the hash of the verifier",
        (
            Text(
                "service/packs/instructions.txt",
                "whose verifier has the SHA-256 {sha256}\n",
                "which `pip install outbound` installs\n",
            ),
        ),
        "tests/api/test_verify.py::test_the_verifier_in_one_file_is_the_one_that_the_pack_names",
    ),
    one(
        "A364",
        "a claim that is not looked at is told as not checked",
        "service/verifier/replay.py",
        "Claim.verdict",
        "if self.omissions",
        "False",
        "tests/api/test_verify.py::test_the_verifier_in_one_file_says_what_it_does_not_check",
    ),
    one(
        "A365",
        "each column that a pack shows is what the last act wrote",
        "service/verifier/pack.py",
        "Verification._is_proved",
        "pack_columns.hash_value(bytes.fromhex(opening[1]), cell.content) == setting.hash",
        "True",
        "tests/faults/test_shown_columns.py::test_a_change_of_any_column_that_a_pack_shows_is_noticed",
    ),
    one(
        "A375",
        "an obligation is another's where its act wrote so",
        "service/verifier/pack.py",
        "Verification._exclude_foreign_obligations",
        "self._is_proved(cell, salts.get(cell.place))",
        "",
        "tests/api/test_verify.py::test_an_obligation_that_is_not_shown_is_one_of_others_or_was_left_out",
    ),
    one(
        "A366",
        "what the log has of a shown request is shown",
        "service/verifier/pack.py",
        "Verification._check_none_missing",
        "self.claims['records'].add_fault(…)",
        "",
        "tests/faults/test_shown_columns.py::test_what_is_moved_out_of_a_pack_is_noticed",
    ),
    one(
        "A367",
        "an entry that seals what its act wrote has it in the pack",
        "service/verifier/pack.py",
        "Verification._check_effects",
        "self.claims['columns'].add_gap(…)",
        "",
        "tests/api/test_verify.py::test_what_an_act_wrote_cannot_be_left_out_or_be_another",
    ),
    one(
        "A341",
        "each column is compared with what its entry says",
        "service/audit/state.py",
        "_Comparison._compare_row",
        "not is_same",
        "False",
        "tests/faults/test_state.py::test_each_column_that_somebody_changed_is_named",
    ),
    one(
        "A342",
        "a row that no entry made is named",
        "service/audit/state.py",
        "_Comparison._compare_row",
        "if not self._excuse(table, key, statements)",
        "False",
        "tests/faults/test_state.py::test_a_row_that_somebody_put_in_or_took_out_is_named",
    ),
    one(
        "A376",
        "differences are counted by kind and table",
        "service/audit/state.py",
        "StateResult.add",
        "self.counts[kind, table]",
        "self.counts.total()",
        "tests/faults/test_state.py::test_many_differences_hide_none_of_another_kind_or_in_another_table",
    ),
    one(
        "A343",
        "a baseline says nothing of what no entry of before is about",
        "service/audit/state.py",
        "_Comparison._excuse",
        "last = max((statement.seq for statement in statements or ()), default=0)",
        (
            "last = max((statement.seq for statement in statements or ()), default=0)\n"
            "        if by is None:\n"
            "            self._state.unstated.append((table, key))\n"
            "            return False"
        ),
        "tests/faults/test_state.py::test_a_database_of_before_is_compared_from_its_migration_on",
    ),
    one(
        "A344",
        "the salt of a column is no other column's",
        "service/audit/effects.py",
        "column_salt",
        "key + salt + f'{table}/{column}/{row}'.encode()",
        "key + salt",
        "tests/faults/test_state.py::test_a_column_is_checked_by_its_own_salt_alone",
    ),
    one(
        "A368",
        "settings of power that differ are stated",
        "service/audit/powers.py",
        "record_powers",
        "differing_names(last, powers)",
        "",
        "tests/faults/test_powers.py::test_what_a_service_starts_with_is_stated_once_and_compared",
    ),
)
