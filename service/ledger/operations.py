"""Counting: what a handler's year and a permit hold, reported and reserved. Reservations that have lapsed are simply not counted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from service.database import Transaction
from service.law.facts import Count
from service.ledger.tables import Export, LedgerYear

NOTHING = Count()


async def hold_year(tx: Transaction, handler: str, year: int) -> None:
    """Hold the count of a handler's year until the transaction ends, so that two exports cannot both take the last place."""
    row = {"handler": handler, "year": year, "persons": 0, "sensitive_persons": 0}
    await tx.execute(insert(LedgerYear).values(**row).on_conflict_do_nothing())
    await tx.execute(
        select(LedgerYear.year).where(LedgerYear.handler == handler, LedgerYear.year == year).with_for_update()
    )


async def reported(tx: Transaction, handler: str, year: int) -> Count:
    """Return the persons that exports of the year have reported as sent."""
    query = select(LedgerYear.persons, LedgerYear.sensitive_persons).where(
        LedgerYear.handler == handler, LedgerYear.year == year
    )
    row = (await tx.execute(query)).one_or_none()
    return NOTHING if row is None else Count(row[0], row[1])


async def reserved(tx: Transaction, handler: str, year: int) -> Count:
    """Return the persons of the year that live reservations hold."""
    held = await _held(tx, Export.handler, [handler], Export.counts.is_(True), Export.year == year)
    return held.get(handler, NOTHING)


async def total(tx: Transaction, handler: str, year: int) -> Count:
    """Return the year's count as a threshold sees it: reported and reserved."""
    sent, held = await reported(tx, handler, year), await reserved(tx, handler, year)
    return _sum(sent, held)


async def totals(tx: Transaction, handlers: Collection[str], year: int) -> Mapping[str, Count]:
    """Return the count of a year, reported and reserved, of each of some handlers; one without any is missing."""
    query = select(LedgerYear.handler, LedgerYear.persons, LedgerYear.sensitive_persons).where(
        LedgerYear.handler.in_(handlers), LedgerYear.year == year
    )
    sent = {str(row[0]): Count(row[1], row[2]) for row in await tx.execute(query)}
    held = await _held(tx, Export.handler, handlers, Export.counts.is_(True), Export.year == year)
    return {handler: _sum(sent.get(handler, NOTHING), held.get(handler, NOTHING)) for handler in {*sent, *held}}


async def counted_under(tx: Transaction, permits: Collection[str], year: int) -> Mapping[str, Count]:
    """Return what of each permit is in the count of a year, reported and reserved; a permit without any is missing."""
    query = (
        select(
            Export.permit,
            func.sum(func.coalesce(Export.sent_persons, 0)),
            func.sum(func.coalesce(Export.sent_sensitive_persons, 0)),
        )
        .where(Export.permit.in_(permits), Export.status == "completed", Export.counts.is_(True), Export.year == year)
        .group_by(Export.permit)
    )
    sent = {str(row[0]): Count(int(row[1]), int(row[2])) for row in await tx.execute(query)}
    held = await _held(tx, Export.permit, permits, Export.counts.is_(True), Export.year == year)
    return {permit: _sum(sent.get(permit, NOTHING), held.get(permit, NOTHING)) for permit in {*sent, *held}}


def _sum(one: Count, other: Count) -> Count:
    return Count(one.persons + other.persons, one.sensitive_persons + other.sensitive_persons)


async def add(tx: Transaction, handler: str, year: int, sent: Count) -> None:
    """Add reported persons to a year that this transaction holds."""
    row = await tx.get_one(LedgerYear, (handler, year), with_for_update=True)
    row.persons += sent.persons
    row.sensitive_persons += sent.sensitive_persons


async def reserved_of_permits(tx: Transaction, permits: Sequence[str]) -> Mapping[str, Count]:
    """Return the persons that live reservations hold of each permit; a permit without any is missing."""
    return await _held(tx, Export.permit, permits)


@dataclass(frozen=True, slots=True)
class Share:
    """Exports under a permit of one dataset in one month (in Asia/Shanghai) that came to the same end."""

    dataset: str
    month: str
    status: str
    """`reserved`, `completed`, `cancelled` or `lapsed`."""
    exports: int
    sent: Count
    first_at: datetime
    last_at: datetime


async def shares_of_permit(tx: Transaction, permit: str) -> Sequence[Share]:
    """Return what became of the exports under a permit, added up by the database however many there are."""
    month = func.to_char(func.timezone("Asia/Shanghai", Export.reserved_at), "YYYY-MM").label("month")
    status = case(
        (and_(Export.status == "reserved", Export.expires_at <= tx.now), "lapsed"), else_=Export.status
    ).label("status")
    query = (
        select(
            Export.dataset,
            month,
            status,
            func.count(),
            func.coalesce(func.sum(Export.sent_persons), 0),
            func.coalesce(func.sum(Export.sent_sensitive_persons), 0),
            func.min(Export.reserved_at),
            func.max(Export.reserved_at),
        )
        .where(Export.permit == permit)
        .group_by(Export.dataset, text("2"), text("3"))
        .order_by(Export.dataset, text("2"), text("3"))
    )
    return [
        Share(row[0], row[1], row[2], row[3], Count(int(row[4]), int(row[5])), row[6], row[7])
        for row in await tx.execute(query)
    ]


async def _held(
    tx: Transaction,
    column: InstrumentedAttribute[Any],
    ids: Collection[str],
    *more: ColumnElement[bool],
) -> Mapping[str, Count]:
    query = (
        select(column, func.sum(Export.persons), func.sum(Export.sensitive_persons))
        .where(column.in_(ids), Export.status == "reserved", Export.expires_at > tx.now, *more)
        .group_by(column)
    )
    return {str(owner): Count(int(persons), int(sensitive)) for owner, persons, sensitive in await tx.execute(query)}
