"""Recounts years and permits from exports alone, and rebuilds or compares the stored totals.

Each year and each permit is counted in a transaction of its own that locks its row, as a completion does, so that the service may run
meanwhile. Exports are read in pages, however many there are.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, union

from service.access.caller import OPERATOR
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.session import Database, Transaction, close_gate
from service.ledger import counting
from service.ledger import operations as ledger
from service.ledger.counting import KINDS, Kind, Report, Tally
from service.ledger.tables import Export, LedgerYear, StoredSketch
from service.permits.tables import Permit
from service.registry.tables import Handler
from service.validation.problems import NotFound

_SKETCHES_PER_PAGE: Final = 16
_PERMITS_PER_PAGE: Final = 500
_PERMIT_TOTALS: Final[Mapping[Kind, str]] = {"persons": "sent_persons", "sensitive_persons": "sent_sensitive_persons"}
_YEAR_TOTALS: Final[Mapping[Kind, str]] = {"persons": "persons", "sensitive_persons": "sensitive_persons"}
Tallies = Mapping[Kind, Tally]


@dataclass(frozen=True, slots=True)
class Recount:
    """One year or permit, as stored and as its exports add up."""

    name: str
    totals: Mapping[Kind, int]
    """As stored in its own row."""
    stored: Tallies
    counted: Tallies
    allows: Mapping[Kind, int] | None = None
    """The quota, if it is a permit."""

    @property
    def is_above(self) -> bool:
        """True if the permit is above its quota, by the lower bound of estimates."""
        return self.allows is not None and any(
            self.counted[kind].plain + self.counted[kind].lower > self.allows[kind] for kind in KINDS
        )

    @property
    def is_same(self) -> bool:
        """True if the stored totals equal those of the exports."""
        return self.stored == self.counted and all(self.totals[kind] == self.counted[kind].total for kind in KINDS)

    def sentence(self) -> str:
        """Return a line for people."""
        text = f"{self.name}: " + "; ".join(self._of(kind) for kind in KINDS)
        if self.allows is None or not self.is_above:
            return text
        return f"{text}; ABOVE ITS QUOTA of {self.allows['persons']} and {self.allows['sensitive_persons']}"

    def _of(self, kind: Kind) -> str:
        counted, stored = self.counted[kind], self.stored[kind]
        text = f"{kind} {counted.total} ({counted.plain} plain, {counted.upper} by hash)"
        if counted == stored and self.totals[kind] == counted.total:
            return text
        return f"{text}, but {self.totals[kind]} ({stored.plain} plain, {stored.upper} by hash) stored"


async def rebuild(
    database: Database, *, handler: str | None = None, year: int | None = None, repair: bool = False
) -> AsyncIterator[Recount]:
    """Recount every year and permit; with `repair`, store the differences with an audit entry.

    Args:
        database: the database.
        handler: id or key of the only handler to recount.
        year: the only year to recount, with the permits used in it.
        repair: True to store the differences.

    Raises:
        NotFound: there is no such handler.
    """
    only = None if handler is None else await database.transaction(lambda tx: _handler(tx, handler))
    for owner, key, of_year in await database.transaction(lambda tx: _years(tx, only, year)):
        yield await database.transaction(lambda tx, o=owner, k=key, y=of_year: _year(tx, o, k, y, repair=repair))  # type: ignore[misc]
    last = ""
    while permits := await database.transaction(lambda tx, after=last: _permits(tx, only, year, after)):  # type: ignore[misc]
        for permit in permits:
            yield await database.transaction(lambda tx, p=permit: _permit(tx, p, repair=repair))  # type: ignore[misc]
        last = permits[-1]


async def _handler(tx: Transaction, reference: str) -> str:
    handler_id = await tx.scalar(select(Handler.id).where(or_(Handler.id == reference, Handler.key == reference)))
    if handler_id is None:
        raise NotFound("There is no such handler.")
    return handler_id


async def _years(tx: Transaction, handler: str | None, year: int | None) -> list[tuple[str, str, int]]:
    """Return the years of handlers that are stored, or to which exports count."""
    counting_exports = select(Export.handler, Export.year).where(Export.counts.is_(True), Export.status == "completed")
    years = union(select(LedgerYear.handler, LedgerYear.year), counting_exports).subquery()
    query = select(years.c.handler, Handler.key, years.c.year).join(Handler, Handler.id == years.c.handler)
    if handler is not None:
        query = query.where(years.c.handler == handler)
    if year is not None:
        query = query.where(years.c.year == year)
    rows = await tx.execute(query.order_by(years.c.handler, years.c.year))
    return [(row[0], row[1], row[2]) for row in rows]


async def _permits(tx: Transaction, handler: str | None, year: int | None, after: str) -> list[str]:
    """Return a page of permits that have exports or stored totals."""
    sums = Permit.sent_persons + Permit.sent_sensitive_persons + Permit.plain_persons + Permit.plain_sensitive_persons
    used = or_(
        sums != 0,
        exists().where(Export.permit == Permit.id, Export.status == "completed"),
        exists().where(StoredSketch.owner == Permit.id),
    )
    query = select(Permit.id).where(Permit.id > after, used).order_by(Permit.id).limit(_PERMITS_PER_PAGE)
    if handler is not None:
        query = query.where(Permit.handler == handler)
    if year is not None:
        query = query.where(exists().where(Export.permit == Permit.id, Export.year == year))
    return list(await tx.scalars(query))


async def _year(tx: Transaction, handler: str, key: str, year: int, *, repair: bool) -> Recount:
    if repair:
        await close_gate(tx)  # a higher count can turn an allow into a deny
    await ledger.lock_year(tx, handler, year)
    row = await tx.get_one(LedgerYear, (handler, year))
    owner = ledger.year_of(handler, year)
    which = (Export.handler == handler, Export.year == year, Export.counts.is_(True))
    compared = await _compare(tx, f"{key} {year}", owner, row, _YEAR_TOTALS, which)
    if repair and not compared.is_same:
        await _repair(tx, compared, owner, row, _YEAR_TOTALS, subject=handler, handler=handler)
    return compared


async def _permit(tx: Transaction, permit: str, *, repair: bool) -> Recount:
    if repair:
        await close_gate(tx)
    row = await tx.get_one(Permit, permit, with_for_update=True)
    compared = await _compare(tx, permit, permit, row, _PERMIT_TOTALS, (Export.permit == permit,))
    compared = replace(compared, allows={kind: getattr(row, kind) for kind in KINDS})
    if repair and not compared.is_same:
        await _repair(tx, compared, permit, row, _PERMIT_TOTALS, subject=permit, handler=row.handler)
    return compared


async def _compare(
    tx: Transaction,
    name: str,
    owner: str,
    row: LedgerYear | Permit,
    totals: Mapping[Kind, str],
    which: tuple[ColumnElement[bool], ...],
) -> Recount:
    return Recount(
        name=name,
        totals={kind: getattr(row, totals[kind]) for kind in KINDS},
        stored={kind: await ledger.load_tally(tx, owner, kind, getattr(row, f"plain_{kind}")) for kind in KINDS},
        counted={kind: await _count_exports(tx, kind, which) for kind in KINDS},
    )


async def _count_exports(tx: Transaction, kind: Kind, which: tuple[ColumnElement[bool], ...]) -> Tally:
    """Count one kind of persons in the completed exports that meet a condition.

    Persons of an export beyond its sketch were reported as a number, see `ledger.load_export_tally`.
    """
    by_hash = and_(StoredSketch.owner == Export.id, StoredSketch.kind == kind)
    completed = (*which, Export.status == "completed")
    sent = Export.sent_persons if kind == "persons" else Export.sent_sensitive_persons
    sent_by_hash = func.least(StoredSketch.estimate, StoredSketch.at_most)
    plain = func.greatest(sent - func.coalesce(sent_by_hash, 0), 0)
    sums = (
        select(func.coalesce(func.sum(plain), 0)).select_from(Export).outerjoin(StoredSketch, by_hash).where(*completed)
    )
    tally = Tally(plain=int(await tx.scalar(sums) or 0))
    sketches = select(Export.id, StoredSketch.content, StoredSketch.at_most).join(StoredSketch, onclause=by_hash)
    pages = sketches.where(*completed).order_by(Export.id).limit(_SKETCHES_PER_PAGE)
    last = ""
    while rows := (await tx.execute(pages.where(Export.id > last))).all():
        for _, content, at_most in rows:
            tally = tally.plus(Report(sketch=counting.load_sketch(content), at_most=at_most))
        last = rows[-1][0]
    return tally


async def _repair(
    tx: Transaction,
    compared: Recount,
    owner: str,
    row: LedgerYear | Permit,
    totals: Mapping[Kind, str],
    *,
    subject: str,
    handler: str,
) -> None:
    for kind in KINDS:
        tally = compared.counted[kind]
        setattr(row, totals[kind], tally.total)
        setattr(row, f"plain_{kind}", tally.plain)
        await ledger.store_tally(tx, owner, kind, tally)
    details = {
        "of": compared.name,
        "stored": {kind: _tally_document(compared.stored[kind], compared.totals[kind]) for kind in KINDS},
        "counted": {kind: _tally_document(tally, tally.total) for kind, tally in compared.counted.items()},
    }
    audit.append(tx, OPERATOR, AuditAction.LEDGER_REBUILT, subject, handler=handler, details=details)


def _tally_document(tally: Tally, total: int) -> dict[str, Any]:
    return {"total": total, "plain": tally.plain, "by_hash": tally.upper}
