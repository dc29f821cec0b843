"""Decides stages of transfers, and issues the permit at the last approval.

Example:
    body = ReviewIn(stage=Stage.PRIVACY, decision=Decision.APPROVE, revision=revision.hash)
    transfer = await review(tx, reviewer, book, "tr_01J...", body)
    print(transfer.status, transfer.open_stage)
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from sqlalchemy import select

from service.access import directory, persons
from service.access.caller import Caller, Role
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction
from service.events import operations as events
from service.http.references import id_of
from service.law.determination import Determination, covers
from service.law.facts import Count
from service.law.mechanisms import Mechanism
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.obligations import obligation_rules
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code
from service.obligations.queries import has_open
from service.permits import operations as permits
from service.permits.schemas import BoundDataset, Scope
from service.registry.tables import Recipient
from service.transfers import conditions, evidence, notifications, structuring_findings, workflow
from service.transfers.case import Case, CaseDetermination, case_of, determine_case
from service.transfers.conditions import Conditions, Extent
from service.transfers.queries import (
    REQUESTERS,
    add_author,
    changed_inputs,
    evidence_of,
    exclusions_of,
    parties_of,
    pending_terms,
    renewed_permit_of,
    require_may_write,
    require_status,
    reviews_of,
    scope_of,
    stages_of,
    transfer_of,
)
from service.transfers.schemas import (
    AcceptIn,
    CarryIn,
    ConditionsIn,
    ReviewIn,
    TakeBackIn,
)
from service.transfers.tables import Evidence, Review, Revision, RevisionStage, Transfer
from service.transfers.workflow import Decision, EvidenceItem, Outcome, StageStatus, Status
from service.validation.problems import Conflict, Forbidden, Invalid, NotFound


class RevisionChanged(Conflict):
    """The content has changed since the revision that was reviewed."""

    slug, title = "revision-moved", "The request is no longer what was reviewed"


class EvidenceMissing(Conflict):
    """Evidence is missing or not valid at the last approval."""

    slug, title = "evidence-missing", "Evidence is missing or out of date"


class DeterminationChanged(Conflict):
    """The law now requires more than the revision was reviewed for."""

    slug, title = "determination-moved", "The law asks for more than this revision was reviewed for"


class TermsPending(Conflict):
    """The requester has not accepted the terms of an earlier approval."""

    slug, title = "terms-pending", "Terms wait for the requester's acceptance"


PERMIT_REFUSALS = (EvidenceMissing, DeterminationChanged, permits.PredecessorRevoked)
"""Errors that refuse the permit at the last approval, after its findings were raised."""


class InputsChanged(Conflict):
    """An approval cannot be carried over, since an input of its stage has changed."""

    slug, title = "inputs-changed", "What this approval decided on has changed"


async def review(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, body: ReviewIn) -> Transfer:
    """Decide the open stage of the revision that the reviewer has read; the last approval issues the permit.

    Raises:
        Forbidden: without the role of the stage, or excluded by the separation of duties.
        Conflict: not in review, or the stage is not the open one.
        Invalid: conditions that exceed the request.
        TermsPending: the requester has not accepted the terms of an earlier approval.
        RevisionChanged: the content has changed since the revision was read.
        EvidenceMissing: at the last approval, if evidence is missing or not valid.
        DeterminationChanged: at the last approval, if the law requires more than at the submission.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    return await _decide(tx, caller, book, transfer, body)


