"""Reviews, and what the last approval does: it looks at the law, the count and the papers of that moment, and issues the permit."""

from collections.abc import Sequence
from datetime import date, timedelta

from service.audit import operations as audit
from service.database import Transaction, new_id
from service.http.caller import Caller, Role
from service.http.problems import Conflict, Forbidden
from service.law.calendar import CalendarNotCovered, day_in_shanghai, working_days_after
from service.law.determination import Mechanism, covers
from service.law.facts import Count
from service.law.rules import RuleBook
from service.permits import operations as permits
from service.permits.schemas import Scope
from service.transfers import workflow
from service.transfers.case import Case, Finding, case_of, find
from service.transfers.reading import (
    demand_status,
    papers_of,
    reviewers_of,
    shown_of,
    stages_of,
    transfer_of,
)
from service.transfers.schemas import (
    ReviewIn,
    TransferOut,
)
from service.transfers.tables import Review, Revision, RevisionStage, Transfer
from service.transfers.workflow import Decision, Paper, Stage, StageStatus, Status


class RevisionMoved(Conflict):
    """The review is of another content than the one that stands."""

    slug, title = "revision-moved", "The request is no longer what was reviewed"


class EvidenceMissing(Conflict):
    """The last approval, while papers are missing or out of date."""

    slug, title = "evidence-missing", "Evidence is missing or out of date"


class DeterminationMoved(Conflict):
    """The law asks for more than the stages that were set."""

    slug, title = "determination-moved", "The law asks for more than this revision was reviewed for"


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
    earlier = await reviewers_of(tx, transfer)
    bar = workflow.bar_to_review(
        caller.principal, is_person=caller.kind == "person", authors=transfer.authors, earlier=earlier
    )
    if bar is not None:
        raise Forbidden(bar)
    demand_status(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")
    stages = await stages_of(tx, transfer)
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
    return await shown_of(tx, transfer, book)


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
    stages = {stage.name for stage in await stages_of(tx, transfer)}
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


async def _check(tx: Transaction, book: RuleBook, transfer: Transfer, finding: Finding, today: date) -> workflow.Check:
    needed = [item.code for item in finding.determination.evidence]
    return workflow.check_evidence(needed, await papers_of(tx, transfer, book), today, transfer.valid_from)
