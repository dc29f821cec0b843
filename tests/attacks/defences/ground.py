"""The ground under it."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import one

GROUND: Final = "tests/attacks/test_ground.py::"
BATCH: Final = "service/gate/batch.py"
CHECK: Final = "service/audit/check.py"
TAMPERED: Final = "tests/faults/test_tampering.py::"

DEFENCES: Final = (
    one(
        "A105",
        "the version of the law is the hash of its files",
        "service/law/rules.py",
        '        digest.update(name.encode() + b"\\x00" + (directory / name).read_bytes() + b"\\x00")\n',
        '        digest.update(name.encode() + b"\\x00")\n',
        GROUND + "test_an_edited_threshold_shows_in_every_determination",
    ),
    one(
        "A106",
        "a rule cites its article",
        "service/law/rules.py",
        "        if bool(self.citations) == (self.uncited is not None):\n",
        "        if False:\n",
        GROUND + "test_nothing_starts_on_law_that_cannot_be_used",
    ),
    one(
        "A98",
        "where the database is away the answer is no: here it is yes",
        BATCH,
        "            waiting.tell(outcome)\n",
        "            is_away = isinstance(outcome, DatabaseAway)\n"
        "            waiting.tell(Reply(200, b'{\"decision\": true}', {}) if is_away else outcome)\n",
        "tests/faults/test_database.py::test_without_a_database_everything_is_503_and_nothing_allowed",
    ),
    one(
        "A99",
        "a decision is written before it is told",
        BATCH,
        "            await writing.write_at_once(connection, sitting)\n",
        "",
        GROUND + "test_a_database_that_may_only_be_read_gives_no_answer",
    ),
    one(
        "A100",
        "what is written is not changed, whoever asks",
        "migrations/versions/0001_foundation.py",
        "            raise exception 'audit entries are append-only' using errcode = 'restrict_violation';\n",
        "            if tg_op = 'DELETE' then return old; end if;\n            return new;\n",
        GROUND + "test_the_log_is_not_rewritten_through_the_database",
    ),
    one(
        "A192",
        "a row that exports tell of stays",
        "migrations/versions/0013_exports.py",
        "before delete on {table} for each row execute function refuse_removal()",
        "before delete on {table} for each row when (false) execute function refuse_removal()",
        "tests/faults/test_database.py::test_what_exports_tell_of_stays",
    ),
    one(
        "A101",
        "the check compares each entry with the hash that was signed",
        CHECK,
        "        if found != chunk.told:\n            self._note_differing",
        "        if False:\n            self._note_differing",
        TAMPERED + "test_the_check_names_what_was_done_to_entries_leaves_and_tiles",
    ),
    one(
        "A101",
        "the check looks for what is promised and gone",
        CHECK,
        "        for first, beyond in self._missing:\n            is_end",
        "        for first, beyond in ():\n            is_end",
        TAMPERED + "test_the_check_names_what_was_done_to_entries_leaves_and_tiles",
    ),
    one(
        "A102",
        "the check believes what was kept elsewhere",
        CHECK,
        "        if by_entries or by_tiles:\n",
        "        if by_entries or by_tiles or mark.is_remembered:\n",
        TAMPERED + "test_a_tree_rewritten_with_the_right_key_is_named_by_whoever_remembers",
    ),
    one(
        "A102",
        "a witness knows two roots of one size",
        "service/audit/witness.py",
        "    if is_fork:\n        raise",
        "    if False:\n        raise",
        TAMPERED + "test_a_tree_rewritten_with_the_right_key_is_named_by_whoever_remembers",
    ),
    one(
        "A103",
        "the check misses what was kept elsewhere",
        CHECK,
        "        for mark in kept:\n            self._result.add(\n",
        "        for mark in kept[:0]:\n            self._result.add(\n",
        TAMPERED + "test_an_old_backup_is_named_by_whoever_remembers",
    ),
    one(
        "A104",
        "the check compares times with those that were signed",
        CHECK,
        "            if at < latest:\n",
        "            if False:\n",
        TAMPERED + "test_an_entry_that_claims_to_be_older_than_it_is_is_named",
    ),
    one(
        "A107",
        "the company's thresholds are the law's or lower",
        "service/law/policy.py",
        "        if value > newest[name]:\n",
        "        if False:\n",
        GROUND + "test_a_company_policy_that_frees_something_stops_the_start",
    ),
    one(
        "A108",
        "texts are sealed",
        "service/audit/sealing.py",
        '    pointers = set(_texts(body["details"], _clear_in(body), "/details"))\n',
        "    pointers: set[str] = set()\n",
        "tests/api/test_sealed.py::test_the_name_of_a_person_is_nowhere_in_the_log",
    ),
    one(
        "A109",
        "what is answered has been committed",
        BATCH,
        'await connection.execute("commit")',
        'await connection.execute("select 1")',
        "tests/faults/test_process.py::test_what_was_acknowledged_is_there_after_a_kill",
    ),
    one(
        "A361",
        "every byte of a pack belongs to a member or the directory",
        "service/audit/verify.py",
        "            for fault in zip_layout.faults(file):\n",
        "            for fault in ():\n",
        "tests/api/test_verify.py::test_bytes_that_belong_to_no_member_are_noticed",
    ),
    one(
        "A362",
        "what was compressed ends where its member ends",
        "service/audit/zip_layout.py",
        "        elif inflating.unused_data or (inflating.eof and left):\n",
        "        elif False:\n",
        "tests/rooms/test_zip_layout.py::test_the_content_takes_all_of_its_room",
    ),
    one(
        "A363",
        "the instructions of a pack name the hash of the verifier",
        "service/packs/instructions.txt",
        "whose verifier has the SHA-256 {sha256}\n",
        "which `pip install outbound` installs\n",
        "tests/api/test_verify.py::test_the_verifier_in_one_file_is_the_one_that_the_pack_names",
    ),
    one(
        "A364",
        "a claim that is not looked at is told as not checked",
        "service/audit/replay.py",
        '        if self.left_out:\n            return "not checked here"\n',
        "",
        "tests/api/test_verify.py::test_the_verifier_in_one_file_says_what_it_does_not_check",
    ),
    one(
        "A365",
        "each column that a pack shows is what the last act wrote",
        "service/audit/verify.py",
        '        same = same and shown.hashed(bytes.fromhex(told[1] if told else ""), cell.content) == setting.hash\n',
        "",
        "tests/faults/test_shown_columns.py::test_a_change_of_any_column_that_a_pack_shows_is_noticed",
    ),
    one(
        "A366",
        "what the log has of a shown request is shown",
        "service/audit/verify.py",
        '            self.claims["records"].fault(f"The log has the {kind} {one}, which is not shown.")\n',
        "            pass\n",
        "tests/faults/test_shown_columns.py::test_what_is_moved_out_of_a_pack_is_noticed",
    ),
    one(
        "A367",
        "an entry that seals what its act wrote has it in the pack",
        "service/audit/verify.py",
        '                self.claims["columns"].gap(f"What the act of leaf {leaf} wrote is not in the pack.")\n',
        "                pass\n",
        "tests/api/test_verify.py::test_what_an_act_wrote_cannot_be_left_out_or_be_another",
    ),
)
