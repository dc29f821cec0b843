"""Acts on handlers, datasets and recipients. A change that can turn an allow into a deny closes the gate after its last write."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any, TypeVar

from msgspec import structs
from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from service.access.caller import READERS, Caller, Role
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.schemas import EntryOut
from service.clock import day_in_shanghai
from service.database.ids import is_id, new_id
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.law.facts import Count, Tag
from service.law.rule_book import RuleBook
from service.ledger import operations as ledger
from service.ledger.counting import KINDS
from service.ledger.person_keys import person_key
from service.obligations import obligation_rules
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code, Due
from service.obligations.queries import has_open
from service.registry import fact_changes, key_spellings
from service.registry.outdated_fields import GRADING_COLUMNS, IS_OUTDATED, lacks_tag_of_minors, newly_outdated_in
from service.registry.record_diff import confirmed_group_after, diff_of
from service.registry.schemas import (
    DISTINCT,
    AheadOut,
    CountOut,
    DatasetIn,
    DatasetNewIn,
    DatasetOut,
    DatasetPatch,
    HandlerIn,
    HandlerNewIn,
    HandlerOut,
    HandlerPatch,
    KindOut,
    LedgerOut,
    PersonKeyOut,
    RecipientIn,
    RecipientNewIn,
    RecipientOut,
    RecipientPatch,
    ThresholdOut,
)
from service.registry.tables import Dataset, Handler, Recipient
from service.validation.problems import Invalid, NotFound, invalid_from

REGISTRARS = frozenset({Role.REGISTRAR})
EXPORTERS = frozenset({Role.EXPORTER})
MINORS = ("/facts/contains_minors", "Grade the dataset as sensitive first.")
HOME = "CN"
"""Country code of mainland China: data for a recipient there does not cross the border."""
Row = TypeVar("Row", Handler, Dataset, Recipient)
Shape = TypeVar("Shape", bound=BaseModel)
Entries = tuple[Sequence[EntryOut], str | None]


# Handlers


async def create_handler(tx: Transaction, caller: Caller, body: HandlerNewIn) -> HandlerOut:
    """Register a handler. Only a registrar of all handlers can: no grant for it exists yet."""
    caller.require_everywhere(Role.REGISTRAR)
    change = fact_changes.first_facts("handler", body)
    fields = fact_changes.with_facts(body, change.facts).model_dump(mode="json", exclude=DISTINCT)
    fields |= {"confirmed_group": body.group}
    spelt = {
        "twin_number": await key_spellings.require_distinct(tx, caller, Handler, None, body.key, body.distinct_from)
    }
    handler = Handler(id=new_id("hd"), pending_facts={}, created_at=tx.now, updated_at=tx.now, **fields, **spelt)
    tx.add(handler)
    _record(tx, caller, AuditAction.HANDLER_CREATED, handler, handler.id, fields | _distinct_details(body))
    await key_spellings.flush_keys(tx)
    await fact_changes.store_pending(tx, caller, handler, change)
    await tx.flush()
    return HandlerOut.of(handler)


async def list_handlers(
    tx: Transaction, words: str | None, group: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[HandlerOut], str | None]:
    """Return the handlers that the caller may see."""
    query = select(Handler)
    if words is not None:
        query = query.where(_contains_text(words, Handler.key, Handler.name, Handler.uscc, Handler.group))
    if group is not None:
        query = query.where(Handler.group == group)
    rows, following = await page_of(tx, query, Handler.id, cursor, limit)
    return [HandlerOut.of(row) for row in rows], following


async def read_handler(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> HandlerOut:
    """Return a handler by id or key."""
    return HandlerOut.of(await handler_of(tx, caller, reference, lock=lock))


async def change_handler(tx: Transaction, caller: Caller, reference: str, patch: HandlerPatch) -> HandlerOut:
    """Change a handler's name, code, group or facts."""
    handler = await handler_of(tx, caller, reference, lock=True)
    caller.require(REGISTRARS, handler.id)
    before, changes = HandlerOut.of(handler), patch.changes()
    is_for_all = caller.grants.get(Role.REGISTRAR) == EVERYWHERE
    is_named = "group" in changes
    after = _merge_patch(HandlerIn, before, changes)
    current = before.model_dump(mode="json") | {"confirmed_group": handler.confirmed_group}
    agreed = confirmed_group_after(after.group, handler.confirmed_group, is_named=is_named, is_for_all=is_for_all)
    stated = fact_changes.facts_in(changes)
    await _change(tx, caller, handler, current, after, stated, confirmed_group=agreed)
    await tx.flush()
    return HandlerOut.of(handler)


