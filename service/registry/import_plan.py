"""Plans an import in a helper process: checks the rows of a file, compares them with the register, and builds what is written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from service.access.caller import Caller
from service.audit.actions import AuditAction
from service.audit.effects import WrittenRow
from service.database.ids import new_ids
from service.events import operations as events
from service.law import freeing
from service.law.schemas import OriginFactsIn
from service.registry.import_files import Format, rows_of
from service.registry.import_rows import Fault, ImportRefused, Row, errors_of
from service.registry.key_normalization import folded_key
from service.registry.operations import MINORS
from service.registry.outdated_fields import lacks_tag_of_minors, newly_outdated_in
from service.registry.record_diff import Json, RecordDiff, diff_of, pending_values
from service.registry.schemas import DISTINCT, DatasetNewIn, FieldIn, ImportOut
from service.validation.problems import pointer_to

_CHUNK: Final = 250
"""Rows that are compared and written at a time."""
_NO_FIELDS: Final = "[]"
_NULL_COLUMNS: Final = ("scale", "filed_scale", "tags", "grading", "graded_fields", "graded_number", "sensitive_fields")
_COMPARED: Final = ("title", "owner", "description", "fields", "facts")
"""Columns of an existing dataset that a file can change."""
_FIELDS: Final = TypeAdapter(list[FieldIn])


class ImportPlan:
    """Plans the import of a file, in a helper process (see `service.workers`).

    Methods return small values, or JSON that the caller passes to PostgreSQL unparsed.
    """

    def __init__(self, content: bytes, kind: Format, handler: str | None, owner: str | None) -> None:
        self._faults: list[Fault] = []
        self._rows: list[_PlannedRow] = []
        self._ids = new_ids("ds")
        self._spelt: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        """Spellings by handler and folded key, each with its key, id and number."""
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
                dataset = _validate_row(row, defaults)
            except ValidationError as error:
                self._faults += [
                    (row.line, pointer_to(fault["loc"]), _describe_fault(fault)) for fault in error.errors()
                ]
                continue
            if dataset.key in seen:
                self._faults.append((row.line, "/key", f"The same key stands at line {seen[dataset.key]}."))
            seen.setdefault(dataset.key, row.line)
            body = dataset.model_dump_json(exclude={"handler", "scale", *DISTINCT})
            # A column that is not there says nothing of the fact.
            stated = tuple(sorted(dataset.facts.model_fields_set))
            distinct = None if dataset.distinct_from is None else (dataset.distinct_from, dataset.reason or "")
            self._rows.append(
                _PlannedRow(row.line, dataset.key, dataset.handler, body, stated, folded_key(dataset.key), distinct)
            )

    def count_chunks(self) -> int:
        """Return the number of chunks."""
        return -(-len(self._rows) // _CHUNK)

    def references(self, chunk: int) -> tuple[list[str], list[str], list[str]]:
        """Return the keys of a chunk's rows, the handlers that they name, and their folded keys."""
        rows = self._chunk(chunk)
        return [row.key for row in rows], sorted({row.named for row in rows}), sorted({row.folded for row in rows})

    def compare(self, chunk: int, stored: str, handlers: Mapping[str, tuple[str | None, str]], spelt: str) -> None:
        """Compare the rows of a chunk with the register, and note faults.

        Args:
            chunk: number of the chunk.
            stored: JSON of the datasets of their keys, of any handler (`imports._STORED`).
            handlers: by reference, the id of the handler, or None and the text of the fault.
            spelt: JSON of the datasets with one of their folded keys (`imports._SPELT`).
        """
        for spelling in json.loads(spelt):
            self._spelt.setdefault((spelling["handler"], spelling["folded_key"]), []).append(
                (spelling["key"], spelling["id"], spelling["number"])
            )
        by_key = _by_key(stored)
        for row in self._chunk(chunk):
            row.handler, refusal = handlers[row.named]
            stored_row = by_key.get(row.key)
            if row.handler is None:
                self._faults.append((row.line, "/handler", refusal))
            elif stored_row is not None and stored_row["handler"] != row.handler:
                self._faults.append((row.line, "/key", "Another handler has a dataset of this key."))
            else:
                if stored_row is not None and lacks_tag_of_minors(stored_row, json.loads(row.body)):
                    self._faults.append((row.line, *MINORS))
                row.is_new = stored_row is None
                facts = self._facts(row, stored_row)
                row.frees = bool(facts.pending or facts.overtaken)
                row.differs = stored_row is None or self._diff(row, stored_row) is not None
                self._check_spelling(row)

    def _check_spelling(self, row: "_PlannedRow") -> None:
        """Note a fault if a row's key is an undeclared spelling of a registered key, or of an earlier one of the file."""
        twins = self._spelt.setdefault((row.handler or "", row.folded), [])
        others = [spelling for spelling in twins if spelling[0] != row.key]
        named = next((spelling for spelling in others if row.distinct and row.distinct[0] in spelling[:2]), None)
        if row.distinct is not None and named is None:
            self._faults.append((row.line, "/distinct_from", "The key is no other spelling of this."))
        elif row.is_new and others and named is None:
            detail = (
                f"{others[0][0]} is another spelling of this key. If it is something else, name it under `distinct_from`, "
                "with a `reason`."
            )
            self._faults.append((row.line, "/key", detail))
        if row.is_new:
            row.number = max((spelling[2] for spelling in twins), default=-1) + 1
            twins.append((row.key, "", row.number))

    def list_pending(self, chunk: int) -> list[tuple[str, str, Json]]:
        """Return the pending statements of a chunk's written rows: key, folded key, and a body for `PATCH`."""
        statements: list[tuple[str, str, Json]] = []
        for row in self._chunk(chunk):
            facts = json.loads(row.body)["facts"] if row.frees else {}
            patch: Json = {"facts": {fact: facts[fact] for fact in row.stated}} if row.frees else {}
            if row.distinct is not None:
                patch |= {"distinct_from": row.distinct[0], "reason": row.distinct[1]}
            if patch:
                statements.append((row.key, row.folded, patch))
        return statements

    def describe_faults(self) -> tuple[int, str]:
        """Return the number of faults, and the JSON that the problem lists."""
        return len(self._faults), json.dumps(errors_of(sorted(self._faults)), ensure_ascii=False)

    def has_changes(self) -> bool:
        """Return True if any row is new or differs."""
        return any(row.differs or row.frees or row.distinct is not None for row in self._rows)

    def keys_to_lock(self, chunk: int) -> list[str]:
        """Return the keys of a chunk's rows that differ from stored datasets."""
        return [row.key for row in self._chunk(chunk) if row.differs and not row.is_new]

    def encode_rows(self, chunk: int, stored: str) -> tuple[str | None, int, str | None]:
        """Return the rows of a chunk to write: JSON of new rows, their number, and JSON of changed rows; None: none.

        Args:
            chunk: number of the chunk.
            stored: JSON of the datasets that are locked now.
        """
        by_key = _by_key(stored)
        new: list[Json] = []
        changed: list[Json] = []
        for row in self._chunk(chunk):
            if row.is_new:
                row.id = next(self._ids)
                spelt = {"folded_key": row.folded, "twin_number": row.number}
                new.append(self._written_columns(row, None) | {"id": row.id, "handler": row.handler} | spelt)
            elif row.differs:
                stored_row = by_key[row.key]
                change = self._diff(row, stored_row)
                row.differs, row.id = change is not None, stored_row["id"]
                if lacks_tag_of_minors(stored_row, json.loads(row.body)):  # graded since it was compared
                    self._faults.append((row.line, *MINORS))
                if change is not None:
                    row.change = json.dumps(change.details, ensure_ascii=False)
                    row.can_deny = change.can_deny
                    row.outdated = json.dumps(newly_outdated_in(stored_row, change.after), ensure_ascii=False)
                    row.grading = stored_row["grading"]
                    kept = self._written_columns(row, stored_row)
                    row.kept = json.dumps(kept["facts"])
                    changed.append({name: kept[name] for name in _COMPARED} | {"id": row.id})
        return _to_json(new), len(new), _to_json(changed)

    def count_changes(self, chunk: int) -> int:
        """Return the number of changes to record for a chunk."""
        return sum(row.differs + (row.differs and row.outdated != _NO_FIELDS) for row in self._chunk(chunk))

    def encode_changes(
        self, chunk: int, now: datetime, caller: Caller, numbers: events.ReservedNumbers
    ) -> events.RecordedChanges:
        """Return the entries and events of a chunk's written rows."""
        rows = [row for row in self._chunk(chunk) if row.differs]
        written = [self._written_row(row, now) for row in rows]
        acts = [self._change_of_row(row) for row in rows] + [
            self._outdated_change(row) for row in rows if row.outdated != _NO_FIELDS
        ]
        return events.encode_changes(now, caller, acts, written, numbers)

    @staticmethod
    def _written_row(row: "_PlannedRow", now: datetime) -> WrittenRow:
        """Return the written columns of a dataset."""
        columns = json.loads(row.body)
        if row.is_new:
            columns["facts"] = freeing.apply_first_statement("dataset", columns["facts"]).facts
        elif row.kept:
            columns["facts"] = json.loads(row.kept)
        values = {name: columns[name] for name in _COMPARED} | {"updated_at": now}
        if row.is_new:
            of_new: Json = {"key": row.key, "handler": row.handler, "created_at": now}
            of_new |= {"pending_facts": {}, "twins": [], "distinct_from": []}
            values |= of_new | dict.fromkeys(_NULL_COLUMNS)
        return WrittenRow("datasets", row.id, row.is_new, values)

    def can_deny(self) -> bool:
        """Return True if a written change can turn an allow into a deny."""
        return any(row.can_deny for row in self._rows)

    def encode_outcome(self, dry_run: bool) -> bytes:  # noqa: FBT001
        """Return the JSON of `ImportOut`."""
        created = sum(row.is_new for row in self._rows)
        differing = [row for row in self._rows if row.differs or row.frees]
        outcome = ImportOut(
            dry_run=dry_run,
            created=created,
            updated=len(differing) - created,
            unchanged=len(self._rows) - len(differing),
            keys=[row.key for row in sorted(differing, key=lambda row: row.line)],
        )
        return outcome.model_dump_json().encode()

    def _chunk(self, chunk: int) -> list["_PlannedRow"]:
        return self._rows[chunk * _CHUNK : (chunk + 1) * _CHUNK]

    @staticmethod
    def _facts(row: "_PlannedRow", stored_row: Json | None) -> freeing.FactChange:
        """Return the effect of a row on the facts of a dataset."""
        facts = json.loads(row.body)["facts"]
        if stored_row is None:
            return freeing.apply_first_statement("dataset", facts)
        current = {**freeing.DEFAULTS["dataset"], **stored_row["facts"]}
        stated = {fact: facts[fact] for fact in row.stated}
        return freeing.apply_statement("dataset", current, pending_values(stored_row["pending_facts"]), stated)

    @classmethod
    def _written_columns(cls, row: "_PlannedRow", stored_row: Json | None) -> Json:
        """Return the columns that a row writes: its statements, without facts that free."""
        columns: Json = json.loads(row.body)
        return columns | {"facts": cls._facts(row, stored_row).facts}

    @classmethod
    def _diff(cls, row: "_PlannedRow", stored_row: Json) -> RecordDiff | None:
        """Return the difference that a row makes to a stored dataset, by the rule that `PATCH` follows."""
        columns = cls._written_columns(row, stored_row)
        before = {name: stored_row[name] for name in _COMPARED}
        if all(before[name] == columns[name] for name in _COMPARED):
            return None
        before["fields"] = _FIELDS.dump_python(_FIELDS.validate_python(before["fields"]), mode="json")
        before["facts"] = OriginFactsIn.model_validate(before["facts"]).model_dump(mode="json")
        return diff_of("datasets", before, {name: columns[name] for name in _COMPARED})

    @staticmethod
    def _change_of_row(row: "_PlannedRow") -> events.Change:
        kept = ImportPlan._written_columns(row, None) if row.is_new else {}
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
    def _outdated_change(row: "_PlannedRow") -> events.Change:
        return events.Change(
            action=AuditAction.DATASET_GRADING_OUTDATED,
            subject=row.id,
            handler=row.handler,
            details={"number": row.grading, "outdated": json.loads(row.outdated)},
            figures={"key": row.key},
            link=f"/v1/datasets/{row.id}",
        )


