"""Person keys of handlers, with which exporters hash identifiers of persons: created once, for exporters only."""

import secrets
from typing import Final

from sqlalchemy.dialects.postgresql import insert

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit import recording
from service.audit.actions import AuditAction
from service.database.session import Transaction
from service.ledger.tables import PersonKey

KEY_BYTES: Final = 32


async def person_key(tx: Transaction, caller: Caller, handler: str) -> PersonKey:
    """Return the key of a handler, created on first use; the caller's permission is checked before.

    The audit entry records its creation, never the key.
    """
    stored = await tx.get(PersonKey, handler)
    if stored is not None:
        return stored
    row = {"handler": handler, "key": secrets.token_bytes(KEY_BYTES), "created_at": tx.now}
    # Of two concurrent creations, the second waits here for the first, and returns its key.
    adding = insert(PersonKey).values(**row).on_conflict_do_nothing().returning(PersonKey.handler)
    if await tx.scalar(adding, execution_options=recording.REPORTED) is not None:
        recording.report_rows(tx, PersonKey.__table__, [row], is_insert=True)
        audit.append(
            tx, caller, AuditAction.HANDLER_PERSON_KEY_MADE, handler, handler=handler, details={"bytes": KEY_BYTES}
        )
    return await tx.get_one(PersonKey, handler)
