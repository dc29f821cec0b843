"""SQL conditions on reservations: each is a rule of `reservation_rules`, for queries; `tests/rules` compares the two."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case
from sqlalchemy.orm import InstrumentedAttribute

from service.ledger.tables import Export


def is_live(expires_at: InstrumentedAttribute[datetime], now: datetime) -> ColumnElement[bool]:
    """Return the condition that a reservation counts at an instant: `reservation_rules.has_lapsed` is the opposite."""
    return expires_at > now


def status_at(now: datetime) -> ColumnElement[Any]:
    """Return the status of an export at an instant: the rule of `reservation_rules.status_at`."""
    has_lapsed = and_(Export.status == "reserved", ~is_live(Export.expires_at, now))
    return case((has_lapsed, "lapsed"), else_=Export.status)