async def handler_history(tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int) -> Entries:
    """Return every change of a handler, oldest first."""
    return await audit.history(tx, (await handler_of(tx, caller, reference)).id, cursor, limit)


async def handler_ledger(
    tx: Transaction, caller: Caller, book: RuleBook, reference: str, year: int | None
) -> LedgerOut:
    """Return a handler's count of persons in a year, and the thresholds of that year's last day (this year: of today)."""
    handler = await handler_of(tx, caller, reference)
    today = day_in_shanghai(tx.now)
    counted_year = year or today.year
    day = today if counted_year == today.year else date(counted_year, 12, 31)
    sent = await ledger.reported_persons(tx, handler.id, counted_year)
    reserved = await ledger.reserved_persons(tx, handler.id, counted_year)
    count = Count(sent.persons + reserved.persons, sent.sensitive_persons + reserved.sensitive_persons)
    lines = [ThresholdOut.model_validate(line) for line in book.volume_thresholds(day, count)]
    made_of = await ledger.reported_by_kind(tx, handler.id, counted_year)
    return LedgerOut(
        handler=handler.id,
        year=counted_year,
        reported=CountOut(**structs.asdict(sent)),
        reserved=CountOut(**structs.asdict(reserved)),
        persons=count.persons,
        sensitive_persons=count.sensitive_persons,
        kinds={
            kind: KindOut(
                **asdict(made_of[kind]),
                reserved=getattr(reserved, kind),
                total=getattr(count, kind),
                thresholds=[line for line in lines if line.kind == kind],
            )
            for kind in KINDS
        },
        thresholds=lines,
        headroom=_next_lines(lines),
    )


async def handler_person_key(tx: Transaction, caller: Caller, reference: str) -> PersonKeyOut:
    """Return the key that hashes a handler's persons, to its exporters only."""
    handler = await handler_of(tx, caller, reference)
    caller.require(EXPORTERS, handler.id)
    kept = await person_key(tx, caller, handler.id)
    return PersonKeyOut(handler=handler.id, key=kept.key.hex(), created_at=kept.created_at)


def _next_lines(lines: Sequence[ThresholdOut]) -> AheadOut:
    ahead = {
        kind: min((line.headroom for line in lines if line.kind == kind and not line.reached), default=None)
        for kind in ("persons", "sensitive_persons")
    }
    return AheadOut(**ahead)


