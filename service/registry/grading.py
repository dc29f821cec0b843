"""What one grading of a dataset records: the rule for one dataset, for many at once, and for whatever comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from service.http.caller import Caller
from service.http.problems import Invalid
from service.law.calendar import day_in_shanghai
from service.law.facts import Tag
from service.registry import tags as tagging
from service.registry.schemas import NOT_NOTIFIED, GradingIn

Columns = dict[str, Any]
"""The columns of a row of `gradings`, save its id."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A dataset as it is before it is graded."""

    id: str
    tags: Sequence[str] | None
    """Those that hold; None: nobody has graded it."""
    last: int
    """The highest number of its gradings; 0: it has none."""


def gradings_of(dataset: Graded, wanted: GradingIn, caller: Caller, now: datetime) -> list[Columns]:
    """Return the gradings to record, in their order: one that takes effect, one that waits for a second person, or one of each.

    Where the new tags add some protection and drop other, both stand until the confirmation. Source: GB/T 43697-2024 (grades follow
    the data; the higher one holds until somebody entitled records a lower one). Whatever waits already is superseded by any of them, and
    what holds by one that takes effect.

    Raises:
        Invalid: the grading does not fit this dataset.
    """
    _demand_fitting(dataset, wanted, day_in_shanghai(now))
    held = None if dataset.tags is None else [Tag(tag) for tag in dataset.tags]
    first = dataset.last + 1
    if held is None or not tagging.is_lowering(held, wanted.tags):
        return [_columns(dataset, first, wanted, wanted.tags, "effective", caller, now)]
    if wanted.catalogue is None:
        # A lowering rests on a catalogue: where none is named apart, the basis is the reference to it.
        wanted = wanted.model_copy(update={"catalogue": wanted.basis})
    meanwhile = tagging.joined(held, wanted.tags)
    made: list[Columns] = []
    if tagging.implied(meanwhile) != tagging.implied(held):
        made.append(_columns(dataset, first, wanted, meanwhile, "effective", caller, now))
    made.append(_columns(dataset, first + len(made), wanted, wanted.tags, "pending", caller, now))
    return made


def details_of(grading: Columns) -> dict[str, Any]:
    """Return what the entry of a grading says."""
    told = ("number", "tags", "state", "reason", "basis", "catalogue", "review_by")
    return {name: grading[name] for name in told}


def _demand_fitting(dataset: Graded, wanted: GradingIn, today: date) -> None:
    if wanted.review_by is not None and wanted.review_by < today:
        raise Invalid("The day of the next review has passed.", errors=[("/review_by", "Choose a day to come.")])
    held = [Tag(tag) for tag in dataset.tags or ()]
    if wanted.basis == NOT_NOTIFIED and wanted.catalogue is None and tagging.is_weighty(held):
        raise Invalid(
            "The grade comes down on the ground that nobody has notified the data as important.",
            errors=[("/catalogue", "Name the catalogue that was looked at.")],
        )


def _columns(
    dataset: Graded, number: int, wanted: GradingIn, tags: Any, state: str, caller: Caller, now: datetime
) -> Columns:
    return {
        "dataset": dataset.id,
        "number": number,
        "tags": [str(tag) for tag in tagging.ordered(tags)],
        "reason": wanted.reason,
        "basis": wanted.basis,
        "catalogue": wanted.catalogue,
        "review_by": wanted.review_by,
        "state": state,
        "graded_by": caller.principal,
        "graded_persons": caller.acting(),
        "graded_at": now,
        "confirmed_by": None,
        "confirmed_reason": None,
        "effective_at": now if state == "effective" else None,
        "ended_at": None,
    }
