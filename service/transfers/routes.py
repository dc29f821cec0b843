"""HTTP of transfers."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from service.audit.schemas import EntryOut
from service.http.caller import READERS, REVIEWERS, Role
from service.http.exchange import Exchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import room
from service.law.rules import RuleBook
from service.transfers import evidence, operations, reviews
from service.transfers.schemas import (
    EvidenceIn,
    EvidenceOut,
    ReviewIn,
    RevisionOut,
    StageRole,
    TransferIn,
    TransferOut,
    TransferPatch,
    WithdrawIn,
)
from service.transfers.workflow import Stage, Status

router = room("transfers")
Reading = Annotated[Exchange, allowed(READERS)]
Requesting = Annotated[Exchange, allowed(Role.REQUESTER)]
TransferId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


def _book(request: Request) -> RuleBook:
    book: RuleBook = request.app.state.book
    return book


@router.post("/v1/transfers", status_code=201, response_model=TransferOut)
async def create_transfer(exchange: Requesting, request: Request, body: TransferIn) -> Response:
    """Write a transfer request down as a draft."""
    book = _book(request)
    return await exchange.create(
        lambda tx, caller: operations.create_transfer(tx, caller, book, body),
        lambda made: f"/v1/transfers/{made.id}",
    )


@router.get("/v1/transfers", response_model=Page[TransferOut])
async def list_transfers(
    exchange: Reading,
    request: Request,
    status: Annotated[Status | None, Query()] = None,
    stage_role: Annotated[StageRole | None, Query(description="Transfers that wait for this stage's reviewer.")] = None,
    handler: Filter = None,
    dataset: Filter = None,
    recipient: Filter = None,
    requester: Named = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List transfers; with `stage_role`, a reviewer's queue."""
    book = _book(request)
    stage = None if stage_role is None else Stage(stage_role.removeprefix("reviewer:"))
    return await exchange.page(
        lambda tx, caller: operations.list_transfers(
            tx,
            caller,
            book,
            status=status,
            stage=stage,
            handler=handler,
            dataset=dataset,
            recipient=recipient,
            requester=requester,
            cursor=cursor,
            limit=limit,
        )
    )


@router.get("/v1/transfers/{transfer_id}", response_model=TransferOut)
async def read_transfer(exchange: Reading, request: Request, transfer_id: TransferId) -> Response:
    """Read a transfer."""
    book = _book(request)
    return await exchange.read(lambda tx, caller: operations.read_transfer(tx, caller, book, transfer_id))


@router.patch("/v1/transfers/{transfer_id}", response_model=TransferOut)
async def change_transfer(
    exchange: Requesting, request: Request, transfer_id: TransferId, body: TransferPatch
) -> Response:
    """Change a transfer; one in review becomes a new revision, and its stages begin anew."""
    book = _book(request)
    return await exchange.change(
        lambda tx, caller: operations.change_transfer(tx, caller, book, transfer_id, body),
        lambda tx, caller: operations.read_transfer(tx, caller, book, transfer_id, lock=True),
    )


@router.post("/v1/transfers/{transfer_id}/submit", response_model=TransferOut)
async def submit(exchange: Requesting, request: Request, transfer_id: TransferId) -> Response:
    """Submit a transfer: it becomes a revision, the law is determined, the first stage opens."""
    book = _book(request)
    return await exchange.act(
        lambda tx, caller: operations.submit(tx, caller, book, transfer_id),
        lambda tx, caller: operations.read_transfer(tx, caller, book, transfer_id, lock=True),
    )


@router.post("/v1/transfers/{transfer_id}/withdraw", response_model=TransferOut)
async def withdraw(
    exchange: Requesting, request: Request, transfer_id: TransferId, body: WithdrawIn | None = None
) -> Response:
    """Take a transfer back before it is decided."""
    book = _book(request)
    reason = None if body is None else body.reason
    return await exchange.act(
        lambda tx, caller: operations.withdraw(tx, caller, book, transfer_id, reason),
        lambda tx, caller: operations.read_transfer(tx, caller, book, transfer_id, lock=True),
    )


@router.post("/v1/transfers/{transfer_id}/reviews", status_code=201, response_model=TransferOut)
async def review(
    exchange: Annotated[Exchange, allowed(REVIEWERS)], request: Request, transfer_id: TransferId, body: ReviewIn
) -> Response:
    """Approve, return or reject the open stage, on the revision that was seen."""
    book = _book(request)
    return await exchange.create(
        lambda tx, caller: reviews.review(tx, caller, book, transfer_id, body),
        lambda made: f"/v1/transfers/{made.id}",
    )


@router.post("/v1/transfers/{transfer_id}/evidence", status_code=201, response_model=EvidenceOut)
async def add_evidence(exchange: Requesting, request: Request, transfer_id: TransferId, body: EvidenceIn) -> Response:
    """Add the record of a paper."""
    book = _book(request)
    return await exchange.create(
        lambda tx, caller: evidence.add_evidence(tx, caller, book, transfer_id, body),
        lambda made: f"/v1/transfers/{made.transfer}/evidence",
    )


@router.get("/v1/transfers/{transfer_id}/evidence", response_model=Page[EvidenceOut])
async def list_evidence(
    exchange: Reading, request: Request, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the evidence of a transfer."""
    book = _book(request)
    return await exchange.page(lambda tx, caller: evidence.list_evidence(tx, caller, book, transfer_id, cursor, limit))


@router.get("/v1/transfers/{transfer_id}/revisions/{number}", response_model=RevisionOut)
async def read_revision(
    exchange: Reading, transfer_id: TransferId, number: Annotated[int, Path(ge=1, lt=2**31)]
) -> Response:
    """Read a revision as it was submitted."""
    return await exchange.read(lambda tx, caller: operations.read_revision(tx, caller, transfer_id, number))


@router.get("/v1/transfers/{transfer_id}/history", response_model=Page[EntryOut])
async def history(exchange: Reading, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List everything that happened to a transfer."""
    return await exchange.page(lambda tx, caller: operations.history(tx, caller, transfer_id, cursor, limit))