async def handler_of(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> Handler:
    """Return the row of a handler that the caller may see.

    Raises:
        NotFound: there is none with this id or key, or the caller has no role there.
    """
    handler = await _find(tx, Handler, "hd", reference, lock=lock)
    if handler is None or not caller.reaches(READERS, handler.id):
        raise NotFound("There is no such handler.")
    return handler


# Datasets


async def create_dataset(tx: Transaction, caller: Caller, body: DatasetNewIn) -> DatasetOut:
    """Register a dataset; the gate denies its export until it is graded.

    Example:
        body = DatasetNewIn(key="crm/customers", handler="acme", title="Customers", owner="crm", fields=[])
        dataset = await create_dataset(tx, caller, body)
        dataset.tags is None
    """
    handler = await named_handler(tx, caller, body.handler)
    caller.require(REGISTRARS, handler.id)
    change = fact_changes.first_facts("dataset", body)
    fields = fact_changes.with_facts(body, change.facts).model_dump(mode="json", exclude=DISTINCT)
    fields |= {"handler": handler.id}
    dataset = Dataset(
        id=new_id("ds"),
        twin_number=await key_spellings.require_distinct(tx, caller, Dataset, handler.id, body.key, body.distinct_from),
        pending_facts={},
        tags=None,
        grading=None,
        filed_scale=None,
        created_at=tx.now,
        updated_at=tx.now,
        **fields,
    )
    tx.add(dataset)
    _record(tx, caller, AuditAction.DATASET_CREATED, dataset, handler.id, fields)
    await key_spellings.flush_keys(tx)
    if dataset.twin_number:
        await key_spellings.settle_tags(tx, caller, handler.id, [dataset.folded_key or ""])
    await fact_changes.store_pending(tx, caller, dataset, change)
    await _state_distinct(tx, caller, dataset, body.distinct_from, body.reason)
    await tx.flush()
    return DatasetOut.of(dataset)


async def list_datasets(
    tx: Transaction,
    caller: Caller,
    *,
    tag: str | None,
    handler: str | None,
    key: str | None,
    words: str | None,
    outdated: bool | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[DatasetOut], str | None]:
    """Return the datasets that the caller may see; `tag` may also be `general` or `ungraded`."""
    query = select(Dataset)
    if handler is not None:
        query = query.where(Dataset.handler == (await handler_of(tx, caller, handler)).id)
    if tag is not None:
        query = query.where(_has_tag(tag))
    if key is not None:
        query = query.where(Dataset.key == key)
    if words is not None:
        query = query.where(_contains_text(words, Dataset.key, Dataset.title, Dataset.owner, Dataset.description))
    if outdated is not None:
        query = query.where(IS_OUTDATED if outdated else ~IS_OUTDATED)
    rows, following = await page_of(tx, query, Dataset.id, cursor, limit)
    return [DatasetOut.of(row) for row in rows], following


async def read_dataset(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> DatasetOut:
    """Return a dataset by id or key."""
    return DatasetOut.of(await dataset_of(tx, caller, reference, lock=lock))


async def change_dataset(tx: Transaction, caller: Caller, reference: str, patch: DatasetPatch) -> DatasetOut:
    """Change a dataset's title, owner, description, fields, scale or origin facts; never its tags."""
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.require(REGISTRARS, dataset.handler)
    before = DatasetOut.of(dataset)
    stated = {name: value for name, value in patch.changes().items() if name not in DISTINCT}
    changed = _merge_patch(DatasetIn, before, stated)
    columns = {name: getattr(dataset, name) for name in ("fields", "facts", *GRADING_COLUMNS)}
    after = changed.model_dump(mode="json")
    if lacks_tag_of_minors(columns, after):
        raise Invalid("All information about persons under 14 is sensitive (PIPL art. 28).", errors=[MINORS])
    outdated = newly_outdated_in(columns, after)
    await _change(tx, caller, dataset, before, changed, fact_changes.facts_in(stated))
    await check_scale(tx, caller, dataset)
    await _state_distinct(tx, caller, dataset, patch.distinct_from, patch.reason)
    await tx.flush()
    if outdated:
        details = {"number": dataset.grading, "outdated": outdated}
        _record(tx, caller, AuditAction.DATASET_GRADING_OUTDATED, dataset, dataset.handler, details)
    return DatasetOut.of(dataset)


async def _state_distinct(
    tx: Transaction, caller: Caller, dataset: Dataset, named: str | None, reason: str | None
) -> None:
    """Store the statement that a dataset is distinct from a twin, pending a second person."""
    if named is None:
        return
    await key_spellings.fold_keys(tx, caller, Dataset, dataset.handler)
    spellings = await key_spellings.spellings(tx, Dataset, dataset.handler, [dataset.folded_key or ""])
    other = next(
        (spelling for spelling in spellings if named in {spelling.id, spelling.key} and spelling is not dataset), None
    )
    if other is None:
        raise Invalid(
            "The key is no other spelling of what `distinct_from` names.",
            errors=[("/distinct_from", "Name another spelling of this key, by id or key.")],
        )
    if other.id not in dataset.distinct_from:
        await fact_changes.store_pending(tx, caller, dataset, fact_changes.distinct_statement(dataset, other), reason)


def _distinct_details(body: HandlerNewIn | RecipientNewIn) -> dict[str, Any]:
    return {} if body.distinct_from is None else body.model_dump(include=DISTINCT)


async def check_scale(tx: Transaction, caller: Caller, dataset: Dataset) -> None:
    """Open the obligation to refile the catalogue if the scale of important or core data has changed enough. Source: MIIT art. 12."""
    if dataset.scale is None or not obligation_rules.is_reported_yearly(dataset.tags or ()):
        return
    if dataset.filed_scale is None:
        dataset.filed_scale = dataset.scale
    elif obligation_rules.must_be_refiled(dataset.filed_scale, dataset.scale):
        dataset.filed_scale = dataset.scale
        code = Code.CATALOGUE_REFILING
        if not await has_open(tx, code, handler=dataset.handler, dataset=dataset.id):
            due = Due(obligation_rules.months_after(day_in_shanghai(tx.now), obligation_rules.REFILING_MONTHS))
            owned = {"handler": dataset.handler, "dataset": dataset.id, "owner": caller.principal}
            await obligations.open_duty(tx, caller, code, due, **owned)


async def dataset_history(tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int) -> Entries:
    """Return every change and grading of a dataset, oldest first."""
    return await audit.history(tx, (await dataset_of(tx, caller, reference)).id, cursor, limit)


async def dataset_of(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> Dataset:
    """Return the row of a dataset that the caller may see.

    Raises:
        NotFound: there is none with this id or key, or the caller has no role on its handler.
    """
    dataset = await _find(tx, Dataset, "ds", reference, lock=lock)
    if dataset is None or not caller.reaches(READERS, dataset.handler):
        raise NotFound("There is no such dataset.")
    return dataset


# Recipients


async def create_recipient(tx: Transaction, caller: Caller, body: RecipientNewIn) -> RecipientOut:
    """Register a recipient, which all handlers share. Only a registrar of all handlers names its group.

    Raises:
        Forbidden: a registrar of some handlers names a group.
    """
    if body.group is not None:
        caller.require_everywhere(Role.REGISTRAR)
    change = fact_changes.first_facts("recipient", body)
    fields = fact_changes.with_facts(body, change.facts).model_dump(mode="json", exclude=DISTINCT)
    if body.distinct_from is not None:
        caller.require_everywhere(Role.REGISTRAR)
    spelt = {
        "twin_number": await key_spellings.require_distinct(tx, caller, Recipient, None, body.key, body.distinct_from)
    }
    recipient = Recipient(id=new_id("rc"), pending_facts={}, created_at=tx.now, updated_at=tx.now, **fields, **spelt)
    tx.add(recipient)
    _record(tx, caller, AuditAction.RECIPIENT_CREATED, recipient, None, fields | _distinct_details(body))
    await key_spellings.flush_keys(tx)
    await fact_changes.store_pending(tx, caller, recipient, change)
    await tx.flush()
    return RecipientOut.of(recipient)


async def list_recipients(
    tx: Transaction, country: str | None, words: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[RecipientOut], str | None]:
    """Return recipients in the order of their registration."""
    query = select(Recipient)
    if country is not None:
        query = query.where(Recipient.country == country)
    if words is not None:
        query = query.where(_contains_text(words, Recipient.key, Recipient.name))
    rows, following = await page_of(tx, query, Recipient.id, cursor, limit)
    return [RecipientOut.of(row) for row in rows], following


async def read_recipient(tx: Transaction, reference: str, *, lock: bool = False) -> RecipientOut:
    """Return a recipient by id or key."""
    return RecipientOut.of(await recipient_of(tx, reference, lock=lock))


async def change_recipient(tx: Transaction, caller: Caller, reference: str, patch: RecipientPatch) -> RecipientOut:
    """Change a recipient's name, country, kind or facts. All handlers share it, so a registrar of some handlers cannot.

    Raises:
        Forbidden: the caller is a registrar of some handlers only.
        Invalid: it is abroad and would move to mainland China, which would free its transfers by one person's statement.
    """
    recipient = await recipient_of(tx, reference, lock=True)
    caller.require_everywhere(Role.REGISTRAR)
    before = RecipientOut.of(recipient)
    if patch.country == HOME and before.country != HOME:
        raise Invalid(
            "A recipient abroad does not move to mainland China.",
            errors=[("/country", "Register the recipient at home as one of its own.")],
        )
    stated = patch.changes()
    after = _merge_patch(RecipientIn, before, stated)
    await _change(tx, caller, recipient, before, after, fact_changes.facts_in(stated))
    await tx.flush()
    return RecipientOut.of(recipient)


async def recipient_history(tx: Transaction, reference: str, cursor: str | None, limit: int) -> Entries:
    """Return every change of a recipient, oldest first."""
    return await audit.history(tx, (await recipient_of(tx, reference)).id, cursor, limit)


async def recipient_of(tx: Transaction, reference: str, *, lock: bool = False) -> Recipient:
    """Return the row of a recipient.

    Raises:
        NotFound: there is none with this id or key.
    """
    recipient = await _find(tx, Recipient, "rc", reference, lock=lock)
    if recipient is None:
        raise NotFound("There is no such recipient.")
    return recipient


# Shared helpers


async def _find(tx: Transaction, table: type[Row], prefix: str, reference: str, *, lock: bool) -> Row | None:
    column = table.id if is_id(reference, prefix) else table.key
    query = select(table).where(column == reference)
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return await tx.scalar(query)


async def named_handler(tx: Transaction, caller: Caller, reference: str) -> Handler:
    """Return the handler that a body names.

    Raises:
        Invalid: none that the caller may see has this id or key.
    """
    try:
        return await handler_of(tx, caller, reference)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/handler", "No handler that you may see has this id or key.")]) from error


async def _change(
    tx: Transaction,
    caller: Caller,
    thing: Handler | Dataset | Recipient,
    before: BaseModel | dict[str, Any],
    after: BaseModel,
    stated: Collection[str],
    **more: Any,
) -> None:
    """Apply a change, and store the facts of it that free as pending a second person."""
    change = fact_changes.diff_facts(thing, after, stated)
    kept = fact_changes.with_facts(after, change.facts)
    action = fact_changes.CHANGED[fact_changes.subject_of(thing)]
    current = before if isinstance(before, dict) else before.model_dump(mode="json")
    _apply(tx, caller, thing, current, kept, action, fact_changes.handler_of(thing), **more)
    await fact_changes.store_pending(tx, caller, thing, change)


def _merge_patch(shape: type[Shape], before: BaseModel, changes: dict[str, Any]) -> Shape:
    current = before.model_dump(mode="json", include=set(shape.model_fields))
    facts = current["facts"] | changes.get("facts", {})
    try:
        return shape.model_validate(current | changes | {"facts": facts})
    except ValidationError as error:
        raise invalid_from(error.errors()) from error


def _apply(
    tx: Transaction,
    caller: Caller,
    thing: Handler | Dataset | Recipient,
    before: dict[str, Any],
    body: BaseModel,
    action: AuditAction,
    handler: str | None,
    **derived: Any,
) -> None:
    change = diff_of(thing.__tablename__, before, body.model_dump(mode="json") | derived)
    if change is None:
        return
    for name, value in change.after.items():
        setattr(thing, name, value)
    thing.updated_at = tx.now
    tx.can_deny |= change.can_deny
    _record(tx, caller, action, thing, handler, change.details)


def _record(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    thing: Handler | Dataset | Recipient,
    handler: str | None,
    details: dict[str, Any],
) -> None:
    """Record a change of the register in the log and as an event."""
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=thing.id,
            handler=handler,
            details=details,
            figures={"key": thing.key},
            link=f"/v1/{thing.__tablename__}/{thing.id}",
        ),
    )


def _contains_text(words: str, *columns: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    return or_(*(column.icontains(words, autoescape=True) for column in columns))


def _has_tag(tag: str) -> ColumnElement[bool]:
    if tag == "ungraded":
        return Dataset.tags.is_(None)
    if tag == "general":
        return Dataset.tags == []
    values = [tag, Tag.SENSITIVE.value] if tag == Tag.PERSONAL else [tag]
    return Dataset.tags.bool_op("&&")(values)
