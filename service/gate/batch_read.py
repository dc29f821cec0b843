"""Reads what a batch's decisions need: one statement, inside the transaction that records them.

Every row is read anew in every transaction. Only parsed values are memoised, by their source text.
"""

from collections.abc import Callable, Mapping, Sequence
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
from service.database.row_security import EVERYWHERE, HandlerScope
from service.database.session import Transaction
from service.gate.decide import DatasetState, DecisionInputs, Growth, PermitState, Terms
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
from service.law.mechanisms import Mechanism
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn
from service.registry.fields import Field, Fields, compare_fields

Parsed = TypeVar("Parsed")

EXPORTERS: Final = frozenset({Role.EXPORTER})
MAX_MEMOISED_TEXTS: Final = 16_384
"""Maximum number of memoised texts of each kind."""
MAX_MEMOISED_LISTS: Final = 4_096
"""Maximum number of memoised texts that list fields."""
MAX_MEMOISED_LENGTH: Final = 4_096
"""Length in characters from which a list of fields is not memoised: bounds the memory, however wide the tables are."""
SEPARATOR: Final = "\x1f"
"""Separator of texts that go to PostgreSQL, or come from it, as one; it occurs in no key, id, code or canonical JSON."""

HASH: Final = 32
"""Bytes of a SHA-256."""


def arrays(first: int, last: int, members: str = "text") -> str:
    """Return SQL that splits the arguments of a statement, from one number to another, into the arrays that `join_texts` joined."""
    return ", ".join([f"string_to_array(${number}, e'\\x1f')::{members}[]" for number in range(first, last + 1)])


def piece(number: int) -> str:
    """Return SQL for the `n`th hash of an argument that holds concatenated hashes."""
    return f"substring(${number}::bytea from n::int * {HASH} - {HASH - 1} for {HASH})"


DATASET_COLUMNS: Final = (
    "dataset",
    "handler",
    "recipient",
    "facts",
    "fields",
    "year_is_begun",
    "year_persons",
    "year_sensitive_persons",
)
CALLER_COLUMNS: Final = (
    "caller",
    "caller_name",
    "caller_kind",
    "caller_sha256",
    "caller_stands",
    "caller_reach",
)
PERMIT_COLUMNS: Final = (
    "permit",
    "permit_status",
    "permit_purpose",
    "permit_persons",
    "permit_sensitive_persons",
    "permit_used_persons",
    "permit_used_sensitive_persons",
    "permit_document",
    "permit_is_overdue",
    "permit_has_evidence",
)
COLUMNS: Final = ("ask", *DATASET_COLUMNS, *CALLER_COLUMNS, *PERMIT_COLUMNS, "moment")
"""Columns of `gate_read_2`, in the order in which `READ` selects them by name; each group is the parameters of the function that parses
it."""

READ: Final = f"select {', '.join(COLUMNS)} from gate_read_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"  # noqa: S608 - declared above  # nosec B608
"""Statement that reads all rows that decisions depend on (`sql/gate_read_2.sql`)."""

# Places in a row of `READ`, from the declaration: a lookup by name in each row would cost more.
_ASK: Final = COLUMNS.index("ask")
_INSTANT: Final = COLUMNS.index("moment")
_CALLER: Final = COLUMNS.index("caller")
_PERMIT: Final = COLUMNS.index("permit")


def _places(group: tuple[str, ...]) -> slice:
    """Return the places of a group of columns in a row of `READ`."""
    first = COLUMNS.index(group[0])
    return slice(first, first + len(group))


_OF_DATASET: Final = _places(DATASET_COLUMNS)
_OF_CALLER: Final = _places(CALLER_COLUMNS)
_OF_PERMIT: Final = _places(PERMIT_COLUMNS)


class Lookup(Struct, frozen=True):
    """Lookup key of one ask: dataset and recipient, by id or key; `permit` narrows it to one permit."""

    dataset: str
    recipient: str | None
    prefix: str | None = None
    """Prefix of the API key, or id of the linked identity; None if the caller is known already."""
    permit: str | None = None


class Holder(Struct, frozen=True):
    """Holder of a credential."""

    sha256: bytes | None
    is_valid: bool
    caller: Caller
    handlers: HandlerScope
    """The handlers of which the caller is an exporter."""


class Snapshot(Struct, frozen=True):
    """Rows that the decision on one ask depends on; an id is None where the register has no such row."""

    holder: Holder | None
    dataset: str | None
    handler: str | None
    recipient: str | None
    has_year: bool
    """True if the handler's year has a row in the ledger, which reservations lock."""
    inputs: DecisionInputs
    growth: Growth | None = None
    """Growth of the totals, where persons are announced by hash; computed apart from the read."""


