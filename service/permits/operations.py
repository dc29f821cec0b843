"""Operations on permits. Acts that end or suspend a permit close the gate."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from service.access import persons
from service.access.caller import OPERATOR, REVIEWERS, Caller, Role
from service.audit import operations as audit
from service.audit import recording
from service.audit.actions import AuditAction
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.law.facts import Count
from service.ledger.counting import Kind
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code
from service.permits import queries
from service.permits.queries import authors_of, parties_behind, permit_of
from service.permits.schemas import AmendIn, PermitOut, Scope
from service.permits.standing import Standing, is_within
from service.permits.tables import Permit, PermitDataset, PermitRow, SigningKey
from service.permits.tokens import Signer
from service.validation.problems import Conflict, Forbidden, Invalid

RESTORERS = frozenset({Role.LEGAL, Role.SECURITY})
AMENDERS = REVIEWERS | {Role.REQUESTER}
"""Roles that may narrow a permit, which never allows more."""


class PredecessorRevoked(Conflict):
    """The permit that a request renews was revoked while it was in review."""

    slug, title = "predecessor-revoked", "The permit that this renews has been revoked meanwhile"


class Wider(Conflict):
    """Raised for an amendment that would allow more."""

    slug, title = "wider-takes-a-new-transfer", "A permit can only be narrowed"


async def issue(tx: Transaction, caller: Caller, scope: Scope) -> Permit:
    """Issue the permit of an approved revision, in the transaction of the last approval."""
    permit = Permit(
        id=new_id("pm"),
        transfer=scope.transfer,
        revision=scope.revision,
        handler=scope.handler,
        recipient=scope.recipient,
        purpose=scope.purpose,
        fields=scope.fields,
        systems=scope.systems,
        persons=scope.quota.persons,
        sensitive_persons=scope.quota.sensitive_persons,
        sent_persons=0,
        sent_sensitive_persons=0,
        valid_from=scope.valid_from,
        valid_until=scope.valid_until,
        mechanism=scope.mechanism,
        requirements=list(scope.requirements),
        route=scope.route,
        claims=scope.claims,
        evidence=list(scope.evidence),
        receipt_due_on=scope.receipt_due_on,
        conditions=scope.conditions,
        supersedes=scope.supersedes,
        superseded_by=None,
        status=Standing.ACTIVE,
        reason=None,
        issued_at=tx.now,
        updated_at=tx.now,
    )
    tx.add(permit)
    await tx.flush()
    datasets = [
        PermitDataset(
            permit=permit.id,
            dataset=dataset.id,
            recipient=scope.recipient,
            tags=list(dataset.tags),
            grading=dataset.grading,
            fields=list(dataset.fields),
            facts=dataset.facts,
        )
        for dataset in scope.datasets
    ]
    tx.add_all(datasets)
    details = PermitOut.of(PermitRow(permit, datasets, Count()), day_in_shanghai(tx.now)).model_dump(mode="json")
    await _record(tx, caller, AuditAction.PERMIT_ISSUED, permit, details)
    await tx.flush()
    return permit


async def supersede(
    tx: Transaction, caller: Caller, old_id: str, new_id_: str, *, begins: date, submitted_at: datetime
) -> None:
    """Let a permit end with the day before its successor begins, so that there is no gap between them and no overlap.

    A suspended permit is followed by a suspended one: whoever may resume looks at it first.

    Args:
        tx: the transaction.
        caller: whose approval was the last.
        old_id: the permit.
        new_id_: its successor.
        begins: the first day of the successor.
        submitted_at: when the request for the successor was submitted as it was approved.

    Raises:
        PredecessorRevoked: it was revoked since then, which those who approved before did not know.
    """
    await close_gate(tx)
    old = await tx.get_one(Permit, old_id, with_for_update=True, populate_existing=True)
    if old.status == Standing.REVOKED and old.updated_at > submitted_at:
        raise PredecessorRevoked(
            f"The permit {old.id}, which this renews, has been revoked since the request was submitted. Return the request, so "
            "that all of its reviewers know.",
            permit=old.id,
        )
    if old.status == Standing.SUSPENDED:
        new = await tx.get_one(Permit, new_id_)
        why = f"The permit {old.id}, which it follows, is suspended: {old.reason or 'no reason was given'}"
        new.status, new.reason = Standing.SUSPENDED, why
        await _record(tx, caller, AuditAction.PERMIT_SUSPENDED, new, {"reason": why}, why=why)
    before: str | None = old.id
    while before is not None:
        ending = await tx.get_one(Permit, before, with_for_update=True, populate_existing=True)
        await _end_before(tx, caller, ending, new_id_, begins)
        before = ending.supersedes
    await tx.flush()


async def _end_before(tx: Transaction, caller: Caller, permit: Permit, successor: str, begins: date) -> None:
    """Let a permit end with the day before another begins, where it does not end earlier; its followers stand as they are."""
    last = begins - timedelta(days=1)
    if permit.superseded_by is not None and permit.valid_until <= last:
        return
    permit.superseded_by = permit.superseded_by or successor
    if permit.status != Standing.REVOKED:
        permit.valid_until = min(permit.valid_until, last)
    permit.updated_at = tx.now
    await _record(
        tx, caller, AuditAction.PERMIT_SUPERSEDED, permit, {"by": successor, "valid_until": permit.valid_until}
    )
    is_in_force = permit.valid_until >= day_in_shanghai(tx.now)
    why = f"The permit was superseded by {successor}."
    await obligations.void_of_permit(tx, caller, permit.id, why, is_in_force=is_in_force)


async def amend(tx: Transaction, caller: Caller, permit_id: str, body: AmendIn) -> Permit:
    """Narrow a permit at once: fewer persons, fields or systems, or an earlier end.

    Raises:
        Conflict: it has ended, or more has gone under it already.
        Wider: something would be widened.
    """
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.require(AMENDERS, permit.handler, noun="permit")
    (row,) = await queries.load_rows(tx, [permit])
    standing = row.standing(day_in_shanghai(tx.now))
    if standing in {Standing.REVOKED, Standing.EXPIRED}:
        raise Conflict(f"The permit is {standing}; there is nothing left to narrow.")
    changes = body.model_dump(exclude={"reason"}, exclude_none=True)
    allowed = {name: getattr(permit, name) for name in changes}
    if permit.fields is None and "fields" in changes:
        allowed["fields"] = sorted({name for dataset in row.datasets for name in dataset.fields}) or None
    wider = [
        (f"/{name}", f"It allows {_phrase(allowed[name])}; take less.")
        for name, value in changes.items()
        if not is_within(value, allowed[name])
    ]
    if wider:
        raise Wider(
            f"A permit is widened by a new transfer alone: POST /v1/transfers/{permit.transfer}/renew.",
            errors=wider,
            next={"href": f"/v1/transfers/{permit.transfer}/renew", "method": "POST"},
        )
    for name in ("persons", "sensitive_persons"):
        used = getattr(permit, f"sent_{name}") + getattr(row.reserved, name)
        if changes.get(name, used) < used:
            raise Conflict(
                "A permit cannot be narrowed below what has gone under it.",
                errors=[
                    (f"/{name}", f"{used} have been sent or reserved already; take that, and nothing more can go.")
                ],
            )
    yesterday = day_in_shanghai(tx.now) - timedelta(days=1)
    if changes.get("valid_until", yesterday) < yesterday:
        raise Conflict(
            "A permit cannot be made to have ended long ago: what has gone went under it.",
            errors=[("/valid_until", f"Choose {yesterday}, with which it ends at once, or a later day.")],
        )
    before = {name: getattr(permit, name) for name in changes}
    for name, value in changes.items():
        setattr(permit, name, value)
    permit.updated_at = tx.now
    details = {"before": before, "after": changes, "reason": body.reason}
    await _record(tx, caller, AuditAction.PERMIT_AMENDED, permit, details, why=body.reason)
    await tx.flush()
    return permit


def _phrase(value: object) -> str:
    if value is None:
        return "all of them"
    return ", ".join(str(member) for member in value) if isinstance(value, list) else str(value)


async def rest_on(tx: Transaction, caller: Caller, old: str, new: str, ends_on: date | None) -> list[str]:
    """Replace an evidence item of permits by its successor, and return the ids of the permits; no permit becomes valid for longer."""
    query = select(Permit).where(Permit.evidence.contains([old])).with_for_update()
    permits = (await tx.scalars(query)).all()
    for permit in permits:
        permit.evidence = [new if evidence == old else evidence for evidence in permit.evidence]
        if ends_on is not None:
            permit.valid_until = min(permit.valid_until, ends_on)
        permit.updated_at = tx.now
        details = {"replaced": old, "by": new, "valid_until": permit.valid_until}
        await _record(tx, caller, AuditAction.PERMIT_EVIDENCE_REPLACED, permit, details)
    await tx.flush()
    return [permit.id for permit in permits if permit.status != Standing.REVOKED]


async def suspend(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> Permit:
    """Stop a permit until it is resumed, and with it whatever is to follow it; any reviewer of the handler may.

    Raises:
        Invalid: by break-glass access, without a reason.
    """
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)
    _require_to_stop(caller, permit, REVIEWERS, reason)
    _require_in_time(tx, permit)
    await _set(tx, caller, permit, (Standing.ACTIVE,), Standing.SUSPENDED, reason, REVIEWERS)
    await _stop_followers(tx, caller, permit, REVIEWERS)
    return permit


async def resume(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> Permit:
    """Let a suspended permit hold again; legal or security may, save whoever wrote the request, of their own or by a lent role.

    Raises:
        Forbidden: not of legal or security, or an author.
    """
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.require(RESTORERS, permit.handler, noun="permit")
    if not persons.are_two(caller.acting(caller.behalf(RESTORERS, permit.handler)), await parties_behind(tx, permit)):
        raise Forbidden(
            "You are an author of the request behind this permit or have filed evidence that it rests on, or have made or seen the key by "
            "which it was done; somebody else must resume it."
        )
    await _set(tx, caller, permit, (Standing.SUSPENDED,), Standing.ACTIVE, reason, RESTORERS)
    return permit


async def revoke(tx: Transaction, caller: Caller, permit_id: str, reason: str) -> Permit:
    """End a permit for good, and suspend whatever is to follow it; legal or security may."""
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)
    _require_to_stop(caller, permit, RESTORERS, reason)
    _require_in_time(tx, permit)
    await _set(tx, caller, permit, (Standing.ACTIVE, Standing.SUSPENDED), Standing.REVOKED, reason, RESTORERS)
    await obligations.void_of_permit(tx, caller, permit.id, "The permit was revoked.")
    await _stop_followers(tx, caller, permit, RESTORERS)
    return permit


async def suspend_above_quota(
    tx: Transaction, caller: Caller, permit: Permit, export: str, sent: Mapping[Kind, int]
) -> None:
    """Suspend an active permit whose quota was exceeded; the gate is closed and the row of the permit is locked.

    Args:
        tx: the transaction of the report.
        caller: the reporting system.
        permit: the permit.
        export: the reported export.
        sent: lower bound of the persons sent, for each kind whose quota was exceeded.
    """
    if permit.status != Standing.ACTIVE:
        return
    excess = " and ".join(f"{went} {kind} of the {getattr(permit, kind)} that it allows" for kind, went in sent.items())
    why = f"More went under the permit than it allows: at least {excess}, with the report of {export}."
    permit.status, permit.reason, permit.updated_at = Standing.SUSPENDED, why, tx.now
    quota = {kind: getattr(permit, kind) for kind in sent}
    details = {"reason": why, "cause": "quota_exceeded", "export": export, "sent": dict(sent), "quota": quota}
    await _record(tx, caller, AuditAction.PERMIT_SUSPENDED, permit, details, why=why)
    await tx.flush()
    await _stop_followers(tx, caller, permit, AMENDERS)


async def _stop_followers(tx: Transaction, caller: Caller, stopped: Permit, roles: frozenset[Role]) -> None:
    """Suspend the permits that are to follow one that is stopped and have not begun: whoever may resume looks at each first."""
    why = f"The permit {stopped.id}, which it follows, was {stopped.status}: {stopped.reason or 'no reason was given'}"
    following, today = stopped.superseded_by, day_in_shanghai(tx.now)
    while following is not None:
        permit = await tx.get_one(Permit, following, with_for_update=True, populate_existing=True)
        if permit.valid_from > today and permit.status == Standing.ACTIVE:
            await _set(tx, caller, permit, (Standing.ACTIVE,), Standing.SUSPENDED, why, roles)
        following = permit.superseded_by


async def reckon_anew(tx: Transaction) -> None:
    """Recompute due days once a year's holidays are published, and the last days of the receipts that depend on them."""
    for obligation, before in await obligations.reckon_anew(tx, OPERATOR):
        if obligation.code == Code.FILE_STANDARD_CONTRACT and obligation.permit is not None:
            permit = await tx.get_one(Permit, obligation.permit, with_for_update=True)
            if permit.receipt_due_on == before:
                permit.receipt_due_on, permit.updated_at = obligation.due_on, tx.now


