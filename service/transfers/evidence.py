"""Evidence: the records of the papers that a permit rests on."""

from collections.abc import Sequence

from sqlalchemy import select

from service.audit import operations as audit
from service.database import Transaction, new_id
from service.http.caller import Caller
from service.http.paging import page_of
from service.http.problems import Invalid
from service.law.rules import RuleBook
from service.transfers.reading import (
    REQUESTERS,
    demand_status,
    ends_on,
    transfer_of,
)
from service.transfers.schemas import (
    EvidenceIn,
    EvidenceOut,
)
from service.transfers.tables import Evidence
from service.transfers.workflow import Status

OTHER = "other"
_BARRED = frozenset({Status.REJECTED, Status.WITHDRAWN, Status.EXPIRED})


async def add_evidence(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: EvidenceIn
) -> EvidenceOut:
    """Add the record of a paper, from draft on, and after approval too (a duty's receipt comes then).

    Raises:
        Invalid: a kind that nobody knows.
        Conflict: the transfer was rejected or withdrawn, or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    if wanted.kind not in book.kinds | {OTHER}:
        known = ", ".join(sorted(book.kinds | {OTHER}))
        raise Invalid("This kind of evidence is not known.", errors=[("/kind", f"Choose one of: {known}.")])
    demand_status(transfer, tx, frozenset(Status) - _BARRED, "given evidence")
    evidence = Evidence(
        id=new_id("ed"), transfer=transfer.id, added_by=caller.principal, added_at=tx.now, **wanted.model_dump()
    )
    tx.add(evidence)
    transfer.updated_at = tx.now
    details = wanted.model_dump(mode="json") | {"evidence": evidence.id}
    audit.append(tx, caller, "transfer.evidence_added", transfer.id, handler=transfer.handler, details=details)
    await tx.flush()
    return EvidenceOut.of(evidence, ends_on(evidence, book))


async def list_evidence(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EvidenceOut], str | None]:
    """Return the evidence of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Evidence).where(Evidence.transfer == transfer.id)
    rows, following = await page_of(tx, query, Evidence.id, cursor, limit)
    return [EvidenceOut.of(row, ends_on(row, book)) for row in rows], following
