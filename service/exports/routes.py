"""HTTP of exports: reserve, complete, cancel, list."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from service.exports import completion, operations, person_counts, reservation_body
from service.exports.schemas import ExportOut
from service.gate.jobs import EXPORTS_PATH, Reservation
from service.gate.routes import decide_job
from service.http import idempotency
from service.http.exchange import ExporterExchange, ReaderExchange, SystemExchange
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import api_router

router = api_router("gate")

ExportId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


@router.post(EXPORTS_PATH, status_code=201, response_model=ExportOut, openapi_extra=reservation_body.BODY)
async def reserve(exchange: SystemExchange, request: Request) -> Response:
    """Reserve an export; refused with 403 `export-refused`, a `reason` and the id of the recorded evaluation.

    A number is held in full. Persons announced by hash are held as far as they are new: to the permit, and to the year.
    """
    key = idempotency.key_of(request)
    body = await reservation_body.ReservationBody.read(request, request.app.state.body_limit)
    job = Reservation(exchange.credential, body.export, key, body.sent, body.announced)
    return await decide_job(exchange, request, job)


@router.get("/v1/exports", response_model=Page[ExportOut])
async def list_exports(
    exchange: ReaderExchange,
    handler: Filter = None,
    dataset: Filter = None,
    permit: Named = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List exports, by the ids of what they are about."""
    return await exchange.page(
        lambda tx, _: operations.list_exports(
            tx, handler=handler, dataset=dataset, permit=permit, cursor=cursor, limit=limit
        )
    )


@router.get("/v1/exports/{export_id}", response_model=ExportOut)
async def read_export(exchange: ReaderExchange, export_id: ExportId) -> Response:
    """Read an export."""
    return await exchange.read(lambda tx, caller: operations.read_export(tx, caller, export_id))


@router.post("/v1/exports/{export_id}/complete", response_model=ExportOut, openapi_extra=person_counts.BODY)
async def complete(
    exchange: ExporterExchange, request: Request, export_id: ExportId, stated: person_counts.StreamQueryIn
) -> Response:
    """Report the persons that really went; the rest of the reservation is given back.

    Numbers add up with every report. Persons told by hash, in JSON or as a stream of bytes, count once a year and once a permit.
    What went always counts, also when it is reported late or is more than was reserved; above the permit's quota the permit is suspended.
    """
    body = await person_counts.CompletionBody.read(request, stated)
    try:
        return await exchange.decide(
            lambda tx, caller: completion.complete(tx, caller, export_id, body.completion), 200, sent=body.sent
        )
    except completion.GateNeededError:
        return await exchange.decide(
            lambda tx, caller: completion.complete(tx, caller, export_id, body.completion, is_gate_closed=True),
            200,
            gate="close",
            sent=body.sent,
        )


@router.post("/v1/exports/{export_id}/cancel", response_model=ExportOut)
async def cancel(exchange: ExporterExchange, export_id: ExportId) -> Response:
    """Give a reservation back."""
    return await exchange.act(lambda tx, caller: operations.cancel(tx, caller, export_id))
