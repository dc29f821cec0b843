"""Operations on permits. Whatever ends or stops one closes the gate while it does."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, ColumnElement, DateTime, and_, any_, column, exists, or_, select, table
from sqlalchemy.dialects.postgresql import ARRAY, insert

from service.access import directory, persons
from service.access.caller import OPERATOR, READERS, REVIEWERS, Caller, Role
from service.audit import operations as audit
from service.audit import recording
from service.audit.actions import AuditAction
from service.audit.schemas import EntryOut
from service.clock import SHANGHAI, day_in_shanghai
from service.database.columns import Id
from service.database.ids import new_id
from service.database.session import Transaction, close_gate
from service.events import operations as events
from service.http.paging import page_of
from service.http.references import is_of
from service.law.facts import Count
from service.ledger import operations as ledger
from service.ledger.counting import Kind
from service.ledger.operations import Share
from service.obligations import operations as obligations
from service.obligations.obligation_rules import Code
from service.obligations.tables import Obligation
from service.permits.schemas import (
    AmendIn,
    CountOut,
    ExportsOut,
    HistoryOut,
    JwksOut,
    PermitOut,
    ReportOut,
    Scope,
    ShareOut,
    TokenOut,
)
from service.permits.standing import Standing, is_weighty, is_within
from service.permits.tables import Permit, PermitDataset, SigningKey
from service.permits.tokens import Signer
from service.validation.problems import Conflict, Forbidden, Invalid, NotFound

RESTORERS = frozenset({Role.LEGAL, Role.SECURITY})
AMENDERS = REVIEWERS | {Role.REQUESTER}
"""Who may narrow a permit: nothing that it allowed comes to be allowed by that."""

EXTENT = ("purpose", "persons", "sensitive_persons", "fields", "systems")
"""What of a permit a renewal starts from, its days and datasets left aside."""

TOKEN_LIFE = timedelta(hours=24)
TRANSFERS = table(
    "transfers",
    column("id", Id),
    column("authors", ARRAY(Id)),
    column("author_persons", ARRAY(Id)),
    column("persons", BigInteger),
    column("sensitive_persons", BigInteger),
)
"""What permits need of the transfers, which a higher room keeps: whom to tell, and what was asked for."""

DATASETS = table("datasets", column("id", Id), column("fields", JSON))
"""What permits need of the datasets: their fields as they are now."""

PAPERS = table(
    "evidence",
    column("id", Id),
    column("ended_at", DateTime),
    column("added_by", Id),
    column("added_persons", ARRAY(Id)),
)
"""What permits need of the evidence: whether it still counts, and who filed it."""


_ENDED = frozenset({Standing.REVOKED, Standing.EXPIRED, Standing.EXHAUSTED})
_PASSING = {"reason", "sent", "reserved", "headroom", "updated_at", "status", "overdue", "lost_evidence"}
"""What of a permit changes while a token of it is about."""


class PredecessorRevoked(Conflict):
    """The permit that a request renews was revoked while it was in review."""

    slug, title = "predecessor-revoked", "The permit that this renews has been revoked meanwhile"


class Wider(Conflict):
    """An amendment that would let more out."""

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
            dataset=one.id,
            recipient=scope.recipient,
            tags=list(one.tags),
            grading=one.grading,
            fields=list(one.fields),
            facts=one.facts,
        )
        for one in scope.datasets
    ]
    tx.add_all(datasets)
    details = PermitOut.of(permit, datasets, Count(), day_in_shanghai(tx.now)).model_dump(mode="json")
    await _record(tx, caller, AuditAction.PERMIT_ISSUED, permit, details)
    await tx.flush()
    return permit


async def supersede(
    tx: Transaction, caller: Caller, old_id: str, new_id_: str, *, begins: date, asked_at: datetime
) -> None:
    """Let a permit end with the day before its successor begins, so that there is no gap between them and no overlap.

    A suspended permit is followed by a suspended one: whoever may resume looks at it first.

    Args:
        tx: the transaction.
        caller: whose approval was the last.
        old_id: the permit.
        new_id_: its successor.
        begins: the first day of the successor.
        asked_at: when the request for the successor was submitted as it was approved.

    Raises:
        PredecessorRevoked: it was revoked since then, which those who approved before did not know.
    """
    await close_gate(tx)
    old = await tx.get_one(Permit, old_id, with_for_update=True, populate_existing=True)
    if old.status == Standing.REVOKED and old.updated_at > asked_at:
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


async def amend(tx: Transaction, caller: Caller, permit_id: str, wanted: AmendIn) -> PermitOut:
    """Narrow a permit at once: fewer persons, fields or systems, or an earlier end.

    Raises:
        Conflict: it has ended, or more has gone under it already.
        Wider: something would be widened.
    """
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.demand(AMENDERS, permit.handler, what="permit")
    shown = (await _present_permits(tx, [permit]))[0]
    if shown.status in {Standing.REVOKED, Standing.EXPIRED}:
        raise Conflict(f"The permit is {shown.status}; there is nothing left to narrow.")
    changes = wanted.model_dump(exclude={"reason"}, exclude_none=True)
    allowed = {name: getattr(permit, name) for name in changes}
    if permit.fields is None and "fields" in changes:
        allowed["fields"] = sorted({name for dataset in shown.datasets for name in dataset.fields}) or None
    wider = [
        (f"/{name}", f"It allows {_told(allowed[name])}; take less.")
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
        used = getattr(shown.sent, name) + getattr(shown.reserved, name)
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
    details = {"before": before, "after": changes, "reason": wanted.reason}
    await _record(tx, caller, AuditAction.PERMIT_AMENDED, permit, details, why=wanted.reason)
    await tx.flush()
    return (await _present_permits(tx, [permit]))[0]


def _told(value: object) -> str:
    if value is None:
        return "all of them"
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


async def rest_on(tx: Transaction, caller: Caller, old: str, new: str, ends_on: date | None) -> list[str]:
    """Let the permits that rest on one paper rest on the one that replaces it; return their ids.

    None of them comes to hold longer by that.
    """
    query = select(Permit).where(Permit.evidence.contains([old])).with_for_update()
    permits = (await tx.scalars(query)).all()
    for permit in permits:
        permit.evidence = [new if one == old else one for one in permit.evidence]
        if ends_on is not None:
            permit.valid_until = min(permit.valid_until, ends_on)
        permit.updated_at = tx.now
        details = {"replaced": old, "by": new, "valid_until": permit.valid_until}
        await _record(tx, caller, AuditAction.PERMIT_EVIDENCE_REPLACED, permit, details)
    await tx.flush()
    return [permit.id for permit in permits if permit.status != Standing.REVOKED]


async def report(tx: Transaction, caller: Caller, permit_id: str) -> ReportOut:
    """Return what was planned and what was exported under a permit; it is closed once nothing more can go or be reported."""
    permit = await permit_of(tx, caller, permit_id)
    shown = (await _present_permits(tx, [permit]))[0]
    shares = await ledger.shares_of_permit(tx, permit.id)
    datasets = [dataset.id for dataset in shown.datasets]
    months = sorted({share.month for share in shares})
    history = await audit.actions_of(tx, permit.id)
    asked = select(TRANSFERS.c.persons, TRANSFERS.c.sensitive_persons).where(TRANSFERS.c.id == permit.transfer)
    persons, sensitive_persons = (await tx.execute(asked)).one()
    return ReportOut(
        permit=shown,
        closed=shown.status in _ENDED and not any(share.status == "reserved" for share in shares),
        requested=CountOut(persons=persons, sensitive_persons=sensitive_persons),
        planned=CountOut(persons=permit.persons, sensitive_persons=permit.sensitive_persons),
        exported=shown.sent,
        unused=CountOut(
            persons=max(0, permit.persons - permit.sent_persons),
            sensitive_persons=max(0, permit.sensitive_persons - permit.sent_sensitive_persons),
        ),
        exports=ExportsOut(
            **{
                end: sum(share.exports for share in shares if share.status == end)
                for end in ("completed", "cancelled", "reserved", "lapsed")
            }
        ),
        by_dataset=[_share(one, [share for share in shares if share.dataset == one]) for one in datasets],
        by_month=[_share(month, [share for share in shares if share.month == month]) for month in months],
        first_export_at=min((share.first_at for share in shares), default=None),
        last_export_at=max((share.last_at for share in shares), default=None),
        history=[HistoryOut(at=at, action=action, actor=actor) for at, action, actor in history],
        obligations=[
            duty.id for duty in await obligations.of_transfer(tx, [permit.transfer]) if duty.permit == permit.id
        ],
    )


def _share(name: str, shares: Sequence[Share]) -> ShareOut:
    sent = [share for share in shares if share.status == "completed"]
    return ShareOut(
        name=name,
        exports=sum(share.exports for share in sent),
        persons=sum(share.sent.persons for share in sent),
        sensitive_persons=sum(share.sent.sensitive_persons for share in sent),
    )


async def list_permits(
    tx: Transaction,
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
        query = query.where(_status_criterion(status, tx.now))
    rows, following = await page_of(tx, query, Permit.id, cursor, limit)
    return await _present_permits(tx, rows), following


async def present(tx: Transaction, permits: Sequence[str]) -> list[PermitOut]:
    """Return some permits by their ids, in the order of these; the caller's right to them has been checked."""
    query = select(Permit).where(Permit.id.in_(permits)).order_by(Permit.id)
    return await _present_permits(tx, (await tx.scalars(query)).all())