@dataclass(slots=True)
class _PlannedRow:
    """A valid row. Its dataset stays JSON until it is needed, to save memory."""

    line: int
    key: str
    named: str
    """Id or key of the handler, as the row names it."""
    body: str
    stated: tuple[str, ...]
    """Names of the facts that it states."""
    folded: str
    distinct: tuple[str, str] | None
    """Spelling from which the row is declared distinct, and the reason."""
    frees: bool = False
    """True if a fact of it becomes pending, or overtakes a pending one."""
    kept: str = ""
    number: int = 0
    handler: str | None = None
    is_new: bool = False
    differs: bool = False
    can_deny: bool = False
    id: str = ""
    change: str = ""
    outdated: str = _NO_FIELDS
    """JSON of the fields that become outdated with this change."""
    grading: int | None = None


def _by_key(stored: str) -> dict[str, Json]:
    return {row["key"]: row for row in json.loads(stored)}


def _to_json(rows: Sequence[Json]) -> str | None:
    return json.dumps(rows, ensure_ascii=False) if rows else None


def _validate_row(row: Row, defaults: Mapping[str, str | None]) -> DatasetNewIn:
    stated = {name: value for name, value in row.body.items() if value is not None}
    return DatasetNewIn.model_validate({name: value for name, value in defaults.items() if value is not None} | stated)


def _describe_fault(fault: Any) -> str:
    if fault["type"] == "missing":
        return "This is required."
    if fault["type"] == "extra_forbidden":
        return "This is not known here."
    return str(fault["msg"]).removeprefix("Value error, ")
