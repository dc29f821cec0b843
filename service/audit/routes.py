"""HTTP of the audit log."""

from typing import Annotated

from fastapi import Path, Query, Response

from service.audit import operations
from service.audit.schemas import EntryFilter, EntryOut
from service.http.caller import Role
from service.http.exchange import Exchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.router import REFUSALS, room
from service.http.texts import Instant

router = room("audit")
Auditing = Annotated[Exchange, allowed(Role.AUDITOR)]
Text = Annotated[str | None, Query(max_length=200)]


@router.get("/v1/audit/entries", response_model=Page[EntryOut])
async def list_entries(
    exchange: Auditing,
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
    wanted = EntryFilter(subject=subject, actor=actor, action=action, handler=handler, since=since, until=until)
    return await exchange.page(lambda tx, caller: operations.entries(tx, caller, wanted, cursor, limit))


@router.get("/v1/audit/entries/{seq}", response_model=EntryOut, responses={410: REFUSALS[410]})
async def read_entry(exchange: Auditing, seq: Annotated[int, Path(ge=0, lt=2**63)]) -> Response:
    """Read one entry."""
    return await exchange.read(lambda tx, caller: operations.entry(tx, caller, seq))
