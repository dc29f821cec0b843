"""What the gate reads for its decisions: one statement for all that a batch is asked, inside the transaction that records them.

Every row is read anew in every transaction. What is kept between them is only what texts mean: the same facts, written the same way,
are the same values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, cast

import asyncpg
import msgspec

from service.database import Transaction, is_id
from service.gate.decide import Growth, Known, KnownDataset, KnownPermit
from service.http.caller import EVERYWHERE, Caller, Reach, Role
from service.law.determination import Mechanism
from service.law.facts import (
    Count,
    DatasetFacts,
    HandlerFacts,
    LegalBasis,
    Method,
    Necessity,
    RecipientFacts,
    Route,
    Tag,
    TransferFacts,
)
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn

EXPORTERS: Final = frozenset({Role.EXPORTER})
TEXTS: Final = 16_384
"""Texts of each kind at most whose meaning is kept."""

READ: Final = """
with asked as materialized (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) with ordinality
    as a(prefix, dataset_id, dataset_key, recipient_id, recipient_key, permit, n)
), callers as materialized (
  select k.prefix, k.sha256, p.id, p.name, p.kind,
         k.revoked_at is null and p.disabled_at is null and (k.expires_at is null or k.expires_at > $7) as stands,
         (
           select string_agg(coalesce(g.handler, '*'), ',') from grants g
           where g.principal = p.id and g.role = 'exporter' and g.withdrawn_at is null
         ) as reach
  from (select distinct prefix from asked where prefix is not null) a
  join api_keys k on k.prefix = a.prefix
  join principals p on p.id = k.principal
), found as materialized (
  select a.n, a.prefix, a.permit, d.id as dataset, d.handler, d.tags, d.facts, d.fields,
         r.id as recipient, r.key as recipient_key, r.facts as recipient_facts, r.country, r.kind
  from asked a
  left join lateral (
    select id, handler, tags, facts, fields from datasets where id = a.dataset_id
    union all
    select id, handler, tags, facts, fields from datasets where key = a.dataset_key
  ) d on true
  left join lateral (
    select id, key, facts, country, kind from recipients where id = a.recipient_id
    union all
    select id, key, facts, country, kind from recipients where key = a.recipient_key
  ) r on true
), years as materialized (
  select h.id, h.facts, l.year is not null as is_begun,
         coalesce(l.persons, 0) + held.persons as persons,
         coalesce(l.sensitive_persons, 0) + held.sensitive_persons as sensitive_persons,
         exists (
           select from obligations o
           where o.handler = h.id and o.permit is null and o.state = 'open' and o.blocks and o.due_on < $8
             and (o.ended_at is null or (o.ended_at at time zone 'Asia/Shanghai')::date > $8)
         ) as is_overdue
  from (select distinct handler from found where handler is not null) f
  join handlers h on h.id = f.handler
  left join ledger_years l on l.handler = h.id and l.year = $9
  cross join lateral (
    select coalesce(sum(persons), 0)::bigint as persons, coalesce(sum(sensitive_persons), 0)::bigint as sensitive_persons
    from held_in_years where handler = h.id and year = $9 and expires_at > $7
  ) held
)
select f.n, f.dataset, f.handler, f.tags::text, f.facts::text, f.fields::text, f.recipient, f.recipient_key,
       f.recipient_facts::text, f.country, f.kind,
       c.sha256, c.id as caller, c.name as caller_name, c.kind as caller_kind, c.stands, c.reach,
       y.facts::text as handler_facts, y.is_begun, y.persons as year_persons, y.sensitive_persons as year_sensitive_persons,
       p.*
