"""Another key for the log: the act is an entry, and so a leaf that the older key vouches for."""

from sqlalchemy import select, update

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.log import sequencer
from service.audit.log.log_key import LogKey
from service.audit.log.tables import LogKey as StoredKey
from service.database.session import Transaction

LOG_SUBJECT = "log"
"""What entries about the log itself are about."""


async def rotate(tx: Transaction, caller: Caller, key: LogKey, origin: str | None) -> tuple[str, str]:
    """Make the key that is to follow the log's, and say so in the log; `key.replace` then puts it into force.

    A second time, after the file was not put in place, does nothing more.

    Args:
        tx: the transaction of the act.
        caller: who acts.
        key: the key file.
        origin: the name of the log, should it have to be begun.

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