async def carry_over(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, review_id: str, body: CarryIn
) -> Transfer:
    """Confirm an approval of an earlier revision for the current one, as the same reviewer and on unchanged inputs.

    Raises:
        Forbidden: an approval of another reviewer.
        Conflict: no approval of an earlier revision, or a conflict that `review` raises.
        InputsChanged: an input of the stage, or the fit of the conditions, has changed.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    approval = await _review_of(tx, transfer, review_id)
    if approval.reviewer != caller.principal:
        raise Forbidden("Only the reviewer who gave an approval can carry it over.")
    current = await _revision(tx, transfer)
    if (
        approval.decision != Decision.APPROVE
        or approval.taken_back_at is not None
        or approval.revision >= current.number
    ):
        raise Conflict("Only an approval of an earlier revision that was not taken back can be carried over.")
    earlier = await tx.get_one(Revision, (transfer.id, approval.revision))
    changed = changed_inputs(Stage(approval.stage), earlier, current)
    if changed:
        raise InputsChanged(
            f"The stage {approval.stage} decides on {', '.join(changed)}, which changed since. Review the request again.",
            changed=changed,
        )
    repeated = ReviewIn(
        stage=Stage(approval.stage),
        decision=Decision.APPROVE,
        revision=body.revision,
        comment=body.comment or approval.comment,
    )
    return await _decide(tx, caller, book, transfer, repeated, carried=approval)


async def take_back(tx: Transaction, caller: Caller, transfer_id: str, review_id: str, body: TakeBackIn) -> Transfer:
    """Take an approval back before the permit is issued; its stage reopens and the approval stays on record.

    Raises:
        Forbidden: an approval of another reviewer.
        Conflict: the permit has been issued (suspend it instead), or it is no approval of the current revision.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    approval = await _review_of(tx, transfer, review_id)
    if caller.principal not in {approval.reviewer, approval.on_behalf_of}:
        raise Forbidden("Only the reviewer who gave an approval, or the person who lent the role, can take it back.")
    if transfer.status == Status.APPROVED:
        raise Conflict("The permit has been issued; suspend it, and have it revoked.")
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "changed")
    if (
        approval.revision != transfer.revision
        or approval.decision != Decision.APPROVE
        or approval.taken_back_at is not None
    ):
        raise Conflict("Only a standing approval of the revision in review can be taken back.")
    approval.taken_back_at, approval.taken_back_by, approval.taken_back_reason = tx.now, caller.principal, body.reason
    await tx.flush()
    stages = await stages_of(tx, transfer)
    place = next(place for place, stage in enumerate(stages) if stage.name == approval.stage)
    terms = pending_terms(await reviews_of(tx, transfer))
    outcome = workflow.reopen_stage(place, [StageStatus(stage.status) for stage in stages], has_terms=bool(terms))
    details = {
        "review": approval.id,
        "stage": approval.stage,
        "revision": approval.revision,
        "reason": body.reason,
        "status": outcome.status,
    }
    behalf = approval.on_behalf_of if caller.principal == approval.reviewer else None
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_APPROVAL_TAKEN_BACK, transfer, details, reason=body.reason, on_behalf_of=behalf
        ),
    )
    await _apply_outcome(tx, caller, transfer, stages, outcome)
    await tx.flush()
    return transfer


