"""Operations on requests. Every act locks the transfer's row, so that two people who race for it take turns."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, any_, or_, select

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.audit.schemas import EntryOut
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.obligations import operations as obligations
from service.permits import queries as permits
from service.registry import operations as registry
from service.registry.tables import Dataset
from service.transfers import evidence, notifications, workflow
from service.transfers.queries import (
    REQUESTERS,
    SubmissionFacts,
    add_author,
    differences,
    load_submission,
    parties_of,
    require_may_write,
    require_status,
    reviews_of,
    transfer_of,
)
from service.transfers.schemas import (
    ChangeOut,
    DiffOut,
    RenewIn,
    StageChangesOut,
    TransferIn,
    TransferPatch,
)
from service.transfers.submission import decide_submission, write_submission
from service.transfers.tables import Revision, RevisionStage, Transfer
from service.transfers.workflow import Status
from service.validation.problems import Conflict, Invalid, NotFound, invalid_from

_CHANGEABLE = frozenset({Status.DRAFT, Status.RETURNED, Status.IN_REVIEW})


async def create_transfer(tx: Transaction, caller: Caller, wanted: TransferIn) -> Transfer:
    """Write a request down as a draft; nothing is decided yet."""
    handler = await registry.named_handler(tx, caller, wanted.handler)
    caller.demand(REQUESTERS, handler.id)
    transfer = Transfer(
        id=new_id("tr"),
        handler=handler.id,
        status=Status.DRAFT,
        reason=None,
        revision=0,
        open_stage=None,
        requester=caller.principal,
        authors=[caller.principal],
        author_persons=caller.acting(),
        renews=None,
        created_at=tx.now,
        updated_at=tx.now,
        **await _content(tx, handler.id, wanted),
    )
    tx.add(transfer)
    details = wanted.model_dump(mode="json") | {
        "handler": handler.id,
        "datasets": transfer.datasets,
        "recipient": transfer.recipient,
    }
    events.record(tx, caller, notifications.change_of(AuditAction.TRANSFER_CREATED, transfer, details))
    await tx.flush()
    return transfer


async def change_transfer(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, patch: TransferPatch
) -> Transfer:
    """Change a request; one that is in review becomes a new revision at once, and its stages begin anew.

    Raises:
        Conflict: it has been decided, withdrawn or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    status = require_status(transfer, tx, _CHANGEABLE, "changed")
    before = _request(transfer)
    changes = patch.model_dump(mode="json", exclude_unset=True)
    try:
        wanted = TransferIn.model_validate(before | changes)
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    for name, value in (await _content(tx, transfer.handler, wanted)).items():
        setattr(transfer, name, value)
    after = _request(transfer)
    changed = {name: after[name] for name in after if after[name] != before[name]}
    transfer.updated_at = tx.now
    if changed:
        await require_may_write(tx, caller, transfer)
        await add_author(tx, caller, transfer)
    details = {"before": {name: before[name] for name in changed}, "after": changed}
    events.record(tx, caller, notifications.change_of(AuditAction.TRANSFER_CHANGED, transfer, details))
    await tx.flush()
    if status is Status.IN_REVIEW and changed:
        await _submit(tx, caller, book, await load_submission(tx, transfer, book))
    return transfer


