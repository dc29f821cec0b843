"""Records, confirms and lists gradings, the dated acts that set a dataset's tags. An effective one closes the gate at its commit."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from service.access import directory, persons
from service.access.caller import Caller
from service.audit.actions import AuditAction
from service.clock import SHANGHAI, day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.registry import key_spellings
from service.registry.grading import Columns, Graded, details_of, gradings_of, require_tag_of_minors
from service.registry.operations import REGISTRARS, check_scale, dataset_of
from service.registry.schemas import (
    ConfirmIn,
    GradingIn,
    GradingOut,
)
from service.registry.tables import Dataset, Grading
from service.validation.problems import Conflict, Forbidden, NotFound


async def grade(tx: Transaction, caller: Caller, reference: str, body: GradingIn) -> GradingOut:
    """Grade a dataset: effective at once if no protection is lost, else pending a second person (see `gradings_of`).

    Example:
        body = GradingIn(tags=["personal"], reason="Reviewed the fields.", basis="Catalogue 2026, entry 4")
        grading = await gradings.grade(tx, caller, "crm/customers", body)

    Raises:
        Invalid: `review_by` has passed.
    """
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.require(REGISTRARS, dataset.handler)
    return await _record_gradings(tx, caller, dataset, body)


async def _record_gradings(tx: Transaction, caller: Caller, dataset: Dataset, body: GradingIn) -> GradingOut:
    last = await tx.scalar(select(func.max(Grading.number)).where(Grading.dataset == dataset.id))
    before = {name: getattr(dataset, name) for name in Graded.COLUMNS}
    new = gradings_of(Graded(**before, last=last or 0), body, caller, tx.now)
    await _supersede(tx, dataset.id, "pending")
    recorded = [await _record(tx, caller, dataset, columns) for columns in new]
    await key_spellings.settle_regraded(tx, caller, [dataset.id])
    return GradingOut.of(recorded[-1])


async def confirm_grading(tx: Transaction, caller: Caller, reference: str, number: int, body: ConfirmIn) -> GradingOut:
    """Confirm a pending grading, as a second person.

    Raises:
        NotFound: no such grading.
        Conflict: it is not pending.
        Forbidden: the caller made it.
    """
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.require(REGISTRARS, dataset.handler)
    grading = await _grading(tx, dataset.id, number, refresh=True)
    if grading.state != "pending":
        raise Conflict(f"This grading is {grading.state}; only a pending one can be confirmed.")
    grading_persons = await directory.persons_of(tx, (grading.graded_by, grading.graded_persons))
    if caller.kind != "person" or not persons.are_two(caller.persons, grading_persons):
        raise Forbidden(
            "A lowering takes a second person than the one who asked for it, each with a key that the other has neither made nor seen."
        )
    require_tag_of_minors(dataset.facts, grading.tags)
    tx.can_deny = True
    await _supersede(tx, dataset.id, "effective")
    grading.state, grading.confirmed_by, grading.effective_at = "effective", caller.principal, tx.now
    grading.confirmed_persons = caller.acting()
    grading.confirmed_reason, grading.catalogue = body.reason, body.catalogue or grading.catalogue
    _take_effect(tx, dataset, grading)
    details = {
        "number": number,
        "tags": grading.tags,
        "reason": body.reason,
        "catalogue": grading.catalogue,
    }
    _record_event(tx, caller, AuditAction.DATASET_GRADING_CONFIRMED, dataset, details, [grading.graded_by], body.reason)
    await key_spellings.settle_regraded(tx, caller, [dataset.id])
    await tx.flush()
    return GradingOut.of(grading)


async def list_gradings(
    tx: Transaction, caller: Caller, reference: str, as_of: date | None, cursor: str | None, limit: int
) -> tuple[Sequence[GradingOut], str | None]:
    """Return the gradings of a dataset, oldest first; with `as_of`, the one in effect at the end of that day."""
    dataset = await dataset_of(tx, caller, reference)
    query = select(Grading).where(Grading.dataset == dataset.id)
    if as_of is not None:
        query = query.where(_effective_on(as_of))
    rows, following = await page_of(tx, query, Grading.number, cursor, limit)
    return [GradingOut.of(row) for row in rows], following


async def find_gradings(
    tx: Transaction,
    *,
    state: str | None,
    handler: str | None,
    dataset: str | None,
    tag: str | None,
    overdue: bool | None,
    review_before: date | None,
    as_of: date | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[GradingOut], str | None]:
    """Return gradings of all datasets that the caller may see, oldest first.

    Args:
        tx: the transaction.
        state: `effective`, `pending` or `superseded`.
        handler: id or key.
        dataset: id or key.
        tag: one of its tags.
        overdue: True: effective ones whose day of review has passed; False: the others.
        review_before: effective ones with a day of review before this day.
        as_of: those in effect at the end of this day in Asia/Shanghai.
        cursor: of the page before.
        limit: items at most.
    """
    query = select(Grading).join(Dataset, Dataset.id == Grading.dataset)
    if state is not None:
        query = query.where(Grading.state == state)
    if handler is not None:
        query = query.where(is_of(Dataset.handler, "handlers", handler))
    if dataset is not None:
        query = query.where(is_of(Grading.dataset, "datasets", dataset))
    if tag is not None:
        query = query.where(Grading.tags.contains([tag]))
    if overdue is not None:
        late = and_(Grading.state == "effective", Grading.review_by < day_in_shanghai(tx.now))
        query = query.where(late if overdue else func.coalesce(~late, True))
    if review_before is not None:
        query = query.where(Grading.state == "effective", Grading.review_by < review_before)
    if as_of is not None:
        query = query.where(_effective_on(as_of))
    rows, following = await page_of(tx, query, Grading.id, cursor, limit)
    return [GradingOut.of(row) for row in rows], following


def _effective_on(day: date) -> ColumnElement[bool]:
    """Return the condition that a grading was in effect at the end of a day in Asia/Shanghai."""
    end = datetime.combine(day + timedelta(days=1), time(), SHANGHAI)
    return and_(Grading.effective_at < end, or_(Grading.ended_at.is_(None), Grading.ended_at >= end))


async def read_grading(tx: Transaction, caller: Caller, reference: str, number: int) -> GradingOut:
    """Return one grading."""
    dataset = await dataset_of(tx, caller, reference)
    return GradingOut.of(await _grading(tx, dataset.id, number))


async def _grading(tx: Transaction, dataset: str, number: int, *, refresh: bool = False) -> Grading:
    """Return a row; with `refresh`, as it is now that its dataset is locked."""
    grading = await tx.get(Grading, (dataset, number), populate_existing=refresh)
    if grading is None:
        raise NotFound("There is no such grading.")
    return grading


async def _record(tx: Transaction, caller: Caller, dataset: Dataset, columns: Columns) -> Grading:
    grading = Grading(id=new_id("gd"), **columns)
    if grading.state == "effective":
        tx.can_deny = True
        await _supersede(tx, dataset.id, "effective")
        _take_effect(tx, dataset, grading)
        await check_scale(tx, caller, dataset)
    tx.add(grading)
    _record_event(tx, caller, AuditAction.DATASET_GRADED, dataset, details_of(columns), [], grading.reason)
    await tx.flush()
    return grading


def _take_effect(tx: Transaction, dataset: Dataset, grading: Grading) -> None:
    """Copy a grading into the row of its dataset, which the gate reads.

    The fields are those of the grading: a field that changed while a lowering was pending stays outdated.
    """
    dataset.tags, dataset.grading, dataset.updated_at = grading.tags, grading.number, tx.now
    dataset.graded_fields, dataset.graded_number = grading.fields, grading.number
    dataset.sensitive_fields = grading.sensitive_fields


def _record_event(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    dataset: Dataset,
    details: dict[str, Any],
    audience: Sequence[str],
    why: str | None,
) -> None:
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=dataset.id,
            handler=dataset.handler,
            details=details,
            audience=audience,
            reason=why,
            figures={"dataset": dataset.key, "tags": details["tags"], "scale": dataset.scale},
            link=f"/v1/datasets/{dataset.id}/gradings/{details['number']}",
        ),
    )


async def _supersede(tx: Transaction, dataset: str, state: str) -> None:
    query = select(Grading).where(Grading.dataset == dataset, Grading.state == state)
    for grading in await tx.scalars(query):
        grading.state, grading.ended_at = "superseded", tx.now
    await tx.flush()
