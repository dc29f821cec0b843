"""Grades many datasets at once: planned in a helper process, written by a few statements, all datasets or none."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import DateTime, Text, bindparam, select, text

from service.access.caller import READERS, Caller
from service.audit.actions import AuditAction
from service.audit.effects import WrittenRow
from service.audit.operations import to_json_types
from service.database.ids import new_ids
from service.database.session import Transaction
from service.events import operations as events
from service.registry import key_spellings
from service.registry.grading import Graded, details_of, gradings_of
from service.registry.helper_calls import ask_helper
from service.registry.operations import REGISTRARS, check_scale
from service.registry.record_diff import Json
from service.registry.schemas import BulkGradingIn, GradingIn, GradingOut, GradingsOut
from service.registry.tables import Dataset, Grading
from service.validation.problems import Invalid
from service.workers import Executor

MAX_WITHOUT_WORKER: Final = 20
"""Number of datasets up to which the plan is made in this process, without a helper."""

Faults = list[tuple[str, str]]


class GradingPlan:
    """Plans one grading for many datasets, in a helper process (see `service.workers`)."""

    def __init__(self, request: BulkGradingIn) -> None:
        self._references = request.datasets
        self._grading = GradingIn.model_validate(request.model_dump(exclude={"datasets"}))
        self._datasets: list[Json] = []
        self._gradings: dict[str, list[Json]] = {}

    def take_datasets(self, stored: str, caller: Caller) -> tuple[Faults, list[str]]:
        """Take the rows of `_LOCKED`; return the faults of the references, and the handlers of the datasets."""
        rows = [row for row in json.loads(stored) if caller.reaches(READERS, row["handler"])]
        by_reference = {row["key"]: row for row in rows} | {row["id"]: row for row in rows}
        errors: Faults = [
            (f"/datasets/{place}", "There is no dataset of this id or key.")
            for place, reference in enumerate(self._references)
            if reference not in by_reference
        ]
        self._datasets = [by_reference[reference] for reference in self._references if reference in by_reference]
        seen: set[str] = set()
        for place, row in enumerate(() if errors else self._datasets):
            if row["id"] in seen:
                errors.append((f"/datasets/{place}", "This dataset is named twice."))
                break
            seen.add(row["id"])
        return errors, sorted({row["handler"] for row in rows})

    def plan_gradings(self, caller: Caller, now: datetime) -> tuple[str, Faults] | None:
        """Plan the gradings of each dataset; return the problem of the first dataset that the grading does not fit, or None."""
        ids = new_ids("gd")
        for place, row in enumerate(self._datasets):
            try:
                gradings = gradings_of(
                    Graded(**{name: row[name] for name in (*Graded.COLUMNS, "last")}), self._grading, caller, now
                )
            except Invalid as problem:
                field_errors = [(str(error["pointer"]), str(error["detail"])) for error in problem.errors]
                return problem.detail, [*((f"/datasets/{place}", detail) for _, detail in field_errors), *field_errors]
            self._gradings[row["id"]] = [columns | {"id": next(ids)} for columns in gradings]
        return None

    def encode_rows(self) -> tuple[str, str]:
        """Return the JSON of the gradings to write, and of their datasets' new columns."""
        gradings = [grading for rows in self._gradings.values() for grading in rows]
        effective = [
            {
                "id": grading["dataset"],
                "tags": grading["tags"],
                "grading": grading["number"],
                "fields": grading["fields"],
                "sensitive": grading["sensitive_fields"],
            }
            for grading in gradings
            if grading["state"] == "effective"
        ]
        return json.dumps(to_json_types(gradings), ensure_ascii=False), json.dumps(effective, ensure_ascii=False)

    def count_changes(self) -> int:
        """Return the number of gradings."""
        return sum(len(rows) for rows in self._gradings.values())

    def encode_changes(
        self, caller: Caller, now: datetime, superseded: Sequence[tuple[str, int]], numbers: events.ReservedNumbers
    ) -> events.RecordedChanges:
        """Return the entries and events of the gradings.

        Args:
            caller: the registrar.
            now: instant of the transaction.
            superseded: gradings that end: dataset and number.
            numbers: reserved by `events.reserve_numbers`.
        """
        return events.encode_changes(
            now,
            caller,
            [
                events.Change(
                    action=AuditAction.DATASET_GRADED,
                    subject=row["id"],
                    handler=row["handler"],
                    details=details_of(grading),
                    figures={"dataset": row["key"], "tags": grading["tags"], "scale": row["scale"]},
                    link=f"/v1/datasets/{row['id']}/gradings/{grading['number']}",
                    reason=self._grading.reason,
                )
                for row in self._datasets
                for grading in self._gradings[row["id"]]
            ],
            [*self._written(now), *(_superseded(dataset, number, now) for dataset, number in superseded)],
            numbers,
        )

    def _written(self, now: datetime) -> Iterator[WrittenRow]:
        """Yield the written rows of gradings and datasets."""
        for dataset, rows in self._gradings.items():
            for grading in rows:
                values = {name: value for name, value in grading.items() if name not in ("dataset", "number")}
                yield WrittenRow("gradings", f"{dataset}/{grading['number']}", True, values)
                if grading["state"] == "effective":
                    columns = {"tags": grading["tags"], "grading": grading["number"], "updated_at": now}
                    columns |= {"graded_fields": grading["fields"], "graded_number": grading["number"]}
                    columns["sensitive_fields"] = grading["sensitive_fields"]
                    yield WrittenRow("datasets", dataset, False, columns)

    def encode_outcome(self) -> bytes:
        """Return the JSON of `GradingsOut`, with the last grading of each dataset."""
        last = [GradingOut.of(Grading(**self._gradings[row["id"]][-1])) for row in self._datasets]
        return GradingsOut(items=last).model_dump_json().encode()


