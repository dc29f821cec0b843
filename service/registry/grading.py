"""Decides which gradings a request makes of a dataset: effective, pending, or one of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.law.facts import Tag
from service.registry import tags as tagging
from service.registry.fields import Fields, compare_fields, is_freeing, parse_fields
from service.registry.schemas import NOT_NOTIFIED, GradingIn
from service.validation.problems import Invalid

Json = dict[str, Any]
Columns = dict[str, Any]
"""The columns of a row of `gradings`, save its id."""


@dataclass(frozen=True, slots=True)
class Graded:
    """A dataset before it is graded."""

    id: str
    tags: Sequence[str] | None
    """Effective tags; None: ungraded."""
    fields: Sequence[Json]
    facts: Json
    graded_fields: Sequence[Json] | None
    """Fields that the effective grading examined."""
    sensitive_fields: Sequence[str] | None
    """Fields that it named as sensitive."""
    last: int
    """Highest number of its gradings; 0: none."""

    COLUMNS: ClassVar = ("id", "tags", "fields", "facts", "graded_fields", "sensitive_fields")
    """Attributes that are columns of a dataset."""

    def effective_fields(self) -> Fields:
        """Return the fields as the effective grading examined them."""
        graded = parse_fields(self.graded_fields) or []
        return compare_fields(graded, graded, self.sensitive_fields)

    def fields_if_graded(self, sensitive: Sequence[str] | None) -> Fields:
        """Return the registered fields as a grading that names some as sensitive would examine them."""
        now = parse_fields(self.fields) or []
        return compare_fields(now, now, sensitive)


def gradings_of(dataset: Graded, request: GradingIn, caller: Caller, now: datetime) -> list[Columns]:
    """Return the gradings to record, in their order: an effective one, one that is pending a second person, or one of each.

    If the new tags add some protection and drop other, the effective grading carries both until the confirmation. A new grading supersedes
    a pending one; an effective one also supersedes the effective one. Source: GB/T 43697-2024 (grades follow the data; the higher one
    holds until an entitled person records a lower one).

    Example:
        for columns in gradings_of(Graded(**row), body, caller, tx.now):
            tx.add(Grading(id=new_id("gd"), **columns))

    Raises:
        Invalid: the grading does not fit this dataset.
    """
    _require_fitting(dataset, request, day_in_shanghai(now))
    tags = None if dataset.tags is None else [Tag(tag) for tag in dataset.tags]
    first = dataset.last + 1
    if tags is None or not (tagging.is_lowering(tags, request.tags) or _frees_fields(dataset, tags, request)):
        return [_columns(dataset, first, request, request.tags, "effective", caller, now)]
    if request.catalogue is None:
        # A lowering rests on a catalogue: where none is named apart, the basis is the reference to it.
        request = request.model_copy(update={"catalogue": request.basis})
    meanwhile = tagging.joined(tags, request.tags)
    gradings: list[Columns] = []
    if tagging.implied(meanwhile) != tagging.implied(tags):
        strictest = request.model_copy(update={"sensitive_fields": _not_plain(dataset, tags, request)})
        gradings.append(_columns(dataset, first, strictest, meanwhile, "effective", caller, now))
    gradings.append(_columns(dataset, first + len(gradings), request, request.tags, "pending", caller, now))
    return gradings


def details_of(grading: Columns) -> dict[str, Any]:
    """Return the details of a grading's audit entry."""
    members = ("number", "tags", "fields", "sensitive_fields", "state", "reason", "basis", "catalogue", "review_by")
    return {name: grading[name] for name in members}


def _require_fitting(dataset: Graded, request: GradingIn, today: date) -> None:
    if request.review_by is not None and request.review_by < today:
        raise Invalid("The day of the next review has passed.", errors=[("/review_by", "Choose a day to come.")])
    tags = [Tag(tag) for tag in dataset.tags or ()]
    if request.basis == NOT_NOTIFIED and request.catalogue is None and tagging.is_weighty(tags):
        raise Invalid(
            "The grade comes down on the ground that nobody has notified the data as important.",
            errors=[("/catalogue", "Name the catalogue that was looked at.")],
        )

    names = {field["name"] for field in dataset.fields}
    unknown = [
        (f"/sensitive_fields/{place}", "The dataset has no field of this name.")
        for place, name in enumerate(request.sensitive_fields or ())
        if name not in names
    ]
    if unknown:
        raise Invalid("The grading names fields that there are not.", errors=unknown)
    require_tag_of_minors(dataset.facts, request.tags)


def require_tag_of_minors(facts: Mapping[str, Any], tags: Iterable[str]) -> None:
    """Require the tag `sensitive` for data about persons under 14. Source: PIPL art. 28.

    Raises:
        Invalid: the tags lack it.
    """
    if tagging.lacks_tag_of_minors(map(Tag, tags), contains_minors=facts.get("contains_minors", False)):
        raise Invalid(
            "All information about persons under 14 is sensitive (PIPL art. 28).",
            errors=[("/tags", "The dataset contains minors: tag it sensitive.")],
        )


def _frees_fields(dataset: Graded, tags: Sequence[Tag], request: GradingIn) -> bool:
    """Return True if a field would stop counting as sensitive, which lowers a grade as dropping a tag does."""
    is_sensitive = Tag.SENSITIVE in tags and Tag.SENSITIVE in request.tags
    return is_sensitive and is_freeing(dataset.effective_fields(), dataset.fields_if_graded(request.sensitive_fields))


def _not_plain(dataset: Graded, tags: Sequence[Tag], request: GradingIn) -> Sequence[str] | None:
    """Return the sensitive fields while a lowering is pending: all except those that the effective grading examined as not sensitive."""
    if Tag.SENSITIVE not in tags:
        return request.sensitive_fields
    plain = dataset.effective_fields().plain
    return [field["name"] for field in dataset.fields if field["name"] not in plain] or None


def _columns(
    dataset: Graded, number: int, request: GradingIn, tags: Any, state: str, caller: Caller, now: datetime
) -> Columns:
    return {
        "dataset": dataset.id,
        "number": number,
        "tags": [str(tag) for tag in tagging.ordered(tags)],
        "fields": dataset.fields,
        "sensitive_fields": request.sensitive_fields if Tag.SENSITIVE in tags else None,
        "reason": request.reason,
        "basis": request.basis,
        "catalogue": request.catalogue,
        "review_by": request.review_by,
        "state": state,
        "graded_by": caller.principal,
        "graded_persons": caller.acting(),
        "graded_at": now,
        "confirmed_by": None,
        "confirmed_reason": None,
        "effective_at": now if state == "effective" else None,
        "ended_at": None,
    }
