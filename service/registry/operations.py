"""What can be done with the register. Each change closes the gate: it may turn an allow into a deny."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from service.audit import operations as audit
from service.audit.schemas import EntryOut
from service.database import Transaction, close_gate, is_id, new_id
from service.events import operations as events
from service.http.caller import EVERYWHERE, READERS, Caller, Role
from service.http.paging import page_of
from service.http.problems import Conflict, Forbidden, Invalid, NotFound, invalid_from
from service.http.references import is_of
from service.law.calendar import SHANGHAI, day_in_shanghai
from service.law.facts import Count, Tag
from service.law.rules import RuleBook
from service.ledger import operations as ledger
from service.obligations import duties
from service.obligations import operations as obligations
from service.obligations.duties import Code, Due
from service.registry import tags as tagging
from service.registry.schemas import (
    NOT_NOTIFIED,
    AheadOut,
    BulkGradingIn,
    ConfirmIn,
    CountOut,
    DatasetIn,
    DatasetOut,
    DatasetPatch,
    GradingIn,
    GradingOut,
    GradingsOut,
    HandlerIn,
    HandlerOut,
    HandlerPatch,
    LedgerOut,
    RecipientIn,
    RecipientOut,
    RecipientPatch,
    ThresholdOut,
)
from service.registry.tables import Dataset, Grading, Handler, Recipient

REGISTRARS = frozenset({Role.REGISTRAR})
Thing = TypeVar("Thing", Handler, Dataset, Recipient)
Wanted = TypeVar("Wanted", bound=BaseModel)
Entries = tuple[Sequence[EntryOut], str | None]


# Handlers


async def create_handler(tx: Transaction, caller: Caller, wanted: HandlerIn) -> HandlerOut:
    """Register a handler; only a registrar of all handlers can, since nobody has a grant for it yet."""
    caller.demand_everywhere(Role.REGISTRAR)
    fields = wanted.model_dump(mode="json")
    handler = Handler(id=new_id("hd"), created_at=tx.now, updated_at=tx.now, **fields)
    tx.add(handler)
    audit.append(tx, caller, "handler.created", handler.id, handler=handler.id, details=fields)
    await tx.flush()
    return HandlerOut.of(handler)


async def list_handlers(
    tx: Transaction, caller: Caller, words: str | None, group: str | None, cursor: str | None, limit: int
) -> tuple[Sequence[HandlerOut], str | None]:
    """Return the handlers that the caller may see."""
    query = select(Handler)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Handler.id.in_(reach))
    if words is not None:
        query = query.where(_mentions(words, Handler.key, Handler.name, Handler.uscc, Handler.group))
    if group is not None:
        query = query.where(Handler.group == group)
    rows, following = await page_of(tx, query, Handler.id, cursor, limit)
    return [HandlerOut.of(row) for row in rows], following


async def read_handler(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> HandlerOut:
    """Return a handler by id or key."""
    return HandlerOut.of(await handler_of(tx, caller, reference, lock=lock))


async def change_handler(tx: Transaction, caller: Caller, reference: str, patch: HandlerPatch) -> HandlerOut:
    """Change a handler's name, code, group or facts."""
    await close_gate(tx)
    handler = await handler_of(tx, caller, reference, lock=True)
    caller.demand(REGISTRARS, handler.id)
    before = HandlerOut.of(handler)
    wanted = _patched(HandlerIn, before, patch.changes())
    _apply(tx, caller, handler, before.model_dump(mode="json"), wanted, "handler.changed", handler.id)
    await tx.flush()
    return HandlerOut.of(handler)


async def handler_history(tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int) -> Entries:
    """Return every change of a handler, oldest first."""
    return await audit.history(tx, (await handler_of(tx, caller, reference)).id, cursor, limit)


