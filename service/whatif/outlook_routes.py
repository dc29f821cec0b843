"""HTTP of outlooks of transfers and permits."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response

from service.http.exchange import ReaderExchange
from service.http.router import api_router
from service.law.facts import Count
from service.law.rule_book import RuleBook
from service.validation.text_types import NearDay
from service.whatif import outlook

router = api_router("gate")


def _outlook_query(
    on: Annotated[NearDay | None, Query(description="A later day.")] = None,
    more_persons: Annotated[int, Query(ge=0, lt=2**53, description="So many persons more in the year's count.")] = 0,
    more_sensitive_persons: Annotated[int, Query(ge=0, lt=2**53)] = 0,
) -> outlook.OutlookQuery:
    return outlook.OutlookQuery(on=on, more=Count(more_persons, more_sensitive_persons))


OutlookQueryIn = Annotated[outlook.OutlookQuery, Depends(_outlook_query)]


@router.get("/v1/transfers/{transfer_id}/outlook", response_model=outlook.TransferOutlook)
async def transfer_outlook(
    exchange: ReaderExchange, request: Request, transfer_id: Annotated[str, Path()], query: OutlookQueryIn
) -> Response:
    """Return the determinations of a transfer today, on a later day and with a higher count, with the coming changes."""
    book: RuleBook = request.app.state.book
    return await exchange.read(lambda tx, caller: outlook.build_transfer_outlook(tx, caller, book, transfer_id, query))


@router.get("/v1/permits/{permit_id}/outlook", response_model=outlook.PermitOutlook)
async def permit_outlook(
    exchange: ReaderExchange, request: Request, permit_id: Annotated[str, Path()], query: OutlookQueryIn
) -> Response:
    """Return the validity of a permit today, on a later day and with a higher count, with the coming changes."""
    book: RuleBook = request.app.state.book
    return await exchange.read(lambda tx, caller: outlook.build_permit_outlook(tx, caller, book, permit_id, query))
