"""Datasets from files: CSV of a catalogue, or Fides dataset YAML. Every bad row is told with its line; all or nothing.

1. A helper process reads and checks the file, and holds it against the register, some rows at a time (`Reading`): nothing is written,
   and no lock is taken. A dry run, a file with faults and one that changes nothing end here.
2. What changes is written, some rows at a time, by one statement each for what is new and what differs. Rows that differ are locked, and
   compared once more.
3. Entries and events follow, so that the log waits for their transaction as shortly as can be.
4. The gate is closed right before the commit, if anything that was changed can deny.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NoReturn, cast

import yaml
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import DateTime, Text, bindparam, text

from service.access.caller import READERS, Caller
from service.audit.actions import AuditAction
from service.audit.effects import Written
from service.database.ids import is_id, new_ids
from service.database.session import MovedError, Transaction, elevated
from service.events import operations as events
from service.law import freeing
from service.law.schemas import OriginFactsIn
from service.registry import key_spellings
from service.registry.helper_calls import asked
from service.registry.key_normalization import folded_key
from service.registry.operations import MINORS, REGISTRARS, change_dataset
from service.registry.outdated_fields import lacks_tag_of_minors, news_in
from service.registry.record_diff import Change, Json, change_of, waiting_of
from service.registry.schemas import DISTINCT, MAX_FIELDS, DatasetNewIn, DatasetPatch, FieldIn, ImportOut
from service.registry.tables import Dataset
from service.validation.problems import Forbidden, Invalid, NotFound, UnsupportedMediaType, pointer_to
from service.workers import Asks, Here

Format = Literal["csv", "fides"]

_MEDIA_TYPES: Final[dict[str, Format]] = {
    "text/csv": "csv",
    "application/yaml": "fides",
    "application/x-yaml": "fides",
    "text/yaml": "fides",
}
_COLUMNS: Final = ("key", "handler", "title", "owner", "description", "fields", "distinct_from", "reason")
_FACTS: Final = ("origin", "domestic_data_added", "ftz_list", "contains_minors")
_REQUIRED: Final = ("key", "title")
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FIELD_PARTS: Final = 3
_MAX_DEPTH: Final = 40
_CHUNK: Final = 250
"""Rows that are read, compared and written at a time."""

MAX_LISTED: Final = 20_000
"""Faults that an answer lists: a small file can have very many, and what lists them goes through the hands of everybody's process."""
Fault = tuple[int, str, str]
"""The line, the pointer of the field, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset of a file: the line it begins at, and the body that `POST /v1/datasets` would take."""

    line: int
    body: dict[str, Any]


class ImportRefused(Invalid):
    """Rows of a file that cannot be taken; nothing of the file has been stored."""

    slug, title = "import-refused", "Nothing was imported: some rows need mending"

    def __init__(self, faults: Sequence[Fault], *, count: int | None = None, listed: str | None = None) -> None:
        number = len(faults) if count is None else count
        most = f" The first {MAX_LISTED:,} are listed." if number > MAX_LISTED else ""
        super().__init__(f"{number} fault(s) in the file; each names its line and field.{most} Nothing was imported.")
        self.faults = faults
        self.errors: list[dict[str, Any]] = _errors_of(faults)
        self.listed = listed


