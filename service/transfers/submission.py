"""Submits a request as a revision: reads the facts once, decides on them, writes the result.

Example:
    facts = await queries.load_submission(tx, transfer, book)
    submission = decide_submission(facts, caller.persons, today, book)  # pure
    await write_submission(tx, caller, book, facts, submission)
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.events import operations as events
from service.law.mechanisms import Mechanism
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code, Due
from service.obligations.queries import has_open_for
from service.transfers import notifications, structuring_findings, workflow
from service.transfers.case import CaseDetermination, determine_case, require_route
from service.transfers.queries import SubmissionFacts, add_author, require_separate_writer
from service.transfers.tables import Revision, RevisionStage, Transfer
from service.transfers.workflow import StageStatus, Status
from service.validation.problems import Invalid


@dataclass(frozen=True, slots=True)
class Submission:
    """The decision on a submission: its determination, its stages and the state of its impact assessment."""

    legal: CaseDetermination
    stages: tuple[Stage, ...]
    """Empty: the law prohibits the transfer, so the request is rejected."""
    is_assessed: bool
    """True if the impact assessments on file cover the request as it is now."""
    has_outdated_assessment: bool
    """True if an impact assessment on file, also of the renewed request, was made for another purpose or scope."""


def decide_submission(facts: SubmissionFacts, persons: Collection[str], today: date, book: RuleBook) -> Submission:
    """Determine the mechanism of a submission and its stages. Pure.

    Args:
        facts: the facts that were read.
        persons: ids of the principals who could be the caller.
        today: day in Asia/Shanghai.
        book: the rules of law.

    Raises:
        Invalid: an ungraded dataset, contradicting facts, a route that is not offered, or no cross-border transfer.
        Forbidden: the caller has verified evidence of the request or answered a finding on it.
    """
    legal = determine_case(facts.case, today, book)
    require_route(facts.case, legal)
    if legal.determination.mechanism is Mechanism.NOT_CROSS_BORDER:
        raise Invalid(
            "Nothing crosses the border, so there is nothing to approve.",
            errors=[("/recipient", "The recipient is in mainland China.")],
        )
    require_separate_writer(facts.verifiers, persons)
    needed = [item.code for item in legal.determination.evidence if item.code in workflow.SCOPED_KINDS]
    begins, on_file = facts.case.transfer.valid_from, [*facts.renewed_evidence, *facts.evidence]
    for_any_scope = workflow.check_evidence(needed, on_file, today, begins)
    for_this_scope = workflow.check_evidence(needed, facts.evidence, today, begins, facts.scope)
    return Submission(
        legal=legal,
        stages=workflow.stages_for(legal.determination),
        is_assessed=not for_this_scope.missing,
        has_outdated_assessment=bool(for_this_scope.missing) and not for_any_scope.missing,
    )


async def write_submission(
    tx: Transaction, caller: Caller, book: RuleBook, facts: SubmissionFacts, submission: Submission
) -> None:
    """Write the next revision with its stages, notify the reviewers of the first, and raise findings of structuring."""
    transfer, today = facts.case.transfer, day_in_shanghai(tx.now)
    transfer.revision += 1
    await add_author(tx, caller, transfer)
    transfer.updated_at = tx.now
    revision = _revision(tx, caller, facts, submission)
    tx.add(revision)
    await tx.flush()
    stages = _stages(tx, revision, submission)
    tx.add_all(stages)
    if stages:
        transfer.status, transfer.reason, transfer.open_stage = Status.IN_REVIEW, None, submission.stages[0]
    else:
        explanation = submission.legal.document["explanation"]["en"]
        transfer.status, transfer.reason, transfer.open_stage = Status.REJECTED, explanation, None
    _record(tx, caller, transfer, revision, submission)
    await tx.flush()
    if stages:
        await notifications.notify_stage_reviewers(tx, caller, transfer, stages[0])
        await _renew_impact_assessment(tx, caller, transfer, submission, today)
        await structuring_findings.raise_findings(tx, caller, book, transfer)
    await tx.flush()


def _revision(tx: Transaction, caller: Caller, facts: SubmissionFacts, submission: Submission) -> Revision:
    case = facts.case
    return Revision(
        transfer=case.transfer.id,
        number=case.transfer.revision,
        hash=case.hash,
        content=audit.to_json_types(case.content),
        determination=submission.legal.document,
        gradings=[{"dataset": d.id, "number": d.grading, "tags": d.tags} for d in case.datasets],
        ledger={"persons": case.count.persons, "sensitive_persons": case.count.sensitive_persons},
        submitted_by=caller.principal,
        submitted_at=tx.now,
    )


def _stages(tx: Transaction, revision: Revision, submission: Submission) -> list[RevisionStage]:
    states = workflow.initial_stages(len(submission.stages))
    return [
        RevisionStage(
            transfer=revision.transfer,
            revision=revision.number,
            place=place,
            name=stage,
            status=status,
            opened_at=tx.now if status is StageStatus.OPEN else None,
            assignee=None,
            reminded_at=None,
            escalated_at=None,
        )
        for place, (stage, status) in enumerate(zip(submission.stages, states, strict=True))
    ]


def _record(tx: Transaction, caller: Caller, transfer: Transfer, revision: Revision, submission: Submission) -> None:
    determination = submission.legal.determination
    details = {
        "revision": revision.number,
        "hash": revision.hash,
        "mechanism": determination.mechanism,
        "rules_version": determination.rules_version,
        "policy": determination.policy,
        "requirements": [requirement.rule for requirement in determination.requirements],
        "stages": list(submission.stages),
        "status": transfer.status,
    }
    events.record(
        tx, caller, notifications.change_of(AuditAction.TRANSFER_SUBMITTED, transfer, details, reason=transfer.reason)
    )


async def _renew_impact_assessment(
    tx: Transaction, caller: Caller, transfer: Transfer, submission: Submission, today: date
) -> None:
    """Open the obligation to renew the impact assessment, or void it if one on file is valid. Source: PIPL art. 55, 56."""
    code = Code.RENEW_IMPACT_ASSESSMENT
    if submission.is_assessed:
        why = "Purpose and scope are what has been assessed."
        await obligations.void_of_transfer(tx, caller, transfer.id, why)
    if not submission.has_outdated_assessment or await has_open_for(tx, code, transfer.id):
        return
    owned = {"handler": transfer.handler, "transfer": transfer.id, "owner": transfer.requester}
    await obligations.open_duty(tx, caller, code, Due(max(transfer.valid_from, today)), **owned)