async def read_permit(
    tx: Transaction, caller: Caller, permit_id: str, *, lock: bool = False, is_to_stop: bool = False
) -> PermitOut:
    """Return a permit."""
    return (await _present_permits(tx, [await permit_of(tx, caller, permit_id, lock=lock, is_to_stop=is_to_stop)]))[0]


async def history(
    tx: Transaction, caller: Caller, permit_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return everything that happened to a permit, oldest first."""
    return await audit.history(tx, (await permit_of(tx, caller, permit_id)).id, cursor, limit)


async def suspend(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> PermitOut:
    """Stop a permit until it is resumed, and with it whatever is to follow it; any reviewer of the handler may.

    Raises:
        Invalid: by break-glass access, without a reason.
    """
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)
    _require_to_stop(caller, permit, REVIEWERS, reason)
    _require_in_time(tx, permit)
    shown = await _set(tx, caller, permit, (Standing.ACTIVE,), Standing.SUSPENDED, reason, REVIEWERS)
    await _stop_followers(tx, caller, permit, REVIEWERS)
    return shown


async def resume(tx: Transaction, caller: Caller, permit_id: str, reason: str | None) -> PermitOut:
    """Let a suspended permit hold again; legal or security may, save whoever wrote the request, of their own or by a lent role.

    Raises:
        Forbidden: not of legal or security, or an author.
    """
    permit = await permit_of(tx, caller, permit_id, lock=True)
    caller.demand(RESTORERS, permit.handler, what="permit")
    if not persons.are_two(caller.acting(caller.behalf(RESTORERS, permit.handler)), await _behind(tx, permit)):
        raise Forbidden(
            "You are an author of the request behind this permit or have filed evidence that it rests on, or have made or seen the key by "
            "which it was done; somebody else must resume it."
        )
    return await _set(tx, caller, permit, (Standing.SUSPENDED,), Standing.ACTIVE, reason, RESTORERS)


async def _behind(tx: Transaction, permit: Permit) -> frozenset[str]:
    """Return who could have written the request behind a permit, or have filed evidence that it rests on."""
    wrote = select(TRANSFERS.c.authors, TRANSFERS.c.author_persons).where(TRANSFERS.c.id == permit.transfer)
    filed = select(PAPERS.c.added_by, PAPERS.c.added_persons).where(PAPERS.c.id.in_(permit.evidence))
    acts = [(row[0], row[1]) for row in await tx.execute(filed)]
    return await directory.persons_of(tx, *acts, authors=[(row[0], row[1]) for row in await tx.execute(wrote)])


async def revoke(tx: Transaction, caller: Caller, permit_id: str, reason: str) -> PermitOut:
    """End a permit for good, and suspend whatever is to follow it; legal or security may."""
    await close_gate(tx)
    permit = await permit_of(tx, caller, permit_id, lock=True, is_to_stop=True)
    _require_to_stop(caller, permit, RESTORERS, reason)
    _require_in_time(tx, permit)
    shown = await _set(tx, caller, permit, (Standing.ACTIVE, Standing.SUSPENDED), Standing.REVOKED, reason, RESTORERS)
    await obligations.void_of_permit(tx, caller, permit.id, "The permit was revoked.")
    await _stop_followers(tx, caller, permit, RESTORERS)
    return shown


async def suspend_above_quota(
    tx: Transaction, caller: Caller, permit: Permit, export: str, sent: Mapping[Kind, int]
) -> None:
    """Suspend a permit under which more persons have gone than it allows, if it stands; the gate is closed, and its row held.

    Args:
        tx: the transaction of the report that says so.
        caller: who reports.
        permit: the permit.
        export: the export that was reported.
        sent: of each kind of which too many went: how many, at least.
    """
    if permit.status != Standing.ACTIVE:
        return
    told = " and ".join(f"{went} {kind} of the {getattr(permit, kind)} that it allows" for kind, went in sent.items())
    why = f"More went under the permit than it allows: at least {told}, with the report of {export}."
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


async def token(tx: Transaction, caller: Caller, permit_id: str, signer: Signer, issuer: str) -> TokenOut:
    """Return an active permit as a signed token, good for a day at most and never past the permit.

    Raises:
        Conflict: the permit does not hold now, or has not begun.
    """
    shown = await read_permit(tx, caller, permit_id)
    if shown.status != Standing.ACTIVE:
        raise Conflict(f"The permit is {shown.status}; there is no token for it.")
    if shown.valid_from > day_in_shanghai(tx.now):
        raise Conflict(f"The permit begins on {shown.valid_from}; there is no token for it before that day.")
    past_its_end = datetime.combine(shown.valid_until + timedelta(days=1), time(), SHANGHAI).astimezone(UTC)
    expires_at = min(tx.now.replace(microsecond=0) + TOKEN_LIFE, past_its_end)
    scope = shown.model_dump(mode="json", exclude=_PASSING)
    begins = datetime.combine(shown.valid_from, time(), SHANGHAI)
    claims = {"iss": issuer, "sub": shown.id, "nbf": int(begins.timestamp()), "permit": scope}
    return TokenOut(token=signer.token(claims, issued_at=tx.now, expires_at=expires_at), expires_at=expires_at)


async def reckon_anew(tx: Transaction) -> None:
    """Reckon the duties anew whose year's holidays have come to be known, and the last day of the receipts that they wait for."""
    for duty, before in await obligations.reckon_anew(tx, OPERATOR):
        if duty.code == Code.FILE_STANDARD_CONTRACT and duty.permit is not None:
            permit = await tx.get_one(Permit, duty.permit, with_for_update=True)
            if permit.receipt_due_on == before:
                permit.receipt_due_on, permit.updated_at = duty.due_on, tx.now


async def publish(tx: Transaction, signer: Signer) -> None:
    """Make a signing key's public half known to every replica."""
    row = {"kid": signer.kid, "jwk": signer.public, "created_at": tx.now}
    adding = insert(SigningKey).values(**row).on_conflict_do_nothing().returning(SigningKey.kid)
    if await tx.scalar(adding, execution_options=recording.STATED) is not None:
        recording.wrote(tx, SigningKey.__table__, [row], made=True)
        audit.append(tx, OPERATOR, AuditAction.SIGNING_KEY_PUBLISHED, "signing keys", details={"jwk": signer.public})


async def public_keys(tx: Transaction) -> JwksOut:
    """Return every key that has signed tokens, newest first."""
    return JwksOut(keys=list(await tx.scalars(select(SigningKey.jwk).order_by(SigningKey.created_at.desc()))))


async def permit_of(
    tx: Transaction, caller: Caller, permit_id: str, *, lock: bool = False, is_to_stop: bool = False
) -> Permit:
    """Return the row of a permit that the caller may see, or stop by break-glass access where that is what it is for.

    Raises:
        NotFound: there is none with this id, or the caller has no role on its handler.
    """
    permit = await tx.get(Permit, permit_id, with_for_update=lock or None, populate_existing=lock)
    if permit is None or not (
        caller.reaches(READERS, permit.handler) or (is_to_stop and caller.may_stop(permit.handler))
    ):
        raise NotFound("There is no such permit.")
    return permit


def _require_to_stop(caller: Caller, permit: Permit, roles: frozenset[Role], reason: str | None) -> None:
    """Let those stop a permit whose role it is, and by break-glass access those who say why."""
    if caller.reaches(roles, permit.handler) or not caller.may_stop(permit.handler):
        caller.demand(roles, permit.handler, what="permit")
    elif reason is None:
        raise Invalid("A permit is stopped by break-glass access for a reason.", errors=[("/reason", "Say why.")])


def _require_in_time(tx: Transaction, permit: Permit) -> None:
    """Refuse to stop a permit that another has taken over from: whoever wants to stop the exports must stop that one."""
    if permit.superseded_by is not None and permit.valid_until < day_in_shanghai(tx.now):
        raise Conflict(
            f"The permit ended on {permit.valid_until}, and {permit.superseded_by} has taken over from it; act on that one.",
            next={"href": f"/v1/permits/{permit.superseded_by}", "method": "GET"},
        )


async def extent_of(tx: Transaction, transfer: str) -> dict[str, Any]:
    """Return how far the permit of a transfer goes, as narrowed by conditions and amendments: what a renewal starts from.

    All fields are those that the datasets had then, by name where one was registered since.
    """
    permit = (await tx.scalars(select(Permit).where(Permit.transfer == transfer))).one()
    extent = {name: getattr(permit, name) for name in EXTENT}
    if extent["fields"] is None:
        extent["fields"] = await _fields_of_then(tx, permit.id)
    return extent


async def _fields_of_then(tx: Transaction, permit: str) -> list[str] | None:
    query = (
        select(PermitDataset.fields, DATASETS.c.fields)
        .join(DATASETS, DATASETS.c.id == PermitDataset.dataset)
        .where(PermitDataset.permit == permit)
    )
    rows = (await tx.execute(query)).all()
    then = {name for bound, _ in rows for name in bound}
    now = {field["name"] for _, registered in rows for field in registered}
    return sorted(then & now) if then and now - then else None


async def successor_of(tx: Transaction, transfer: str) -> str | None:
    """Return the transfer whose permit has taken over from the one of a transfer; None: none has."""
    old = select(Permit.superseded_by).where(Permit.transfer == transfer).scalar_subquery()
    return await tx.scalar(select(Permit.transfer).where(Permit.id == old))


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
    wanted: tuple[Standing, ...],
    status: Standing,
    reason: str | None,
    roles: frozenset[Role],
) -> PermitOut:
    if permit.status not in wanted:
        raise Conflict(f"The permit is {permit.status}; only {' or '.join(wanted)} ones can become {status}.")
    permit.status, permit.reason, permit.updated_at = status, reason, tx.now
    await _record(tx, caller, _ACTIONS[status], permit, {"reason": reason}, why=reason, roles=roles)
    await tx.flush()
    return (await _present_permits(tx, [permit]))[0]