async def submit(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str) -> Transfer:
    """Freeze the request as a revision, determine what the law asks for, and open the first stage.

    Raises:
        Invalid: an ungraded dataset, contradicting facts, a route that is not offered, days that have passed, nothing to approve.
        Conflict: not a draft, nor returned; or in review with nothing changed.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    status = require_status(transfer, tx, _CHANGEABLE, "submitted")
    facts = await load_submission(tx, transfer, book)
    if status is Status.IN_REVIEW and facts.is_unchanged:
        raise Conflict("This request is in review already, and nothing in it has changed.")
    await _submit(tx, caller, book, facts)
    return transfer


async def _submit(tx: Transaction, caller: Caller, book: RuleBook, facts: SubmissionFacts) -> None:
    submission = decide_submission(facts, caller.persons, day_in_shanghai(tx.now), book)
    await write_submission(tx, caller, book, facts, submission)


async def withdraw(tx: Transaction, caller: Caller, transfer_id: str, reason: str | None) -> Transfer:
    """Take a request back before it is decided."""
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    require_status(transfer, tx, _CHANGEABLE, "withdrawn")
    reviewed = parties_of(await reviews_of(tx, transfer))
    _end(transfer, tx, Status.WITHDRAWN, reason)
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_WITHDRAWN, transfer, {"reason": reason}, reason=reason, audience=reviewed
        ),
    )
    await obligations.void_of_transfer(tx, caller, transfer.id, "The request was withdrawn.")
    await tx.flush()
    return transfer


async def list_transfers(
    tx: Transaction,
    *,
    status: Status | None,
    stage: Stage | None,
    handler: str | None,
    dataset: str | None,
    recipient: str | None,
    requester: str | None,
    words: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[Transfer], str | None]:
    """Return the transfers that the caller may see; with `stage`, those that wait for that stage's reviewer."""
    query = select(Transfer)
    if handler is not None:
        query = query.where(is_of(Transfer.handler, "handlers", handler))
    if recipient is not None:
        query = query.where(is_of(Transfer.recipient, "recipients", recipient))
    if requester is not None:
        query = query.where(Transfer.requester == requester)
    if words is not None:
        columns = (Transfer.purpose, Transfer.description, Transfer.reason)
        query = query.where(or_(*(column.icontains(words, autoescape=True) for column in columns)))
    if dataset is not None:
        query = query.where(is_of(any_(Transfer.datasets), "datasets", dataset))
    if status is not None:
        query = query.where(_status_criterion(status, day_in_shanghai(tx.now)))
    if stage is not None:
        query = query.where(Transfer.open_stage == stage, _status_criterion(Status.IN_REVIEW, day_in_shanghai(tx.now)))
    return await page_of(tx, query, Transfer.id, cursor, limit)


async def read_revision(tx: Transaction, caller: Caller, transfer_id: str, number: int) -> Revision:
    """Return a revision as it was submitted."""
    transfer = await transfer_of(tx, caller, transfer_id)
    revision = await tx.get(Revision, (transfer.id, number))
    if revision is None:
        raise NotFound("There is no such revision.")
    return revision


async def list_revisions(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Revision], str | None]:
    """Return every revision of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Revision).where(Revision.transfer == transfer.id)
    return await page_of(tx, query, Revision.number, cursor, limit)


async def diff(tx: Transaction, caller: Caller, transfer_id: str, number: int, since: int | None) -> DiffOut:
    """Return in words what changed from one revision to another, the one before if none is named.

    Raises:
        NotFound: there is no such revision.
        Invalid: `since` is not an earlier one.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    now = await tx.get(Revision, (transfer.id, number))
    if now is None:
        raise NotFound("There is no such revision.")
    earlier = number - 1 if since is None else since
    if earlier >= number:
        raise Invalid("Compare with an earlier revision.", errors=[("/since", f"Choose one below {number}.")])
    then = await tx.get(Revision, (transfer.id, earlier)) if earlier else None
    found = [] if then is None else differences(then, now)
    parts = {change.part for change in found}
    stages = await tx.scalars(
        select(RevisionStage.name)
        .where(RevisionStage.transfer == transfer.id, RevisionStage.revision == number)
        .order_by(RevisionStage.place)
    )
    return DiffOut(
        transfer=transfer.id,
        from_revision=None if then is None else then.number,
        to_revision=number,
        changes=[ChangeOut.of(change) for change in found],
        stages=[
            StageChangesOut(stage=Stage(name), changed=workflow.affected_inputs(Stage(name), parts)) for name in stages
        ],
    )


async def renew(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: RenewIn) -> Transfer:
    """Write the transfer down that is to follow an approved one: its content with what is to differ, and the evidence that still serves.

    It starts from what the permit allows, not from what was once asked for: what reviewers took away is asked for again in so many words.

    Its permit, once issued, takes over from the old one without a gap.

    Raises:
        Conflict: the transfer was never approved, is being renewed already, or has been.
    """
    old = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, old.handler, what="transfer")
    require_status(old, tx, frozenset({Status.APPROVED}), "renewed")
    under_way = select(Transfer.id).where(
        Transfer.renews == old.id,
        Transfer.status.in_([Status.DRAFT, Status.IN_REVIEW, Status.RETURNED]),
        Transfer.valid_until >= day_in_shanghai(tx.now),
    )
    if (running := await tx.scalar(under_way.limit(1))) is not None:
        raise Conflict(f"This transfer is being renewed already: {running}.")
    if (successor := await permits.successor_of(tx, old.id)) is not None:
        raise Conflict(
            f"The permit of this transfer has been followed by the one of {successor}; renew that.",
            next={"href": f"/v1/transfers/{successor}/renew", "method": "POST"},
        )
    try:
        taken_over = _request(old) | await permits.extent_of(tx, old.id)
        request = TransferIn.model_validate(taken_over | wanted.model_dump(mode="json", exclude_unset=True))
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    new = await create_transfer(tx, caller, request)
    new.renews = old.id
    reused = await evidence.reuse(tx, caller, book, old, new)
    details = {
        "renews": old.id,
        "evidence": [row.kind for row in reused],
        "reused": [row.id for row in reused],
        "repeats": [row.reused_from for row in reused],
    }
    events.record(tx, caller, notifications.change_of(AuditAction.TRANSFER_RENEWAL_BEGUN, new, details))
    await tx.flush()
    return new


