"""Reads what a batch's decisions need: one statement, inside the transaction that records them.

Every row is read anew in every transaction. Only parsed values are memoised, by their source text.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

import asyncpg
import msgspec
from msgspec import Struct

from service.access.caller import Caller, Role
from service.clock import day_in_shanghai
from service.database.ids import is_id
from service.database.row_security import EVERYWHERE, Reach
from service.database.session import Transaction
from service.gate.decide import Growth, Known, KnownDataset, KnownPermit, Terms
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
from service.registry.fields import Field, Fields, held_against

Meaning = TypeVar("Meaning")

EXPORTERS: Final = frozenset({Role.EXPORTER})
TEXTS: Final = 16_384
"""Texts of each kind at most whose meaning is kept."""
DOCUMENTS: Final = 4_096
"""Of those that list fields."""
MAX_MEMOISED_LIST: Final = 4_096
"""Characters from which on a list of fields is read anew each time: what is kept must be little, however wide the tables are."""
SEPARATOR: Final = "\x1f"
"""Between texts that go to PostgreSQL, or come from it, as one; no key, id, code or canonical JSON holds it."""

HASH: Final = 32
"""Bytes of a SHA-256."""


def arrays(first: int, last: int, members: str = "text") -> str:
    """Return SQL for the arguments of a statement, from one number to another, as the arrays that were `joined`."""
    return ", ".join([f"string_to_array(${number}, e'\\x1f')::{members}[]" for number in range(first, last + 1)])


def piece(number: int) -> str:
    """Return SQL for the `n`th of the hashes that an argument of a statement holds, one behind the other."""
    return f"substring(${number}::bytea from n::int * {HASH} - {HASH - 1} for {HASH})"


READ: Final = "select * from gate_read_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
"""All that decisions look at: a function in the database (migration 0018), which can take the gate's lock and then read in one trip."""

OF_CALLER: Final = 9
OF_PERMIT: Final = 15
OF_MOMENT: Final = 25
"""Where in a row its columns on the caller, on a permit and on the moment begin: rows are taken apart by place, names would be looked up
for each."""


class Wanted(Struct, frozen=True):
    """What one ask is about, by id or key; `permit` narrows it to one permit."""

    dataset: str
    recipient: str | None
    prefix: str | None = None
    """How the caller's key begins, or the id of the login that was vouched for; None: the caller is known already."""
    permit: str | None = None


class Holder(Struct, frozen=True):
    """Who holds a key."""

    sha256: bytes | None
    stands: bool
    caller: Caller
    reach: Reach
    """The handlers of which the caller is an exporter."""


class Found(Struct, frozen=True):
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
    rows = await connection.fetch(READ, *arguments(wanted), now, today, None, None)
    return found_in(rows, wanted, today)


async def read_now(
    connection: asyncpg.Connection, wanted: Sequence[Wanted], ahead: timedelta, lock: int | None
) -> tuple[datetime, Sequence[Found]]:
    """Return the moment at which it is read, by PostgreSQL's clock, and what the decisions on some asks look at then.

    Args:
        connection: whose session has the gate's lock, or takes it.
        wanted: the asks: one at least.
        ahead: how far ahead of PostgreSQL's clock it is.
        lock: is taken shared by the session before anything is read, and held until the session lets go of it.
    """
    rows = await connection.fetch(READ, *arguments(wanted), None, None, ahead, lock)
    now = next(row[OF_MOMENT] for row in rows if row[0] == 1)
    return now, found_in(rows, wanted, day_in_shanghai(now))


async def read_in(tx: Transaction, wanted: Sequence[Wanted], today: date) -> Sequence[Found]:
    """Return the same in a transaction of the ORM, whose changes have been flushed."""
    await tx.flush()
    raw = await (await tx.connection()).get_raw_connection()
    return await read(cast("asyncpg.Connection", raw.driver_connection), wanted, tx.now, today)


def arguments(wanted: Sequence[Wanted]) -> tuple[str, ...]:
    """Return the first six arguments of `READ`."""
    columns: tuple[list[str], ...] = ([], [], [], [], [], [])
    prefixes, dataset_ids, dataset_keys, recipient_ids, recipient_keys, permits = columns
    for one in wanted:
        dataset, recipient = one.dataset, one.recipient or ""
        prefixes.append(one.prefix or "-")
        named = is_id(dataset, "ds")
        dataset_ids.append(dataset if named else "")
        dataset_keys.append("" if named else dataset)
        named = is_id(recipient, "rc")
        recipient_ids.append(recipient if named else "")
        recipient_keys.append("" if named else recipient)
        permits.append(one.permit or "")
    return tuple([joined(column) for column in columns])


def joined(texts: Sequence[str]) -> str:
    """Return some texts as one, for `arrays`; one that holds the separator is the name of nothing, and stays so without it."""
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) == len(texts) - 1:
        return text
    return SEPARATOR.join([one.replace(SEPARATOR, "\x1e") for one in texts])


def found_in(rows: Sequence[asyncpg.Record], wanted: Sequence[Wanted], today: date) -> Sequence[Found]:
    """Return what stands in the rows of `READ`, ask by ask: of one there are as many as it has permits, and one if it has none."""
    asks: list[Found] = []
    permits: list[KnownPermit] = []
    holders: dict[str | None, Holder] = {}
    last = 0
    for row in sorted(rows, key=itemgetter(0)):
        n = row[0]
        if n != last:
            last, permits = n, []
            prefix = wanted[n - 1].prefix
            if row[OF_CALLER] is not None:
                holders[prefix] = _holder(*row[OF_CALLER:OF_PERMIT])
            asks.append(_found(holders.get(prefix), permits, today, *row[1:OF_CALLER]))
        if row[OF_PERMIT] is not None:
            permits.append(_permit(*row[OF_PERMIT:OF_MOMENT]))
    return asks


