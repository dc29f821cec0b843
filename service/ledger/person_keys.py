"""The key of a handler with which its exporters turn an identifier of a person into a hash: made once, handed to exporters only."""

import secrets
from typing import Final

from sqlalchemy.dialects.postgresql import insert

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit import recording
from service.database.session import Transaction
from service.ledger.tables import PersonKey

KEY_BYTES: Final = 32


async def person_key(tx: Transaction, caller: Caller, handler: str) -> PersonKey:
    """Return the key of a handler, made when nobody has asked for it before; the caller's right to it has been checked.

    The log tells that it was made, and never what it is.
    """
    kept = await tx.get(PersonKey, handler)
    if kept is not None:
        return kept
    made = {"handler": handler, "key": secrets.token_bytes(KEY_BYTES), "created_at": tx.now}
    # Of two that find none, the second waits here for the first, and takes that one's key.
    adding = insert(PersonKey).values(**made).on_conflict_do_nothing().returning(PersonKey.handler)
    if await tx.scalar(adding, execution_options=recording.STATED) is not None:
        recording.wrote(tx, PersonKey.__table__, [made], made=True)
        audit.append(tx, caller, "handler.person_key_made", handler, handler=handler, details={"bytes": KEY_BYTES})
    return await tx.get_one(PersonKey, handler)
