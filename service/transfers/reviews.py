"""Reviews, and what the last approval does: it looks at the law, the count and the papers of that moment, and issues the permit."""

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
    """The review is of another content than the one that stands."""

    slug, title = "revision-moved", "The request is no longer what was reviewed"


class EvidenceMissing(Conflict):
    """The last approval, while papers are missing or out of date."""

    slug, title = "evidence-missing", "Evidence is missing or out of date"


class DeterminationChanged(Conflict):
    """The law asks for more than the stages that were set."""

    slug, title = "determination-moved", "The law asks for more than this revision was reviewed for"


class TermsPending(Conflict):
    """The requester has not accepted the terms of an earlier approval."""

    slug, title = "terms-pending", "Terms wait for the requester's acceptance"


PERMIT_REFUSALS = (EvidenceMissing, DeterminationChanged, permits.PredecessorRevoked)
"""Why the last approval may be refused after everything that it looked at was found."""


class InputsChanged(Conflict):
    """An approval cannot be carried over, since what it decided on has changed."""

    slug, title = "inputs-changed", "What this approval decided on has changed"


async def review(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: ReviewIn) -> Transfer:
    """Decide the open stage of the revision that the reviewer has seen; the last approval issues the permit.

    Raises:
        Forbidden: not this stage's reviewer, or barred by the separation of duties.
        Conflict: not in review, or the stage is not the open one.
        Invalid: conditions that go beyond the request.
        TermsPending: terms of an earlier approval wait to be accepted.
        RevisionMoved: the content is no longer the one that was seen.
        EvidenceMissing: at the last approval.
        DeterminationMoved: at the last approval, when the law has come to ask for more.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    return await _decide(tx, caller, book, transfer, wanted)


async def carry_over(
    tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, review_id: str, wanted: CarryIn
) -> Transfer:
    """Confirm that an approval of an earlier revision holds for the one that stands: by the same reviewer, on unchanged inputs.

    Raises:
        Forbidden: somebody else's approval.
        Conflict: no approval of an earlier revision, or what `review` raises.
        InputsChanged: what the stage decides on is no longer the same.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    given = await _review_of(tx, transfer, review_id)
    if given.reviewer != caller.principal:
        raise Forbidden("Only whoever gave an approval can carry it over.")
    now = await _revision(tx, transfer)
    if given.decision != Decision.APPROVE or given.taken_back_at is not None or given.revision >= now.number:
        raise Conflict("Only an approval of an earlier revision that was not taken back can be carried over.")
    then = await tx.get_one(Revision, (transfer.id, given.revision))
    changed = changed_inputs(Stage(given.stage), then, now)
    if changed:
        raise InputsChanged(
            f"The stage {given.stage} decides on {', '.join(changed)}, which changed since. Review the request again.",
            changed=changed,
        )
    again = ReviewIn(
        stage=Stage(given.stage),
        decision=Decision.APPROVE,
        revision=wanted.revision,
        comment=wanted.comment or given.comment,
    )
    return await _decide(tx, caller, book, transfer, again, carried=given)