async def history(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return everything that happened to a transfer, oldest first."""
    return await audit.history(tx, (await transfer_of(tx, caller, transfer_id)).id, cursor, limit)


def _end(transfer: Transfer, tx: Transaction, status: Status, reason: str | None) -> None:
    transfer.status, transfer.reason, transfer.open_stage, transfer.updated_at = status, reason, None, tx.now


def _request(transfer: Transfer) -> dict[str, Any]:
    values = {name: getattr(transfer, name) for name in TransferIn.model_fields}
    return values | {name: values[name].isoformat() for name in ("valid_from", "valid_until")}


async def planned_content(tx: Transaction, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a request that nobody has written down, its references resolved as those of one that somebody has."""
    handler = await registry.named_handler(tx, caller, request["handler"])
    datasets, recipient = await _parties(
        tx, handler.id, request["datasets"], request["recipient"], request["fields"] or ()
    )
    return request | {"handler": handler.id, "datasets": datasets, "recipient": recipient}


async def _content(tx: Transaction, handler: str, wanted: TransferIn) -> dict[str, Any]:
    """Return the columns of a request, its references resolved and its fields checked against the register."""
    if wanted.valid_until < day_in_shanghai(tx.now):
        raise Invalid("The transfer would be over already.", errors=[("/valid_until", "Choose a day to come.")])
    datasets, recipient = await _parties(tx, handler, wanted.datasets, wanted.recipient, wanted.fields or ())
    return wanted.model_dump(exclude={"handler"}) | {"datasets": datasets, "recipient": recipient}


async def _parties(
    tx: Transaction, handler: str, named: Sequence[str], receiver: str, fields: Sequence[str]
) -> tuple[list[str], str]:
    """Return the ids of the datasets and of the recipient that a request names.

    Raises:
        Invalid: one of them, or of the fields, is not registered.
    """
    datasets = [await _dataset(tx, handler, reference, place) for place, reference in enumerate(named)]
    if len({dataset.id for dataset in datasets}) < len(datasets):
        raise Invalid("A dataset is named twice.", errors=[("/datasets", "Name each dataset once.")])
    try:
        recipient = await registry.recipient_of(tx, receiver)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/recipient", "No recipient has this id or key.")]) from error
    known = {field["name"] for dataset in datasets for field in dataset.fields}
    unknown = [place for place, name in enumerate(fields) if name not in known]
    if unknown:
        raise Invalid(
            "Some fields are not in the register.",
            errors=[(f"/fields/{place}", "None of the datasets has this field.") for place in unknown],
        )
    return [dataset.id for dataset in datasets], recipient.id


async def _dataset(tx: Transaction, handler: str, reference: str, place: int) -> Dataset:
    query = select(Dataset).where(Dataset.handler == handler, or_(Dataset.id == reference, Dataset.key == reference))
    dataset = await tx.scalar(query)
    if dataset is None:
        raise Invalid(
            "A dataset is not known.", errors=[(f"/datasets/{place}", "The handler has no dataset of this id or key.")]
        )
    return dataset


def _status_criterion(status: Status, today: date) -> ColumnElement[bool]:
    """The same as `workflow.standing()`, for a query."""
    undecided = Transfer.status.in_([Status.DRAFT, Status.IN_REVIEW, Status.RETURNED])
    if status is Status.EXPIRED:
        return and_(undecided, Transfer.valid_until < today)
    return and_(Transfer.status == status, or_(~undecided, Transfer.valid_until >= today))