def _superseded(dataset: str, number: int, now: datetime) -> WrittenRow:
    values = {"state": "superseded", "ended_at": now}
    return WrittenRow("gradings", f"{dataset}/{number}", False, values)


_REFERENCES: Final = "any(array(select json_array_elements_text(cast(:references as json))))"
_LOCKED: Final = text(f"""
  with named as materialized (
    select id from datasets where id = {_REFERENCES}
    union
    select id from datasets where key = {_REFERENCES}
  ), locked as materialized (
    select id, key, handler, tags, scale, fields, facts, graded_fields, sensitive_fields from datasets
    where id in (select id from named) order by id for no key update
  )
  select coalesce(json_agg(json_build_object(
    'id', id, 'key', key, 'handler', handler, 'tags', tags, 'scale', scale, 'fields', fields, 'facts', facts,
    'graded_fields', graded_fields, 'sensitive_fields', sensitive_fields,
    'last', (select coalesce(max(number), 0) from gradings where dataset = locked.id)
  )), '[]')::text from locked
""").bindparams(bindparam("references", type_=Text))  # noqa: S608 - no caller's text is in it  # nosec B608
_SUPERSEDE: Final = text("""
  update gradings set state = 'superseded', ended_at = :at
  from json_to_recordset(cast(:made as json)) as m(dataset text, state text)
  where gradings.dataset = m.dataset and (gradings.state = 'pending' or gradings.state = 'effective' and m.state = 'effective')
  returning gradings.dataset, gradings.number
""").bindparams(bindparam("made", type_=Text), bindparam("at", type_=DateTime(timezone=True)))
_ADD: Final = text("""
  insert into gradings select * from json_populate_recordset(null::gradings, cast(:made as json))
""").bindparams(bindparam("made", type_=Text))
_TAKE_EFFECT: Final = text("""
  update datasets set tags = e.tags, grading = e.grading, updated_at = :at,
                      graded_fields = e.fields, graded_number = e.grading, sensitive_fields = e.sensitive
  from json_to_recordset(cast(:effective as json)) as e(id text, tags text[], grading int, fields json, sensitive json)
  where datasets.id = e.id
""").bindparams(bindparam("effective", type_=Text), bindparam("at", type_=DateTime(timezone=True)))


async def grade_many(tx: Transaction, caller: Caller, request: BulkGradingIn, plan: Executor) -> bytes:
    """Give many datasets one grading, all of them or none; return the JSON of `GradingsOut`.

    Args:
        tx: the transaction.
        caller: the registrar.
        request: the grading, and the datasets.
        plan: calls the `GradingPlan` in its process.

    Raises:
        Invalid: an unknown dataset, one that is named twice, or one that the grading does not fit; each with its place.
    """
    await tx.flush()
    stored = await tx.scalar(_LOCKED, {"references": json.dumps(request.datasets, ensure_ascii=False)})
    errors, handlers = await ask_helper(tx, plan, "take_datasets", stored, caller)
    if errors:
        raise Invalid("Not all of the datasets can be graded; none was.", errors=errors)
    for handler in handlers:
        caller.require(REGISTRARS, handler)
    refused = await ask_helper(tx, plan, "plan_gradings", caller, tx.now)
    if refused is not None:
        detail, errors = refused
        raise Invalid(detail, errors=errors)
    gradings, effective = await ask_helper(tx, plan, "encode_rows")
    superseded = [(row[0], row[1]) for row in await tx.execute(_SUPERSEDE, {"made": gradings, "at": tx.now})]
    await tx.execute(_ADD, {"made": gradings})
    if effective != "[]":
        await tx.execute(_TAKE_EFFECT, {"effective": effective, "at": tx.now})
        await _check_scales(tx, caller, effective)
        tx.can_deny = True
    numbers = await events.reserve_numbers(tx, await ask_helper(tx, plan, "count_changes"))
    await events.record_all(tx, await ask_helper(tx, plan, "encode_changes", caller, tx.now, superseded, numbers))
    outcome: bytes = await ask_helper(tx, plan, "encode_outcome")
    if effective != "[]":
        await key_spellings.settle_regraded(tx, caller, [graded["id"] for graded in json.loads(effective)])
    return outcome


async def _check_scales(tx: Transaction, caller: Caller, effective: str) -> None:
    """Open the obligations that follow from the scale of datasets that are important now; few state one."""
    ids = [row["id"] for row in json.loads(effective)]
    query = select(Dataset).where(Dataset.id.in_(ids), Dataset.scale.is_not(None)).order_by(Dataset.id)
    for dataset in (await tx.scalars(query.execution_options(populate_existing=True))).all():
        await check_scale(tx, caller, dataset)