async def handler_ledger(
    tx: Transaction, caller: Caller, book: RuleBook, reference: str, year: int | None
) -> LedgerOut:
    """Return the count of a handler's year against the thresholds of that year's last day, or of today in the present year."""
    handler = await handler_of(tx, caller, reference)
    today = day_in_shanghai(tx.now)
    wanted = year or today.year
    day = today if wanted == today.year else date(wanted, 12, 31)
    sent = await ledger.reported(tx, handler.id, wanted)
    held = await ledger.reserved(tx, handler.id, wanted)
    count = Count(sent.persons + held.persons, sent.sensitive_persons + held.sensitive_persons)
    lines = [ThresholdOut.model_validate(line) for line in book.volume_lines(day, count)]
    return LedgerOut(
        handler=handler.id,
        year=wanted,
        reported=CountOut(**asdict(sent)),
        reserved=CountOut(**asdict(held)),
        persons=count.persons,
        sensitive_persons=count.sensitive_persons,
        thresholds=lines,
        headroom=_next_lines(lines),
    )


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
    handler = await _found(tx, Handler, "hd", reference, lock=lock)
    if handler is None or not caller.reaches(READERS, handler.id):
        raise NotFound("There is no such handler.")
    return handler


# Datasets


async def create_dataset(tx: Transaction, caller: Caller, wanted: DatasetIn) -> DatasetOut:
    """Register a dataset; nothing of it leaves before it is graded."""
    handler = await named_handler(tx, caller, wanted.handler)
    caller.demand(REGISTRARS, handler.id)
    fields = wanted.model_dump(mode="json") | {"handler": handler.id}
    dataset = Dataset(
        id=new_id("ds"), tags=None, grading=None, filed_scale=None, created_at=tx.now, updated_at=tx.now, **fields
    )
    tx.add(dataset)
    audit.append(tx, caller, "dataset.created", dataset.id, handler=handler.id, details=fields)
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
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[DatasetOut], str | None]:
    """Return the datasets that the caller may see; `tag` may also be `general` or `ungraded`."""
    query = select(Dataset)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Dataset.handler.in_(reach))
    if handler is not None:
        query = query.where(Dataset.handler == (await handler_of(tx, caller, handler)).id)
    if tag is not None:
        query = query.where(_tagged(tag))
    if key is not None:
        query = query.where(Dataset.key == key)
    if words is not None:
        query = query.where(_mentions(words, Dataset.key, Dataset.title, Dataset.owner, Dataset.description))
    rows, following = await page_of(tx, query, Dataset.id, cursor, limit)
    return [DatasetOut.of(row) for row in rows], following


