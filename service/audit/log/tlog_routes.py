"""HTTP of the log as C2SP tlog-tiles has it."""

from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from service.access.caller import Caller, Role
from service.audit.log import proofs, tile_store
from service.audit.log.tile_store import TileRequest
from service.database.session import Transaction
from service.http.exchange import AuditorExchange
from service.http.idempotency import Reply
from service.http.router import REFUSALS, api_router

router = api_router("audit")

TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
FOREVER: Final = "private, max-age=31536000, immutable"


def _answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}


@router.get("/tlog/checkpoint", response_class=PlainTextResponse, responses=_answers("text/plain"))
async def tlog_checkpoint(exchange: AuditorExchange) -> Response:
    """Read the newest checkpoint as a signed note. Takes the role for all handlers, as all of `/tlog` does."""

    async def work(tx: Transaction, caller: Caller) -> Reply:
        caller.require_everywhere(Role.AUDITOR)
        note = (await proofs.checkpoint(tx)).note
        return Reply(200, note.encode(), {"Content-Type": TEXT, "Cache-Control": "no-store"})

    return await exchange.send(work)


@router.get(
    "/tlog/tile/{path:path}",
    response_class=Response,
    responses=_answers(BYTES) | {409: REFUSALS[409], 410: REFUSALS[410]},
)
async def tlog_tile(exchange: AuditorExchange, path: str) -> Response:
    """Read a tile of hashes, `<level>/<number>`, or a bundle of entries, `entries/<number>`; a part of one with `.p/<width>`."""

    async def work(tx: Transaction, caller: Caller) -> Reply:
        caller.require_everywhere(Role.AUDITOR)
        tile_request = TileRequest.of(path)
        cached = FOREVER if tile_request.is_full else "no-store"
        return Reply(
            200, await tile_store.load_content(tx, tile_request), {"Content-Type": BYTES, "Cache-Control": cached}
        )

    return await exchange.send(work)


@router.get("/tlog/vkey", response_class=PlainTextResponse, responses=_answers("text/plain"))
async def tlog_vkey(request: Request) -> Response:
    """Read the verifier keys of the log, one a line: the one in force first, then those of before."""
    keys: list[str] = await request.app.state.database.transaction(tile_store.vkeys)
    return PlainTextResponse("".join(f"{vkey}\n" for vkey in keys))