async def take_back(tx: Transaction, caller: Caller, transfer_id: str, review_id: str, wanted: TakeBackIn) -> Transfer:
    """Take an approval back before the permit is issued: the stage is open again, and the approval stays on record as taken back.

    Raises:
        Forbidden: somebody else's approval.
        Conflict: the permit is out (suspend it instead), or it is no approval of the revision that stands.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    given = await _review_of(tx, transfer, review_id)
    if caller.principal not in {given.reviewer, given.on_behalf_of}:
        raise Forbidden("Only whoever gave an approval, or on whose behalf it was given, can take it back.")
    if transfer.status == Status.APPROVED:
        raise Conflict("The permit has been issued; suspend it, and have it revoked.")
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "changed")
    if given.revision != transfer.revision or given.decision != Decision.APPROVE or given.taken_back_at is not None:
        raise Conflict("Only a standing approval of the revision in review can be taken back.")
    given.taken_back_at, given.taken_back_by, given.taken_back_reason = tx.now, caller.principal, wanted.reason
    await tx.flush()
    stages = await stages_of(tx, transfer)
    place = next(place for place, stage in enumerate(stages) if stage.name == given.stage)
    terms = pending_terms(await reviews_of(tx, transfer))
    outcome = workflow.reopen_stage(place, [StageStatus(stage.status) for stage in stages], has_terms=bool(terms))
    details = {
        "review": given.id,
        "stage": given.stage,
        "revision": given.revision,
        "reason": wanted.reason,
        "status": outcome.status,
    }
    behalf = given.on_behalf_of if caller.principal == given.reviewer else None
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_APPROVAL_TAKEN_BACK, transfer, details, reason=wanted.reason, on_behalf_of=behalf
        ),
    )
    await _apply_outcome(tx, caller, transfer, stages, outcome)
    await tx.flush()
    return transfer


async def accept_terms(tx: Transaction, caller: Caller, book: RuleBook, transfer_id: str, wanted: AcceptIn) -> Transfer:
    """Accept the terms that approvals are tied to: the next stage opens, or the permit is issued.

    Raises:
        Conflict: no terms wait.
        Forbidden: the caller has decided a stage.
        RevisionMoved: of another revision than the one that stands.
        EvidenceMissing, DeterminationMoved: where this was all that the permit waited for.
    """
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    caller.demand(REQUESTERS, transfer.handler, what="transfer")
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "accepted")
    revision = await _revision(tx, transfer)
    _require_hash(wanted.revision, revision)
    given = await reviews_of(tx, transfer)
    bars = await exclusions_of(tx, transfer)
    if not persons.are_two(caller.persons, bars.earlier):
        raise Forbidden(
            "You have decided a stage of this request, or have made or seen the key by which it was done; the requester must accept "
            "the terms."
        )
    await require_may_write(tx, caller, transfer)
    waiting = pending_terms(given)
    if not waiting:
        raise Conflict("No terms wait to be accepted.")
    for one in given:
        if Conditions.of(one.conditions).terms and one.terms_accepted_at is None:
            one.terms_accepted_by, one.terms_accepted_at = caller.principal, tx.now
            one.terms_accepted_persons = caller.acting()
    await add_author(tx, caller, transfer)
    stages = await stages_of(tx, transfer)
    outcome = workflow.open_next_stage([StageStatus(stage.status) for stage in stages], has_terms=False)
    details = {"revision": revision.number, "hash": revision.hash, "terms": waiting, "status": outcome.status}
    events.record(
        tx,
        caller,
        notifications.change_of(AuditAction.TRANSFER_TERMS_ACCEPTED, transfer, details, audience=parties_of(given)),
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
    """Raise the findings that a refused approval came upon: that one left nothing behind."""
    transfer = await transfer_of(tx, caller, transfer_id, lock=True)
    if transfer.status == Status.IN_REVIEW:
        await structuring_findings.raise_findings(tx, caller, book, transfer)


async def _decide(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer: Transfer,
    wanted: ReviewIn,
    *,
    carried: Review | None = None,
) -> Transfer:
    role = frozenset({Role(wanted.stage.role)})
    caller.demand(role, transfer.handler, what="transfer")
    given = await reviews_of(tx, transfer)
    behalf = await _behalf(tx, caller, transfer, role)
    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")
    stages = await stages_of(tx, transfer)
    revision = await _revision(tx, transfer)
    _require_hash(wanted.revision, revision)
    place = _open_place(stages, wanted.stage, pending_terms(given))
    case = await case_of(tx, transfer)
    if wanted.decision is Decision.APPROVE:
        _require_unchanged(revision, case)
        await structuring_findings.raise_findings(tx, caller, book, transfer)
    tied = await _conditions(tx, case, wanted.conditions, given)
    if carried is not None:
        tied = carried.conditions
        _require_fitting(tx, case, tied, given)
    terms = bool(Conditions.of(tied).terms)
    made = _record_review(tx, caller, transfer, revision, wanted, tied, behalf, carried)
    outcome = workflow.apply_decision(
        wanted.decision, place, [StageStatus(stage.status) for stage in stages], has_terms=terms
    )
    details = {
        "review": made.id,
        "stage": wanted.stage,
        "decision": wanted.decision,
        "comment": wanted.comment,
        "conditions": tied,
        "revision": revision.number,
        "hash": revision.hash,
        "carried_from": made.carried_from,
        "status": outcome.status,
    }
    events.record(
        tx,
        caller,
        notifications.change_of(
            AuditAction.TRANSFER_REVIEWED,
            transfer,
            details,
            reason=wanted.comment or None,
            audience=parties_of(given),
            on_behalf_of=behalf,
        ),
    )
    if outcome.status is Status.APPROVED:
        stages[place].status = StageStatus.APPROVED
        await _issue_permit(tx, caller, book, case, revision, stages)
    else:
        await _apply_outcome(tx, caller, transfer, stages, outcome)
    if outcome.status is Status.REJECTED:
        transfer.reason = wanted.comment
        await obligations.void_of_transfer(tx, caller, transfer.id, "The request was rejected.")
    await tx.flush()
    return transfer


async def _behalf(tx: Transaction, caller: Caller, transfer: Transfer, role: frozenset[Role]) -> str | None:
    """Return on whose behalf the caller reviews, None for their own; or refuse whom the separation of duties bars."""
    barred = await exclusions_of(tx, transfer)
    bars: list[str] = []
    for behalf in caller.lenders(role, transfer.handler) or (None,):
        bar = workflow.review_denial(
            caller.principal,
            is_person=caller.kind == "person",
            seen_by=caller.seen_by,
            authors=barred.authors,
            earlier=barred.earlier,
            recused=barred.recused,
            filed=barred.filed,
            behalf=behalf,
        )
        if bar is None:
            return behalf
        bars.append(bar)
    raise Forbidden(bars[0])


def _open_place(stages: Sequence[RevisionStage], wanted: Stage, waiting: Sequence[str]) -> int:
    for place, stage in enumerate(stages):
        if stage.status == StageStatus.OPEN and stage.name == wanted:
            return place
    if waiting:
        raise TermsPending("The requester must accept the terms of an earlier approval first.", terms=list(waiting))
    now = next((stage.name for stage in stages if stage.status == StageStatus.OPEN), "none")
    raise Conflict(f"The stage {wanted} is not open; the open one is {now}.")


def _require_hash(seen: str, revision: Revision) -> None:
    if seen != revision.hash:
        raise RevisionChanged(
            "There is another revision than the one you have seen; read the request again.",
            errors=[("/revision", "This is not the hash of the revision that stands.")],
            revision={"number": revision.number, "hash": revision.hash},
        )


def _require_unchanged(revision: Revision, case: Case) -> None:
    if not case.is_still(revision.content, revision.hash):
        raise RevisionChanged(
            "The register has changed since the request was submitted (a grading, or facts or the name of the handler, a dataset "
            "or the recipient). The requester must submit it again.",
            errors=[("/revision", "The content has moved since this revision.")],
        )


async def _revision(tx: Transaction, transfer: Transfer) -> Revision:
    revision = await tx.get(Revision, (transfer.id, transfer.revision))
    if revision is None:
        raise Conflict("This transfer is a draft; it must be submitted before it can be reviewed.")
    return revision


async def _review_of(tx: Transaction, transfer: Transfer, review_id: str) -> Review:
    given = await tx.get(Review, review_id)
    if given is None or given.transfer != transfer.id:
        raise NotFound("There is no such review.")
    return given


async def _conditions(
    tx: Transaction, case: Case, wanted: ConditionsIn | None, given: Iterable[Review]
) -> dict[str, Any] | None:
    """Return conditions as they are stored, recipients as ids.

    Raises:
        Invalid: they go beyond the request, or would leave nothing of it, by themselves or with those of earlier approvals.
    """
    if wanted is None:
        return None
    stored = wanted.model_dump(mode="json", exclude_none=True)
    if wanted.recipients is not None:
        stored["recipients"] = [
            await _recipient(tx, reference, place) for place, reference in enumerate(wanted.recipients)
        ]
    faults = _faults(tx, case, Conditions.of(stored), given)
    if faults:
        raise Invalid(
            "A condition can only narrow what is asked for.",
            errors=[(f"/conditions/{member}", reason) for member, reason in faults],
        )
    return stored


def _require_fitting(tx: Transaction, case: Case, tied: dict[str, Any] | None, given: Iterable[Review]) -> None:
    """Refuse to carry over an approval whose conditions do not fit the request as it is now: its stage may not look at all of it."""
    faults = _faults(tx, case, Conditions.of(tied), given)
    if faults:
        members = [member for member, _ in faults]
        raise InputsChanged(
            f"The conditions of this approval no longer fit the request ({', '.join(members)}). Review it again.",
            changed=members,
        )


def _faults(tx: Transaction, case: Case, condition: Conditions, given: Iterable[Review]) -> list[tuple[str, str]]:
    asked = _extent(case.transfer)
    begins = max(asked.valid_from, day_in_shanghai(tx.now))
    registered = [field["name"] for dataset in case.datasets for field in dataset.fields]
    found = conditions.faults(condition, asked, registered)
    left = conditions.narrow(asked, [*(Conditions.of(one.conditions) for one in given), condition], begins)
    reason = "With this, and the conditions of earlier approvals, nothing would be left. Return or reject the request instead."
    told = {member for member, _ in found}
    return found + [
        (member, reason) for member in conditions.emptied_members(asked, left, begins) if member not in told
    ]


async def _recipient(tx: Transaction, reference: str, place: int) -> str:
    query = select(Recipient.id).where((Recipient.id == reference) | (Recipient.id == id_of("recipients", reference)))
    found = await tx.scalar(query)
    if found is None:
        raise Invalid(
            "A recipient is not known.",
            errors=[(f"/conditions/recipients/{place}", "No recipient has this id or key.")],
        )
    return found


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
    wanted: ReviewIn,
    tied: dict[str, Any] | None,
    behalf: str | None,
    carried: Review | None,
) -> Review:
    given = Review(
        id=new_id("rv"),
        transfer=transfer.id,
        revision=revision.number,
        hash=revision.hash,
        stage=wanted.stage,
        decision=wanted.decision,
        comment=wanted.comment,
        conditions=tied,
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
    tx.add(given)
    return given


async def _apply_outcome(
    tx: Transaction, caller: Caller, transfer: Transfer, stages: Sequence[RevisionStage], outcome: Outcome
) -> None:
    """Set the states that a decision leads to, and tell those whom a stage now waits for."""
    transfer.status, transfer.updated_at = outcome.status, tx.now
    opened: RevisionStage | None = None
    for stage, status in zip(stages, outcome.stages, strict=True):
        if status is StageStatus.OPEN and stage.status != StageStatus.OPEN:
            stage.opened_at, stage.reminded_at, stage.escalated_at = tx.now, None, None
            opened = stage
        stage.status = status
    transfer.open_stage = next((stage.name for stage in stages if stage.status == StageStatus.OPEN), None)
    await tx.flush()
    if opened is not None:
        await notifications.notify_opened(tx, caller, transfer, opened)


async def _issue_permit(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    case: Case,
    revision: Revision,
    stages: Sequence[RevisionStage],
) -> None:
    """Issue the permit and open its duties, on the law, the count and the papers of this moment."""
    transfer = case.transfer
    approved = Outcome(Status.APPROVED, tuple(StageStatus.APPROVED for _ in stages))
    await _apply_outcome(tx, caller, transfer, stages, approved)
    today = day_in_shanghai(tx.now)
    finding = determine_case(case, today, book)
    reviewed = frozenset(Mechanism(r["mechanism"]) for r in revision.determination["requirements"])
    names = {stage.name for stage in stages}
    more = [str(stage) for stage in workflow.stages_for(finding.determination) if stage not in names]
    if more or not covers(reviewed, finding.determination):
        stages_too = f" and the stages {', '.join(more)}" if more else ""
        raise DeterminationChanged(
            f"The law now asks for {finding.determination.mechanism}{stages_too}; this revision was reviewed for "
            f"{revision.determination['mechanism']}. Return it, so that it is submitted again.",
            determination=finding.document,
        )
    needed = [item.code for item in finding.determination.evidence]
    known = await evidence_of(tx, transfer, book)
    bars = {paper.id: await evidence.rest_on_denial(tx, transfer, paper.id) for paper in known if paper.kind in needed}
    papers = [paper for paper in known if bars.get(paper.id) is None]
    check = workflow.check_evidence(needed, papers, today, transfer.valid_from, scope_of(transfer))
    if check.missing:
        barred = {paper.kind: bar for paper in known if (bar := bars.get(paper.id)) is not None}
        raise EvidenceMissing(
            f"The permit needs: {', '.join(check.missing)}. Add it to the transfer, then approve again.",
            errors=[(f"/evidence/{kind}", barred.get(kind, reason)) for kind, reason in check.missing.items()],
            missing_evidence=list(check.missing),
        )
    await _require_filed_by_others(tx, transfer, check.evidence)
    scope = await _scope(tx, book, case, revision, finding, check)
    issued = await permits.issue(tx, caller, scope)
    await _open_duties(tx, caller, book, transfer, issued.id, check.evidence, papers, finding.determination, case)
    if scope.supersedes is not None:
        begins = max(scope.valid_from, today)
        await permits.supersede(tx, caller, scope.supersedes, issued.id, begins=begins, asked_at=revision.submitted_at)


async def _require_filed_by_others(tx: Transaction, transfer: Transfer, papers: Iterable[EvidenceItem]) -> None:
    """Refuse to rest a permit on papers of whoever decided a stage: what is asked for may have changed since they filed it."""
    filed = select(Evidence.kind, Evidence.added_by, Evidence.added_persons).where(
        Evidence.id.in_([paper.id for paper in papers])
    )
    decided = (await exclusions_of(tx, transfer)).earlier
    for kind, added_by, added_persons in (await tx.execute(filed)).all():
        if not persons.are_two(decided, await directory.persons_of(tx, (added_by, added_persons))):
            raise EvidenceMissing(
                f"Whoever filed {kind} has decided a stage of this request. Let somebody else file it, then approve again.",
                errors=[(f"/evidence/{kind}", "It was filed by somebody who has decided a stage.")],
                missing_evidence=[kind],
            )


async def _scope(
    tx: Transaction,
    book: RuleBook,
    case: Case,
    revision: Revision,
    finding: CaseDetermination,
    check: workflow.EvidenceCheck,
) -> Scope:
    transfer = case.transfer
    given = sorted(await reviews_of(tx, transfer), key=lambda one: one.id)
    tied = [(one.stage, Conditions.of(one.conditions), one.conditions) for one in given if one.conditions is not None]
    begins = max(transfer.valid_from, day_in_shanghai(tx.now))
    extent = conditions.narrow(_extent(transfer), [condition for _, condition, _ in tied], begins)
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
        mechanism=finding.determination.mechanism,
        requirements=sorted({str(r.mechanism) for r in finding.determination.requirements}),
        route=_settled_route(transfer, finding),
        claims={name: getattr(transfer, name) for name in ("method", "necessity", "legal_basis")}
        | {
            "recipient": case.recipient_facts,
            "recipient_name": case.recipient.name,
            "handler": case.handler.facts,
            "papers": sorted(finding.determination.evidence_kinds),
        },
        evidence=[paper.id for paper in check.evidence],
        receipt_due_on=_receipt_due_on(book, check.evidence),
        conditions=[{"stage": stage, **(stored or {})} for stage, _, stored in tied],
        supersedes=await renewed_permit_of(tx, transfer),
    )


def _settled_route(transfer: Transfer, finding: CaseDetermination) -> str | None:
    """Return the instrument that meets the strictest requirement: the one chosen, where it is still offered."""
    routes = [str(route) for route in finding.determination.routes]
    return transfer.route if transfer.route in routes else next(iter(routes), None)


def _receipt_deadline(book: RuleBook, papers: Sequence[EvidenceItem]) -> obligation_rules.Due | None:
    """Return the last day without a filing receipt. Source: SCM art. 7."""
    due = [
        obligation_rules.after_working_days(paper.issued_on, duty.working_days)
        for paper in papers
        if (duty := book.follow_up_of(paper.kind, paper.issued_on)) is not None
    ]
    return min(due, key=lambda one: one.on, default=None)


def _receipt_due_on(book: RuleBook, papers: Sequence[EvidenceItem]) -> date | None:
    due = _receipt_deadline(book, papers)
    return None if due is None else due.on


async def _open_duties(
    tx: Transaction,
    caller: Caller,
    book: RuleBook,
    transfer: Transfer,
    permit: str,
    rests_on: Sequence[EvidenceItem],
    papers: Sequence[EvidenceItem],
    determination: Determination,
    case: Case,
) -> None:
    """Write down the duties that follow from a permit."""
    today = day_in_shanghai(tx.now)
    owned = {"handler": transfer.handler, "transfer": transfer.id, "permit": permit, "owner": transfer.requester}
    filing = _receipt_deadline(book, rests_on)
    if filing is not None:
        await obligations.open_duty(tx, caller, Code.FILE_STANDARD_CONTRACT, filing, **owned)
        receipts = workflow.check_evidence(["filing_receipt"], papers, today, transfer.valid_from)
        ahead = [
            paper for paper in papers if paper.kind == "filing_receipt" and paper.issued_on > today and paper.is_trusted
        ]
        for paper in [*receipts.evidence, *ahead]:
            await obligations.settle(tx, caller, transfer.id, paper.kind, paper.id, paper.ends_on, paper.issued_on)
    for paper in rests_on:
        if paper.kind == obligation_rules.SETTLED_BY[Code.RENEW_ASSESSMENT] and paper.ends_on is not None:
            due = obligation_rules.before_end(paper.ends_on, obligation_rules.EXTENSION_WORKING_DAYS)
            await obligations.open_duty(tx, caller, Code.RENEW_ASSESSMENT, due, **owned)
    asked = {item.code for item in determination.obligations}
    tags = {tag for dataset in case.datasets for tag in dataset.tags or ()}
    if (
        str(Code.ANNUAL_RISK_REPORT) in asked
        and obligation_rules.is_reported_yearly(tags)
        and not await has_open(tx, Code.ANNUAL_RISK_REPORT, handler=transfer.handler)
    ):
        due = obligation_rules.Due(obligation_rules.a_year_after(today))
        await obligations.open_duty(
            tx, caller, Code.ANNUAL_RISK_REPORT, due, handler=transfer.handler, owner=transfer.requester
        )