async def read(
    connection: asyncpg.Connection, lookups: Sequence[Lookup], now: datetime, today: date
) -> Sequence[Snapshot]:
    """Read the rows for the decisions on some asks, in the order of the asks.

    Args:
        connection: in a transaction, with the gate's lock if decisions are to be recorded in it.
        lookups: the asks.
        now: the instant, in UTC.
        today: the day on which the answers are to hold; its year is the ledger's.
    """
    rows = await connection.fetch(READ, *arguments(lookups), now, today, None, None)
    return parse_rows(rows, lookups, today)


async def read_now(
    connection: asyncpg.Connection, lookups: Sequence[Lookup], ahead: timedelta, lock: int | None
) -> tuple[datetime, Sequence[Snapshot]]:
    """Read the rows for the decisions on some asks, with the instant of the read by PostgreSQL's clock.

    Args:
        connection: its session holds the gate's lock, or takes it.
        lookups: the asks: one at least.
        ahead: how far ahead of PostgreSQL's clock it is.
        lock: advisory lock that the session takes, shared, before it reads, and holds until it is released.
    """
    rows = await connection.fetch(READ, *arguments(lookups), None, None, ahead, lock)
    now = next(row[_INSTANT] for row in rows if row[_ASK] == 1)
    return now, parse_rows(rows, lookups, day_in_shanghai(now))


async def read_in(tx: Transaction, lookups: Sequence[Lookup], today: date) -> Sequence[Snapshot]:
    """Read the rows in a transaction of the ORM, after a flush of its changes."""
    await tx.flush()
    raw = await (await tx.connection()).get_raw_connection()
    return await read(cast("asyncpg.Connection", raw.driver_connection), lookups, tx.now, today)


def arguments(lookups: Sequence[Lookup]) -> tuple[str, ...]:
    """Return the first six arguments of `READ`."""
    columns: tuple[list[str], ...] = ([], [], [], [], [], [])
    prefixes, dataset_ids, dataset_keys, recipient_ids, recipient_keys, permits = columns
    for lookup in lookups:
        dataset, recipient = lookup.dataset, lookup.recipient or ""
        prefixes.append(lookup.prefix or "-")
        is_named = is_id(dataset, "ds")
        dataset_ids.append(dataset if is_named else "")
        dataset_keys.append("" if is_named else dataset)
        is_named = is_id(recipient, "rc")
        recipient_ids.append(recipient if is_named else "")
        recipient_keys.append("" if is_named else recipient)
        permits.append(lookup.permit or "")
    return tuple([join_texts(column) for column in columns])


def join_texts(texts: Sequence[str]) -> str:
    """Join texts for `arrays`; the separator within a text is replaced, since no name contains it."""
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) == len(texts) - 1:
        return text
    return SEPARATOR.join([text.replace(SEPARATOR, "\x1e") for text in texts])


def parse_rows(rows: Sequence[asyncpg.Record], lookups: Sequence[Lookup], today: date) -> Sequence[Snapshot]:
    """Group the rows of `READ` by ask: an ask has a row for each of its permits, and one row without any."""
    asks: list[Snapshot] = []
    permits: list[PermitState] = []
    holders: dict[str | None, Holder] = {}
    last = 0
    for row in sorted(rows, key=itemgetter(_ASK)):
        n = row[_ASK]
        if n != last:
            last, permits = n, []
            prefix = lookups[n - 1].prefix
            if row[_CALLER] is not None:
                holders[prefix] = _holder(*row[_OF_CALLER])
            asks.append(_build_snapshot(holders.get(prefix), permits, today, *row[_OF_DATASET]))
        if row[_PERMIT] is not None:
            permits.append(_permit(*row[_OF_PERMIT]))
    return asks


def _holder(
    caller: str,
    caller_name: str,
    caller_kind: Any,
    caller_sha256: bytes | None,
    caller_stands: bool,  # noqa: FBT001
    caller_reach: str | None,
) -> Holder:
    handlers = frozenset((caller_reach or "").split(",")) - {""}
    scope: HandlerScope = EVERYWHERE if EVERYWHERE in handlers else handlers
    roles: Mapping[Role, HandlerScope] = {Role.EXPORTER: scope} if scope else {}
    return Holder(caller_sha256, caller_stands, Caller(caller, caller_name, caller_kind, roles), scope)


