"""Counts the persons of years and permits, reported and reserved. Lapsed reservations are not counted.

A number is added. Persons by hash are united with the sketch of the owner, whose total grows by the growth of the sketch's upper bound.
So the totals in `ledger_years` and `permits` are always the sum of numbers and that upper bound.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, column, func, select, table, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from service.audit import recording
from service.database.columns import Id
from service.database.session import Transaction
from service.law.facts import Count
from service.ledger import counting
from service.ledger.conditions import is_live, status_at
from service.ledger.counting import KINDS, LG_K, NOBODY, Kind, Report, Tally
from service.ledger.tables import Export, LedgerYear, PermitReservations, StoredSketch, YearReservations

NOTHING = Count()
PERMITS = table("permits", column("id", Id), column("sent_persons"), column("sent_sensitive_persons"))
"""Columns of the permits, a table of a higher layer: the persons sent under each."""


def year_of(handler: str, year: int) -> str:
    """Return the id of a handler's year as the owner of sketches."""
    return f"{handler}/{year}"


async def lock_year(tx: Transaction, handler: str, year: int) -> None:
    """Lock the count of a handler's year until the transaction ends, so that two exports cannot both take the last place."""
    row = {"handler": handler, "year": year, "persons": 0, "sensitive_persons": 0}
    # The audit log assumes a year without persons.
    await tx.execute(insert(LedgerYear).values(**row).on_conflict_do_nothing(), execution_options=recording.REPORTED)
    await tx.execute(
        select(LedgerYear.year).where(LedgerYear.handler == handler, LedgerYear.year == year).with_for_update()
    )


async def reported_persons(tx: Transaction, handler: str, year: int) -> Count:
    """Return the persons reported as sent in a year."""
    query = select(LedgerYear.persons, LedgerYear.sensitive_persons).where(
        LedgerYear.handler == handler, LedgerYear.year == year
    )
    row = (await tx.execute(query)).one_or_none()
    return NOTHING if row is None else Count(row[0], row[1])


async def reserved_persons(tx: Transaction, handler: str, year: int) -> Count:
    """Return the persons of a year in live reservations."""
    return (await _reserved_in_year(tx, [handler], year)).get(handler, NOTHING)


async def total(tx: Transaction, handler: str, year: int) -> Count:
    """Return the year's count for thresholds: reported and reserved persons."""
    sent, reserved = await reported_persons(tx, handler, year), await reserved_persons(tx, handler, year)
    return _sum(sent, reserved)


async def totals(tx: Transaction, handlers: Collection[str], year: int) -> Mapping[str, Count]:
    """Return the count of a year, reported and reserved, of each of some handlers; one without any is missing."""
    query = select(LedgerYear.handler, LedgerYear.persons, LedgerYear.sensitive_persons).where(
        LedgerYear.handler.in_(handlers), LedgerYear.year == year
    )
    sent = {str(row[0]): Count(row[1], row[2]) for row in await tx.execute(query)}
    reserved = await _reserved_in_year(tx, handlers, year)
    return {handler: _sum(sent.get(handler, NOTHING), reserved.get(handler, NOTHING)) for handler in {*sent, *reserved}}


async def counted_under(tx: Transaction, permits: Collection[str], year: int) -> Mapping[str, Count]:
    """Return the persons of each permit in the count of a year, reported and reserved; a permit without any is missing.

    Several exports may report the same persons by hash, so the permit's own total is the maximum.
    """
    query = (
        select(
            Export.permit,
            func.least(func.sum(func.coalesce(Export.sent_persons, 0)), PERMITS.c.sent_persons),
            func.least(func.sum(func.coalesce(Export.sent_sensitive_persons, 0)), PERMITS.c.sent_sensitive_persons),
        )
        .join(PERMITS, PERMITS.c.id == Export.permit)
        .where(Export.permit.in_(permits), Export.status == "completed", Export.counts.is_(True), Export.year == year)
        .group_by(Export.permit, PERMITS.c.sent_persons, PERMITS.c.sent_sensitive_persons)
    )
    sent = {str(row[0]): Count(int(row[1]), int(row[2])) for row in await tx.execute(query)}
    live = (Export.status == "reserved", Export.counts.is_(True), Export.year == year)
    reserved = await _sum_live(
        tx,
        (Export.permit, Export.year_persons, Export.year_sensitive_persons, Export.expires_at),
        Export.permit.in_(permits),
        *live,
    )
    return {permit: _sum(sent.get(permit, NOTHING), reserved.get(permit, NOTHING)) for permit in {*sent, *reserved}}


def _sum(left: Count, right: Count) -> Count:
    return Count(left.persons + right.persons, left.sensitive_persons + right.sensitive_persons)


async def add_report(tx: Transaction, handler: str, year: int, persons: Report, sensitive_persons: Report) -> None:
    """Add the reports of an export to a year that this transaction has locked."""
    row = await tx.get_one(LedgerYear, (handler, year), with_for_update=True)
    owner = year_of(handler, year)
    row.persons += await add_by_hash(tx, owner, "persons", persons)
    row.sensitive_persons += await add_by_hash(tx, owner, "sensitive_persons", sensitive_persons)
    row.plain_persons += persons.number
    row.plain_sensitive_persons += sensitive_persons.number


