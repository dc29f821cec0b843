"""What can be done with permits. Whatever ends or stops one closes the gate while it does."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.dialects.postgresql import insert

from service.audit import operations as audit
from service.database import Transaction, close_gate, new_id
from service.http.caller import EVERYWHERE, READERS, REVIEWERS, Caller, Role
from service.http.paging import page_of
from service.http.problems import Conflict, NotFound
from service.http.references import is_of
from service.law.calendar import SHANGHAI, day_in_shanghai
from service.law.facts import Count
from service.ledger import operations as ledger
from service.permits.schemas import JwksOut, PermitOut, Scope, TokenOut
from service.permits.signing import Signer
from service.permits.standing import Standing
from service.permits.tables import Permit, PermitDataset, SigningKey

RESTORERS = frozenset({Role.LEGAL, Role.SECURITY})
TOKEN_LIFE = timedelta(hours=24)


async def issue(tx: Transaction, caller: Caller, scope: Scope) -> PermitOut:
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
        status=Standing.ACTIVE,
        reason=None,
        issued_at=tx.now,
        updated_at=tx.now,
    )
    tx.add(permit)
    await tx.flush()
    datasets = [
        PermitDataset(permit=permit.id, dataset=dataset, recipient=scope.recipient, tags=list(tags), grading=grading)
        for dataset, tags, grading in scope.datasets
    ]
    tx.add_all(datasets)
    shown = PermitOut.of(permit, datasets, Count(), day_in_shanghai(tx.now))
    audit.append(tx, caller, "permit.issued", permit.id, handler=permit.handler, details=shown.model_dump(mode="json"))
    await tx.flush()
    return shown


async def list_permits(
    tx: Transaction,
    caller: Caller,
    *,
    handler: str | None,
    dataset: str | None,
    recipient: str | None,
    transfer: str | None,
    status: Standing | None,
    cursor: str | None,
    limit: int,
) -> tuple[Sequence[PermitOut], str | None]:
    """Return the permits that the caller may see."""
    query = select(Permit)
    reach = caller.reach(READERS)
    if reach != EVERYWHERE:
        query = query.where(Permit.handler.in_(reach))
    if handler is not None:
        query = query.where(is_of(Permit.handler, "handlers", handler))
    if recipient is not None:
        query = query.where(is_of(Permit.recipient, "recipients", recipient))
    if transfer is not None:
        query = query.where(Permit.transfer == transfer)
    if dataset is not None:
        query = query.where(
            Permit.id.in_(select(PermitDataset.permit).where(is_of(PermitDataset.dataset, "datasets", dataset)))
        )
    if status is not None:
        query = query.where(_stands(status, tx.now))
    rows, following = await page_of(tx, query, Permit.id, cursor, limit)
    return await _shown(tx, rows), following


async def read_permit(tx: Transaction, caller: Caller, permit_id: str, *, lock: bool = False) -> PermitOut:
    """Return a permit."""
    return (await _shown(tx, [await permit_of(tx, caller, permit_id, lock=lock)]))[0]


async def suspend(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> PermitOut:
    """Stop a permit until it is resumed; any reviewer of the handler may."""
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.demand(REVIEWERS, permit.handler, what="permit")
    return await _set(tx, caller, permit, (Standing.ACTIVE,), Standing.SUSPENDED, reason)


async def resume(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> PermitOut:
    """Let a suspended permit hold again; legal or security may."""
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.demand(RESTORERS, permit.handler, what="permit")
    return await _set(tx, caller, permit, (Standing.SUSPENDED,), Standing.ACTIVE, reason)


async def revoke(tx: Transaction, caller: Caller, permit_id: str, reason: str) -> PermitOut:
    """End a permit for good; legal or security may."""
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.demand(RESTORERS, permit.handler, what="permit")
    return await _set(tx, caller, permit, (Standing.ACTIVE, Standing.SUSPENDED), Standing.REVOKED, reason)


async def token(tx: Transaction, caller: Caller, permit_id: str, signer: Signer, issuer: str) -> TokenOut:
    """Return an active permit as a signed token, good for a day at most and never past the permit.

    Raises:
        Conflict: the permit does not hold now.
    """
    shown = await read_permit(tx, caller, permit_id)
    if shown.status != Standing.ACTIVE:
        raise Conflict(f"The permit is {shown.status}; there is no token for it.")
    past_its_end = datetime.combine(shown.valid_until + timedelta(days=1), time(), SHANGHAI).astimezone(UTC)
    expires_at = min(tx.now.replace(microsecond=0) + TOKEN_LIFE, past_its_end)
    scope = shown.model_dump(mode="json", exclude={"reason", "sent", "reserved", "headroom", "updated_at", "status"})
    claims = {"iss": issuer, "sub": shown.id, "permit": scope}
    return TokenOut(token=signer.token(claims, issued_at=tx.now, expires_at=expires_at), expires_at=expires_at)


async def publish(tx: Transaction, signer: Signer) -> None:
    """Make a signing key's public half known to every replica."""
    row = {"kid": signer.kid, "jwk": signer.public, "created_at": tx.now}
    await tx.execute(insert(SigningKey).values(**row).on_conflict_do_nothing())


