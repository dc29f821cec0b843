"""Saying what the register does not say."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, one

DECIDE: Final = "service/gate/decide.py"
FIELDS: Final = "service/registry/fields.py"
GRADING: Final = "service/registry/grading.py"
CASE: Final = "service/transfers/case.py"
FACTS: Final = "service/law/facts.py"
SAID: Final = "tests/api/test_said.py::"

DEFENCES: Final[tuple[Defence, ...]] = (
    one(
        "A261",
        "persons of general data contradict it",
        DECIDE,
        "contradicted",
        "not dataset.is_personal and count != Count()",
        "False",
        SAID + "test_persons_of_general_data_contradict_it_and_none_do_not",
    ),
    one(
        "A262",
        "sensitive persons want the tag",
        DECIDE,
        "contradicted",
        "count.sensitive_persons and (not is_sensitive)",
        "False",
        SAID + "test_sensitive_persons_of_data_without_the_tag_contradict_it",
    ),
    one(
        "A263",
        "sensitive fields want sensitive persons",
        DECIDE,
        "contradicted",
        "is_sensitive and (dataset.contains_minors or not fields.are_plain(exported))",
        "False",
        SAID + "test_sensitive_data_wants_its_sensitive_persons_where_sensitive_fields_go",
    ),
    one(
        "A264",
        "a field that no grading looked at goes nowhere",
        DECIDE,
        "decide",
        "fields.are_outdated(ask.fields) or (is_general and (not fields.are_graded(ask.fields)))",
        "False",
        SAID + "test_a_field_that_comes_after_the_grading_goes_nowhere_until_somebody_looks",
    ),
    one(
        "A265",
        "type and category belong to a field",
        FIELDS,
        "compare_fields",
        "graded_by_name.get(field.name) != field",
        "field.name not in graded_by_name",
        SAID + "test_another_type_or_category_outdates_and_another_title_or_a_removal_does_not",
    ),
    one(
        "A266",
        "fewer sensitive fields take a second person",
        GRADING,
        "_frees_fields",
        "is_sensitive and is_freeing(dataset.effective_fields(), dataset.fields_if_graded(request.sensitive_fields))",
        "False",
        SAID + "test_to_name_fewer_sensitive_fields_takes_a_second_person",
    ),
    one(
        "A267",
        "what takes effect is what was looked at",
        "service/registry/gradings.py",
        "_take_effect",
        "grading.fields",
        "dataset.fields",
        SAID + "test_a_field_that_comes_while_a_lowering_waits_is_not_among_those_that_were_looked_at",
    ),
    one(
        "A268",
        "data about minors takes the tag",
        "service/registry/tags.py",
        "lacks_tag_of_minors",
        "contains_minors and Tag.SENSITIVE not in set(tags)",
        "False",
        SAID + "test_data_about_minors_is_tagged_sensitive_in_either_order",
    ),
    one(
        "A269",
        "sensitive data concerns somebody, or a person says what is left out",
        FACTS,
        "_sensitive_faults",
        "not transfer.sensitive_left_out",
        "False",
        SAID + "test_a_determination_of_sensitive_data_takes_the_statement",
    ),
    one(
        "A270",
        "what is left out is held against the gradings",
        CASE,
        "facts_of",
        "wrong += _field_faults(case)",
        "pass",
        SAID + "test_sensitive_data_is_not_submitted_with_nobody_sensitive_unless_the_sensitive_fields_are_left_out",
    ),
    one(
        "A271",
        "nothing registered is nothing covered",
        DECIDE,
        "_covers_fields",
        "exported <= set(permit.registered)",
        "(not permit.registered or exported <= set(permit.registered))",
        SAID + "test_a_permit_that_was_approved_without_any_field_covers_none_that_comes_later",
    ),
    one(
        "A272",
        "an empty list is refused",
        "service/gate/schemas.py",
        "",
        "min_length=",
        "",
        SAID + "test_an_empty_list_of_fields_is_refused_everywhere",
    ),
)
