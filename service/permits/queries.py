"""Queries of permits: rows, what they cover and what stops them; every read of the package."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import JSON, BigInteger, ColumnElement, DateTime, and_, any_, column, exists, or_, select, table
from sqlalchemy.dialects.postgresql import ARRAY

from service.access import directory
from service.access.caller import READERS, Caller
from service.audit import operations as audit
from service.audit.schemas import EntryOut
from service.clock import day_in_shanghai
from service.database.columns import Id
from service.database.session import Transaction
from service.http.paging import page_of
from service.http.references import is_of
from service.law.facts import Count
from service.ledger import operations as ledger
from service.obligations import queries as obligations
from service.obligations.tables import Obligation
from service.permits.schemas import JwksOut
from service.permits.standing import Standing, is_weighty
from service.permits.tables import Permit, PermitDataset, PermitRow, SigningKey
from service.validation.problems import NotFound

EXTENT = ("purpose", "persons", "sensitive_persons", "fields", "systems")
"""Columns of a permit that a renewal starts from, besides days and datasets."""

TRANSFERS = table(
    "transfers",
    column("id", Id),
    column("authors", ARRAY(Id)),
    column("author_persons", ARRAY(Id)),
    column("persons", BigInteger),
    column("sensitive_persons", BigInteger),
)
"""Columns that permits read of the transfers, a package of a higher layer: the authors and the persons requested."""

DATASETS = table("datasets", column("id", Id), column("fields", JSON))
"""Columns that permits read of the datasets: their present fields."""

EVIDENCE = table(
    "evidence",
    column("id", Id),
    column("ended_at", DateTime),
    column("added_by", Id),
    column("added_persons", ARRAY(Id)),
)
"""Columns that permits read of the evidence: whether it still counts, and who filed it."""


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


async def permits_by_id(tx: Transaction, ids: Iterable[str]) -> Sequence[Permit]:
    """Return permits by id, in the order of ids; the caller's right to them has been checked."""
    return (await tx.scalars(select(Permit).where(Permit.id.in_(ids)).order_by(Permit.id))).all()


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
) -> tuple[Sequence[Permit], str | None]:
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
        query = query.where(status_condition(status, day_in_shanghai(tx.now)))
    return await page_of(tx, query, Permit.id, cursor, limit)


async def history(
    tx: Transaction, caller: Caller, permit_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[EntryOut], str | None]:
    """Return the audit entries of a permit, oldest first."""
    return await audit.history(tx, (await permit_of(tx, caller, permit_id)).id, cursor, limit)


async def load_rows(tx: Transaction, permits: Sequence[Permit]) -> list[PermitRow]:
    """Load the rows that permits are presented from, with one query for each table."""
    ids = [permit.id for permit in permits]
    reserved = await ledger.reserved_of_permits(tx, ids)
    datasets = await datasets_of(tx, ids)
    weights = {
        permit.id: (permit.handler, is_weighty(tag for dataset in datasets[permit.id] for tag in dataset.tags))
        for permit in permits
    }
    overdue = await obligations.overdue_of(tx, weights, day_in_shanghai(tx.now))
    ended_evidence = await _load_ended_evidence(tx, permits)
    return [
        PermitRow(
            permit=permit,
            datasets=datasets[permit.id],
            reserved=reserved.get(permit.id, Count()),
            overdue=overdue.get(permit.id, ()),
            ended_evidence=ended_evidence.get(permit.id, ()),
        )
        for permit in permits
    ]


async def datasets_of(tx: Transaction, permits: Sequence[str]) -> Mapping[str, Sequence[PermitDataset]]:
    """Return the datasets that permits cover, by permit."""
    query = select(PermitDataset).where(PermitDataset.permit.in_(permits)).order_by(PermitDataset.dataset)
    covered: defaultdict[str, list[PermitDataset]] = defaultdict(list)
    for dataset in await tx.scalars(query):
        covered[dataset.permit].append(dataset)
    return covered


async def authors_of(tx: Transaction, permit: Permit) -> Sequence[str]:
    """Return the authors of the request behind a permit."""
    return await tx.scalar(select(TRANSFERS.c.authors).where(TRANSFERS.c.id == permit.transfer)) or ()