async def public_keys(tx: Transaction) -> JwksOut:
    """Return every key that has signed tokens, newest first."""
    return JwksOut(keys=list(await tx.scalars(select(SigningKey.jwk).order_by(SigningKey.created_at.desc()))))


async def permit_of(tx: Transaction, caller: Caller, permit_id: str, *, lock: bool = False) -> Permit:
    """Return the row of a permit that the caller may see.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    permit = await tx.get(Permit, permit_id, with_for_update=lock or None, populate_existing=lock)
    if permit is None or not caller.reaches(READERS, permit.handler):
        raise NotFound("There is no such permit.")
    return permit


async def _set(
    tx: Transaction,
    caller: Caller,
    permit: Permit,
    wanted: tuple[Standing, ...],
    status: Standing,
    reason: str | None,
) -> PermitOut:
    if permit.status not in wanted:
        raise Conflict(f"The permit is {permit.status}; only {' or '.join(wanted)} ones can become {status}.")
    permit.status, permit.reason, permit.updated_at = status, reason, tx.now
    verb = "resumed" if status is Standing.ACTIVE else status.value
    audit.append(tx, caller, f"permit.{verb}", permit.id, handler=permit.handler, details={"reason": reason})
    await tx.flush()
    return (await _shown(tx, [permit]))[0]


async def _shown(tx: Transaction, permits: Sequence[Permit]) -> list[PermitOut]:
    ids = [permit.id for permit in permits]
    held = await ledger.reserved_of_permits(tx, ids)
    query = select(PermitDataset).where(PermitDataset.permit.in_(ids)).order_by(PermitDataset.dataset)
    datasets = (await tx.scalars(query)).all()
    today = day_in_shanghai(tx.now)
    return [
        PermitOut.of(permit, [d for d in datasets if d.permit == permit.id], held.get(permit.id, Count()), today)
        for permit in permits
    ]


def _stands(status: Standing, now: datetime) -> ColumnElement[bool]:
    """The same as `standing()`, for a query."""
    today = day_in_shanghai(now)
    in_time = Permit.valid_until >= today
    used_up = and_(
        Permit.persons + Permit.sensitive_persons > 0,
        Permit.sent_persons >= Permit.persons,
        Permit.sent_sensitive_persons >= Permit.sensitive_persons,
    )
    return {
        Standing.REVOKED: Permit.status == "revoked",
        Standing.EXPIRED: and_(Permit.status != "revoked", ~in_time),
        Standing.SUSPENDED: and_(Permit.status == "suspended", in_time),
        Standing.EXHAUSTED: and_(Permit.status == "active", in_time, used_up),
        Standing.ACTIVE: and_(Permit.status == "active", in_time, ~used_up),
    }[status]
