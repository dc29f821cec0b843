"""Finds fields of a dataset that its effective grading has not examined, in rows, in JSON and in SQL."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, literal_column

from service.law.facts import Tag
from service.registry import tags as tagging
from service.registry.fields import Fields, compare_fields, parse_fields
from service.registry.tables import Dataset

GRADING_COLUMNS: Final = ("tags", "grading", "graded_fields", "graded_number", "sensitive_fields")
"""Columns that state the effective grading and its fields."""
IS_OUTDATED: Final[ColumnElement[bool]] = literal_column(
    """(
      datasets.tags is not null and datasets.fields::text is distinct from (
        case when datasets.graded_number = datasets.grading then datasets.graded_fields end
      )::text and exists (
        select from json_array_elements(datasets.fields) f where not exists (
          select from json_array_elements(datasets.graded_fields) g
          where datasets.graded_number = datasets.grading and g ->> 'name' = f ->> 'name' and g ->> 'type' = f ->> 'type'
            and g ->> 'category' is not distinct from f ->> 'category'
        )
      )
    )""",
    Boolean,
)
"""Condition in SQL that a dataset has outdated fields; equal to a non-empty `outdated_of`."""


def fields_of(dataset: Dataset) -> Fields:
    """Return the fields of a dataset, compared with those that its effective grading examined."""
    return _compare_columns({name: getattr(dataset, name) for name in ("fields", *GRADING_COLUMNS)})


def outdated_of(dataset: Dataset) -> list[str]:
    """Return the fields of a dataset that its grading has not examined, in their order; none if it is ungraded."""
    return outdated_in({name: getattr(dataset, name) for name in ("fields", *GRADING_COLUMNS)})


def outdated_in(dataset: Mapping[str, Any]) -> list[str]:
    """Return the outdated fields of a dataset given as JSON."""
    fields = _compare_columns(dataset)
    return [] if dataset["tags"] is None else [name for name in fields.names if name in fields.outdated]


def newly_outdated_in(dataset: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the fields that become outdated with a change.

    Args:
        dataset: its columns before the change.
        after: the changed members, with their new values.
    """
    before = set(outdated_in(dataset))
    return [name for name in outdated_in({**dataset, **after}) if name not in before]


def lacks_tag_of_minors(dataset: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return True if a change declares persons under 14 in graded data without the tag `sensitive`."""
    is_news = after["facts"]["contains_minors"] and not dataset["facts"].get("contains_minors", False)
    tags = dataset["tags"]
    return tags is not None and tagging.lacks_tag_of_minors(map(Tag, tags), contains_minors=is_news)


def _compare_columns(dataset: Mapping[str, Any]) -> Fields:
    graded = dataset["graded_fields"] if dataset["graded_number"] == dataset["grading"] else None
    return compare_fields(parse_fields(dataset["fields"]) or [], parse_fields(graded), dataset["sensitive_fields"])
