"""What a grading says of a dataset's fields, without a database."""

import pytest

from service.law.categories import is_sensitive_category
from service.law.facts import Tag
from service.registry.fields import NO_FIELDS, Field, Fields, compare_fields, is_freeing, parse_fields, sensitive_of
from service.registry.tags import lacks_tag_of_minors

CITY, NOTE = Field("city", "text"), Field("note", "text", "user.content")
HEALTH = Field("diagnosis", "text", "user.health_and_medical.record_id")


def test_a_field_that_came_later_or_is_another_type_or_category_is_outdated() -> None:
    graded = [CITY, NOTE, HEALTH]
    assert compare_fields([HEALTH, CITY], graded, None).outdated == frozenset()
    now = [CITY, Field("note", "text"), Field("diagnosis", "blob", HEALTH.category), Field("face", "blob")]
    held = compare_fields(now, graded, ["city"])
    assert held.outdated == {"note", "diagnosis", "face"}
    assert held.names == ["city", "note", "diagnosis", "face"]
    assert (held.graded, held.plain) == ({"city", "note", "diagnosis"}, frozenset())
    assert held.are_outdated(None)
    assert held.are_outdated(["city", "face"])
    assert not held.are_outdated(["city"])


def test_where_nobody_knows_what_was_looked_at_all_is_outdated() -> None:
    held = compare_fields([CITY], None, None)
    assert (held.outdated, held.plain, held.graded) == ({"city"}, frozenset(), frozenset())
    assert not compare_fields([], None, None).are_outdated(None)


def test_a_dataset_that_was_graded_without_fields_has_none_that_was_looked_at() -> None:
    assert compare_fields([CITY], [], None).outdated == {"city"}
    whole = compare_fields([], [], None)
    assert (whole, NO_FIELDS) == (Fields(names=[]), Fields(names=()))
    assert whole.are_graded(["anything"])
    assert not compare_fields([CITY], [CITY], None).are_graded(["city", "anything"])
    assert compare_fields([], [CITY], None).are_graded(["city"])
    assert not compare_fields([], [CITY], None).are_graded(["anything"])
    assert compare_fields([CITY], [CITY], None).are_graded(None)


def test_sensitive_are_the_named_fields_or_those_whose_category_says_so_or_all() -> None:
    fields = [CITY, NOTE, HEALTH]
    assert sensitive_of(fields) == ["diagnosis"]
    assert sensitive_of([CITY, NOTE]) is None
    assert compare_fields(fields, fields, None).plain == {"city", "note"}
    assert compare_fields(fields, fields, ["city"]).plain == {"note", "diagnosis"}
    assert compare_fields([CITY, NOTE], [CITY, NOTE], None).plain == frozenset()
    assert compare_fields(fields, fields, None).are_plain(["city", "note"])
    for wanted in (["city", "diagnosis"], ["city", "unregistered"], [], None):
        assert not compare_fields(fields, fields, None).are_plain(wanted)


def test_to_take_fewer_fields_for_sensitive_frees_and_a_field_that_nobody_looked_at_does_not() -> None:
    def held(fields: list[Field], sensitive: list[str] | None) -> Fields:
        return compare_fields(fields, fields, sensitive)

    assert is_freeing(held([CITY, NOTE], ["city"]), held([CITY, NOTE], ["note"]))
    assert is_freeing(held([CITY, NOTE], None), held([CITY, NOTE, HEALTH], None))
    assert not is_freeing(held([CITY, NOTE], ["city"]), held([CITY, NOTE], ["city", "note"]))
    assert not is_freeing(held([CITY], ["city"]), held([CITY, NOTE], ["city"]))


@pytest.mark.parametrize(
    ("category", "is_sensitive"),
    [
        ("user.biometric", True),
        ("user.biometric.fingerprint", True),
        ("User.Biometric", True),
        ("user.government_id.national_identification_number", True),
        ("user.contact.email, user.financial.bank_account", True),
        ("user.contact.email user.payment", True),
        ("user.location.precise", True),
        ("location_track", True),
        ("user.demographic.religious_belief", True),
        ("user.location", False),
        ("user.location.imprecise", False),
        ("user.biometrics", False),
        ("user", False),
        ("user.contact.email", False),
        ("system.operations", False),
        ("", False),
    ],
)
def test_what_a_category_says(category: str, is_sensitive: bool) -> None:  # noqa: FBT001
    assert is_sensitive_category(category) is is_sensitive


def test_fields_are_read_as_the_register_keeps_them() -> None:
    assert parse_fields(None) is None
    assert parse_fields([{"name": "city", "type": "text"}]) == [CITY]
    assert parse_fields([{"name": "note", "type": "text", "category": "user.content"}]) == [NOTE]


def test_data_about_minors_takes_the_tag_sensitive() -> None:
    assert lacks_tag_of_minors([Tag.PERSONAL], contains_minors=True)
    assert lacks_tag_of_minors([], contains_minors=True)
    assert not lacks_tag_of_minors([Tag.SENSITIVE], contains_minors=True)
    assert not lacks_tag_of_minors([], contains_minors=False)