async def requested_of(tx: Transaction, permit: Permit) -> Count:
    """Return the persons that the request behind a permit asked for."""
    query = select(TRANSFERS.c.persons, TRANSFERS.c.sensitive_persons).where(TRANSFERS.c.id == permit.transfer)
    persons, sensitive_persons = (await tx.execute(query)).one()
    return Count(persons, sensitive_persons)


async def parties_behind(tx: Transaction, permit: Permit) -> frozenset[str]:
    """Return the persons who may have written the request behind a permit, or filed evidence that it rests on."""
    wrote = select(TRANSFERS.c.authors, TRANSFERS.c.author_persons).where(TRANSFERS.c.id == permit.transfer)
    filed = select(EVIDENCE.c.added_by, EVIDENCE.c.added_persons).where(EVIDENCE.c.id.in_(permit.evidence))
    acts = [(row[0], row[1]) for row in await tx.execute(filed)]
    return await directory.persons_of(tx, *acts, authors=[(row[0], row[1]) for row in await tx.execute(wrote)])


async def extent_of(tx: Transaction, transfer: str) -> dict[str, Any]:
    """Return the extent of the permit of a transfer, as conditions and amendments have narrowed it; a renewal starts from it.

    "All fields" becomes the names of those that the datasets had then, if one was registered since.
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
    """Return the transfer whose permit supersedes the one of a transfer; None: none does."""
    old = select(Permit.superseded_by).where(Permit.transfer == transfer).scalar_subquery()
    return await tx.scalar(select(Permit.transfer).where(Permit.id == old))


async def public_keys(tx: Transaction) -> JwksOut:
    """Return the public halves of all keys that have signed tokens, newest first."""
    return JwksOut(keys=list(await tx.scalars(select(SigningKey.jwk).order_by(SigningKey.created_at.desc()))))


async def _load_ended_evidence(tx: Transaction, permits: Sequence[Permit]) -> Mapping[str, list[str]]:
    """Return the evidence that permits rest on and that was withdrawn or replaced, by permit."""
    named = {evidence for permit in permits for evidence in permit.evidence}
    if not named:
        return {}
    query = select(EVIDENCE.c.id).where(EVIDENCE.c.id.in_(named), EVIDENCE.c.ended_at.is_not(None))
    ended = set(await tx.scalars(query))
    by_permit = {permit.id: [evidence for evidence in permit.evidence if evidence in ended] for permit in permits}
    return {permit: evidence for permit, evidence in by_permit.items() if evidence}


def not_ended(today: date) -> ColumnElement[bool]:
    """Return the condition that a permit has not ended on a day in Asia/Shanghai: `standing.has_ended` is the opposite."""
    return and_(Permit.status != Standing.REVOKED.value, Permit.valid_until >= today)


def status_condition(status: Standing, today: date) -> ColumnElement[bool]:
    """Return the condition that a permit has a status on a day in Asia/Shanghai: the rule of `standing.standing`."""
    personal = exists().where(PermitDataset.permit == Permit.id, PermitDataset.tags.overlap(["personal", "sensitive"]))
    used_up = and_(
        or_(Permit.persons + Permit.sensitive_persons > 0, personal),
        Permit.sent_persons >= Permit.persons,
        Permit.sent_sensitive_persons >= Permit.sensitive_persons,
    )
    # Within the subquery of obligations, which has no permit of its own: SQLAlchemy correlates with the nearest query alone.
    of_permit = exists().where(PermitDataset.permit == Permit.id).correlate(Permit)
    weighty = of_permit.where(PermitDataset.tags.overlap(["important", "core"]))
    overdue = exists().where(
        obligations.is_overdue(today),
        or_(
            Obligation.permit == Permit.id,
            and_(Obligation.permit.is_(None), Obligation.handler == Permit.handler, weighty),
        ),
    )
    evidence_ended = exists().where(EVIDENCE.c.id == any_(Permit.evidence), EVIDENCE.c.ended_at.is_not(None))
    stopped = or_(overdue, evidence_ended)
    return {
        Standing.REVOKED: Permit.status == "revoked",
        Standing.EXPIRED: and_(Permit.status != "revoked", Permit.valid_until < today),
        Standing.SUSPENDED: and_(not_ended(today), or_(Permit.status == "suspended", stopped)),
        Standing.EXHAUSTED: and_(not_ended(today), Permit.status == "active", used_up, ~stopped),
        Standing.ACTIVE: and_(not_ended(today), Permit.status == "active", ~used_up, ~stopped),
    }[status]