async def accept_terms(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, body: AcceptIn) -> Transfer:
    """Accept the pending terms of approvals; the next stage opens, or the permit is issued.

    Raises:
        Conflict: no terms are pending.
        Forbidden: the caller has decided a stage.
        RevisionChanged: not the current revision.
        EvidenceMissing, DeterminationChanged: if this would issue the permit, as in `review`.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.require(REQUESTERS, transfer.handler, noun="transfer")
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "accepted")
    revision = await _revision(tx, transfer)
    _require_hash(body.revision, revision)
    current_reviews = await reviews_of(tx, transfer)
    exclusions = await exclusions_of(tx, transfer)
    if not persons.are_two(caller.persons, exclusions.earlier):
        raise Forbidden(
            "You have decided a stage of this request, or have made or seen the key by which it was done; the requester must accept "
            "the terms."
        )
    await require_may_write(tx, caller, transfer)
    terms = pending_terms(current_reviews)
    if not terms:
        raise Conflict("No terms are pending.")
    for approval in current_reviews:
        if Conditions.of(approval.conditions).terms and approval.terms_accepted_at is None:
            approval.terms_accepted_by, approval.terms_accepted_at = caller.principal, tx.now
            approval.terms_accepted_persons = caller.acting()
    await add_author(tx, caller, transfer)
    stages = await stages_of(tx, transfer)
    outcome = workflow.open_next_stage([StageStatus(stage.status) for stage in stages], has_terms=False)
    details = {"revision": revision.number, "hash": revision.hash, "terms": terms, "status": outcome.status}
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_TERMS_ACCEPTED, transfer, details, audience=parties_of(current_reviews)
        ),
    )
    if outcome.status is Status.APPROVED:
        case = await case_of(tx, transfer)
        _require_unchanged(revision, case)
        await structuring_findings.raise_findings(tx, caller, book, transfer)
        await _issue_permit(tx, caller, book, case, revision, stages)
    else:
        await _apply_outcome(tx, caller, transfer, stages, outcome)
    await tx.flush()
    return transfer


async def raise_findings(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str) -> None:
    """Raise the findings of an approval that was refused, since its transaction was rolled back."""
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    if transfer.status == Status.IN_REVIEW:
        await structuring_findings.raise_findings(tx, caller, book, transfer)


async def _decide(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer: Transfer,
    body: ReviewIn,
    *,
    carried: Review | None = None,
) -> Transfer:
    role = frozenset({Role(body.stage.role)})
    caller.require(role, transfer.handler, noun="transfer")
    earlier = await reviews_of(tx, transfer)
    behalf = await _behalf(tx, caller, transfer, role)
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")
    stages = await stages_of(tx, transfer)
    revision = await _revision(tx, transfer)
    _require_hash(body.revision, revision)
    place = _open_place(stages, body.stage, pending_terms(earlier))
    case = await case_of(tx, transfer)
    if body.decision is Decision.APPROVE:
        _require_unchanged(revision, case)
        await structuring_findings.raise_findings(tx, caller, book, transfer)
    stored_conditions = await _conditions(tx, case, body.conditions, earlier)
    if carried is not None:
        stored_conditions = carried.conditions
        _require_fitting(tx, case, stored_conditions, earlier)
    has_terms = bool(Conditions.of(stored_conditions).terms)
    recorded = _record_review(tx, caller, transfer, revision, body, stored_conditions, behalf, carried)
    outcome = workflow.apply_decision(
        body.decision, place, [StageStatus(stage.status) for stage in stages], has_terms=has_terms
    )
    details = {
        "review": recorded.id,
        "stage": body.stage,
        "decision": body.decision,
        "comment": body.comment,
        "conditions": stored_conditions,
        "revision": revision.number,
        "hash": revision.hash,
        "carried_from": recorded.carried_from,
        "status": outcome.status,
    }
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_REVIEWED,
            transfer,
            details,
            reason=body.comment or None,
            audience=parties_of(earlier),
            on_behalf_of=behalf,
        ),
    )
    if outcome.status is Status.APPROVED:
        stages[place].status = StageStatus.APPROVED
        await _issue_permit(tx, caller, book, case, revision, stages)
    else:
        await _apply_outcome(tx, caller, transfer, stages, outcome)
    if outcome.status is Status.REJECTED:
        transfer.reason = body.comment
        await obligations.void_of_transfer(tx, caller, transfer.id, "The request was rejected.")
    await tx.flush()
    return transfer


async def _behalf(tx: Transaction, caller: Caller, transfer: Transfer, role: frozenset[Role]) -> str | None:
    """Return the lender of the role with which the caller reviews, None for their own role.

    Raises:
        Forbidden: excluded by the separation of duties, also on behalf of each lender.
    """
    exclusions = await exclusions_of(tx, transfer)
    denials: list[str] = []
    for behalf in caller.lenders(role, transfer.handler) or (None,):
        denial = workflow.review_denial(
            caller.principal,
            is_person=caller.kind == "person",
            seen_by=caller.seen_by,
            authors=exclusions.authors,
            earlier=exclusions.earlier,
            recused=exclusions.recused,
            filed=exclusions.filed,
            behalf=behalf,
        )
        if denial is None:
            return behalf
        denials.append(denial)
    raise Forbidden(denials[0])


def _open_place(stages: Sequence[RevisionStage], requested: Stage, terms: Sequence[str]) -> int:
    for place, stage in enumerate(stages):
        if stage.status == StageStatus.OPEN and stage.name == requested:
            return place
    if terms:
        raise TermsPending("The requester must accept the terms of an earlier approval first.", terms=list(terms))
    open_stage = next((stage.name for stage in stages if stage.status == StageStatus.OPEN), "none")
    raise Conflict(f"The stage {requested} is not open; the open one is {open_stage}.")


def _require_hash(hash_read: str, revision: Revision) -> None:
    if hash_read != revision.hash:
        raise RevisionChanged(
            "The request has a newer revision than the one that you have read; read the request again.",
            errors=[("/revision", "This is not the hash of the current revision.")],
            revision={"number": revision.number, "hash": revision.hash},
        )


def _require_unchanged(revision: Revision, case: Case) -> None:
    if not case.is_still(revision.content, revision.hash):
        raise RevisionChanged(
            "The register has changed since the request was submitted (a grading, or facts or the name of the handler, a dataset "
            "or the recipient). The requester must submit it again.",
            errors=[("/revision", "The content has changed since this revision.")],
        )


async def _revision(tx: Transaction, transfer: Transfer) -> Revision:
    revision = await tx.get(Revision, (transfer.id, transfer.revision))
    if revision is None:
        raise Conflict("This transfer is a draft; it must be submitted before it can be reviewed.")
    return revision


async def _review_of(tx: Transaction, transfer: Transfer, review_id: str) -> Review:
    row = await tx.get(Review, review_id)
    if row is None or row.transfer != transfer.id:
        raise NotFound("There is no such review.")
    return row


async def _conditions(
    tx: Transaction, case: Case, body: ConditionsIn | None, earlier: Iterable[Review]
) -> dict[str, Any] | None:
    """Return conditions as they are stored, with recipients as ids.

    Raises:
        Invalid: they exceed the request or leave nothing of it, alone or with the conditions of earlier approvals.
    """
    if body is None:
        return None
    stored = body.model_dump(mode="json", exclude_none=True)
    if body.recipients is not None:
        stored["recipients"] = [
            await _recipient(tx, reference, place) for place, reference in enumerate(body.recipients)
        ]
    faults = _faults(tx, case, Conditions.of(stored), earlier)
    if faults:
        raise Invalid(
            "A condition can only narrow what is asked for.",
            errors=[(f"/conditions/{member}", reason) for member, reason in faults],
        )
    return stored


def _require_fitting(tx: Transaction, case: Case, stored: dict[str, Any] | None, earlier: Iterable[Review]) -> None:
    """Refuse to carry over an approval whose conditions no longer fit the request."""
    # Conditions may concern parts that are no input of the stage, which the comparison of inputs leaves out.
    faults = _faults(tx, case, Conditions.of(stored), earlier)
    if faults:
        members = [member for member, _ in faults]
        raise InputsChanged(
            f"The conditions of this approval no longer fit the request ({', '.join(members)}). Review it again.",
            changed=members,
        )


def _faults(tx: Transaction, case: Case, condition: Conditions, earlier: Iterable[Review]) -> list[tuple[str, str]]:
    requested = _extent(case.transfer)
    begins = max(requested.valid_from, day_in_shanghai(tx.now))
    registered = [field["name"] for dataset in case.datasets for field in dataset.fields]
    violations = conditions.faults(condition, requested, registered)
    left = conditions.narrow(
        requested, [*(Conditions.of(approval.conditions) for approval in earlier), condition], begins
    )
    reason = "With this, and the conditions of earlier approvals, nothing would be left. Return or reject the request instead."
    reported = {member for member, _ in violations}
    return violations + [
        (member, reason) for member in conditions.emptied_members(requested, left, begins) if member not in reported
    ]


async def _recipient(tx: Transaction, reference: str, place: int) -> str:
    query = select(Recipient.id).where((Recipient.id == reference) | (Recipient.id == id_of("recipients", reference)))
    recipient = await tx.scalar(query)
    if recipient is None:
        raise Invalid(
            "A recipient is unknown.",
            errors=[(f"/conditions/recipients/{place}", "No recipient has this id or key.")],
        )
    return recipient


def _extent(transfer: Transfer) -> Extent:
    return Extent(
        quota=Count(transfer.persons, transfer.sensitive_persons),
        fields=None if transfer.fields is None else tuple(transfer.fields),
        systems=None if transfer.systems is None else tuple(transfer.systems),
        recipients=(transfer.recipient,),
        valid_from=transfer.valid_from,
        valid_until=transfer.valid_until,
    )


def _record_review(
    tx: Transaction,
    caller: Caller,
    transfer: Transfer,
    revision: Revision,
    body: ReviewIn,
    stored_conditions: dict[str, Any] | None,
    behalf: str | None,
    carried: Review | None,
) -> Review:
    row = Review(
        id=new_id("rv"),
        transfer=transfer.id,
        revision=revision.number,
        hash=revision.hash,
        stage=body.stage,
        decision=body.decision,
        comment=body.comment,
        conditions=stored_conditions,
        reviewer=caller.principal,
        on_behalf_of=behalf,
        persons=caller.acting(behalf),
        carried_from=None if carried is None else carried.id,
        at=tx.now,
        terms_accepted_by=None,
        terms_accepted_at=None,
        taken_back_at=None,
        taken_back_by=None,
        taken_back_reason=None,
    )
    tx.add(row)
    return row


async def _apply_outcome(
    tx: Transaction, caller: Caller, transfer: Transfer, stages: Sequence[RevisionStage], outcome: Outcome
) -> None:
    """Write the statuses of an outcome, and notify the reviewers of a stage that opens."""
    transfer.status, transfer.updated_at = outcome.status, tx.now
    next_stage: RevisionStage | None = None
    for stage, status in zip(stages, outcome.stages, strict=True):
        if status is StageStatus.OPEN and stage.status != StageStatus.OPEN:
            stage.opened_at, stage.reminded_at, stage.escalated_at = tx.now, None, None
            next_stage = stage
        stage.status = status
    transfer.open_stage = next((stage.name for stage in stages if stage.status == StageStatus.OPEN), None)
    await tx.flush()
    if next_stage is not None:
        await notifications.notify_stage_reviewers(tx, caller, transfer, next_stage)


async def _issue_permit(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    case: Case,
    revision: Revision,
    stages: Sequence[RevisionStage],
) -> None:
    """Issue the permit and open its obligations, by the law, the count and the evidence of now."""
    transfer = case.transfer
    approved = Outcome(Status.APPROVED, tuple(StageStatus.APPROVED for _ in stages))
    await _apply_outcome(tx, caller, transfer, stages, approved)
    today = day_in_shanghai(tx.now)
    legal = determine_case(case, today, book)
    reviewed = frozenset(Mechanism(r["mechanism"]) for r in revision.determination["requirements"])
    names = {stage.name for stage in stages}
    missing_stages = [str(stage) for stage in workflow.stages_for(legal.determination) if stage not in names]
    if missing_stages or not covers(reviewed, legal.determination):
        and_stages = f" and the stages {', '.join(missing_stages)}" if missing_stages else ""
        raise DeterminationChanged(
            f"The law now asks for {legal.determination.mechanism}{and_stages}; this revision was reviewed for "
            f"{revision.determination['mechanism']}. Return it, so that it is submitted again.",
            determination=legal.document,
        )
    required = [kind.code for kind in legal.determination.evidence]
    filed = await evidence_of(tx, transfer, book)
    denials = {item.id: await evidence.rest_on_denial(tx, transfer, item.id) for item in filed if item.kind in required}
    usable = [item for item in filed if denials.get(item.id) is None]
    check = workflow.check_evidence(required, usable, today, transfer.valid_from, scope_of(transfer))
    if check.missing:
        denial_by_kind = {item.kind: denial for item in filed if (denial := denials.get(item.id)) is not None}
        raise EvidenceMissing(
            f"The permit needs: {', '.join(check.missing)}. Add it to the transfer, then approve again.",
            errors=[(f"/evidence/{kind}", denial_by_kind.get(kind, reason)) for kind, reason in check.missing.items()],
            missing_evidence=list(check.missing),
        )
    await _require_filed_by_others(tx, transfer, check.evidence)
    scope = await _scope(tx, book, case, revision, legal, check)
    issued = await permits.issue(tx, caller, scope)
    await _open_obligations(tx, caller, book, transfer, issued.id, check.evidence, usable, legal.determination, case)
    if scope.supersedes is not None:
        begins = max(scope.valid_from, today)
        await permits.supersede(
            tx, caller, scope.supersedes, issued.id, begins=begins, submitted_at=revision.submitted_at
        )


async def _require_filed_by_others(tx: Transaction, transfer: Transfer, items: Iterable[EvidenceItem]) -> None:
    """Refuse a permit that would rest on evidence filed by a reviewer of a stage."""
    # The required kinds may have changed since the evidence was filed, so the check at filing is not enough.
    query = select(Evidence.kind, Evidence.added_by, Evidence.added_persons).where(
        Evidence.id.in_([item.id for item in items])
    )
    decided = (await exclusions_of(tx, transfer)).earlier
    for kind, added_by, added_persons in (await tx.execute(query)).all():
        if not persons.are_two(decided, await directory.persons_of(tx, (added_by, added_persons))):
            raise EvidenceMissing(
                f"The person who filed {kind} has decided a stage of this request. Let another person file it, then approve again.",
                errors=[(f"/evidence/{kind}", "It was filed by a person who has decided a stage.")],
                missing_evidence=[kind],
            )


async def _scope(
    tx: Transaction,
    book: RuleBook,
    case: Case,
    revision: Revision,
    legal: CaseDetermination,
    check: workflow.EvidenceCheck,
) -> Scope:
    transfer = case.transfer
    current = sorted(await reviews_of(tx, transfer), key=lambda approval: approval.id)
    tied_conditions = [
        (approval.stage, Conditions.of(approval.conditions), approval.conditions)
        for approval in current
        if approval.conditions is not None
    ]
    begins = max(transfer.valid_from, day_in_shanghai(tx.now))
    extent = conditions.narrow(_extent(transfer), [condition for _, condition, _ in tied_conditions], begins)
    if emptied := conditions.emptied_members(_extent(transfer), extent, begins):
        raise Conflict(
            f"The conditions of the approvals leave nothing to permit ({', '.join(emptied)}). Return the request."
        )
    return Scope(
        transfer=transfer.id,
        revision=revision.hash,
        handler=transfer.handler,
        datasets=[
            BoundDataset(
                id=d.id,
                tags=d.tags or [],
                grading=d.grading or 0,
                fields=[field["name"] for field in d.fields],
                facts=d.facts,
            )
            for d in case.datasets
        ],
        recipient=transfer.recipient,
        purpose=transfer.purpose,
        fields=None if extent.fields is None else list(extent.fields),
        systems=None if extent.systems is None else list(extent.systems),
        quota=extent.quota,
        valid_from=transfer.valid_from,
        valid_until=min([extent.valid_until, *([] if check.ends_on is None else [check.ends_on])]),
        mechanism=legal.determination.mechanism,
        requirements=sorted({str(r.mechanism) for r in legal.determination.requirements}),
        route=_settled_route(transfer, legal),
        claims={name: getattr(transfer, name) for name in ("method", "necessity", "legal_basis")}
        | {
            "recipient": case.recipient_facts,
            "recipient_name": case.recipient.name,
            "handler": case.handler.facts,
            "papers": sorted(legal.determination.evidence_kinds),
        },
        evidence=[item.id for item in check.evidence],
        receipt_due_on=_receipt_due_on(book, check.evidence),
        conditions=[{"stage": stage, **(stored or {})} for stage, _, stored in tied_conditions],
        supersedes=await renewed_permit_of(tx, transfer),
    )


def _settled_route(transfer: Transfer, legal: CaseDetermination) -> str | None:
    """Return the route of the permit: the chosen one if it is still offered, otherwise the first one offered."""
    routes = [str(route) for route in legal.determination.routes]
    return transfer.route if transfer.route in routes else next(iter(routes), None)


def _receipt_deadline(book: RuleBook, items: Sequence[EvidenceItem]) -> obligation_rules.Due | None:
    """Return the deadline of the filing receipt; None: no evidence requires one. Source: SCM art. 7."""
    due = [
        obligation_rules.after_working_days(item.issued_on, follow_up.working_days)
        for item in items
        if (follow_up := book.follow_up_of(item.kind, item.issued_on)) is not None
    ]
    return min(due, key=lambda deadline: deadline.on, default=None)


def _receipt_due_on(book: RuleBook, items: Sequence[EvidenceItem]) -> date | None:
    due = _receipt_deadline(book, items)
    return None if due is None else due.on


async def _open_obligations(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer: Transfer,
    permit: str,
    rests_on: Sequence[EvidenceItem],
    items: Sequence[EvidenceItem],
    determination: Determination,
    case: Case,
) -> None:
    """Open the obligations that follow from a permit, and settle those that evidence fulfils already."""
    today = day_in_shanghai(tx.now)
    owned = {"handler": transfer.handler, "transfer": transfer.id, "permit": permit, "owner": transfer.requester}
    filing = _receipt_deadline(book, rests_on)
    if filing is not None:
        await obligations.open_duty(tx, caller, Code.FILE_STANDARD_CONTRACT, filing, **owned)
        receipts = workflow.check_evidence(["filing_receipt"], items, today, transfer.valid_from)
        future = [
            item for item in items if item.kind == "filing_receipt" and item.issued_on > today and item.is_trusted
        ]
        for item in [*receipts.evidence, *future]:
            await obligations.settle(tx, caller, transfer.id, item.kind, item.id, item.ends_on, item.issued_on)
    for item in rests_on:
        if item.kind == obligation_rules.SETTLED_BY[Code.RENEW_ASSESSMENT] and item.ends_on is not None:
            deadline = obligation_rules.before_end(item.ends_on, obligation_rules.EXTENSION_WORKING_DAYS)
            await obligations.open_duty(tx, caller, Code.RENEW_ASSESSMENT, deadline, **owned)
    required = {obligation.code for obligation in determination.obligations}
    tags = {tag for dataset in case.datasets for tag in dataset.tags or ()}
    if (
        str(Code.ANNUAL_RISK_REPORT) in required
        and obligation_rules.is_reported_yearly(tags)
        and not await has_open(tx, Code.ANNUAL_RISK_REPORT, handler=transfer.handler)
    ):
        deadline = obligation_rules.Due(obligation_rules.a_year_after(today))
        await obligations.open_duty(
            tx, caller, Code.ANNUAL_RISK_REPORT, deadline, handler=transfer.handler, owner=transfer.requester
        )