async def lost_evidence(tx: Transaction, permits: Sequence[Permit]) -> Mapping[str, list[str]]:
    """Return, for the permits that rest on one, the papers that have been withdrawn or replaced and not made good."""
    papers = {paper for permit in permits for paper in permit.evidence}
    if not papers:
        return {}
    query = select(PAPERS.c.id).where(PAPERS.c.id.in_(papers), PAPERS.c.ended_at.is_not(None))
    ended = set(await tx.scalars(query))
    found = {permit.id: [paper for paper in permit.evidence if paper in ended] for permit in permits}
    return {permit: lost for permit, lost in found.items() if lost}


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
    authors = await tx.scalar(select(TRANSFERS.c.authors).where(TRANSFERS.c.id == permit.transfer))
    how_much = {
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
            audience=authors or (),
            reason=why,
            figures=how_much | {"sent_persons": permit.sent_persons, "status": permit.status},
            link=f"/v1/permits/{permit.id}",
            on_behalf_of=caller.behalf(roles, permit.handler),
        ),
    )


async def _present_permits(tx: Transaction, permits: Sequence[Permit]) -> list[PermitOut]:
    ids = [permit.id for permit in permits]
    held = await ledger.reserved_of_permits(tx, ids)
    query = select(PermitDataset).where(PermitDataset.permit.in_(ids)).order_by(PermitDataset.dataset)
    covered: defaultdict[str, list[PermitDataset]] = defaultdict(list)
    for dataset in await tx.scalars(query):
        covered[dataset.permit].append(dataset)
    today = day_in_shanghai(tx.now)
    weights = {
        permit.id: (permit.handler, is_weighty(tag for dataset in covered[permit.id] for tag in dataset.tags))
        for permit in permits
    }
    overdue = await obligations.overdue_of(tx, weights, today)
    lost = await lost_evidence(tx, permits)
    return [
        PermitOut.of(
            permit,
            covered[permit.id],
            held.get(permit.id, Count()),
            today,
            overdue=overdue.get(permit.id, ()),
            lost=lost.get(permit.id, ()),
        )
        for permit in permits
    ]