from found f
left join callers c on c.prefix = f.prefix
left join years y on y.id = f.handler
left join lateral (
  select p.id as permit, p.status, p.valid_from, p.valid_until, p.purpose, p.fields::text as permit_fields,
         p.systems::text,
         p.persons, p.sensitive_persons, p.sent_persons + held.persons as used_persons,
         p.sent_sensitive_persons + held.sensitive_persons as used_sensitive_persons,
         b.tags::text as bound_tags, b.fields as bound_fields, p.requirements::text, p.route, p.claims::text,
         exists (
           select from obligations o where o.permit = p.id and o.state = 'open' and o.blocks and o.due_on < $8
             and (o.ended_at is null or (o.ended_at at time zone 'Asia/Shanghai')::date > $8)
         ) or (
           y.is_overdue and exists (
             select from permit_datasets e where e.permit = p.id and e.tags && array['important', 'core']
           )
         ) as permit_is_overdue,
         not exists (
           select from evidence e where e.id = any(p.evidence) and e.ended_at is not null
         ) as has_evidence
  from permit_datasets b
  join permits p on p.id = b.permit
  cross join lateral (
    select coalesce(sum(persons), 0)::bigint as persons, coalesce(sum(sensitive_persons), 0)::bigint as sensitive_persons
    from held_by_permits where permit = p.id and expires_at > $7
  ) held
  where b.dataset = f.dataset and b.recipient = f.recipient and (f.permit is null or p.id = f.permit)
) p on true
order by f.n
"""
"""$1 to $6: of each ask the key's prefix, the dataset and the recipient (each as id or as key), and the permit, if only one matters;
$7: the moment; $8: its day in Asia/Shanghai; $9: the year of the ledger."""


@dataclass(slots=True)
class Wanted:
    """What one ask is about, by id or key; `permit` narrows it to one permit."""

    dataset: str
    recipient: str | None
    prefix: str | None = None
    """How the caller's key begins; None: the caller is known already."""
    permit: str | None = None


@dataclass(slots=True)
class Holder:
    """Who holds a key."""

    sha256: bytes
    stands: bool
    caller: Caller
    reach: Reach
    """The handlers of which the caller is an exporter."""


@dataclass(slots=True)
class Found:
    """What there is for one ask; the ids are None where nothing has them."""

    holder: Holder | None
    dataset: str | None
    handler: str | None
    recipient: str | None
    year_is_begun: bool
    """Whether the handler's year has a row in the ledger, which reservations hold."""
    known: Known
    growth: Growth | None = None
    """By how much totals would grow, where it was announced who will go; nothing that is read tells it."""


async def read(connection: asyncpg.Connection, wanted: Sequence[Wanted], now: datetime, today: date) -> Sequence[Found]:
    """Return what the decisions on some asks look at, in the order of the asks.

    Args:
        connection: in a transaction, with the gate's lock if decisions are to be recorded in it.
        wanted: the asks.
        now: the moment, in UTC.
        today: the day on which the answers are to hold; its year is the ledger's.
    """
    return found_in(await connection.fetch(READ, *arguments(wanted), now, today, today.year), today)


async def read_in(tx: Transaction, wanted: Sequence[Wanted], today: date) -> Sequence[Found]:
    """Return the same in a transaction of the ORM, whose changes have been flushed."""
    await tx.flush()
    raw = await (await tx.connection()).get_raw_connection()
    return await read(cast("asyncpg.Connection", raw.driver_connection), wanted, tx.now, today)


def arguments(wanted: Sequence[Wanted]) -> tuple[list[str | None], ...]:
    """Return the first six arguments of `READ`."""
    columns: tuple[list[str | None], ...] = ([], [], [], [], [], [])
    prefixes, dataset_ids, dataset_keys, recipient_ids, recipient_keys, permits = columns
    for one in wanted:
        prefixes.append(one.prefix)
        named = is_id(one.dataset, "ds")
        dataset_ids.append(one.dataset if named else None)
        dataset_keys.append(None if named else one.dataset)
        named = one.recipient is not None and is_id(one.recipient, "rc")
        recipient_ids.append(one.recipient if named else None)
        recipient_keys.append(None if named else one.recipient)
        permits.append(one.permit)
    return columns


def found_in(rows: Sequence[asyncpg.Record], today: date) -> Sequence[Found]:
    """Return what stands in the rows of `READ`: of one ask as many as there are permits, and one if there is none."""
    asks: list[Found] = []
    holders: dict[str, Holder] = {}
    place = 0
    while place < len(rows):
        first, number = rows[place], rows[place]["n"]
        permits: list[KnownPermit] = []
        while place < len(rows) and rows[place]["n"] == number:
            if rows[place]["permit"] is not None:
                permits.append(_permit(rows[place], first["recipient_key"]))
            place += 1
        asks.append(_found(first, permits, holders, today))
    return asks


