"""HTTP of events."""

from typing import Annotated

from fastapi import Query, Response

from service.events import operations
from service.events.schemas import EventOut
from service.http.exchange import AnyExchange
from service.http.paging import Cursor, Limit, Page
from service.http.router import api_router

router = api_router("events")


@router.get("/v1/events", response_model=Page[EventOut])
async def list_events(
    exchange: AnyExchange,
    to_me: Annotated[bool, Query(description="Only what is addressed to the caller.")] = False,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    subject: Annotated[str | None, Query(max_length=29)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List events, oldest first, each with actor, reason, figures and the address at which to act."""
    return await exchange.page(
        lambda tx, caller: operations.list_events(
            tx, caller, to_me=to_me, kind=kind, subject=subject, cursor=cursor, limit=limit
        )
    )
