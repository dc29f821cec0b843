"""Operations on obligations. Nothing needs to run for them to hold: readers compare the due day with today."""

from collections.abc import Collection
from datetime import date

from sqlalchemy import ColumnElement

from service.access import directory
from service.access.caller import Caller, Role
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.obligations.obligation_rules import (
    BLOCKING,
    RECKONED,
    SETTLED_BY,
    YEARLY,
    Code,
    Due,
    State,
    a_year_after,
    reckoned_anew,
    settles,
)
from service.obligations.queries import beginning_of, has_open, obligation_of, open_of, settled_by, state_of
from service.obligations.tables import Obligation
from service.validation.problems import Conflict, Invalid

KEEPERS = frozenset({Role.REQUESTER, Role.REGISTRAR, Role.LEGAL, Role.PRIVACY, Role.SECURITY})
"""Roles that may complete an obligation."""

REOPENERS = frozenset({Role.LEGAL, Role.SECURITY})


async def open_duty(
    tx: Transaction,
    caller: Caller,
    code: Code,
    due: Due,
    *,
    handler: str,
    transfer: str | None = None,
    permit: str | None = None,
    dataset: str | None = None,
    owner: str | None = None,
) -> Obligation:
    """Record an obligation, in the transaction of the act that causes it."""
    obligation = Obligation(
        id=new_id("ob"),
        code=code,
        handler=handler,
        transfer=transfer,
        permit=permit,
        dataset=dataset,
        owner=owner,
        due_on=due.on,
        due_note=due.note,
        blocks=code in BLOCKING,
        state=State.OPEN,
        evidence=None,
        note=None,
        ended_by=None,
        ended_at=None,
        created_at=tx.now,
    )
    tx.add(obligation)
    _record(tx, caller, AuditAction.OBLIGATION_OPENED, obligation)
    await tx.flush()
    return obligation


async def settle(
    tx: Transaction,
    caller: Caller,
    transfer: str,
    kind: str,
    evidence: str,
    ends_on: date | None,
    begins_on: date | None = None,
) -> None:
    """Settle the obligations of a transfer by new evidence; evidence dated ahead settles them from its first day on."""
    codes = [code for code, settling in SETTLED_BY.items() if settling == kind]
    for obligation in await open_of(tx, Obligation.transfer == transfer, Obligation.code.in_(codes)):
        if not settles(Code(obligation.code), obligation.due_on, ends_on):
            continue
        if begins_on is None or begins_on <= day_in_shanghai(tx.now):
            _end(tx, caller, obligation, State.DONE, evidence=evidence)
        elif obligation.ended_at is None or beginning_of(begins_on) < obligation.ended_at:
            obligation.evidence, obligation.ended_by, obligation.ended_at = (
                evidence,
                caller.principal,
                beginning_of(begins_on),
            )
            _record(tx, caller, AuditAction.OBLIGATION_EVIDENCE_DATED_AHEAD, obligation)


async def rest_on(tx: Transaction, caller: Caller, old: str, new: str) -> None:
    """Replace the evidence of settled obligations by its successor."""
    for obligation in await settled_by(tx, old):
        obligation.evidence = new
        _record(tx, caller, AuditAction.OBLIGATION_EVIDENCE_REPLACED, obligation)


async def unsettle(tx: Transaction, caller: Caller, evidence: str) -> None:
    """Reopen the obligations that evidence settled which no longer counts."""
    for obligation in await settled_by(tx, evidence):
        obligation.state, obligation.evidence, obligation.ended_by, obligation.ended_at = State.OPEN, None, None, None
        _record(
            tx,
            caller,
            AuditAction.OBLIGATION_REOPENED,
            obligation,
            why="The evidence that settled it no longer counts.",
        )


async def void_of_permit(
    tx: Transaction,
    caller: Caller,
    permit: str,
    why: str,
    *,
    codes: Collection[Code] = frozenset(Code),
    is_in_force: bool = False,
) -> None:
    """End the open obligations of an ended permit; while it is still in force, none that suspends it."""
    ending = (Obligation.blocks.is_(False),) if is_in_force else ()
    await _void(tx, caller, why, Obligation.permit == permit, Obligation.code.in_(codes), *ending)


async def void_of_transfer(tx: Transaction, caller: Caller, transfer: str, why: str) -> None:
    """End the open obligations of a transfer without a permit."""
    await _void(tx, caller, why, Obligation.transfer == transfer, Obligation.permit.is_(None))