def _found(row: asyncpg.Record, permits: Sequence[KnownPermit], holders: dict[str, Holder], today: date) -> Found:
    holder = _holder(row, holders)
    handler = row["handler"]
    recipient = None
    if row["recipient"] is not None:
        recipient = _recipient(row["recipient_facts"], row["country"], row["kind"], row["recipient_key"])
    if handler is None or (holder is not None and holder.reach != EVERYWHERE and handler not in holder.reach):
        # A dataset for whose handler the caller is no exporter is as unknown as one that is not there.
        return Found(holder, None, None, row["recipient"], False, Known(today, None, recipient, (), Count()))
    dataset = KnownDataset(
        handler=_handler(row["handler_facts"]),
        facts=None if row["tags"] is None else _dataset(row["facts"], row["tags"]),
        fields=_field_names(row["fields"]),
    )
    year = Count(row["year_persons"], row["year_sensitive_persons"])
    known = Known(today, dataset, recipient, permits, year)
    return Found(holder, row["dataset"], handler, row["recipient"], row["is_begun"], known)


def _holder(row: asyncpg.Record, holders: dict[str, Holder]) -> Holder | None:
    ident = row["caller"]
    if ident is None:
        return None
    held = holders.get(row["sha256"])
    if held is None:
        handlers = frozenset((row["reach"] or "").split(",")) - {""}
        reach: Reach = EVERYWHERE if EVERYWHERE in handlers else handlers
        caller = Caller(ident, row["caller_name"], row["caller_kind"], {Role.EXPORTER: reach} if reach else {})
        held = holders[row["sha256"]] = Holder(row["sha256"], row["stands"], caller, reach)
    return held


def _permit(row: asyncpg.Record, recipient_key: str) -> KnownPermit:
    transfer, recipient, papers = _claims(row["claims"], recipient_key)
    return KnownPermit(
        id=row["permit"],
        status=row["status"],
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        purpose=row["purpose"],
        fields=_names(row["permit_fields"]),
        systems=_names(row["systems"]),
        quota=Count(row["persons"], row["sensitive_persons"]),
        used=Count(row["used_persons"], row["used_sensitive_persons"]),
        tags=_tags(row["bound_tags"]),
        registered=row["bound_fields"],
        recipient=recipient,
        papers=papers,
        route=_ROUTES[row["route"]],
        requirements=_mechanisms(row["requirements"]),
        transfer=transfer,
        is_overdue=row["permit_is_overdue"],
        has_evidence=row["has_evidence"],
    )


# What texts mean


_ROUTES: Final[dict[str | None, Route | None]] = {None: None, **{str(route): route for route in Route}}


class _Field(msgspec.Struct):
    name: str


_decode_fields = msgspec.json.Decoder(list[_Field]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


def _field_names(text: str) -> Sequence[str]:
    return [field.name for field in _decode_fields(text)]


def _names(text: str | None) -> Sequence[str] | None:
    return None if text is None or text == "null" else _decode_names(text)


def _words(array: str) -> Sequence[str]:
    """Return the members of an array of plain words as PostgreSQL writes it: `{core,personal}`."""
    return array[1:-1].split(",") if len(array) > 2 else ()  # noqa: PLR2004 - the braces


@lru_cache(maxsize=TEXTS)
def _tags(array: str) -> frozenset[Tag]:
    return frozenset(Tag(name) for name in _words(array))


@lru_cache(maxsize=TEXTS)
def _mechanisms(array: str) -> frozenset[Mechanism]:
    return frozenset(Mechanism(name) for name in _words(array))


@lru_cache(maxsize=TEXTS)
def _handler(text: str) -> HandlerFacts:
    return HandlerFactsIn.model_validate_json(text).facts()


@lru_cache(maxsize=TEXTS)
def _dataset(text: str, tags: str) -> DatasetFacts:
    return OriginFactsIn.model_validate_json(text).dataset(_tags(tags))


@lru_cache(maxsize=TEXTS)
def _recipient(text: str, country: str, kind: str, key: str) -> RecipientFacts:
    body: dict[str, Any] = msgspec.json.decode(text)
    return RecipientFactsIn.model_validate(body | {"country": country, "kind": kind}).facts(key)


@lru_cache(maxsize=TEXTS)
def _claims(text: str, recipient_key: str) -> tuple[TransferFacts, RecipientFacts | None, frozenset[str] | None]:
    """Return what a permit's transfer claimed, and the recipient and the papers that it was approved with, where recorded."""
    claims: dict[str, Any] = msgspec.json.decode(text)
    necessity, approved, papers = (claims.get(name) for name in ("necessity", "recipient", "papers"))
    return (
        TransferFacts(
            method=Method(claims["method"]),
            necessity=None if necessity is None else Necessity(necessity),
            legal_basis=LegalBasis(claims["legal_basis"]),
        ),
        None if approved is None else RecipientFactsIn.model_validate(approved).facts(recipient_key),
        None if papers is None else frozenset(papers),
    )
