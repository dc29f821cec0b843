"""HTTP of permits."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Path, Query, Request, Response

from service.access.caller import REVIEWERS, Caller, Role
from service.audit.schemas import EntryOut
from service.database.session import Transaction
from service.http.exchange import Exchange, ReaderExchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import REFUSALS, api_router
from service.permits import operations, presenter, queries
from service.permits.queries import permit_of
from service.permits.schemas import AmendIn, JwksOut, NoteIn, PermitOut, ReasonIn, ReportOut, TokenOut
from service.permits.standing import Standing
from service.permits.tables import Permit

router = api_router("permits")
Result = TypeVar("Result")
PermitId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]
Act = Callable[[Transaction, Caller], Awaitable[Result]]


def _permit(act: Act[Permit]) -> Act[PermitOut]:
    """Return an act followed, in its transaction, by the presentation of the permit that it returns."""

    async def work(tx: Transaction, caller: Caller) -> PermitOut:
        return await presenter.present_one(tx, await act(tx, caller))

    return work


@router.get("/v1/permits", response_model=Page[PermitOut])
async def list_permits(
    exchange: ReaderExchange,
    handler: Filter = None,
    dataset: Filter = None,
    recipient: Filter = None,
    transfer: Named = None,
    status: Annotated[Standing | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List permits, by the ids of what they are about."""

    async def work(tx: Transaction, _: Caller) -> tuple[Sequence[PermitOut], str | None]:
        permits, following = await queries.list_permits(
            tx,
            handler=handler,
            dataset=dataset,
            recipient=recipient,
            transfer=transfer,
            status=status,
            cursor=cursor,
            limit=limit,
        )
        return await presenter.present(tx, permits), following

    return await exchange.page(work)


@router.get("/v1/permits/{permit_id}", response_model=PermitOut)
async def read_permit(exchange: ReaderExchange, permit_id: PermitId) -> Response:
    """Read a permit."""
    return await exchange.read(_permit(lambda tx, caller: permit_of(tx, caller, permit_id)))


@router.get("/v1/permits/{permit_id}/token", response_model=TokenOut, responses={409: REFUSALS[409]})
async def permit_token(exchange: ReaderExchange, request: Request, permit_id: PermitId) -> Response:
    """Get the permit as a signed token, for whoever must check it without asking the service."""
    signer, issuer = request.app.state.signer, request.app.state.base_url
    return await exchange.read(lambda tx, caller: presenter.present_token(tx, caller, permit_id, signer, issuer))


@router.post("/v1/permits/{permit_id}/suspend", response_model=PermitOut)
async def suspend(
    exchange: Annotated[Exchange, allowed(REVIEWERS, or_stops=True)], permit_id: PermitId, body: NoteIn | None = None
) -> Response:
    """Stop a permit until it is resumed; one that is to follow it and has not begun is suspended too."""
    reason = None if body is None else body.reason
    return await exchange.act(
        _permit(lambda tx, caller: operations.suspend(tx, caller, permit_id, reason)),
        _permit(lambda tx, caller: permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)),
        gate="close",
    )


@router.post("/v1/permits/{permit_id}/resume", response_model=PermitOut)
async def resume(
    exchange: Annotated[Exchange, allowed(Role.LEGAL, Role.SECURITY)], permit_id: PermitId, body: NoteIn | None = None
) -> Response:
    """Let a suspended permit hold again."""
    reason = None if body is None else body.reason
    return await exchange.act(
        _permit(lambda tx, caller: operations.resume(tx, caller, permit_id, reason)),
        _permit(lambda tx, caller: permit_of(tx, caller, permit_id, lock=True)),
    )


@router.post("/v1/permits/{permit_id}/revoke", response_model=PermitOut)
async def revoke(
    exchange: Annotated[Exchange, allowed(Role.LEGAL, Role.SECURITY, or_stops=True)],
    permit_id: PermitId,
    body: ReasonIn,
) -> Response:
    """End a permit for good, at once and on every replica; one that is to follow it and has not begun is suspended."""
    return await exchange.act(
        _permit(lambda tx, caller: operations.revoke(tx, caller, permit_id, body.reason)),
        _permit(lambda tx, caller: permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)),
        gate="close",
    )


@router.post("/v1/permits/{permit_id}/amend", response_model=PermitOut)
async def amend(
    exchange: Annotated[Exchange, allowed(operations.AMENDERS)], permit_id: PermitId, body: AmendIn
) -> Response:
    """Narrow a permit at once; to widen it takes a new transfer."""
    return await exchange.act(
        _permit(lambda tx, caller: operations.amend(tx, caller, permit_id, body)),
        _permit(lambda tx, caller: permit_of(tx, caller, permit_id, lock=True)),
        gate="close",
    )


@router.get("/v1/permits/{permit_id}/report", response_model=ReportOut)
async def report(exchange: ReaderExchange, permit_id: PermitId) -> Response:
    """Compare what was planned with what was exported."""
    return await exchange.read(lambda tx, caller: presenter.present_report(tx, caller, permit_id))


@router.get("/v1/permits/{permit_id}/history", response_model=Page[EntryOut])
async def permit_history(
    exchange: ReaderExchange, permit_id: PermitId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List everything that happened to a permit."""
    return await exchange.page(lambda tx, caller: queries.history(tx, caller, permit_id, cursor, limit))


@router.get("/.well-known/jwks.json", response_model=JwksOut)
async def jwks(request: Request) -> JwksOut:
    """Get the public keys of permit tokens."""
    keys: JwksOut = await request.app.state.database.transaction(queries.public_keys)
    return keys