async def complete(tx: Transaction, caller: Caller, obligation_id: str, note: str) -> Obligation:
    """Complete an obligation; a yearly one recurs.

    Raises:
        Conflict: it is not open, or only a paper settles it.
    """
    obligation = await obligation_of(tx, caller, obligation_id, lock=True)
    caller.require(KEEPERS, obligation.handler, noun="obligation")
    _require_open(obligation, tx)
    code = Code(obligation.code)
    if code in SETTLED_BY:
        raise Conflict(
            f"This obligation is settled by evidence: add `{SETTLED_BY[code]}` to the transfer {obligation.transfer}."
        )
    obligation.note = note
    _end(tx, caller, obligation, State.DONE, why=note)
    await tx.flush()
    if code in YEARLY and not await has_open(tx, code, handler=obligation.handler):
        due = a_year_after(max(obligation.due_on, day_in_shanghai(tx.now)))
        await open_duty(tx, caller, code, Due(due), handler=obligation.handler, owner=obligation.owner)
    await tx.flush()
    return obligation


async def reopen(tx: Transaction, caller: Caller, obligation_id: str, reason: str) -> Obligation:
    """Reopen an obligation that was completed by mistake; closes the gate, since it may be overdue."""
    await close_gate(tx)
    obligation = await obligation_of(tx, caller, obligation_id, lock=True)
    caller.require(REOPENERS, obligation.handler, noun="obligation")
    if (state := state_of(obligation, tx)) is not State.DONE:
        raise Conflict(f"This obligation is {state}; only one that was called done can be opened again.")
    obligation.state, obligation.ended_by, obligation.ended_at, obligation.evidence = State.OPEN, None, None, None
    _record(tx, caller, AuditAction.OBLIGATION_REOPENED, obligation, why=reason)
    await tx.flush()
    return obligation


async def assign(tx: Transaction, caller: Caller, obligation_id: str, owner: str) -> Obligation:
    """Assign an obligation to an owner.

    Raises:
        Invalid: nobody of this id or name may read the handler's transfers.
    """
    obligation = await obligation_of(tx, caller, obligation_id, lock=True)
    caller.require(KEEPERS, obligation.handler, noun="obligation")
    _require_open(obligation, tx)
    person = (await directory.find_readers(tx, obligation.handler, [owner], day_in_shanghai(tx.now))).get(owner)
    if person is None:
        raise Invalid(
            "Nobody can be given this obligation.", errors=[("/owner", "No person of this id or name may read it.")]
        )
    obligation.owner = person
    _record(tx, caller, AuditAction.OBLIGATION_ASSIGNED, obligation)
    await tx.flush()
    return obligation


async def reckon_anew(tx: Transaction, caller: Caller) -> list[tuple[Obligation, date]]:
    """Recompute due days that were computed without a year's holidays; return the changed obligations with their old days.

    Runs at each start of the service, since holidays come with a new version of the calendar.
    """
    conditions = Obligation.due_note.is_not(None), Obligation.code.in_(RECKONED)
    moved: list[tuple[Obligation, date]] = []
    for obligation in await open_of(tx, *conditions):
        due, before = reckoned_anew(Code(obligation.code), obligation.due_on), obligation.due_on
        if due.note is None:
            obligation.due_on, obligation.due_note = due.on, None
            _record(tx, caller, AuditAction.OBLIGATION_RECKONED_ANEW, obligation)
            moved.append((obligation, before))
    await tx.flush()
    return moved


async def _void(tx: Transaction, caller: Caller, why: str, *conditions: ColumnElement[bool]) -> None:
    for obligation in await open_of(tx, *conditions):
        obligation.note = why
        _end(tx, caller, obligation, State.VOID, why=why)


def _require_open(obligation: Obligation, tx: Transaction) -> None:
    if (state := state_of(obligation, tx)) not in {State.OPEN, State.OVERDUE}:
        raise Conflict(f"This obligation is {state} already.")


def _end(
    tx: Transaction,
    caller: Caller,
    obligation: Obligation,
    state: State,
    *,
    evidence: str | None = None,
    why: str | None = None,
) -> None:
    obligation.state, obligation.evidence = state, evidence
    obligation.ended_by, obligation.ended_at = caller.principal, tx.now
    action = AuditAction.OBLIGATION_VOID if state is State.VOID else AuditAction.OBLIGATION_DONE
    _record(tx, caller, action, obligation, why=why)


def _record(
    tx: Transaction, caller: Caller, action: AuditAction, obligation: Obligation, why: str | None = None
) -> None:
    details = {
        "code": obligation.code,
        "transfer": obligation.transfer,
        "permit": obligation.permit,
        "dataset": obligation.dataset,
        "owner": obligation.owner,
        "due_on": obligation.due_on,
        "evidence": obligation.evidence,
        "settles_on": obligation.settles_on,
        "note": obligation.note,
    } | ({} if why is None else {"why": why})
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=obligation.id,
            handler=obligation.handler,
            details=details,
            audience=[] if obligation.owner is None else [obligation.owner],
            reason=why,
            link=f"/v1/obligations/{obligation.id}",
        ),
    )
