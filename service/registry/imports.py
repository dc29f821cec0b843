"""Imports datasets from a file, CSV or Fides YAML: all rows or none. A refusal lists each fault with its line.

1. Compare: a helper process checks the file and compares it with the register in chunks (`ImportPlan`), without locks or writes. A dry run,
   a file with faults and a file without changes end here.
2. Write: each chunk takes one statement for new rows and one for changed rows. Changed rows are locked and compared a second time.
3. Record: entries and events follow late, because the log waits for the transaction once their numbers are reserved.
4. Close the gate right before the commit, if a change can turn an allow into a deny.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy import DateTime, Text, bindparam, text

from service.access.caller import READERS, Caller
from service.database.ids import is_id
from service.database.session import ConcurrentChangeError, Transaction, elevated
from service.events import operations as events
from service.registry import key_spellings
from service.registry.helper_calls import ask_helper
from service.registry.import_files import Format
from service.registry.import_plan import ImportPlan
from service.registry.import_rows import ImportRefused
from service.registry.operations import REGISTRARS, change_dataset
from service.registry.record_diff import Json
from service.registry.schemas import DatasetPatch, ImportOut
from service.registry.tables import Dataset
from service.validation.problems import Forbidden, NotFound
from service.workers import Executor, InProcess

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


async def load(tx: Transaction, caller: Caller, plan: Executor, *, dry_run: bool = False) -> bytes:
    """Create or update the datasets of a file, in one transaction; return the JSON of `ImportOut`.

    Example:
        async with helper_for(request, client_key, ImportPlan, content, "csv", handler, owner) as plan:
            body = await imports.load(tx, caller, plan, dry_run=True)

    Args:
        tx: the transaction.
        caller: who imports.
        plan: calls the `ImportPlan` of the file in its process.
        dry_run: True: compare only, write nothing.

    Raises:
        ImportRefused: some rows have faults.
        ConcurrentChangeError: another transaction has registered a key meanwhile.
    """
    chunks: int = await ask_helper(tx, plan, "count_chunks")
    async with elevated(tx, "keys of datasets"):
        for chunk in range(chunks):
            keys, named, folded = await ask_helper(tx, plan, "references", chunk)
            stored = await tx.scalar(_STORED, {"keys": json.dumps(keys, ensure_ascii=False)})
            handlers = await _resolve_handlers(tx, caller, named)
            mine = sorted({handler for handler, _ in handlers.values() if handler is not None})
            for handler in mine:
                await key_spellings.fold_keys(tx, caller, Dataset, handler)
            spelt = {"folded": json.dumps(folded, ensure_ascii=False), "handlers": json.dumps(mine)}
            await ask_helper(tx, plan, "compare", chunk, stored, handlers, await tx.scalar(_SPELT, spelt))
    count, listed = await ask_helper(tx, plan, "describe_faults")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    if not dry_run and await ask_helper(tx, plan, "has_changes"):
        await _write_changes(tx, caller, plan, chunks)
    outcome: bytes = await ask_helper(tx, plan, "encode_outcome", dry_run)
    return outcome


async def load_here(tx: Transaction, caller: Caller, content: bytes, kind: Format, **options: Any) -> ImportOut:
    """Import a file in this process, for commands.

    Example:
        outcome = await load_here(tx, caller, Path("catalogue.csv").read_bytes(), "csv", owner="crm", dry_run=True)
        print(outcome.created, outcome.updated)

    Args:
        tx: the transaction.
        caller: the registrar.
        content: the bytes of the file.
        kind: its format.
        options: `handler`, `owner` and `dry_run`.
    """
    plan = ImportPlan(content, kind, options.get("handler"), options.get("owner"))
    try:
        outcome = await load(tx, caller, InProcess(plan), dry_run=options.get("dry_run", False))
    except ImportRefused as refused:
        refused.errors = json.loads(refused.listed or "[]")
        raise
    return ImportOut.model_validate_json(outcome)


async def _write_changes(tx: Transaction, caller: Caller, plan: Executor, chunks: int) -> None:
    await tx.flush()
    for chunk in range(chunks):
        keys = await ask_helper(tx, plan, "keys_to_lock", chunk)
        stored = await tx.scalar(_LOCKED, {"keys": json.dumps(keys, ensure_ascii=False)}) if keys else "[]"
        new, count, changed = await ask_helper(tx, plan, "encode_rows", chunk, stored)
        if new is not None and cast("Any", await tx.execute(_ADD, {"rows": new, "at": tx.now})).rowcount != count:
            raise ConcurrentChangeError
        if changed is not None:
            await tx.execute(_CHANGE, {"rows": changed, "at": tx.now})
    count, listed = await ask_helper(tx, plan, "describe_faults")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    for chunk in range(chunks):
        count = await ask_helper(tx, plan, "count_changes", chunk)
        if count:
            numbers = await events.reserve_numbers(tx, count)
            await events.record_all(tx, await ask_helper(tx, plan, "encode_changes", chunk, tx.now, caller, numbers))
    for chunk in range(chunks):
        await _store_pending(tx, caller, await ask_helper(tx, plan, "list_pending", chunk))
    tx.can_deny |= await ask_helper(tx, plan, "can_deny")


async def _store_pending(tx: Transaction, caller: Caller, waiting: Sequence[tuple[str, str, Json]]) -> None:
    """Store the facts that free, of datasets that are written now, as pending a second person."""
    for dataset, folded, patch in waiting:
        changed = await change_dataset(tx, caller, dataset, DatasetPatch.model_validate(patch))
        if "distinct_from" in patch:
            await key_spellings.settle_tags(tx, caller, changed.handler, [folded])


async def _resolve_handlers(tx: Transaction, caller: Caller, named: Sequence[str]) -> dict[str, tuple[str | None, str]]:
    """Return for each reference the id of a handler whose registrar the caller is, or None and the text of the fault."""
    rows = (await tx.execute(_HANDLERS, {"named": json.dumps(named, ensure_ascii=False)})).all()
    by_id = {row.id: row.id for row in rows}
    by_key = {row.key: row.id for row in rows}
    handlers: dict[str, tuple[str | None, str]] = {}
    for reference in named:
        candidates = by_key if not is_id(reference, "hd") else by_id
        handler = candidates.get(reference)
        if handler is None or not caller.reaches(READERS, handler):
            handlers[reference] = None, "No handler that you may see has this id or key."
            continue
        try:
            caller.require(REGISTRARS, handler)
        except (Forbidden, NotFound) as refusal:
            handlers[reference] = None, refusal.detail
        else:
            handlers[reference] = handler, ""
    return handlers
