"""What the effective grading of a row of the register looked at."""

from service.registry.fields import Fields, held_against, of_documents
from service.registry.tables import Dataset


def fields_of(dataset: Dataset) -> Fields:
    """Return the fields of a dataset, held against those that its effective grading looked at."""
    graded = dataset.graded_fields if dataset.graded_number == dataset.grading else None
    return held_against(of_documents(dataset.fields) or [], of_documents(graded), dataset.sensitive_fields)


def outdated_of(dataset: Dataset) -> list[str]:
    """Return the fields of a dataset that its grading says nothing about, in their order; none where nobody has graded it."""
    held = fields_of(dataset)
    return [] if dataset.tags is None else [name for name in held.names if name in held.outdated]