async def publish(tx: Transaction, signer: Signer) -> None:
    """Make a signing key's public half known to every replica."""
    row = {"kid": signer.kid, "jwk": signer.public, "created_at": tx.now}
    adding = insert(SigningKey).values(**row).on_conflict_do_nothing().returning(SigningKey.kid)
    if await tx.scalar(adding, execution_options=recording.REPORTED) is not None:
        recording.report_rows(tx, SigningKey.__table__, [row], is_insert=True)
        audit.append(tx, OPERATOR, AuditAction.SIGNING_KEY_PUBLISHED, "signing keys", details={"jwk": signer.public})


def _require_to_stop(caller: Caller, permit: Permit, roles: frozenset[Role], reason: str | None) -> None:
    """Let those stop a permit whose role it is, and by break-glass access those who say why."""
    if caller.reaches(roles, permit.handler) or not caller.may_stop(permit.handler):
        caller.require(roles, permit.handler, noun="permit")
    elif reason is None:
        raise Invalid("A permit is stopped by break-glass access for a reason.", errors=[("/reason", "Say why.")])


def _require_in_time(tx: Transaction, permit: Permit) -> None:
    """Refuse to stop a permit that another has taken over from: whoever wants to stop the exports must stop that one."""
    if permit.superseded_by is not None and permit.valid_until < day_in_shanghai(tx.now):
        raise Conflict(
            f"The permit ended on {permit.valid_until}, and {permit.superseded_by} has taken over from it; act on that one.",
            next={"href": f"/v1/permits/{permit.superseded_by}", "method": "GET"},
        )


