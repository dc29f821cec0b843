"""Computes the effects of a policy on open transfers and permits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select

from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.gate.decide import Decision
from service.law.policy import Policy
from service.law.rule_book import RuleBook
from service.permits import queries as permits
from service.permits.tables import Permit
from service.registry.tables import Recipient
from service.transfers.case import case_of, determine_case
from service.transfers.tables import Transfer
from service.transfers.workflow import Status, stages_for
from service.validation.problems import Invalid
from service.whatif.outlook import decide_under, read_inputs


@dataclass(slots=True)
class Effect:
    """Effect of a policy on one transfer or permit: member to (before, after)."""

    id: str
    status: str
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """Return the changes in words."""
        return [
            f"{name}: {_format_value(before)} -> {_format_value(after)}"
            for name, (before, after) in self.changes.items()
        ]


async def compute_effects(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    """Compute the effects of another policy on open transfers and permits in force."""
    return [*await _effects_on_transfers(tx, now, then), *await _effects_on_permits(tx, now, then)]


async def unknown_recipients(tx: Transaction, policy: Policy) -> list[str]:
    """Return the keys that conditions name and that no recipient of the register has: such a condition fits nothing."""
    named = policy.recipients
    return sorted(named - set(await tx.scalars(select(Recipient.key).where(Recipient.key.in_(named)))))


async def _effects_on_transfers(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    today = day_in_shanghai(tx.now)
    open_ = [Status.DRAFT, Status.RETURNED, Status.IN_REVIEW]
    query = select(Transfer).where(Transfer.status.in_(open_), Transfer.valid_until >= today).order_by(Transfer.id)
    effects: list[Effect] = []
    for transfer in (await tx.scalars(query)).all():
        case = await case_of(tx, transfer)
        try:
            before, after = (determine_case(case, today, book).determination for book in (now, then))
        except Invalid:  # not graded, or contradicting the register: no determination is possible yet
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
            effects.append(effect)
    return effects


async def _effects_on_permits(tx: Transaction, now: RuleBook, then: RuleBook) -> list[Effect]:
    today = day_in_shanghai(tx.now)
    query = select(Permit).where(permits.not_ended(today)).order_by(Permit.id)
    effects: list[Effect] = []
    for permit in (await tx.scalars(query)).all():
        inputs = await read_inputs(tx, permit, max(today, permit.valid_from))
        before, after = ([decide_under(permit, state, book) for _, state in inputs] for book in (now, then))
        effect = Effect(permit.id, permit.status)
        if _denied(before) != _denied(after):
            effect.changes["denied"] = (_denied(before), _denied(after))
        elif _headroom(before) != _headroom(after):
            effect.changes["headroom"] = (_headroom(before), _headroom(after))
        if effect.changes:
            effects.append(effect)
    return effects


def _denied(decisions: Sequence[Decision]) -> list[str]:
    return sorted({str(decision.reason) for decision in decisions if not decision.allowed})


def _headroom(decisions: Sequence[Decision]) -> dict[str, int]:
    """Return the remaining persons of the dataset with the fewest."""
    counts = [decision.headroom for decision in decisions if decision.headroom is not None]
    return {kind: min(getattr(count, kind) for count in counts) for kind in _KINDS if counts}


_KINDS: Final = ("persons", "sensitive_persons")


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in value.items()) or "any number"
    if isinstance(value, list):
        return ", ".join(value) or "nothing"
    return str(value)
