"""Builds the audit entries and events of changes to transfers, and notifies the reviewers of a stage."""

from collections.abc import Collection
from typing import Any, Literal

from service.access import directory
from service.access.caller import Caller, Role
from service.access.directory import EligiblePerson
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.events import operations as events
from service.events.operations import Change
from service.law.stages import Stage
from service.transfers import workflow
from service.transfers.queries import exclusions_of
from service.transfers.tables import RevisionStage, Transfer


def change_of(
    action: AuditAction,
    transfer: Transfer,
    details: dict[str, Any],
    *,
    reason: str | None = None,
    audience: Collection[str] = (),
    link: str | None = None,
    method: Literal["GET", "POST"] = "GET",
    on_behalf_of: str | None = None,
) -> Change:
    """Return a change of a transfer, addressed to those who wrote the request and to an audience."""
    return Change(
        action=action,
        subject=transfer.id,
        handler=transfer.handler,
        details=details,
        link=link or f"/v1/transfers/{transfer.id}",
        method=method,
        audience={transfer.requester, *transfer.authors, *audience},
        reason=reason,
        figures=figures_of(transfer),
        on_behalf_of=on_behalf_of,
    )


def figures_of(transfer: Transfer) -> dict[str, Any]:
    """Return the figures of a request for its readers."""
    return {
        "purpose": transfer.purpose,
        "datasets": transfer.datasets,
        "recipient": transfer.recipient,
        "fields": transfer.fields,
        "persons": transfer.persons,
        "sensitive_persons": transfer.sensitive_persons,
        "valid_from": transfer.valid_from,
        "valid_until": transfer.valid_until,
        "status": transfer.status,
    }


async def eligible_reviewers(tx: Transaction, transfer: Transfer, stage: Stage) -> list[EligiblePerson]:
    """Load the people who may decide a stage of a request now, with their own or a lent role; each once."""
    exclusions = await exclusions_of(tx, transfer, except_stage=stage)
    people = await directory.find_eligible_persons(tx, Role(stage.role), transfer.handler, day_in_shanghai(tx.now))
    allowed = [
        person
        for person in people
        if workflow.review_denial(
            person.principal,
            is_person=True,
            authors=exclusions.authors,
            earlier=exclusions.earlier,
            recused=exclusions.recused,
            filed=exclusions.filed,
            behalf=person.on_behalf_of,
        )
        is None
    ]
    by_principal: dict[str, EligiblePerson] = {}
    for person in allowed:
        by_principal.setdefault(person.principal, person)
    return list(by_principal.values())


async def notify_stage_reviewers(tx: Transaction, caller: Caller, transfer: Transfer, stage: RevisionStage) -> None:
    """Notify the assignee of an open stage, or all of its eligible reviewers if it has none."""
    people = [person.principal for person in await eligible_reviewers(tx, transfer, Stage(stage.name))]
    audience = [stage.assignee] if stage.assignee in people else people
    events.notify(
        tx,
        caller,
        Change(
            action=AuditAction.STAGE_OPENED,
            subject=transfer.id,
            handler=transfer.handler,
            audience=[person for person in audience if person is not None],
            figures=figures_of(transfer),
            details={"stage": stage.name, "revision": transfer.revision},
            link=f"/v1/transfers/{transfer.id}/reviews",
            method="POST",
        ),
    )