_ACTIONS: Final[Mapping[Standing, AuditAction]] = {
    Standing.ACTIVE: AuditAction.PERMIT_RESUMED,
    Standing.SUSPENDED: AuditAction.PERMIT_SUSPENDED,
    Standing.REVOKED: AuditAction.PERMIT_REVOKED,
}
"""Actions by the status that a permit is given."""


async def _set(
    tx: Transaction,
    caller: Caller,
    permit: Permit,
    expected: tuple[Standing, ...],
    status: Standing,
    reason: str | None,
    roles: frozenset[Role],
) -> None:
    if permit.status not in expected:
        raise Conflict(f"The permit is {permit.status}; only {' or '.join(expected)} ones can become {status}.")
    permit.status, permit.reason, permit.updated_at = status, reason, tx.now
    await _record(tx, caller, _ACTIONS[status], permit, {"reason": reason}, why=reason, roles=roles)
    await tx.flush()


async def _record(
    tx: Transaction,
    caller: Caller,
    action: AuditAction,
    permit: Permit,
    details: dict[str, Any],
    *,
    why: str | None = None,
    roles: frozenset[Role] = AMENDERS,
) -> None:
    """Record a change of a permit; those who asked for it and the systems' people behind the request are told."""
    figures = {
        name: getattr(permit, name)
        for name in ("purpose", "recipient", "fields", "persons", "sensitive_persons", "valid_from", "valid_until")
    }
    events.record(
        tx,
        caller,
        events.Change(
            action=action,
            subject=permit.id,
            handler=permit.handler,
            details=details,
            audience=await authors_of(tx, permit),
            reason=why,
            figures=figures | {"sent_persons": permit.sent_persons, "status": permit.status},
            link=f"/v1/permits/{permit.id}",
            on_behalf_of=caller.behalf(roles, permit.handler),
        ),
    )
