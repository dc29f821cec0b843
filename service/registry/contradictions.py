"""Records and lists contradictions between statements of exporting systems and the tags of datasets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert

from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.http.paging import page_of
from service.http.references import is_of
from service.registry.schemas import ContradictionOut
from service.registry.tables import Contradiction, Dataset


async def record(tx: Transaction, dataset: Dataset, **stated: Any) -> None:
    """Record a contradiction, once a day for each grading, kind and principal.

    Args:
        tx: the transaction of the decision.
        dataset: a graded dataset.
        stated: `kind`, `principal`, `subject`, `persons` and `sensitive_persons`.
    """
    row = {
        "dataset": dataset.id,
        "grading": dataset.grading,
        "handler": dataset.handler,
        "day": day_in_shanghai(tx.now),
        "at": tx.now,
    }
    await tx.execute(insert(Contradiction).values(**row, **stated).on_conflict_do_nothing())


async def find_contradictions(
    tx: Transaction,
    *,
    handler: str | None,
    dataset: str | None,
    kind: str | None,
    is_open: bool | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[ContradictionOut], str | None]:
    """Return the contradictions about datasets that the caller may see, in the order of their ids.

    Args:
        tx: the transaction.
        handler: id or key.
        dataset: id or key.
        kind: the kind of the contradiction.
        is_open: True: those whose grading is still in effect; False: the others.
        cursor: of the page before.
        limit: items at most.
    """
    query = select(Contradiction)
    if handler is not None:
        query = query.where(is_of(Contradiction.handler, "handlers", handler))
    if dataset is not None:
        query = query.where(is_of(Contradiction.dataset, "datasets", dataset))
    if kind is not None:
        query = query.where(Contradiction.kind == kind)
    if is_open is not None:
        is_open_grading = tuple_(Contradiction.dataset, Contradiction.grading).in_(select(Dataset.id, Dataset.grading))
        query = query.where(is_open_grading if is_open else ~is_open_grading)
    rows, following = await page_of(tx, query, Contradiction.subject, cursor, limit)
    datasets = {
        graded.id: graded
        for graded in await tx.scalars(select(Dataset).where(Dataset.id.in_({row.dataset for row in rows})))
    }
    return [
        ContradictionOut(
            **{name: getattr(row, name) for name in ContradictionOut.model_fields if name not in {"key", "is_open"}},
            key=datasets[row.dataset].key,
            is_open=datasets[row.dataset].grading == row.grading,
        )
        for row in rows
    ], following
