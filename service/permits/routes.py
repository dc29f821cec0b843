"""HTTP of permits."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from service.access.caller import REVIEWERS, Role
from service.audit.schemas import EntryOut
from service.http.exchange import Exchange, ReaderExchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import REFUSALS, api_router
from service.permits import operations
from service.permits.schemas import AmendIn, JwksOut, NoteIn, PermitOut, ReasonIn, ReportOut, TokenOut
from service.permits.standing import Standing

router = api_router("permits")
PermitId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


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
    return await exchange.page(
        lambda tx, _: operations.list_permits(
            tx,
            handler=handler,
            dataset=dataset,
            recipient=recipient,
            transfer=transfer,
            status=status,
            cursor=cursor,
            limit=limit,
        )
    )


@router.get("/v1/permits/{permit_id}", response_model=PermitOut)
async def read_permit(exchange: ReaderExchange, permit_id: PermitId) -> Response:
    """Read a permit."""
    return await exchange.read(lambda tx, caller: operations.read_permit(tx, caller, permit_id))


@router.get("/v1/permits/{permit_id}/token", response_model=TokenOut, responses={409: REFUSALS[409]})
async def permit_token(exchange: ReaderExchange, request: Request, permit_id: PermitId) -> Response:
    """Get the permit as a signed token, for whoever must check it without asking the service."""
    signer, issuer = request.app.state.signer, request.app.state.base_url
    return await exchange.read(lambda tx, caller: operations.token(tx, caller, permit_id, signer, issuer))


@router.post("/v1/permits/{permit_id}/suspend", response_model=PermitOut)
async def suspend(
    exchange: Annotated[Exchange, allowed(REVIEWERS, or_stops=True)], permit_id: PermitId, body: NoteIn | None = None
) -> Response:
    """Stop a permit until it is resumed; one that is to follow it and has not begun is suspended too."""
    reason = None if body is None else body.reason
    return await exchange.act(
        lambda tx, caller: operations.suspend(tx, caller, permit_id, reason),
        lambda tx, caller: operations.read_permit(tx, caller, permit_id, lock=True, is_to_stop=True),
        gate="close",
    )


@router.post("/v1/permits/{permit_id}/resume", response_model=PermitOut)
async def resume(
    exchange: Annotated[Exchange, allowed(Role.LEGAL, Role.SECURITY)], permit_id: PermitId, body: NoteIn | None = None
) -> Response:
    """Let a suspended permit hold again."""
    reason = None if body is None else body.reason
    return await exchange.act(
        lambda tx, caller: operations.resume(tx, caller, permit_id, reason),
        lambda tx, caller: operations.read_permit(tx, caller, permit_id, lock=True),
    )


@router.post("/v1/permits/{permit_id}/revoke", response_model=PermitOut)
async def revoke(
    exchange: Annotated[Exchange, allowed(Role.LEGAL, Role.SECURITY, or_stops=True)],
    permit_id: PermitId,
    body: ReasonIn,
) -> Response:
    """End a permit for good, at once and on every replica; one that is to follow it and has not begun is suspended."""
    return await exchange.act(
        lambda tx, caller: operations.revoke(tx, caller, permit_id, body.reason),
        lambda tx, caller: operations.read_permit(tx, caller, permit_id, lock=True, is_to_stop=True),
        gate="close",
    )


@router.post("/v1/permits/{permit_id}/amend", response_model=PermitOut)
async def amend(
    exchange: Annotated[Exchange, allowed(operations.AMENDERS)], permit_id: PermitId, body: AmendIn
) -> Response:
    """Narrow a permit at once; to widen it takes a new transfer."""
    return await exchange.act(
        lambda tx, caller: operations.amend(tx, caller, permit_id, body),
        lambda tx, caller: operations.read_permit(tx, caller, permit_id, lock=True),
        gate="close",
    )


@router.get("/v1/permits/{permit_id}/report", response_model=ReportOut)
async def report(exchange: ReaderExchange, permit_id: PermitId) -> Response:
    """Compare what was planned with what was exported."""
    return await exchange.read(lambda tx, caller: operations.report(tx, caller, permit_id))


@router.get("/v1/permits/{permit_id}/history", response_model=Page[EntryOut])
async def permit_history(
    exchange: ReaderExchange, permit_id: PermitId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List everything that happened to a permit."""
    return await exchange.page(lambda tx, caller: operations.history(tx, caller, permit_id, cursor, limit))


@router.get("/.well-known/jwks.json", response_model=JwksOut)
async def jwks(request: Request) -> JwksOut:
    """Get the public keys of permit tokens."""
    keys: JwksOut = await request.app.state.database.transaction(operations.public_keys)
    return keys
