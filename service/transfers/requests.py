"""Creates, changes, submits, withdraws and renews requests. Every act locks the row of the transfer.

Example:
    transfer = await create_transfer(tx, requester, body)
    transfer = await submit(tx, requester, book, transfer.id)
    print(transfer.status, transfer.open_stage)
"""

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


async def create_transfer(tx: Transaction, caller: Caller, body: TransferIn) -> Transfer:
    """Create a request as a draft."""
    handler = await registry.named_handler(tx, caller, body.handler)
    caller.require(REQUESTERS, handler.id)
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
        **await _resolve_content(tx, handler.id, body),
    )
    tx.add(transfer)
    details = body.model_dump(mode="json") | {
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
    """Change a request; in review, it is submitted as a new revision and its stages restart.

    Raises:
        Conflict: it was decided or withdrawn, or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, transfer.handler, noun="transfer")
    status = require_status(transfer, tx, _CHANGEABLE, "changed")
    before = _request_members(transfer)
    changes = patch.model_dump(mode="json", exclude_unset=True)
    try:
        body = TransferIn.model_validate(before | changes)
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    for name, value in (await _resolve_content(tx, transfer.handler, body)).items():
        setattr(transfer, name, value)
    after = _request_members(transfer)
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
    """Freeze the request as a revision, determine its mechanism and open the first stage.

    Raises:
        Invalid: an ungraded dataset, contradicting facts, a route that is not offered, days that have passed, or no cross-border transfer.
        Conflict: neither draft nor returned, or in review without a change.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, transfer.handler, noun="transfer")
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
    """Withdraw a request before it is decided."""
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, transfer.handler, noun="transfer")
    require_status(transfer, tx, _CHANGEABLE, "withdrawn")
    reviewed = parties_of(await reviews_of(tx, transfer))
    _close(transfer, tx, Status.WITHDRAWN, reason)
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
    """Load a page of the transfers that the caller may read; with `stage`, those at that open stage."""
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
    """Load a revision of a transfer that the caller may read."""
    transfer = await transfer_of(tx, caller, transfer_id)
    revision = await tx.get(Revision, (transfer.id, number))
    if revision is None:
        raise NotFound("There is no such revision.")
    return revision


async def list_revisions(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Revision], str | None]:
    """Load a page of the revisions of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Revision).where(Revision.transfer == transfer.id)
    return await page_of(tx, query, Revision.number, cursor, limit)


async def read_diff(tx: Transaction, caller: Caller, transfer_id: str, number: int, since: int | None) -> DiffOut:
    """Compare a revision with an earlier one, by default with the one before it.

    Raises:
        NotFound: there is no such revision.
        Invalid: `since` is not an earlier revision.
    """
    transfer = await transfer_of(tx, caller, transfer_id)
    revision = await tx.get(Revision, (transfer.id, number))
    if revision is None:
        raise NotFound("There is no such revision.")
    earlier = number - 1 if since is None else since
    if earlier >= number:
        raise Invalid("Compare with an earlier revision.", errors=[("/since", f"Choose one below {number}.")])
    earlier_revision = await tx.get(Revision, (transfer.id, earlier)) if earlier else None
    changes = [] if earlier_revision is None else differences(earlier_revision, revision)
    parts = {change.part for change in changes}
    stages = await tx.scalars(
        select(RevisionStage.name)
        .where(RevisionStage.transfer == transfer.id, RevisionStage.revision == number)
        .order_by(RevisionStage.place)
    )
    return DiffOut(
        transfer=transfer.id,
        from_revision=None if earlier_revision is None else earlier_revision.number,
        to_revision=number,
        changes=[ChangeOut.of(change) for change in changes],
        stages=[
            StageChangesOut(stage=Stage(name), changed=workflow.affected_inputs(Stage(name), parts)) for name in stages
        ],
    )


async def renew(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, changes: RenewIn) -> Transfer:
    """Create the renewal of an approved transfer: its content with changes, and its evidence that is still valid.

    The content starts from what the permit allows, so a limit that reviewers set must be widened explicitly.
    The permit of the renewal supersedes the old one without a gap.

    Raises:
        Conflict: the transfer was not approved, is being renewed, or has been renewed.
    """
    renewed = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, renewed.handler, noun="transfer")
    require_status(renewed, tx, frozenset({Status.APPROVED}), "renewed")
    open_renewals = select(Transfer.id).where(
        Transfer.renews == renewed.id,
        Transfer.status.in_([Status.DRAFT, Status.IN_REVIEW, Status.RETURNED]),
        Transfer.valid_until >= day_in_shanghai(tx.now),
    )
    if (open_renewal := await tx.scalar(open_renewals.limit(1))) is not None:
        raise Conflict(f"This transfer is being renewed already: {open_renewal}.")
    if (successor_id := await permits.successor_of(tx, renewed.id)) is not None:
        raise Conflict(
            f"The permit of this transfer has been superseded by the one of {successor_id}; renew that transfer.",
            next={"href": f"/v1/transfers/{successor_id}/renew", "method": "POST"},
        )
    try:
        taken_over = _request_members(renewed) | await permits.extent_of(tx, renewed.id)
        request = TransferIn.model_validate(taken_over | changes.model_dump(mode="json", exclude_unset=True))
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    renewal = await create_transfer(tx, caller, request)
    renewal.renews = renewed.id
    reused = await evidence.reuse(tx, caller, book, renewed, renewal)
    details = {
        "renews": renewed.id,
        "evidence": [row.kind for row in reused],
        "reused": [row.id for row in reused],
        "repeats": [row.reused_from for row in reused],
    }
    events.record(tx, caller, notifications.change_of(AuditAction.TRANSFER_RENEWAL_BEGUN, renewal, details))
    await tx.flush()
    return renewal


async def list_history(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Load a page of the audit entries of a transfer, oldest first."""
    return await audit.history(tx, (await transfer_of(tx, caller, transfer_id)).id, cursor, limit)


