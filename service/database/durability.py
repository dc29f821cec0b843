"""Requires of PostgreSQL that a commit it has acknowledged survives a crash of the machine.

Sessions set `synchronous_commit` themselves (`service.connections`); `fsync` and `full_page_writes` are settings of the server alone.

Example:
    await database.transaction(durability.require_durable, handlers=EVERYWHERE)
"""

import structlog
from sqlalchemy import text

from service.database.session import Transaction

log = structlog.stdlib.get_logger()


class UndurableServerError(ValueError):
    """PostgreSQL would lose what it has acknowledged."""


async def require_durable(tx: Transaction) -> None:
    """Refuse a server that does not write through to its disk, and warn of one that a torn page can damage.

    Raises:
        UndurableServerError: `fsync` is off.
    """
    fsync, full_page_writes = (
        await tx.execute(text("select current_setting('fsync'), current_setting('full_page_writes')"))
    ).one()
    if fsync == "off":
        raise UndurableServerError(
            "PostgreSQL runs with fsync = off: a crash of its machine would lose answers that were given. Run "
            "`alter system set fsync = on; select pg_reload_conf();` there, and start again."
        )
    if full_page_writes == "off":
        log.warning(
            "full_page_writes is off",
            detail="A crash of PostgreSQL's machine in the middle of a write can damage tables, unless its file system rules that out.",
        )