def _build_snapshot(
    holder: Holder | None,
    permits: Sequence[PermitState],
    today: date,
    dataset: str | None,
    handler: str | None,
    recipient: str | None,
    facts: str,
    fields: str,
    year_is_begun: bool | None,  # noqa: FBT001
    year_persons: int,
    year_sensitive_persons: int,
) -> Snapshot:
    of_handler, of_dataset, of_recipient = _facts(facts)
    if handler is None or of_handler is None:
        # A dataset is unknown to a caller who is no exporter of its handler.
        return Snapshot(holder, None, None, recipient, False, DecisionInputs(today, None, of_recipient, (), Count()))
    year = Count(year_persons, year_sensitive_persons)
    inputs = DecisionInputs(today, DatasetState(of_handler, of_dataset, _fields(fields)), of_recipient, permits, year)
    return Snapshot(holder, dataset, handler, recipient, bool(year_is_begun), inputs)


def _permit(
    permit: str,
    permit_status: str,
    permit_purpose: str,
    permit_persons: int,
    permit_sensitive_persons: int,
    permit_used_persons: int,
    permit_used_sensitive_persons: int,
    permit_document: str,
    permit_is_overdue: bool,  # noqa: FBT001
    permit_has_evidence: bool,  # noqa: FBT001
) -> PermitState:
    valid_from, valid_until, fields, systems, registered, terms = _document(permit_document)
    return PermitState(
        permit,
        permit_status,
        valid_from,
        valid_until,
        permit_purpose,
        fields,
        systems,
        Count(permit_persons, permit_sensitive_persons),
        Count(permit_used_persons, permit_used_sensitive_persons),
        registered,
        terms,
        permit_is_overdue,
        permit_has_evidence,
    )


# Parsing of texts


_decode_fields = msgspec.json.Decoder(list[Field]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


def _memoise(parse: Callable[[str], Parsed]) -> Callable[[str], Parsed]:
    """Memoise a parser by its source text, except for long texts."""
    memoised = lru_cache(maxsize=MAX_MEMOISED_LISTS)(parse)
    return lambda text: memoised(text) if len(text) < MAX_MEMOISED_LENGTH else parse(text)


_UNKNOWN: Final = "-"
"""Placeholder for the fields that a grading examined, where these are not recorded."""


@_memoise
def _fields(text: str) -> Fields:
    """Return a dataset's fields, compared with those that its grading examined (empty: the same) and named sensitive."""
    fields, graded, sensitive = text.split(SEPARATOR)
    now = _decode_fields(fields)
    looked_at = None if graded == _UNKNOWN else _decode_fields(graded) if graded else now
    return compare_fields(now, looked_at, _names(sensitive))


def _names(text: str) -> Sequence[str] | None:
    return _decode_names(text) if text and text != "null" else None


def _words(array: str) -> Sequence[str]:
    """Return the members of an array of plain words as PostgreSQL writes it: `{core,personal}`."""
    return array[1:-1].split(",") if len(array) > 2 else ()  # noqa: PLR2004 - the braces


@lru_cache(maxsize=MAX_MEMOISED_TEXTS)
def _facts(text: str) -> tuple[HandlerFacts | None, DatasetFacts | None, RecipientFacts | None]:
    """Return the facts of handler, dataset and recipient; None where it is missing or not graded."""
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


@_memoise
def _document(text: str) -> tuple[date, date, _Names | None, _Names | None, _Names, Terms]:
    """Return the texts of a permit: first and last day, fields, systems, the fields registered at approval, and its terms."""
    begins, ends, fields, systems, registered, terms = text.split(SEPARATOR, 5)
    names = registered.split("\x1e") if registered else []
    return _day(begins), _day(ends), _names(fields), _names(systems), names, _terms(terms)


def _day(number: str) -> date:
    return date.fromordinal(int(number) + 1)


@lru_cache(maxsize=MAX_MEMOISED_TEXTS)
def _terms(text: str) -> Terms:
    tags, dataset, requirements, route, claims, key = text.split(SEPARATOR)
    document: dict[str, Any] = msgspec.json.decode(claims)
    necessity, approved, evidence_kinds = (document.get(name) for name in ("necessity", "recipient", "papers"))
    handler, called = document.get("handler"), document.get("recipient_name")
    bound = OriginFactsIn.model_validate_json(dataset).dataset(frozenset()) if dataset else None
    return Terms(
        tags=frozenset(map(Tag, _words(tags))),
        requirements=frozenset(map(Mechanism, _words(requirements))),
        route=Route(route) if route else None,
        transfer=TransferFacts(
            method=Method(document["method"]),
            necessity=None if necessity is None else Necessity(necessity),
            legal_basis=LegalBasis(document["legal_basis"]),
        ),
        recipient=None if approved is None else RecipientFactsIn.model_validate(approved).facts(key, called),
        evidence_kinds=None if evidence_kinds is None else frozenset(evidence_kinds),
        handler=None if handler is None else HandlerFactsIn.model_validate(handler).facts(),
        dataset=bound,
    )
