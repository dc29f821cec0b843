"""Routes of evidence packs."""

from typing import Annotated, Any

from fastapi import Path, Request, Response

from service.access.caller import Caller
from service.database.session import Transaction
from service.http.exchange import AuditorExchange, Download
from service.http.paging import Cursor, Limit, Page
from service.http.router import REFUSALS, api_router
from service.packs import operations
from service.packs.schemas import PackIn, PackOut

router = api_router("evidence packs")
PackId = Annotated[str, Path(max_length=29, description="Id of an evidence pack.")]
ZIP: dict[int | str, dict[str, Any]] = {200: {"description": "The ZIP file.", "content": {"application/zip": {}}}}


@router.post("/v1/evidence-packs", status_code=202, response_model=PackOut)
async def request_pack(exchange: AuditorExchange, body: PackIn) -> Response:
    """Request an evidence pack about one permit, transfer, dataset or handler: its records, log entries and proofs.

    The pack is built in the background; poll `Location` until `state` is `ready`.
    """
    return await exchange.decide(
        lambda tx, caller: operations.request_pack(tx, caller, body),
        202,
        lambda pack: f"/v1/evidence-packs/{pack.id}",
    )


@router.get("/v1/evidence-packs", response_model=Page[PackOut])
async def list_packs(exchange: AuditorExchange, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List evidence packs, oldest first."""
    return await exchange.page(lambda tx, caller: operations.list_packs(tx, caller, cursor, limit))


@router.get("/v1/evidence-packs/{pack}", response_model=PackOut)
async def read_pack(exchange: AuditorExchange, pack: PackId) -> Response:
    """Read an evidence pack with its progress."""
    return await exchange.read(lambda tx, caller: operations.read_pack(tx, caller, pack))


@router.get("/v1/evidence-packs/{pack}/content", responses=ZIP | {409: REFUSALS[409]})
async def read_pack_content(request: Request, exchange: AuditorExchange, pack: PackId) -> Response:
    """Download an evidence pack: a ZIP file, which `outbound verify` checks without this service."""

    async def work(tx: Transaction, caller: Caller) -> Download:
        pack_out, path = await operations.fetch_pack(tx, caller, request.app.state.packs_dir, pack)
        return Download(f"{pack_out.id}.zip", "application/zip", str(pack_out.sha256), path)

    return await exchange.download(work)
