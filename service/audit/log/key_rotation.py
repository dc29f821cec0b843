"""Rotates the key of the log. The rotation is an entry, and so a leaf that the older key signs."""

from sqlalchemy import select, update

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.log import sequencer
from service.audit.log.log_key import LogKey
from service.audit.log.tables import LogKey as StoredKey
from service.database.session import Transaction

LOG_SUBJECT = "log"
"""Subject of entries about the log itself."""


async def rotate(tx: Transaction, caller: Caller, key: LogKey, origin: str | None) -> tuple[str, str]:
    """Create the next key of the log and record it; `key.replace` then puts it into force.

    Can be repeated after an interrupted rotation.

    Args:
        tx: transaction of the act.
        caller: author of the act.
        key: the key file.
        origin: name of a new log; None makes one up.

    Returns:
        The name of the log, and the verifier key that is to follow.
    """
    raw = await (await tx.connection()).get_raw_connection()
    name: str = (await sequencer.ensure_log_state(raw.driver_connection, origin))["origin"]
    old, new = key.signer(name), key.following(name)
    if await tx.get(StoredKey, new.vkey) is None:
        ended = update(StoredKey).where(StoredKey.vkey != new.vkey, StoredKey.until.is_(None)).values(until=tx.now)
        if not (await tx.scalars(select(StoredKey.vkey))).all():
            tx.add(StoredKey(vkey=old.vkey, since=tx.now, until=tx.now))
        await tx.execute(ended)
        tx.add(StoredKey(vkey=new.vkey, since=tx.now))
        audit.append(
            tx, caller, AuditAction.LOG_KEY_ROTATED, LOG_SUBJECT, details={"vkey": new.vkey, "previous": old.vkey}
        )
    return name, new.vkey
