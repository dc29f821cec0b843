"""SQL conditions on grants and delegations: each is the rule of the same name in `grant_rules`, for queries.

`tests/rules` compares the two, and the same rules in `gate/sql/gate_read_2.sql`, on generated rows.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, or_

from service.access.grant_rules import PENDING_PERIOD
from service.clock import day_in_shanghai


def grant_is_standing(grant: Any, today: date | BindParameter[date]) -> ColumnElement[bool]:
    """Return the condition that a grant is `GrantState.STANDING` on a day: confirmed, within its days, not withdrawn.

    Args:
        grant: the columns of grants as attributes: of the table, of an alias or of the mapped class.
        today: in Asia/Shanghai.

    Example:
        select(Grant.role).where(Grant.principal == principal, grant_is_standing(Grant, day_in_shanghai(tx.now)))
    """
    condition: ColumnElement[bool] = and_(
        grant.withdrawn_at.is_(None),
        grant.effective_at.is_not(None),
        grant.valid_from <= today,
        or_(grant.valid_until.is_(None), grant.valid_until >= today),
    )
    return condition


def grant_is_pending(grant: Any, now: datetime) -> ColumnElement[bool]:
    """Return the condition that a grant is `GrantState.PENDING` at an instant: it waits for a second admin, and has not lapsed."""
    condition: ColumnElement[bool] = and_(
        grant.withdrawn_at.is_(None),
        grant.effective_at.is_(None),
        grant.granted_at > now - PENDING_PERIOD,
        or_(grant.valid_until.is_(None), grant.valid_until >= day_in_shanghai(now)),
    )
    return condition


def delegation_is_in_force(delegation: Any, today: date | BindParameter[date]) -> ColumnElement[bool]:
    """Return the condition that a delegation lends roles on a day in Asia/Shanghai: effective, within its days, not ended."""
    condition: ColumnElement[bool] = and_(
        delegation.effective_at.is_not(None), delegation.valid_from <= today, delegation_is_not_over(delegation, today)
    )
    return condition


def delegation_is_not_over(delegation: Any, today: date | BindParameter[date]) -> ColumnElement[bool]:
    """Return the condition that a delegation lends roles on a day or may come to do so: not ended, last day not passed."""
    condition: ColumnElement[bool] = and_(delegation.ended_at.is_(None), delegation.valid_until >= today)
    return condition