async def read_dataset(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> DatasetOut:
    """Return a dataset by id or key."""
    return DatasetOut.of(await dataset_of(tx, caller, reference, lock=lock))


async def change_dataset(tx: Transaction, caller: Caller, reference: str, patch: DatasetPatch) -> DatasetOut:
    """Change what a dataset is called, who owns it, its fields or its origin facts; never its tags."""
    await close_gate(tx)
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.demand(REGISTRARS, dataset.handler)
    before = DatasetOut.of(dataset)
    wanted = _patched(DatasetIn, before, patch.changes())
    _apply(tx, caller, dataset, before.model_dump(mode="json"), wanted, "dataset.changed", dataset.handler)
    await _look_at_scale(tx, caller, dataset)
    await tx.flush()
    return DatasetOut.of(dataset)


async def _look_at_scale(tx: Transaction, caller: Caller, dataset: Dataset) -> None:
    """Open the duty to file the catalogue anew where the scale of important or core data has changed enough. Source: MIIT art. 12."""
    if dataset.scale is None or not duties.is_reported_yearly(dataset.tags or ()):
        return
    if dataset.filed_scale is None:
        dataset.filed_scale = dataset.scale
    elif duties.must_be_refiled(dataset.filed_scale, dataset.scale):
        dataset.filed_scale = dataset.scale
        code = Code.CATALOGUE_REFILING
        if not await obligations.has_open(tx, code, handler=dataset.handler, dataset=dataset.id):
            due = Due(duties.months_after(day_in_shanghai(tx.now), duties.REFILING_MONTHS))
            await obligations.open_duty(tx, caller, code, due, handler=dataset.handler, dataset=dataset.id)


async def dataset_history(tx: Transaction, caller: Caller, reference: str, cursor: str | None, limit: int) -> Entries:
    """Return every change and grading of a dataset, oldest first."""
    return await audit.history(tx, (await dataset_of(tx, caller, reference)).id, cursor, limit)


async def dataset_of(tx: Transaction, caller: Caller, reference: str, *, lock: bool = False) -> Dataset:
    """Return the row of a dataset that the caller may see.

    Raises:
        NotFound: there is none with this id or key, or the caller has no role on its handler.
    """
    dataset = await _found(tx, Dataset, "ds", reference, lock=lock)
    if dataset is None or not caller.reaches(READERS, dataset.handler):
        raise NotFound("There is no such dataset.")
    return dataset


# Gradings


async def grade(tx: Transaction, caller: Caller, reference: str, wanted: GradingIn) -> GradingOut:
    """Set a dataset's tags: at once where no protection is lost, else pending until a second person confirms.

    Where the new tags add some protection and drop other, both stand until the confirmation. Source: GB/T 43697-2024 (grades follow
    the data; the higher one holds until somebody entitled records a lower one).

    Raises:
        Invalid: `review_by` has passed.
    """
    await close_gate(tx)
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.demand(REGISTRARS, dataset.handler)
    return await _graded(tx, caller, dataset, wanted)


async def grade_many(tx: Transaction, caller: Caller, wanted: BulkGradingIn) -> GradingsOut:
    """Give many datasets one grading: all of them, or none.

    Raises:
        Invalid: an unknown dataset, one that is named twice, or one that the grading does not fit; each with its place.
    """
    await close_gate(tx)
    found = await _all_of(tx, caller, wanted.datasets)
    one = GradingIn.model_validate(wanted.model_dump(exclude={"datasets"}))
    made: dict[str, GradingOut] = {}
    for dataset in sorted(found, key=lambda row: row.id):
        try:
            made[dataset.id] = await _graded(tx, caller, dataset, one)
        except Invalid as problem:
            place = next(place for place, row in enumerate(found) if row.id == dataset.id)
            told = [(f"/datasets/{place}", str(error["detail"])) for error in problem.errors]
            raise Invalid(
                problem.detail, errors=[*told, *((e["pointer"], e["detail"]) for e in problem.errors)]
            ) from None
    return GradingsOut(items=[made[dataset.id] for dataset in found])


async def _all_of(tx: Transaction, caller: Caller, references: Sequence[str]) -> list[Dataset]:
    """Return datasets in the order of their references, their rows held in the order of their ids."""
    query = (
        select(Dataset)
        .where(or_(Dataset.id.in_(references), Dataset.key.in_(references)))
        .order_by(Dataset.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    rows = [row for row in await tx.scalars(query) if caller.reaches(READERS, row.handler)]
    known = {row.key: row for row in rows} | {row.id: row for row in rows}
    errors = [
        (f"/datasets/{place}", "There is no dataset of this id or key.")
        for place, reference in enumerate(references)
        if reference not in known
    ]
    found = [known[reference] for reference in references if reference in known]
    for place, row in enumerate(found):
        if not errors and row.id in {other.id for other in found[:place]}:
            errors.append((f"/datasets/{place}", "This dataset is named twice."))
    if errors:
        raise Invalid("Not all of the datasets can be graded; none was.", errors=errors)
    for handler in {row.handler for row in found}:
        caller.demand(REGISTRARS, handler)
    return found


async def _graded(tx: Transaction, caller: Caller, dataset: Dataset, wanted: GradingIn) -> GradingOut:
    if wanted.review_by is not None and wanted.review_by < day_in_shanghai(tx.now):
        raise Invalid("The day of the next review has passed.", errors=[("/review_by", "Choose a day to come.")])
    held = None if dataset.tags is None else [Tag(tag) for tag in dataset.tags]
    if wanted.basis == NOT_NOTIFIED and wanted.catalogue is None and tagging.is_weighty(held or ()):
        raise Invalid(
            "The grade comes down on the ground that nobody has notified the data as important.",
            errors=[("/catalogue", "Name the catalogue that was looked at.")],
        )
    await _supersede(tx, dataset.id, "pending")
    if held is None or not tagging.is_lowering(held, wanted.tags):
        return GradingOut.of(await _record(tx, caller, dataset, wanted, wanted.tags, "effective"))
    meanwhile = tagging.joined(held, wanted.tags)
    if tagging.implied(meanwhile) != tagging.implied(held):
        await _record(tx, caller, dataset, wanted, meanwhile, "effective")
    return GradingOut.of(await _record(tx, caller, dataset, wanted, wanted.tags, "pending"))


async def confirm_grading(
    tx: Transaction, caller: Caller, reference: str, number: int, wanted: ConfirmIn
) -> GradingOut:
    """Let a pending grading take effect, as a second person.

    Raises:
        NotFound: no such grading.
        Conflict: it is not pending.
        Forbidden: the caller made it.
    """
    await close_gate(tx)
    dataset = await dataset_of(tx, caller, reference, lock=True)
    caller.demand(REGISTRARS, dataset.handler)
    grading = await _grading(tx, dataset.id, number)
    if grading.state != "pending":
        raise Conflict(f"This grading is {grading.state}; only a pending one can be confirmed.")
    if grading.graded_by == caller.principal or caller.kind != "person":
        raise Forbidden("A lowering takes a second person than the one who asked for it.")
    await _supersede(tx, dataset.id, "effective")
    grading.state, grading.confirmed_by, grading.effective_at = "effective", caller.principal, tx.now
    grading.confirmed_reason, grading.catalogue = wanted.reason, wanted.catalogue or grading.catalogue
    dataset.tags, dataset.grading, dataset.updated_at = grading.tags, number, tx.now
    details = {
        "number": number,
        "tags": grading.tags,
        "reason": wanted.reason,
        "catalogue": grading.catalogue,
    }
    _record_grading(tx, caller, "dataset.grading_confirmed", dataset, details, [grading.graded_by], wanted.reason)
    await tx.flush()
    return GradingOut.of(grading)


async def list_gradings(
    tx: Transaction, caller: Caller, reference: str, as_of: date | None, cursor: str | None, limit: int
) -> tuple[Sequence[GradingOut], str | None]:
    """Return every grading of a dataset, oldest first; with `as_of`, the one that stood at the end of that day."""
    dataset = await dataset_of(tx, caller, reference)
    query = select(Grading).where(Grading.dataset == dataset.id)
    if as_of is not None:
        query = query.where(_known_on(as_of))
    rows, following = await page_of(tx, query, Grading.number, cursor, limit)
    return [GradingOut.of(row) for row in rows], following


async def find_gradings(
    tx: Transaction,
    caller: Caller,
    *,
    state: str | None,
    handler: str | None,
    dataset: str | None,
    tag: str | None,
    overdue: bool | None,
    review_before: date | None,
    as_of: date | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[GradingOut], str | None]:
    """Return gradings of all datasets that the caller may see, oldest first.

    Args:
        tx: the transaction.
        caller: who asks.
        state: `effective`, `pending` or `superseded`.
        handler: id or key.
        dataset: id or key.
        tag: one of its tags.
        overdue: effective ones of which the day of the next review has passed, or the others.
        review_before: effective ones to be looked at before this day.
        as_of: those that stood at the end of this day in Asia/Shanghai.
        cursor: of the page before.
        limit: items at most.
    """
    query = select(Grading).join(Dataset, Dataset.id == Grading.dataset)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Dataset.handler.in_(reach))
    if state is not None:
        query = query.where(Grading.state == state)
    if handler is not None:
        query = query.where(is_of(Dataset.handler, "handlers", handler))
    if dataset is not None:
        query = query.where(is_of(Grading.dataset, "datasets", dataset))
    if tag is not None:
        query = query.where(Grading.tags.contains([tag]))
    if overdue is not None:
        late = and_(Grading.state == "effective", Grading.review_by < day_in_shanghai(tx.now))
        query = query.where(late if overdue else func.coalesce(~late, True))
    if review_before is not None:
        query = query.where(Grading.state == "effective", Grading.review_by < review_before)
    if as_of is not None:
        query = query.where(_known_on(as_of))
    rows, following = await page_of(tx, query, Grading.id, cursor, limit)
    return [GradingOut.of(row) for row in rows], following


def _known_on(day: date) -> ColumnElement[bool]:
    """Return the condition that a grading stood at the end of a day in Asia/Shanghai."""
    end = datetime.combine(day + timedelta(days=1), time(), SHANGHAI)
    return and_(Grading.effective_at < end, or_(Grading.ended_at.is_(None), Grading.ended_at >= end))


async def read_grading(tx: Transaction, caller: Caller, reference: str, number: int) -> GradingOut:
    """Return one grading."""
    dataset = await dataset_of(tx, caller, reference)
    return GradingOut.of(await _grading(tx, dataset.id, number))


async def _grading(tx: Transaction, dataset: str, number: int) -> Grading:
    grading = await tx.get(Grading, (dataset, number))
    if grading is None:
        raise NotFound("There is no such grading.")
    return grading


async def _record(
    tx: Transaction, caller: Caller, dataset: Dataset, wanted: GradingIn, tags: Any, state: str
) -> Grading:
    last = await tx.scalar(select(func.max(Grading.number)).where(Grading.dataset == dataset.id))
    grading = Grading(
        id=new_id("gd"),
        dataset=dataset.id,
        number=(last or 0) + 1,
        tags=[str(tag) for tag in tagging.ordered(tags)],
        reason=wanted.reason,
        basis=wanted.basis,
        catalogue=wanted.catalogue,
        review_by=wanted.review_by,
        state=state,
        graded_by=caller.principal,
        graded_at=tx.now,
        confirmed_by=None,
        confirmed_reason=None,
        effective_at=tx.now if state == "effective" else None,
        ended_at=None,
    )
    if state == "effective":
        await _supersede(tx, dataset.id, "effective")
        dataset.tags, dataset.grading, dataset.updated_at = grading.tags, grading.number, tx.now
        await _look_at_scale(tx, caller, dataset)
    tx.add(grading)
    details = {
        "number": grading.number,
        "tags": grading.tags,
        "state": state,
        "reason": wanted.reason,
        "basis": wanted.basis,
        "catalogue": wanted.catalogue,
        "review_by": wanted.review_by,
    }
    _record_grading(tx, caller, "dataset.graded", dataset, details, [], wanted.reason)
    await tx.flush()
    return grading


def _record_grading(
    tx: Transaction,
    caller: Caller,
    action: str,
    dataset: Dataset,
    details: dict[str, Any],
    audience: Sequence[str],
    why: str | None,
) -> None:
    events.record(
        tx,
        caller,
        action,
        dataset.id,
        handler=dataset.handler,
        details=details,
        audience=audience,
        why=why,
        how_much={"dataset": dataset.key, "tags": details["tags"], "scale": dataset.scale},
        href=f"/v1/datasets/{dataset.id}/gradings/{details['number']}",
    )


async def _supersede(tx: Transaction, dataset: str, state: str) -> None:
    query = select(Grading).where(Grading.dataset == dataset, Grading.state == state)
    for grading in await tx.scalars(query):
        grading.state, grading.ended_at = "superseded", tx.now
    await tx.flush()


# Recipients


async def create_recipient(tx: Transaction, caller: Caller, wanted: RecipientIn) -> RecipientOut:
    """Register a recipient, which all handlers share."""
    fields = wanted.model_dump(mode="json")
    recipient = Recipient(id=new_id("rc"), created_at=tx.now, updated_at=tx.now, **fields)
    tx.add(recipient)
    audit.append(tx, caller, "recipient.created", recipient.id, details=fields)
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
        query = query.where(_mentions(words, Recipient.key, Recipient.name))
    rows, following = await page_of(tx, query, Recipient.id, cursor, limit)
    return [RecipientOut.of(row) for row in rows], following


async def read_recipient(tx: Transaction, reference: str, *, lock: bool = False) -> RecipientOut:
    """Return a recipient by id or key."""
    return RecipientOut.of(await recipient_of(tx, reference, lock=lock))


async def change_recipient(tx: Transaction, caller: Caller, reference: str, patch: RecipientPatch) -> RecipientOut:
    """Change a recipient's name, country, kind or facts."""
    await close_gate(tx)
    recipient = await recipient_of(tx, reference, lock=True)
    before = RecipientOut.of(recipient)
    wanted = _patched(RecipientIn, before, patch.changes())
    _apply(tx, caller, recipient, before.model_dump(mode="json"), wanted, "recipient.changed", None)
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
    recipient = await _found(tx, Recipient, "rc", reference, lock=lock)
    if recipient is None:
        raise NotFound("There is no such recipient.")
    return recipient


# What they share


async def _found(tx: Transaction, table: type[Thing], prefix: str, reference: str, *, lock: bool) -> Thing | None:
    column = table.id if is_id(reference, prefix) else table.key
    query = select(table).where(column == reference)
    return await tx.scalar(query.with_for_update() if lock else query)


async def find_dataset(tx: Transaction, key: str) -> Dataset | None:
    """Return the dataset of this key, whoever's it is."""
    return await _found(tx, Dataset, "ds", key, lock=True)


async def named_handler(tx: Transaction, caller: Caller, reference: str) -> Handler:
    """Return the handler that a body names.

    Raises:
        Invalid: none that the caller may see has this id or key.
    """
    try:
        return await handler_of(tx, caller, reference)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/handler", "No handler that you may see has this id or key.")]) from error


def _patched(shape: type[Wanted], before: BaseModel, changes: dict[str, Any]) -> Wanted:
    current = before.model_dump(mode="json", include=set(shape.model_fields))
    facts = current["facts"] | changes.pop("facts", {})
    try:
        return shape.model_validate(current | changes | {"facts": facts})
    except ValidationError as error:
        raise invalid_from(error.errors()) from error


def _apply(
    tx: Transaction,
    caller: Caller,
    thing: Handler | Dataset | Recipient,
    before: dict[str, Any],
    wanted: BaseModel,
    action: str,
    handler: str | None,
) -> None:
    after = wanted.model_dump(mode="json")
    changed = {name: value for name, value in after.items() if before[name] != value}
    if not changed:
        return
    for name, value in changed.items():
        setattr(thing, name, value)
    thing.updated_at = tx.now
    details = {"before": {name: before[name] for name in changed}, "after": changed}
    audit.append(tx, caller, action, thing.id, handler=handler, details=details)


def _mentions(words: str, *columns: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    return or_(*(column.icontains(words, autoescape=True) for column in columns))


def _tagged(tag: str) -> ColumnElement[bool]:
    if tag == "ungraded":
        return Dataset.tags.is_(None)
    if tag == "general":
        return Dataset.tags == []
    wanted = [tag, Tag.SENSITIVE.value] if tag == Tag.PERSONAL else [tag]
    return Dataset.tags.bool_op("&&")(wanted)