async def add_by_hash(tx: Transaction, owner: str, kind: Kind, report: Report) -> int:
    """Add a report to an owner whose row is locked: unite its sketch, and return the growth of the total."""
    if report.sketch == NOBODY:
        return report.number
    before = await load_tally(tx, owner, kind)
    after = before.plus(report)
    await store_tally(tx, owner, kind, after)
    return after.total - before.total


async def load_tally(tx: Transaction, owner: str, kind: Kind, plain: int = 0) -> Tally:
    """Load the tally of an owner: its sketch, and the sum of numbers in its own row."""
    row = await tx.get(StoredSketch, (owner, kind), populate_existing=True)
    return Tally(plain) if row is None else Tally(plain, counting.load_sketch(row.content), row.at_most)


async def load_export_tally(tx: Transaction, export: Export, kind: Kind) -> Tally:
    """Load the tally of a reported export: persons by hash, and the rest as a number."""
    sent = (export.sent_persons if kind == "persons" else export.sent_sensitive_persons) or 0
    by_hash = await load_tally(tx, export.id, kind)
    return Tally(max(0, sent - by_hash.estimate), by_hash.sketch, by_hash.at_most)


async def store_tally(tx: Transaction, owner: str, kind: Kind, tally: Tally) -> None:
    """Store the sketch of an owner whose row is locked. An unchanged sketch is not written."""
    figures = {
        "lg_k": LG_K,
        "content": tally.sketch.content,
        "estimate": tally.estimate,
        "lower": tally.lower,
        "upper": tally.upper,
        "at_most": tally.at_most,
    }
    row = await tx.get(StoredSketch, (owner, kind))
    if row is None:
        tx.add(StoredSketch(owner=owner, kind=kind, **figures))
        return
    for name, value in figures.items():
        setattr(row, name, value)


@dataclass(frozen=True, slots=True)
class Reported:
    """Persons of one kind that a year's exports have reported: as numbers, and by hash with bounds at three standard deviations."""

    plain: int = 0
    estimate: int = 0
    lower: int = 0
    upper: int = 0


async def reported_by_kind(tx: Transaction, handler: str, year: int) -> Mapping[Kind, Reported]:
    """Return the parts of a year's count, without reading the sketches."""
    row = await tx.get(LedgerYear, (handler, year))
    plain = (0, 0) if row is None else (row.plain_persons, row.plain_sensitive_persons)
    query = select(StoredSketch.kind, StoredSketch.estimate, StoredSketch.lower, StoredSketch.upper).where(
        StoredSketch.owner == year_of(handler, year)
    )
    by_hash = {row[0]: row[1:] for row in await tx.execute(query)}
    return {kind: Reported(sum_, *by_hash.get(kind, ())) for kind, sum_ in zip(KINDS, plain, strict=True)}


async def reserved_of_permits(tx: Transaction, permits: Sequence[str]) -> Mapping[str, Count]:
    """Return the persons of each permit in live reservations; a permit without any is missing."""
    table = PermitReservations
    columns = (table.permit, table.persons, table.sensitive_persons, table.expires_at)
    return await _sum_live(tx, columns, table.permit.in_(permits))


async def release_reservation(tx: Transaction, export: Export) -> None:
    """Release the persons of a reservation, of its permit and its handler's year, which is locked."""
    owners: list[tuple[type[PermitReservations | YearReservations], Count, tuple[ColumnElement[bool], ...]]] = []
    if export.permit is not None:
        owners.append((PermitReservations, export.reserved_of_permit, (PermitReservations.permit == export.permit,)))
    if export.counts:
        of_year = (YearReservations.handler == export.handler, YearReservations.year == export.year)
        owners.append((YearReservations, export.reserved_in_year, of_year))
    for rows, less, owned in owners:
        values = {kind: getattr(rows, kind) - getattr(less, kind) for kind in KINDS}
        await tx.execute(update(rows).where(*owned, rows.expires_at == export.expires_at).values(values))


@dataclass(frozen=True, slots=True)
class Share:
    """Exports under a permit of one dataset in one month (in Asia/Shanghai) that came to the same end."""

    dataset: str
    month: str
    status: str
    """`reserved_persons`, `completed`, `cancelled` or `lapsed`."""
    exports: int
    sent: Count
    first_at: datetime
    last_at: datetime


async def shares_of_permit(tx: Transaction, permit: str) -> Sequence[Share]:
    """Return the exports under a permit, summed by the database."""
    month = func.to_char(func.timezone("Asia/Shanghai", Export.reserved_at), "YYYY-MM").label("month")
    status = status_at(tx.now).label("status")
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


async def _reserved_in_year(tx: Transaction, handlers: Collection[str], year: int) -> Mapping[str, Count]:
    table = YearReservations
    columns = (table.handler, table.persons, table.sensitive_persons, table.expires_at)
    return await _sum_live(tx, columns, table.handler.in_(handlers), table.year == year)


async def _sum_live(
    tx: Transaction,
    columns: tuple[InstrumentedAttribute[Any], ...],
    *owned: ColumnElement[bool],
) -> Mapping[str, Count]:
    """Sum live reservations by owner; the columns are owner, both counts and expiry."""
    owner, persons, sensitive_persons, expires_at = columns
    query = (
        select(owner, func.sum(persons), func.sum(sensitive_persons))
        .where(*owned, is_live(expires_at, tx.now))
        .group_by(owner)
    )
    return {str(row[0]): Count(int(row[1]), int(row[2])) for row in await tx.execute(query)}
