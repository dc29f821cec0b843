"""HTTP of the audit log."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from service.audit import operations
from service.audit.log import proofs
from service.audit.log.schemas import CheckpointOut, ConsistencyOut, EntryInLogOut, HealthOut, InclusionOut
from service.audit.schemas import EntryFilter, EntryOut
from service.http.exchange import AuditorExchange
from service.http.paging import Cursor, Limit, Page
from service.http.router import REFUSALS, api_router
from service.validation.text_types import Instant

router = api_router("audit")
Place = Annotated[int, Query(ge=0, lt=2**63)]
Text = Annotated[str | None, Query(max_length=200)]


@router.get("/v1/audit/entries", response_model=Page[EntryOut])
async def list_entries(
    exchange: AuditorExchange,
    subject: Text = None,
    actor: Text = None,
    action: Text = None,
    handler: Text = None,
    since: Annotated[Instant | None, Query()] = None,
    until: Annotated[Instant | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List entries, oldest first, by what they are about (`subject`), who acted, the act, the handler and the time."""
    entry_filter = EntryFilter(subject=subject, actor=actor, action=action, handler=handler, since=since, until=until)
    return await exchange.page(lambda tx, caller: operations.entries(tx, caller, entry_filter, cursor, limit))


@router.get("/v1/audit/entries/{seq}", response_model=EntryInLogOut, responses={410: REFUSALS[410]})
async def read_entry(exchange: AuditorExchange, seq: Annotated[int, Path(ge=0, lt=2**63)]) -> Response:
    """Read one entry, with the proof that the log holds it."""
    return await exchange.read(lambda tx, caller: proofs.entry(tx, caller, seq))


@router.get("/v1/audit/checkpoint", response_model=CheckpointOut)
async def read_checkpoint(exchange: AuditorExchange) -> Response:
    """Read the newest checkpoint: what the log promises, signed, with the signatures of its witnesses."""
    return await exchange.read(lambda tx, _: proofs.checkpoint(tx))


@router.get("/v1/audit/checkpoints", response_model=Page[CheckpointOut])
async def list_checkpoints(exchange: AuditorExchange, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List checkpoints, the smallest first."""
    return await exchange.page(lambda tx, _: proofs.checkpoints(tx, cursor, limit))


@router.get("/v1/audit/proofs/inclusion", response_model=InclusionOut)
async def prove_inclusion(exchange: AuditorExchange, leaf: Place, size: Place) -> Response:
    """Prove that a leaf is in the log of a size."""
    return await exchange.read(lambda tx, _: proofs.inclusion(tx, leaf, size))


@router.get("/v1/audit/proofs/consistency", response_model=ConsistencyOut)
async def prove_consistency(
    exchange: AuditorExchange, old: Annotated[Place, Query(alias="from")], to: Place
) -> Response:
    """Prove that the log of the size `to` begins with the log of the size `from`: nothing was changed or cut."""
    return await exchange.read(lambda tx, _: proofs.consistency(tx, old, to))


@router.get("/v1/audit/health", response_model=HealthOut)
async def read_health(exchange: AuditorExchange, request: Request) -> Response:
    """Report whether each entry gets its leaf in time, and whether witnesses cosign the log."""
    state = request.app.state
    return await exchange.answer_question(lambda tx, _: proofs.health(tx, state.witnesses, state.witness_max_age))