def _holder(caller: str, name: str, kind: Any, sha256: bytes | None, stands: bool, reach: str | None) -> Holder:  # noqa: FBT001
    handlers = frozenset((reach or "").split(",")) - {""}
    reached: Reach = EVERYWHERE if EVERYWHERE in handlers else handlers
    return Holder(sha256, stands, Caller(caller, name, kind, {Role.EXPORTER: reached} if reached else {}), reached)


def _found(
    holder: Holder | None,
    permits: Sequence[KnownPermit],
    today: date,
    dataset: str | None,
    handler: str | None,
    recipient: str | None,
    facts: str,
    fields: str,
    is_begun: bool | None,  # noqa: FBT001
    persons: int,
    sensitive_persons: int,
) -> Found:
    of_handler, of_dataset, of_recipient = _facts(facts)
    if handler is None or of_handler is None:
        # A dataset for whose handler the caller is no exporter is as unknown as one that is not there.
        return Found(holder, None, None, recipient, False, Known(today, None, of_recipient, (), Count()))
    year = Count(persons, sensitive_persons)
    known = Known(today, KnownDataset(of_handler, of_dataset, _fields(fields)), of_recipient, permits, year)
    return Found(holder, dataset, handler, recipient, bool(is_begun), known)


def _permit(
    ident: str,
    status: str,
    purpose: str,
    persons: int,
    sensitive_persons: int,
    used_persons: int,
    used_sensitive_persons: int,
    document: str,
    is_overdue: bool,  # noqa: FBT001
    has_evidence: bool,  # noqa: FBT001
) -> KnownPermit:
    valid_from, valid_until, fields, systems, registered, terms = _document(document)
    return KnownPermit(
        ident,
        status,
        valid_from,
        valid_until,
        purpose,
        fields,
        systems,
        Count(persons, sensitive_persons),
        Count(used_persons, used_sensitive_persons),
        registered,
        terms,
        is_overdue,
        has_evidence,
    )


# What texts mean


_decode_fields = msgspec.json.Decoder(list[Field]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


def _kept(meaning: Callable[[str], Meaning]) -> Callable[[str], Meaning]:
    """Keep what texts mean, but for long ones."""
    kept = lru_cache(maxsize=DOCUMENTS)(meaning)
    return lambda text: kept(text) if len(text) < MAX_MEMOISED_LIST else meaning(text)


_UNKNOWN: Final = "-"
"""Stands for the fields that a grading looked at where nobody knows them."""


@_kept
def _fields(text: str) -> Fields:
    """Return what a dataset's fields are, which the grading looked at (the same, where nothing stands there), and which it named."""
    fields, graded, sensitive = text.split(SEPARATOR)
    now = _decode_fields(fields)
    looked_at = None if graded == _UNKNOWN else _decode_fields(graded) if graded else now
    return held_against(now, looked_at, _names(sensitive))


def _names(text: str) -> Sequence[str] | None:
    return _decode_names(text) if text and text != "null" else None


def _words(array: str) -> Sequence[str]:
    """Return the members of an array of plain words as PostgreSQL writes it: `{core,personal}`."""
    return array[1:-1].split(",") if len(array) > 2 else ()  # noqa: PLR2004 - the braces


@lru_cache(maxsize=TEXTS)
def _facts(text: str) -> tuple[HandlerFacts | None, DatasetFacts | None, RecipientFacts | None]:
    """Return handler, dataset and recipient as the law sees them; None for one that is not there, or not graded."""
    handler, tags, dataset, recipient, country, kind, key, name = text.split(SEPARATOR)
    return (
        HandlerFactsIn.model_validate_json(handler).facts() if handler else None,
        OriginFactsIn.model_validate_json(dataset).dataset(frozenset(map(Tag, _words(tags)))) if tags else None,
        RecipientFactsIn.model_validate(msgspec.json.decode(recipient) | {"country": country, "kind": kind}).facts(
            key, name
        )
        if recipient
        else None,
    )


_Names = Sequence[str]


@_kept
def _document(text: str) -> tuple[date, date, _Names | None, _Names | None, _Names, Terms]:
    """Return what a permit says but for numbers: from and until when, fields, systems, the fields that were registered, and its terms."""
    begins, ends, fields, systems, registered, terms = text.split(SEPARATOR, 5)
    names = registered.split("\x1e") if registered else []
    return _day(begins), _day(ends), _names(fields), _names(systems), names, _terms(terms)


def _day(number: str) -> date:
    return date.fromordinal(int(number) + 1)


@lru_cache(maxsize=TEXTS)
def _terms(text: str) -> Terms:
    tags, dataset, requirements, route, claims, key = text.split(SEPARATOR)
    told: dict[str, Any] = msgspec.json.decode(claims)
    necessity, approved, papers = (told.get(name) for name in ("necessity", "recipient", "papers"))
    handler, called = told.get("handler"), told.get("recipient_name")
    bound = OriginFactsIn.model_validate_json(dataset).dataset(frozenset()) if dataset else None
    return Terms(
        tags=frozenset(map(Tag, _words(tags))),
        requirements=frozenset(map(Mechanism, _words(requirements))),
        route=Route(route) if route else None,
        transfer=TransferFacts(
            method=Method(told["method"]),
            necessity=None if necessity is None else Necessity(necessity),
            legal_basis=LegalBasis(told["legal_basis"]),
        ),
        recipient=None if approved is None else RecipientFactsIn.model_validate(approved).facts(key, called),
        papers=None if papers is None else frozenset(papers),
        handler=None if handler is None else HandlerFactsIn.model_validate(handler).facts(),
        dataset=bound,
    )
