"""The entry and the event of every change of a transfer, with what a reader needs to understand it and to act."""

from collections.abc import Collection
from typing import Any

from service.access import directory
from service.access.caller import Caller, Role
from service.access.directory import Entitled
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.events import operations as events
from service.transfers import workflow
from service.transfers.queries import bars_of
from service.transfers.tables import RevisionStage, Transfer
from service.transfers.workflow import Stage


def record(
    tx: Transaction,
    caller: Caller,
    action: str,
    transfer: Transfer,
    details: dict[str, Any],
    *,
    why: str | None = None,
    audience: Collection[str] = (),
    href: str | None = None,
    method: str = "GET",
    on_behalf_of: str | None = None,
) -> None:
    """Record a change of a transfer; those who wrote the request are told of every one."""
    events.record(
        tx,
        caller,
        action,
        transfer.id,
        handler=transfer.handler,
        details=details,
        audience={transfer.requester, *transfer.authors, *audience},
        why=why,
        how_much=how_much(transfer),
        href=href or f"/v1/transfers/{transfer.id}",
        method=method,
        on_behalf_of=on_behalf_of,
    )


def how_much(transfer: Transfer) -> dict[str, Any]:
    """Return what a request is about, in figures."""
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


async def eligible_reviewers(tx: Transaction, transfer: Transfer, stage: Stage) -> list[Entitled]:
    """Return who may decide a stage of a request now: the role, their own or lent, and nothing that bars them; each once."""
    barred = await bars_of(tx, transfer, but=stage)
    people = await directory.entitled(tx, Role(stage.role), transfer.handler, day_in_shanghai(tx.now))
    able = [
        person
        for person in people
        if workflow.review_denial(
            person.principal,
            is_person=True,
            authors=barred.authors,
            earlier=barred.earlier,
            recused=barred.recused,
            filed=barred.filed,
            behalf=person.on_behalf_of,
        )
        is None
    ]
    ways: dict[str, Entitled] = {}
    for person in able:
        ways.setdefault(person.principal, person)
    return list(ways.values())


async def tell_opened(tx: Transaction, caller: Caller, transfer: Transfer, stage: RevisionStage) -> None:
    """Tell those who may decide a stage that it waits for them, or its assignee alone."""
    people = [person.principal for person in await eligible_reviewers(tx, transfer, Stage(stage.name))]
    audience = [stage.assignee] if stage.assignee in people else people
    events.tell(
        tx,
        caller,
        "stage.opened",
        transfer.id,
        handler=transfer.handler,
        audience=[person for person in audience if person is not None],
        how_much=how_much(transfer),
        details={"stage": stage.name, "revision": transfer.revision},
        href=f"/v1/transfers/{transfer.id}/reviews",
        method="POST",
    )
