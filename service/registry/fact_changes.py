"""Stores facts that free as pending, and settles them by a second person. `service.law.freeing` defines which values free.

A protecting statement takes effect at once. A freeing one is pending in `fact_changes`, one row for each fact, until another registrar
confirms or refuses it, or a later statement of the same fact overtakes it. Callers hold the lock on the row of the subject.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from sqlalchemy import select

from service.access import persons
from service.access.caller import Caller, Role
from service.audit.actions import AuditAction
from service.database.ids import new_ids
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.law import freeing
from service.law.freeing import FactSubject
from service.registry import key_spellings
from service.registry.record_diff import pending_values, plan_pending
from service.registry.schemas import FactChangeOut, SettleIn
from service.registry.tables import Dataset, FactChange, Handler, Recipient
from service.validation.problems import Conflict, Forbidden, NotFound

Row = Handler | Dataset | Recipient
Shape = TypeVar("Shape", bound=BaseModel)

REGISTRARS: Final = frozenset({Role.REGISTRAR})
SUBJECTS: Final[Mapping[str, tuple[FactSubject, type[Row]]]] = {
    "hd": ("handler", Handler),
    "ds": ("dataset", Dataset),
    "rc": ("recipient", Recipient),
}
"""Kind and table of a subject, by the prefix of its id."""
CHANGED: Final[Mapping[FactSubject, AuditAction]] = {
    "handler": AuditAction.HANDLER_CHANGED,
    "dataset": AuditAction.DATASET_CHANGED,
    "recipient": AuditAction.RECIPIENT_CHANGED,
}
"""Audit actions of changes of the register, by subject."""
_REQUESTED: Final[Mapping[FactSubject, AuditAction]] = {
    "handler": AuditAction.HANDLER_FACTS_ASKED,
    "dataset": AuditAction.DATASET_FACTS_ASKED,
    "recipient": AuditAction.RECIPIENT_FACTS_ASKED,
}
_CONFIRMED: Final[Mapping[FactSubject, AuditAction]] = {
    "handler": AuditAction.HANDLER_FACT_CONFIRMED,
    "dataset": AuditAction.DATASET_FACT_CONFIRMED,
    "recipient": AuditAction.RECIPIENT_FACT_CONFIRMED,
}
_REFUSED: Final[Mapping[FactSubject, AuditAction]] = {
    "handler": AuditAction.HANDLER_FACT_REFUSED,
    "dataset": AuditAction.DATASET_FACT_REFUSED,
    "recipient": AuditAction.RECIPIENT_FACT_REFUSED,
}
DISTINCT_FROM_PREFIX: Final = "distinct_from/"
"""Prefix of the fact that a dataset is distinct from a twin, followed by the id of the twin."""
COLUMN_FACTS: Final = frozenset({"country", "kind"})
"""Facts of a recipient that are columns of its row."""


def acting(caller: Caller, handler: str | None) -> list[str]:
    """Return the persons who could have made an act on the register of a handler; None: on recipients."""
    return caller.acting(None if handler is None else caller.behalf(REGISTRARS, handler))


def subject_of(row: Row) -> FactSubject:
    """Return the kind of a row of the register."""
    return SUBJECTS[row.id[:2]][0]


def effective_facts(row: Row) -> dict[str, Any]:
    """Return the effective facts of a row, with defaults for facts that it does not state."""
    of_row = {"country": row.country, "kind": row.kind} if isinstance(row, Recipient) else {}
    return {**freeing.DEFAULTS[subject_of(row)], **row.facts, **of_row}


def facts_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that a body states, including a recipient's `country` and `kind`."""
    return {**body.get("facts", {}), **{name: body[name] for name in COLUMN_FACTS & body.keys()}}


def with_facts(request: Shape, facts: Mapping[str, Any]) -> Shape:
    """Return a body with other facts in place of its own."""
    body = request.model_dump(mode="json")
    inner = {fact: value for fact, value in facts.items() if fact not in COLUMN_FACTS}
    outer = {fact: value for fact, value in facts.items() if fact in COLUMN_FACTS}
    return type(request).model_validate(body | outer | {"facts": body["facts"] | inner})