def _close(transfer: Transfer, tx: Transaction, status: Status, reason: str | None) -> None:
    transfer.status, transfer.reason, transfer.open_stage, transfer.updated_at = status, reason, None, tx.now


def _request_members(transfer: Transfer) -> dict[str, Any]:
    values = {name: getattr(transfer, name) for name in TransferIn.model_fields}
    return values | {name: values[name].isoformat() for name in ("valid_from", "valid_until")}


async def resolve_planned_content(tx: Transaction, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """Resolve the references of a request that is only planned, and return its columns."""
    handler = await registry.named_handler(tx, caller, request["handler"])
    datasets, recipient = await _parties(
        tx, handler.id, request["datasets"], request["recipient"], request["fields"] or ()
    )
    return request | {"handler": handler.id, "datasets": datasets, "recipient": recipient}


async def _resolve_content(tx: Transaction, handler: str, body: TransferIn) -> dict[str, Any]:
    """Resolve the references of a request, check its fields against the register, and return its columns."""
    if body.valid_until < day_in_shanghai(tx.now):
        raise Invalid(
            "The last day of the transfer has passed.", errors=[("/valid_until", "Choose a day in the future.")]
        )
    datasets, recipient = await _parties(tx, handler, body.datasets, body.recipient, body.fields or ())
    return body.model_dump(exclude={"handler"}) | {"datasets": datasets, "recipient": recipient}


async def _parties(
    tx: Transaction, handler: str, named: Sequence[str], receiver: str, fields: Sequence[str]
) -> tuple[list[str], str]:
    """Resolve the datasets and the recipient that a request names to ids.

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
    registered = {field["name"] for dataset in datasets for field in dataset.fields}
    unknown = [place for place, name in enumerate(fields) if name not in registered]
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
            "A dataset is unknown.", errors=[(f"/datasets/{place}", "The handler has no dataset with this id or key.")]
        )
    return dataset


def _status_criterion(status: Status, today: date) -> ColumnElement[bool]:
    """Return the criterion for a status on a day; the same rule as `workflow.effective_status()`."""
    undecided = Transfer.status.in_([Status.DRAFT, Status.IN_REVIEW, Status.RETURNED])
    if status is Status.EXPIRED:
        return and_(undecided, Transfer.valid_until < today)
    return and_(Transfer.status == status, or_(~undecided, Transfer.valid_until >= today))
