"""Operations on exports: cancel, read, list; and reserve within a larger transaction."""

from datetime import timedelta
from typing import cast

import asyncpg
from sqlalchemy import select

from service.access.caller import READERS, Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.ids import is_id
from service.database.session import Transaction, join_gate
from service.exports.schemas import ExportOut
from service.gate import batch_write, questions
from service.gate.batch_decisions import DecisionBatch, ExportRefused, ReservedExport, export_ended, lapse_time
from service.gate.batch_read import EXPORTERS, Lookup
from service.http.paging import page_of
from service.http.references import is_of
from service.law.rule_book import RuleBook
from service.ledger import operations as ledger
from service.ledger.reservation_rules import status_at
from service.ledger.tables import Export
from service.validation.problems import NotFound


async def reserve(
    tx: Transaction, caller: Caller, book: RuleBook, request: questions.Export, lease: timedelta
) -> ReservedExport | ExportRefused:
    """Decide on one export like a batch, within a larger transaction; a refusal is recorded too.

    Raises:
        Invalid: personal data without the number of persons.
    """
    await join_gate(tx)
    await tx.flush()
    raw = await (await tx.connection()).get_raw_connection()
    connection = cast("asyncpg.Connection", raw.driver_connection)
    lookups = [Lookup(request.dataset, request.recipient)]
    tx.now, (snapshot,) = await batch_write.lock_and_read(connection, lookups, lookups, tx.time.ahead)
    batch = DecisionBatch(book, tx.now, lapse_time(tx.now, lease))
    result = batch.reserve(request, snapshot, caller)
    await batch_write.write(connection, batch, [])
    return result


async def cancel(tx: Transaction, caller: Caller, export_id: str) -> ExportOut:
    """Cancel a reservation of which nothing was sent. A repeat changes nothing.

    Raises:
        ExportEnded: completed or lapsed already.
    """
    export = await lock_export(tx, caller, export_id)
    if export.status == "cancelled":
        return present(export, tx)
    require_reserved(export, tx)
    await ledger.release_reservation(tx, export)
    export.status, export.ended_at = "cancelled", tx.now
    audit.append(
        tx, caller, AuditAction.EXPORT_CANCELLED, export.id, handler=export.handler, details={"permit": export.permit}
    )
    await tx.flush()
    return present(export, tx)


async def read_export(tx: Transaction, caller: Caller, export_id: str) -> ExportOut:
    """Return an export."""
    return present(await _find_export(tx, caller, export_id), tx)


async def list_exports(
    tx: Transaction,
    *,
    handler: str | None,
    dataset: str | None,
    permit: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[ExportOut], str | None]:
    """Return the exports that the caller may see, oldest first."""
    query = select(Export)
    if handler is not None:
        query = query.where(is_of(Export.handler, "handlers", handler))
    if dataset is not None:
        query = query.where(is_of(Export.dataset, "datasets", dataset))
    if permit is not None:
        query = query.where(Export.permit == permit)
    rows, following = await page_of(tx, query, Export.id, cursor, limit)
    return [present(row, tx) for row in rows], following


async def lock_export(tx: Transaction, caller: Caller, export_id: str) -> Export:
    """Lock an export that the caller may end, with the year's count, in the order of a reservation."""
    export = await _find_export(tx, caller, export_id)
    caller.require(EXPORTERS, export.handler, noun="export")
    await ledger.lock_year(tx, export.handler, export.year)
    await tx.refresh(export, with_for_update=True)
    # The wait for the lock may have been long: by now the export may have lapsed, and its persons be reserved by another.
    await tx.read_clock()
    return export


async def _find_export(tx: Transaction, caller: Caller, export_id: str) -> Export:
    export = await tx.get(Export, export_id) if is_id(export_id, "ex") else None
    if export is None or not caller.reaches(READERS, export.handler):
        raise NotFound("There is no such export.")
    return export


def status_of(export: Export, tx: Transaction) -> str:
    """Return the present status of a stored export."""
    return status_at(export.status, export.expires_at, tx.now)


def require_reserved(export: Export, tx: Transaction) -> None:
    """Refuse to end an export that has ended.

    Raises:
        ExportEnded: completed, cancelled or lapsed already.
    """
    status = status_of(export, tx)
    if status != "reserved":
        raise export_ended(export.id, status)


def present(export: Export, tx: Transaction) -> ExportOut:
    """Return the shape of an export."""
    columns = {name: getattr(export, name) for name in ExportOut.model_fields if name in Export.__table__.columns}
    return ExportOut.model_validate(columns | {"status": status_of(export, tx), "counts_toward_ledger": export.counts})
