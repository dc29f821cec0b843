"""What the gate reads for a decision, inside the transaction that records it."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import aliased

from service.database import Transaction, is_id
from service.gate.decide import Known, KnownDataset, KnownPermit
from service.http.caller import Caller, Role
from service.law.calendar import day_in_shanghai
from service.law.determination import Mechanism
from service.law.facts import Count, LegalBasis, Method, Necessity, RecipientFacts, Route, Tag, TransferFacts
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn
from service.ledger import operations as ledger
from service.obligations import operations as obligations
from service.permits import operations as permits_room
from service.permits.tables import Permit, PermitDataset
from service.registry.tables import Dataset, Handler, Recipient

EXPORTERS = frozenset({Role.EXPORTER})


class Read:
    """The rows behind one decision, and the values that it is taken on."""

    def __init__(self, dataset: Dataset | None, recipient: Recipient | None, known: Known) -> None:
        self.dataset = dataset
        self.recipient = recipient
        self.known = known


async def read(tx: Transaction, caller: Caller, dataset_ref: str, recipient_ref: str | None) -> Read:
    """Read what one ask needs; a dataset for whose handler the caller is no exporter is as unknown as one that is not there."""
    today = day_in_shanghai(tx.now)
    dataset = await _dataset(tx, caller, dataset_ref)
    recipient = None if recipient_ref is None else await _recipient(tx, recipient_ref)
    if dataset is None:
        return Read(None, recipient, Known(today, None, _facts_of(recipient), (), Count()))
    return Read(dataset, recipient, await known_of(tx, dataset, recipient, today))


async def known_of(
    tx: Transaction, dataset: Dataset, recipient: Recipient | None, today: date, permit: str | None = None
) -> Known:
    """Return what a decision on a dataset and a recipient looks at, as it stands on a day: of all permits, or of one."""
    handler = await tx.get_one(Handler, dataset.handler)
    return Known(
        today=today,
        dataset=KnownDataset(
            handler=HandlerFactsIn.model_validate(handler.facts).facts(),
            facts=None
            if dataset.tags is None
            else OriginFactsIn.model_validate(dataset.facts).dataset(frozenset(Tag(tag) for tag in dataset.tags)),
            fields=frozenset(field["name"] for field in dataset.fields),
        ),
        recipient=_facts_of(recipient),
        permits=() if recipient is None else await _permits(tx, dataset.id, recipient, today, permit),
        year=await ledger.total(tx, dataset.handler, today.year),
    )


async def hold(tx: Transaction, caller: Caller, dataset_ref: str, recipient_ref: str) -> None:
    """Hold the year's count and the permits that an export may draw on, always in the same order, before they are read."""
    dataset = await _dataset(tx, caller, dataset_ref)
    recipient = await _recipient(tx, recipient_ref)
    if dataset is None or recipient is None:
        return
    await ledger.hold_year(tx, dataset.handler, day_in_shanghai(tx.now).year)
    query = (
        select(Permit.id)
        .where(
            Permit.id.in_(
                select(PermitDataset.permit).where(
                    PermitDataset.dataset == dataset.id, PermitDataset.recipient == recipient.id
                )
            )
        )
        .order_by(Permit.id)
        .with_for_update()
    )
    await tx.execute(query)


async def _dataset(tx: Transaction, caller: Caller, reference: str) -> Dataset | None:
    column = Dataset.id if is_id(reference, "ds") else Dataset.key
    dataset = await tx.scalar(select(Dataset).where(column == reference))
    return dataset if dataset is not None and caller.reaches(EXPORTERS, dataset.handler) else None


async def _recipient(tx: Transaction, reference: str) -> Recipient | None:
    column = Recipient.id if is_id(reference, "rc") else Recipient.key
    return await tx.scalar(select(Recipient).where(column == reference))


def _facts_of(recipient: Recipient | None) -> RecipientFacts | None:
    if recipient is None:
        return None
    body = recipient.facts | {"country": recipient.country, "kind": recipient.kind}
    return RecipientFactsIn.model_validate(body).facts(recipient.key)


async def _permits(
    tx: Transaction, dataset: str, recipient: Recipient, today: date, only: str | None
) -> Sequence[KnownPermit]:
    query = (
        select(Permit, PermitDataset, _weighty())
        .join(PermitDataset, PermitDataset.permit == Permit.id)
        .where(PermitDataset.dataset == dataset, PermitDataset.recipient == recipient.id)
        .execution_options(populate_existing=True)
    )
    if only is not None:
        query = query.where(Permit.id == only)
    rows = (await tx.execute(query)).all()
    permits = [row[0] for row in rows]
    reserved = await ledger.reserved_of_permits(tx, [permit.id for permit in permits])
    weights = {permit.id: (permit.handler, is_weighty) for permit, _, is_weighty in rows}
    overdue = await obligations.overdue_of(tx, weights, today)
    lost = await permits_room.lost_evidence(tx, permits)
    return [
        _known_permit(
            permit,
            bound,
            recipient,
            reserved.get(permit.id, Count()),
            is_overdue=permit.id in overdue,
            has_evidence=permit.id not in lost,
        )
        for permit, bound, _ in rows
    ]


def _weighty() -> ColumnElement[bool]:
    """Tell whether any dataset of a permit is important or core: the handler's own duties then bear on it."""
    every = aliased(PermitDataset)
    return select(every.permit).where(every.permit == Permit.id, every.tags.overlap(["important", "core"])).exists()


def _known_permit(
    permit: Permit,
    bound: PermitDataset,
    recipient: Recipient,
    reserved: Count,
    *,
    is_overdue: bool,
    has_evidence: bool,
) -> KnownPermit:
    necessity, approved, papers = (permit.claims.get(name) for name in ("necessity", "recipient", "papers"))
    return KnownPermit(
        id=permit.id,
        status=permit.status,
        valid_from=permit.valid_from,
        valid_until=permit.valid_until,
        purpose=permit.purpose,
        fields=permit.fields,
        systems=permit.systems,
        quota=Count(permit.persons, permit.sensitive_persons),
        used=Count(permit.sent_persons + reserved.persons, permit.sent_sensitive_persons + reserved.sensitive_persons),
        tags=frozenset(Tag(tag) for tag in bound.tags),
        registered=frozenset(bound.fields),
        recipient=None if approved is None else RecipientFactsIn.model_validate(approved).facts(recipient.key),
        papers=None if papers is None else frozenset(papers),
        route=None if permit.route is None else Route(permit.route),
        requirements=frozenset(Mechanism(name) for name in permit.requirements),
        transfer=TransferFacts(
            method=Method(permit.claims["method"]),
            necessity=None if necessity is None else Necessity(necessity),
            legal_basis=LegalBasis(permit.claims["legal_basis"]),
        ),
        is_overdue=is_overdue,
        has_evidence=has_evidence,
    )
