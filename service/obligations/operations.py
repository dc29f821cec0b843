"""Operations on obligations. Nothing needs to run for them to hold: readers compare the due day with today."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time

from sqlalchemy import ColumnElement, and_, or_, select

from service.access import directory
from service.access.caller import READERS, Caller, Role
from service.audit.actions import AuditAction
from service.clock import SHANGHAI, day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
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
    standing,
)
from service.obligations.schemas import ObligationOut
from service.obligations.tables import Obligation
from service.validation.problems import Conflict, Invalid, NotFound

KEEPERS = frozenset({Role.REQUESTER, Role.REGISTRAR, Role.LEGAL, Role.PRIVACY, Role.SECURITY})
"""Who may say that a duty has been done."""

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
    """Write a duty down, in the transaction of whatever it follows from."""
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


def _is_open(today: date) -> ColumnElement[bool]:
    """Return the condition that a duty is open on a day: no paper has settled it, nor one dated ahead whose day has come."""
    return and_(Obligation.state == State.OPEN, or_(Obligation.ended_at.is_(None), Obligation.ended_at > _begin(today)))


def _begin(day: date) -> datetime:
    """Return the moment at which a day begins in Asia/Shanghai."""
    return datetime.combine(day, time(), SHANGHAI)


async def has_open(tx: Transaction, code: Code, *, handler: str, dataset: str | None = None) -> bool:
    """Tell whether a handler has such a duty open that belongs to no single permit."""
    query = select(Obligation.id).where(
        Obligation.code == code,
        Obligation.handler == handler,
        Obligation.dataset.is_not_distinct_from(dataset),
        _is_open(day_in_shanghai(tx.now)),
    )
    return await tx.scalar(query.limit(1)) is not None


async def has_open_for(tx: Transaction, code: Code, transfer: str) -> bool:
    """Tell whether a transfer has such a duty open."""
    query = select(Obligation.id).where(
        Obligation.code == code, Obligation.transfer == transfer, _is_open(day_in_shanghai(tx.now))
    )
    return await tx.scalar(query.limit(1)) is not None


async def settle(
    tx: Transaction,
    caller: Caller,
    transfer: str,
    kind: str,
    evidence: str,
    ends_on: date | None,
    begins_on: date | None = None,
) -> None:
    """End the duties of a transfer that a paper of this kind, with this last day, settles; one dated ahead from its own day on."""
    codes = [code for code, settling in SETTLED_BY.items() if settling == kind]
    for obligation in await _open_of(tx, Obligation.transfer == transfer, Obligation.code.in_(codes)):
        if not settles(Code(obligation.code), obligation.due_on, ends_on):
            continue
        if begins_on is None or begins_on <= day_in_shanghai(tx.now):
            _end(tx, caller, obligation, State.DONE, evidence=evidence)
        elif obligation.ended_at is None or _begin(begins_on) < obligation.ended_at:
            obligation.evidence, obligation.ended_by, obligation.ended_at = (
                evidence,
                caller.principal,
                _begin(begins_on),
            )
            _record(tx, caller, AuditAction.OBLIGATION_EVIDENCE_DATED_AHEAD, obligation)


async def rest_on(tx: Transaction, caller: Caller, old: str, new: str) -> None:
    """Let the duties that one paper settled be settled by the one that takes its place."""
    for obligation in await _settled_by(tx, old):
        obligation.evidence = new
        _record(tx, caller, AuditAction.OBLIGATION_EVIDENCE_REPLACED, obligation)


async def unsettle(tx: Transaction, caller: Caller, evidence: str) -> None:
    """Open the duties again that a paper settled, since the paper no longer counts."""
    for obligation in await _settled_by(tx, evidence):
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
    """End the open duties of a permit that has come to its end; while it is in force still, none that suspends it."""
    ending = (Obligation.blocks.is_(False),) if is_in_force else ()
    await _void(tx, caller, why, Obligation.permit == permit, Obligation.code.in_(codes), *ending)


async def void_of_transfer(tx: Transaction, caller: Caller, transfer: str, why: str) -> None:
    """End the open duties of a transfer that nothing was permitted under."""
    await _void(tx, caller, why, Obligation.transfer == transfer, Obligation.permit.is_(None))


def is_overdue(today: date) -> ColumnElement[bool]:
    """Return the condition that a duty suspends what it belongs to; the same as `standing()` with `blocks`, for a query."""
    return and_(_is_open(today), Obligation.blocks, Obligation.due_on < today)


async def overdue_of(
    tx: Transaction, permits: Mapping[str, tuple[str, bool]], today: date
) -> Mapping[str, tuple[str, ...]]:
    """Return the ids of the overdue duties that suspend each permit.

    Args:
        tx: the transaction.
        permits: permit id to its handler, and whether it is for important or core data.
        today: the day in Asia/Shanghai.
    """
    if not permits:
        return {}
    handlers = {handler for handler, is_weighty in permits.values() if is_weighty}
    query = (
        select(Obligation.id, Obligation.permit, Obligation.handler)
        .where(
            is_overdue(today),
            or_(
                Obligation.permit.in_(permits),
                and_(Obligation.permit.is_(None), Obligation.handler.in_(handlers)),
            ),
        )
        .order_by(Obligation.id)
    )
    found: dict[str, tuple[str, ...]] = {}
    for duty, permit, handler in await tx.execute(query):
        of_handler = [one for one, (owner, is_weighty) in permits.items() if owner == handler and is_weighty]
        for one in [permit] if permit is not None else of_handler:
            found[one] = (*found.get(one, ()), duty)
    return found


async def complete(tx: Transaction, caller: Caller, obligation_id: str, note: str) -> ObligationOut:
    """Say that a duty has been done; a yearly one comes again.

    Raises:
        Conflict: it is not open, or only a paper settles it.
    """
    obligation = await _find_obligation(tx, caller, obligation_id, lock=True)
    caller.demand(KEEPERS, obligation.handler, what="obligation")
    _require_open(obligation, tx)
    code = Code(obligation.code)
    if code in SETTLED_BY:
        raise Conflict(
            f"This duty is settled by evidence: add `{SETTLED_BY[code]}` to the transfer {obligation.transfer}."
        )
    obligation.note = note
    _end(tx, caller, obligation, State.DONE, why=note)
    await tx.flush()
    if code in YEARLY and not await has_open(tx, code, handler=obligation.handler):
        due = a_year_after(max(obligation.due_on, day_in_shanghai(tx.now)))
        await open_duty(tx, caller, code, Due(due), handler=obligation.handler, owner=obligation.owner)
    await tx.flush()
    return _present(obligation, tx)


async def reopen(tx: Transaction, caller: Caller, obligation_id: str, reason: str) -> ObligationOut:
    """Open a duty again that was called done by mistake; the gate is closed while it is, for it may be overdue."""
    await close_gate(tx)
    obligation = await _find_obligation(tx, caller, obligation_id, lock=True)
    caller.demand(REOPENERS, obligation.handler, what="obligation")
    if (state := _state(obligation, tx)) is not State.DONE:
        raise Conflict(f"This duty is {state}; only one that was called done can be opened again.")
    obligation.state, obligation.ended_by, obligation.ended_at, obligation.evidence = State.OPEN, None, None, None
    _record(tx, caller, AuditAction.OBLIGATION_REOPENED, obligation, why=reason)
    await tx.flush()
    return _present(obligation, tx)


async def give(tx: Transaction, caller: Caller, obligation_id: str, owner: str) -> ObligationOut:
    """Say who sees to a duty.

    Raises:
        Invalid: nobody of this id or name may read the handler's transfers.
    """
    obligation = await _find_obligation(tx, caller, obligation_id, lock=True)
    caller.demand(KEEPERS, obligation.handler, what="obligation")
    _require_open(obligation, tx)
    person = (await directory.readers_among(tx, obligation.handler, [owner], day_in_shanghai(tx.now))).get(owner)
    if person is None:
        raise Invalid(
            "Nobody can be given this duty.", errors=[("/owner", "No person of this id or name may read it.")]
        )
    obligation.owner = person
    _record(tx, caller, AuditAction.OBLIGATION_ASSIGNED, obligation)
    await tx.flush()
    return _present(obligation, tx)


async def reckon_anew(tx: Transaction, caller: Caller) -> list[tuple[Obligation, date]]:
    """Reckon the days anew that were taken strictly for want of a year's holidays; return the duties that moved with their old days.

    The holidays come with a new version of the calendar, so this is done whenever the service starts.
    """
    wanted = Obligation.due_note.is_not(None), Obligation.code.in_(RECKONED)
    moved: list[tuple[Obligation, date]] = []
    for obligation in await _open_of(tx, *wanted):
        due, before = reckoned_anew(Code(obligation.code), obligation.due_on), obligation.due_on
        if due.note is None:
            obligation.due_on, obligation.due_note = due.on, None
            _record(tx, caller, AuditAction.OBLIGATION_RECKONED_ANEW, obligation)
            moved.append((obligation, before))
    await tx.flush()
    return moved


async def read_obligation(tx: Transaction, caller: Caller, obligation_id: str, *, lock: bool = False) -> ObligationOut:
    """Return a duty."""
    return _present(await _find_obligation(tx, caller, obligation_id, lock=lock), tx)


async def list_obligations(
    tx: Transaction,
    *,
    due_before: date | None,
    state: State | None,
    code: Code | None,
    handler: str | None,
    transfer: str | None,
    permit: str | None,
    owner: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[ObligationOut], str | None]:
    """Return the duties that the caller may see; `due_before` keeps those that are not ended and due before the day."""
    today = day_in_shanghai(tx.now)
    query = select(Obligation)
    if due_before is not None:
        query = query.where(Obligation.due_on < due_before)
        if state is None:
            query = query.where(_is_open(today))
    if state is not None:
        query = query.where(_state_criterion(state, today))
    if handler is not None:
        query = query.where(is_of(Obligation.handler, "handlers", handler))
    for column, value in (
        (Obligation.code, code),
        (Obligation.transfer, transfer),
        (Obligation.permit, permit),
        (Obligation.owner, owner),
    ):
        if value is not None:
            query = query.where(column == value)
    rows, following = await page_of(tx, query, Obligation.id, cursor, limit)
    return [_present(row, tx) for row in rows], following


async def of_transfer(tx: Transaction, transfers: Collection[str]) -> Sequence[ObligationOut]:
    """Return the duties of some transfers, oldest first."""
    query = select(Obligation).where(Obligation.transfer.in_(transfers)).order_by(Obligation.id)
    return [_present(row, tx) for row in await tx.scalars(query)]


def _state_criterion(state: State, today: date) -> ColumnElement[bool]:
    if state is State.OVERDUE:
        return and_(_is_open(today), Obligation.due_on < today)
    if state is State.OPEN:
        return and_(_is_open(today), Obligation.due_on >= today)
    if state is State.DONE:
        return or_(Obligation.state == state, and_(Obligation.state == State.OPEN, ~_is_open(today)))
    return Obligation.state == state


async def _open_of(tx: Transaction, *conditions: ColumnElement[bool]) -> Sequence[Obligation]:
    query = select(Obligation).where(_is_open(day_in_shanghai(tx.now)), *conditions).order_by(Obligation.id)
    return (await tx.scalars(query.with_for_update())).all()


async def _settled_by(tx: Transaction, evidence: str) -> Sequence[Obligation]:
    query = select(Obligation).where(Obligation.evidence == evidence, Obligation.state.in_([State.DONE, State.OPEN]))
    return (await tx.scalars(query.order_by(Obligation.id).with_for_update())).all()


async def _void(tx: Transaction, caller: Caller, why: str, *conditions: ColumnElement[bool]) -> None:
    for obligation in await _open_of(tx, *conditions):
        obligation.note = why
        _end(tx, caller, obligation, State.VOID, why=why)


async def _find_obligation(tx: Transaction, caller: Caller, obligation_id: str, *, lock: bool) -> Obligation:
    found = await tx.get(Obligation, obligation_id, with_for_update=lock or None, populate_existing=lock)
    if found is None or not caller.reaches(READERS, found.handler):
        raise NotFound("There is no such obligation.")
    return found


def _require_open(obligation: Obligation, tx: Transaction) -> None:
    if (state := _state(obligation, tx)) not in {State.OPEN, State.OVERDUE}:
        raise Conflict(f"This duty is {state} already.")


def _state(obligation: Obligation, tx: Transaction) -> State:
    today = day_in_shanghai(tx.now)
    return standing(obligation.state, obligation.due_on, today, obligation.settles_on)


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


def _present(obligation: Obligation, tx: Transaction) -> ObligationOut:
    return ObligationOut.of(obligation, day_in_shanghai(tx.now))
