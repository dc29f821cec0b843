"""What can be done with transfers. Every act holds the transfer's row, so that two people who race for it take turns."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, or_, select

from service.audit import operations as audit
from service.audit.schemas import EntryOut
from service.database import Transaction, new_id
from service.http.caller import EVERYWHERE, READERS, Caller, Role
from service.http.paging import page_of
from service.http.problems import Conflict, Forbidden, Invalid, NotFound, invalid_from
from service.law.calendar import CalendarNotCovered, day_in_shanghai, working_days_after
from service.law.determination import Mechanism, covers
from service.law.facts import Count
from service.law.rules import RuleBook
from service.permits import operations as permits
from service.permits.schemas import Scope
from service.permits.tables import Permit
from service.registry import operations as registry
from service.registry.tables import Dataset
from service.transfers import workflow
from service.transfers.case import Case, Finding, case_of, demand_route, find
from service.transfers.schemas import (
    EvidenceIn,
    EvidenceOut,
    ReviewIn,
    ReviewOut,
    RevisionOut,
    RevisionRef,
    StageOut,
    TransferIn,
    TransferOut,
    TransferPatch,
)
from service.transfers.tables import Evidence, Review, Revision, RevisionStage, Transfer
from service.transfers.workflow import Decision, Paper, Stage, StageStatus, Status

REQUESTERS = frozenset({Role.REQUESTER})
OTHER = "other"
_CHANGEABLE = frozenset({Status.DRAFT, Status.RETURNED, Status.IN_REVIEW})
_EVIDENCE_BARRED = frozenset({Status.REJECTED, Status.WITHDRAWN, Status.EXPIRED})


class RevisionMoved(Conflict):
    """The review is of another content than the one that stands."""

    slug, title = "revision-moved", "The request is no longer what was reviewed"


class EvidenceMissing(Conflict):
    """The last approval, while papers are missing or out of date."""

    slug, title = "evidence-missing", "Evidence is missing or out of date"


class DeterminationMoved(Conflict):
    """The law asks for more than the stages that were set."""

    slug, title = "determination-moved", "The law asks for more than this revision was reviewed for"


# The request


async def create_transfer(tx: Transaction, caller: Caller, book: RuleBook, wanted: TransferIn) -> TransferOut:
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
    audit.append(tx, caller, "transfer.created", transfer.id, handler=handler.id, details=details)
    await tx.flush()
    return await _shown(tx, transfer, book)


async def change_transfer(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, patch: TransferPatch
) -> TransferOut:
    """Change a request; one that is in review becomes a new revision at once, and its stages begin anew.

    Raises:
        Conflict: it has been decided, withdrawn or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    status = _demand(transfer, tx, _CHANGEABLE, "changed")
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
    transfer.authors = sorted({*transfer.authors, caller.principal})
    details = {"before": {name: before[name] for name in changed}, "after": changed}
    audit.append(tx, caller, "transfer.changed", transfer.id, handler=transfer.handler, details=details)
    await tx.flush()
    if status is Status.IN_REVIEW and changed:
        await _freeze(tx, caller, book, transfer)
    return await _shown(tx, transfer, book)


async def submit(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str) -> TransferOut:
    """Freeze the request as a revision, determine what the law asks for, and open the first stage.

    Raises:
        Invalid: an ungraded dataset, contradicting facts, a route that is not offered, days that have passed, nothing to approve.
        Conflict: not a draft, nor returned; or in review with nothing changed.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    status = _demand(transfer, tx, _CHANGEABLE, "submitted")
    if status is Status.IN_REVIEW:
        frozen = await _revision(tx, transfer)
        if frozen is not None and (await case_of(tx, transfer)).hash == frozen.hash:
            raise Conflict("This request is in review already, and nothing in it has changed.")
    await _freeze(tx, caller, book, transfer)
    return await _shown(tx, transfer, book)


async def withdraw(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, reason: str | None
) -> TransferOut:
    """Take a request back before it is decided."""
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    _demand(transfer, tx, _CHANGEABLE, "withdrawn")
    _end(transfer, tx, Status.WITHDRAWN, reason)
    audit.append(tx, caller, "transfer.withdrawn", transfer.id, handler=transfer.handler, details={"reason": reason})
    await tx.flush()
    return await _shown(tx, transfer, book)


async def list_transfers(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    *,
    status: Status | None,
    stage: Stage | None,
    handler: str | None,
    dataset: str | None,
    recipient: str | None,
    requester: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[TransferOut], str | None]:
    """Return the transfers that the caller may see; with `stage`, those that wait for that stage's reviewer."""
    query = select(Transfer)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Transfer.handler.in_(reach))
    equal = ((Transfer.handler, handler), (Transfer.recipient, recipient), (Transfer.requester, requester))
    for column, value in equal:
        if value is not None:
            query = query.where(column == value)
    if dataset is not None:
        query = query.where(Transfer.datasets.bool_op("@>")([dataset]))
    if status is not None:
        query = query.where(_stands(status, day_in_shanghai(tx.now)))
    if stage is not None:
        query = query.where(Transfer.open_stage == stage, _stands(Status.IN_REVIEW, day_in_shanghai(tx.now)))
    rows, following = await page_of(tx, query, Transfer.id, cursor, limit)
    return [await _shown(tx, row, book) for row in rows], following


