"""Lists contradictions of what is stated and the tags of datasets for their registrars, written with the decision that denies."""

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
    """Keep what was stated, unless the same principal has stated the like of it today.

    Args:
        tx: the transaction of the act that states it.
        dataset: what it is about; graded.
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
    """Return what was stated against the tags of the datasets that the caller may see, in the order of their ids.

    Args:
        tx: the transaction.
        handler: id or key.
        dataset: id or key.
        kind: what contradicts.
        is_open: those whose grading still stands, or the others.
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
        stands = tuple_(Contradiction.dataset, Contradiction.grading).in_(select(Dataset.id, Dataset.grading))
        query = query.where(stands if is_open else ~stands)
    rows, following = await page_of(tx, query, Contradiction.subject, cursor, limit)
    datasets = {
        one.id: one for one in await tx.scalars(select(Dataset).where(Dataset.id.in_({row.dataset for row in rows})))
    }
    return [
        ContradictionOut(
            **{name: getattr(row, name) for name in ContradictionOut.model_fields if name not in {"key", "is_open"}},
            key=datasets[row.dataset].key,
            is_open=datasets[row.dataset].grading == row.grading,
        )
        for row in rows
    ], following
