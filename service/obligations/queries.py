"""Queries of obligations: rows, and the conditions that one is open or overdue; every read of the package."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta

from sqlalchemy import ColumnElement, and_, or_, select

from service.access.caller import READERS, Caller
from service.clock import SHANGHAI, day_in_shanghai
from service.database.session import Transaction
from service.http.paging import page_of
from service.http.references import is_of
from service.obligations.obligation_rules import Code, State, standing
from service.obligations.schemas import ObligationOut
from service.obligations.tables import Obligation
from service.validation.problems import NotFound


async def obligation_of(tx: Transaction, caller: Caller, obligation_id: str, *, lock: bool = False) -> Obligation:
    """Return the row of an obligation that the caller may see.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    obligation = await tx.get(Obligation, obligation_id, with_for_update=lock or None, populate_existing=lock)
    if obligation is None or not caller.reaches(READERS, obligation.handler):
        raise NotFound("There is no such obligation.")
    return obligation


async def list_obligations(
    tx: Transaction,
    *,
    due_before: date | None,
    state: State | None,
    code: Code | None,
    handler: str | None,
    transfer: str | None,
    permit: str | None,
    owner: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[Obligation], str | None]:
    """Return the obligations that the caller may see; `due_before` keeps those that are not ended and due before the day."""
    today = day_in_shanghai(tx.now)
    query = select(Obligation)
    if due_before is not None:
        query = query.where(Obligation.due_on < due_before)
        if state is None:
            query = query.where(_is_open(today))
    if state is not None:
        query = query.where(state_condition(state, today))
    if handler is not None:
        query = query.where(is_of(Obligation.handler, "handlers", handler))
    for column, value in (
        (Obligation.code, code),
        (Obligation.transfer, transfer),
        (Obligation.permit, permit),
        (Obligation.owner, owner),
    ):
        if value is not None:
            query = query.where(column == value)
    return await page_of(tx, query, Obligation.id, cursor, limit)


async def of_transfer(tx: Transaction, transfers: Collection[str]) -> Sequence[ObligationOut]:
    """Return the obligations of transfers, oldest first."""
    query = select(Obligation).where(Obligation.transfer.in_(transfers)).order_by(Obligation.id)
    today = day_in_shanghai(tx.now)
    return [ObligationOut.of(row, today) for row in await tx.scalars(query)]


async def has_open(tx: Transaction, code: Code, *, handler: str, dataset: str | None = None) -> bool:
    """Return True if a handler has such an obligation open that belongs to no single permit."""
    query = select(Obligation.id).where(
        Obligation.code == code,
        Obligation.handler == handler,
        Obligation.dataset.is_not_distinct_from(dataset),
        _is_open(day_in_shanghai(tx.now)),
    )
    return await tx.scalar(query.limit(1)) is not None


async def has_open_for(tx: Transaction, code: Code, transfer: str) -> bool:
    """Return True if a transfer has such an obligation open."""
    query = select(Obligation.id).where(
        Obligation.code == code, Obligation.transfer == transfer, _is_open(day_in_shanghai(tx.now))
    )
    return await tx.scalar(query.limit(1)) is not None


async def overdue_of(
    tx: Transaction, permits: Mapping[str, tuple[str, bool]], today: date
) -> Mapping[str, tuple[str, ...]]:
    """Return the ids of the overdue obligations that suspend each permit.

    Args:
        tx: the transaction.
        permits: permit id to its handler, and whether it is for important or core data.
        today: the day in Asia/Shanghai.
    """
    if not permits:
        return {}
    handlers = {handler for handler, is_weighty in permits.values() if is_weighty}
    query = (
        select(Obligation.id, Obligation.permit, Obligation.handler)
        .where(
            is_overdue(today),
            or_(
                Obligation.permit.in_(permits),
                and_(Obligation.permit.is_(None), Obligation.handler.in_(handlers)),
            ),
        )
        .order_by(Obligation.id)
    )
    overdue: dict[str, tuple[str, ...]] = {}
    for obligation, permit, handler in await tx.execute(query):
        of_handler = [id_ for id_, (owner, is_weighty) in permits.items() if owner == handler and is_weighty]
        for suspended in [permit] if permit is not None else of_handler:
            overdue[suspended] = (*overdue.get(suspended, ()), obligation)
    return overdue


def is_overdue(today: date) -> ColumnElement[bool]:
    """Return the condition that an obligation suspends its permits: the rule of `standing()` with `blocks`, for queries."""
    return and_(_is_open(today), Obligation.blocks, Obligation.due_on < today)


def _is_open(today: date) -> ColumnElement[bool]:
    """Return the condition that an obligation is open on a day: no evidence settles it on that day."""
    tomorrow = beginning_of(today + timedelta(days=1))
    return and_(Obligation.state == State.OPEN, or_(Obligation.ended_at.is_(None), Obligation.ended_at >= tomorrow))


def beginning_of(day: date) -> datetime:
    """Return the moment at which a day begins in Asia/Shanghai."""
    return datetime.combine(day, time(), SHANGHAI)


def state_condition(state: State, today: date) -> ColumnElement[bool]:
    """Return the condition that an obligation is in a state on a day in Asia/Shanghai: the rule of `obligation_rules.standing`."""
    if state is State.OVERDUE:
        return and_(_is_open(today), Obligation.due_on < today)
    if state is State.OPEN:
        return and_(_is_open(today), Obligation.due_on >= today)
    if state is State.DONE:
        return or_(Obligation.state == state, and_(Obligation.state == State.OPEN, ~_is_open(today)))
    return Obligation.state == state


async def open_of(tx: Transaction, *conditions: ColumnElement[bool]) -> Sequence[Obligation]:
    """Return and lock the open obligations that meet conditions, by id."""
    query = select(Obligation).where(_is_open(day_in_shanghai(tx.now)), *conditions).order_by(Obligation.id)
    return (await tx.scalars(query.with_for_update())).all()


async def settled_by(tx: Transaction, evidence: str) -> Sequence[Obligation]:
    """Return and lock the obligations that a piece of evidence has settled, or will on its own day."""
    query = select(Obligation).where(Obligation.evidence == evidence, Obligation.state.in_([State.DONE, State.OPEN]))
    return (await tx.scalars(query.order_by(Obligation.id).with_for_update())).all()


def state_of(obligation: Obligation, tx: Transaction) -> State:
    """Return the state of an obligation today."""
    today = day_in_shanghai(tx.now)
    return standing(obligation.state, obligation.due_on, today, obligation.settles_on)