def diff_facts(row: Row, body: BaseModel, stated: Collection[str]) -> freeing.FactChange:
    """Return the effect of a change on the facts of an existing row."""
    facts = facts_in(body.model_dump(mode="json"))
    return freeing.apply_statement(
        subject_of(row),
        effective_facts(row),
        pending_values(row.pending_facts),
        {fact: facts[fact] for fact in stated if fact in facts},
    )


def first_facts(thing: FactSubject, body: BaseModel) -> freeing.FactChange:
    """Return the effective and the pending facts of a new row."""
    return freeing.apply_first_statement(thing, facts_in(body.model_dump(mode="json")))


def distinct_statement(dataset: Dataset, other: Dataset) -> freeing.FactChange:
    """Return the statement that a dataset is distinct from a twin."""
    fact = DISTINCT_FROM_PREFIX + other.id
    pending = {} if fact in dataset.pending_facts else {fact: True}
    return freeing.FactChange({fact: False}, pending, frozenset())


async def store_pending(
    tx: Transaction, caller: Caller, row: Row, change: freeing.FactChange, reason: str | None = None
) -> None:
    """Store the freeing facts of a statement as pending, and end the changes that it overtakes.

    Example:
        change = fact_changes.diff_facts(handler, body, stated={"ciio"})
        await fact_changes.store_pending(tx, caller, handler, change)

    Args:
        tx: the transaction of the statement.
        caller: the registrar.
        row: the subject, locked by this transaction.
        change: effect of the statement.
        reason: reason of the statement, if it needs one.
    """
    left = plan_pending(
        row.id, handler_of(row), change, row.pending_facts, acting(caller, handler_of(row)), new_ids("fc")
    )
    if left is None:
        return
    if left.overtaken:
        query = select(FactChange).where(FactChange.id.in_(left.overtaken)).order_by(FactChange.id)
        for fact_change in (await tx.scalars(query)).all():
            fact_change.state, fact_change.settled_by, fact_change.settled_at = "overtaken", caller.principal, tx.now
        await tx.flush()
    stated = {"state": "pending", "asked_by": caller.principal, "askers": left.askers, "asked_at": tx.now}
    stated |= {"stated_reason": reason}
    tx.add_all(
        FactChange(**fact_change, **stated, settled_by=None, settled_at=None, reason=None) for fact_change in left.added
    )
    row.pending_facts, row.updated_at = left.pending, tx.now
    details = left.details if reason is None else left.details | {"stated_reason": reason}
    _record(tx, caller, _REQUESTED, row, details, [], reason)


async def confirm(tx: Transaction, caller: Caller, change_id: str, body: SettleIn) -> FactChangeOut:
    """Confirm a pending fact, as a second person.

    Raises:
        NotFound: no such change that the caller may see.
        Conflict: it is no longer pending.
        Forbidden: the caller could be the person who stated it, or is no person.
    """
    change, row = await _lock_change(tx, caller, change_id)
    if caller.kind != "person" or not persons.are_two(acting(caller, change.handler), change.askers):
        raise Forbidden(
            "A fact that frees takes a second person than the one who stated it, each with a key that the other has neither made nor seen."
        )
    tx.can_deny = True
    _settle(tx, caller, change, row, "effective", body.reason)
    more: dict[str, Any] = {}
    if isinstance(row, Dataset) and change.fact.startswith(DISTINCT_FROM_PREFIX):
        more = {"distinct_from": await _separate(tx, row, change.fact.removeprefix(DISTINCT_FROM_PREFIX))}
    elif isinstance(row, Recipient) and change.fact in COLUMN_FACTS:
        setattr(row, change.fact, change.after)
    else:
        row.facts = row.facts | {change.fact: change.after}
    details = _details(change, row) | {"facts": row.facts, "reason": body.reason} | more
    _record(tx, caller, _CONFIRMED, row, details, [change.asked_by], body.reason)
    if isinstance(row, Dataset) and more:
        await key_spellings.settle_tags(tx, caller, row.handler, [row.folded_key or ""])
    await tx.flush()
    return FactChangeOut.of(change)


async def _separate(tx: Transaction, dataset: Dataset, other_id: str) -> list[str]:
    """Record that two datasets are distinct, and return the ids from which the first is."""
    query = select(Dataset).where(Dataset.id == other_id).with_for_update(key_share=True)
    other = (await tx.scalars(query.execution_options(populate_existing=True))).one()
    for row, other_row_id in ((dataset, other_id), (other, dataset.id)):
        row.distinct_from = sorted({*row.distinct_from, other_row_id})
        row.updated_at = tx.now
    return dataset.distinct_from


