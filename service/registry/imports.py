"""Imports datasets from files: CSV of a catalogue, or Fides dataset YAML. Every bad row is told with its line; all or nothing.

1. A helper process reads and checks the file, and holds it against the register, some rows at a time (`ImportPlan`): nothing is written,
   and no lock is taken. A dry run, a file with faults and one that changes nothing end here.
2. What changes is written, some rows at a time, by one statement each for what is new and what differs. Rows that differ are locked, and
   compared once more.
3. Entries and events follow, so that the log waits for their transaction as shortly as can be.
4. The gate is closed right before the commit, if anything that was changed can deny.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy import DateTime, Text, bindparam, text

from service.access.caller import READERS, Caller
from service.database.ids import is_id
from service.database.session import MovedError, Transaction, elevated
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
from service.workers import Asks, Here

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
        reading: asks the `ImportPlan` of the file.
        dry_run: whether nothing is to be written.

    Raises:
        ImportRefused: any row that cannot be taken; each fault of each row is told.
        MovedError: a key has come to be meanwhile.
    """
    chunks: int = await ask_helper(tx, reading, "chunks")
    async with elevated(tx, "keys of datasets"):
        for chunk in range(chunks):
            keys, named, folded = await ask_helper(tx, reading, "about", chunk)
            stored = await tx.scalar(_STORED, {"keys": json.dumps(keys, ensure_ascii=False)})
            handlers = await _resolve_handlers(tx, caller, named)
            mine = sorted({handler for handler, _ in handlers.values() if handler is not None})
            for handler in mine:
                await key_spellings.fold_keys(tx, caller, Dataset, handler)
            spelt = {"folded": json.dumps(folded, ensure_ascii=False), "handlers": json.dumps(mine)}
            await ask_helper(tx, reading, "compare", chunk, stored, handlers, await tx.scalar(_SPELT, spelt))
    count, listed = await ask_helper(tx, reading, "refused")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    if not dry_run and await ask_helper(tx, reading, "changes"):
        await _write_changes(tx, caller, reading, chunks)
    told: bytes = await ask_helper(tx, reading, "outcome", dry_run)
    return told


async def load_here(tx: Transaction, caller: Caller, content: bytes, kind: Format, **options: Any) -> ImportOut:
    """Do all of it in this process, for a command; `options`: `handler`, `owner` and `dry_run`."""
    reading = ImportPlan(content, kind, options.get("handler"), options.get("owner"))
    try:
        told = await load(tx, caller, Here(reading), dry_run=options.get("dry_run", False))
    except ImportRefused as refused:
        refused.errors = json.loads(refused.listed or "[]")
        raise
    return ImportOut.model_validate_json(told)


async def _write_changes(tx: Transaction, caller: Caller, reading: Asks, chunks: int) -> None:
    await tx.flush()
    for chunk in range(chunks):
        keys = await ask_helper(tx, reading, "to_lock", chunk)
        stored = await tx.scalar(_LOCKED, {"keys": json.dumps(keys, ensure_ascii=False)}) if keys else "[]"
        new, count, changed = await ask_helper(tx, reading, "writes", chunk, stored)
        if new is not None and cast("Any", await tx.execute(_ADD, {"rows": new, "at": tx.now})).rowcount != count:
            raise MovedError
        if changed is not None:
            await tx.execute(_CHANGE, {"rows": changed, "at": tx.now})
    count, listed = await ask_helper(tx, reading, "refused")
    if count:
        raise ImportRefused([], count=count, listed=listed)
    for chunk in range(chunks):
        count = await ask_helper(tx, reading, "acting", chunk)
        if count:
            numbers = await events.reserve_numbers(tx, count)
            await events.record_all(tx, await ask_helper(tx, reading, "acts", chunk, tx.now, caller, numbers))
    for chunk in range(chunks):
        await _store_pending(tx, caller, await ask_helper(tx, reading, "waits", chunk))
    tx.can_deny |= await ask_helper(tx, reading, "can_deny")


async def _store_pending(tx: Transaction, caller: Caller, waiting: Sequence[tuple[str, str, Json]]) -> None:
    """Let wait for a second person what datasets that are written now would be freed by, as any other statement does."""
    for dataset, folded, patch in waiting:
        changed = await change_dataset(tx, caller, dataset, DatasetPatch.model_validate(patch))
        if "distinct_from" in patch:
            await key_spellings.settle_tags(tx, caller, changed.handler, [folded])


async def _resolve_handlers(tx: Transaction, caller: Caller, named: Sequence[str]) -> dict[str, tuple[str | None, str]]:
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
