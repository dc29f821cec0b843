"""Loads the tables of every package: foreign keys refer to tables by name, so a writer needs all of them."""

from typing import Final

from service.access import tables as identity
from service.audit import tables as audit
from service.audit.log import tables as log
from service.database.columns import Base
from service.events import tables as events
from service.http import idempotency
from service.ledger import tables as ledger
from service.obligations import tables as obligations
from service.packs import tables as packs
from service.permits import tables as permits
from service.registry import tables as registry
from service.transfers import tables as transfers

ROOMS: Final = (audit, log, events, idempotency, identity, ledger, obligations, packs, permits, registry, transfers)
METADATA: Final = Base.metadata
"""Metadata of all tables."""