def _errors_of(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    return [
        {"pointer": field, "line": line, "field": field.lstrip("/"), "detail": detail}
        for line, field, detail in faults[:MAX_LISTED]
    ]


def format_of(content_type: str) -> Format:
    """Return the format that a media type names.

    Raises:
        UnsupportedMediaType: neither CSV nor YAML.
    """
    found = _MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if found is None:
        raise UnsupportedMediaType("Send text/csv, or Fides datasets as application/yaml.")
    return found


def parse(content: bytes, kind: Format) -> list[Row]:
    """Return the datasets of a file.

    Raises:
        ImportRefused: the file cannot be read, with the line.
    """
    return list(rows_of(content, kind))


def rows_of(content: bytes, kind: Format) -> Iterator[Row]:
    """Yield the datasets of a file as it is read.

    Raises:
        ImportRefused: the file cannot be read, with the line; at the end where some rows cannot.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportRefused([(line, "", "The file is not UTF-8.")]) from error
    if "\x00" in text:
        raise ImportRefused([(text[: text.index("\x00")].count("\n") + 1, "", "The file holds a NUL.")])
    is_empty = True
    for row in _csv_rows(text) if kind == "csv" else _fides_rows(text):
        is_empty = False
        yield row
    if is_empty:
        raise ImportRefused([(1, "", "The file holds no dataset.")])


class Reading:
    """A file as it is read, checked and compared: work on what a caller sent, for a helper process (see `service.workers`).

    Each method returns little, or texts that go on to PostgreSQL as they are.
    """

    def __init__(self, content: bytes, kind: Format, handler: str | None, owner: str | None) -> None:
        self._faults: list[Fault] = []
        self._rows: list[_Wanted] = []
        self._ids = new_ids("ds")
        self._spelt: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        """Of each handler and folded key, the keys that are spellings of it, their ids and numbers."""
        defaults = {"handler": handler, "owner": owner or handler}
        try:
            self._check(rows_of(content, kind), defaults)
        except ImportRefused as refused:
            self._faults = list(refused.faults)
            self._rows = []
        # Always in the same order, so that two imports never wait for each other in a circle.
        self._rows.sort(key=lambda row: row.key)

    def _check(self, rows: Iterator[Row], defaults: Mapping[str, str | None]) -> None:
        seen: dict[str, int] = {}
        for row in rows:
            try:
                wanted = _checked(row, defaults)
            except ValidationError as error:
                self._faults += [(row.line, pointer_to(fault["loc"]), _told(fault)) for fault in error.errors()]
                continue
            if wanted.key in seen:
                self._faults.append((row.line, "/key", f"The same key stands at line {seen[wanted.key]}."))
            seen.setdefault(wanted.key, row.line)
            body = wanted.model_dump_json(exclude={"handler", "scale", *DISTINCT})
            # A column that is not there says nothing of the fact.
            stated = tuple(sorted(wanted.facts.model_fields_set))
            said = None if wanted.distinct_from is None else (wanted.distinct_from, wanted.reason or "")
            self._rows.append(_Wanted(row.line, wanted.key, wanted.handler, body, stated, folded_key(wanted.key), said))

    def chunks(self) -> int:
        """Return how many times some rows are looked at."""
        return -(-len(self._rows) // _CHUNK)

    def about(self, chunk: int) -> tuple[list[str], list[str], list[str]]:
        """Return the keys of some rows, the handlers that they name, and the folded keys."""
        rows = self._chunk(chunk)
        return [row.key for row in rows], sorted({row.named for row in rows}), sorted({row.folded for row in rows})

    def compare(self, chunk: int, stored: str, handlers: Mapping[str, tuple[str | None, str]], spelt: str) -> None:
        """Find out what some rows change.

        Args:
            chunk: which.
            stored: the datasets of their keys, whoever's they are, as `_STORED` has them.
            handlers: of each handler that they name its id or, where the caller does not keep it, None and what to say of it.
            spelt: the datasets that have one of their folded keys, as `_SPELT` has them.
        """
        for one in json.loads(spelt):
            self._spelt.setdefault((one["handler"], one["folded_key"]), []).append(
                (one["key"], one["id"], one["number"])
            )
        found = _by_key(stored)
        for row in self._chunk(chunk):
            row.handler, refusal = handlers[row.named]
            there = found.get(row.key)
            if row.handler is None:
                self._faults.append((row.line, "/handler", refusal))
            elif there is not None and there["handler"] != row.handler:
                self._faults.append((row.line, "/key", "Another handler has a dataset of this key."))
            else:
                if there is not None and lacks_tag_of_minors(there, json.loads(row.body)):
                    self._faults.append((row.line, *MINORS))
                row.is_new = there is None
                facts = self._facts(row, there)
                row.frees = bool(facts.pending or facts.overtaken)
                row.differs = there is None or self._change(row, there) is not None
                self._spell(row)

    def _spell(self, row: "_Wanted") -> None:
        """Find out whether a row's key is another spelling of one that is there, or stands in the file before it."""
        twins = self._spelt.setdefault((row.handler or "", row.folded), [])
        others = [one for one in twins if one[0] != row.key]
        named = next((one for one in others if row.said and row.said[0] in one[:2]), None)
        if row.said is not None and named is None:
            self._faults.append((row.line, "/distinct_from", "The key is no other spelling of this."))
        elif row.is_new and others and named is None:
            said = (
                f"{others[0][0]} is another spelling of this key. If it is something else, name it under `distinct_from`, "
                "with a `reason`."
            )
            self._faults.append((row.line, "/key", said))
        if row.is_new:
            row.number = max((one[2] for one in twins), default=-1) + 1
            twins.append((row.key, "", row.number))

    def waits(self, chunk: int) -> list[tuple[str, str, Json]]:
        """Return, of some rows that were written, what waits for a second person: key, folded key, and a body for `PATCH`."""
        waiting: list[tuple[str, str, Json]] = []
        for row in self._chunk(chunk):
            facts = json.loads(row.body)["facts"] if row.frees else {}
            patch: Json = {"facts": {fact: facts[fact] for fact in row.stated}} if row.frees else {}
            if row.said is not None:
                patch |= {"distinct_from": row.said[0], "reason": row.said[1]}
            if patch:
                waiting.append((row.key, row.folded, patch))
        return waiting

    def refused(self) -> tuple[int, str]:
        """Return how much is wrong with the file, and what, as the answer lists it; 0: it can be taken."""
        return len(self._faults), json.dumps(_errors_of(sorted(self._faults)), ensure_ascii=False)

    def changes(self) -> bool:
        """Tell whether anything of the file is new or differs."""
        return any(row.differs or row.frees or row.said is not None for row in self._rows)

    def to_lock(self, chunk: int) -> list[str]:
        """Return the keys of some rows that differ from what is stored."""
        return [row.key for row in self._chunk(chunk) if row.differs and not row.is_new]

    def writes(self, chunk: int, stored: str) -> tuple[str | None, int, str | None]:
        """Return what is written of some rows: what is new and how many these are, and what differs; None: nothing.

        Args:
            chunk: which.
            stored: the datasets that are locked now, as they are.
        """
        found = _by_key(stored)
        new: list[Json] = []
        changed: list[Json] = []
        for row in self._chunk(chunk):
            if row.is_new:
                row.id = next(self._ids)
                spelt = {"folded_key": row.folded, "twin_number": row.number}
                new.append(self._kept(row, None) | {"id": row.id, "handler": row.handler} | spelt)
            elif row.differs:
                there = found[row.key]
                change = self._change(row, there)
                row.differs, row.id = change is not None, there["id"]
                if lacks_tag_of_minors(there, json.loads(row.body)):  # graded since it was compared
                    self._faults.append((row.line, *MINORS))
                if change is not None:
                    row.change = json.dumps(change.details, ensure_ascii=False)
                    row.can_deny = change.can_deny
                    row.outdated = json.dumps(news_in(there, change.after), ensure_ascii=False)
                    row.grading = there["grading"]
                    kept = self._kept(row, there)
                    row.kept = json.dumps(kept["facts"])
                    changed.append({name: kept[name] for name in _CHANGED} | {"id": row.id})
        return _text(new), len(new), _text(changed)

    def acting(self, chunk: int) -> int:
        """Return how many acts there are of some rows."""
        return sum(row.differs + (row.differs and row.outdated != _NONE) for row in self._chunk(chunk))

    def acts(
        self, chunk: int, now: datetime, caller: Caller, numbers: events.ReservedNumbers
    ) -> events.RecordedChanges:
        """Return the entries and events of what was written of some rows."""
        rows = [row for row in self._chunk(chunk) if row.differs]
        written = [self._row(row, now) for row in rows]
        acts = [self._act(row) for row in rows] + [self._outdated(row) for row in rows if row.outdated != _NONE]
        return events.encode_changes(now, caller, acts, written, numbers)

    @staticmethod
    def _row(row: "_Wanted", now: datetime) -> Written:
        """Return what was written of a dataset."""
        wanted = json.loads(row.body)
        if row.is_new:
            wanted["facts"] = freeing.apply_first_statement("dataset", wanted["facts"]).facts
        elif row.kept:
            wanted["facts"] = json.loads(row.kept)
        values = {name: wanted[name] for name in _CHANGED} | {"updated_at": now}
        if row.is_new:
            of_new: Json = {"key": row.key, "handler": row.handler, "created_at": now}
            of_new |= {"pending_facts": {}, "twins": [], "distinct_from": []}
            values |= of_new | dict.fromkeys(_NONE_YET)
        return Written("datasets", row.id, row.is_new, values)

    def can_deny(self) -> bool:
        """Tell whether what was written can turn an allow into a deny."""
        return any(row.can_deny for row in self._rows)

    def outcome(self, dry_run: bool) -> bytes:  # noqa: FBT001
        """Return what was done, or would be, as the answer tells it."""
        created = sum(row.is_new for row in self._rows)
        differing = [row for row in self._rows if row.differs or row.frees]
        told = ImportOut(
            dry_run=dry_run,
            created=created,
            updated=len(differing) - created,
            unchanged=len(self._rows) - len(differing),
            keys=[row.key for row in sorted(differing, key=lambda row: row.line)],
        )
        return told.model_dump_json().encode()

    def _chunk(self, chunk: int) -> list["_Wanted"]:
        return self._rows[chunk * _CHUNK : (chunk + 1) * _CHUNK]

    @staticmethod
    def _facts(row: "_Wanted", there: Json | None) -> freeing.FactChange:
        """Return what a row does to the facts of a dataset: what frees waits for a second person."""
        wanted = json.loads(row.body)["facts"]
        if there is None:
            return freeing.apply_first_statement("dataset", wanted)
        held = {**freeing.DEFAULTS["dataset"], **there["facts"]}
        stated = {fact: wanted[fact] for fact in row.stated}
        return freeing.apply_statement("dataset", held, waiting_of(there["pending_facts"]), stated)

    @classmethod
    def _kept(cls, row: "_Wanted", there: Json | None) -> Json:
        """Return what is written of a row: what it says, but for the facts that free."""
        wanted: Json = json.loads(row.body)
        return wanted | {"facts": cls._facts(row, there).facts}

    @classmethod
    def _change(cls, row: "_Wanted", there: Json) -> Change | None:
        """Return what a row changes of a dataset that is there: the same rule as for any other way to change one."""
        wanted = cls._kept(row, there)
        before = {name: there[name] for name in _CHANGED}
        if all(before[name] == wanted[name] for name in _CHANGED):
            return None
        before["fields"] = _FIELDS.dump_python(_FIELDS.validate_python(before["fields"]), mode="json")
        before["facts"] = OriginFactsIn.model_validate(before["facts"]).model_dump(mode="json")
        return change_of("datasets", before, {name: wanted[name] for name in _CHANGED})

    @staticmethod
    def _act(row: "_Wanted") -> events.Change:
        kept = Reading._kept(row, None) if row.is_new else {}
        created = kept | {"handler": row.handler, "scale": None}
        return events.Change(
            action=AuditAction.DATASET_CREATED if row.is_new else AuditAction.DATASET_CHANGED,
            subject=row.id,
            handler=row.handler,
            details=created if row.is_new else json.loads(row.change),
            figures={"key": row.key},
            link=f"/v1/datasets/{row.id}",
        )

    @staticmethod
    def _outdated(row: "_Wanted") -> events.Change:
        return events.Change(
            action=AuditAction.DATASET_GRADING_OUTDATED,
            subject=row.id,
            handler=row.handler,
            details={"number": row.grading, "outdated": json.loads(row.outdated)},
            figures={"key": row.key},
            link=f"/v1/datasets/{row.id}",
        )


_NONE: Final = "[]"


@dataclass(slots=True)
class _Wanted:
    """A row that is in order, kept small: its dataset is JSON until it is needed."""

    line: int
    key: str
    named: str
    """The handler, as the row names it."""
    body: str
    stated: tuple[str, ...]
    """The facts that it states."""
    folded: str
    said: tuple[str, str] | None
    """Another spelling of its key, which is something else, and why."""
    frees: bool = False
    """Whether something of it waits for a second person, or overtakes what does."""
    kept: str = ""
    number: int = 0
    handler: str | None = None
    is_new: bool = False
    differs: bool = False
    can_deny: bool = False
    id: str = ""
    change: str = ""
    outdated: str = _NONE
    """Fields that its grading says nothing about any more, by this change."""
    grading: int | None = None


def _by_key(stored: str) -> dict[str, Json]:
    return {row["key"]: row for row in json.loads(stored)}


def _text(rows: Sequence[Json]) -> str | None:
    return json.dumps(rows, ensure_ascii=False) if rows else None


def _checked(row: Row, defaults: Mapping[str, str | None]) -> DatasetNewIn:
    stated = {name: value for name, value in row.body.items() if value is not None}
    return DatasetNewIn.model_validate({name: value for name, value in defaults.items() if value is not None} | stated)


_NONE_YET: Final = ("scale", "filed_scale", "tags", "grading", "graded_fields", "graded_number", "sensitive_fields")
_CHANGED: Final = ("title", "owner", "description", "fields", "facts")
"""What of a dataset that is there a file changes."""
_FIELDS: Final = TypeAdapter(list[FieldIn])

_MEMBERS: Final = """
  json_build_object('id', id, 'key', key, 'handler', handler, 'title', title, 'owner', owner, 'description', description,
                    'fields', fields, 'facts', facts, 'tags', tags, 'grading', grading, 'graded_fields', graded_fields,
                    'graded_number', graded_number, 'sensitive_fields', sensitive_fields, 'pending_facts', pending_facts)
"""
_STORED: Final = text(f"""
  select coalesce(json_agg({_MEMBERS}), '[]')::text from datasets
  where key = any(array(select json_array_elements_text(cast(:keys as json))))
""").bindparams(bindparam("keys", type_=Text))  # noqa: S608 - no caller's text is in it  # nosec B608
_SPELT: Final = text("""
  select coalesce(json_agg(json_build_object('handler', handler, 'folded_key', folded_key, 'key', key, 'id', id, 'number', twin_number)
                           order by id), '[]')::text
  from datasets where folded_key = any(array(select json_array_elements_text(cast(:folded as json))))
    and handler = any(array(select json_array_elements_text(cast(:handlers as json))))
""").bindparams(bindparam("folded", type_=Text), bindparam("handlers", type_=Text))
_HANDLERS: Final = text("""
  select id, key from handlers where id = any(array(select json_array_elements_text(cast(:named as json))))
  union all
  select id, key from handlers where key = any(array(select json_array_elements_text(cast(:named as json))))
""").bindparams(bindparam("named", type_=Text))
_LOCKED: Final = text(f"""
  with locked as materialized (
    select * from datasets where key = any(array(select json_array_elements_text(cast(:keys as json))))
    order by key for no key update
  )
  select coalesce(json_agg({_MEMBERS}), '[]')::text from locked
""").bindparams(bindparam("keys", type_=Text))  # noqa: S608 - no caller's text is in it  # nosec B608
_ADD: Final = text("""
  insert into datasets (id, key, handler, title, owner, description, fields, facts, folded_key, twin_number, created_at, updated_at)
  select id, key, handler, title, owner, description, fields, facts, folded_key, twin_number, :at, :at
  from json_to_recordset(cast(:rows as json)) as d(
    id text, key text, handler text, title text, owner text, description text, fields json, facts json, folded_key text,
    twin_number smallint
  ) on conflict do nothing
""").bindparams(bindparam("rows", type_=Text), bindparam("at", type_=DateTime(timezone=True)))
_CHANGE: Final = text("""
  update datasets set title = d.title, owner = d.owner, description = d.description, fields = d.fields, facts = d.facts,
                      updated_at = :at
  from json_to_recordset(cast(:rows as json)) as d(
    id text, title text, owner text, description text, fields json, facts json
  ) where datasets.id = d.id
""").bindparams(bindparam("rows", type_=Text), bindparam("at", type_=DateTime(timezone=True)))


async def load(tx: Transaction, caller: Caller, reading: Asks, *, dry_run: bool = False) -> bytes:
    """Create or update the datasets of a file, in one transaction; return what the answer tells (`ImportOut`).

    Args:
        tx: the transaction.
        caller: who imports.
        reading: asks the `Reading` of the file.
        dry_run: whether nothing is to be written.

    Raises:
        ImportRefused: any row that cannot be taken; each fault of each row is told.
        MovedError: a key has come to be meanwhile.
    """
    chunks: int = await asked(tx, reading, "chunks")
    async with elevated(tx, "keys of datasets"):
        for chunk in range(chunks):
            keys, named, folded = await asked(tx, reading, "about", chunk)
            stored = await tx.scalar(_STORED, {"keys": json.dumps(keys, ensure_ascii=False)})
            handlers = await _handlers(tx, caller, named)
            mine = sorted({handler for handler, _ in handlers.values() if handler is not None})
            for handler in mine:
                await key_spellings.fold(tx, caller, Dataset, handler)
            spelt = {"folded": json.dumps(folded, ensure_ascii=False), "handlers": json.dumps(mine)}
            await asked(tx, reading, "compare", chunk, stored, handlers, await tx.scalar(_SPELT, spelt))
    count, listed = await asked(tx, reading, "refused")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    if not dry_run and await asked(tx, reading, "changes"):
        await _write(tx, caller, reading, chunks)
    told: bytes = await asked(tx, reading, "outcome", dry_run)
    return told


async def load_here(tx: Transaction, caller: Caller, content: bytes, kind: Format, **options: Any) -> ImportOut:
    """Do all of it in this process, for a command; `options`: `handler`, `owner` and `dry_run`."""
    reading = Reading(content, kind, options.get("handler"), options.get("owner"))
    try:
        told = await load(tx, caller, Here(reading), dry_run=options.get("dry_run", False))
    except ImportRefused as refused:
        refused.errors = json.loads(refused.listed or "[]")
        raise
    return ImportOut.model_validate_json(told)


async def _write(tx: Transaction, caller: Caller, reading: Asks, chunks: int) -> None:
    await tx.flush()
    for chunk in range(chunks):
        keys = await asked(tx, reading, "to_lock", chunk)
        stored = await tx.scalar(_LOCKED, {"keys": json.dumps(keys, ensure_ascii=False)}) if keys else "[]"
        new, count, changed = await asked(tx, reading, "writes", chunk, stored)
        if new is not None and cast("Any", await tx.execute(_ADD, {"rows": new, "at": tx.now})).rowcount != count:
            raise MovedError
        if changed is not None:
            await tx.execute(_CHANGE, {"rows": changed, "at": tx.now})
    count, listed = await asked(tx, reading, "refused")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    for chunk in range(chunks):
        count = await asked(tx, reading, "acting", chunk)
        if count:
            numbers = await events.reserve_numbers(tx, count)
            await events.record_all(tx, await asked(tx, reading, "acts", chunk, tx.now, caller, numbers))
    for chunk in range(chunks):
        await _wait(tx, caller, await asked(tx, reading, "waits", chunk))
    tx.can_deny |= await asked(tx, reading, "can_deny")


async def _wait(tx: Transaction, caller: Caller, waiting: Sequence[tuple[str, str, Json]]) -> None:
    """Let wait for a second person what datasets that are written now would be freed by, as any other statement does."""
    for dataset, folded, patch in waiting:
        changed = await change_dataset(tx, caller, dataset, DatasetPatch.model_validate(patch))
        if "distinct_from" in patch:
            await key_spellings.settle(tx, caller, changed.handler, [folded])


async def _handlers(tx: Transaction, caller: Caller, named: Sequence[str]) -> dict[str, tuple[str | None, str]]:
    """Return the handlers that rows name: the id of each that the caller keeps the register of, else None and what to say."""
    rows = (await tx.execute(_HANDLERS, {"named": json.dumps(named, ensure_ascii=False)})).all()
    ids = {row.id for row in rows}
    by_key = {row.key: row.id for row in rows}
    told: dict[str, tuple[str | None, str]] = {}
    for one in named:
        found = one if is_id(one, "hd") and one in ids else by_key.get(one) if not is_id(one, "hd") else None
        if found is None or not caller.reaches(READERS, found):
            told[one] = None, "No handler that you may see has this id or key."
            continue
        try:
            caller.demand(REGISTRARS, found)
        except (Forbidden, NotFound) as refusal:
            told[one] = None, refusal.detail
        else:
            told[one] = found, ""
    return told


def _told(fault: Any) -> str:
    if fault["type"] == "missing":
        return "This is required."
    if fault["type"] == "extra_forbidden":
        return "This is not known here."
    return str(fault["msg"]).removeprefix("Value error, ")


# CSV


def _csv_rows(text: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    faults: list[Fault] = []
    try:
        faults += _header_faults(list(reader.fieldnames or []))
        for cells in reader if not faults else ():
            row, found = _csv_row(reader.line_num, cells)
            faults += found
            yield row
    except csv.Error as error:
        faults.append((reader.line_num, "", f"The file is not CSV: {error}."))
    if faults:
        raise ImportRefused(faults)


def _header_faults(columns: list[str]) -> Iterator[tuple[int, str, str]]:
    for column in columns:
        if column not in _COLUMNS + _FACTS:
            known = ", ".join(_COLUMNS + _FACTS)
            yield 1, f"/{column}", f"This column is not known; the columns are {known}."
        elif columns.count(column) > 1:
            yield 1, f"/{column}", "This column stands twice."
    for column in _REQUIRED:
        if column not in columns:
            yield 1, f"/{column}", "This column is required."


def _csv_row(line: int, cells: dict[str, Any]) -> tuple[Row, list[tuple[int, str, str]]]:
    faults: list[tuple[int, str, str]] = []
    if None in cells:
        faults.append((line, "", "This row has more cells than there are columns."))
    stated = {name: value.strip() for name, value in cells.items() if name is not None and value and value.strip()}
    body: dict[str, Any] = {name: stated.get(name) for name in _COLUMNS if name != "fields"}
    body["facts"], wrong = _csv_facts(stated)
    body["fields"], unread = _csv_fields(stated.get("fields", ""))
    faults += [(line, f"/facts/{name}", "Write true or false.") for name in wrong]
    faults += [
        (line, "/fields", f"Write name:type or name:type:category, not {len(part)} characters without.")
        for part in unread
    ]
    return Row(line, body), faults


def _csv_facts(stated: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    facts: dict[str, Any] = {}
    wrong: list[str] = []
    for name in _FACTS:
        if name not in stated:
            continue
        if name in {"origin", "ftz_list"}:
            facts[name] = stated[name]
        elif stated[name].lower() in _TRUTH:
            facts[name] = _TRUTH[stated[name].lower()]
        else:
            wrong.append(name)
    return facts, wrong


def _csv_fields(cell: str) -> tuple[list[dict[str, str]], list[str]]:
    fields: list[dict[str, str]] = []
    unread: list[str] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        parts = [piece.strip() for piece in part.split(":", _FIELD_PARTS - 1)]
        if len(parts) == 1:
            unread.append(part)
        else:
            fields.append(dict(zip(("name", "type", "category"), parts, strict=False)))
    return fields, unread


# Fides


_LINE: Final = object()
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Final = yaml.resolver.Resolver()
_LONG_SCALAR: Final = 100
"""Characters from which on a scalar is a text, whatever it looks like."""
MAX_EVENTS: Final = 4_000_000
"""Scalars, and beginnings and ends of lists and maps, in a file at most."""
_TAGGED: Final = "tag:yaml.org,2002:"


class _Other:
    """A value that is neither text nor nothing: what it says does not matter, for none is taken."""


_OTHER: Final = _Other()


def _tree(text: str) -> Any:
    """Return what a YAML text says, from its events: maps with the line that they begin at, lists, texts, None, and `_OTHER`.

    Nothing else is made of a scalar: neither a number of half a million digits nor an object. There are no aliases, which can make a
    small file enormous.

    Raises:
        ImportRefused: aliases, other than plain tags, too many events, or too deep.
    """
    stack: list[_Open] = [_Open([], 1)]
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if count > MAX_EVENTS:
            _refuse(line, f"This has more than {MAX_EVENTS:,} parts; split it.")
        if isinstance(event, yaml.AliasEvent):
            _refuse(line, "Aliases are not read; write the value out.")
        elif isinstance(event, yaml.ScalarEvent):
            stack[-1].take(_scalar(event, line))
        elif isinstance(event, yaml.CollectionStartEvent):
            _require_plain(event.tag, line)
            if len(stack) > _MAX_DEPTH:
                _refuse(line, f"This nests deeper than {_MAX_DEPTH} levels.")
            stack.append(_Open({_LINE: line} if isinstance(event, yaml.MappingStartEvent) else [], line))
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop().value
            stack[-1].take(ended)
        elif isinstance(event, yaml.DocumentStartEvent) and stack[0].value:
            _refuse(line, "This is a second document; send one.")
    documents = stack[0].value
    return documents[0] if documents else None


@dataclass(slots=True)
class _Open:
    """A list or map that is not at its end."""

    value: list[Any] | dict[Any, Any]
    line: int
    key: Any = _LINE
    """Of a map: the key whose value comes next; `_LINE`: the next is a key."""

    def take(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is not _LINE:
            self.value[self.key], self.key = value, _LINE
        elif isinstance(value, list | dict):
            _refuse(self.line, "A list or a map cannot be a key.")
        else:
            self.key = value


def _scalar(event: Any, line: int) -> Any:
    _require_plain(event.tag, line)
    if event.tag is not None:
        kind = event.tag.removeprefix(_TAGGED)
    elif not event.implicit[0] or len(event.value) > _LONG_SCALAR:
        return event.value
    else:
        kind = str(_RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)).removeprefix(_TAGGED)  # type: ignore[no-untyped-call]
    if kind == "str" or event.tag == "!":
        return event.value
    return None if kind == "null" else _OTHER


def _require_plain(tag: str | None, line: int) -> None:
    if (
        tag is not None
        and tag != "!"
        and tag.removeprefix(_TAGGED) not in {"str", "null", "int", "float", "bool", "seq", "map"}
    ):
        _refuse(line, "Tags of programs are not read.")


def _refuse(line: int, detail: str) -> NoReturn:
    raise ImportRefused([(line, "", detail)])


def _fides_rows(text: str) -> Iterator[Row]:
    document = _yaml(text)
    if not isinstance(document, dict) or not isinstance(document.get("dataset"), list):
        raise ImportRefused([(1, "/dataset", "A Fides file holds a list of datasets under the name `dataset`.")])
    faults: list[Fault] = []
    for dataset in document["dataset"]:
        if not _is_map_with(dataset, "fides_key", "collections"):
            faults.append((_line(dataset), "/dataset", "A dataset needs `fides_key` and a list of `collections`."))
            continue
        for collection in dataset["collections"]:
            if not _is_map_with(collection, "name", "fields"):
                faults.append((_line(collection), "/collections", "A collection needs `name` and a list of `fields`."))
                continue
            body, wrong = _fides_body(dataset, collection)
            faults += [(line, "/fields", "A field needs a `name`.") for line in wrong]
            yield Row(_line(collection), body)
    if faults:
        raise ImportRefused(faults)


def _yaml(text: str) -> Any:
    try:
        return _tree(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ImportRefused([(line, "", f"The file is not YAML: {error.problem}.")]) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ImportRefused([(1, "", "The file is not YAML that can be read.")]) from error


def _is_map_with(value: object, name: str, members: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(name), str) and isinstance(value.get(members), list)


def _line(value: object) -> int:
    return int(value.get(_LINE, 1)) if isinstance(value, dict) else 1


def _fides_body(dataset: dict[Any, Any], collection: dict[Any, Any]) -> tuple[dict[str, Any], list[int]]:
    inherited = _categories(collection) or _categories(dataset)
    fields, wrong = _fides_fields(collection["fields"], "", inherited)
    title = dataset.get("name") or dataset["fides_key"]
    body = {
        "key": f"{dataset['fides_key']}/{collection['name']}",
        "title": f"{title}: {collection['name']}",
        "description": collection.get("description") or dataset.get("description"),
        "fields": fields,
    }
    return body, wrong


def _fides_fields(fields: Any, path: str, inherited: str | None) -> tuple[list[dict[str, Any]], list[int]]:
    found: list[dict[str, Any]] = []
    wrong: list[int] = []
    for field in fields if isinstance(fields, list) else [fields]:
        if not isinstance(field, dict) or not isinstance(field.get("name"), str) or len(found) > MAX_FIELDS:
            wrong.append(_line(field))
            continue
        name = path + field["name"]
        meta = field.get("fides_meta")
        kind = meta.get("data_type") if isinstance(meta, dict) else None
        nested = field.get("fields")
        category = _categories(field) or inherited
        found.append({"name": name, "type": kind or ("object" if nested else "unknown"), "category": category})
        if nested:
            below, amiss = _fides_fields(nested, name + ".", inherited)
            found += below
            wrong += amiss
    return found, wrong


def _categories(thing: dict[Any, Any]) -> str | None:
    meta = thing.get("fides_meta")
    stated = thing.get("data_categories") or (meta.get("data_categories") if isinstance(meta, dict) else None)
    return ", ".join(str(category) for category in stated) if isinstance(stated, list) and stated else None