async def read_transfer(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, *, lock: bool = False
) -> TransferOut:
    """Return a transfer."""
    return await _shown(tx, await transfer_of(tx, caller, transfer_id, lock=lock), book)


async def read_revision(tx: Transaction, caller: Caller, transfer_id: str, number: int) -> RevisionOut:
    """Return a revision as it was submitted."""
    transfer = await transfer_of(tx, caller, transfer_id)
    revision = await tx.get(Revision, (transfer.id, number))
    if revision is None:
        raise NotFound("There is no such revision.")
    return RevisionOut.model_validate(revision, from_attributes=True)


async def history(
    tx: Transaction, caller: Caller, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return everything that happened to a transfer, oldest first."""
    return await audit.history(tx, (await transfer_of(tx, caller, transfer_id)).id, cursor, limit)


# Reviews


async def review(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: ReviewIn) -> TransferOut:
    """Decide the open stage of the revision that the reviewer has seen; the last approval issues the permit.

    Raises:
        Forbidden: not this stage's reviewer, or barred by the separation of duties.
        Conflict: not in review, or the stage is not the open one.
        RevisionMoved: the content is no longer the one that was seen.
        EvidenceMissing: at the last approval.
        DeterminationMoved: at the last approval, when the law has come to ask for more.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(frozenset({Role(wanted.stage.role)}), transfer.handler, what="transfer")
    earlier = await _reviewers(tx, transfer)
    bar = workflow.bar_to_review(
        caller.principal, is_person=caller.kind == "person", authors=transfer.authors, earlier=earlier
    )
    if bar is not None:
        raise Forbidden(bar)
    _demand(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")
    stages = await _stages(tx, transfer)
    place = _open_place(stages, wanted.stage)
    case = await case_of(tx, transfer)
    revision = await tx.get_one(Revision, (transfer.id, transfer.revision))
    _demand_seen(wanted, revision, case)
    outcome = workflow.after(wanted.decision, place, [StageStatus(stage.status) for stage in stages])
    _record_review(tx, caller, transfer, revision, wanted)
    for stage, status in zip(stages, outcome.stages, strict=True):
        stage.status = status
    transfer.status, transfer.updated_at = outcome.status, tx.now
    transfer.open_stage = next((s.name for s in stages if s.status == StageStatus.OPEN), None)
    if outcome.status is Status.APPROVED:
        await _issue(tx, caller, book, case, revision)
    if outcome.status is Status.REJECTED:
        transfer.reason = wanted.comment
    await tx.flush()
    return await _shown(tx, transfer, book)


def _open_place(stages: Sequence[RevisionStage], wanted: Stage) -> int:
    for place, stage in enumerate(stages):
        if stage.status == StageStatus.OPEN and stage.name == wanted:
            return place
    now = next((stage.name for stage in stages if stage.status == StageStatus.OPEN), "none")
    raise Conflict(f"The stage {wanted} is not open; the open one is {now}.")


def _demand_seen(wanted: ReviewIn, revision: Revision, case: Case) -> None:
    if wanted.revision != revision.hash:
        raise RevisionMoved(
            "There is another revision than the one you have seen; read the request again.",
            errors=[("/revision", "This is not the hash of the revision that stands.")],
            revision={"number": revision.number, "hash": revision.hash},
        )
    if wanted.decision is Decision.APPROVE and case.hash != revision.hash:
        raise RevisionMoved(
            "The register has changed since the request was submitted (a grading, or facts of the handler, a dataset or the "
            "recipient). The requester must submit it again.",
            errors=[("/revision", "The content has moved since this revision.")],
        )


def _record_review(tx: Transaction, caller: Caller, transfer: Transfer, revision: Revision, wanted: ReviewIn) -> None:
    given = Review(
        id=new_id("rv"),
        transfer=transfer.id,
        revision=revision.number,
        hash=revision.hash,
        stage=wanted.stage,
        decision=wanted.decision,
        comment=wanted.comment,
        reviewer=caller.principal,
        at=tx.now,
    )
    tx.add(given)
    details = {
        "review": given.id,
        "stage": wanted.stage,
        "decision": wanted.decision,
        "comment": wanted.comment,
        "revision": revision.number,
        "hash": revision.hash,
    }
    audit.append(tx, caller, "transfer.reviewed", transfer.id, handler=transfer.handler, details=details)


async def _issue(tx: Transaction, caller: Caller, book: RuleBook, case: Case, revision: Revision) -> None:
    """Issue the permit, on the law, the count and the papers of this moment."""
    transfer, today = case.transfer, day_in_shanghai(tx.now)
    finding = find(case, tx, book)
    reviewed = frozenset(Mechanism(r["mechanism"]) for r in revision.determination["requirements"])
    stages = {stage.name for stage in await _stages(tx, transfer)}
    if not covers(reviewed, finding.determination) or not set(workflow.stages_for(finding.determination)) <= stages:
        raise DeterminationMoved(
            f"The law now asks for {finding.determination.mechanism}; this revision was reviewed for "
            f"{revision.determination['mechanism']}. Return it, so that it is submitted again.",
            determination=finding.document,
        )
    check = await _check(tx, book, transfer, finding, today)
    if check.missing:
        raise EvidenceMissing(
            f"The permit needs: {', '.join(check.missing)}. Add it to the transfer, then approve again.",
            errors=[(f"/evidence/{kind}", reason) for kind, reason in check.missing.items()],
            missing_evidence=list(check.missing),
        )
    ends = [transfer.valid_until, *([] if check.ends_on is None else [check.ends_on])]
    scope = Scope(
        transfer=transfer.id,
        revision=revision.hash,
        handler=transfer.handler,
        datasets=[(d.id, d.tags or [], d.grading or 0) for d in case.datasets],
        recipient=transfer.recipient,
        purpose=transfer.purpose,
        fields=transfer.fields,
        systems=transfer.systems,
        quota=Count(transfer.persons, transfer.sensitive_persons),
        valid_from=transfer.valid_from,
        valid_until=min(ends),
        mechanism=finding.determination.mechanism,
        requirements=sorted({str(r.mechanism) for r in finding.determination.requirements}),
        route=_settled_route(transfer, finding),
        claims={name: getattr(transfer, name) for name in ("method", "necessity", "legal_basis")},
        evidence=[paper.id for paper in check.papers],
        receipt_due_on=_receipt_due(book, check.papers),
    )
    await permits.issue(tx, caller, scope)


def _settled_route(transfer: Transfer, finding: Finding) -> str | None:
    """Return the instrument that meets the strictest requirement: the one chosen, where it is still offered."""
    routes = [str(route) for route in finding.determination.routes]
    return transfer.route if transfer.route in routes else next(iter(routes), None)


def _receipt_due(book: RuleBook, papers: Sequence[Paper]) -> date | None:
    """Return the last day without a filing receipt. Source: SCM art. 7; where the holidays are not known yet, as if none were."""
    due: list[date] = []
    for paper in papers:
        duty = book.follow_up_of(paper.kind, paper.issued_on)
        if duty is None:
            continue
        try:
            due.append(working_days_after(paper.issued_on, duty.working_days))
        except CalendarNotCovered:
            due.append(paper.issued_on + timedelta(days=duty.working_days))
    return min(due, default=None)


# Evidence


async def add_evidence(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: EvidenceIn
) -> EvidenceOut:
    """Add the record of a paper, from draft on, and after approval too (a duty's receipt comes then).

    Raises:
        Invalid: a kind that nobody knows.
        Conflict: the transfer was rejected or withdrawn, or has expired.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    if wanted.kind not in book.kinds | {OTHER}:
        known = ", ".join(sorted(book.kinds | {OTHER}))
        raise Invalid("This kind of evidence is not known.", errors=[("/kind", f"Choose one of: {known}.")])
    _demand(transfer, tx, frozenset(Status) - _EVIDENCE_BARRED, "given evidence")
    evidence = Evidence(
        id=new_id("ed"), transfer=transfer.id, added_by=caller.principal, added_at=tx.now, **wanted.model_dump()
    )
    tx.add(evidence)
    transfer.updated_at = tx.now
    details = wanted.model_dump(mode="json") | {"evidence": evidence.id}
    audit.append(tx, caller, "transfer.evidence_added", transfer.id, handler=transfer.handler, details=details)
    await tx.flush()
    return EvidenceOut.of(evidence, _ends_on(evidence, book))


async def list_evidence(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EvidenceOut], str | None]:
    """Return the evidence of a transfer, oldest first."""
    transfer = await transfer_of(tx, caller, transfer_id)
    query = select(Evidence).where(Evidence.transfer == transfer.id)
    rows, following = await page_of(tx, query, Evidence.id, cursor, limit)
    return [EvidenceOut.of(row, _ends_on(row, book)) for row in rows], following


def _ends_on(evidence: Evidence, book: RuleBook) -> date | None:
    ends = [
        end for end in (evidence.valid_until, book.valid_until(evidence.kind, evidence.issued_on)) if end is not None
    ]
    return min(ends, default=None)


async def _papers(tx: Transaction, transfer: Transfer, book: RuleBook) -> list[Paper]:
    query = select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id)
    return [Paper(row.id, row.kind, row.issued_on, _ends_on(row, book)) for row in await tx.scalars(query)]


async def _check(tx: Transaction, book: RuleBook, transfer: Transfer, finding: Finding, today: date) -> workflow.Check:
    needed = [item.code for item in finding.determination.evidence]
    return workflow.check_evidence(needed, await _papers(tx, transfer, book), today, transfer.valid_from)


# What they share


async def transfer_of(tx: Transaction, caller: Caller, transfer_id: str, *, lock: bool = False) -> Transfer:
    """Return the row of a transfer that the caller may see.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    transfer = await tx.get(Transfer, transfer_id, with_for_update=lock or None, populate_existing=lock)
    if transfer is None or not caller.reaches(READERS, transfer.handler):
        raise NotFound("There is no such transfer.")
    return transfer


def _demand(transfer: Transfer, tx: Transaction, allowed: frozenset[Status], verb: str) -> Status:
    status = workflow.standing(transfer.status, transfer.valid_until, day_in_shanghai(tx.now))
    if status not in allowed:
        raise Conflict(
            f"This transfer is {status}; it can no longer be {verb}."
            if status is not Status.DRAFT
            else f"This transfer is a draft; it must be submitted before it can be {verb}."
        )
    return status


def _end(transfer: Transfer, tx: Transaction, status: Status, reason: str | None) -> None:
    transfer.status, transfer.reason, transfer.open_stage, transfer.updated_at = status, reason, None, tx.now


def _request(transfer: Transfer) -> dict[str, Any]:
    values = {name: getattr(transfer, name) for name in TransferIn.model_fields}
    return values | {name: values[name].isoformat() for name in ("valid_from", "valid_until")}


async def _content(tx: Transaction, handler: str, wanted: TransferIn) -> dict[str, Any]:
    """Return the columns of a request, its references resolved and its fields checked against the register."""
    datasets = [await _dataset(tx, handler, reference, place) for place, reference in enumerate(wanted.datasets)]
    if len({dataset.id for dataset in datasets}) < len(datasets):
        raise Invalid("A dataset is named twice.", errors=[("/datasets", "Name each dataset once.")])
    try:
        recipient = await registry.recipient_of(tx, wanted.recipient)
    except NotFound as error:
        raise Invalid(error.detail, errors=[("/recipient", "No recipient has this id or key.")]) from error
    if wanted.valid_until < day_in_shanghai(tx.now):
        raise Invalid("The transfer would be over already.", errors=[("/valid_until", "Choose a day to come.")])
    known = {field["name"] for dataset in datasets for field in dataset.fields}
    unknown = [place for place, name in enumerate(wanted.fields or []) if name not in known]
    if unknown:
        raise Invalid(
            "Some fields are not in the register.",
            errors=[(f"/fields/{place}", "None of the datasets has this field.") for place in unknown],
        )
    values = wanted.model_dump(exclude={"handler"})
    return values | {"datasets": [dataset.id for dataset in datasets], "recipient": recipient.id}


async def _dataset(tx: Transaction, handler: str, reference: str, place: int) -> Dataset:
    query = select(Dataset).where(Dataset.handler == handler, or_(Dataset.id == reference, Dataset.key == reference))
    dataset = await tx.scalar(query)
    if dataset is None:
        raise Invalid(
            "A dataset is not known.", errors=[(f"/datasets/{place}", "The handler has no dataset of this id or key.")]
        )
    return dataset


async def _freeze(tx: Transaction, caller: Caller, book: RuleBook, transfer: Transfer) -> None:
    """Make the next revision: content, hash, determination and stages."""
    case = await case_of(tx, transfer)
    finding = find(case, tx, book)
    demand_route(case, finding)
    if finding.determination.mechanism is Mechanism.NOT_CROSS_BORDER:
        raise Invalid(
            "Nothing crosses the border, so there is nothing to approve.",
            errors=[("/recipient", "The recipient is in mainland China.")],
        )
    stages = workflow.stages_for(finding.determination)
    transfer.revision += 1
    transfer.authors = sorted({*transfer.authors, caller.principal})
    transfer.updated_at = tx.now
    revision = Revision(
        transfer=transfer.id,
        number=transfer.revision,
        hash=case.hash,
        content=audit.plain(case.content),
        determination=finding.document,
        ledger={"persons": case.count.persons, "sensitive_persons": case.count.sensitive_persons},
        submitted_by=caller.principal,
        submitted_at=tx.now,
    )
    tx.add(revision)
    await tx.flush()
    for place, (stage, status) in enumerate(zip(stages, workflow.opened(len(stages)), strict=True)):
        tx.add(RevisionStage(transfer=transfer.id, revision=revision.number, place=place, name=stage, status=status))
    if stages:
        transfer.status, transfer.reason, transfer.open_stage = Status.IN_REVIEW, None, stages[0]
    else:
        _end(transfer, tx, Status.REJECTED, finding.document["explanation"]["en"])
    details = {
        "revision": revision.number,
        "hash": revision.hash,
        "mechanism": finding.determination.mechanism,
        "rules_version": finding.determination.rules_version,
        "requirements": [requirement.rule for requirement in finding.determination.requirements],
        "stages": list(stages),
        "status": transfer.status,
    }
    audit.append(tx, caller, "transfer.submitted", transfer.id, handler=transfer.handler, details=details)
    await tx.flush()


async def _revision(tx: Transaction, transfer: Transfer) -> Revision | None:
    return await tx.get(Revision, (transfer.id, transfer.revision)) if transfer.revision else None


async def _stages(tx: Transaction, transfer: Transfer) -> Sequence[RevisionStage]:
    query = (
        select(RevisionStage)
        .where(RevisionStage.transfer == transfer.id, RevisionStage.revision == transfer.revision)
        .order_by(RevisionStage.place)
    )
    return (await tx.scalars(query)).all()


async def _reviewers(tx: Transaction, transfer: Transfer) -> set[str]:
    query = select(Review.reviewer).where(Review.transfer == transfer.id, Review.revision == transfer.revision)
    return set(await tx.scalars(query))


async def _shown(tx: Transaction, transfer: Transfer, book: RuleBook) -> TransferOut:
    revision = await _revision(tx, transfer)
    evidence = (await tx.scalars(select(Evidence).where(Evidence.transfer == transfer.id).order_by(Evidence.id))).all()
    reviews = await tx.scalars(select(Review).where(Review.transfer == transfer.id).order_by(Review.id))
    columns = {name: getattr(transfer, name) for name in TransferOut.model_fields if name in Transfer.__table__.columns}
    today = day_in_shanghai(tx.now)
    status = workflow.standing(transfer.status, transfer.valid_until, today)
    shown = columns | {
        "status": status,
        "revision": None if revision is None else RevisionRef(number=revision.number, hash=revision.hash),
        "determination": None if revision is None else revision.determination,
        "stages": [
            StageOut(name=Stage(stage.name), role=Stage(stage.name).role, status=workflow.shown(stage.status, status))
            for stage in await _stages(tx, transfer)
        ],
        "missing_evidence": await _missing(tx, book, transfer, revision, today),
        "evidence": [EvidenceOut.of(row, _ends_on(row, book)) for row in evidence],
        "reviews": [ReviewOut.of(row) for row in reviews],
        "permit": await tx.scalar(select(Permit.id).where(Permit.transfer == transfer.id)),
    }
    return TransferOut.model_validate(shown)


async def _missing(
    tx: Transaction, book: RuleBook, transfer: Transfer, revision: Revision | None, today: date
) -> list[str]:
    if revision is None or transfer.status != Status.IN_REVIEW:
        return []
    needed = [item["code"] for item in revision.determination["evidence"]]
    papers = await _papers(tx, transfer, book)
    return list(workflow.check_evidence(needed, papers, today, transfer.valid_from).missing)


def _stands(status: Status, today: date) -> ColumnElement[bool]:
    """The same as `workflow.standing()`, for a query."""
    undecided = Transfer.status.in_([Status.DRAFT, Status.IN_REVIEW, Status.RETURNED])
    if status is Status.EXPIRED:
        return and_(undecided, Transfer.valid_until < today)
    return and_(Transfer.status == status, or_(~undecided, Transfer.valid_until >= today))
