"""Which open transfers and permits a policy would change, and how."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from service.database import Transaction
from service.gate.outlook import why_not
from service.http.problems import Invalid
from service.law.calendar import day_in_shanghai
from service.law.rules import RuleBook
from service.permits.tables import Permit
from service.transfers.case import case_of, find
from service.transfers.tables import Transfer
from service.transfers.workflow import Status, stages_for


@dataclass(slots=True)
class Effect:
    """What a policy would change of one thing: member to (before, after)."""

    id: str
    status: str
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Return the changes in words."""
        return [f"{name}: {_said(before)} -> {_said(after)}" for name, (before, after) in self.changes.items()]


async def effects(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    """Return what would be other under another policy: of transfers that are open, and of permits in force."""
    return [*await _of_transfers(tx, now, then), *await _of_permits(tx, now, then)]


async def _of_transfers(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    today = day_in_shanghai(tx.now)
    open_ = [Status.DRAFT, Status.RETURNED, Status.IN_REVIEW]
    query = select(Transfer).where(Transfer.status.in_(open_), Transfer.valid_until >= today).order_by(Transfer.id)
    found: list[Effect] = []
    for transfer in (await tx.scalars(query)).all():
        case = await case_of(tx, transfer)
        try:
            before, after = (find(case, tx, book).determination for book in (now, then))
        except Invalid:  # not graded, or contradicting the register: nothing can be said of it yet
            continue
        effect = Effect(transfer.id, transfer.status)
        for name, was, is_now in (
            ("mechanism", str(before.mechanism), str(after.mechanism)),
            ("stages", [*map(str, stages_for(before))], [*map(str, stages_for(after))]),
            ("evidence", [item.code for item in before.evidence], [item.code for item in after.evidence]),
        ):
            if was != is_now:
                effect.changes[name] = (was, is_now)
        if effect.changes:
            found.append(effect)
    return found


async def _of_permits(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    today = day_in_shanghai(tx.now)
    query = (
        select(Permit)
        .where(Permit.status.in_(["active", "suspended"]), Permit.valid_until >= today)
        .order_by(Permit.id)
    )
    found: list[Effect] = []
    for permit in (await tx.scalars(query)).all():
        day = max(today, permit.valid_from)
        before = sorted({str(why.reason) for why in await why_not(tx, now, permit, day)})
        after = sorted({str(why.reason) for why in await why_not(tx, then, permit, day)})
        if before != after:
            found.append(Effect(permit.id, permit.status, {"denied": (before, after)}))
    return found


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    return str(value)
