"""Detects keys that are spellings of one key (see `key_normalization`), and applies the strictest grading to their datasets.

Twins are rows of one handler whose keys have the same normal form. They count as one thing until two persons declare them distinct.

1. Registration of a second spelling is refused, unless the registrar names the first one and gives a reason why the two are distinct.
2. Until a second person confirms that, `tags` of a dataset join its own grading with those of its twins. An ungraded one stays so.
3. Each act that changes a grading or a set of twins calls `settle_tags` in its transaction, because the gate reads `tags` alone.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from service.access.caller import Caller
from service.audit.actions import AuditAction
from service.database.session import ConcurrentChangeError, Transaction
from service.events import operations as events
from service.law.facts import Tag
from service.registry import tags as tagging
from service.registry.key_normalization import folded_key
from service.registry.tables import Dataset, Grading, Handler, Recipient
from service.validation.problems import AlreadyExists, Invalid

Row = TypeVar("Row", Handler, Dataset, Recipient)

MAX_UNFOLDED: Final = 1000
"""Rows of the version before, without folded keys, that are updated at a time."""


class TwinExists(AlreadyExists):
    """Signals a key that is another spelling of a registered one."""

    slug, title = "twin-exists", "Another spelling of this key is registered"


async def require_distinct(
    tx: Transaction, caller: Caller, table: type[Row], handler: str | None, key: str, distinct_from: str | None
) -> int:
    """Return the number of a new key among its spellings.

    Args:
        tx: the transaction.
        caller: the registrar.
        table: the table of the key.
        handler: id of the handler; None: keys that all handlers share.
        key: the new key.
        distinct_from: id or key of the other spelling from which the caller declares it distinct.

    Raises:
        TwinExists: another spelling is registered, and `distinct_from` does not name it.
        Invalid: `distinct_from` names no spelling of this key.
    """
    await fold_keys(tx, caller, table, handler)
    twins = await spellings(tx, table, handler, [folded_key(key)])
    others = [spelling for spelling in twins if spelling.key != key]
    if distinct_from is not None and not any(distinct_from in {spelling.id, spelling.key} for spelling in others):
        raise Invalid(
            "The key is no other spelling of what `distinct_from` names.",
            errors=[("/distinct_from", "Name a spelling of this key, by id or key; leave it out where there is none.")],
        )
    if others and distinct_from is None and len(others) == len(twins):
        first = others[0]
        raise TwinExists(
            f"{first.key} ({first.id}) is another spelling of this key. Work on that one; or, if the two are not one thing, name it in "
            "`distinct_from`, with a `reason`.",
            errors=[("/key", f"Another spelling is registered: {first.key}.")],
            twin={"id": first.id, "key": first.key},
        )
    return max((spelling.twin_number for spelling in twins), default=-1) + 1


async def spellings(tx: Transaction, table: type[Row], handler: str | None, folded: Collection[str]) -> Sequence[Row]:
    """Return the rows with any of some folded keys, in the order of registration."""
    query = select(table).where(table.folded_key.in_(folded)).order_by(table.id)
    if table is Dataset and handler is not None:
        query = query.where(Dataset.handler == handler)
    return (await tx.scalars(query)).all()


async def fold_keys(tx: Transaction, caller: Caller, table: type[Row], handler: str | None) -> None:
    """Fill in the folded keys of rows that a process of the version before has registered."""
    query = select(table).where(table.folded_key.is_(None)).order_by(table.id).limit(MAX_UNFOLDED)
    if table is Dataset and handler is not None:
        query = query.where(Dataset.handler == handler)
    for row in (await tx.scalars(query.with_for_update(key_share=True))).all():
        folded = folded_key(row.key)
        last = select(func.max(table.twin_number)).where(table.folded_key == folded)
        if isinstance(row, Dataset):
            last = last.where(Dataset.handler == row.handler)
        highest = await tx.scalar(last)
        row.folded_key, row.twin_number = folded, 0 if highest is None else highest + 1
        await flush_keys(tx)
        if isinstance(row, Dataset) and row.twin_number:
            await settle_tags(tx, caller, row.handler, [folded])


async def flush_keys(tx: Transaction) -> None:
    """Flush new keys; a clash with another spelling makes the caller retry the transaction.

    Raises:
        ConcurrentChangeError: another transaction has registered a spelling meanwhile.
    """
    try:
        await tx.flush()
    except IntegrityError as error:
        cause = getattr(error.orig, "__cause__", None)
        if str(getattr(cause, "constraint_name", "")).endswith("_twins"):
            raise ConcurrentChangeError from error
        raise


async def settle_tags(tx: Transaction, caller: Caller, handler: str, folded: Collection[str]) -> None:
    """Join the tags of datasets of one handler that share a folded key and are not declared distinct.

    Example:
        grading.state = "effective"
        await key_spellings.settle_tags(tx, caller, dataset.handler, [dataset.folded_key])
    """
    await tx.flush()
    query = (
        select(Dataset)
        .where(Dataset.handler == handler, Dataset.folded_key.in_(folded))
        .order_by(Dataset.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    groups: dict[str | None, list[Dataset]] = {}
    for row in (await tx.scalars(query)).all():
        groups.setdefault(row.folded_key, []).append(row)
    shared = [row for group in groups.values() if len(group) > 1 for row in group]
    if not shared:
        return
    own = await _own_tags(tx, [row.id for row in shared])
    for row in shared:
        twins = [other.id for other in groups[row.folded_key] if other is not row and other.id not in row.distinct_from]
        tags = effective_tags(own.get(row.id), [own.get(twin) for twin in twins])
        if (row.twins, row.tags) != (twins, tags):
            row.twins, row.tags, row.updated_at = twins, tags, tx.now
            tx.can_deny = True
            _record_change(tx, caller, row)
    await tx.flush()


async def settle_regraded(tx: Transaction, caller: Caller, datasets: Collection[str]) -> None:
    """Join the tags of datasets whose grading has changed and that have twins."""
    await tx.flush()
    query = select(Dataset.handler, Dataset.folded_key).where(Dataset.id.in_(datasets), Dataset.twins != [])
    groups: dict[str, set[str]] = {}
    for handler, folded in (await tx.execute(query)).all():
        groups.setdefault(handler, set()).add(folded or "")
    for handler, keys in sorted(groups.items()):
        await settle_tags(tx, caller, handler, keys)


def effective_tags(own: Sequence[str] | None, twins: Sequence[Sequence[str] | None]) -> list[str] | None:
    """Return the tags of a dataset joined with those of its twins; None while the dataset itself is ungraded."""
    if own is None:
        return None
    return [str(tag) for tag in tagging.ordered(Tag(tag) for tags in (own, *twins) for tag in tags or ())]


async def _own_tags(tx: Transaction, datasets: Sequence[str]) -> dict[str, list[str]]:
    query = select(Grading.dataset, Grading.tags).where(Grading.dataset.in_(datasets), Grading.state == "effective")
    return {dataset: tags for dataset, tags in (await tx.execute(query)).all()}  # noqa: C416 - rows are no pairs


def _record_change(tx: Transaction, caller: Caller, row: Dataset) -> None:
    details: dict[str, Any] = {"twins": row.twins, "distinct_from": row.distinct_from, "tags": row.tags}
    events.record(
        tx,
        caller,
        events.Change(
            action=AuditAction.DATASET_TWINS_CHANGED,
            subject=row.id,
            handler=row.handler,
            details=details,
            figures={"key": row.key},
            link=f"/v1/datasets/{row.id}",
        ),
    )