def _status_criterion(status: Standing, now: datetime) -> ColumnElement[bool]:
    """The same as `standing()`, for a query."""
    today = day_in_shanghai(now)
    in_time = Permit.valid_until >= today
    personal = exists().where(PermitDataset.permit == Permit.id, PermitDataset.tags.overlap(["personal", "sensitive"]))
    used_up = and_(
        or_(Permit.persons + Permit.sensitive_persons > 0, personal),
        Permit.sent_persons >= Permit.persons,
        Permit.sent_sensitive_persons >= Permit.sensitive_persons,
    )
    weighty = exists().where(PermitDataset.permit == Permit.id, PermitDataset.tags.overlap(["important", "core"]))
    overdue = exists().where(
        obligations.is_overdue(today),
        or_(
            Obligation.permit == Permit.id,
            and_(Obligation.permit.is_(None), Obligation.handler == Permit.handler, weighty),
        ),
    )
    lost = exists().where(PAPERS.c.id == any_(Permit.evidence), PAPERS.c.ended_at.is_not(None))
    stopped = or_(overdue, lost)
    return {
        Standing.REVOKED: Permit.status == "revoked",
        Standing.EXPIRED: and_(Permit.status != "revoked", ~in_time),
        Standing.SUSPENDED: and_(Permit.status != "revoked", in_time, or_(Permit.status == "suspended", stopped)),
        Standing.EXHAUSTED: and_(Permit.status == "active", in_time, used_up, ~stopped),
        Standing.ACTIVE: and_(Permit.status == "active", in_time, ~used_up, ~stopped),
    }[status]
