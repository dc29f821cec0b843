"""Making data look harmless."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import one

REVIEWS: Final = "service/transfers/reviews.py"
GRADINGS: Final = "service/registry/gradings.py"
REGISTER: Final = "service/registry/operations.py"
DECIDE: Final = "service/gate/decide.py"
REGISTERED: Final = "tests/attacks/test_register.py::"
FREEING: Final = "tests/attacks/test_freeing.py::"
IMPORT_CSV: Final = "service/registry/import_csv.py"
FACTS: Final = "service/law/facts.py"

DEFENCES: Final = (
    one(
        "A27",
        "a lowering takes a second person",
        GRADINGS,
        "confirm_grading",
        "not persons.are_two(caller.persons, grading_persons)",
        "",
        REGISTERED + "test_tags_do_not_come_down_by_one_person_however_often_they_ask",
    ),
    one(
        "A28",
        "a raise puts a pending lowering aside",
        GRADINGS,
        "_record_gradings",
        "_supersede(…)",
        "",
        REGISTERED + "test_a_lowering_that_was_confirmed_too_late_does_not_undo_a_raise",
    ),
    one(
        "A30",
        "unknown members are refused",
        "service/registry/schemas.py",
        "_PatchPart",
        "'forbid'",
        "'ignore'",
        REGISTERED + "test_a_dataset_is_not_given_what_only_an_act_gives",
    ),
    one(
        "A33",
        "what nobody has graded goes nowhere",
        DECIDE,
        "decide",
        "Decision(allowed=False, reason=Reason.DATASET_UNGRADED)",
        "Decision(allowed=True, reason=Reason.GENERAL_DATA)",
        REGISTERED + "test_a_copy_of_core_data_under_another_name_goes_nowhere_before_it_is_graded",
    ),
    one(
        "A35",
        "a review is of the register as it was submitted",
        REVIEWS,
        "_require_unchanged",
        "not case.is_still(revision.content, revision.hash)",
        "False",
        REGISTERED + "test_a_handler_that_stops_being_critical_in_its_own_words_changes_no_permit",
    ),
    one(
        "A36",
        "a recipient abroad does not come home by an edit",
        REGISTER,
        "change_recipient",
        "patch.country == HOME and before.country != HOME",
        "False",
        REGISTERED + "test_a_recipient_abroad_does_not_come_to_be_at_home_by_an_edit",
    ),
    one(
        "A37",
        "what all share takes a registrar of all",
        REGISTER,
        "change_recipient",
        "caller.require_everywhere(…)",
        "",
        REGISTERED + "test_a_shared_recipient_is_not_changed_by_a_registrar_of_one_handler",
    ),
    one(
        "A38",
        "a permit is bound to its recipient as it was",
        DECIDE,
        "_binding",
        "terms.recipient is not None and terms.recipient != _as_recorded(facts.recipient, terms.recipient)",
        "False",
        REGISTERED + "test_a_permit_does_not_follow_its_recipient_to_another_country",
    ),
    one(
        "A39",
        "a permit is bound to the fields that were there",
        DECIDE,
        "_covers_fields",
        "exported <= set(permit.registered)",
        "",
        REGISTERED + "test_a_field_that_comes_later_is_not_in_an_old_permit",
    ),
    one(
        "A40",
        "a permit is bound to tags",
        DECIDE,
        "_binding",
        "terms.tags != facts.dataset.tags",
        "False",
        "tests/api/test_gate.py::test_a_raised_grade_denies_from_its_commit_on",
    ),
    one(
        "A29",
        "a system does not confirm",
        GRADINGS,
        "confirm_grading",
        "caller.kind != 'person'",
        "",
        "tests/api/test_registry.py::test_a_system_does_not_confirm",
    ),
    one(
        "A31",
        "an import knows its columns, and tags are none of them",
        IMPORT_CSV,
        "_header_faults",
        "column not in _COLUMNS + _FACTS",
        "False",
        REGISTERED + "test_an_import_sets_no_tags_and_takes_no_dataset_over",
    ),
    one(
        "A32",
        "data of several datasets is all that each of them is",
        FACTS,
        "merge_datasets",
        "frozenset().union",
        "frozenset.intersection",
        REGISTERED + "test_core_data_hidden_among_harmless_data_is_core",
    ),
    one(
        "A34",
        "data is foreign where each part of it is",
        FACTS,
        "merge_datasets",
        "all",
        "any",
        REGISTERED + "test_foreign_data_mixed_with_domestic_data_is_domestic",
    ),
    one(
        "A241",
        "a fact that frees takes a second person",
        "service/law/freeing.py",
        "apply_statement",
        "frees(subject, fact, current[fact], value)",
        "False",
        FREEING + "test_one_registrar_takes_no_exports_out_of_the_count_of_the_year",
    ),
    one(
        "A242",
        "a permit is bound to the facts that it was approved on",
        DECIDE,
        "_claimed",
        "law.with_claims(terms.transfer, terms.route, terms.handler, terms.dataset)",
        "law.with_claims(terms.transfer, terms.route)",
        FREEING + "test_a_permit_counts_by_the_facts_that_it_was_approved_on",
    ),
    one(
        "A243",
        "a permit is bound to the name of its recipient",
        DECIDE,
        "_as_recorded",
        "now if approved.name is not None else replace(now, name=None)",
        "replace(now, name=approved.name)",
        FREEING + "test_a_permit_does_not_follow_its_recipient_to_another_name",
    ),
    one(
        "A244",
        "names are part of what is reviewed",
        "service/transfers/case.py",
        "_drop_names",
        "{name: value for name, value in now.items() if name in said or name not in names}",
        "now | {name: member[name] for member in then if member['id'] == now['id'] for name in names if name in said}",
        FREEING + "test_what_is_renamed_in_review_is_submitted_anew",
    ),
    one(
        "A245",
        "a second spelling of a key is refused",
        "service/registry/key_spellings.py",
        "require_distinct",
        "others and distinct_from is None and (len(others) == len(twins))",
        "False",
        FREEING + "test_a_second_spelling_of_a_key_frees_nothing",
    ),
)
