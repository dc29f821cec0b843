"""HTTP of duties."""

from typing import Annotated

from fastapi import Path, Query, Response

from service.http.exchange import Exchange, ReaderExchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import api_router
from service.obligations import operations
from service.obligations.obligation_rules import Code, State
from service.obligations.schemas import CompleteIn, ObligationOut, OwnerIn, ReopenIn
from service.validation.text_types import NearDay

router = api_router("obligations")
Keeping = Annotated[Exchange, allowed(operations.KEEPERS)]
ObligationId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


@router.get("/v1/obligations", response_model=Page[ObligationOut])
async def list_obligations(
    exchange: ReaderExchange,
    due_before: Annotated[
        NearDay | None, Query(description="Due before this day; without `state`, those still open.")
    ] = None,
    state: Annotated[State | None, Query()] = None,
    code: Annotated[Code | None, Query()] = None,
    handler: Filter = None,
    transfer: Named = None,
    permit: Named = None,
    owner: Named = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List duties as tasks."""
    return await exchange.page(
        lambda tx, _: operations.list_obligations(
            tx,
            due_before=due_before,
            state=state,
            code=code,
            handler=handler,
            transfer=transfer,
            permit=permit,
            owner=owner,
            cursor=cursor,
            limit=limit,
        )
    )


@router.get("/v1/obligations/{obligation_id}", response_model=ObligationOut)
async def read_obligation(exchange: ReaderExchange, obligation_id: ObligationId) -> Response:
    """Read a duty."""
    return await exchange.read(lambda tx, caller: operations.read_obligation(tx, caller, obligation_id))


@router.post("/v1/obligations/{obligation_id}/complete", response_model=ObligationOut)
async def complete_obligation(exchange: Keeping, obligation_id: ObligationId, body: CompleteIn) -> Response:
    """Say that a duty has been done, with its record; duties that a paper settles end when the paper is added."""
    return await exchange.act(
        lambda tx, caller: operations.complete(tx, caller, obligation_id, body.note),
        lambda tx, caller: operations.read_obligation(tx, caller, obligation_id, lock=True),
    )


@router.post("/v1/obligations/{obligation_id}/reopen", response_model=ObligationOut)
async def reopen_obligation(
    exchange: Annotated[Exchange, allowed(operations.REOPENERS)], obligation_id: ObligationId, body: ReopenIn
) -> Response:
    """Open a duty again that was called done by mistake."""
    return await exchange.act(
        lambda tx, caller: operations.reopen(tx, caller, obligation_id, body.reason),
        lambda tx, caller: operations.read_obligation(tx, caller, obligation_id, lock=True),
        gate="close",
    )


@router.post("/v1/obligations/{obligation_id}/assign", response_model=ObligationOut)
async def assign_obligation(exchange: Keeping, obligation_id: ObligationId, body: OwnerIn) -> Response:
    """Say who sees to a duty."""
    return await exchange.act(
        lambda tx, caller: operations.give(tx, caller, obligation_id, body.owner),
        lambda tx, caller: operations.read_obligation(tx, caller, obligation_id, lock=True),
    )
