"""Serves obligations over HTTP."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Path, Query, Response

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.http.exchange import Exchange, ReaderExchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import api_router
from service.obligations import operations, queries
from service.obligations.obligation_rules import Code, State
from service.obligations.queries import obligation_of
from service.obligations.schemas import CompleteIn, ObligationOut, OwnerIn, ReopenIn
from service.obligations.tables import Obligation
from service.validation.text_types import NearDay

router = api_router("obligations")
Keeping = Annotated[Exchange, allowed(operations.KEEPERS)]
ObligationId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


def _obligation(
    act: Callable[[Transaction, Caller], Awaitable[Obligation]],
) -> Callable[[Transaction, Caller], Awaitable[ObligationOut]]:
    """Return an act followed, in its transaction, by the presentation of the obligation that it returns."""

    async def work(tx: Transaction, caller: Caller) -> ObligationOut:
        return ObligationOut.of(await act(tx, caller), day_in_shanghai(tx.now))

    return work


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
    """List obligations as tasks."""

    async def work(tx: Transaction, _: Caller) -> tuple[Sequence[ObligationOut], str | None]:
        rows, following = await queries.list_obligations(
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
        return [ObligationOut.of(row, day_in_shanghai(tx.now)) for row in rows], following

    return await exchange.page(work)


@router.get("/v1/obligations/{obligation_id}", response_model=ObligationOut)
async def read_obligation(exchange: ReaderExchange, obligation_id: ObligationId) -> Response:
    """Read an obligation."""
    return await exchange.read(_obligation(lambda tx, caller: obligation_of(tx, caller, obligation_id)))


@router.post("/v1/obligations/{obligation_id}/complete", response_model=ObligationOut)
async def complete_obligation(exchange: Keeping, obligation_id: ObligationId, body: CompleteIn) -> Response:
    """Complete an obligation, with its record; evidence settles other obligations when it is added."""
    return await exchange.act(
        _obligation(lambda tx, caller: operations.complete(tx, caller, obligation_id, body.note)),
        _obligation(lambda tx, caller: obligation_of(tx, caller, obligation_id, lock=True)),
    )


@router.post("/v1/obligations/{obligation_id}/reopen", response_model=ObligationOut)
async def reopen_obligation(
    exchange: Annotated[Exchange, allowed(operations.REOPENERS)], obligation_id: ObligationId, body: ReopenIn
) -> Response:
    """Reopen an obligation that was completed by mistake."""
    return await exchange.act(
        _obligation(lambda tx, caller: operations.reopen(tx, caller, obligation_id, body.reason)),
        _obligation(lambda tx, caller: obligation_of(tx, caller, obligation_id, lock=True)),
        gate="close",
    )


@router.post("/v1/obligations/{obligation_id}/assign", response_model=ObligationOut)
async def assign_obligation(exchange: Keeping, obligation_id: ObligationId, body: OwnerIn) -> Response:
    """Assign an obligation to an owner."""
    return await exchange.act(
        _obligation(lambda tx, caller: operations.assign(tx, caller, obligation_id, body.owner)),
        _obligation(lambda tx, caller: obligation_of(tx, caller, obligation_id, lock=True)),
    )