async def refuse(tx: Transaction, caller: Caller, change_id: str, body: SettleIn) -> FactChangeOut:
    """Refuse a pending fact: the effective one stays. The person who stated it may do so, too.

    Raises:
        NotFound: no such change that the caller may see.
        Conflict: it is no longer pending.
    """
    change, row = await _lock_change(tx, caller, change_id)
    _settle(tx, caller, change, row, "refused", body.reason)
    details = _details(change, row) | {"reason": body.reason}
    _record(tx, caller, _REFUSED, row, details, [change.asked_by], body.reason)
    await tx.flush()
    return FactChangeOut.of(change)


async def read(tx: Transaction, change_id: str, *, lock: bool = False) -> FactChangeOut:
    """Return one change of a fact."""
    return FactChangeOut.of(await _get_change(tx, change_id, lock=lock))


async def list_changes(
    tx: Transaction,
    *,
    state: str | None,
    handler: str | None,
    subject: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[FactChangeOut], str | None]:
    """Return changes of facts of the handlers and datasets that the caller may see, and of all recipients."""
    query = select(FactChange)
    if state is not None:
        query = query.where(FactChange.state == state)
    if handler is not None:
        query = query.where(is_of(FactChange.handler, "handlers", handler))
    if subject is not None:
        query = query.where(FactChange.subject == subject)
    rows, following = await page_of(tx, query, FactChange.id, cursor, limit)
    return [FactChangeOut.of(row) for row in rows], following


async def _get_change(tx: Transaction, change_id: str, *, lock: bool = False) -> FactChange:
    change = await tx.get(FactChange, change_id, with_for_update=lock or None, populate_existing=lock)
    if change is None:
        raise NotFound("There is no such change of a fact.")
    return change


async def _lock_change(tx: Transaction, caller: Caller, change_id: str) -> tuple[FactChange, Row]:
    """Lock and return a pending change and its subject. The subject is locked first, in the order in which statements lock."""
    change = await _get_change(tx, change_id)
    table = SUBJECTS[change.subject[:2]][1]
    if change.handler is None:
        caller.require_everywhere(Role.REGISTRAR)
    else:
        caller.require(REGISTRARS, change.handler, noun="change of a fact")
    query = (
        select(table)
        .where(table.id == change.subject)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    row: Any = (await tx.scalars(query)).one()
    change = await _get_change(tx, change_id, lock=True)
    if change.state != "pending":
        raise Conflict(f"This change of a fact is {change.state}; only a pending one can be settled.")
    return change, row


def _settle(tx: Transaction, caller: Caller, change: FactChange, row: Row, state: str, reason: str | None) -> None:
    change.state, change.settled_by, change.settled_at, change.reason = state, caller.principal, tx.now, reason
    change.settled_persons = acting(caller, change.handler)
    row.pending_facts = {fact: pending for fact, pending in row.pending_facts.items() if fact != change.fact}
    row.updated_at = tx.now


def _details(change: FactChange, row: Row) -> dict[str, Any]:
    change_details = {"change": change.id, "before": change.before, "after": change.after}
    return {
        "changes": {change.fact: change_details},
        "askers": change.askers,
        "settled_persons": change.settled_persons,
        "pending_facts": row.pending_facts,
    }


def handler_of(row: Row) -> str | None:
    """Return the id of the handler of a row; None for a recipient."""
    if isinstance(row, Handler):
        return row.id
    return row.handler if isinstance(row, Dataset) else None


def _record(
    tx: Transaction,
    caller: Caller,
    actions: Mapping[FactSubject, AuditAction],
    row: Row,
    details: dict[str, Any],
    audience: Sequence[str],
    why: str | None,
) -> None:
    events.record(
        tx,
        caller,
        events.Change(
            action=actions[subject_of(row)],
            subject=row.id,
            handler=handler_of(row),
            details=details,
            audience=audience,
            reason=why,
            figures={"key": row.key},
            link=f"/v1/fact-changes?subject={row.id}",
        ),
    )
